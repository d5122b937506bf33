"""NanoDet: scores and distributions of distances for each point of three grids. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.serving.decoders.findings import findings, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.serving.decoders.findings import Findings
    from services.serving.manifest import ModelSpec

STRIDES = (8, 16, 32)


def decode_nanodet(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read NanoDet's head: for each stride, class scores (1, n, classes) and side distances (1, n, 4 * bins).

    A side's distance from the grid point is the mean of a distribution over bins, counted in strides (Generalized Focal
    Loss, arXiv 2006.04388); grid point i lies at i * stride + (stride - 1) / 2 (GFL's anchor centres). The outputs may
    come in any order. Raises ValueError for tensors of other shapes.
    """
    boxes, scores, labels = [], [], []
    for stride in STRIDES:
        columns, rows = -(-spec.input.width // stride), -(-spec.input.height // stride)
        class_scores, distributions = _level(outputs, columns * rows, classes=len(spec.labels))
        sides = _expected_bin(distributions.reshape(columns * rows, 4, -1)) * stride
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        centres = np.stack([x.ravel(), y.ravel()], axis=1) * stride + (stride - 1) / 2
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
        scores.append(class_scores.max(axis=1))
        labels.append(class_scores.argmax(axis=1))
    return findings(np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels), spec)


def _level(outputs: Sequence[NDArray[Any]], points: int, *, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return one stride's class scores and side distributions, told apart by their shapes."""
    level = [output[0] for output in outputs if output.ndim == 3 and output.shape[:2] == (1, points)]
    scores = [output for output in level if output.shape[1] == classes]
    distributions = [output for output in level if output.shape[1] != classes and output.shape[1] % 4 == 0]
    if len(scores) != 1 or len(distributions) != 1:
        raise unexpected(outputs, f"(1, {points}, {classes}) and (1, {points}, 4 * bins)")
    return scores[0], distributions[0]


def _expected_bin(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the mean bin (..., ) of each distribution (..., bins)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mean: NDArray[Any] = (weights @ np.arange(logits.shape[-1])) / weights.sum(axis=-1)
    return mean
