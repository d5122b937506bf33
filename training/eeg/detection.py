"""From a probability a second to seizures: two thresholds, gaps closed, what is too short dropped. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.config import Detection

Events = tuple[tuple[float, float], ...]
"""Start and stop in seconds since the recording's beginning, in order, apart from each other."""


def detect(probabilities: NDArray[np.float32], how: Detection) -> Events:
    """Return the events in one recording's probabilities (seconds).

    An event begins where `upper` is reached and goes on while it stays at `lower` or above. Gaps of at most `merge_s`
    are closed before events below `minimum_s` are dropped.
    """
    found: list[tuple[float, float]] = []
    for start, stop in _stretches(probabilities >= how.lower):
        reached = np.flatnonzero(probabilities[start:stop] >= how.upper)
        if not len(reached):
            continue
        begin = float(start + reached[0])
        if found and begin - found[-1][1] <= how.merge_s:
            found[-1] = (found[-1][0], float(stop))
        else:
            found.append((begin, float(stop)))
    return tuple(event for event in found if event[1] - event[0] >= how.minimum_s)


def labels_of(events: Events, *, start_s: float, seconds: int) -> NDArray[np.float32]:
    """Return 1 for each second from a start that lies at least half in an event, else 0."""
    begins = start_s + np.arange(seconds)
    inside = np.zeros(seconds)
    for start, stop in events:
        inside += np.clip(np.minimum(stop, begins + 1) - np.maximum(start, begins), 0, None)
    return (inside >= 0.5).astype(np.float32)


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
