"""Bytes to pixels: every kind of picture that is taken, and every kind that is refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from services.serving.pictures import Picture, read_picture
from services.serving.problems import Refusal
from services.serving.settings import Settings, read_settings

SETTINGS = read_settings({})
RED, BLUE = (220, 30, 20), (20, 40, 210)


def two_halves(width: int = 64, height: int = 32) -> Image.Image:
    """Return a picture whose left half is red and whose right half is blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of the image in a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes, settings: Settings = SETTINGS, *, working_edge: int = 832) -> Picture:
    """Read the picture as the service does."""
    return read_picture(data, settings=settings, working_edge=working_edge)


def colour(picture: Picture, x: float, y: float) -> tuple[int, ...]:
    """Return the colour at a share of the width and height."""
    width, height = picture.image.size
    found = picture.image.getpixel((int(x * width), int(y * height)))
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


def is_near(found: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 30) -> bool:
    """Say whether two colours are alike; a JPEG changes them a little."""
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("MPO", {"quality": 95}),  # what many phones write under the name of JPEG
    ],
)
def test_every_format_of_the_list_is_read(kind: str, options: dict[str, Any]) -> None:
    picture = read(saved(two_halves(), kind, **options))
    assert (picture.width, picture.height, picture.image.mode) == (64, 32, "RGB")
    assert is_near(colour(picture, 0.2, 0.5), RED)
    assert is_near(colour(picture, 0.8, 0.5), BLUE)


@pytest.mark.parametrize(
    ("image", "kind", "wanted"),
    [
        (two_halves().convert("CMYK"), "JPEG", RED),
        (two_halves().quantize(8), "PNG", RED),
        (two_halves().convert("L"), "PNG", (86, 86, 86)),
        (two_halves().convert("L").convert("1", dither=Image.Dither.NONE), "PNG", (0, 0, 0)),
        (Image.fromarray(np.full((32, 64), 0x8040, np.uint16)), "PNG", (128, 128, 128)),
        (Image.new("RGBA", (64, 32), (*RED, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (64, 32), (*RED, 255)), "WEBP", RED),
        (Image.new("LA", (64, 32), (0, 128)), "PNG", (127, 127, 127)),
    ],
    ids=["cmyk", "palette", "grey", "bits", "16-bit grey", "transparent", "opaque webp", "half transparent grey"],
)
def test_every_mode_of_pixels_becomes_rgb(image: Image.Image, kind: str, wanted: tuple[int, ...]) -> None:
    assert is_near(colour(read(saved(image, kind)), 0.2, 0.5), wanted)


def test_a_png_s_single_transparent_colour_shines_white() -> None:
    picture = read(saved(two_halves(), "PNG", transparency=RED))
    assert colour(picture, 0.2, 0.5) == (255, 255, 255)
    assert is_near(colour(picture, 0.8, 0.5), BLUE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    upright = two_halves()
    sideways = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if sideways is None else upright.transpose(sideways)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(saved(stored, "JPEG", quality=95, exif=exif))
    assert (picture.width, picture.height, picture.image.size) == (64, 32, (64, 32))
    assert is_near(colour(picture, 0.2, 0.5), RED)
    assert is_near(colour(picture, 0.8, 0.5), BLUE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_reduced_and_keeps_its_size_in_the_answer(kind: str) -> None:
    picture = read(saved(two_halves(4000, 2000), kind), working_edge=400)
    assert (picture.width, picture.height) == (4000, 2000)
    assert picture.image.size in {(800, 400), (1000, 500)}  # a JPEG's own decoder reduces by powers of two
    assert is_near(colour(picture, 0.2, 0.5), RED)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_modes_that_cannot_be_averaged_are_reduced_too(mode: str) -> None:
    grey = two_halves(1000, 1000).convert("L")
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    assert read(saved(image, "PNG"), working_edge=100).image.size == (100, 100)


def refused(data: bytes, settings: Settings = SETTINGS) -> tuple[int, str]:
    """Return the status and the code that these bytes get."""
    with pytest.raises(Refusal) as caught:
        read(data, settings)
    assert caught.value.hint
    return caught.value.status, caught.value.code


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int, *, depth: int = 8, colour_type: int = 2) -> bytes:
    """Return the beginning of a PNG of this size."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"not a picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        saved(two_halves(), "GIF"),
        saved(two_halves(), "TIFF"),
        saved(two_halves(), "ICO"),
        saved(two_halves(), "PPM"),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
    ],
    ids=["text", "svg", "gif", "tiff", "ico", "ppm", "png's first bytes", "jpeg's first bytes"],
)
def test_other_formats_are_refused_with_415(data: bytes) -> None:
    assert refused(data) == (415, "unknown_picture_format")


@pytest.mark.parametrize(
    "data",
    [
        saved(two_halves(400, 400), "JPEG")[:-500],
        saved(two_halves(400, 400), "PNG")[:-60],
        saved(two_halves(400, 400), "WEBP")[:-60],
        saved(two_halves(400, 400), "BMP")[:-60],
        png_header(10, 10) + png_chunk(b"IEND", b""),
        png_header(10, 10, depth=3) + png_chunk(b"IEND", b""),
    ],
    ids=["jpeg cut", "png cut", "webp cut", "bmp cut", "png without pixels", "png of a depth that is none"],
)
def test_a_broken_picture_is_refused_with_422(data: bytes) -> None:
    assert refused(data)[0] in (415, 422)  # 415 where even the header does not hold


def test_a_truncated_jpeg_is_refused_as_broken() -> None:
    assert refused(saved(two_halves(400, 400), "JPEG")[:-500]) == (422, "broken_picture")


@pytest.mark.parametrize(
    "data",
    [
        png_header(10_000, 10_000),
        png_header(2**31 - 1, 2**31 - 1),
        png_header(30_001, 1),
        saved(Image.new("1", (5001, 5001)), "PNG"),
        saved(Image.new("L", (4000, 4000)), "WEBP", quality=1),
    ],
    ids=["100 megapixels", "the most a header can say", "one long row", "just over", "webp over its half"],
)
def test_too_many_pixels_are_refused_from_the_header(data: bytes) -> None:
    assert refused(data) == (413, "too_many_pixels")


def test_the_pixel_limit_is_a_setting() -> None:
    assert refused(saved(two_halves(), "PNG"), read_settings({"MAX_PIXELS": "2047"})) == (413, "too_many_pixels")
    read(saved(two_halves(), "PNG"), read_settings({"MAX_PIXELS": "2048"}))


def test_a_png_that_unpacks_its_text_for_ever_is_refused() -> None:
    bomb = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * 900_000, 9))
    assert len(bomb) < 2000
    data = saved(two_halves(), "PNG")
    end_of_header = 33
    assert refused(data[:end_of_header] + bomb * 10 + data[end_of_header:])[0] in (415, 422)
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "an ordinary sentence", zip=True)
    read(saved(two_halves(), "PNG", pnginfo=text))


def test_a_jpeg_with_a_thousand_scans_is_refused() -> None:
    data = saved(two_halves(), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    assert refused(data[:-2] + data[last_scan:-2] * 1000 + data[-2:]) == (422, "too_many_scans")


def test_an_orientation_that_is_no_number_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 4711
    assert read(saved(two_halves(), "JPEG", exif=exif)).width == 64


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (64, 32), RED), Image.new("RGB", (64, 32), BLUE)]
    for kind in ("WEBP", "PNG"):
        picture = read(saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
        assert is_near(colour(picture, 0.5, 0.5), RED)


SEEDS = [
    saved(two_halves(), kind, **options)
    for kind, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("JPEG", {"progressive": True}))
]


@given(seed=st.sampled_from(SEEDS), changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4))))
def test_damaged_bytes_are_read_or_refused_and_nothing_else(seed: bytes, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(seed)
    for place, replacement in changes:
        start = int(place * (len(data) - 1))
        data[start : start + len(replacement)] = replacement
    try:
        outcome: str | int = read(bytes(data)).image.mode
    except Refusal as refusal:
        outcome = refusal.status
    assert outcome in ("RGB", 413, 415, 422)
