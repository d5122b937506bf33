"""MoveNet: keypoints as shares of the input's height and width, y first. Pure. Source: MoveNet's model cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.serving.decoders.findings import KEYPOINTS, findings, only_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.serving.decoders.findings import Findings
    from services.serving.manifest import ModelSpec

NUMBERS = 3 * len(KEYPOINTS)


def decode_movenet_multipose(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> Findings:
    """Read MultiPose's output (1, n, 56): 17 x (y, x, score), then ymin, xmin, ymax, xmax, score of each person.

    Raises ValueError for tensors of other shapes.
    """
    output = only_output(
        outputs, f"(1, n, {NUMBERS + 5})", lambda shape: len(shape) == 3 and shape[::2] == (1, NUMBERS + 5)
    )
    persons = output[0].astype(np.float64)
    y_min, x_min, y_max, x_max = persons[:, -5:-1].T
    return findings(
        np.stack([x_min, y_min, x_max, y_max], axis=1) * np.tile(_size(spec), 2),
        persons[:, -1],
        np.zeros(len(persons)),
        spec,
        keypoints=_points(persons[:, :NUMBERS].reshape(-1, len(KEYPOINTS), 3), spec),
    )


def decode_movenet_single(outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> NDArray[Any]:
    """Read the output (crops, 1, 17, 3) of Lightning or Thunder: y, x, score of the one person in each crop.

    Returns x, y, score (crops, 17, 3). Raises ValueError for tensors of other shapes.
    """
    output = only_output(outputs, f"(n, 1, {len(KEYPOINTS)}, 3)", lambda shape: shape[1:] == (1, len(KEYPOINTS), 3))
    return _points(output[:, 0].astype(np.float64), spec)


def _points(shares: NDArray[Any], spec: ModelSpec) -> NDArray[Any]:
    """Turn (..., 3) of y, x, score into x, y, score, in pixels of the input."""
    return np.concatenate([shares[..., 1::-1] * _size(spec), shares[..., 2:]], axis=-1)


def _size(spec: ModelSpec) -> NDArray[np.float64]:
    return np.array([spec.input.width, spec.input.height], np.float64)
