"""The YOLO family's raw exports: one candidate for each point of their grids, boxes in the input's pixels. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.serving.decoders.findings import KEYPOINTS, findings, only_output, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.serving.decoders.findings import Findings
    from services.serving.manifest import ModelSpec

POSE_NUMBERS = 3 * len(KEYPOINTS)


def decode_yolov8(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read YOLOv8's and YOLO11's output (1, 4 + classes, n): centre x, centre y, width, height, then class scores."""
    candidates = _candidates(outputs, 4 + len(spec.labels))
    return _best_class(_corners(candidates[:, :4]), candidates[:, 4:], spec)


def decode_yolov8_pose(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read their pose output (1, 4 + classes + 51, n): as above, then 17 x (x, y, score)."""
    candidates = _candidates(outputs, 4 + len(spec.labels) + POSE_NUMBERS)
    points = candidates[:, -POSE_NUMBERS:].reshape(-1, len(KEYPOINTS), 3)
    return _best_class(_corners(candidates[:, :4]), candidates[:, 4:-POSE_NUMBERS], spec, keypoints=points)


def decode_yolo_nas(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read YOLO-NAS' two outputs: boxes (1, n, 4) as corners and class scores (1, n, classes).

    They may come in either order; with four classes, boxes come first.
    """
    boxes, scores = _two(outputs)
    if boxes.shape[2:] != (4,):
        boxes, scores = scores, boxes
    if boxes.shape[::2] != (1, 4) or scores.shape != (1, boxes.shape[1], len(spec.labels)):
        raise unexpected(outputs, f"(1, n, 4) and (1, n, {len(spec.labels)})")
    return _best_class(boxes[0], scores[0], spec)


def decode_yolo_nas_batch(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read YOLO-NAS' batch format: a count (1, 1), boxes (1, n, 4) as corners, scores (1, n), classes (1, n).

    In this order, which is how its exporter names them; rows after the count are filling.
    """
    shapes = [output.shape for output in outputs]
    rows = shapes[1][1] if len(shapes) == 4 and len(shapes[1]) == 3 else -1
    if shapes != [(1, 1), (1, rows, 4), (1, rows), (1, rows)]:
        raise unexpected(outputs, "(1, 1), (1, n, 4), (1, n) and (1, n), in this order,")
    count = int(outputs[0][0, 0])
    boxes, scores, classes = (output[0, :count] for output in outputs[1:])
    return findings(boxes, scores, classes, spec)


def _candidates(outputs: Sequence[NDArray[Any]], numbers: int) -> NDArray[Any]:
    """Return the candidates (n, numbers) of the one output (1, numbers, n)."""
    output = only_output(outputs, f"(1, {numbers}, n)", lambda shape: len(shape) == 3 and shape[:2] == (1, numbers))
    candidates: NDArray[Any] = output[0].T
    return candidates


def _two(outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(outputs) != 2:
        raise unexpected(outputs, "two")
    return outputs[0], outputs[1]


def _corners(centred: NDArray[Any]) -> NDArray[Any]:
    """Turn centre x, centre y, width, height (n, 4) into x0, y0, x1, y1."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def _best_class(
    boxes: NDArray[Any], scores: NDArray[Any], spec: ModelSpec, *, keypoints: NDArray[Any] | None = None
) -> Findings:
    return findings(boxes, scores.max(axis=1), scores.argmax(axis=1), spec, keypoints=keypoints)
