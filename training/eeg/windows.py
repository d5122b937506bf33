"""The examples of a corpus: every window of one length and stride, and how much of it is seizure. Pure, vectorised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.eeg.corpus import Corpus, Recording
from training.eeg.index import SPLITS
from training.eeg.sections import Windows
from trimtab.errors import UsageError

NONE: Final = 0
PARTIAL: Final = 1
FULL: Final = 2
KINDS: Final = ("none", "partial", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowList:
    """Windows in the order of recording and start: which recording, first sample, share of seizure, kind, split."""

    samples: int
    recording: NDArray[np.int32]
    start: NDArray[np.int64]
    ratio: NDArray[np.float32]
    kind: NDArray[np.uint8]
    split: NDArray[np.uint8]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.start)

    def of(self, split: str) -> NDArray[np.int64]:
        """Return the windows of a split."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def counts(self) -> dict[str, Any]:
        """Return for each split how many windows of each kind there are, and the same for each of its patients."""
        names = [self.patients[index] for index in self.recording]
        every = Counter(zip(self.split.tolist(), names, self.kind.tolist(), strict=True))
        counted: dict[str, Any] = {split: {**dict.fromkeys(KINDS, 0), "patients": {}} for split in SPLITS}
        for (split, patient, kind), count in sorted(every.items()):
            of_split = counted[SPLITS[split]]
            of_split[KINDS[kind]] += count
            of_split["patients"].setdefault(patient, dict.fromkeys(KINDS, 0))[KINDS[kind]] += count
        return counted


def list_windows(corpus: Corpus, how: Windows) -> WindowList:
    """Return every window: one a stride, and one that ends with the recording where the stride leaves a rest.

    A recording shorter than a window has one, from 0. Raises UsageError, with the cause, when no window to train on
    has any seizure: such a training would learn nothing, for a price.
    """
    length, stride = round(how.length_s * corpus.rate_hz), round(how.stride_s * corpus.rate_hz)
    if length < 1 or stride < 1:
        raise UsageError(
            f"windows of {how.length_s} s every {how.stride_s} s are none",
            why=f"at {corpus.rate_hz} Hz that is {length} samples every {stride}",
            remedy="set longer ones",
        )
    starts = [_starts(one.samples, length, stride) for one in corpus.recordings]
    ratios = [_ratios(one, at, length, corpus.rate_hz) for one, at in zip(corpus.recordings, starts, strict=True)]
    ratio = np.concatenate(ratios or [np.empty(0)])
    many = [len(at) for at in starts]
    listed = WindowList(
        samples=length,
        recording=np.repeat(np.arange(len(many), dtype=np.int32), many),
        start=np.concatenate(starts or [np.empty(0, np.int64)]),
        ratio=ratio.astype(np.float32),
        kind=np.where(ratio <= 0, NONE, np.where(ratio < how.full_ratio, PARTIAL, FULL)).astype(np.uint8),
        split=np.repeat(np.array([SPLITS.index(one.split) for one in corpus.recordings], np.uint8), many),
        patients=tuple(one.patient for one in corpus.recordings),
    )
    if not (listed.kind[listed.of("train")] != NONE).any():
        raise UsageError(
            "there is no window with seizure to train on",
            why=_cause(corpus),
            remedy="look at the labels and at the report's counts; a choice of few files may have missed all seizures",
        )
    return listed


def _starts(samples: int, length: int, stride: int) -> NDArray[np.int64]:
    starts = np.arange(0, max(samples - length, 0) + 1, stride, dtype=np.int64)
    last = max(samples - length, 0)
    return starts if starts[-1] == last else np.append(starts, last)


def _ratios(one: Recording, starts: NDArray[np.int64], length: int, rate_hz: int) -> NDArray[np.float64]:
    covered = np.zeros(len(starts))
    for begin_s, end_s in one.events:
        inside = np.minimum(starts + length, end_s * rate_hz) - np.maximum(starts, begin_s * rate_hz)
        covered += np.maximum(inside, 0)
    return covered / length


def _cause(corpus: Corpus) -> str:
    train = [one for one in corpus.recordings if one.split == "train"]
    if not train:
        return "the corpus has no recording in train"
    elsewhere = sum(bool(one.events) for one in corpus.recordings)
    return (
        f"none of the {len(train)} recordings in train has a seizure among its labels ({elsewhere} of the other splits'"
        f" have); rules applied: {corpus.report['counts'] or 'none'}"
    )
