"""An image folder read within limits, and everything that a stranger's folder can have wrong."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from tests.support.training import small_folder
from training.pictures.config import Pictures
from training.pictures.decoding import shown
from training.pictures.folder import read_image_folder
from trimtab.errors import BudgetError, UsageError
from trimtab.storage.folders import entries_of, files_below
from trimtab.storage.manifests import FileEntry, digest, sha256_of
from trimtab.storage.packed import pack

if TYPE_CHECKING:
    from collections.abc import Callable

GREY = Pictures(side=8, channels=1, unreadable="stop")
SKIPPING = Pictures(side=8, channels=1, unreadable="skip")


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "digits")
    return tmp_path / "digits"


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a few bytes that say they are a picture of that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_folder_is_read_whole_in_the_order_of_its_paths(sound: Path) -> None:
    data = read_image_folder(sound, GREY)
    assert data.classes == ("0", "1", "2")
    assert data.train.pictures.shape == (60, 1, 8, 8)
    assert data.train.pictures.dtype == torch.uint8
    assert data.train.labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    first = min((sound / "train" / "0").iterdir())
    assert data.train.pictures[0, 0].flatten().tolist() == list(Image.open(first).tobytes())
    assert data.leaked == 0


def test_the_digest_is_that_of_a_manifest_of_the_same_files(sound: Path) -> None:
    entries = [
        FileEntry(path=path.relative_to(sound).as_posix(), size_bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in sound.rglob("*.png")
    ]
    assert read_image_folder(sound, GREY).sha256 == digest(entries)


def test_other_sizes_modes_and_jpeg_are_made_alike(folder: Path) -> None:
    place = folder / "train" / "0"
    (place / "a.png").write_bytes(encoded(Image.new("RGBA", (30, 20), (255, 0, 0, 128))))
    (place / "b.png").write_bytes(encoded(Image.new("P", (5, 9))))
    (place / "c.JPG").write_bytes(encoded(Image.new("CMYK", (64, 64)), "JPEG"))
    (place / "d.png").write_bytes(encoded(Image.new("LA", (8, 8))))
    (place / "e.png").write_bytes(encoded(Image.new("1", (1, 1))))
    assert read_image_folder(folder, GREY).train.pictures.shape == (65, 1, 8, 8)
    assert read_image_folder(folder, Pictures(side=16, channels=3, unreadable="stop")).train.pictures.shape == (
        65,
        3,
        16,
        16,
    )


def test_hidden_names_and_a_manifest_beside_the_splits_are_no_part_of_the_data(folder: Path) -> None:
    before = read_image_folder(folder, GREY).sha256
    (folder / "MANIFEST.json").write_text("{}")
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "0" / ".DS_Store").write_bytes(b"x")
    assert read_image_folder(folder, GREY).sha256 == before


def test_a_picture_in_two_splits_is_counted(folder: Path) -> None:
    picture = next((folder / "train" / "0").iterdir())
    shutil.copy(picture, folder / "test" / "1" / "other-name.png")
    shutil.copy(picture, folder / "train" / "1" / "again.png")
    assert read_image_folder(folder, GREY).leaked == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "no sound picture"),
        (encoded(Image.linear_gradient("L"))[:-200], "no sound picture"),
        (encoded(Image.new("L", (64, 64)), "JPEG")[:200], "no sound picture"),
        (encoded(Image.new("L", (8, 8)), "GIF"), "no sound picture"),
        (encoded(Image.new("I;16", (8, 8))), "16 bits"),
        (png_that_claims(8_000, 8_000), "8000 x 8000 pixels"),
        (png_that_claims(10_000, 10_000), "pixels"),
        (png_that_claims(100_000, 100_000), "pixels"),
        (png_that_claims(0, 0), "no sound picture"),
        (b"\0" * (32 * 1024**2 + 1), "larger than 32 MiB"),
    ],
    ids=[f"case-{number}" for number in range(11)],  # an id made of 32 MiB of content took pytest 19 s
)
def test_a_picture_that_is_none_is_named_with_the_cause(folder: Path, content: bytes, why: str) -> None:
    (folder / "val" / "1" / "bad.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.png cannot be used") as caught:
        read_image_folder(folder, GREY)
    assert why in caught.value.why
    assert caught.value.exit_code == 2


def empty_the_class(folder: Path) -> None:
    for path in (folder / "train" / "1").iterdir():
        path.unlink()


def leave_one_class(folder: Path) -> None:
    for split in ("train", "val", "test"):
        for digit in ("1", "2"):
            shutil.rmtree(folder / split / digit)


@pytest.mark.parametrize(
    ("spoil", "what", "why"),
    [
        (shutil.rmtree, "train", "is missing"),
        (lambda folder: shutil.rmtree(folder / "val"), "val", "is missing"),
        (lambda folder: (shutil.rmtree(folder / "test"), (folder / "test").mkdir()), "test", "no classes"),
        (empty_the_class, "1", "class is empty"),
        (leave_one_class, "train", "one class, '0'"),
        (lambda folder: shutil.rmtree(folder / "val" / "2"), "val", "differ in ['2']"),
        (lambda folder: (folder / "test" / "2").rename(folder / "test" / "two"), "test", "['2', 'two']"),
        (lambda folder: (folder / "train" / "notes.txt").write_text("x"), "train", "holds a file"),
        (lambda folder: (folder / "train" / "0" / "notes.txt").write_text("x"), "notes.txt", "neither PNG nor JPEG"),
        (lambda folder: (folder / "train" / "0" / "x.png").mkdir(), "x.png", "directory"),
        (lambda folder: (folder / "train" / "0" / "x.png").symlink_to("nowhere"), "x.png", "No such file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_by_place_and_cause(
    folder: Path, spoil: Callable[[Path], object], what: str, why: str
) -> None:
    spoil(folder)
    with pytest.raises(UsageError) as caught:
        read_image_folder(folder, GREY)
    assert f"{what} cannot be used" in caught.value.what
    assert why in caught.value.why
    assert caught.value.remedy


def test_pictures_that_do_not_fit_in_memory_are_refused_before_any_is_read(folder: Path) -> None:
    for number in range(6000):
        (folder / "train" / "0" / f"x{number}.png").touch()
    with pytest.raises(BudgetError, match="does not fit in memory"):
        read_image_folder(folder, Pictures(side=512, channels=3, unreadable="stop"))


def hostile(folder: Path) -> dict[str, str]:
    """Put one file of each kind into train/1, and return the cause that each is to be counted by."""
    place, outside = folder / "train" / "1", folder.parent / "outside.png"
    outside.write_bytes(encoded(Image.new("L", (8, 8))))
    (place / "a link out.png").symlink_to(outside)
    (place / "a loop.png").symlink_to(place / "a loop.png")
    (place / "nowhere.png").symlink_to(place / "missing.png")
    os.mkfifo(place / "pipe.png")
    (place / "folder.png").mkdir()
    (place / "empty.png").touch()
    (place / "notes.txt").write_text("x")
    (place / "half.jpg").write_bytes(encoded(Image.new("L", (64, 64)), "JPEG")[:200])
    (place / "deep.png").write_bytes(encoded(Image.new("I;16", (8, 8))))
    (place / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    (place / "new\nline.png").write_bytes(outside.read_bytes())
    with (place / "large.png").open("wb") as stream:
        stream.truncate(2 * 1024**3)  # a hole: it claims 2 GiB, and takes nothing
    Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9.png")).write_bytes(outside.read_bytes())
    return {
        "a link out.png": "a link out of the data",
        "a loop.png": "not readable",
        "nowhere.png": "not readable",
        "pipe.png": "no file",
        "folder.png": "no file",
        "empty.png": "empty",
        "notes.txt": "no picture by its name",
        "half.jpg": "no sound picture",
        "deep.png": "16 bits a pixel",
        "bomb.png": "too many pixels",
        "new\\nline.png": "no text as a name",
        "large.png": "larger than 32 MiB",
        "caf\\udce9.png": "no text as a name",
    }


def test_hostile_files_are_skipped_and_counted_by_their_cause(sound: Path, folder: Path) -> None:
    expected = hostile(folder)
    data = read_image_folder(folder, SKIPPING)
    assert {item.path.removeprefix("train/1/"): item.cause for item in data.left_out} == expected
    assert sum(data.left_out_counts.values()) == len(expected)
    assert data.left_out_counts["no text as a name"] == 2
    clean = read_image_folder(sound, GREY)
    assert data.sha256 == clean.sha256
    assert torch.equal(data.train.pictures, clean.train.pictures)
    assert torch.equal(data.train.labels, clean.train.labels)
    assert "2 skipped, no file: train/1/folder.png, train/1/pipe.png" in data.warnings
    assert all(line.encode().isascii() and "\n" not in line for line in data.warnings)


def test_each_hostile_file_stops_the_job_by_name_where_none_is_to_be_skipped(folder: Path) -> None:
    names = set(hostile(folder))
    place = folder / "train" / "1"
    stopped = set()
    while names - stopped:
        with pytest.raises(UsageError, match="cannot be used") as caught:
            read_image_folder(folder, GREY)
        (name,) = [name for name in names if f"/{name} cannot" in caught.value.what]
        assert "set pictures.unreadable to skip" in caught.value.remedy
        stopped.add(name)
        (bad,) = [path for path in place.iterdir() if shown(path.name) == name]
        bad.rmdir() if bad.is_dir() else bad.unlink()
    assert read_image_folder(folder, GREY).left_out == ()


def test_a_class_of_which_nothing_is_left_stops_even_where_files_are_skipped(folder: Path) -> None:
    for path in (folder / "val" / "2").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="2 cannot be used") as caught:
        read_image_folder(folder, SKIPPING)
    assert caught.value.why == "none of its 4 files can be used: empty"


@pytest.mark.parametrize("place", ["train/0", "val"])
def test_a_folder_that_is_a_link_out_of_the_data_is_refused(folder: Path, place: str) -> None:
    (folder / place).rename(folder.parent / "elsewhere")
    (folder / place).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(UsageError, match="cannot be used") as caught:
        read_image_folder(folder, SKIPPING)
    assert "leads out of the data" in caught.value.why


def test_data_that_is_itself_a_link_and_links_within_it_are_read(folder: Path, tmp_path: Path) -> None:
    before = read_image_folder(folder, GREY)
    (tmp_path / "link").symlink_to(folder)
    place = folder / "train" / "1"
    first = min(place.iterdir())
    (place / "zz.png").symlink_to(first)
    after = read_image_folder(tmp_path / "link", GREY)
    assert len(after.train.labels) == len(before.train.labels) + 1


def test_a_class_whose_name_is_no_text_is_refused(folder: Path) -> None:
    os.mkdir(os.fsencode(folder / "train") + b"/caf\xe9")  # noqa: PTH102 - a name of bytes
    with pytest.raises(UsageError, match=r"caf\\udce9 cannot be used") as caught:
        read_image_folder(folder, SKIPPING)
    assert "not UTF-8" in caught.value.why


def packed(folder: Path, root: Path) -> Path:
    """Pack a folder's files as they lie on a Volume, and return where."""
    pack(folder, root, entries_of(files_below(folder)))
    return root


def test_a_data_set_packed_in_shards_is_the_same_data(sound: Path, tmp_path: Path) -> None:
    plain, other = read_image_folder(sound, GREY), read_image_folder(packed(sound, tmp_path / "packed"), GREY)
    assert (other.sha256, other.classes) == (plain.sha256, plain.classes)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(other, split).pictures, getattr(plain, split).pictures)
        assert torch.equal(getattr(other, split).labels, getattr(plain, split).labels)


def test_what_cannot_be_used_of_a_packed_data_set_is_skipped_and_counted_too(
    sound: Path, folder: Path, tmp_path: Path
) -> None:
    place = folder / "train" / "1"
    (place / "empty.png").touch()
    (place / "notes.txt").write_text("x")
    (place / "half.png").write_bytes(b"half")
    (place / "deeper").mkdir()
    shutil.copy(min(place.glob("[0-9]*.png")), place / "deeper" / "a.png")
    data = read_image_folder(packed(folder, tmp_path / "packed"), SKIPPING)
    assert data.sha256 == read_image_folder(sound, GREY).sha256
    assert data.left_out_counts == {"empty": 1, "no file": 1, "no picture by its name": 1, "no sound picture": 1}


def test_a_packed_data_set_without_a_split_or_with_a_stray_file_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "val")
    with pytest.raises(UsageError, match="val cannot be used") as caught:
        read_image_folder(packed(folder, tmp_path / "packed"), GREY)
    assert caught.value.why == "it has no classes"
    (folder / "train" / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="train cannot be used") as caught:
        read_image_folder(packed(folder, tmp_path / "other"), GREY)
    assert "holds a file beside" in caught.value.why
