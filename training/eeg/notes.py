"""What is odd about a recording, by name: every rule that mends, leaves out or skips. Pure; counted by the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_SHOWN: Final = 1000


class Rule(StrEnum):
    """The name of a rule. The first groups skip a file or a recording; the others say what was mended and how."""

    # A file that is no recording of the corpus: left out.
    LINK = "link"
    NAME_NOT_TEXT = "name-not-text"
    LAYOUT_ODD = "layout-odd"
    # A recording without labels that can be trusted: skipped.
    UNANNOTATED = "unannotated"
    ANNOTATION_BROKEN = "annotation-broken"
    ANNOTATION_FOREIGN = "annotation-foreign"
    # A recording without signal that can be trusted: skipped.
    UNREADABLE = "unreadable"
    HEADER_BROKEN = "header-broken"
    RECORDS_NONE = "records-none"
    DISCONTINUOUS = "discontinuous"
    CHANNELS_MISSING = "channels-missing"
    RATE_ODD = "rate-odd"
    TOO_SHORT = "too-short"
    # Labels that were mended.
    ROW_MALFORMED = "row-malformed"
    LABEL_UNKNOWN = "label-unknown"
    EVENT_REVERSED = "event-reversed"
    EVENT_EMPTY = "event-empty"
    EVENT_OVERLAPPING = "event-overlapping"
    EVENT_OUTSIDE = "event-outside"
    DURATION_DIFFERS = "duration-differs"
    # Signal that was mended.
    DATE_ODD = "date-odd"
    RECORD_COUNT_WRONG = "record-count-wrong"
    BYTES_LEFT_OVER = "bytes-left-over"
    CHANNEL_MISSING = "channel-missing"
    CHANNEL_TWICE = "channel-twice"
    CHANNEL_UNCALIBRATED = "channel-uncalibrated"
    CHANNEL_FLAT = "channel-flat"
    UNIT_UNKNOWN = "unit-unknown"
    RATES_MIXED = "rates-mixed"
    RECORDING_TWICE = "recording-twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One application of a rule: to which file (relative to the data, in printable form), and what was there."""

    path: str
    rule: Rule
    detail: str

    def as_json(self) -> dict[str, str]:
        """Return the note as it stands in a cache's files."""
        return {"path": self.path, "rule": self.rule.value, "detail": self.detail}


def parse_note(raw: dict[str, str]) -> Note:
    """Return the note that `as_json` gave. Raises KeyError or ValueError where it is none."""
    return Note(path=raw["path"], rule=Rule(raw["rule"]), detail=raw["detail"])


class UnusableError(Exception):
    """A recording cannot be used, by a rule; caught by who counts."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule.value}: {detail}")
        self.rule = rule
        self.detail = detail


def counted(notes: Iterable[Note]) -> dict[str, Any]:
    """Return how often each rule was applied, and the first thousand notes."""
    every = sorted(notes, key=lambda note: (note.rule, note.path, note.detail))
    counts = Counter(note.rule.value for note in every)
    return {"counts": dict(sorted(counts.items())), "notes": [note.as_json() for note in every[:_SHOWN]]}


def printable(name: str) -> str:
    """Return a file's name fit to be printed and stored as UTF-8: what does not print becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
