"""How good detections are: the event and sample scores of timescoring, summed over recordings. Pure.

Events as SzCORE counts them (the library's defaults: 30 s of tolerance before and 60 s after, any overlap, events below
90 s apart are one, above 5 min several), samples at 1 Hz. https://github.com/esl-epfl/timescoring
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from timescoring.annotations import Annotation  # type: ignore[import-untyped]  # timescoring has no stubs
from timescoring.scoring import EventScoring, SampleScoring  # type: ignore[import-untyped]  # likewise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.config import Detection
    from training.eeg.detection import Events

_HZ: Final = 10  # the precision that the library counts events with
THRESHOLDS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One recording: how long it is, what is true and what was detected."""

    duration_s: float
    truth: Events
    detected: Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts of events or seconds, and what follows from them; None where a count of none leaves it undefined."""

    true: int
    found: int
    false: int
    sensitivity: float | None
    precision: float | None
    f1: float | None
    false_per_day: float

    @classmethod
    def of(cls, *, true: int, found: int, false: int, duration_s: float) -> Score:
        """Return the score of counts: so many true, so many of them found, and so many false detections."""
        return cls(
            true=true,
            found=found,
            false=false,
            sensitivity=found / true if true else None,
            precision=found / (found + false) if found + false else None,
            f1=2 * found / (2 * found + false + (true - found)) if true + false else None,
            false_per_day=false / (duration_s / 3600 / 24),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Both ways of counting, over all recordings."""

    event: Score
    sample: Score
    hours: float

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def score(recordings: Iterable[Scored]) -> Scores:
    """Score all recordings together. Raises ValueError where there are none."""
    event, sample = np.zeros(3, np.int64), np.zeros(3, np.int64)
    total_s = seconds = 0.0
    for recording in recordings:
        truth, detected = (_annotation(events, recording) for events in (recording.truth, recording.detected))
        by_event = EventScoring(truth, detected)
        by_sample = SampleScoring(truth, detected)
        event += by_event.refTrue, by_event.tp, by_event.fp
        sample += by_sample.refTrue, by_sample.tp, by_sample.fp
        total_s += by_event.numSamples / by_event.fs
        seconds += by_sample.numSamples
    if not seconds:
        raise ValueError("no recording of at least a second to score")
    return Scores(
        event=Score.of(**_counts(event), duration_s=total_s),
        sample=Score.of(**_counts(sample), duration_s=seconds),
        hours=total_s / 3600,
    )


def at_threshold(how: Detection, upper: float) -> Detection:
    """Return the detection with another upper threshold; the lower one keeps its distance in proportion."""
    return how.model_copy(update={"upper": upper, "lower": upper * how.lower / how.upper})


def average_precision(probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """Return the area under precision over recall, of seconds: no threshold chosen, and the rarer class is what counts.

    Chance is the part of labels that are 1; equal probabilities count as one threshold. 0 where no label is 1.
    """
    order = np.argsort(-probabilities, kind="stable")
    found = np.cumsum(labels[order], dtype=np.float64)
    if not len(found) or not found[-1]:
        return 0.0
    last = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)  # of each run of equal ones
    precision = found[last] / (last + 1)
    gained = np.diff(found[last], prepend=0.0) / found[-1]
    return float(gained @ precision)


def _annotation(events: Events, recording: Scored) -> Annotation:
    return Annotation(list(events), _HZ, round(recording.duration_s * _HZ))


def _counts(counted: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(("true", "found", "false"), counted.tolist(), strict=True))
