"""What images and models will take before the first was made: from the sizes beside the lock and the services' files.

Reads files of the project and looks for npm, so it needs no engine and no network. Once a build was measured, the
ledger knows better.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import UsageError
from trimtab.images.inputs import CONTEXT
from trimtab.plan import Cost
from trimtab.units import MIB

if TYPE_CHECKING:
    from trimtab.catalogue import Catalogue

# Measured on a loop-mounted ext4 (benchmarks/images): blocks that files do not fill, and the engine's own records.
_BLOCKS: Final = 1.05
_RECORDS: Final = MIB // 2
_BYTES_PER_S: Final = 12 * MIB  # 132 MB of wheels fetched, unpacked and compiled on 2 cores in 9 s


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredModel:
    """A model that a service pins: its file's name and size, and the size of the package that it is made from."""

    file: str
    size_bytes: int
    package_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is known before anything was measured: the costs of the variants' bases and of the services' own layers.

    `has_npm` tells whether what makes models is on this machine.
    """

    bases: Mapping[str, Cost] = field(default_factory=dict)
    services: Mapping[str, Cost] = field(default_factory=dict)
    models: Mapping[str, tuple[DeclaredModel, ...]] = field(default_factory=dict)
    has_npm: bool = False


def read_declared(root: Path, catalogue: Catalogue) -> Declared:
    """Return what the project's files say. Raises UsageError when the sizes beside a lock cannot be read."""
    variants = {variant for service in catalogue.services.values() for variant in service.variants}
    bases = {variant: cost for variant in variants if (cost := _base_cost(root, variant)) is not None}
    services = {name: _service_cost(root, name) for name in catalogue.services}
    models = {name: _models(root, name) for name in catalogue.services}
    return Declared(bases=bases, services=services, models=models, has_npm=shutil.which("npm") is not None)


def sizes_path(root: Path, variant: str) -> Path:
    """Return where scripts/lock writes the sizes of what a variant's lock names."""
    return root / CONTEXT / f"sizes-{variant}.toml"


def image_cost(size_bytes: int, *, memory_bytes: int | None = None) -> Cost:
    """Return what it takes to write so many bytes of files into the engine once, and to keep them."""
    on_disk = round(size_bytes * _BLOCKS) + _RECORDS
    wall_s = 2 + size_bytes / _BYTES_PER_S
    return Cost(peak_bytes=on_disk, kept_bytes=on_disk, memory_bytes=memory_bytes, wall_s=wall_s)


def release_bytes(models: tuple[DeclaredModel, ...]) -> int:
    """Return what a release keeps in the engine: its models, once, and the records of its containers."""
    return round(sum(model.size_bytes for model in models) * _BLOCKS) + _RECORDS


def _base_cost(root: Path, variant: str) -> Cost | None:
    path = sizes_path(root, variant)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    try:
        return _cost_in(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, f"it lacks {error}") from error


def _cost_in(document: Mapping[str, Any]) -> Cost:
    base = document["base"]
    kept = base["kept_bytes"] if "kept_bytes" in base else sum(w["unpacked_bytes"] for w in document["wheels"].values())
    memory = base.get("memory_bytes")
    return image_cost(int(kept), memory_bytes=None if memory is None else int(memory))


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"the sizes in {path} cannot be read", why=why, remedy="run scripts/lock, which writes them")


def _service_cost(root: Path, service: str) -> Cost:
    context = root / CONTEXT
    copied = (context / "serving", context / service / "models.toml", context / "__init__.py")
    files = {file for place in copied for file in (place.rglob("*") if place.is_dir() else (place,)) if file.is_file()}
    return image_cost(sum(file.stat().st_size for file in files if "__pycache__" not in file.parts))


def _models(root: Path, service: str) -> tuple[DeclaredModel, ...]:
    """Return a service's models; none where its manifest cannot be read, which its own step refuses."""
    from trimtab.images.weights import manifest_path

    try:
        manifest = tomllib.loads(manifest_path(root, service).read_text(encoding="utf-8"))
        packages = {name: int(package["bytes"]) for name, package in manifest["packages"].items()}
        return tuple(
            DeclaredModel(
                file=model["file"], size_bytes=int(model["bytes"]), package_bytes=packages[model["source"]["package"]]
            )
            for model in manifest["models"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
