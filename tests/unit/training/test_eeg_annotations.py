"""csv_bi and csv: what a seizure is, which rows are mended, which files are refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.eeg.annotations import (
    MAX_ROWS,
    Annotation,
    Kind,
    csv_bi_bytes,
    csv_bytes,
    merged,
    parse_annotation,
    within,
)
from training.eeg.notes import Rule, UnusableError

HEAD = "# version = csv_v1.0.0\n# bname = a_s001_t000\n# duration = 301.00 secs\n# montage_file = x.txt\n#\n"
COLUMNS = "channel,start_time,stop_time,label,confidence\n"


def parse(rows: str, kind: Kind = "csv_bi", head: str = HEAD, columns: str = COLUMNS) -> Annotation:
    return parse_annotation((head + columns + rows).encode(), kind=kind, stem="a_s001_t000")


def rules(found: Annotation) -> list[Rule]:
    return [rule for rule, _ in found.odd]


def test_a_file_of_the_corpus_is_read_as_it_is_meant() -> None:
    found = parse("TERM,0.0000,36.8868,bckg,1.0000\nTERM,36.8868,183.3055,seiz,0.9000\nTERM,183.3055,301.0,bckg,1\n")
    assert found == Annotation(events=((36.8868, 183.3055),), duration_s=301.0, odd=())


def test_rows_of_channels_are_one_seizure_not_many() -> None:
    rows = "".join(
        f"FP1-F7,{start},{stop},fnsz,1\nF7-T3,{start + 1},{stop + 2},cpsz,1\n" for start, stop in ((5, 9), (20, 30))
    )
    found = parse(rows + "FP1-F7,0,5,bckg,1\n", kind="csv")
    assert (found.events, found.odd) == (((5.0, 11.0), (20.0, 32.0)), ())


@pytest.mark.parametrize(
    "label", ["seiz", "fnsz", "gnsz", "spsz", "cpsz", "absz", "tnsz", "cnsz", "tcsz", "atsz", "mysz"]
)
def test_every_kind_of_seizure_is_one(label: str) -> None:
    assert parse(f"TERM,1,2,{label},1\n").events == ((1.0, 2.0),)
    assert parse(f"TERM,1,2, {label.upper()} ,1\n").events == ((1.0, 2.0),)


@pytest.mark.parametrize(
    ("rows", "rule", "events"),
    [
        ("TERM,20,10,seiz,1\n", Rule.EVENT_REVERSED, ((10.0, 20.0),)),
        ("TERM,10,10,seiz,1\n", Rule.EVENT_EMPTY, ()),
        ("TERM,10,20,seiz,1\nTERM,15,30,seiz,1\n", Rule.EVENT_OVERLAPPING, ((10.0, 30.0),)),
        ("TERM,0,50,bckg,1\nTERM,10,20,seiz,1\n", Rule.EVENT_OVERLAPPING, ((10.0, 20.0),)),
        ("TERM,10,20,seizure,1\n", Rule.LABEL_UNKNOWN, ()),
        ("TERM,10,20,,1\n", Rule.LABEL_UNKNOWN, ()),
        ("TERM,nan,20,seiz,1\nTERM,0,1,bckg,1\n", Rule.ROW_MALFORMED, ()),
        ("TERM,1,inf,seiz,1\nTERM,0,1,bckg,1\n", Rule.ROW_MALFORMED, ()),
        ("TERM,1,2,seiz\nTERM,0,1,bckg,1\n", Rule.ROW_MALFORMED, ()),
        ('TERM,1,2,"seiz,1\nTERM,0,1,bckg,1\n', Rule.ROW_MALFORMED, ()),
    ],
)
def test_a_wrong_row_is_mended_or_left_out_and_counted(rows: str, rule: Rule, events: object) -> None:
    found = parse(rows)
    assert rules(found) == [rule]
    assert found.events == events


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", Rule.ANNOTATION_BROKEN),
        (b"\xff\xfe\x00", Rule.ANNOTATION_BROKEN),
        (HEAD.encode(), Rule.ANNOTATION_BROKEN),
        (COLUMNS.encode() + b"TERM,1,2,seiz,1\n", Rule.ANNOTATION_BROKEN),  # no version
        ((HEAD.replace("v1.0.0", "v2.0.0") + COLUMNS).encode(), Rule.ANNOTATION_BROKEN),
        ((HEAD + "channel,label,start_time,stop_time,confidence\n").encode(), Rule.ANNOTATION_BROKEN),
        ((HEAD + COLUMNS + "x\n" * 3).encode(), Rule.ANNOTATION_BROKEN),
        ((HEAD + COLUMNS + "TERM,1,2,bckg,1\n" * (MAX_ROWS + 1)).encode(), Rule.ANNOTATION_BROKEN),
        (b" " * (16 * 1024**2 + 1), Rule.ANNOTATION_BROKEN),
        ((HEAD.replace("a_s001", "b_s001") + COLUMNS).encode(), Rule.ANNOTATION_FOREIGN),
    ],
    ids=[
        "empty",
        "no UTF-8",
        "no columns",
        "no version",
        "version 2",
        "other columns",
        "no row",
        "many rows",
        "large",
        "foreign",
    ],
)
def test_a_file_that_may_mean_something_else_is_refused(content: bytes, rule: Rule) -> None:
    with pytest.raises(UnusableError) as caught:
        parse_annotation(content, kind="csv_bi", stem="a_s001_t000")
    assert caught.value.rule is rule


def test_windows_line_ends_a_byte_order_mark_and_a_file_without_rows_are_fine() -> None:
    content = b"\xef\xbb\xbf" + (HEAD + COLUMNS + "TERM,1,2,seiz,1\n").replace("\n", "\r\n").encode()
    assert parse_annotation(content, kind="csv_bi", stem="a_s001_t000").events == ((1.0, 2.0),)
    assert parse("").events == ()


def test_events_are_cut_to_the_recording_and_counted_only_beyond_rounding() -> None:
    events, odd = within(((-5.0, 5.0), (50.0, 60.004), (70.0, 80.0)), 60.0)
    assert events == ((0.0, 5.0), (50.0, 60.0))
    assert [rule for rule, _ in odd] == [Rule.EVENT_OUTSIDE] * 2


spans = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 10**5)).map(lambda t: (t[0] / 100, (t[0] + t[1]) / 100))
)


@given(spans)
def test_what_is_written_reads_back_the_same(raw: list[tuple[float, float]]) -> None:
    events = merged(raw)
    content = csv_bi_bytes(stem="x", duration_s=20_000, events=events)
    found = parse_annotation(content, kind="csv_bi", stem="x")
    assert (found.events, found.odd, found.duration_s) == (events, (), 20_000)
    by_channel = csv_bytes(stem="x", duration_s=1, rows=[("C3", start, stop, "gnsz", 1.0) for start, stop in raw])
    assert parse_annotation(by_channel, kind="csv", stem="x").events == events


@given(st.binary(max_size=300))
def test_no_content_raises_anything_else(content: bytes) -> None:
    for prefix in (b"", (HEAD + COLUMNS).encode()):
        with contextlib.suppress(UnusableError):
            parse_annotation(prefix + content, kind="csv_bi", stem="a_s001_t000")
