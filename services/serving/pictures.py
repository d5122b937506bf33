"""Bytes that a stranger sent -> pixels, within limits that are checked before memory is spent.

Uses Pillow, with four decoders and no other. The header is read first; what it declares decides whether anything is
decoded at all. Pixels are made as small as the models allow while decoding, so 25 megapixels cost their decoder's own
buffer and no second copy of it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from services.serving.problems import Refusal

if TYPE_CHECKING:
    from services.serving.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
FORMAT_NAMES = "JPEG, PNG, WebP or BMP"
MAX_EDGE = 30_000  # Pillow spends a pointer on every row: a 1 x 25,000,000 picture is not a picture
MAX_JPEG_SCANS = 50  # a camera writes 1, progressive encoders about 10; each costs a pass over all coefficients
JPEG_START_OF_SCAN = b"\xff\xda"
BACKGROUND = "white"  # what shines through transparent pixels, as on a page
EXIF_ORIENTATION = 0x0112

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation (CIPA DC-008, 4.6.4; the same table as Pillow's ImageOps)."""

# Pillow's own limit warns where ours refuses, from the same header
Image.MAX_IMAGE_PIXELS = None
# A PNG's compressed text chunks are unpacked before a pixel is: 64 MiB of them by default
PngImagePlugin.MAX_TEXT_MEMORY = 2 * PngImagePlugin.MAX_TEXT_CHUNK


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An upright RGB picture, perhaps already reduced, and the size (upright) that it was sent in."""

    image: Image.Image
    width: int
    height: int


def read_picture(data: bytes, *, settings: Settings, working_edge: int) -> Picture:
    """Decode the picture, upright and in RGB; neither side is reduced below `working_edge` pixels.

    Raises Refusal: 413 for too many pixels (from the header alone), 415 for another format, 422 for a broken picture.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        _check_size(width, height, _pixel_limit(image, settings))
        if image.format == "JPEG":
            _check_scans(data)
            image.draft(None, (working_edge, working_edge))
        image.load()
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        upright = _rgb(_reduced(_averageable(image), working_edge))
        if orientation in UPRIGHT:
            upright = upright.transpose(UPRIGHT[orientation])
    except Refusal:
        raise
    except UnidentifiedImageError as error:
        raise Refusal(
            415,
            "unknown_picture_format",
            f"The file is not a {FORMAT_NAMES} picture.",
            hint="Save it in one of these formats. Its name and its declared type do not matter, its bytes do.",
        ) from error
    except Exception as error:
        # Pillow's decoders raise anything on hostile bytes: OSError, struct.error, KeyError, zlib.error, ...
        raise Refusal(
            422,
            "broken_picture",
            "The picture cannot be decoded: it is cut short or damaged.",
            hint="Check that it opens in a viewer and that the upload was complete, then send it again.",
        ) from error
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Picture(image=upright, width=width, height=height)


def _pixel_limit(image: Image.Image, settings: Settings) -> int:
    # Pillow's WebP decoder holds four copies of the picture (16 bytes a pixel), the others one or two
    return settings.max_pixels // 2 if image.format == "WEBP" else settings.max_pixels


def _check_size(width: int, height: int, limit: int) -> None:
    if width < 1 or height < 1:
        raise Refusal(
            422,
            "empty_picture",
            f"The picture is {width} x {height} pixels.",
            hint="Send a picture with at least one pixel.",
        )
    if width * height > limit or max(width, height) > MAX_EDGE:
        raise _too_many_pixels(limit)


def _too_many_pixels(limit: int) -> Refusal:
    return Refusal(
        413,
        "too_many_pixels",
        f"The picture has more than {limit:,} pixels, or a side longer than {MAX_EDGE:,}.",
        hint="Scale it down before sending it: the models look at a few hundred pixels a side.",
    )


def _check_scans(data: bytes) -> None:
    if data.count(JPEG_START_OF_SCAN) > MAX_JPEG_SCANS:
        raise Refusal(
            422,
            "too_many_scans",
            f"The JPEG has more than {MAX_JPEG_SCANS} scans.",
            hint="Save it again with an ordinary encoder.",
        )


def _averageable(image: Image.Image) -> Image.Image:
    """Turn palettes, bits, 16-bit greys and single transparent colours into modes whose pixels can be averaged."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would cut every value above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _reduced(image: Image.Image, working_edge: int) -> Image.Image:
    """Average whole blocks of pixels away while both sides stay at least `working_edge` long."""
    factor = min(image.size) // working_edge
    return image.reduce(factor) if factor > 1 else image


def _rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, BACKGROUND)
    opaque.paste(image, mask=image.getchannel("A"))
    return opaque
