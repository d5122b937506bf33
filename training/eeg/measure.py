"""What predictions of a split are worth: scores, the threshold sweep, tables, pictures. Reads the cache only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.eeg.curve import draw_sweep
from training.eeg.detection import Events, detect, labels_of
from training.eeg.montage import CHANNELS
from training.eeg.predictions import EVENTS, PROBABILITIES, Detected, events_tsv, probabilities_npz
from training.eeg.scoring import THRESHOLDS, Scored, Scores, at_threshold, average_precision, score
from training.eeg.strip import Strip, draw_strip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.config import Config, Detection
    from training.eeg.corpus import Corpus
    from training.eeg.inference import Prediction

_SHOWN_S: Final = 60  # of a recording, in the picture
_BEFORE_S: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One split, measured: everything is worked out of the predictions, so the same predictions give the same bytes."""

    corpus: Corpus
    config: Config
    split: str
    predictions: tuple[Prediction, ...]
    scores: Scores
    sweep: Mapping[float, Scores]
    average_precision: float
    seizure_part: float
    separation: float
    """The mean probability of seconds in seizure less that of the others: a coincidence hardly moves it."""

    @property
    def summary(self) -> dict[str, Any]:
        """Return the numbers, JSON-able; what is undefined (no event detected, say) is None."""
        how = self.config.detection
        event, sample = self.scores.event, self.scores.sample
        recordings = [self.corpus.recordings[one.recording] for one in self.predictions]
        return {
            "split": self.split,
            "synthetic": self.corpus.synthetic,
            "recordings": len(recordings),
            "patients": len({one.patient for one in recordings}),
            "hours": round(self.scores.hours, 4),
            "event_f1": event.f1,
            "event_sensitivity": event.sensitivity,
            "event_precision": event.precision,
            "false_alarms_per_day": event.false_per_day,
            "sample_f1": sample.f1,
            "sample_sensitivity": sample.sensitivity,
            "sample_precision": sample.precision,
            "average_precision": self.average_precision,
            "average_precision_of_chance": self.seizure_part,
            "separation": self.separation,
            "events": {"true": event.true, "found": event.found, "false": event.false},
            "thresholds": {"upper": how.upper, "lower": how.lower, "minimum_s": how.minimum_s, "merge_s": how.merge_s},
        }

    @property
    def line(self) -> str:
        """Return the summary for a person."""
        return headline(self.summary)

    def at(self, upper: float) -> dict[str, Any]:
        """Return the scores at one threshold of the sweep, JSON-able."""
        scores = self.sweep[upper]
        return {"upper": upper, "event": asdict(scores.event), "sample": asdict(scores.sample)}

    def files(self, folder: str) -> dict[str, bytes]:
        """Return scores, pictures and predictions, by their paths below a folder."""
        source = "synthetic corpus" if self.corpus.synthetic else "corpus"
        sweep = {upper: scores.event for upper, scores in self.sweep.items()}
        title = f"Event scores by threshold, {self.split} of a {source}"
        numbers = {"summary": self.summary, "sweep": [self.at(upper) for upper in self.sweep]}
        return {
            f"{folder}/scores.json": f"{json.dumps(numbers, indent=1)}\n".encode(),
            f"{folder}/sweep.svg": draw_sweep(sweep, chosen=self.config.detection.upper, title=title).encode(),
            f"{folder}/strip.png": self._strip(source),
            f"{folder}/{EVENTS}": events_tsv(self._detected(), synthetic=self.corpus.synthetic),
            f"{folder}/{PROBABILITIES}": probabilities_npz(
                {self.corpus.recordings[one.recording].path: one.probabilities for one in self.predictions},
                origin(self.corpus, self.config, split=self.split),
            ),
        }

    def _detected(self) -> Iterator[Detected]:
        for one in self.predictions:
            recording = self.corpus.recordings[one.recording]
            found = detect(one.probabilities, self.config.detection)
            events = tuple((start, min(stop, recording.duration_s)) for start, stop in found)
            yield Detected(
                path=recording.path,
                duration_s=recording.duration_s,
                events=events,
                confidence=tuple(float(one.probabilities[int(a) : math.ceil(b)].mean()) for a, b in events),
            )

    def _strip(self, source: str) -> bytes:
        """Draw a minute of the recording with most seizures, around its first one."""
        corpus, how = self.corpus, self.config.detection
        shown = max(self.predictions, key=lambda one: len(corpus.recordings[one.recording].events))
        recording = corpus.recordings[shown.recording]
        first = recording.events[0][0] if recording.events else 0.0
        start = max(0, min(int(first) - _BEFORE_S, len(shown.probabilities) - _SHOWN_S))
        stop = min(start + _SHOWN_S, len(shown.probabilities))
        strip = Strip(
            title=f"{recording.path}, {source}: truth and detection",
            channels=CHANNELS,
            signals=corpus.read(shown.recording, start * corpus.rate_hz, stop * corpus.rate_hz),
            start_s=start,
            truth=_within(recording.events, start, stop),
            detected=_within(detect(shown.probabilities, how), start, stop),
            probabilities=shown.probabilities[start:stop],
        )
        return draw_strip(strip, how)


def measure(corpus: Corpus, predictions: tuple[Prediction, ...], config: Config, *, split: str) -> Measured:
    """Score the predictions of a split, at the thresholds in use and over all others."""
    probabilities, truth = seconds_measured(corpus, predictions)
    return Measured(
        corpus=corpus,
        config=config,
        split=split,
        predictions=predictions,
        scores=score_predictions(corpus, predictions, config.detection),
        sweep=sweep(corpus, predictions, config.detection),
        average_precision=average_precision(probabilities, truth),
        seizure_part=float(truth.mean(dtype=np.float64)),
        separation=_mean(probabilities[truth > 0]) - _mean(probabilities[truth == 0]),
    )


def origin(corpus: Corpus, config: Config, *, split: str) -> dict[str, Any]:
    """Return what probabilities of a run depend on besides its weights, JSON-able; thresholds are not among it."""
    return {
        "format": "eeg-probabilities/1",
        "corpus_sha256": corpus.sha256,
        "split": split,
        "synthetic": corpus.synthetic,
        "window_s": config.window_s,
        "stride_s": config.detection.stride_s,
    }


def score_predictions(corpus: Corpus, predictions: Sequence[Prediction], how: Detection) -> Scores:
    """Return the scores of what is detected in predictions."""
    return score(
        Scored(
            duration_s=corpus.recordings[one.recording].duration_s,
            truth=corpus.recordings[one.recording].events,
            detected=detect(one.probabilities, how),
        )
        for one in predictions
    )


def sweep(corpus: Corpus, predictions: Sequence[Prediction], how: Detection) -> dict[float, Scores]:
    """Return the scores at each upper threshold, the lower one keeping its distance in proportion."""
    return {upper: score_predictions(corpus, predictions, at_threshold(how, upper)) for upper in THRESHOLDS}


def best_threshold(scores: Mapping[float, Scores]) -> float:
    """Return the threshold with the best event F1, then the fewest false alarms; of equal ones the middle one."""
    worth = {upper: (one.event.f1 or 0.0, -one.event.false_per_day) for upper, one in scores.items()}
    best = [upper for upper in sorted(worth) if worth[upper] == max(worth.values())]
    return best[len(best) // 2]


def seconds_measured(
    corpus: Corpus, predictions: Sequence[Prediction]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the probability and the label of every second of all predictions, one after the other."""
    labels = [
        labels_of(corpus.recordings[one.recording].events, start_s=0, seconds=len(one.probabilities))
        for one in predictions
    ]
    return np.concatenate([one.probabilities for one in predictions]), np.concatenate(labels)


def headline(summary: Mapping[str, Any]) -> str:
    """Return one line of a summary."""
    f1 = "undefined" if summary["event_f1"] is None else f"{summary['event_f1']:.3f}"
    source = "synthetic corpus" if summary["synthetic"] else "corpus"
    return (
        f"event F1 {f1} at {summary['false_alarms_per_day']:.2f} false alarms in 24 h "
        f"({summary['split']} of a {source}: {summary['patients']} patients, {summary['hours']:.1f} h)"
    )


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def _within(events: Events, start: int, stop: int) -> Events:
    return tuple((max(a, start) - start, min(b, stop) - start) for a, b in events if b > start and a < stop)
