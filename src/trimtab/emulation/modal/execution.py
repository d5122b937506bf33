"""Chooses what attempts run in: containers of the Docker engine, or processes in mount namespaces of their own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.emulation.modal.attempt import AttemptRunner, ImageBuilder, VolumeStore
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.errors import ToolMissingError

if TYPE_CHECKING:
    from trimtab.emulation.modal.images import DockerImages


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What runs attempts, keeps Volumes and makes images. `name` is what `--runner` calls it."""

    name: str
    runner: AttemptRunner
    volumes: VolumeStore
    images: ImageBuilder
    built: DockerImages | None = None
    """The same images, where the engine keeps them."""


async def choose(state_dir: Path, settings: PlaneSettings) -> Execution:
    """Return what the settings ask for; "auto" is Docker where an engine answers.

    Raises ToolMissingError when Docker is asked for and no engine answers.
    """
    from trimtab.emulation.modal.volumes import DirectoryVolumes

    volumes = DirectoryVolumes(state_dir / "volumes")
    aws_state_dir = Path(settings.aws_state_dir) if settings.aws_state_dir else None
    if settings.runner != "namespace":
        if await asyncio.to_thread(_engine_answers):
            from trimtab.emulation.modal.containers import DockerRunner
            from trimtab.emulation.modal.images import DockerImages

            images = DockerImages(state_dir, settings.base_image)
            runner = DockerRunner(state_dir, volumes, images, aws_state_dir)
            return Execution(name="docker", runner=runner, volumes=volumes, images=images, built=images)
        if settings.runner == "docker":
            raise ToolMissingError(
                "no Docker engine answers",
                why="`--runner docker` runs each attempt in a container of its own",
                remedy="start the engine (scripts/setup-engine), or take `--runner namespace`",
            )
    from trimtab.emulation.modal.namespaces import NamespaceImages, NamespaceRunner

    return Execution(
        name="namespace",
        runner=NamespaceRunner(state_dir, volumes, aws_state_dir),
        volumes=volumes,
        images=NamespaceImages(),
    )


def _engine_answers() -> bool:
    from trimtab.images.engine import connect_or_none

    return connect_or_none() is not None


def images_of(state_dir: Path, base_image: str) -> DockerImages | None:
    """Return the images of a plane that need not run, or None when no engine answers."""
    from trimtab.emulation.modal.images import DockerImages

    return DockerImages(state_dir, base_image) if _engine_answers() else None


def sweep(state_dir: Path) -> None:
    """Take away what a plane that was killed left running: containers, mounts, views. Not while a plane runs."""
    from trimtab.emulation.modal.containers import remove_containers
    from trimtab.emulation.modal.place import plane_name, sweep_places
    from trimtab.images.engine import connect_or_none

    client = connect_or_none()
    if client is not None:
        remove_containers(client, plane_name(state_dir))
        client.close()
    sweep_places(state_dir / "attempts")
