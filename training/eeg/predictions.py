"""A recording's prediction as TUSZ writes its labels: csv_bi, one label for all channels, from end to end. Pure."""

from __future__ import annotations

import itertools
import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from training.eeg.annotations import BACKGROUND, COLUMNS
from training.eeg.detection import detect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.eeg.config import Detection
    from training.eeg.corpus import Recording


def as_csv_bi(recording: Recording, probabilities: NDArray[np.float32], how: Detection, *, synthetic: bool) -> bytes:
    """Return the file: rows without a gap, each with the mean probability of its own label as confidence."""
    events = [(start, min(stop, recording.duration_s)) for start, stop in detect(probabilities, how)]
    edges = [0.0, *itertools.chain.from_iterable(events), recording.duration_s]
    lines = [
        "# version = csv_v1.0.0",
        f"# bname = {PurePosixPath(recording.path).stem}",
        f"# duration = {recording.duration_s:.4f} secs",
        f"# montage_file = {recording.montage}_montage.txt",
        *(["# predicted = on synthetic signal"] if synthetic else []),
        "#",
        ",".join(COLUMNS),
    ]
    for row, (start, stop) in enumerate(itertools.pairwise(edges)):
        if stop > start:
            seizure = float(probabilities[int(start) : math.ceil(stop)].mean())
            label, confidence = ("seiz", seizure) if row % 2 else (BACKGROUND, 1 - seizure)
            lines.append(f"TERM,{start:.4f},{stop:.4f},{label},{confidence:.4f}")
    return ("\n".join(lines) + "\n").encode()
