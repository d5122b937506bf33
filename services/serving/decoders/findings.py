"""What every decoder gives, and how one picks its tensors among a model's outputs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.serving.manifest import ModelSpec

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's seventeen, in COCO's order, which MoveNet, YOLO's pose models and RTMPose's body models follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a model found: boxes (n, 4) as x0, y0, x1, y1; scores (n,); labels (n,) as indices; keypoints (n, k, 3).

    A keypoint is x, y, score; a detector has k = 0.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.intp]
    keypoints: NDArray[np.float64]

    def chosen(self, which: NDArray[Any]) -> Findings:
        """Return the findings at these indices, or where this mask is true."""
        return Findings(
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            keypoints=self.keypoints[which],
        )


def findings(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    spec: ModelSpec,
    *,
    keypoints: NDArray[Any] | None = None,
) -> Findings:
    """Return findings of any number type; raises ValueError for a class that the manifest has no label for."""
    labels = classes.astype(np.intp)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(spec.labels):
        raise ValueError(f"the model names classes {labels.min()} to {labels.max()} of {len(spec.labels)} labels")
    return Findings(
        boxes=boxes.astype(np.float64),
        scores=scores.astype(np.float64),
        labels=labels,
        keypoints=np.zeros((len(labels), 0, 3)) if keypoints is None else keypoints.astype(np.float64),
    )


def only_output(
    outputs: Sequence[NDArray[Any]], expected: str, fits: Callable[[tuple[int, ...]], bool]
) -> NDArray[Any]:
    """Return the one output whose shape fits; raises ValueError, saying what was expected, unless it is one."""
    fitting = [output for output in outputs if fits(output.shape)]
    if len(fitting) != 1:
        raise unexpected(outputs, expected)
    return fitting[0]


def unexpected(outputs: Sequence[NDArray[Any]], expected: str) -> ValueError:
    """Return the error of a model whose outputs are not those of its decoder."""
    shapes = ", ".join(str(output.shape) for output in outputs)
    return ValueError(f"expected {expected} among the outputs {shapes or 'of none'}")
