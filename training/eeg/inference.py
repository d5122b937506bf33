"""A probability for each second of whole recordings, from a network that sees windows. Reads the cache only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from training.eeg.loader import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from training.eeg.config import Config
    from training.eeg.corpus import Corpus
    from training.harness.arithmetic import Arithmetic

_BATCH: Final = 64  # windows at once, of one recording or several


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The probability of a seizure in each second of a recording of the corpus, float32 (seconds)."""

    recording: int
    probabilities: NDArray[np.float32]


def predict(
    network: nn.Module, corpus: Corpus, recordings: Sequence[int], config: Config, arithmetic: Arithmetic
) -> tuple[Prediction, ...]:
    """Return a prediction for each recording. Draws nothing at random and changes no weight.

    A window is asked every `detection.stride_s`; a second that several saw gets their mean. A last, broken second
    counts as one. Windows of several recordings share a batch.
    """
    length_s = config.window_s
    seconds = {one: seconds_of(corpus, one) for one in recordings}
    sums = {one: np.zeros((2, max(count, length_s)), np.float32) for one, count in seconds.items()}
    asked = [(one, start) for one in recordings for start in _starts(seconds[one], length_s, config.detection.stride_s)]
    network.eval()
    batches = [asked[at : at + _BATCH] for at in range(0, len(asked), _BATCH)]
    places = ([(one, start * corpus.rate_hz) for one, start in batch] for batch in batches)
    loader = Loader(corpus, samples=length_s * corpus.rate_hz, workers=config.loader.workers)
    with loader, torch.inference_mode(), arithmetic.mixed():
        for batch, signals in zip(batches, loader.stream(places), strict=True):
            scores = network(torch.from_numpy(signals).to(arithmetic.device)).float().sigmoid().cpu().numpy()
            for (one, start), window in zip(batch, scores, strict=True):
                sums[one][0, start : start + length_s] += window
                sums[one][1, start : start + length_s] += 1
    return tuple(
        Prediction(recording=one, probabilities=(total / seen)[: seconds[one]].astype(np.float32))
        for one, (total, seen) in sums.items()
    )


def seconds_of(corpus: Corpus, recording: int) -> int:
    """Return how many seconds a recording has, a broken one at its end included."""
    return math.ceil(corpus.recordings[recording].samples / corpus.rate_hz)


def _starts(seconds: int, length_s: int, stride_s: int) -> Iterator[int]:
    """Yield where windows begin: the last one ends with the recording, the only one of a short recording at 0."""
    last = max(0, seconds - length_s)
    yield from range(0, last, stride_s)
    yield last
