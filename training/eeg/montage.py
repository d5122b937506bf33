"""Which signal of a file is which electrode: names as hospitals write them to SzCORE's nineteen, in its order. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from training.eeg.notes import Rule

CHANNELS: Final = (
    "Fp1", "F3", "C3", "P3", "O1", "F7", "T3", "T5", "Fz", "Cz", "Pz", "Fp2", "F4", "C4", "P4", "O2", "F8", "T4", "T6",
)  # fmt: skip
"""The order of SzCORE (arXiv 2402.13005): left, middle, right, each from front to back."""
REFERENCE: Final = "common average"

_NOW_CALLED: Final = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
_PLACES: Final = {name.upper(): place for place, name in enumerate(CHANNELS)}
# An electrode against one common reference. `FP1-F7` is a difference of two of ours, and none of them.
_LABEL: Final = re.compile(r"(?:EEG[ _.:-]*)?([A-Z]{1,2}[0-9]{0,2}Z?)(?:\s*-\s*(?:REF|LE|AR|AVG|AV|A1|A2|A12|M1|M2))?")
_MICROVOLTS: Final = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6, "nv": 1e-3}


def place_of(label: str) -> int | None:
    """Return the place in CHANNELS of a signal's label, or None when it is none of them."""
    match = _LABEL.fullmatch(label.strip().upper())
    return _PLACES.get(_NOW_CALLED.get(match[1], match[1])) if match else None


def choose(labels: Sequence[str]) -> tuple[tuple[int | None, ...], tuple[tuple[Rule, str], ...]]:
    """Return for each of CHANNELS the index of its signal (None: there is none), and what was odd.

    Of two signals of one electrode the first is taken.
    """
    picks: list[int | None] = [None] * len(CHANNELS)
    odd = []
    for index, label in enumerate(labels):
        place = place_of(label)
        if place is None:
            continue
        if picks[place] is None:
            picks[place] = index
        else:
            odd.append((Rule.CHANNEL_TWICE, f"{CHANNELS[place]}: {label!r} is left out"))
    odd += [(Rule.CHANNEL_MISSING, name) for name, index in zip(CHANNELS, picks, strict=True) if index is None]
    return tuple(picks), tuple(odd)


def microvolts(dimension: str) -> float | None:
    """Return how many microvolts a unit is, or None when it is no unit of voltage."""
    return _MICROVOLTS.get(dimension.strip().lower())
