"""One file of a stranger's as a picture: bounded before it is decoded, refused with a cause. Reads that file only.

No file can do more than be refused: a name that is no text, a link out of the data, a pipe that would never end, a few
bytes that claim to be terabytes, a decoder that fails in its own way.
"""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from training.pictures.config import Pictures

_MODES: Final = {1: "L", 3: "RGB"}
_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_MAX_FILE_BYTES: Final = 32 * 1024**2
_MAX_PIXELS: Final = 50_000_000
_NO_TEXT: Final = frozenset({"Cc", "Cs"})  # control characters, and the stand-ins for bytes that are not UTF-8


class Cause(StrEnum):
    """Why a file is not used. Files that are skipped are counted by it."""

    NAME = "no text as a name"
    KIND = "no picture by its name"
    LINK = "a link out of the data"
    NO_FILE = "no file"
    EMPTY = "empty"
    LARGE = "larger than 32 MiB"
    PIXELS = "too many pixels"
    DEPTH = "16 bits a pixel"
    BROKEN = "no sound picture"
    CLOSED = "not readable"


class RefusedPictureError(Exception):
    """A file that is not used: the cause to count, why to tell, and what to do about it."""

    def __init__(self, cause: Cause, why: str, remedy: str) -> None:
        super().__init__(why)
        self.cause, self.why, self.remedy = cause, why, remedy


def shown(path: Path | str) -> str:
    """Return a path as text that can be printed and kept, whatever bytes are in it."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) == "Cc" else sign for sign in text)


def is_text(name: str) -> bool:
    """Say whether a name is text: valid UTF-8 without control characters."""
    return not any(unicodedata.category(sign) in _NO_TEXT for sign in name)


def leads_out(path: Path, root: str) -> bool:
    """Say whether a path is a link to somewhere outside of `root`, a real path."""
    return path.is_symlink() and os.path.commonpath((os.path.realpath(path), root)) != root


def check_name(name: str) -> None:
    """Raise RefusedPictureError for a name that is no picture's."""
    if not is_text(name):
        raise RefusedPictureError(Cause.NAME, "its name is not UTF-8 text", "rename it")
    if not name.lower().endswith(_SUFFIXES):
        raise RefusedPictureError(Cause.KIND, "it is neither PNG nor JPEG by its name", "move it away")


def check_size(size_bytes: int) -> None:
    """Raise RefusedPictureError for a file that is empty or too large."""
    if not size_bytes:
        raise RefusedPictureError(Cause.EMPTY, "it is empty", "replace it or move it away")
    if size_bytes > _MAX_FILE_BYTES:
        raise RefusedPictureError(Cause.LARGE, "it is larger than 32 MiB", "make it smaller")


def picture_bytes(path: Path, root: str) -> bytes:
    """Return a file's content; `root` is the real path of the data. Raises RefusedPictureError."""
    check_name(path.name)
    if leads_out(path, root):
        raise RefusedPictureError(Cause.LINK, "it is a link that leads out of the data", "copy its target in")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer for ever
    except OSError as error:
        raise RefusedPictureError(Cause.CLOSED, error.strerror or str(error), "make it a readable file") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RefusedPictureError(Cause.NO_FILE, "it is a directory, a pipe or a device", "move it away")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RefusedPictureError(Cause.CLOSED, error.strerror or str(error), "make it a readable file") from error
    finally:
        os.close(descriptor)
    check_size(len(content))
    return content


def decoded(content: bytes, how: Pictures) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return one picture as uint8 (channels, side, side). Raises RefusedPictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, which nobody asked for
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                _check_header(image)
                picture = image.convert(_MODES[how.channels])
                if picture.size != (how.side, how.side):
                    picture = picture.resize((how.side, how.side), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedPictureError(Cause.PIXELS, f"it is no sound picture: {error}", "make it smaller") from error
    except RefusedPictureError:
        raise
    except Exception as error:  # a stranger's bytes can fail a decoder in any way, MemoryError included
        why = f"it is no sound picture: {error or type(error).__name__}"
        raise RefusedPictureError(Cause.BROKEN, why, "replace it or move it away") from error
    return np.asarray(picture, np.uint8).reshape(how.side, how.side, how.channels).transpose(2, 0, 1)


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise RefusedPictureError(Cause.PIXELS, f"it has {image.width} x {image.height} pixels", "make it smaller")
    if image.mode.startswith(("I", "F")):
        raise RefusedPictureError(Cause.DEPTH, "it has 16 bits a pixel", "save it with 8")
