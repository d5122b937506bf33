"""When a seizure is: TUSZ's `.csv_bi` (one label for all channels) and `.csv` (one per channel). Pure.

The two hold the same columns and mean different things by a row; what is read is the union of seizure, in seconds.
Strict where a mistake would turn seizure into background: another version, other columns, another recording's file
refuse the whole file. A wrong row is mended by rule where its meaning is plain, left out where not, counted always.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from training.eeg.notes import Rule, UnusableError

MAX_BYTES: Final = 16 * 1024**2
MAX_ROWS: Final = 200_000
BACKGROUND: Final = "bckg"
SEIZURE: Final = frozenset(
    {"seiz", "fnsz", "gnsz", "spsz", "cpsz", "absz", "tnsz", "cnsz", "tcsz", "atsz", "mysz", "nesz"}
)
COLUMNS: Final = ["channel", "start_time", "stop_time", "label", "confidence"]
_VERSION: Final = "csv_v1.0.0"
_SLACK_S: Final = 0.01  # times have four decimals; a last sample's worth of difference is none

Kind = Literal["csv_bi", "csv"]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Seizure in seconds, sorted and disjoint; the duration that the file states, if any; what was odd."""

    events: tuple[Span, ...]
    duration_s: float | None
    odd: tuple[tuple[Rule, str], ...]


def parse_annotation(content: bytes, *, kind: Kind, stem: str) -> Annotation:
    """Return the seizures of one file; `stem` is the recording's name. Raises UnusableError by rule."""
    if len(content) > MAX_BYTES:
        raise _broken(f"larger than {MAX_BYTES} bytes")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise _broken(f"not UTF-8 at byte {error.start}") from error
    facts, rows = _head(lines)
    if facts.get("version") != _VERSION:
        raise _broken(f"version {facts.get('version')!r} is not {_VERSION}")
    if (name := facts.get("bname", stem)) != stem:
        raise UnusableError(Rule.ANNOTATION_FOREIGN, f"it says that it is of {name[:60]!r}")
    odd: list[tuple[Rule, str]] = []
    spans: list[Span] = []
    every: list[Span] = []
    usable = 0
    for number, row in enumerate(rows):
        if (parsed := _row(number + 1, row, odd)) is None:
            continue
        usable += 1
        start, stop, is_seizure = parsed
        if stop > start:
            every.append((start, stop))
            if is_seizure:
                spans.append((start, stop))
    if rows and not usable:
        raise _broken(f"none of its {len(rows)} rows can be read")
    if kind == "csv_bi" and (overlaps := _overlaps(every)):
        odd.append((Rule.EVENT_OVERLAPPING, f"{overlaps} rows; where any says seizure, it is"))
    return Annotation(events=merged(spans), duration_s=_seconds(facts.get("duration", "")), odd=tuple(odd))


def csv_bi_bytes(*, stem: str, duration_s: float, events: Sequence[Span]) -> bytes:
    """Return a `.csv_bi` of disjoint, sorted seizures, and background between them."""
    rows, reach = [], 0.0
    for start, stop in events:
        rows += [("TERM", reach, start, BACKGROUND, 1.0)] * (start > reach) + [("TERM", start, stop, "seiz", 1.0)]
        reach = stop
    rows += [("TERM", reach, duration_s, BACKGROUND, 1.0)] * (duration_s > reach)
    return csv_bytes(stem=stem, duration_s=duration_s, rows=rows)


def csv_bytes(*, stem: str, duration_s: float, rows: Iterable[tuple[str, float, float, str, float]]) -> bytes:
    """Return a file of rows: channel, start and stop in seconds, label, confidence."""
    head = f"# version = {_VERSION}\n# bname = {stem}\n# duration = {duration_s:.4f} secs\n#\n{','.join(COLUMNS)}\n"
    lines = [f"{channel},{start:.4f},{stop:.4f},{label},{sure:.4f}\n" for channel, start, stop, label, sure in rows]
    return "".join((head, *lines)).encode()


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the union of spans, sorted and disjoint; spans that touch become one."""
    union: list[Span] = []
    for start, stop in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(stop, union[-1][1]))
        else:
            union.append((start, stop))
    return tuple(union)


def within(events: Iterable[Span], duration_s: float) -> tuple[tuple[Span, ...], tuple[tuple[Rule, str], ...]]:
    """Return the events cut to 0..duration, and a note for each that reached beyond by more than rounding."""
    kept, odd = [], []
    for start, stop in events:
        if start < -_SLACK_S or stop > duration_s + _SLACK_S:
            odd.append((Rule.EVENT_OUTSIDE, f"{start:.4f} to {stop:.4f} s of {duration_s:.4f} s: cut to what is there"))
        inside = (max(0.0, start), min(duration_s, stop))
        if inside[1] > inside[0]:
            kept.append(inside)
    return tuple(kept), tuple(odd)


def _head(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the `# key = value` lines, and the rows below the columns' line."""
    facts: dict[str, str] = {}
    for number, line in enumerate(lines):
        text = line.strip()
        if text.startswith("#"):
            key, _, value = text[1:].partition("=")
            facts[key.strip()] = value.strip()
        elif text:
            if [cell.strip() for cell in text.split(",")] != COLUMNS:
                raise _broken(f"its columns are {text[:80]!r}, not {','.join(COLUMNS)}")
            rows = [row for row in lines[number + 1 :] if row.strip()]
            if len(rows) > MAX_ROWS:
                raise _broken(f"more than {MAX_ROWS} rows")
            return facts, rows
    raise _broken("it has no line of columns")


def _row(number: int, row: str, odd: list[tuple[Rule, str]]) -> tuple[float, float, bool] | None:
    try:
        cells = next(csv.reader([row], strict=True))
    except (csv.Error, StopIteration):
        cells = []
    start, stop = (_seconds(cell) for cell in cells[1:3]) if len(cells) == len(COLUMNS) else (None, None)
    if start is None or stop is None:
        odd.append((Rule.ROW_MALFORMED, f"row {number} is left out: {row[:80]!r}"))
        return None
    label = cells[3].strip().lower()
    if label not in SEIZURE and label != BACKGROUND:
        odd.append((Rule.LABEL_UNKNOWN, f"row {number} counts as background: {label[:40]!r}"))
    if stop < start:
        odd.append((Rule.EVENT_REVERSED, f"row {number}: {start} to {stop} s, its ends are exchanged"))
        start, stop = stop, start
    elif stop == start:
        odd.append((Rule.EVENT_EMPTY, f"row {number} at {start} s is left out"))
    return start, stop, label in SEIZURE


def _seconds(text: str) -> float | None:
    try:
        value = float(text.removesuffix("secs").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e9 else None


def _overlaps(spans: list[Span]) -> int:
    count, reach = 0, -math.inf
    for start, stop in sorted(spans):
        count += start < reach - _SLACK_S
        reach = max(reach, stop)
    return count


def _broken(detail: str) -> UnusableError:
    return UnusableError(Rule.ANNOTATION_BROKEN, detail)
