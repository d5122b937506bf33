"""An image folder, read whole into memory within limits: `DIR/{train,val,test}/CLASS/*.png`. Reads files only.

The pictures may come from a stranger, so each is bounded before it is decoded, and what is wrong is said by name.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trimtab.errors import BudgetError, UsageError
from trimtab.storage.manifests import FileEntry, digest

if TYPE_CHECKING:
    from pathlib import Path

    from training.pictures.config import Pictures

SPLITS: Final = ("train", "val", "test")
_MODES: Final = {1: "L", 3: "RGB"}
_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg"})
_MAX_FILE_BYTES: Final = 32 * 1024**2
_MAX_PIXELS: Final = 50_000_000
_MAX_TOTAL_BYTES: Final = 4 * 1024**3  # decoded; beyond this a job needs a loader that streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Pictures as uint8 (n, channels, side, side) and their classes as int64 (n), in the order of their paths."""

    pictures: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """The three splits, the classes in order, one digest over all files, and how many pictures are in two splits."""

    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    sha256: str
    leaked: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say what makes a measurement on these pictures look too good."""
        if not self.leaked:
            return ()
        return (f"{self.leaked} pictures are in more than one split; what they measure looks too good",)


def read_image_folder(directory: Path, how: Pictures) -> ImageFolder:
    """Read every picture. Raises UsageError naming what is missing, empty, unreadable or broken."""
    found = {split: _classes(directory, split) for split in SPLITS}
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise _bad(
            directory / "train", f"it has one class, {classes[0]!r}", "give at least two directories of pictures"
        )
    for split in SPLITS[1:]:
        if difference := sorted(set(classes) ^ set(found[split])):
            raise _bad(
                directory / split, f"its classes and those of train differ in {difference[:5]}", "make them equal"
            )
    count = sum(len(paths) for by_class in found.values() for paths in by_class.values())
    if count * how.channels * how.side**2 > _MAX_TOTAL_BYTES:
        raise BudgetError(
            f"{directory} does not fit in memory",
            why=f"{count} pictures of {how.side} x {how.side} pixels are more than 4 GiB",
            remedy="set a smaller pictures.side, or give fewer pictures",
        )
    entries: list[FileEntry] = []
    splits = {split: _read_split(directory, found[split], how, entries) for split in SPLITS}
    return ImageFolder(classes=classes, sha256=digest(entries), leaked=_leaked(entries), **splits)


def _classes(directory: Path, split: str) -> dict[str, tuple[Path, ...]]:
    """Return each class's pictures in order. Names that begin with a dot are no part of the data."""
    root = directory / split
    try:
        names = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        found = {path.name: tuple(sorted(p for p in path.iterdir() if not p.name.startswith("."))) for path in names}
    except FileNotFoundError as error:
        raise _bad(root, "it is missing", "lay the data out as DIR/{train,val,test}/CLASS/*.png") from error
    except NotADirectoryError as error:
        raise _bad(root, "it holds a file beside the classes' directories", f"move {error.filename} away") from error
    except OSError as error:
        raise _bad(root, error.strerror or str(error), "make it readable") from error
    if not found:
        raise _bad(root, "it has no classes", "lay the data out as DIR/{train,val,test}/CLASS/*.png")
    for name, paths in found.items():
        if not paths:
            raise _bad(root / name, "the class is empty", "put pictures in, or remove the directory from every split")
        if strangers := [path.name for path in paths if path.suffix.lower() not in _SUFFIXES]:
            raise _bad(root / name, f"{strangers[0]} is neither PNG nor JPEG by its name", "move it away")
    return found


def _read_split(directory: Path, found: dict[str, tuple[Path, ...]], how: Pictures, entries: list[FileEntry]) -> Split:
    paths = [(path, label) for label, name in enumerate(sorted(found)) for path in found[name]]
    pictures = np.empty((len(paths), how.channels, how.side, how.side), np.uint8)
    for index, (path, _) in enumerate(paths):
        content = _content(path)
        entries.append(
            FileEntry(
                path=path.relative_to(directory).as_posix(),
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
        pictures[index] = _decode(path, content, how)
    labels = torch.tensor([label for _, label in paths])
    return Split(pictures=torch.from_numpy(pictures), labels=labels)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _bad(path, error.strerror or str(error), "make it a readable file") from error
    if len(content) > _MAX_FILE_BYTES:
        raise _bad(path, "it is larger than 32 MiB", "make it smaller")
    return content


def _decode(path: Path, content: bytes, how: Pictures) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return one picture as uint8 (channels, side, side)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise _bad(path, f"it has {image.width} x {image.height} pixels", "make it smaller")
                if image.mode.startswith(("I", "F")):
                    raise _bad(path, "it has 16 bits a pixel", "save it with 8")
                picture = image.convert(_MODES[how.channels])
                if picture.size != (how.side, how.side):
                    picture = picture.resize((how.side, how.side), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(path, f"it is no sound picture: {error}", "replace it or move it away") from error
    return np.asarray(picture, np.uint8).reshape(how.side, how.side, how.channels).transpose(2, 0, 1)


def _leaked(entries: list[FileEntry]) -> int:
    """Return how many different pictures are, byte for byte, in more than one split: they make a test look too good."""
    homes: dict[str, set[str]] = {}
    for entry in entries:
        homes.setdefault(entry.sha256, set()).add(entry.path.split("/", 1)[0])
    return sum(len(splits) > 1 for splits in homes.values())


def _bad(path: Path, why: str, remedy: str) -> UsageError:
    return UsageError(f"the data at {path} cannot be used", why=why, remedy=remedy)
