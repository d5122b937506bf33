"""Where the files of an image folder lie: in an ordinary folder, or packed in shards on a Volume. Reads files only.

What is wrong with the tree itself always stops, by name: a split or a class that is missing, empty, no folder, no text
or a link out of the data.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from training.pictures.decoding import (
    Cause,
    RefusedPictureError,
    check_name,
    check_size,
    is_text,
    leads_out,
    picture_bytes,
    shown,
)
from trimtab.errors import UsageError
from trimtab.storage.packed import open_files
from trimtab.storage.shards import read_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LAYOUT: Final = "lay the data out as DIR/{train,val,test}/CLASS/*.png"


class Tree(Protocol):
    """Names and contents of the files of an image folder; names that begin with a dot are no part of it."""

    def classes(self, split: str) -> Mapping[str, tuple[str, ...]]:
        """Return each class's files, in order, as SPLIT/CLASS/NAME. Raises UsageError."""

    def content(self, path: str) -> bytes:
        """Return a file's content. Raises RefusedPictureError for one that is not to be decoded."""


def open_tree(directory: Path) -> Tree:
    """Return the tree of a directory: of what is packed in it where there is an index, else of the directory itself."""
    return FolderTree(directory) if read_index(directory) is None else PackedTree(directory)


class FolderTree:
    """An ordinary folder, which may be a stranger's."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._real = directory, os.path.realpath(directory)

    def classes(self, split: str) -> Mapping[str, tuple[str, ...]]:
        """Return each class's files, in order, as SPLIT/CLASS/NAME. Raises UsageError."""
        root = self._directory / split
        try:
            names = sorted(path for path in root.iterdir() if not path.name.startswith("."))
            for path in (root, *names):
                if leads_out(path, self._real):
                    raise bad_data(path, "it is a link that leads out of the data", "copy its target in")
            files = {path.name: sorted(os.listdir(path)) for path in names}  # noqa: PTH208 - names are all that is needed
        except FileNotFoundError as error:
            raise bad_data(root, "it is missing", _LAYOUT) from error
        except NotADirectoryError as error:
            remedy = f"move {error.filename} away"
            raise bad_data(root, "it holds a file beside the classes' directories", remedy) from error
        except OSError as error:
            raise bad_data(root, error.strerror or str(error), "make it readable") from error
        return _checked(
            root,
            {
                name: tuple(f"{split}/{name}/{file}" for file in inside if not file.startswith("."))
                for name, inside in files.items()
            },
        )

    def content(self, path: str) -> bytes:
        """Return a file's content. Raises RefusedPictureError for one that is not to be decoded."""
        return picture_bytes(self._directory / path, self._real)


class PackedTree:
    """A data set packed in shards: each file is found by the index, and checked against it when it is read."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._files = directory, open_files(directory)

    def classes(self, split: str) -> Mapping[str, tuple[str, ...]]:
        """Return each class's files, in order, as SPLIT/CLASS/NAME. Raises UsageError."""
        found: dict[str, list[str]] = {}
        for path in self._files.paths():
            first, *rest = path.split("/")
            if first != split or any(part.startswith(".") for part in rest):
                continue
            if len(rest) < 2:
                remedy = f"move {path} away, and pack it again"
                raise bad_data(self._directory / split, "it holds a file beside the classes' directories", remedy)
            found.setdefault(rest[0], []).append(path)
        return _checked(self._directory / split, {name: tuple(paths) for name, paths in found.items()})

    def content(self, path: str) -> bytes:
        """Return a file's content. Raises RefusedPictureError for one that is not to be decoded."""
        if path.count("/") != 2:
            raise RefusedPictureError(Cause.NO_FILE, "it lies in a folder of its class", "move it up or away")
        check_name(path.rpartition("/")[2])
        check_size(self._files.size_bytes(path))
        return self._files.read(path)


def _checked(root: Path, found: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    if not found:
        raise bad_data(root, "it has no classes", _LAYOUT)
    for name, paths in found.items():
        if not is_text(name):
            raise bad_data(root / name, "the name of a class is not UTF-8 text", "rename it in every split")
        if not paths:
            remedy = "put pictures in, or remove the directory from every split"
            raise bad_data(root / name, "the class is empty", remedy)
    return found


def bad_data(path: Path, why: str, remedy: str) -> UsageError:
    """Return the error that names what of the data cannot be used."""
    return UsageError(f"the data at {shown(path)} cannot be used", why=why, remedy=remedy)
