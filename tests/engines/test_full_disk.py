"""A disk that fills up: what was there stays, the error says so, and with space again the same command goes on."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.training import final_state, same, small_config, small_folder
from training.classifier.__main__ import main
from trimtab.errors import BudgetError
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.durable import write_whole
from trimtab.storage.retention import Retention
from trimtab.storage.runs import list_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts nothing: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_save_on_a_full_disk_keeps_the_checkpoint_before_it(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        open_store(disk / "run", run_id="r1", retention=Retention(keep_last=3)) as store,
    ):
        store.save(1, {"state": lambda stream: stream.write(b"a" * 500_000)})
        with pytest.raises(BudgetError, match=r"step-000000002 was not written") as caught:
            store.save(2, {"state": lambda stream: stream.write(b"b" * 700_000)})
        assert "No space left" in caught.value.why
        assert caught.value.exit_code == 6
        assert sorted(path.name for path in store.directory.iterdir()) == ["CHECKPOINTS.json", "step-000000001"]
        newest = store.newest_complete()
        assert newest is not None
        assert newest.step == 1
        store.save(2, {"state": lambda stream: stream.write(b"b" * 300_000)})


def test_a_record_on_a_full_disk_stays_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_whole(disk / "record.json", b"old")
        with pytest.raises(BudgetError, match=r"record\.json was not written"):
            write_whole(disk / "record.json", b"new" * 100_000)
        assert (disk / "record.json").read_bytes() == b"old"
        assert [path.name for path in disk.iterdir()] == ["record.json"]


def test_a_training_that_fills_the_disk_stops_with_6_and_goes_on_when_there_is_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, data = small_config(tmp_path / "config.yaml"), small_folder(tmp_path / "digits")
    whole = ["--config", str(config), "--data", str(data), "--results", str(tmp_path / "whole")]
    assert main(whole) == 0
    with small_disk(tmp_path / "disk", "400k") as disk:
        results = disk / "results"
        command = ["--config", str(config), "--data", str(data), "--results", str(results)]
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 300_000)
        assert main(command) == 6
        said = capsys.readouterr().err
        assert "No space left" in said
        assert "trimtab disk report" in said
        (record,), unreadable = list_runs(results)
        assert unreadable == ()
        assert record.outcome in ("failed", "running")  # `running` where there was no space even to say that it failed
        checkpoints = published(results / record.run_directory)
        assert [item.damage() for item in checkpoints] == [None] * len(checkpoints)
        ballast.unlink()
        assert main(command) == 0
        (record,), _ = list_runs(results)
        (expected,), _ = list_runs(tmp_path / "whole")
        assert record.epochs == expected.epochs
        assert same(
            final_state(results / record.run_directory), final_state(tmp_path / "whole" / expected.run_directory)
        )
