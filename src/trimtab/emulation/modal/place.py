"""The place of one attempt on this machine: views of its Volumes, mounts of its buckets. Touches its folder only."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from trimtab.emulation.modal.attempt import AttemptSpec
from trimtab.emulation.modal.bucket_mount import mount_bucket, unmount_bucket
from trimtab.emulation.modal.client_packages import DEPENDENCIES, PKG
from trimtab.errors import UsageError

ARGUMENTS_PATH = "/__modal/arguments.bin"


def plane_name(state_dir: Path) -> str:
    """Return what tells a plane's containers and images from another's, in the one engine that they share."""
    return hashlib.sha256(str(state_dir.absolute()).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A folder of this machine at a path of the attempt."""

    source: Path
    path: str
    read_only: bool


def client_binds(packages: Path) -> tuple[Bind, ...]:
    """Return where the client's packages appear."""
    return (
        Bind(source=packages / "pkg", path=PKG, read_only=True),
        Bind(source=packages / "deps", path=DEPENDENCIES, read_only=True),
    )


class Views(Protocol):
    """What a place needs of the Volumes."""

    async def attach(self, task_id: str, volume_id: str, path: Path, *, read_only: bool) -> None:
        """Lay out an attempt's view of a Volume at a path that does not exist yet."""

    async def detach(self, task_id: str) -> None:
        """Remove an attempt's views, with what was not committed."""


class AttemptPlace:
    """Made before an attempt starts, removed after it ended."""

    def __init__(self, folder: Path, task_id: str, volumes: Views) -> None:
        self._folder, self._task_id, self._volumes = folder, task_id, volumes

    async def prepare(self, spec: AttemptSpec, *, aws_state_dir: Path | None) -> tuple[Bind, ...]:
        """Make it, and return what is to be bound where. Raises TrimtabError; then nothing is left of it."""
        try:
            self._folder.mkdir(parents=True)
            return (*await self._volume_binds(spec), *await self._bucket_binds(spec, aws_state_dir))
        except BaseException:
            await self.remove()
            raise

    async def remove(self) -> None:
        """Take it away, whatever of it there is."""
        await self._volumes.detach(self._task_id)
        await asyncio.to_thread(remove_place, self._folder)

    async def _volume_binds(self, spec: AttemptSpec) -> list[Bind]:
        binds = []
        for index, mount in enumerate(spec.volumes):
            view = self._folder / "volumes" / str(index)
            view.parent.mkdir(exist_ok=True)
            await self._volumes.attach(spec.task_id, mount.volume_id, view, read_only=mount.read_only)
            shown = view / PurePosixPath("/", mount.sub_path).relative_to("/")
            if ".." in shown.parts:
                raise UsageError(f"{mount.sub_path!r} leads out of the Volume", why="it holds `..`", remedy="mend it")
            shown.mkdir(parents=True, exist_ok=True)
            # The client looks for the files that keep a reload from happening under the first of these two.
            binds.append(Bind(source=view, path=f"/__modal/volumes/{mount.volume_id}", read_only=mount.read_only))
            binds.append(Bind(source=shown, path=mount.path, read_only=mount.read_only))
        return binds

    async def _bucket_binds(self, spec: AttemptSpec, aws_state_dir: Path | None) -> list[Bind]:
        binds = []
        for index, mount in enumerate(spec.buckets):
            target = self._folder / "buckets" / str(index)
            await asyncio.to_thread(
                mount_bucket, mount, target, identity_token=spec.identity_token, aws_state_dir=aws_state_dir
            )
            binds.append(Bind(source=target, path=mount.path, read_only=mount.read_only))
        return binds


def sweep_places(places: Path) -> None:
    """Remove what attempts of a plane that was killed left behind: mounts, views of Volumes."""
    with suppress(FileNotFoundError):
        for folder in places.iterdir():
            remove_place(folder)


def remove_place(folder: Path) -> None:
    """Remove the folder of an attempt, after the mounts in it."""
    with suppress(FileNotFoundError):
        for target in (folder / "buckets").iterdir():
            unmount_bucket(target)
    shutil.rmtree(folder, ignore_errors=True)
