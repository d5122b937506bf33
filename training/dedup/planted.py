"""Real pictures with planted copies, and the truth about them: the data of the demo, and what the job is measured on.

`python -m training.dedup.planted --out DIR` writes DIR whole or not at all, the same bytes every time: tiles of the two
photographs that scikit-learn ships (china.jpg by danielbuechele, flower.jpg by vultilion, both CC BY 2.0), spread over
train, val and test, and of some of them copies: the same bytes, resized, recompressed, cropped by 5 %, mirrored.
DIR/planted.json says which file is a copy of which, and how.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps

from training.harness.layout import lay_out, run_layout

TRUTH: Final = "planted.json"
KINDS: Final = ("exact", "resized", "recompressed", "cropped", "flipped")
_SEED: Final = 20260507
_SIDES: Final = (64, 96)
_LEAST_CONTRAST: Final = 12.0  # of 255, one standard deviation: bare sky is a copy of bare sky
_SPLITS: Final = {"train": 0.7, "val": 0.1, "test": 0.2}
_COPIED: Final = 0.3
_OFTEN: Final = 12  # copies of the one picture that is to make a large cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The files of a data set, and what was planted: {path of the copy: (path of the original, kind)}."""

    files: Mapping[str, bytes]
    copies: Mapping[str, tuple[str, str]]

    def truth(self) -> bytes:
        """Return what was planted as JSON."""
        rows = [
            {"path": path, "original": original, "kind": kind} for path, (original, kind) in sorted(self.copies.items())
        ]
        return json.dumps({"copies": rows}, indent=1).encode() + b"\n"


def photographs() -> dict[str, Image.Image]:
    """Return scikit-learn's photographs by name."""
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]  # scikit-learn has no stubs

    samples = load_sample_images()
    return {
        Path(name).stem: Image.fromarray(pixels) for name, pixels in zip(samples.filenames, samples.images, strict=True)
    }


def tiles(pictures: Mapping[str, Image.Image], sides: tuple[int, ...] = _SIDES) -> dict[str, Image.Image]:
    """Return the squares that cover each picture, none over another of its size, without those that show nothing."""
    found: dict[str, Image.Image] = {}
    for name, picture in sorted(pictures.items()):
        for side in sides:
            for top in range(0, picture.height - side + 1, side):
                for left in range(0, picture.width - side + 1, side):
                    tile = picture.crop((left, top, left + side, top + side))
                    if float(np.asarray(tile.convert("L"), np.float64).std()) >= _LEAST_CONTRAST:
                        found[f"{name}-{side}-{top:04d}-{left:04d}"] = tile
    return found


def plant(originals: Mapping[str, Image.Image], *, copied: float = _COPIED, often: int = _OFTEN) -> Planted:
    """Spread pictures over the splits and plant copies of a part of them, each in a split of its own draw.

    The first picture gets `often` copies, no two alike, in turns resized and recompressed.
    """
    random = np.random.Generator(np.random.PCG64(_SEED))
    names, parts = list(_SPLITS), list(_SPLITS.values())

    def path(name: str) -> str:
        return f"{random.choice(names, p=parts)}/{name[:1]}/{name}"

    files: dict[str, bytes] = {}
    copies: dict[str, tuple[str, str]] = {}
    for number, (name, picture) in enumerate(sorted(originals.items())):
        original = path(f"{name}.png")
        files[original] = content = _saved(picture, "PNG")
        if not number:
            for turn in range(often):
                kind = ("resized", "recompressed")[turn % 2]
                suffix, copy = _copy(kind, picture, content, strength=1 - (turn + 1) / (2 * often))
                place = path(f"{name}-{turn:02d}-{kind}{suffix}")
                files[place], copies[place] = copy, (original, kind)
        elif random.random() < copied:
            kind = KINDS[int(random.integers(len(KINDS)))]
            suffix, copy = _copy(kind, picture, content, strength=float(random.uniform(0.5, 1)))
            place = path(f"{name}-{kind}{suffix}")
            files[place], copies[place] = copy, (original, kind)
    return Planted(files=files, copies=copies)


def _copy(kind: str, picture: Image.Image, content: bytes, *, strength: float) -> tuple[str, bytes]:
    """Return a copy's suffix and bytes; `strength` from 0.5 to 1 is how much of it is left."""
    width, height = picture.size
    made: dict[str, Callable[[], tuple[str, bytes]]] = {
        "exact": lambda: (".png", content),
        "resized": lambda: (
            ".png",
            _saved(
                picture.resize((round(width * strength), round(height * strength)), Image.Resampling.BICUBIC), "PNG"
            ),
        ),
        "recompressed": lambda: (".jpg", _saved(picture, "JPEG", quality=round(90 * strength))),
        "cropped": lambda: (".png", _saved(ImageOps.crop(picture, _border(width, height)), "PNG")),
        "flipped": lambda: (".png", _saved(ImageOps.mirror(picture), "PNG")),
    }
    return made[kind]()


def _border(width: int, height: int) -> tuple[int, int, int, int]:
    """Return what is cut off at the left, top, right and bottom: 5 % of either side in all, not in the middle."""
    across, down = round(0.05 * width), round(0.05 * height)
    return across // 3, down - down // 3, across - across // 3, down // 3


def _saved(picture: Image.Image, kind: str, **how: Any) -> bytes:  # any of Pillow's options
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, kind, **how)
    return stream.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.dedup.planted", description="Lay out real pictures with planted copies."
    )

    def lay(options: argparse.Namespace) -> tuple[str, bool]:
        planted = plant(tiles(photographs()))
        what = f"{len(planted.files)} pictures, {len(planted.copies)} of them copies,"
        return what, lay_out(options.out, {**planted.files, TRUTH: planted.truth()})

    return run_layout(parser, arguments, lay)


if __name__ == "__main__":
    sys.exit(main())
