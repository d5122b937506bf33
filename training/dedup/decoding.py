"""Pictures from strangers: read within limits, decoded, upright, on white, and squeezed to a square. Reads files only.

Whatever a decoder raises becomes an UnusableError with a reason. What it does beyond that, it does to a process of its
own (`decoders.py`).
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from training.dedup.skips import UnusableError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"}
)
VERSION: Final = 1
"""To be raised when the same bytes would become other pixels: cached embeddings of other versions are not used."""

_PIECE_BYTES: Final = 1024**2
_MAX_SIDE: Final = 65_535

warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may be."""

    max_pixels: int
    max_file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A picture as uint8 (side, side, 3), and the width and height in pixels of what it was made from."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, never through a link and never waiting for a pipe's other end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableError("not a regular file", "it was one when it was listed")
    return os.fdopen(descriptor, "rb")


def file_digest(path: Path, limits: Limits) -> tuple[int, str]:
    """Return a file's size and SHA-256, read in pieces and no further than the limit. Raises UnusableError."""
    whole, size_bytes = hashlib.sha256(), 0
    try:
        with _open_file(path) as stream:
            while piece := stream.read(_PIECE_BYTES):
                whole.update(piece)
                size_bytes += len(piece)
                if size_bytes > limits.max_file_bytes:
                    raise UnusableError("too large a file", f"more than {limits.max_file_bytes} bytes")
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    if not size_bytes:
        raise UnusableError("empty", "it has no bytes")
    return size_bytes, whole.hexdigest()


def read_content(path: Path, limits: Limits, sha256: str) -> bytes:
    """Return the bytes of a file that must still be what it was. Raises UnusableError."""
    try:
        with _open_file(path) as stream:
            content = stream.read(limits.max_file_bytes + 1)
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UnusableError("changed while it was read", "its bytes are not those that named this run")
    return content


def decode(content: bytes, limits: Limits, side: int, *, whole: bool = True) -> Decoded:
    """Return a picture squeezed to a square, or without `whole` the square in its middle. Raises UnusableError."""
    with _opened(content, limits) as image:
        width, height = image.size
        upright = _upright(image, 2 * side)
        if not whole:
            edge = min(upright.size)
            left, top = (upright.width - edge) // 2, (upright.height - edge) // 2
            upright = upright.crop((left, top, left + edge, top + edge))
        small = upright.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
        return Decoded(pixels=np.asarray(small, np.uint8), width=width, height=height)


def thumbnail(content: bytes, limits: Limits, longest: int) -> bytes:
    """Return a small JPEG of a picture, without its metadata. Raises UnusableError."""
    with _opened(content, limits) as image:
        upright = _upright(image, longest)
        upright.thumbnail((longest, longest))
        stream = io.BytesIO()
        upright.save(stream, "JPEG", quality=78)
        return stream.getvalue()


class _opened:  # noqa: N801  # used as a function in a `with`
    """Holds an opened picture, and says in our words whatever its decoder says while it is held."""

    def __init__(self, content: bytes, limits: Limits) -> None:
        self._content, self._limits = content, limits

    def __enter__(self) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(self._content), formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnusableError("too many pixels", str(error)) from error
        except UnidentifiedImageError as error:
            begins = self._content[:8].hex(" ")
            raise UnusableError("not a picture", f"no known format begins with {begins}") from error
        except Exception as error:  # a decoder that is fed by strangers may raise anything
            raise _unusable(error) from error
        if image.width * image.height > self._limits.max_pixels or max(image.size) > _MAX_SIDE:
            said = f"{image.width} x {image.height}"
            image.close()
            raise UnusableError("too many pixels", said)
        self._image = image
        return image

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._image.close()
        if isinstance(error, Exception) and not isinstance(error, UnusableError):
            raise _unusable(error) from error


def _unusable(error: Exception) -> UnusableError:
    if isinstance(error, MemoryError):
        return UnusableError("took too much memory", "its decoder asked for more than any picture needs")
    return UnusableError("damaged", f"{type(error).__name__}: {error}")


def _upright(image: Image.Image, enough: int) -> Image.Image:
    """Return the picture as it is meant to be seen: turned as its camera says, its transparent parts white, RGB.

    A JPEG that is much larger than `enough` is decoded at a half, a quarter or an eighth, which is that much faster.
    """
    if image.mode in ("F", "I"):
        raise UnusableError("pixels without a known range", f"its mode is {image.mode}")
    image.draft("RGB", (enough, enough))
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # broken metadata of a sound picture; it may raise anything
        turned = image
    if turned.mode.startswith("I;16"):
        grey: npt.NDArray[Any] = np.asarray(turned)
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if turned.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in turned.info:
        above = turned.convert("RGBA")
        white = Image.new("RGBA", above.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, above).convert("RGB")
    return turned.convert("RGB")
