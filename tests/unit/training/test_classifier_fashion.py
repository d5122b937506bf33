"""Fashion-MNIST laid out from the package's own files, of which nothing is taken on trust."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from training.classifier.fashion import INSTALLED, SHA256, fashion_files, main

# Over path and pixels of every picture: the PNG bytes may change with the library that writes them, these may not.
PIXELS_SHA256 = "1ad8a9d702a486aaa92a5dfad953a1e46a0c10edd375d6bf26bbff060825217d"

has_package = pytest.mark.skipif(
    not INSTALLED.is_dir(), reason=f"{INSTALLED} is not here: Debian's dataset-fashion-mnist brings it"
)


@has_package
def test_every_class_is_split_alike_and_the_pixels_are_always_the_same() -> None:
    files = fashion_files(INSTALLED)
    counts: dict[str, int] = {}
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        counts[path.rpartition("/")[0]] = counts.get(path.rpartition("/")[0], 0) + 1
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.size == (28, 28)
            whole.update(path.encode() + picture.tobytes())
    assert len(counts) == 30
    expected = {"train": 5500, "val": 500, "test": 1000}
    assert all(count == expected[place.partition("/")[0]] for place, count in counts.items())
    assert whole.hexdigest() == PIXELS_SHA256


@pytest.mark.parametrize("spoil", ["missing", "other"])
def test_a_source_that_is_not_the_package_s_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    for name in SHA256:
        (tmp_path / name).write_bytes(b"x")
    if spoil == "missing":
        (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    assert main(["--out", str(tmp_path / "out"), "--source", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "train-images-idx3-ubyte.gz" in error
    assert ("cannot be read" if spoil == "missing" else "is not Fashion-MNIST's") in error
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(INSTALLED.is_dir(), reason="the package is installed: nothing is fetched")
def test_where_the_package_cannot_be_had_it_is_said_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], empty_path: None
) -> None:
    assert shutil.which("apt-get") is None
    assert main(["--out", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert "Fashion-MNIST is not here" in error
    assert "dataset-fashion-mnist" in error
    assert "--source" in error


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
