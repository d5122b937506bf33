"""The ledger: whole lines whatever happens to its writers, and the last measurement of each step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.cost.ledger import Entry, Ledger, Outcome, entry_of
from trimtab.plan import Cost, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """An action that does nothing."""


PREDICTED = Cost(peak_bytes=10, kept_bytes=5, memory_bytes=None, wall_s=1.5)


def entry(
    name: str, *, outcome: Outcome = "done", measured: Cost | None = None, result: Mapping[str, Any] | None = None
) -> Entry:
    step = Step(name=name, title=name, action=Pack(), predicted=PREDICTED)
    return entry_of(step, run="r1", outcome=outcome, measured=measured, result=result or {})


def took(seconds: float) -> Cost:
    return Cost(peak_bytes=7, kept_bytes=3, memory_bytes=100, wall_s=seconds, usd=0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.jsonl"


def test_a_ledger_that_was_never_written_is_empty(path: Path) -> None:
    assert Ledger(path).entries() == ()
    assert Ledger(path).measured() == {}
    assert not path.parent.exists()


def test_what_is_appended_is_read_back_as_it_was(path: Path) -> None:
    written = (
        entry("build", measured=took(2), result={"id": "ü", "nested": {"a": [1, None]}}),
        entry("serve", outcome="failed", measured=took(1), result={"error": "line one\nline two"}),
        entry("train", outcome="already done"),
    )
    for one in written:
        Ledger(path).append(one)
    assert Ledger(path).entries() == written
    assert len(path.read_text().splitlines()) == 3


def test_an_entry_says_when_in_utc(path: Path) -> None:
    assert entry("build").at.endswith("+00:00")


def test_a_prediction_is_the_most_that_the_last_five_real_runs_took(path: Path) -> None:
    ledger = Ledger(path)
    ledger.append(entry("build", measured=took(900)))
    for seconds in (1, 9, 2, 2, 2):
        ledger.append(entry("build", measured=took(seconds)))
    ledger.append(entry("build", outcome="failed", measured=took(500)))
    ledger.append(entry("build", outcome="already done"))
    ledger.append(entry("serve", outcome="failed", measured=took(1)))
    assert ledger.measured() == {"build": took(9)}


def test_the_most_is_taken_of_each_part_by_itself(path: Path) -> None:
    ledger = Ledger(path)
    ledger.append(entry("build", measured=Cost(peak_bytes=9, kept_bytes=1, memory_bytes=None, wall_s=2)))
    ledger.append(entry("build", measured=Cost(peak_bytes=3, kept_bytes=2, memory_bytes=None, wall_s=4, usd=1)))
    assert ledger.measured() == {"build": Cost(peak_bytes=9, kept_bytes=2, memory_bytes=None, wall_s=4, usd=1)}


@settings(max_examples=30)  # each waits for the disk twice
@given(torn_at=st.integers(1, 150))
def test_a_line_that_a_killed_writer_left_torn_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, torn_at: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(entry("first", measured=took(1)))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[:torn_at])
    assert [found.step for found in ledger.entries()] == ["first"]
    ledger.append(entry("second", measured=took(2)))
    assert [found.step for found in ledger.entries()] == ["first", "second"]


@pytest.mark.parametrize(
    "line",
    [b"", b"\0" * 512, b"not json", b"[]", b"null", b"{}", b"\xff\xfe", b'{"step":"x"}', b"[" * 200_000,
     b'{"predicted":{"peak":1},"measured":null}'],
    ids=["blank", "zeros", "words", "list", "null", "empty", "no text", "keys missing", "deep", "other keys"],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_passed_over(path: Path, line: bytes) -> None:
    Ledger(path).append(entry("first"))
    with path.open("ab") as file:
        file.write(line + b"\n")
    Ledger(path).append(entry("second"))
    assert [found.step for found in Ledger(path).entries()] == ["first", "second"]


def test_of_a_very_long_ledger_the_end_is_read(path: Path) -> None:
    ledger = Ledger(path)
    ledger.append(entry("old"))
    with path.open("r+b") as file:
        file.seek(40 * 1024 * 1024)
        file.write(b"\n")
    ledger.append(entry("new"))
    assert [found.step for found in ledger.entries()] == ["new"]


_APPEND = """\
import sys
from pathlib import Path
from trimtab.cost.ledger import Entry, Ledger
from trimtab.plan import Cost
cost = Cost(peak_bytes=1, kept_bytes=1, memory_bytes=None, wall_s=1)
ledger, writer, size = Ledger(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
number = 0
print("ready", flush=True)
while number < int(sys.argv[4]):
    ledger.append(Entry(run=writer, step=str(number), at="", outcome="done", predicted=cost, measured=cost,
                        result={"filling": writer * size}))
    number += 1
"""


def writer(path: Path, name: str, *, size: int, count: int) -> subprocess.Popen[bytes]:
    argv = (sys.executable, "-c", _APPEND, str(path), name, str(size), str(count))
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def test_writers_side_by_side_lose_nothing_and_mix_nothing(path: Path) -> None:
    names = "abcd"
    writers = [writer(path, name, size=3000, count=25) for name in names]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    entries = Ledger(path).entries()
    for name in names:
        own = [found for found in entries if found.run == name]
        assert [found.step for found in own] == [str(number) for number in range(25)]
        assert all(found.result["filling"] == name * 3000 for found in own)


def test_a_writer_that_is_killed_harms_no_line_but_its_own(path: Path) -> None:
    process = writer(path, "k", size=200_000, count=10_000)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    deadline = time.monotonic() + 30
    while not Ledger(path).entries() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()  # while it writes one of the next
    process.communicate(timeout=10)
    before = Ledger(path).entries()
    Ledger(path).append(entry("after"))
    after = Ledger(path).entries()
    assert after[:-1] == before
    assert after[-1].step == "after"
    assert before
    assert len(path.read_bytes().splitlines()) - len(after) <= 1


def test_a_full_disk_is_an_error_and_never_a_line_in_silence(path: Path) -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"  # what is written past it comes back short
        + _APPEND
    )
    argv = (sys.executable, "-c", program, str(path), "f", "3000", "100")
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert [found.step for found in Ledger(path).entries()] == ["0", "1", "2"]


def test_each_line_is_plain_json_that_other_tools_can_read(path: Path) -> None:
    Ledger(path).append(entry("build", measured=took(2)))
    assert json.loads(path.read_text())["measured"]["wall_s"] == 2
