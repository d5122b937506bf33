"""Launches: one small JSON record for each call that sent a run to a rented machine, written once, by whoever sent it.

It says what the run's own record cannot know: the machine and its price, what was predicted, what it may cost, and the
ids by which the platform knows it. Touches `RESULTS/launches/` only; the same file lies on the Volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from trimtab.storage.durable import make_directory, write_whole

FOLDER: Final = "launches"
Amount = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Machine(_Record):
    """What the call's function is given, and what an hour of it costs, in US dollars."""

    gpu: str | None
    gpu_count: int
    cores: Amount
    memory_gib: Amount
    timeout_s: Amount
    retries: int
    usd_per_hour: Amount


class Launch(_Record):
    """One call. `server` says where: on the platform, or on the embedded one of the desk that launched it.

    `predicted_usd` is by case (low, likely, high) and empty where nobody knew how long it takes; `max_usd` is what the
    run may cost, and `cap_s` how many seconds of the machine that is.
    """

    format: Literal["trimtab-launch/1"] = "trimtab-launch/1"
    call_id: Annotated[str, Field(pattern=r"^fc-[A-Za-z0-9]+$")]
    app_id: Annotated[str, Field(pattern=r"^ap-[A-Za-z0-9]+$")]
    server: Literal["modal", "embedded modal"]
    job: str
    run_id: str
    profile: str | None
    launched: AwareDatetime
    host: str
    commit: str | None
    config: str
    machine: Machine
    prices_dated: str
    predicted_usd: Mapping[str, Amount] = Field(default_factory=dict)
    predicted_s: Amount | None = None
    max_usd: Amount | None = None
    cap_s: Amount | None = None


class Launches(NamedTuple):
    """The launches of a results directory, newest first, and the files that are none, with what is wrong."""

    launches: tuple[Launch, ...]
    unreadable: tuple[str, ...]


def encoded(launch: Launch) -> bytes:
    """Return a launch as its file holds it."""
    return json.dumps(launch.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"


def write_launch(results: Path, launch: Launch) -> Path:
    """Write a launch whole and return where. Raises BudgetError when the disk is full."""
    make_directory(results / FOLDER)
    path = results / FOLDER / f"{launch.call_id}.json"
    write_whole(path, encoded(launch))
    return path


def list_launches(results: Path) -> Launches:
    """Return every launch below a results directory. One that cannot be read hides none of the others."""
    launches, unreadable = [], []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            launches.append(Launch.model_validate(json.loads(path.read_bytes())))
        except (OSError, ValueError) as error:
            unreadable.append(f"{path}: {error}")
    return Launches(launches=newest_first(launches), unreadable=tuple(unreadable))


def newest_first(launches: list[Launch]) -> tuple[Launch, ...]:
    """Return launches with the newest first, each call once: copies of one are equal, as it is written once."""
    return tuple(sorted({item.call_id: item for item in launches}.values(), key=_when, reverse=True))


def _when(launch: Launch) -> tuple[str, str]:
    return launch.launched.isoformat(), launch.call_id
