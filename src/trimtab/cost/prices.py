"""The price table: what a GPU-hour, a core-second, a GiB-month and a request cost, with its date and source.

Read by the estimate. Touches the bundled `prices.toml`, and the file that takes its place when there is one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.project import Project

BUNDLED: Final = Path(__file__).with_name("prices.toml")
OWN: Final = "prices.toml"
"""A table of this name in the project's state takes the place of ours."""
ALIASES: Final[Mapping[str, str]] = {"A10G": "A10", "A100": "A100-40GB", "H100!": "H100", "B200+": "B200"}
"""Names that Modal takes for a GPU of the table. https://modal.com/docs/guide/gpu"""

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComputePrices(_Section):
    """What a function's processor and memory cost."""

    core_second: Usd
    memory_gib_second: Usd
    disk_gib_per_memory_gib: Annotated[float, Field(gt=0)]


class RegionPrices(_Section):
    """What everything is multiplied by, where a function may run in a broad (us, eu) or in one narrow region only."""

    broad: Annotated[float, Field(ge=1)]
    narrow: Annotated[float, Field(ge=1)]


class VolumePrices(_Section):
    """What Modal's Volumes cost above what is free."""

    gib_month: Usd
    free_gib: Usd


class BucketPrices(_Section):
    """What the bucket costs: what lies in it, each request, and what leaves AWS."""

    gib_month: Usd
    write_request: Usd
    read_request: Usd
    egress_gib: Usd


class Prices(_Section):
    """The table, whole."""

    dated: date
    source: str
    gpu_hour: Mapping[str, Usd]
    compute: ComputePrices
    region: RegionPrices
    volume: VolumePrices
    bucket: BucketPrices

    def of_gpu(self, name: str) -> float:
        """Return the price of one GPU for one hour. Raises UsageError for one that the table does not have."""
        known = ALIASES.get(name, name)
        if known in self.gpu_hour:
            return self.gpu_hour[known]
        import difflib

        near = difflib.get_close_matches(name, [*self.gpu_hour, *ALIASES], n=1)
        raise UsageError(
            f"there is no price for a GPU {name!r}",
            why=f"the table of {self.dated} has {', '.join(self.gpu_hour)}",
            remedy=f"did you mean {near[0]!r}?" if near else "name one of these",
        )


def load_prices(path: Path = BUNDLED) -> Prices:
    """Return the table in a file. Raises UsageError with everything that is wrong with it."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = str(error)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    raise UsageError(f"the price table {path} cannot be used", why=why, remedy="mend it, or move it away")


def current_prices(project: Project) -> Prices:
    """Return the project's own table where it has one, else ours. Raises UsageError when it cannot be used."""
    own = project.state / OWN
    return load_prices(own if own.exists() else BUNDLED)
