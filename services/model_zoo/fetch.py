"""The models of manifests, made and checked: each file appears whole under its name, or not at all.

Writes only into the given directory; what is already right there is left alone, and then nothing is fetched.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from services.model_zoo.convert import onnx_bytes
from services.model_zoo.errors import DisagreementError, DriftError
from services.model_zoo.graph_model import read_graph_model
from services.model_zoo.package import fetch_package, read_members
from services.serving.manifest import file_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.serving.manifest import Manifest, ModelSpec, PackageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """One model file that is now in place, and whether this run made it."""

    name: str
    path: Path
    key: str
    sha256: str
    bytes: int
    made: bool


def fetch_models(
    manifests: Sequence[Manifest], directory: Path, *, say: Callable[[str], None]
) -> tuple[FetchedModel, ...]:
    """Bring every model of the manifests into the directory, each package fetched once and each model made once.

    Raises a ZooError; what was right before stays.
    """
    models = {name: model for manifest in manifests for name, model in manifest.models.items()}
    packages = {name: manifest.packages[name] for manifest in manifests for name in manifest.packages}
    _check_agreement(manifests, models, packages)
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {name: model for name, model in models.items() if file_problem(directory / model.file, model) is not None}
    for package_name in dict.fromkeys(model.source.package for model in wanted.values()):
        from_here = {name: model for name, model in wanted.items() if model.source.package == package_name}
        _make_from_package(packages[package_name], from_here, directory, say=say)
    return tuple(
        FetchedModel(
            name=name,
            path=directory / model.file,
            key=model.key,
            sha256=model.sha256,
            bytes=model.bytes,
            made=name in wanted,
        )
        for name, model in models.items()
    )


def _check_agreement(
    manifests: Sequence[Manifest], models: Mapping[str, ModelSpec], packages: Mapping[str, PackageSource]
) -> None:
    """Refuse two manifests that mean different files, or packages, by one name."""
    for manifest in manifests:
        others = [name for name, package in manifest.packages.items() if packages[name] != package]
        others += [
            name
            for name, model in manifest.models.items()
            if (models[name].file, models[name].sha256) != (model.file, model.sha256)
        ]
        if others:
            raise DisagreementError(
                f"The manifests do not mean the same by {', '.join(others)}.",
                why="Their files, or their packages, differ, and both would lie under one name.",
                remedy="Give one of them another name and another `file`, or pin the same in both.",
            )


def _make_from_package(
    package: PackageSource,
    models: Mapping[str, ModelSpec],
    directory: Path,
    *,
    say: Callable[[str], None],
) -> None:
    names = {path for model in models.values() for path in (model.source.graph, *model.source.weights)}
    # beside the results, so that the disk that has room for them is the one that is used
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as scratch:
        say(f"fetching {package.npm} by npm")
        members = read_members(fetch_package(package, directory=Path(scratch)), names)
    for name, model in models.items():
        say(f"converting {name} to {model.file}")
        _write_whole(directory / model.file, _converted(name, model, members))


def _converted(name: str, model: ModelSpec, members: Mapping[str, bytes]) -> bytes:
    weight_files = {PurePosixPath(path).name: members[path] for path in model.source.weights}
    content = onnx_bytes(read_graph_model(members[model.source.graph], weight_files))
    digest = hashlib.sha256(content).hexdigest()
    if (digest, len(content)) != (model.sha256, model.bytes):
        raise DriftError(
            f"The conversion of {name} gave another file than the manifest pins.",
            why=f"It holds {len(content)} bytes with the sha256 {digest}; "
            f"the manifest says {model.bytes} and {model.sha256}.",
            remedy="Run it in the project's locked environment. After a wanted change of the converter, check the new "
            "file on real pictures and write its size, sha256 and key into the manifest.",
        )
    return content


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, then rename: no reader ever sees half a model."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as stream:
        temporary = Path(stream.name)
        try:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.chmod(0o644)  # the service reads it as another user
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
