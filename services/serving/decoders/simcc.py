"""SimCC, RTMPose's head: for each keypoint, one distribution over x and one over y (arXiv 2107.03332). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.serving.decoders.findings import KEYPOINTS, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.serving.manifest import ModelSpec

SPLIT_RATIO = 2
"""Bins for each pixel of the input, in every published RTMPose (`simcc_split_ratio` of its configurations)."""


def decode_simcc(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> NDArray[Any]:
    """Read simcc_x (crops, 17, 2 * width) and simcc_y (crops, 17, 2 * height), in this order where they look alike.

    A keypoint lies at the highest bin of each; its score is the lower of the two peaks, as MMPose takes it, and one
    without a peak above 0 was not found (score 0). Returns x, y, score (crops, 17, 3). Raises ValueError for tensors
    of other shapes.
    """
    width, height = SPLIT_RATIO * spec.input.width, SPLIT_RATIO * spec.input.height
    wanted = ((len(KEYPOINTS), width), (len(KEYPOINTS), height))
    found = tuple(outputs if [output.shape[1:] for output in outputs] == list(wanted) else reversed(outputs))
    if tuple(output.shape[1:] for output in found) != wanted:
        raise unexpected(outputs, f"(n, {len(KEYPOINTS)}, {width}) and (n, {len(KEYPOINTS)}, {height})")
    at = np.stack([output.argmax(axis=2) for output in found], axis=-1) / SPLIT_RATIO
    score = np.minimum(*(output.max(axis=2) for output in found)).clip(0.0, 1.0)
    return np.concatenate([at, score[..., np.newaxis]], axis=-1)
