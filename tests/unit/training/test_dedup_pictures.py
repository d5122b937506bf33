"""Pictures from strangers: every common format is read, and what is hostile is named, counted and left alone."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.dedup.config import Config
from training.dedup.decoding import Limits, decode, thumbnail
from training.dedup.skips import UnusableError
from training.dedup.survey import read_survey
from training.harness.config import load_config
from trimtab.errors import UsageError

LIMITS = Limits(max_pixels=1_000_000, max_file_bytes=200_000)


def picture(side: int = 40, mode: str = "RGB") -> Image.Image:
    random = np.random.default_rng(5)
    small = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of some hundred bytes whose header claims any size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_every_common_format_shows_the_same_picture(kind: str) -> None:
    decoded = decode(saved(picture(), kind), LIMITS, 8)
    expected = decode(saved(picture(), "PNG"), LIMITS, 8)
    assert (decoded.width, decoded.height) == (40, 40)
    difference = np.abs(decoded.pixels.astype(int) - expected.pixels.astype(int))
    assert difference.mean() < 8


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_kind_of_pixels_becomes_colour(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture(mode="L")).astype(np.uint16) * 257)
    else:
        image = picture(mode=mode)
    decoded = decode(saved(image, "TIFF"), LIMITS, 8)
    assert decoded.pixels.shape == (8, 8, 3)
    assert decoded.pixels.std() > 10


def test_what_is_transparent_is_white_and_what_a_camera_turned_is_upright() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert decode(saved(clear, "PNG"), LIMITS, 4).pixels.min() == 255
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    upside_down = picture().rotate(180)
    upright = decode(saved(upside_down, "PNG", exif=turned), LIMITS, 8).pixels
    assert np.array_equal(upright, decode(saved(picture(), "PNG"), LIMITS, 8).pixels)


def test_a_large_jpeg_is_decoded_small_and_remembers_its_size() -> None:
    large = decode(saved(picture(800), "JPEG"), LIMITS, 8)
    assert (large.width, large.height) == (800, 800)
    small = decode(saved(picture(800), "PNG"), LIMITS, 8)
    assert np.abs(large.pixels.astype(int) - small.pixels.astype(int)).mean() < 6


def test_without_squeezing_the_middle_square_is_taken() -> None:
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste(Image.new("RGB", (10, 10), "blue"), (10, 0))
    assert decode(saved(wide, "PNG"), LIMITS, 4, whole=False).pixels[..., 0].max() == 0


HOSTILE: dict[str, tuple[bytes, str]] = {
    "bomb": (png_that_claims(60_000, 60_000), "too many pixels"),
    "over our own limit": (png_that_claims(2_000, 1_000), "too many pixels"),
    "a line of a million pixels": (png_that_claims(999_999, 1), "too many pixels"),
    "truncated": (saved(picture(300), "JPEG")[:2_000], "damaged"),
    "cut in its header": (saved(picture(), "PNG")[:40], "not a picture"),
    "cut after its header": (saved(picture(), "PNG")[:100], "damaged"),
    "pixels that are missing": (png_that_claims(900, 900), "damaged"),
    "text": (b"This is no picture, whatever its name says.\n" * 20, "not a picture"),
    "html": (b"<html><script>alert(1)</script></html>", "not a picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n", "not a picture"),
    "floats": (saved(Image.new("F", (9, 9), 0.5), "TIFF"), "pixels without a known range"),
    "one byte": (b"\xff", "not a picture"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_refused_with_its_reason(name: str) -> None:
    content, reason = HOSTILE[name]
    with pytest.raises(UnusableError) as caught:
        decode(content, LIMITS, 8)
    assert caught.value.reason == reason
    with pytest.raises(UnusableError):
        thumbnail(content, LIMITS, 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF"])
def test_a_picture_with_wrong_bytes_is_decoded_or_refused_and_nothing_else(kind: str) -> None:
    sound = saved(picture(), kind)
    random = np.random.default_rng(7)
    for _ in range(40):
        broken = bytearray(sound)
        for place in random.integers(0, len(broken), 6):
            broken[place] = random.integers(0, 256)
        try:
            assert decode(bytes(broken), LIMITS, 8).pixels.shape == (8, 8, 3)
        except UnusableError as error:
            assert error.detail  # noqa: PT017 - either end is right


def test_a_thumbnail_is_small_and_carries_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    content = thumbnail(saved(picture(400), "JPEG", exif=exif), LIMITS, 50)
    with Image.open(io.BytesIO(content)) as small:
        assert max(small.size) == 50
        assert not small.getexif()
    assert b"secret" not in content


@pytest.fixture
def config(root: Path) -> Config:
    return load_config(root / "configs/local/dedup.yaml", Config)


def test_files_that_are_no_pictures_to_open_are_named_with_their_reasons(tmp_path: Path, config: Config) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (data / ".hidden").mkdir()
    (tmp_path / "outside").mkdir()
    sound = saved(picture(), "PNG")
    for path in (data / "train/a.png", data / "train/B.PNG", data / ".hidden/c.png", tmp_path / "outside/d.png"):
        path.write_bytes(sound)
    (data / "notes.txt").write_text("no picture by its name")
    (data / "empty.jpg").touch()
    with (data / "large.jpg").open("wb") as stream:
        stream.truncate(65 * 1024**2)  # a hole: it takes no space
    (data / "link.png").symlink_to(tmp_path / "outside/d.png")
    (data / "folder").symlink_to(tmp_path / "outside")
    (data / "loop").symlink_to(data)
    os.mkfifo(data / "pipe.png")
    Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9.png")).write_bytes(sound)
    (data / "new\nline.png").write_bytes(sound)

    survey = read_survey(data, config, tmp_path / "cache")
    assert survey.paths == ("train/B.PNG", "train/a.png")
    assert survey.content_of == (0, 0)
    assert survey.others == 1
    assert {skip.path: skip.reason for skip in survey.skips} == {
        "caf\\xe9.png": "a name that is not portable",
        "empty.jpg": "empty",
        "folder": "a link",
        "large.jpg": "too large a file",
        "link.png": "a link",
        "loop": "a link",
        "new\\nline.png": "a name that is not portable",
        "pipe.png": "not a regular file",
    }
    (warning,) = survey.warnings
    assert warning.startswith("files that are left out: 3 a link, ")
    assert not (tmp_path / "cache").exists()


def test_other_bytes_or_another_name_are_other_data(tmp_path: Path, config: Config) -> None:
    (tmp_path / "a.png").write_bytes(saved(picture(), "PNG"))
    first = read_survey(tmp_path, config, tmp_path / "cache").sha256
    assert read_survey(tmp_path, config, tmp_path / "cache").sha256 == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    second = read_survey(tmp_path, config, tmp_path / "cache").sha256
    (tmp_path / "b.png").write_bytes(saved(picture(), "BMP"))
    assert len({first, second, read_survey(tmp_path, config, tmp_path / "cache").sha256}) == 3


def test_data_without_a_picture_is_refused(tmp_path: Path, config: Config) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(UsageError, match="cannot be used") as caught:
        read_survey(tmp_path, config, tmp_path / "cache")
    assert "left out: 1" in caught.value.why
    with pytest.raises(UsageError, match="cannot be used"):
        read_survey(tmp_path / "nowhere", config, tmp_path / "cache")
