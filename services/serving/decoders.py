"""What a model's output tensors mean: one pure function for each family of models, chosen by name in the manifest.

Boxes and points are in pixels of the model's input; `framing` brings them back to the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from services.serving.manifest import DecoderName, ModelSpec

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's seventeen, in COCO's order, which MoveNet follows."""

NANODET_STRIDES = (8, 16, 32)


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


Decoder = Callable[[Sequence[NDArray[Any]], "ModelSpec"], Findings]


def decode_nanodet(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read NanoDet's head: for each stride, class scores (1, n, classes) and side distances (1, n, 4 * bins).

    A side's distance from the grid point is the mean of a distribution over bins, counted in strides (Generalized Focal
    Loss, arXiv 2006.04388); grid point i lies at i * stride + (stride - 1) / 2 (GFL's anchor centres). The outputs may
    come in any order. Raises ValueError for tensors of other shapes.
    """
    boxes, scores, labels = [], [], []
    for stride in NANODET_STRIDES:
        columns, rows = -(-spec.input.width // stride), -(-spec.input.height // stride)
        class_scores, distributions = _nanodet_level(outputs, columns * rows, classes=len(spec.labels))
        sides = _expected_bin(distributions.reshape(columns * rows, 4, -1)) * stride
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        centres = np.stack([x.ravel(), y.ravel()], axis=1) * stride + (stride - 1) / 2
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
        scores.append(class_scores.max(axis=1))
        labels.append(class_scores.argmax(axis=1))
    found = np.concatenate(scores).astype(np.float64)
    return Findings(
        boxes=np.concatenate(boxes).astype(np.float64),
        scores=found,
        labels=np.concatenate(labels),
        keypoints=np.zeros((len(found), 0, 3)),
    )


def _nanodet_level(outputs: Sequence[NDArray[Any]], points: int, *, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return one stride's class scores and side distributions, told apart by their shapes."""
    level = [output[0] for output in outputs if output.ndim == 3 and output.shape[:2] == (1, points)]
    scores = [output for output in level if output.shape[1] == classes]
    distributions = [output for output in level if output.shape[1] != classes and output.shape[1] % 4 == 0]
    if len(scores) != 1 or len(distributions) != 1:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise ValueError(f"expected (1, {points}, {classes}) and (1, {points}, 4 * bins) among the outputs {shapes}")
    return scores[0], distributions[0]


def _expected_bin(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the mean bin (..., ) of each distribution (..., bins)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mean: NDArray[Any] = (weights @ np.arange(logits.shape[-1])) / weights.sum(axis=-1)
    return mean


def decode_movenet_multipose(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read MoveNet MultiPose's one output (1, 6, 56): 17 x (y, x, score), then ymin, xmin, ymax, xmax, score.

    Coordinates are shares of the input's height and width. Source: MoveNet MultiPose's model card.
    Raises ValueError for tensors of other shapes.
    """
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[::2] != (1, len(KEYPOINTS) * 3 + 5):
        raise ValueError(f"expected one output (1, n, 56), got {', '.join(str(output.shape) for output in outputs)}")
    persons = outputs[0][0].astype(np.float64)
    size = np.array([spec.input.width, spec.input.height], np.float64)
    keypoints = persons[:, : len(KEYPOINTS) * 3].reshape(len(persons), len(KEYPOINTS), 3)
    y_min, x_min, y_max, x_max = persons[:, -5:-1].T
    return Findings(
        boxes=np.stack([x_min, y_min, x_max, y_max], axis=1) * np.tile(size, 2),
        scores=persons[:, -1],
        labels=np.zeros(len(persons), np.intp),
        keypoints=np.concatenate([keypoints[..., 1::-1] * size, keypoints[..., 2:]], axis=2),
    )


DECODERS: Mapping[DecoderName, Decoder] = {
    "nanodet": decode_nanodet,
    "movenet-multipose": decode_movenet_multipose,
}
