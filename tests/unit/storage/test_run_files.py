"""Fetching a run: verified, resumable, visible when whole; from a source that lies, loses and breaks off."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.registry_of_runs import attempt, record
from trimtab.errors import ProgramError, UsageError
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.retention import Retention
from trimtab.storage.run_files import fetch_run
from trimtab.storage.runs import Artifact, RunRecord, read_run, write_run

MODEL = b"weights" * 1000


@dataclass(kw_only=True)
class Elsewhere:
    """A results directory of another machine, and what goes wrong with what it sends."""

    results: Path
    sent: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    vanishing: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    dies_after: int | None = None

    def files(self, folder: str) -> Mapping[str, int]:
        found = (path for path in (self.results / folder).rglob("*") if path.is_file())
        return {path.relative_to(self.results).as_posix(): path.stat().st_size for path in found}

    def get(self, paths: Iterable[str], into: Path, say: Callable[[str], None]) -> tuple[str, ...]:
        for path in paths:
            if path in self.vanishing:
                continue
            if self.dies_after is not None and len(self.sent) >= self.dies_after:
                raise ProgramError("the line is cut", why="a test", remedy="again")
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path in self.replaced:
                (self.results / path).write_bytes((self.results / path).read_bytes() + b"more")
            content = (self.results / path).read_bytes()
            target.write_bytes(content[:-1] + b"?" if path in self.damaged else content)
            self.sent.append(path)
            say(path)
        return tuple(self.vanishing)


@pytest.fixture
def run() -> RunRecord:
    artifact = Artifact(
        name="model.pt",
        path="checkpoints/tides/2026-03-01/r1/model.pt",
        size_bytes=len(MODEL),
        sha256=hashlib.sha256(MODEL).hexdigest(),
    )
    return record("r1", attempt(0, 9, last_step=30), artifacts=(artifact,))


@pytest.fixture
def elsewhere(tmp_path: Path, run: RunRecord) -> Elsewhere:
    results = tmp_path / "elsewhere"
    directory = results / run.run_directory
    directory.mkdir(parents=True)
    with open_store(directory, run_id="r1", retention=Retention(keep_last=3)) as store:
        for step in (10, 20, 30):
            store.save(step, {"state.pt": lambda stream, step=step: stream.write(b"%d" % step * 500)})
    (directory / "model.pt").write_bytes(MODEL)
    (directory / ".saving-step-000000040").mkdir()
    (directory / ".saving-step-000000040" / "state.pt").write_bytes(b"half")
    (results / "evaluations" / "tides" / "r1").mkdir(parents=True)
    (results / "evaluations" / "tides" / "r1" / "scores.json").write_text("{}")
    write_run(results, run)
    return Elsewhere(results=results)


def fetch(source: Elsewhere, run: RunRecord, here: Path) -> tuple[int, int]:
    fetched = fetch_run(source, run, here, say=lambda _: None)
    return fetched.brought_files, fetched.files


def tree(results: Path) -> dict[str, bytes]:
    found = (path for path in results.rglob("*") if path.is_file())
    return {path.relative_to(results).as_posix(): path.read_bytes() for path in found}


def test_a_run_comes_whole_and_a_second_time_nothing_comes(
    elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    brought, files = fetch(elsewhere, run, here)
    assert brought == files == 9  # three checkpoints of two files, their directory's mark, the model, the scores
    there = {path: content for path, content in tree(elsewhere.results).items() if "/.saving" not in path}
    assert tree(here) == there
    assert fetch(elsewhere, run, here) == (0, 9)


def test_a_cut_line_shows_nothing_and_the_next_fetch_goes_on(
    elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    elsewhere.dies_after = 4
    with pytest.raises(ProgramError, match="cut"):
        fetch(elsewhere, run, here)
    assert [path for path in tree(here) if not path.startswith(".fetching/")] == []
    elsewhere.dies_after = None
    before = len(elsewhere.sent)
    fetch(elsewhere, run, here)
    assert len(elsewhere.sent) - before == 9 - 4
    assert read_run(here, "r1") == run
    assert not (here / ".fetching").exists()


@pytest.mark.parametrize("name", ["step-000000020/state.pt", "model.pt"])
def test_what_arrives_damaged_is_fetched_again_and_then_refused_by_name(
    name: str, elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here, path = tmp_path / "here", f"{run.run_directory}/{name}"
    elsewhere.damaged = {path}
    with pytest.raises(ProgramError, match="did not arrive as it was written"):
        fetch(elsewhere, run, here)
    assert elsewhere.sent.count(path) == 2
    assert read_run(here, "r1") is None
    elsewhere.damaged = set()
    fetch(elsewhere, run, here)
    assert (here / path).read_bytes() == (elsewhere.results / path).read_bytes()


def test_a_table_that_a_running_run_replaces_meanwhile_is_taken_as_it_came(
    elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here, path = tmp_path / "here", "evaluations/tides/r1/scores.json"
    elsewhere.replaced = {path}
    assert fetch(elsewhere, run, here) == (9, 9)
    assert (here / path).read_text() == (elsewhere.results / path).read_text() == "{}more"
    elsewhere.replaced = {f"{run.run_directory}/model.pt"}
    (here / run.run_directory / "model.pt").unlink()
    with pytest.raises(ProgramError, match="did not arrive as it was written"):
        fetch(elsewhere, run, here)


def test_a_damaged_copy_here_is_replaced_and_the_others_stay(
    elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    fetch(elsewhere, run, here)
    state = here / run.run_directory / "step-000000020" / "state.pt"
    state.write_bytes(b"?" + state.read_bytes()[1:])
    assert fetch(elsewhere, run, here) == (2, 9)
    assert [one.damage() for one in published(state.parent.parent)] == [None, None, None]


def test_a_checkpoint_that_the_policy_removes_meanwhile_is_left_out_whole(
    elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    elsewhere.vanishing = {f"{run.run_directory}/step-000000010/state.pt"}
    fetched = fetch_run(elsewhere, run, here, say=lambda _: None)
    assert fetched.gone == tuple(f"{run.run_directory}/step-000000010/{name}" for name in ("MANIFEST.json", "state.pt"))
    assert [one.step for one in published(here / run.run_directory)] == [20, 30]


def test_what_this_machine_knew_of_the_run_is_merged(elsewhere: Elsewhere, run: RunRecord, tmp_path: Path) -> None:
    here = tmp_path / "here"
    earlier = attempt(-60, -50, call=None)
    write_run(here, run.model_copy(update={"attempts": (earlier,), "artifacts": ()}))
    fetch(elsewhere, run, here)
    merged = read_run(here, "r1")
    assert merged is not None
    assert merged.attempts == (earlier, *run.attempts)


@pytest.mark.parametrize(
    "directory", ["../../outside", "/etc", "checkpoints/other/2026-03-01/r1", "checkpoints/tides/x/r1"]
)
def test_a_record_that_names_another_directory_is_refused(
    directory: str, elsewhere: Elsewhere, run: RunRecord, tmp_path: Path
) -> None:
    hostile = run.model_copy(update={"run_directory": directory})
    with pytest.raises(UsageError, match="cannot be fetched"):
        fetch(elsewhere, hostile, tmp_path / "here")
    assert not (tmp_path / "here").exists()
