"""The engine's images of one plane: their names, when each was last used, what they take, and their removal.

An image is `trimtab-modal:DIGEST-PLANE`: by what it is made of, and for which plane. Planes that need the same image
each give it their own name, so the engine itself counts who needs it, and keeps it until the last name is gone. The
file `images/DIGEST` of a plane's folder was touched when it last used the image. Touches that folder, and these names.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.emulation.modal.place import plane_name
from trimtab.images.engine import image_or_none

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

_REPOSITORY: Final = "trimtab-modal"
_CANDIDATE: Final = "-candidate"
_DIGEST_LENGTH: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image that a plane has a name for. `own_bytes` is what the engine gets back when that name goes."""

    reference: str
    own_bytes: int
    used_at: float
    is_needed: bool


class EngineImages:
    """The names that one plane has given."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "images"
        self._plane = plane_name(state_dir)

    def name_of(self, digest: str) -> str:
        """Return what an image of this plane is called."""
        return f"{_REPOSITORY}:{digest[:_DIGEST_LENGTH]}-{self._plane}"

    def candidate_of(self, name: str) -> str:
        """Return what an image is called until it is known to be good."""
        return f"{name}{_CANDIDATE}"

    def has(self, client: DockerClient, name: str) -> bool:
        """Tell whether the engine has an image; one of ours that another plane built is given this name too."""
        if image_or_none(client, name) is not None:
            return True
        if not name.startswith(f"{_REPOSITORY}:"):
            return False
        of_any_plane = name.rpartition("-")[0]
        for other in _all_names(client):
            if other.startswith(of_any_plane) and not other.endswith(_CANDIDATE):
                image = image_or_none(client, other)
                if image is not None:
                    return bool(image.tag(name))
        return False

    def note_use(self, name: str) -> None:
        """Note that an image is used now."""
        if name.startswith(f"{_REPOSITORY}:"):
            self._folder.mkdir(exist_ok=True)
            self._use_of(name).touch()

    def drop_candidates(self, client: DockerClient) -> None:
        """Take away what a build left that was killed."""
        from docker.errors import APIError

        for name in self._names(client):
            if name.endswith(_CANDIDATE):
                with suppress(APIError):  # a build that outlived its plane still works on it
                    client.images.remove(name)

    def holdings(self, client: DockerClient, needed: Collection[str]) -> tuple[BuiltImage, ...]:
        """Return the images of this plane, the dearest first; `needed` are names. Looks at every image here."""
        images = [image_or_none(client, one["Id"]) for one in client.api.images()]
        sizes = {_layers(image): int(image.attrs["Size"]) for image in images if image is not None}
        seen: set[tuple[str, ...]] = set()
        found = []
        for name in self._names(client):
            image = image_or_none(client, name)
            if image is None or name.endswith(_CANDIDATE):
                continue
            layers = _layers(image)
            below = max((size for other, size in sizes.items() if _stands_on(layers, other)), default=0)
            is_alone = len(image.tags) == 1 and layers not in seen  # an image that only sets a variable adds no layer
            seen.add(layers)
            found.append(
                BuiltImage(
                    reference=name,
                    own_bytes=int(image.attrs["Size"]) - below if is_alone else 0,
                    used_at=self._used_at(name),
                    is_needed=name in needed,
                )
            )
        return tuple(sorted(found, key=lambda one: one.own_bytes, reverse=True))

    def remove(self, client: DockerClient, names: Collection[str], *, unused_since: float) -> tuple[str, ...]:
        """Take names away, and return those that went: none that was used meanwhile, or that a container holds."""
        from docker.errors import APIError

        gone: list[str] = []
        for name in names:
            if self._used_at(name) < unused_since:
                with suppress(APIError):
                    client.images.remove(name)
                    gone.append(name)
                    self._use_of(name).unlink(missing_ok=True)
        return tuple(gone)

    def _names(self, client: DockerClient) -> list[str]:
        ours = (f"-{self._plane}", f"-{self._plane}{_CANDIDATE}")
        return [name for name in _all_names(client) if name.endswith(ours)]

    def _use_of(self, name: str) -> Path:
        return self._folder / name.partition(":")[2][:_DIGEST_LENGTH]

    def _used_at(self, name: str) -> float:
        try:
            return self._use_of(name).stat().st_mtime
        except FileNotFoundError:
            return 0.0


def _all_names(client: DockerClient) -> list[str]:
    """Return the names of every plane's images. Asks for the list alone: any of them may be removed meanwhile."""
    return [name for image in client.api.images(name=_REPOSITORY) for name in image["RepoTags"] or ()]


def _layers(image: Image) -> tuple[str, ...]:
    return tuple(image.attrs["RootFS"].get("Layers") or ())


def _stands_on(layers: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(other) < len(layers) and layers[: len(other)] == other
