"""The cache: filled once, whole or not at all, gone on with, never wiped, never someone else's."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.eeg import ALL, ROOT, WINDOWS, config_file, edf_bytes, noise, place, signal_section, small_tree
from training.eeg.cache import Cache, signal_key
from training.eeg.corpus import Corpus, open_corpus
from training.eeg.populate import build_part, fill, finish, main, plan_parts, populate, verify
from training.eeg.recording_file import read_facts
from training.eeg.sections import CorpusChoice
from training.eeg.windows import FULL, NONE, PARTIAL, list_windows
from trimtab.errors import ProgramError, UsageError

HOW = signal_section()


def files(cache: Path) -> dict[str, tuple[int, int]]:
    """Return each recording's file with its inode and time: equal, untouched."""
    found = sorted(cache.rglob("*.eeg"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_a_cache_is_filled_once_and_then_only_read(tmp_path: Path) -> None:
    data, config = small_tree(tmp_path / "data"), config_file(tmp_path / "c.yaml")
    first = populate(data, tmp_path / "cache", config)
    before = files(tmp_path / "cache")
    said: list[str] = []
    assert populate(data, tmp_path / "cache", config, say=said.append) == first
    assert (files(tmp_path / "cache"), said) == (before, [])
    assert (first["recordings"], first["skipped"], first["counts"]) == (4, 0, {})
    assert first["windows"]["train"] == {"none": 10, "partial": 6, "full": 2}
    json.dumps(first)


def test_what_is_missing_or_cut_is_made_again_and_the_rest_is_kept(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    whole = fill(data, tmp_path / "cache", HOW, ALL)
    before = files(tmp_path / "cache")
    gone, cut, *_ = sorted((tmp_path / "cache").rglob("*.eeg"))
    gone.unlink()
    os.truncate(cut, cut.stat().st_size - 1)
    assert read_facts(cut) is None
    again = fill(data, tmp_path / "cache", HOW, ALL)
    after = files(tmp_path / "cache")
    assert again.sha256 == whole.sha256
    assert [name for name in before if before[name] != after[name]] == [gone.name, cut.name]


def test_parts_are_built_anywhere_and_finished_once_all_are_there(tmp_path: Path) -> None:
    data, cache, config = small_tree(tmp_path / "data"), tmp_path / "cache", config_file(tmp_path / "c.yaml")
    parts = plan_parts(data, cache, config, parts=3)
    assert (len(parts), sum(map(len, parts))) == (3, 4)
    build_part(data, cache, config, parts[0])
    with pytest.raises(ProgramError, match="not in the cache yet"):
        finish(data, cache, config)
    left = plan_parts(data, cache, config, parts=9)
    assert sorted(path for part in left for path in part) == sorted(path for part in parts[1:] for path in part)
    built = populate(data, cache, config, map_parts=lambda todo: [build_part(data, cache, config, one) for one in todo])
    assert built == finish(data, cache, config)


def test_processes_build_the_same_as_one(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    one, many = (fill(data, tmp_path / name, HOW, ALL, workers=count) for name, count in (("one", 1), ("many", 2)))
    assert one.sha256 == many.sha256
    np.testing.assert_array_equal(one.read(2, 0, 1280), many.read(2, 0, 1280))


def _fill(data: Path, cache: Path) -> None:
    fill(data, cache, HOW, ALL)


def test_builders_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=_fill, args=(data, tmp_path / "cache")) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert len(open_corpus(tmp_path / "cache", HOW, ALL).recordings) == 4
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_killed_builder_leaves_whole_files_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(12):
        place(data, f"p{number}", edf_bytes(noise(600, 64, seed=number), seconds=10), duration_s=600)
    builder = multiprocessing.get_context("fork").Process(target=_fill, args=(data, tmp_path / "cache"))
    builder.start()
    while len(files(tmp_path / "cache")) < 2:
        time.sleep(0.01)
    os.kill(builder.pid or 0, signal.SIGKILL)
    builder.join()
    before = files(tmp_path / "cache")
    assert 2 <= len(before) < 12
    assert all(read_facts(path) for path in (tmp_path / "cache").rglob("*.eeg"))
    with pytest.raises(UsageError, match="no corpus for this configuration"):
        open_corpus(tmp_path / "cache", HOW, ALL)
    fill(data, tmp_path / "cache", HOW, ALL)
    after = files(tmp_path / "cache")
    assert {name: after[name] for name in before} == before
    assert len(after) == 12


def test_an_interrupt_is_a_clean_end_and_the_same_command_goes_on(tmp_path: Path) -> None:
    data, config = tmp_path / "data", config_file(tmp_path / "c.yaml")
    content = edf_bytes(noise(600, 64), seconds=10)
    for number in range(16):
        place(data, f"p{number}", content, duration_s=600)
    argv = [sys.executable, "-m", "training.eeg.populate", "--data", str(data), "--cache", str(tmp_path / "cache")]
    command = [*argv, "--config", str(config), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0, env=environment) as running:
        while not files(tmp_path / "cache") and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate()[1]
    assert (running.returncode, said.splitlines()[-1]) == (130, "interrupted; the same command goes on from here")
    assert "Traceback" not in said
    before = files(tmp_path / "cache")
    fill(data, tmp_path / "cache", HOW, ALL)
    assert before.items() <= files(tmp_path / "cache").items()


def test_what_killed_builders_left_goes_once_it_is_old(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    fill(data, tmp_path / "cache", HOW, ALL)
    folder = next((tmp_path / "cache").rglob("*.eeg")).parent
    young, old = folder / ".a.eeg.0.part", folder / ".b.eeg.0.part"
    young.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    fill(data, tmp_path / "cache", HOW, ALL)
    assert (young.exists(), old.exists()) == (True, False)


def test_every_value_of_the_preparation_is_in_the_key() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"rate_hz": 128}, {"low_hz": 1.0}, {"high_hz": 20.0}, {"notch_hz": (20.0,)}, {"clip_sd": 5.0},
        {"max_missing_channels": 3}, {"shortest_s": 6.0}, {"storage": "float16"},
    ]  # fmt: skip
    assert (
        len({signal_key(signal_section(**change)) for change in changes}) == len(changes) == 1 + len(HOW.model_dump())
    )


def test_ways_of_preparing_and_choices_share_a_directory_untroubled(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    few = CorpusChoice(limit_files=3, max_skipped_share=0.5)
    assert len(fill(data, tmp_path / "cache", HOW, few).recordings) == 3
    before = files(tmp_path / "cache")
    assert len(fill(data, tmp_path / "cache", HOW, ALL).recordings) == 4
    assert before.items() <= files(tmp_path / "cache").items()
    fill(data, tmp_path / "cache", signal_section(storage="float32"), ALL)
    assert len(open_corpus(tmp_path / "cache", HOW, few).recordings) == 3
    assert len(open_corpus(tmp_path / "cache", HOW, ALL).recordings) == 4


def test_someone_else_s_directory_is_refused_untouched(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="cannot be used as the cache"):
        fill(data, tmp_path / "cache", HOW, ALL)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("marker", ['{"format": "eeg-cache/9"}', "[1]", "{"])
def test_a_directory_of_another_format_is_refused_untouched(tmp_path: Path, marker: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/EEG-CACHE.json").write_text(marker)
    with pytest.raises(UsageError):
        fill(small_tree(tmp_path / "data"), tmp_path / "cache", HOW, ALL)
    assert (tmp_path / "cache/EEG-CACHE.json").read_text() == marker


def test_a_lost_marker_costs_nothing(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    fill(data, tmp_path / "cache", HOW, ALL)
    before = files(tmp_path / "cache")
    (tmp_path / "cache/EEG-CACHE.json").unlink()
    fill(data, tmp_path / "cache", HOW, ALL)
    assert files(tmp_path / "cache") == before
    assert (tmp_path / "cache/EEG-CACHE.json").exists()


def test_a_link_within_the_cache_leads_nowhere_else(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    outside = tmp_path / "outside"
    outside.mkdir()
    home = Cache(tmp_path / "cache", HOW)
    home.prepare()
    (home.home / "recordings").symlink_to(outside)
    with pytest.raises(UsageError, match="cannot be used as the cache"):
        fill(data, tmp_path / "cache", HOW, ALL)
    assert not list(outside.iterdir())


def test_new_recordings_and_new_labels_are_taken_up(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    first = fill(data, tmp_path / "cache", HOW, ALL)
    before = files(tmp_path / "cache")
    place(data, "p9", edf_bytes(noise(20, 64, seed=9)), split="eval")
    labels = next((data / "edf/train/p0").rglob("*.csv_bi"))
    labels.write_text(labels.read_text().replace("5.0000", "6.0000"))
    second = fill(data, tmp_path / "cache", HOW, ALL)
    assert before.items() <= files(tmp_path / "cache").items()
    assert (len(second.recordings), second.sha256 != first.sha256) == (5, True)
    assert second.recordings[second.of_split("train")[0]].events == ((6.0, 10.0),)


def test_a_replaced_recording_is_made_again(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    first = fill(data, tmp_path / "cache", HOW, ALL)
    next((data / "edf/train/p0").rglob("*.edf")).write_bytes(edf_bytes(noise(40, 64)))
    second = fill(data, tmp_path / "cache", HOW, ALL)
    index = first.of_split("train")[0]
    assert (first.recordings[index].duration_s, second.recordings[index].duration_s) == (20, 40)


def test_damage_is_found_by_reading_again_and_set_aside(tmp_path: Path) -> None:
    data, config = small_tree(tmp_path / "data"), config_file(tmp_path / "c.yaml")
    populate(data, tmp_path / "cache", config)
    assert verify(tmp_path / "cache", config) == 0
    damaged = next((tmp_path / "cache").rglob("*.eeg"))
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    command = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--config", str(config), "--verify", "--json"]
    assert main(command) == 0
    assert damaged.with_name(f"{damaged.name}.broken").exists()
    assert verify(tmp_path / "cache", config) == 0


def test_a_recording_out_of_the_cache_is_said_when_it_is_read(tmp_path: Path) -> None:
    corpus = fill(small_tree(tmp_path / "data"), tmp_path / "cache", HOW, ALL)
    next((tmp_path / "cache").rglob("p0*.eeg")).unlink()
    with pytest.raises(UsageError, match="cannot be mapped"):
        corpus.read(corpus.of_split("train")[0], 0, 10)


def test_any_slice_reads_as_a_part_of_the_whole_and_zeros_beyond(tmp_path: Path) -> None:
    corpus = fill(small_tree(tmp_path / "data"), tmp_path / "cache", HOW, ALL)
    whole = corpus.read(0, 0, 1280)
    assert (whole.shape, whole.dtype) == ((19, 1280), np.float32)
    assert whole.std() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(corpus.read(0, 100, 200), whole[:, 100:200])
    padded = corpus.read(0, -10, 1300)
    np.testing.assert_array_equal(padded[:, 10:1290], whole)
    assert not padded[:, :10].any()
    assert not padded[:, 1290:].any()
    assert not corpus.read(0, 5000, 5010).any()
    out = np.full((19, 64), 7, np.float32)
    assert corpus.read(0, 1270, 1334, out) is out
    np.testing.assert_array_equal(out[:, :10], whole[:, 1270:])
    copied: Corpus = pickle.loads(pickle.dumps(corpus))  # noqa: S301  # our own
    np.testing.assert_array_equal(copied.read(0, 0, 1280), whole)
    corpus.close()
    np.testing.assert_array_equal(corpus.read(0, 0, 1280), whole)


def test_threads_may_read_at_once_however_few_files_are_mapped(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    for number in range(130):
        place(data, f"q{number}", edf_bytes(noise(6, 64, seed=number)), split="eval", duration_s=6)
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    chosen = np.random.default_rng(1).integers(0, len(corpus.recordings), 400).tolist()
    alone = [corpus.read(index, 0, 384).copy() for index in chosen]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: corpus.read(index, 0, 384), chosen))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_the_mask_is_the_seizure_at_each_sample(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    place(data, "p8", edf_bytes(noise(20, 64)), events=((0.0, 1.0), (3.5, 4.0), (19.0, 20.0)))
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    index = next(i for i, one in enumerate(corpus.recordings) if one.patient == "p8")
    mask = corpus.mask(index, 0, 1280)
    assert np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0)).tolist() == [0, 64, 224, 256, 1216, 1280]
    np.testing.assert_array_equal(corpus.mask(index, 0, 1280, 64), mask[::64])
    assert not corpus.mask(index, -64, 0).any()
    assert not corpus.mask(index, 1280, 1400).any()


def test_windows_cover_every_second_and_know_their_seizure(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data", seconds=21)
    place(data, "p8", edf_bytes(noise(5, 64)), events=((0.0, 5.0),), duration_s=5)
    corpus = fill(data, tmp_path / "cache", signal_section(shortest_s=2.0), ALL)
    listed = list_windows(corpus, WINDOWS)
    assert listed.samples == 256
    for index, one in enumerate(corpus.recordings):
        mine = np.flatnonzero(listed.recording == index)
        covered = np.zeros(max(one.samples, 256), bool)
        for at in listed.start[mine]:
            covered[at : at + 256] = True
        assert covered.all()
        ratios = [corpus.mask(index, at, at + 256).mean() for at in listed.start[mine].tolist()]
        np.testing.assert_allclose(listed.ratio[mine], ratios, atol=0.005)
    assert listed.start.dtype == np.int64
    for kind, holds in ((NONE, listed.ratio == 0), (FULL, listed.ratio >= 0.99)):
        np.testing.assert_array_equal(listed.kind == kind, holds)
    counts = listed.counts()
    assert sum(counts[split][kind] for split in counts for kind in ("none", "partial", "full")) == len(listed)
    assert counts["train"]["patients"]["p8"] == {"none": 0, "partial": 0, "full": 2}
    assert (listed.kind[listed.of("dev")] == PARTIAL).any()


@pytest.mark.parametrize("labels", ["bckg", "nothing"])
def test_a_corpus_without_a_seizure_to_train_on_stops_before_anything_is_built(tmp_path: Path, labels: str) -> None:
    data = small_tree(tmp_path / "data")
    for path in (data / "edf/train").rglob("*.csv_bi"):
        path.write_text(path.read_text().replace("seiz", labels))
    with pytest.raises(UsageError, match="no seizure to train on") as caught:
        fill(data, tmp_path / "cache", HOW, ALL)
    assert "2 recordings in train" in caught.value.why
    assert not (tmp_path / "cache").exists()


def test_windows_without_a_seizure_to_train_on_stop_with_the_cause(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    for path in (data / "edf/train").rglob("*.csv_bi"):
        path.write_text(path.read_text().replace("5.0000,10.0000,seiz", "25.0000,30.0000,seiz"))
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    assert corpus.report["counts"]["event-outside"] == 2
    with pytest.raises(UsageError, match="no window with seizure") as caught:
        list_windows(corpus, WINDOWS)
    assert "none of the 2 recordings" in caught.value.why


def test_the_cache_is_a_tenth_of_overlapping_windows(tmp_path: Path) -> None:
    """At 60 s every 10 s, as the old system stored them: float32, uncompressed."""
    data = small_tree(tmp_path / "data", seconds=900)
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    listed = list_windows(corpus, WINDOWS.model_copy(update={"length_s": 60.0, "stride_s": 10.0}))
    overlapping = len(listed) * 19 * listed.samples * 4
    assert corpus.report["cache_bytes"] * 10 < overlapping
    exact = fill(data, tmp_path / "cache", signal_section(storage="float32"), ALL)
    assert exact.report["cache_bytes"] * 5 < overlapping


def test_random_reads_leave_no_memory_behind(tmp_path: Path) -> None:
    data = small_tree(tmp_path / "data")
    place(data, "p8", edf_bytes(noise(7200, 64), seconds=60), duration_s=7200)
    corpus = fill(data, tmp_path / "cache", HOW, ALL)
    index = next(i for i, one in enumerate(corpus.recordings) if one.patient == "p8")
    out = np.empty((19, 3840), np.float32)
    corpus.read(index, 0, 3840, out)
    before = _mapped_bytes(corpus)
    for start in range(0, 7200 * 64 - 3840, 3840):
        corpus.read(index, start, start + 3840, out)
    assert _mapped_bytes(corpus) - before < 256 * 1024


def _mapped_bytes(corpus: Corpus) -> int:
    """Return how much of the cache's files is in this process's memory now."""
    resident, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = str(corpus.home) in line
        elif ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident
