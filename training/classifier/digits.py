"""Lay out scikit-learn's handwritten digits as an image folder: 1797 real pictures of 8 x 8, the same bytes every time.

`python -m training.classifier.digits --out DIR` writes DIR whole or not at all, and does nothing where it is there.
Source: https://archive.ics.uci.edu/dataset/80, the part that scikit-learn (BSD) ships as `load_digits`.
"""

from __future__ import annotations

import argparse
import io
import sys
from typing import Final

import numpy as np
from PIL import Image

from training.harness.layout import lay_out, run_layout

_SEED: Final = 20260401
_TEST_PART, _VAL_PART = 0.2, 0.1


def digit_files() -> dict[str, bytes]:
    """Return the image folder as {relative path: PNG}: 70 % train, 10 % val and 20 % test of each digit, shuffled."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # scikit-learn has no stubs

    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # the source has 17 greys, 0 to 16
    random = np.random.Generator(np.random.PCG64(_SEED))
    files: dict[str, bytes] = {}
    for digit in range(10):
        members = random.permutation(np.flatnonzero(digits.target == digit))
        test, val = round(len(members) * _TEST_PART), round(len(members) * _VAL_PART)
        for place, index in enumerate(members):
            split = "test" if place < test else "val" if place < test + val else "train"
            stream = io.BytesIO()
            Image.fromarray(pictures[index]).save(stream, "PNG")
            files[f"{split}/{digit}/{index:04d}.png"] = stream.getvalue()
    return files


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.classifier.digits", description="Lay out scikit-learn's digits."
    )

    def lay(options: argparse.Namespace) -> tuple[str, bool]:
        files = digit_files()
        return f"{len(files)} pictures", lay_out(options.out, files)

    return run_layout(parser, arguments, lay)


if __name__ == "__main__":
    sys.exit(main())
