"""A corpus of which much is wrong: each wrong thing is a named, counted rule, and the rest is used."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.eeg import ALL, LABELS, ROOT, edf_bytes, noise, place, signal_section, small_tree
from training.eeg.annotations import csv_bi_bytes
from training.eeg.assembly import assemble
from training.eeg.cache import Cache
from training.eeg.corpus import Corpus
from training.eeg.index import limited, read_index
from training.eeg.notes import Rule
from training.eeg.populate import fill
from training.eeg.recording_file import build_file
from trimtab.errors import UsageError

HOW = signal_section()
SOUND = edf_bytes(noise(20, 64, seed=7))
TWICE = (*LABELS, "EEG T7-REF")
PAIRS = tuple(f"EEG FP1-F{number}" for number in range(19))
HEAD = "# version = csv_v1.0.0\n# bname = bad_s001_t000\n# duration = 20 secs\n"
HEAD += "channel,start_time,stop_time,label,confidence\n"


def labelled(content: bytes) -> Callable[[Path], object]:
    return lambda data: place(data, "bad", SOUND, labels=content)


def rows(text: str) -> Callable[[Path], object]:
    return labelled((HEAD + text).encode())


def edf(content: bytes) -> Callable[[Path], object]:
    return lambda data: place(data, "bad", content)


def broken(**fields: str) -> Callable[[Path], object]:
    return edf(edf_bytes(noise(20, 64), **fields))


def sparse(data: Path) -> None:
    """Lay a file whose header was written, and nothing else, but which is as large as it says."""
    path = data / "edf" / place(data, "bad", edf_bytes(noise(20, 64), records="6898")[: 256 * 20])
    os.truncate(path, 256 * 20 + 6898 * 19 * 128)


def link_out(data: Path) -> None:
    outside = data.parent / "outside.edf"
    outside.write_bytes(SOUND)
    (data / "edf" / place(data, "bad", SOUND)).unlink()
    (data / "edf/train/bad/s001_2026/01_tcp_ar/bad_s001_t000.edf").symlink_to(outside)


def link_of_a_directory(data: Path) -> None:
    (data / "edf/train/loop").symlink_to(data / "edf")


def labels_linked_out(data: Path) -> None:
    path = data / "edf" / place(data, "bad", SOUND)
    secret = data.parent / "secret.csv_bi"
    path.with_suffix(".csv_bi").rename(secret)
    path.with_suffix(".csv_bi").symlink_to(secret)


def name_of_bytes(data: Path) -> None:
    folder = os.fsencode(data / "edf/train") + b"/b\xffd/s001/01_tcp_ar"
    os.makedirs(folder)  # noqa: PTH103  # pathlib has no names of bytes
    with open(folder + b"/b\xffd_s001_t000.edf", "wb") as stream:  # noqa: PTH123  # nor can it open them
        stream.write(SOUND)


def name_of_two_lines(data: Path) -> None:
    path = data / "edf" / place(data, "bad", SOUND)
    path.rename(path.with_name("bad\nrm -rf.edf"))


def pipe(data: Path) -> None:
    path = data / "edf" / place(data, "bad", SOUND)
    path.unlink()
    os.mkfifo(path)


def without_labels(data: Path) -> None:
    (data / "edf" / place(data, "bad", SOUND)).with_suffix(".csv_bi").unlink()


def too_high(data: Path) -> None:
    (data / "edf/train/stray.edf").write_bytes(SOUND)


def twice(data: Path) -> None:
    place(data, "copy", edf_bytes(noise(20, 64)), split="eval")


def flat_first(digital: NDArray[np.int16]) -> NDArray[np.int16]:
    digital[0] = 5
    return digital


LEFT_OUT = {  # the file is no recording that can be used; all others are
    "a link out of the tree": (link_out, Rule.LINK),
    "a link to a directory above": (link_of_a_directory, Rule.LINK),
    "labels linked out of the tree": (labels_linked_out, Rule.LINK),
    "a name that is no UTF-8": (name_of_bytes, Rule.NAME_NOT_TEXT),
    "a name of two lines": (name_of_two_lines, Rule.NAME_NOT_TEXT),
    "a pipe": (pipe, Rule.LAYOUT_ODD),
    "a file that lies too high": (too_high, Rule.LAYOUT_ODD),
    "no labels": (without_labels, Rule.UNANNOTATED),
    "labels of another recording": (labelled(csv_bi_bytes(stem="x", duration_s=1, events=())), Rule.ANNOTATION_FOREIGN),
    "labels that are no text": (labelled(b"\xff\xfe\x00"), Rule.ANNOTATION_BROKEN),
    "labels in other columns": (labelled(HEAD.replace("label,conf", "conf,label").encode()), Rule.ANNOTATION_BROKEN),
    "labels of 17 MB": (labelled(HEAD.encode() * 140_000), Rule.ANNOTATION_BROKEN),
}  # fmt: skip
SKIPPED = {  # the recording is indexed, and its signal cannot be used
    "an empty file": (edf(b""), Rule.HEADER_BROKEN),
    "a cut header": (edf(SOUND[:700]), Rule.HEADER_BROKEN),
    "a header alone": (edf(SOUND[: 256 * 20]), Rule.RECORDS_NONE),
    "text": (edf(b"<html>404 Not Found</html>" * 99), Rule.HEADER_BROKEN),
    "a header that claims a gigabyte a record": (broken(signal_samples="30000000"), Rule.HEADER_BROKEN),
    "9,999 signals": (broken(signals="9999", header_bytes="2560000"), Rule.HEADER_BROKEN),
    "a rate of no number": (broken(record_s="nan"), Rule.HEADER_BROKEN),
    "records that need not follow each other": (broken(reserved="EDF+D"), Rule.DISCONTINUOUS),
    "ranges of no number": (broken(signal_physical_min="nan"), Rule.CHANNELS_MISSING),
    "differences instead of electrodes": (edf(edf_bytes(noise(20, 64), labels=PAIRS)), Rule.CHANNELS_MISSING),
    "a second of signal": (edf(edf_bytes(noise(1, 64))), Rule.TOO_SHORT),
    "nothing but zeros where its samples should be": (sparse, Rule.CHANNELS_MISSING),
    "one sample a second": (edf(edf_bytes(noise(40, 1), rate_hz=1)), Rule.RATE_ODD),
}  # fmt: skip
MENDED = {  # the recording is used
    "more records in the header than in the file": (broken(records="99"), Rule.RECORD_COUNT_WRONG),
    "a number of records that nobody filled in": (broken(records="-1"), Rule.RECORD_COUNT_WRONG),
    "a file cut within a record": (edf(SOUND[:-99]), Rule.BYTES_LEFT_OVER),
    "bytes after the end": (edf(SOUND + b"x" * 99), Rule.BYTES_LEFT_OVER),
    "colons in the date": (broken(date="01:01:00"), Rule.DATE_ODD),
    "two signals of one electrode": (edf(edf_bytes(noise(20, 64, 20), labels=TWICE)), Rule.CHANNEL_TWICE),
    "an electrode that came off": (edf(edf_bytes(flat_first(noise(20, 64)))), Rule.CHANNEL_FLAT),
    "a missing electrode": (edf(edf_bytes(noise(20, 64, 18), labels=LABELS[:18])), Rule.CHANNEL_MISSING),
    "a seizure that ends before it begins": (rows("TERM,9,3,seiz,1\n"), Rule.EVENT_REVERSED),
    "seizures that overlap": (rows("TERM,3,9,seiz,1\nTERM,5,12,seiz,1\n"), Rule.EVENT_OVERLAPPING),
    "a seizure beyond the end": (rows("TERM,15,900,seiz,1\n"), Rule.EVENT_OUTSIDE),
    "a seizure before the beginning": (rows("TERM,-9,-3,seiz,1\n"), Rule.EVENT_OUTSIDE),
    "times that are no numbers": (rows("TERM,nan,inf,seiz,1\nTERM,1,2,seiz,1\n"), Rule.ROW_MALFORMED),
    "a label that nobody knows": (rows("TERM,1,2,siezure,1\n"), Rule.LABEL_UNKNOWN),
    "labels of another length": (edf(edf_bytes(noise(30, 64))), Rule.DURATION_DIFFERS),
    "one recording in two splits": (twice, Rule.RECORDING_TWICE),
}  # fmt: skip


def outcome(tmp_path: Path, spoil: Callable[[Path], object]) -> Corpus:
    """Fill a cache from a sound tree with one wrong thing in it, and look that nothing else was written."""
    data = small_tree(tmp_path / "data")
    spoil(data)
    before = _tree(tmp_path)
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    after = {path: seen for path, seen in _tree(tmp_path).items() if not path.startswith("cache")}
    assert after == before
    assert {"p0", "p1", "p2", "p3"} <= {one.patient for one in corpus.recordings}
    return corpus


@pytest.mark.parametrize(("spoil", "rule"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_no_recording_is_left_out_and_counted(
    tmp_path: Path, spoil: Callable[[Path], object], rule: Rule
) -> None:
    corpus = outcome(tmp_path, spoil)
    assert (len(corpus.recordings), corpus.report["left_out"] >= 1) == (4, True)
    assert corpus.report["counts"][rule.value] == 1
    assert "not used" in corpus.warnings[0]


@pytest.mark.parametrize(("spoil", "rule"), SKIPPED.values(), ids=SKIPPED)
def test_what_cannot_be_used_is_skipped_and_counted_once_for_all(
    tmp_path: Path, spoil: Callable[[Path], object], rule: Rule
) -> None:
    corpus = outcome(tmp_path, spoil)
    assert (len(corpus.recordings), corpus.report["skipped"]) == (4, 1)
    assert corpus.report["counts"] == {rule.value: 1}
    said: list[str] = []
    fill(tmp_path / "data", tmp_path / "cache", HOW, ALL, say=said.append)
    assert said == []


@pytest.mark.parametrize(("spoil", "rule"), MENDED.values(), ids=MENDED)
def test_what_can_be_mended_is_used_and_counted(tmp_path: Path, spoil: Callable[[Path], object], rule: Rule) -> None:
    corpus = outcome(tmp_path, spoil)
    assert len(corpus.recordings) == 5
    assert corpus.report["counts"][rule.value] >= 1


def test_at_least_thirty_wrong_things_are_tried() -> None:
    assert len(LEFT_OUT) + len(SKIPPED) + len(MENDED) >= 30
    assert {rule for _, rule in (*LEFT_OUT.values(), *SKIPPED.values(), *MENDED.values())} >= set(Rule) - {
        Rule.UNREADABLE, Rule.EVENT_EMPTY, Rule.CHANNEL_UNCALIBRATED, Rule.UNIT_UNKNOWN, Rule.RATES_MIXED,
    }  # fmt: skip


def test_a_recording_that_cannot_be_read_is_counted_and_tried_again(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    path = place(data, "bad", SOUND)
    index = read_index(data)
    (data / "edf" / path).unlink()
    cache = Cache(tmp_path / "cache", HOW)
    cache.prepare()
    for source in index.sources:
        build_file(data / "edf" / source.path, source.path, cache.file_of(source.path), HOW, cache.key)
    corpus = assemble(index, cache, ALL)
    assert (len(corpus.recordings), corpus.report["counts"]) == (4, {"unreadable": 1})
    (data / "edf" / path).write_bytes(SOUND)
    assert len(fill(data, tmp_path / "cache", HOW, ALL).recordings) == 5


@pytest.mark.parametrize("name", ["p0", "P0"])
def test_a_patient_in_two_splits_is_an_error(tmp_path: Path, name: str) -> None:
    data = small_tree(tmp_path / "data")
    place(data, name, SOUND, split="eval")
    with pytest.raises(UsageError, match="more than one split") as caught:
        fill(data, tmp_path / "cache", HOW, ALL)
    assert "p0 in eval and train" in caught.value.why
    assert not (tmp_path / "cache").exists()


def test_a_patient_is_known_by_the_file_s_name_too(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    path = data / "edf" / place(data, "other", SOUND, split="eval")
    path.rename(path.with_name("p0_s009_t000.edf"))
    with pytest.raises(UsageError, match="more than one split"):
        read_index(data)


def test_too_many_unusable_recordings_are_an_error_that_names_the_rules(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    for number in range(5):
        place(data, f"bad{number}", b"")
    with pytest.raises(UsageError, match="5 of 9 recordings cannot be used") as caught:
        fill(data, tmp_path / "cache", HOW, ALL.model_copy(update={"max_skipped_share": 0.5}))
    assert "'header-broken': 5" in caught.value.why


def test_no_data_at_all_says_how_it_should_lie(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match="cannot be used") as caught:
            fill(wrong, tmp_path / "cache", HOW, ALL)
        assert "{train,dev,eval}" in caught.value.remedy
    (tmp_path / "edf/train").mkdir(parents=True)
    with pytest.raises(UsageError, match="no recording with labels"):
        fill(tmp_path, tmp_path / "cache", HOW, ALL)
    assert not (tmp_path / "cache").exists()


def test_a_tree_that_is_a_link_itself_is_followed(tmp_path: Path) -> None:
    small_tree(tmp_path / "data")
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    assert len(fill(tmp_path / "linked", tmp_path / "cache", HOW, ALL).recordings) == 4


def test_a_choice_of_few_files_has_seizures_of_every_split_and_is_always_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(40):
        split = ("train", "train", "train", "dev", "eval")[number % 5]
        place(data, f"q{number}", b"", split=split, events=((1.0, 2.0),) if number % 4 == 0 else ())
    index = read_index(data)
    for count in (1, 2, 3, 5, 10, 20, 39):
        chosen = limited(index, count)
        assert len(chosen.sources) == count
        assert chosen == limited(read_index(data), count)
        if count >= 5:
            assert {source.split for source in chosen.sources if source.events} == {"train", "dev", "eval"}
    assert limited(index, None) == limited(index, 400) == index


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    """Return every name below root with its mode and size."""
    found = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  # pathlib has no names of bytes
            seen = os.lstat(path)
            found[os.fsdecode(os.path.relpath(path, os.fsencode(root)))] = (stat.S_IFMT(seen.st_mode), seen.st_size)
    return found


def test_every_rule_stands_in_the_documentation() -> None:
    page = (ROOT / "docs/eeg.md").read_text()
    assert [rule.value for rule in Rule if f"`{rule.value}`" not in page] == []
