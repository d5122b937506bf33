"""What a network says of a split, in two files however many recordings there are. Pure but for the reading.

    probabilities.npz    `recordings`, `seconds` of each, `probabilities` of all of them one after the other, `about`
    events.tsv           what was detected, in the columns of SzCORE and BIDS, then the recording and its source

`read_probabilities` gives the first back, so that other thresholds need no network; a recording without a seizure has
one row in the second, so that its length counts there, too.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.eeg.detection import Events

PROBABILITIES: Final = "probabilities.npz"
EVENTS: Final = "events.tsv"
_BIDS: Final = ("onset", "duration", "eventType", "confidence", "channels", "dateTime", "recordingDuration")
COLUMNS: Final = (*_BIDS, "recording", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The events detected in one recording, each with its confidence, the mean of its probabilities."""

    path: str
    duration_s: float
    events: Events
    confidence: tuple[float, ...]


def events_tsv(recordings: Iterable[Detected], *, synthetic: bool) -> bytes:
    """Return the table of what was detected, in seconds since each recording's beginning."""
    source = "synthetic" if synthetic else "recorded"
    lines = ["\t".join(COLUMNS)]
    for one in recordings:
        rows = [(a, b - a, "sz", f"{sure:.4f}") for (a, b), sure in zip(one.events, one.confidence, strict=True)]
        for onset, duration, kind, sure in rows or [(0.0, one.duration_s, "bckg", "n/a")]:
            cells = (f"{onset:.4f}", f"{duration:.4f}", kind, sure, "n/a", "n/a", f"{one.duration_s:.4f}")
            lines.append("\t".join((*cells, one.path, source)))
    return "".join(f"{line}\n" for line in lines).encode()


def probabilities_npz(predicted: Mapping[str, NDArray[np.float32]], about: Mapping[str, Any]) -> bytes:
    """Return the probability of each second of each recording, float32, and what they were made of and with."""
    stream = io.BytesIO()
    np.savez(
        stream,
        recordings=np.array(list(predicted)),
        seconds=np.array([len(values) for values in predicted.values()], np.int64),
        probabilities=np.concatenate(list(predicted.values())),
        about=np.array(json.dumps(about, sort_keys=True)),
    )
    return stream.getvalue()


def read_probabilities(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return the probabilities of each second by the recording's path, and what they are of.

    Raises UsageError where the file is missing or none of ours.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
            ends = np.cumsum(packed["seconds"])[:-1]
            each = np.split(packed["probabilities"].astype(np.float32, copy=False), ends)
            return dict(zip(packed["recordings"].tolist(), each, strict=True)), json.loads(str(packed["about"]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} holds no probabilities",
            why=f"{type(error).__name__}: {error}",
            remedy="measure with the network: it writes the file anew",
        ) from error
