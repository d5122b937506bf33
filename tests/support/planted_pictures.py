"""A thousand different pictures with planted copies, and how well a run's clusters tell them: precision and recall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from training.dedup.planted import KINDS, Planted, photographs, plant, tiles

# scikit-image's photographs (its data/README.txt). Left out: drawings, and what shows the same thing twice.
NAMES = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "ihc", "microaneurysms", "moon", "motorcycle_left", "page", "retina", "rocket", "text"),
)
_INSIDE_THE_EYE = (350, 350, 1060, 1060)  # the rim of the retina is the same black edge all around


def thousand_planted(copied: float = 0.6) -> Planted:
    """Return 1,000 tiles of 20 photographs with copies of a part of them."""
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    pictures = photographs()
    for name in NAMES:
        with Image.open(next(folder.glob(f"{name}.*"))) as picture:
            pictures[name] = picture.convert("RGB")
    pictures["retina"] = pictures["retina"].crop(_INSIDE_THE_EYE)
    every = sorted(tiles(pictures).items(), key=lambda item: item[0][::-1])
    return plant(dict(every[:1000]), copied=copied)


def quality(document: Mapping[str, Any], planted: Planted) -> dict[str, dict[str, float]]:
    """Return precision and recall of a list of duplicates for each kind of copy, and for all pairs of all clusters.

    A copy is found when it is in a cluster with its original. A pair of a cluster is right when both come from the same
    original; it counts for the kinds of its two files.
    """
    clusters = [
        [cluster["keep"]["path"], *(item["path"] for item in cluster["remove"])] for cluster in document["clusters"]
    ]
    where = {path: number for number, paths in enumerate(clusters) for path in paths}
    planted_of, found_of, right, wrong = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for path, (original, kind) in planted.copies.items():
        planted_of[kind] += 1
        found_of[kind] += path in where and where[path] == where.get(original)
    for paths in clusters:
        for pair in combinations(paths, 2):
            origins = {planted.copies.get(path, (path,))[0] for path in pair}
            kinds = {planted.copies[path][1] for path in pair if path in planted.copies} or {"different"}
            (right if len(origins) == 1 else wrong).update({*kinds, "all"})
    table = {
        kind: {
            "planted": planted_of[kind],
            "recall": found_of[kind] / max(1, planted_of[kind]),
            "precision": right[kind] / max(1, right[kind] + wrong[kind]),
        }
        for kind in KINDS
    }
    every = {"recall": found_of.total() / planted_of.total(), "precision": right["all"] / (right["all"] + wrong["all"])}
    return {**table, "all": {"planted": planted_of.total(), **every}}
