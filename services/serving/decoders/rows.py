"""Exports that select by themselves: one row for each object, its box as corners in the input's pixels. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.serving.decoders.findings import KEYPOINTS, findings, only_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.serving.decoders.findings import Findings
    from services.serving.manifest import ModelSpec


def decode_rows(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read (1, n, 6): x0, y0, x1, y1, score, class.

    CenterNet's export ends so, and YOLO's with `nms=True`; further outputs (CenterNet's heat map) are not read.
    """
    rows = only_output(outputs, "(1, n, 6)", lambda shape: len(shape) == 3 and shape[::2] == (1, 6))[0]
    return findings(rows[:, :4], rows[:, 4], rows[:, 5], spec)


def decode_pose_rows(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read (1, n, 57): x0, y0, x1, y1, score, class, 17 x (x, y, score): YOLO's pose export with `nms=True`."""
    numbers = 6 + 3 * len(KEYPOINTS)
    rows = only_output(outputs, f"(1, n, {numbers})", lambda shape: len(shape) == 3 and shape[::2] == (1, numbers))[0]
    points = rows[:, 6:].reshape(-1, len(KEYPOINTS), 3)
    return findings(rows[:, :4], rows[:, 4], rows[:, 5], spec, keypoints=points)


def decode_flat_rows(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read (n, 7): index in the batch, x0, y0, x1, y1, score, class: YOLO-NAS' flat format, n as many as it found."""
    rows = only_output(outputs, "(n, 7)", lambda shape: len(shape) == 2 and shape[1] == 7)
    return findings(rows[:, 1:5], rows[:, 5], rows[:, 6], spec)
