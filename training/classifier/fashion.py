"""Lay out Fashion-MNIST as an image folder: 70,000 real pictures of 28 x 28, the same bytes every time.

`python -m training.classifier.fashion --out DIR [--source DIR]` reads the four files of Debian's package
`dataset-fashion-mnist`: where it is installed, in `--source`, or fetched with apt-get for the moment.
Source: https://github.com/zalandoresearch/fashion-mnist (MIT, Zalando SE). Installs nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.harness.layout import lay_out, run_layout
from trimtab.errors import ProgramError, ToolMissingError, UsageError

PACKAGE: Final = "dataset-fashion-mnist"
INSTALLED: Final = Path("/usr/share/datasets/fashion-mnist")
CLASSES: Final = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
SHA256: Final = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
_VAL_PER_CLASS: Final = 500  # of the 6,000 of each class that are to be learnt from; the first ones
_TIMEOUT_S: Final = 300


def fashion_files(source: Path) -> dict[str, bytes]:
    """Return the image folder as {relative path: PNG}: 5,500 train, 500 val and 1,000 test of each class.

    Raises UsageError when a file of the source is missing or another one.
    """
    train = _read(source, "train"), ("val", _VAL_PER_CLASS)
    test = _read(source, "t10k"), ("test", 0)
    files: dict[str, bytes] = {}
    for (pictures, labels), (other, first) in (train, test):
        seen = [0] * len(CLASSES)
        for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            split = other if not first or seen[label] < first else "train"
            seen[label] += 1
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "PNG")
            files[f"{split}/{CLASSES[label]}/{index:05d}.png"] = stream.getvalue()
    return files


def _read(source: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (n, 28, 28) and labels (n), uint8. IDX: a header of 16 and of 8 bytes, then the bytes."""
    pictures, labels = (_content(source / f"{name}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def _content(path: Path) -> bytes:
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read", why=error.strerror or str(error), remedy=f"give a folder with {', '.join(SHA256)}"
        ) from error
    if hashlib.sha256(packed).hexdigest() != SHA256[path.name]:
        raise UsageError(
            f"{path} is not Fashion-MNIST's", why="its checksum is another one", remedy=f"take it from {PACKAGE}"
        )
    return gzip.decompress(packed)


def fetch(folder: Path) -> Path:
    """Fetch Debian's package into a folder, unpack it there, and return where its files are.

    Raises ToolMissingError without Debian's tools, ProgramError when the package cannot be had.
    """
    remedy = f"install {PACKAGE} of Debian, or give --source DIR with {', '.join(SHA256)}"
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ToolMissingError("Fashion-MNIST is not here", why=f"it is no Debian: no {tool}", remedy=remedy)
    _run(("apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE), folder, remedy)
    (package,) = folder.glob("*.deb")
    _run(("dpkg-deb", "--extract", str(package), "."), folder, remedy)
    return folder / INSTALLED.relative_to("/")


def _run(argv: tuple[str, ...], folder: Path, remedy: str) -> None:
    try:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise ProgramError(
            "Fashion-MNIST cannot be had",
            why=f"`{' '.join(argv[:4])}` said: {said[-1] if said else error}",
            remedy=remedy,
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.classifier.fashion", description="Lay out Fashion-MNIST.")
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="its four files; else Debian's package is looked for"
    )

    def lay(options: argparse.Namespace) -> tuple[str, bool]:
        with tempfile.TemporaryDirectory() as folder:
            source = options.source or (INSTALLED if INSTALLED.is_dir() else fetch(Path(folder)))
            files = fashion_files(source)
        return f"{len(files)} pictures", lay_out(options.out, files)

    return run_layout(parser, arguments, lay)


if __name__ == "__main__":
    sys.exit(main())
