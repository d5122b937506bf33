"""Windows of the corpus as batches, read by threads while the network works. Reads the cache only.

Each window is one read of one slice of one mapped file. What a batch holds does not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np

from training.eeg.montage import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.corpus import Corpus

Place = tuple[int, int]
"""A recording and the first sample of a window in it."""
_Begun = tuple["NDArray[np.float32]", list[Future[None]]]


class Loader:
    """Reads batches of windows of one length with a number of threads. A context: it ends them."""

    def __init__(self, corpus: Corpus, *, samples: int, workers: int) -> None:
        self._corpus, self._samples, self._workers = corpus, samples, workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="windows")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def stream(self, batches: Iterable[Sequence[Place]]) -> Iterator[NDArray[np.float32]]:
        """Yield each batch's windows, (n, channels, samples); while one is in use, the next is read."""
        ahead: _Begun | None = None
        for places in batches:
            begun = self._begin(places)
            if ahead:
                yield _read_out(ahead)
            ahead = begun
        if ahead:
            yield _read_out(ahead)

    def _begin(self, places: Sequence[Place]) -> _Begun:
        signals = np.empty((len(places), len(CHANNELS), self._samples), np.float32)
        shares = [range(first, len(places), self._workers) for first in range(min(self._workers, len(places)))]
        return signals, [self._threads.submit(self._read, places, signals, share) for share in shares]

    def _read(self, places: Sequence[Place], signals: NDArray[np.float32], share: range) -> None:
        for index in share:
            recording, start = places[index]
            self._corpus.read(recording, start, start + self._samples, out=signals[index])


def _read_out(begun: _Begun) -> NDArray[np.float32]:
    signals, reads = begun
    for read in reads:
        read.result()
    return signals
