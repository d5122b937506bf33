# ruff: noqa: INP001 - a module beside scripts that are run by their path
"""Vectors to compare: as trained encoders give them, with some directions stronger than others, and planted copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def vectors(count: int, dimensions: int, *, even: bool, seed: int = 1) -> npt.NDArray[np.float32]:
    """Return float32 (count, dimensions) of length 1; one in fifty is a copy of another, at a cosine of 0.98 to 1.

    `even`: all directions alike, which leaves nothing to find by looking at a few of them; otherwise the strength of
    direction i falls as 1 / sqrt(i).
    """
    random = np.random.default_rng(seed)
    strength = np.ones(dimensions, np.float32) if even else np.arange(1, dimensions + 1, dtype=np.float32) ** -0.5
    found = np.empty((count, dimensions), np.float32)
    for start in range(0, count, 8192):
        piece = found[start : start + 8192]
        piece[:] = random.standard_normal(piece.shape, dtype=np.float32) * strength
        piece /= np.linalg.norm(piece, axis=1, keepdims=True)
    copies = random.choice(count, count // 50, replace=False)
    angles = np.arccos(random.uniform(0.98, 1, len(copies))).astype(np.float32)[:, None]
    originals = found[random.integers(0, count, len(copies))]
    aside = random.standard_normal(originals.shape, dtype=np.float32)
    aside -= (aside * originals).sum(axis=1, keepdims=True) * originals
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    found[copies] = np.cos(angles) * originals + np.sin(angles) * aside
    return found
