"""What is inside an image: which of its directories hold more than in another one. Nothing of it is run.

Reads the files' names and sizes as the engine streams them from a container that never starts.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from trimtab.images.host import engine_errors

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

_SHOWN: Final = 5
_MOST: Final = 0.8


def grown_directories(client: DockerClient, image: Image, before: Image) -> tuple[tuple[str, int], ...]:
    """Return the directories that hold most more bytes in an image than in the one before it, the largest first."""
    with engine_errors(None):
        sizes = directory_sizes(client, image)
        sizes.subtract(directory_sizes(client, before))
    return largest_apart({path: size for path, size in sizes.items() if size > 0})


def directory_sizes(client: DockerClient, image: Image) -> Counter[str]:
    """Return the bytes below each directory of an image."""
    sizes: Counter[str] = Counter()
    container = client.containers.create(image, command=["nothing"], network_disabled=True)
    try:
        with _tar_of(cast("Iterator[bytes]", container.export())) as tar:  # the stubs say text
            for member in tar:
                if member.isfile():
                    parts = member.name.split("/")[:-1]
                    for depth in range(len(parts) + 1):
                        sizes["/" + "/".join(parts[:depth])] += member.size
    finally:
        container.remove(force=True)
    return sizes


def largest_apart(sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Return the largest directories of which none holds another, each as deep as most of its bytes lie together."""
    found: list[tuple[str, int]] = []
    for path, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        below = path.rstrip("/") + "/"
        inner = max((s for p, s in sizes.items() if p != path and p.startswith(below)), default=0)
        overlaps = any(below.startswith(f"{p}/") or p.startswith(below) for p, _ in found)
        if not overlaps and inner < _MOST * size and not _is_crowd(path, sizes, size):
            found.append((path, size))
            if len(found) == _SHOWN:
                break
    return tuple(found)


def _is_crowd(path: str, sizes: Mapping[str, int], size: int) -> bool:
    """Tell whether a directory is large only by the directories in it, which then say more than it does."""
    below = path.rstrip("/") + "/"
    children = sum(s for p, s in sizes.items() if p != path and p.startswith(below) and "/" not in p[len(below) :])
    return children >= _MOST * size


@contextmanager
def _tar_of(chunks: Iterator[bytes]) -> Iterator[tarfile.TarFile]:
    with tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks)), mode="r|") as tar:
        yield tar


class _Chunks(io.RawIOBase):
    """A stream of what comes in pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        if not self._rest:
            self._rest = next(self._chunks, b"")
        taken, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(taken)] = taken
        return len(taken)
