"""Which pictures there are: every file below the data by name, size and SHA-256, and what is left out and why.

Follows no link, opens nothing that is not a regular file, and writes nothing. Two files with the same bytes are one
content: it is decoded and embedded once.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from training.dedup.decoding import SUFFIXES, Limits, file_digest
from training.dedup.encoders import Recipe, read_recipe
from training.dedup.skips import Skip, UnusableError, counted
from trimtab.errors import UsageError
from trimtab.storage.manifests import FileEntry, digest, path_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from training.dedup.config import Config, Pictures

_WINDOW: Final = 4096
_SAY_EVERY_S: Final = 10.0

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The pictures of a data set, in the order of their paths, and the recipe of their embeddings.

    `content_of[i]` is the content of file i; `sha256s` and `first_of` are by content. `others` counts the files that
    are no picture by their names.
    """

    directory: Path
    cache: Path
    recipe: Recipe
    limits: Limits
    paths: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    content_of: tuple[int, ...]
    sha256s: tuple[str, ...]
    first_of: tuple[int, ...]
    skips: tuple[Skip, ...]
    others: int
    sha256: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say what is left out."""
        if not self.skips:
            return ()
        why = ", ".join(f"{number} {reason}" for reason, number in counted(self.skips).items())
        return (f"files that are left out: {why}",)


def read_survey(directory: Path, config: Config, cache: Path) -> Survey:
    """Look through a data set. Raises UsageError when it has no picture, or the encoder's manifest is wrong."""
    recipe = read_recipe(directory, config.embedding)
    limits = limits_of(config.pictures)
    skips: list[Skip] = []
    listed, others = _listed(directory, recipe.folder, skips)
    paths: list[str] = []
    entries: list[FileEntry] = []

    def look(path: str) -> tuple[int, str] | UnusableError:
        try:
            return file_digest(directory / path, limits)
        except UnusableError as error:
            return error

    with ThreadPoolExecutor(config.pictures.workers) as pool:
        for path, found in zip(listed, _told(in_order(pool, look, listed), len(listed)), strict=True):
            if isinstance(found, UnusableError):
                skips.append(Skip(path=path, reason=found.reason, detail=found.detail))
            else:
                paths.append(path)
                entries.append(FileEntry(path=path, size_bytes=found[0], sha256=found[1]))
    if not paths:
        raise UsageError(
            f"the data at {directory} cannot be used",
            why=f"it has no picture (left out: {len(skips)}; no pictures by their names: {others})",
            remedy="give a directory with pictures anywhere below it; the formats are in docs/dedup.md",
        )
    numbers: dict[str, int] = {}
    content_of = tuple(numbers.setdefault(entry.sha256, len(numbers)) for entry in entries)
    first: dict[int, int] = {}
    for index, content in enumerate(content_of):
        first.setdefault(content, index)
    return Survey(
        directory=directory,
        cache=cache,
        recipe=recipe,
        limits=limits,
        paths=tuple(paths),
        sizes_bytes=tuple(entry.size_bytes for entry in entries),
        content_of=content_of,
        sha256s=tuple(numbers),
        first_of=tuple(first.values()),
        skips=tuple(sorted(skips, key=lambda skip: skip.path)),
        others=others,
        # Another model at the same path is another run.
        sha256=hashlib.sha256(f"{digest(entries)} {recipe.key}".encode()).hexdigest(),
    )


def limits_of(pictures: Pictures) -> Limits:
    """Return what one file may be, in pixels and bytes."""
    return Limits(
        max_pixels=round(pictures.max_megapixels * 1e6), max_file_bytes=round(pictures.max_file_mib * 1024**2)
    )


def in_order(pool: ThreadPoolExecutor, make: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """Yield what a pool's threads make of the items, in their order, with a bounded number of them under way."""
    rest = iter(items)
    while window := list(islice(rest, _WINDOW)):
        yield from pool.map(make, window)


def _told(found: Iterator[Made], total: int) -> Iterator[Made]:
    """Pass on what comes, and say on stderr now and then how far it is: a large data set takes its time to read."""
    said = time.monotonic()
    for number, item in enumerate(found, 1):
        yield item
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            sys.stderr.write(f"read {number:,} of {total:,} files\n")
            sys.stderr.flush()


def _listed(directory: Path, left_out: Path | None, skips: list[Skip]) -> tuple[list[str], int]:
    """Return the paths of what may be pictures, sorted, and how many other files there are."""
    listed: list[str] = []
    others = 0
    below = [directory]
    while below:
        folder = below.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            if folder == directory:
                raise UsageError(
                    f"the data at {directory} cannot be used",
                    why=error.strerror or str(error),
                    remedy="give a directory with pictures anywhere below it",
                ) from error
            skips.append(Skip(path=_shown(folder, directory), reason="unreadable", detail=error.strerror or str(error)))
            continue
        for entry in found:
            path = Path(entry.path)
            if entry.is_symlink():
                skips.append(Skip(path=_shown(path, directory), reason="a link", detail=f"to {_target(path)}"))
            elif entry.is_dir(follow_symlinks=False):
                if path != left_out:
                    below.append(path)
            elif path.suffix.lower() not in SUFFIXES:
                others += 1
            elif not entry.is_file(follow_symlinks=False):
                skips.append(Skip(path=_shown(path, directory), reason="not a regular file", detail="a pipe or device"))
            elif problems := path_problems((path.relative_to(directory).as_posix(),)):
                detail = problems[0].encode("utf-8", "backslashreplace").decode()
                skips.append(
                    Skip(path=_shown(path, directory), reason="a name that is not portable", detail=detail[:200])
                )
            else:
                listed.append(path.relative_to(directory).as_posix())
    return sorted(listed), others


def _target(link: Path) -> str:
    try:
        return os.fsencode(link.readlink()).decode("utf-8", "backslashreplace")
    except OSError as error:
        return error.strerror or str(error)


def _shown(path: Path, directory: Path) -> str:
    """Return a relative path in which every byte that is not UTF-8 is written out, and every control character."""
    text = os.fsencode(path.relative_to(directory)).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
