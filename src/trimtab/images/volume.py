"""The models of a release as a volume of the engine that runs it: the same way here and on a host far away.

A volume is named by what is in it and never changed, so a release that is gone back to finds the models that it had.
Models stream into it from where they are read, and touch no other disk. The manifest is written last: a volume without
it was cut off, or held something else, and is filled anew.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.images.build import LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.container import MANIFEST, MODELS, container_name, container_or_none, creating, end
from trimtab.images.weights import Weights
from trimtab.units import format_size

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL_MODELS: Final = "org.trimtab.models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """A service's models, and the manifest that pins them."""

    project: str
    service: str
    manifest: bytes
    weights: tuple[Weights, ...]

    @property
    def volume(self) -> str:
        """The name of the volume; the manifest pins every model by its sha256, so its own digest is enough."""
        digest = hashlib.sha256(self.manifest).hexdigest()
        return f"{self.project}-{self.service}-models-{digest[:12]}"

    @property
    def sha256(self) -> dict[str, str]:
        """The models' checksums by their file names."""
        return {weights.file: weights.sha256 for weights in self.weights}


def has_volume(client: DockerClient, name: str) -> bool:
    """Tell whether the engine has a volume of this name."""
    from docker.errors import NotFound

    try:
        client.volumes.get(name)
    except NotFound:
        return False
    return True


def ensure_models(
    client: DockerClient,
    models: Models,
    *,
    image: str,
    proven: frozenset[str],
    read: Callable[[Weights], Iterator[bytes]],
    say: Callable[[str], None],
) -> None:
    """Have the models in their volume. `image` is any image there: its container is created, and never started.

    `proven` are the volumes that a release answered rightly with: they are whole. `read` gives a model's pinned bytes;
    what it raises ends this, and the volume then counts as not filled.
    """
    labels = {LABEL_PROJECT: models.project, LABEL_SERVICE: models.service}
    stands = has_volume(client, models.volume)
    if stands and models.volume in proven:
        return
    if not stands:
        client.volumes.create(models.volume, labels={**labels, LABEL_MODELS: models.volume})
    if (left := container_or_none(client, models.project, models.service, "models")) is not None:
        end(left, gently=False)
    name = container_name(models.project, models.service, "models")
    with creating(client, name):
        carrier: Container = client.containers.create(
            image, name=name, volumes={models.volume: {"bind": MODELS, "mode": "rw"}}, labels=labels
        )
    try:
        if not _is_complete(carrier, models):
            say(f"the models ({format_size(sum(w.size_bytes for w in models.weights))}) into volume {models.volume}")
            carrier.put_archive(MODELS, _archive(models, read))
    finally:
        end(carrier, gently=False)


def unused_models(client: DockerClient, project: str, service: str, *, kept: frozenset[str]) -> Iterator[str]:
    """Remove the volumes of models that no kept release has, and yield their names."""
    from docker.errors import APIError

    labels = [f"{LABEL_PROJECT}={project}", f"{LABEL_SERVICE}={service}", LABEL_MODELS]
    for volume in client.volumes.list(filters={"label": labels}):
        if volume.name in kept:
            continue
        try:
            volume.remove()
        except APIError:  # a container still has it; the next release tries again
            continue
        yield str(volume.name)


def _is_complete(carrier: Container, models: Models) -> bool:
    from docker.errors import NotFound

    try:
        _, entry = carrier.get_archive(f"{MODELS}/{MANIFEST}")
    except NotFound:
        return False
    return entry is not None and int(entry["size"]) == len(models.manifest)


def _archive(models: Models, read: Callable[[Weights], Iterator[bytes]]) -> Iterator[bytes]:
    """Yield a tar of the models, then the manifest, a piece at a time: it may be larger than the memory."""
    for weights in models.weights:
        yield _header(weights.file, weights.size_bytes)
        yield from read(weights)
        yield _padding(weights.size_bytes)
    yield _header(MANIFEST, len(models.manifest))
    yield models.manifest
    yield _padding(len(models.manifest))
    yield tarfile.NUL * (2 * tarfile.BLOCKSIZE)


def _header(name: str, size_bytes: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size_bytes, 0o644
    return entry.tobuf()


def _padding(size_bytes: int) -> bytes:
    return tarfile.NUL * (-size_bytes % tarfile.BLOCKSIZE)
