"""An image folder, read whole into memory within limits: `DIR/{train,val,test}/CLASS/*.png`. Reads files only.

The pictures may come from a stranger, so each is bounded before it is decoded, and what is wrong is said by name. What
is wrong with the tree itself always stops; a file that cannot be used stops or is counted, as the configuration says.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from training.pictures.ahead import read_ahead
from training.pictures.decoding import Cause, RefusedPictureError, decoded, shown
from training.pictures.tree import bad_data, open_tree
from trimtab.errors import BudgetError
from trimtab.storage.manifests import FileEntry, digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.pictures.config import Pictures
    from training.pictures.tree import Tree

SPLITS: Final = ("train", "val", "test")
_MAX_TOTAL_BYTES: Final = 4 * 1024**3  # decoded; beyond this a job needs a loader that streams
_MAX_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Pictures as uint8 (n, channels, side, side) and their classes as int64 (n), in the order of their paths."""

    pictures: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that was skipped, by its path below the data, as text."""

    path: str
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """The three splits, the classes in order, one digest over all files that are used; what was skipped; and how many
    pictures are in two splits."""

    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    sha256: str
    leaked: int
    left_out: tuple[LeftOut, ...]

    @property
    def left_out_counts(self) -> dict[str, int]:
        """Return how many files were skipped, by cause."""
        return dict(sorted(Counter(str(item.cause) for item in self.left_out).items()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say what makes a measurement on these pictures look too good, and what is not among them."""
        said = []
        if self.leaked:
            said.append(f"{self.leaked} pictures are in more than one split; what they measure looks too good")
        for cause, count in self.left_out_counts.items():
            named = [item.path for item in self.left_out if item.cause == cause][:_MAX_NAMED]
            more = f" and {count - len(named)} more" if count > len(named) else ""
            said.append(f"{count} skipped, {cause}: {', '.join(named)}{more}")
        return tuple(said)


def read_image_folder(directory: Path, how: Pictures) -> ImageFolder:
    """Read every picture. Raises UsageError naming what is missing, empty, unreadable or broken."""
    return read_tree(open_tree(directory), directory, how)


def read_tree(tree: Tree, directory: Path, how: Pictures) -> ImageFolder:
    """Read every picture of a tree; errors name its files below `directory`. Raises as `read_image_folder` does."""
    found = {split: tree.classes(split) for split in SPLITS}
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise bad_data(
            directory / "train", f"it has one class, {classes[0]!r}", "give at least two directories of pictures"
        )
    for split in SPLITS[1:]:
        if difference := sorted(set(classes) ^ set(found[split])):
            raise bad_data(
                directory / split, f"its classes and those of train differ in {difference[:5]}", "make them equal"
            )
    count = sum(len(paths) for by_class in found.values() for paths in by_class.values())
    if count * how.channels * how.side**2 > _MAX_TOTAL_BYTES:
        raise BudgetError(
            f"{directory} does not fit in memory",
            why=f"{count} pictures of {how.side} x {how.side} pixels are more than 4 GiB",
            remedy="set a smaller pictures.side, or give fewer pictures",
        )
    reading = _Reading(directory, tree, how)
    splits = {split: reading.split(split, found[split]) for split in SPLITS}
    return ImageFolder(
        classes=classes,
        sha256=digest(reading.entries),
        leaked=_leaked(reading.entries),
        left_out=tuple(reading.left_out),
        **splits,
    )


class _Reading:
    """Reads splits, and keeps what all of them together have: the files' entries, and what was skipped."""

    def __init__(self, directory: Path, tree: Tree, how: Pictures) -> None:
        self._directory, self._tree, self._how = directory, tree, how
        self.entries: list[FileEntry] = []
        self.left_out: list[LeftOut] = []

    def split(self, split: str, found: Mapping[str, tuple[str, ...]]) -> Split:
        """Read one split. Raises UsageError for a file that stops, and for a class of which nothing is left."""
        paths = [(path, label) for label, name in enumerate(sorted(found)) for path in found[name]]
        pictures = np.empty((len(paths), self._how.channels, self._how.side, self._how.side), np.uint8)
        labels: list[int] = []
        with closing(read_ahead(self._tree.content, [path for path, _ in paths])) as contents:
            for (path, label), read in zip(paths, contents, strict=True):
                try:
                    content = read.result()
                    pictures[len(labels)] = decoded(content, self._how)
                except RefusedPictureError as error:
                    self._refuse(path, error)
                    continue
                self.entries.append(
                    FileEntry(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                )
                labels.append(label)
        for label in set(range(len(found))).difference(labels):
            name = sorted(found)[label]
            causes = {str(item.cause) for item in self.left_out if item.path.startswith(f"{split}/{name}/")}
            why = f"none of its {len(found[name])} files can be used: {', '.join(sorted(causes))}"
            raise bad_data(self._directory / split / name, why, "put pictures in, or remove it from every split")
        return Split(pictures=torch.from_numpy(pictures[: len(labels)]), labels=torch.tensor(labels))

    def _refuse(self, path: str, error: RefusedPictureError) -> None:
        if self._how.unreadable == "stop":
            remedy = f"{error.remedy}, or set pictures.unreadable to skip"
            raise bad_data(self._directory / path, error.why, remedy) from error
        self.left_out.append(LeftOut(path=shown(path), cause=error.cause))


def _leaked(entries: list[FileEntry]) -> int:
    """Return how many different pictures are, byte for byte, in more than one split: they make a test look too good."""
    homes: dict[str, set[str]] = {}
    for entry in entries:
        homes.setdefault(entry.sha256, set()).add(entry.path.split("/", 1)[0])
    return sum(len(splits) > 1 for splits in homes.values())
