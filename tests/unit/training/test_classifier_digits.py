"""The demo's data: the same pictures and splits every time, laid out whole or not at all."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from training.classifier.digits import digit_files, lay_out, main
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# Over path and pixels of every picture: the PNG bytes may change with the library that writes them, these may not.
PIXELS_SHA256 = "e477d5c09769d8d77a42a29a2563ce144e9491493c132a3c246aadb8d73fd25d"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return digit_files()


def test_the_splits_and_pixels_are_always_the_same(files: dict[str, bytes]) -> None:
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        image = Image.open(io.BytesIO(content))
        assert (image.size, image.mode) == ((8, 8), "L")
        whole.update(path.encode() + image.tobytes())
    assert whole.hexdigest() == PIXELS_SHA256
    assert files == digit_files()


def test_each_digit_is_split_alike_and_no_picture_is_in_two_splits(files: dict[str, bytes]) -> None:
    assert len(files) == 1797
    for digit in range(10):
        counts = [sum(path.startswith(f"{split}/{digit}/") for path in files) for split in ("train", "val", "test")]
        assert counts[2] / sum(counts) == pytest.approx(0.2, abs=0.01)
        assert counts[1] / sum(counts) == pytest.approx(0.1, abs=0.01)
    assert len({path.rsplit("/", 1)[1] for path in files}) == len(set(files.values())) == 1797


def test_the_command_lays_out_once_and_then_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "a" / "digits")]) == 0
    assert "1797 pictures written" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "a" / "digits")]) == 0
    assert "already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["digits"]


def test_what_else_is_there_is_refused_untouched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--out", str(tmp_path)]) == 2
    assert "is not this data set" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_layout_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".digits.part" / "train").mkdir(parents=True)
    (tmp_path / ".digits.part" / "train" / "half.png").write_bytes(b"x")
    assert lay_out(tmp_path / "digits", {"a/b.png": b"1"})
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "digits",
        "digits/a",
        "digits/a/b.png",
    ]


def test_a_directory_in_which_a_picture_differs_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path / "digits", {"a/b.png": b"1"})
    with pytest.raises(UsageError, match="not this data set"):
        lay_out(tmp_path / "digits", {"a/b.png": b"2"})
