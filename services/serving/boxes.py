"""Overlap of boxes, and keeping one box of several that mean the same object. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES = 1000  # the best this many are compared, so that min_score=0 costs no more than a crowded street


def overlaps(box: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of one box (4,) with others (n, 4), all x0, y0, x1, y1."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(sides, 0.0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - shared
    result: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(len(others), np.float64), where=union > 0)
    return result


def best_of_overlapping(
    boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], *, overlap: float, at_most: int
) -> NDArray[np.intp]:
    """Return the indices to keep, best first: of boxes of one label that overlap by more than `overlap`, the best.

    Greedy non-maximum suppression per label; boxes (n, 4), scores (n,), labels (n,).
    """
    remaining = np.argsort(-scores, kind="stable")[:CANDIDATES]
    kept: list[np.intp] = []
    while remaining.size and len(kept) < at_most:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        same_label = labels[remaining] == labels[best]
        remaining = remaining[~(same_label & (overlaps(boxes[best], boxes[remaining]) > overlap))]
    return np.array(kept, np.intp)
