"""The writing half of an attempt: checkpoints, files, the record and their copy, beside the learning. Touches results.

What is handed over is copied at once; a thread writes it, one thing at a time, in the order that it was handed over.
The checkpoint is the truth; the record follows it and is mended by the next attempt.
"""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import torch

from training.harness.background import Background
from training.harness.snapshots import snapshot
from trimtab.errors import ProgramError, TrimtabError
from trimtab.storage.backups import Abandoned, Backup
from trimtab.storage.durable import make_directory, write_whole
from trimtab.storage.runs import Artifact, Epoch, RunRecord, write_run
from trimtab.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from training.harness.hooks import Hooks
    from training.harness.learner import Ending
    from training.harness.limits import Pace
    from training.harness.watch import Watch
    from trimtab.storage.checkpoints import CheckpointStore
    from trimtab.storage.prefixes import Prefix
    from trimtab.storage.retention import Retention

STATE: Final = "state.pt"


class Keeper:
    """Keeps what one attempt makes, while it holds the run's directory."""

    def __init__(
        self, store: CheckpointStore, results: Path, record: RunRecord, hooks: Hooks, watch: Watch, pace: Pace
    ) -> None:
        """Begin with the record of the attempts before; nothing is written yet."""
        self.record = record
        self.saved_step: int | None = None
        self._store, self._results, self._hooks, self._watch, self._pace = store, results, hooks, watch, pace
        self._origin = {"config_sha256": record.config_sha256, "data_sha256": record.data_sha256}
        self._saving = Background("save")
        self._copying = Background("backup")
        self._has_warned_of_grace = False
        self._is_abandoned: Callable[[], bool] = lambda: False
        self._backup = (
            None if hooks.backup is None else backup_of(hooks.backup, record, results, store.retention, hooks.say)
        )

    def begin(self, step: int, epochs: Sequence[Mapping[str, float]]) -> None:
        """Record that an attempt begins at a step, which the newest checkpoint has."""
        self.record = self.record.with_attempt_begun(
            started=datetime.now(UTC), first_step=step, began=self._hooks.began, call=self._hooks.call
        )
        self._write_record(epochs)

    def save(
        self,
        step: int,
        state: dict[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, bytes] | None = None,
        epochs: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        """Copy the state and begin to write a checkpoint; with `epochs`, the files and the record of a milestone, too.

        Waits for the one before, if that is still being written. Raises what that met.
        """
        began_s = time.monotonic()
        self._saving.wait()
        copied = snapshot({**self._origin, **state})
        rows = None if epochs is None else [dict(row) for row in epochs]
        self._saving.start(partial(self._save, step, copied, metrics or {}, files or {}, rows, began_s))

    def check(self) -> None:
        """Raise what a save met that is over."""
        self._saving.check()

    def wait(self) -> None:
        """Wait for the save that is being written. Raises what it met."""
        self._saving.wait()

    def end(self, outcome: str, message: str | None) -> None:
        """Record how the attempt ended, with what it used, and commit."""
        self.record = self.record.with_attempt(
            ended=datetime.now(UTC), outcome=outcome, message=message, peaks=dict(self._watch.peaks)
        )
        self._write_record(None)
        self._watch.write(self._store.directory)
        self._store.commit_written(self._results / "runs" / f"{self.record.run_id}.json")

    def finish(self, ending: Ending) -> None:
        """Write what the training leaves, and record its end. The saves are over."""
        artifacts = tuple(self._write_file(name, content) for name, content in ending.files.items())
        self.record = self.record.model_copy(update={"final": ending.final, "artifacts": artifacts})
        self.end("finished", None)

    def copy_to_the_end(self, is_abandoned: Callable[[], bool] = lambda: False) -> None:
        """Bring the copy up to what is here now. Raises ProgramError when it cannot be made."""
        if self._backup is None:
            return
        self.abandon_copy()  # the one under way goes by what was here when it began: older checkpoints, soon removed
        try:
            with suppress(TrimtabError, Abandoned):  # tried again here, and if it was no accident, it is told then
                self._copying.wait()
            self._backup.copy(is_abandoned)
        except Abandoned:
            self._hooks.say(f"the copy in {self._backup.prefix} goes on with the next attempt")
        except TrimtabError as error:
            raise uncopied(self.record, self._backup, error) from error

    def settle(self) -> None:
        """Let nothing be under way here any more, whatever happened; what it met was told, or is told no more."""
        self.abandon_copy()
        with suppress(Exception):
            self._saving.wait()

    def abandon_copy(self) -> None:
        """Let the copying end where it is: there is no time for it."""
        self._is_abandoned = lambda: True

    def _save(
        self,
        step: int,
        state: dict[str, Any],
        metrics: Mapping[str, float],
        files: Mapping[str, bytes],
        epochs: Sequence[Mapping[str, float]] | None,
        began_s: float,
    ) -> None:
        """Write a checkpoint whole, in the thread."""

        def write(stream: BinaryIO) -> None:
            torch.save(state, stream)

        for name, content in files.items():
            self._write_file(name, content)
        self._store.save(step, {STATE: write}, metrics=metrics)
        self.saved_step = step
        self._write_record(epochs)
        if epochs is not None:
            self._watch.write(self._store.directory)
            self._store.commit_written(self._results / "runs" / f"{self.record.run_id}.json")
        took_s = time.monotonic() - began_s
        self._pace.note_save(took_s)
        self._warn_of_grace(took_s)
        self._copy()

    def _copy(self) -> None:
        """Begin to copy, unless that is under way (then the next save's copying has it, too) or was given up."""
        if self._backup is None or self._copying.is_busy or self._is_abandoned():
            return
        try:
            self._copying.check()
        except TrimtabError as error:  # a copy that fails stops no training: it is an error at the end, if it stays so
            self._hooks.say(f"warning: {error.what}: {error.why}; tried again after each checkpoint")
        self._copying.start(partial(self._backup.copy, self._copy_is_abandoned))

    def _copy_is_abandoned(self) -> bool:
        return self._is_abandoned()

    def _warn_of_grace(self, took_s: float) -> None:
        if took_s > self._hooks.grace_s / 2 and not self._has_warned_of_grace:
            self._has_warned_of_grace = True
            self._hooks.say(
                f"warning: a checkpoint takes {format_duration(took_s)}, and an interrupt leaves"
                f" {format_duration(self._hooks.grace_s)}\n  why: one may be under way when the last one is begun"
                "\n  next: lower checkpoints.every_steps, so that little is lost with it; nothing that is saved ever is"
            )

    def _write_file(self, name: str, content: bytes) -> Artifact:
        path = self._store.directory / name
        make_directory(path.parent)
        write_whole(path, content)
        return Artifact(
            name=name,
            path=path.relative_to(self._results).as_posix(),
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )

    def _write_record(self, epochs: Sequence[Mapping[str, float]] | None) -> None:
        if epochs is not None:
            rows = tuple(Epoch(epoch=int(row["epoch"]), step=int(row["step"]), metrics=_metrics(row)) for row in epochs)
            self.record = self.record.model_copy(update={"epochs": rows})
        self.record = self.record.with_attempt(last_step=self.saved_step or 0, seen=datetime.now(UTC))
        write_run(self._results, self.record)


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    """Return what was measured; a number that is none is left out, as checkpoints do: it is nobody's best."""
    return {name: value for name, value in row.items() if name not in ("epoch", "step") and math.isfinite(value)}


def backup_of(
    prefix: Prefix, record: RunRecord, results: Path, retention: Retention, notice: Callable[[str], None]
) -> Backup:
    """Return what copies a run to a bucket."""
    return Backup(
        prefix=prefix,
        results=results,
        run_id=record.run_id,
        run_directory=record.run_directory,
        retention=retention,
        notice=notice,
    )


def uncopied(record: RunRecord, backup: Backup, error: TrimtabError) -> ProgramError:
    """Return the error of a run that is kept here, and nowhere else."""
    return ProgramError(
        f"the run {record.run_id} is {record.outcome}, but its copy in {backup.prefix} is not made",
        why=f"{error.what}: {error.why}",
        remedy="mend the cause, then give the same command again: it only copies what is missing",
    )
