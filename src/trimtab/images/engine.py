"""The Docker engine of this machine, through the docker SDK. Everything but the build itself goes through here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import ProgramError, ToolMissingError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

ENGINE_REMEDY: Final = "run scripts/setup-engine as root, or start Docker, and run the same command again"

_BUSY: Final = "disk usage operation is already running"
_BUSY_S: Final = 30.0


def connect() -> DockerClient:
    """Return a client of the engine that DOCKER_HOST names, or of the local one. Raises ToolMissingError."""
    client = connect_or_none()
    if client is None:
        raise ToolMissingError("no Docker engine answers", why="the step builds or runs images", remedy=ENGINE_REMEDY)
    return client


def connect_or_none() -> DockerClient | None:
    """Return a client of the engine, or None when none answers."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException:
        return None
    return client


def data_root(client: DockerClient | None) -> Path:
    """Return the folder that the engine writes to: the file system that an image budget is about."""
    if client is None:
        return Path("/var/lib/docker")
    return Path(client.info().get("DockerRootDir") or "/var/lib/docker")


def image_or_none(client: DockerClient, reference: str) -> Image | None:
    """Return a local image, or None when it is not here."""
    from docker.errors import ImageNotFound

    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None


def size_over_base(image: Image, base: Image) -> int:
    """Return the unpacked bytes that an image adds to its base.

    Raises ProgramError when it does not stand on that base: its size would be compared with the wrong thing.
    """
    if not stands_on(image, base):
        raise ProgramError(
            f"{image.tags[0] if image.tags else image.id} does not stand on {base.tags[0] if base.tags else base.id}",
            why="its first layers are not the base's layers",
            remedy="let its Dockerfile's last stage start FROM ${BASE}",
        )
    return sum(int(layer["Size"]) for layer in image.history()) - sum(int(layer["Size"]) for layer in base.history())


def stands_on(image: Image, base: Image) -> bool:
    """Tell whether an image's first layers are another one's."""
    layers, below = image.attrs["RootFS"]["Layers"], base.attrs["RootFS"]["Layers"]
    return bool(layers[: len(below)] == below)


@contextmanager
def build_cache_as_before(client: DockerClient) -> Iterator[None]:
    """Take away, at the end, what builds inside the block left in the engine's build cache, and nothing older.

    The layers of an image that was built stay: they are the image's own. What another build uses now is left alone.
    """
    from docker.errors import DockerException
    from requests import RequestException

    def tidy() -> None:
        if new := sorted(_cache_records(client) - before):
            pattern: Any = {"id": "|".join(new)}  # the stubs do not know this filter; the engine takes one pattern
            client.api.prune_builds(filters=pattern, all=True)

    before = _cache_records(client)
    try:
        yield
    except BaseException:
        with suppress(DockerException, RequestException):  # why the build failed matters more
            tidy()
        raise
    tidy()


def _cache_records(client: DockerClient) -> frozenset[str]:
    """Return the ids of the engine's build cache. The engine counts for one caller at a time: the others wait."""
    from docker.errors import APIError

    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            return frozenset(record["ID"] for record in client.df()["BuildCache"] or ())
        except APIError as error:
            if _BUSY not in str(error.explanation) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
