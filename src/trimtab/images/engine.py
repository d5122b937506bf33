"""The Docker engine of this machine, through the docker SDK. Everything but the build itself goes through here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ProgramError, ToolMissingError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

ENGINE_REMEDY = "run scripts/setup-engine as root, or start Docker, and run the same command again"


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
    layers, below = image.attrs["RootFS"]["Layers"], base.attrs["RootFS"]["Layers"]
    if layers[: len(below)] != below:
        raise ProgramError(
            f"{image.tags[0] if image.tags else image.id} does not stand on {base.tags[0] if base.tags else base.id}",
            why="its first layers are not the base's layers",
            remedy="let its Dockerfile's last stage start FROM ${BASE}",
        )
    return sum(int(layer["Size"]) for layer in image.history()) - sum(int(layer["Size"]) for layer in base.history())
