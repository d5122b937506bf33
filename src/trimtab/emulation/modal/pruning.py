"""What a plane's folder and its images take, and what of it nothing needs any more.

Reached from what is kept: apps that run or are deployed, calls that are remembered, and what these name. What cannot be
reached, and was not used for a time, goes: definitions first, then the files, and the engine's images last, so that
whoever is interrupted leaves only what the next one finds again. Volumes are told, and never touched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modal_proto import api_pb2

from trimtab.disk.folders import folder_bytes
from trimtab.emulation.modal.client_packages import folder_name
from trimtab.emulation.modal.definitions import (
    App,
    Class,
    Dict,
    Function,
    Image,
    Mount,
    Queue,
    Record,
    StoredSecret,
    Volume,
)
from trimtab.emulation.modal.description import Descriptions
from trimtab.emulation.modal.state import State
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.emulation.modal.attempt import ImageDefinition
    from trimtab.emulation.modal.engine_images import BuiltImage
    from trimtab.emulation.modal.images import DockerImages

SENDING_S: Final = 600.0
"""How long what was sent stays though nothing names it: the app that is to name it may be on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unneeded:
    """What can go: calls and lines of output of `before` a time, definitions, and files (or folders)."""

    before: float
    unused_since: float
    history: Mapping[str, int]
    records: tuple[Record, ...]
    paths: tuple[Path, ...]
    path_bytes: int
    needed_images: tuple[ImageDefinition, ...]


class Pruning:
    """Looks at the folder of one plane, on whose state nobody else works meanwhile."""

    def __init__(self, state: State, state_dir: Path, *, sending_s: float = SENDING_S) -> None:
        """`sending_s` is how long what was just sent stays."""
        self._state = state
        self._folder = state_dir
        self._sending_s = sending_s
        self._descriptions = Descriptions(state, state_dir / "files")

    def unneeded(self, *, older_s: float) -> Unneeded:
        """Return what nothing needs and was not used for so long."""
        before = time.time() - older_s
        unused_since = min(before, time.time() - self._sending_s)
        history = self._state.history
        kept = _Kept(self._state, before=before, recent=unused_since)
        paths = (
            *_stale(self._folder / "files", kept.files, unused_since),
            *_stale(self._folder / "blobs", history.blobs(before), unused_since),
            *_stale(self._folder / "client", {folder_name()}, unused_since),
        )
        return Unneeded(
            before=before,
            unused_since=unused_since,
            history=history.old(before),
            records=kept.others,
            paths=paths,
            path_bytes=sum(map(_bytes, paths)),
            needed_images=tuple(self._definitions(kept.started_images)),
        )

    def forget(self, found: Unneeded) -> None:
        """Remove what can go, but for images. Nothing may have been sent or called since it was found."""
        for record in found.records:
            self._state.shared.clear(record.id)
            self._state.remove(record)
        self._state.history.forget(found.before)
        for path in found.paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _definitions(self, image_ids: set[str]) -> Iterator[ImageDefinition]:
        for image_id in image_ids:
            with suppress(TrimtabError):  # what it is made of is gone: it can neither be built nor started
                yield self._descriptions.image(image_id)


class _Kept:
    """What is reached from apps that run or are deployed, and from calls that are remembered; and all `others`."""

    def __init__(self, state: State, *, before: float, recent: float) -> None:
        called = state.history.called(before)
        functions, images, mounts = list(state.all(Function)), list(state.all(Image)), list(state.all(Mount))
        with_calls = {function.app_id for function in functions if function.id in called}
        apps = {app.id: app for app in state.all(App) if not _ended(app, before) or app.id in with_calls}
        current = {one.id for one in functions if one.id in called or _is_current(one, apps, recent)}
        current |= {one.base_id for one in functions if one.id in current and one.base_id}
        current |= {one.id for one in functions if one.base_id in current}  # its variants
        definitions = [api_pb2.Function.FromString(one.definition) for one in functions if one.id in current]
        self.started_images = {one.image_id for one in definitions} - {""}
        made = {image.id: api_pb2.Image.FromString(image.definition) for image in images}
        reached: set[str] = set()
        following = [*self.started_images, *(image.id for image in images if image.used_at >= recent)]
        while following:
            image_id = following.pop()
            if image_id in made and image_id not in reached:
                reached.add(image_id)
                following += [base.image_id for base in made[image_id].base_images]
        reached_images = [made[image_id] for image_id in reached]
        named = {mount_id for one in definitions for mount_id in one.mount_ids}
        named |= {one.context_mount_id for one in reached_images}
        kept_mounts = [one for one in mounts if one.name or one.id in named or one.created_at >= recent]
        secrets = {secret_id for one in (*definitions, *reached_images) for secret_id in one.secret_ids}
        secrets |= {bucket.credentials_secret_id for one in definitions for bucket in one.cloud_bucket_mounts}
        self.files = {digest for mount in kept_mounts for _, digest, _ in mount.files}
        self.files |= {file.data.decode() for one in reached_images for file in one.context_files}
        kept = {*apps, *current, *reached, *(one.id for one in kept_mounts)}
        self.others: tuple[Record, ...] = (
            *(one for kind in (App, Function, Image, Mount) for one in state.all(kind) if one.id not in kept),
            *(one for one in (*state.all(Dict), *state.all(Queue)) if not one.name and one.used_at < recent),
            *(one for one in state.all(Class) if one.app_id not in apps),
            *(
                one
                for one in state.all(StoredSecret)
                if not (one.name or one.id in secrets or one.created_at >= recent)
            ),
        )


def _is_current(function: Function, apps: Mapping[str, App], recent: float) -> bool:
    """Tell whether a function can be called: a name that a newer deployment no longer has can not."""
    app = apps.get(function.app_id)
    if app is None:
        return False
    is_named = app.state != api_pb2.APP_STATE_DEPLOYED or function.id in app.function_ids.values()
    return is_named or function.created_at >= recent


def _ended(app: App, before: float) -> bool:
    return app.state == api_pb2.APP_STATE_STOPPED and app.stopped_at < before


def _stale(folder: Path, kept: set[str], before: float) -> Iterator[Path]:
    """Yield what of a folder nothing names, and was neither written nor asked for since a time."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.name not in kept and path.stat().st_mtime < before:
                yield path


def _bytes(path: Path) -> int:
    return folder_bytes(path) if path.is_dir() else path.lstat().st_blocks * 512


def prune_images(images: DockerImages | None, found: Unneeded, *, dry_run: bool) -> tuple[BuiltImage, ...]:
    """Remove the engine's images of this plane that can go, and return them. Asks the engine: takes a while."""
    if images is None:
        return ()
    going = {
        image.reference: image
        for image in images.holdings(found.needed_images)
        if not image.is_needed and image.used_at < found.unused_since
    }
    if not dry_run:
        gone = images.remove(tuple(going), unused_since=found.unused_since)
        return tuple(going[reference] for reference in gone)
    return tuple(going.values())


def prune_at_rest(
    state_dir: Path, images: DockerImages | None, *, older_s: float, dry_run: bool, sending_s: float = SENDING_S
) -> dict[str, Any]:
    """Prune the folder of a plane that does not run; the caller sees to it that none starts meanwhile."""
    state = State(state_dir / "state.db")
    try:
        pruning = Pruning(state, state_dir, sending_s=sending_s)
        found = pruning.unneeded(older_s=older_s)
        if not dry_run:
            pruning.forget(found)
    finally:
        state.close()
    return told(found, prune_images(images, found, dry_run=dry_run))


def holdings(state_dir: Path, volumes: Sequence[Volume], images: tuple[BuiltImage, ...]) -> dict[str, Any]:
    """Return what a plane's folder and images take, by kind and by Volume, in bytes. Looks at every file."""
    kinds = {name: folder_bytes(state_dir / name) for name in ("files", "blobs", "client", "attempts")}
    kinds["history"] = sum(map(_bytes, state_dir.glob("state.db*")))
    kinds["images"] = sum(image.own_bytes for image in images)
    kinds["volumes"] = folder_bytes(state_dir / "volumes")
    return {
        "bytes": kinds,
        "volumes": [
            {"id": volume.id, "name": volume.name, "bytes": folder_bytes(state_dir / "volumes" / volume.id)}
            for volume in volumes
        ],
        "images": [{"name": image.reference, "bytes": image.own_bytes, "needed": image.is_needed} for image in images],
    }


def told(found: Unneeded, images: tuple[BuiltImage, ...]) -> dict[str, Any]:
    """Return what can go, or went, as JSON can hold it."""
    going = [{"name": image.reference, "bytes": image.own_bytes} for image in images]
    return {
        "calls": found.history["calls"],
        "lines": found.history["lines"],
        "definitions": len(found.records),
        "files": len(found.paths),
        "images": going,
        "bytes": found.history["bytes"] + found.path_bytes + sum(image.own_bytes for image in images),
    }
