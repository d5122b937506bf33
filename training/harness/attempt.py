"""One attempt at a run: go on from the newest complete checkpoint, save, record, finish. Touches the results only.

`run_job` is an ordinary function that knows only paths, so that a desk, a Modal function and a test call the same one.
The checkpoint is the truth; the record (`RESULTS/runs/RUN_ID.json`) follows it and is mended by the next attempt.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import torch

from training.harness.config import load_config
from training.harness.identity import check_same_origin, check_same_run, fresh_record, is_finished
from trimtab.errors import TrimtabError, UsageError
from trimtab.storage.checkpoints import CheckpointStore, open_store
from trimtab.storage.durable import make_directory, write_whole
from trimtab.storage.retention import Retention
from trimtab.storage.runs import Artifact, Epoch, RunRecord, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from training.harness.config import JobConfig
    from training.harness.learner import Job, Learner, Milestone

_STATE: Final = "state.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended. `resumed_from_step` is None when it began at the beginning."""

    outcome: Literal["finished", "already finished", "interrupted"]
    resumed_from_step: int | None
    record: RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the surroundings lend: when to stop, whom to tell, and how to commit where the file system needs that."""

    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda _: None
    commit: Callable[[], None] | None = None


def job_of(name: str) -> Job[Any]:
    """Return the job of a package `training.NAME`. Raises UsageError when there is none."""
    module = f"training.{name}.job"
    try:
        job: Job[Any] = importlib.import_module(module).JOB
    except ModuleNotFoundError as error:
        if error.name not in (module, f"training.{name}"):
            raise
        raise UsageError(
            f"there is no job {name!r}",
            why=f"training/{name}/job.py does not exist",
            remedy="name a folder of training/ that has one",
        ) from error
    return job


def run_job(
    name: str,
    *,
    config: Path,
    data: Path,
    results: Path,
    run_id: str | None = None,
    must_resume: bool = False,
    git_commit: str | None = None,
    hooks: Hooks,
) -> Result:
    """Train to the end, or until the surroundings stop it. Without a run id, configuration and data name the run.

    Raises TrimtabError; once the run's directory is ours, the record says so as a failed attempt.
    """
    job = job_of(name)
    values = load_config(config, job.config)
    read = job.read_data(data, values, results / "cache" / job.name)
    for warning in read.warnings:
        hooks.say(f"warning: {warning}")
    fresh = fresh_record(job.name, values, read.sha256, results, run_id, git_commit)
    if must_resume and read_run(results, fresh.run_id) is None:
        raise UsageError(
            f"there is no run {fresh.run_id} to resume",
            why=f"{results / 'runs'} has no record of it",
            remedy="give its id with --run-id, or leave --resume out to begin it",
        )
    with open_store(
        results / fresh.run_directory,
        run_id=fresh.run_id,
        retention=_retention(job, values),
        commit=hooks.commit,
        notice=hooks.say,
    ) as store:
        record = read_run(results, fresh.run_id) or fresh
        check_same_run(record, fresh)
        if is_finished(record, results):
            return Result(outcome="already finished", resumed_from_step=None, record=record)
        attempt = _Attempt(job.learner(values, read), values, store, results, record, hooks)
        try:
            return attempt.run()
        except Exception as error:
            attempt.note_failure(error)
            raise


def _retention(job: Job[Any], config: JobConfig) -> Retention:
    kept = config.checkpoints
    return Retention(
        keep_last=kept.keep_last,
        keep_best=kept.keep_best,
        keep_every_steps=kept.keep_every_steps,
        keep_every_s=None if kept.keep_every_hours is None else kept.keep_every_hours * 3600,
        metric=job.metric,
        greater_is_better=job.greater_is_better,
    )


class _Attempt:
    """What one process does on a run while it holds the run's directory."""

    def __init__(
        self,
        learner: Learner,
        config: JobConfig,
        store: CheckpointStore,
        results: Path,
        record: RunRecord,
        hooks: Hooks,
    ) -> None:
        self._learner, self._store, self._results = learner, store, results
        self._stop, self._say = hooks.stop, hooks.say
        self._every = config.checkpoints.every_steps
        newest = store.newest_complete()
        self._saved_step = newest.step if newest else None
        if newest:
            self._load(newest.path, record)
        self._resumed_from = self._saved_step
        self._record = record.with_attempt_begun(started=datetime.now(UTC), first_step=learner.step)
        self._write_record()

    def _load(self, checkpoint: Path, record: RunRecord) -> None:
        try:
            state = torch.load(checkpoint / _STATE, weights_only=True)
            check_same_origin(state, record, checkpoint)
            self._learner.load(state)
        except (KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise UsageError(
                f"{checkpoint} cannot be gone on from",
                why=f"its checksums are right, but another version of this program wrote it ({type(error).__name__})",
                remedy="go on with that version, or give another --run-id",
            ) from error
        if state["torch"] != str(torch.__version__):
            self._say(f"warning: saved by torch {state['torch']}, this is {torch.__version__}: last bits may differ")

    def run(self) -> Result:
        """Train, save and record until the end or a stop."""
        learner = self._learner
        where = "the beginning" if self._resumed_from is None else f"step {self._resumed_from}"
        self._say(f"run {self._record.run_id}: from {where}, {learner.scope}, {torch.get_num_threads()} threads")
        while not learner.done:
            if self._stop():
                return self._interrupted()
            milestone = learner.advance()
            if milestone is not None:
                self._reach(milestone)
            elif learner.step % self._every == 0:
                self._save({})
        return self._finish()

    def note_failure(self, error: Exception) -> None:
        """Record why the attempt failed; where even that fails (a full disk), the first error is the one to tell."""
        said = (error.what, error.why) if isinstance(error, TrimtabError) else (type(error).__name__, str(error))
        try:
            self._end("failed", ": ".join(said))
        except TrimtabError as second:
            self._say(f"the failure could not be recorded: {second.why}")

    def _reach(self, milestone: Milestone) -> None:
        for name, content in milestone.files.items():
            self._write_file(name, content)
        self._save(milestone.metrics)
        self._write_record()
        self._say(milestone.line)

    def _interrupted(self) -> Result:
        if self._saved_step != self._learner.step:
            self._save({})
        self._end("interrupted", None)
        self._say(f"interrupted at step {self._learner.step}; the same command goes on from there")
        return self._result("interrupted")

    def _finish(self) -> Result:
        ending = self._learner.finish()
        artifacts = tuple(self._write_file(name, content) for name, content in ending.files.items())
        self._record = self._record.model_copy(update={"final": ending.final, "artifacts": artifacts})
        self._end("finished", None)
        self._say(ending.line)
        return self._result("finished")

    def _result(self, outcome: Literal["finished", "interrupted"]) -> Result:
        return Result(outcome=outcome, resumed_from_step=self._resumed_from, record=self._record)

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

    def _save(self, metrics: Mapping[str, float]) -> None:
        origin = {"config_sha256": self._record.config_sha256, "data_sha256": self._record.data_sha256}
        state = {**origin, **self._learner.state()}

        def write(stream: BinaryIO) -> None:
            torch.save(state, stream)

        self._store.save(self._learner.step, {_STATE: write}, metrics=metrics)
        self._saved_step = self._learner.step

    def _end(self, outcome: str, message: str | None) -> None:
        self._record = self._record.with_attempt(ended=datetime.now(UTC), outcome=outcome, message=message)
        self._write_record()
        self._store.commit_written(self._results / "runs" / f"{self._record.run_id}.json")

    def _write_record(self) -> None:
        epochs = tuple(
            Epoch(epoch=int(row["epoch"]), step=int(row["step"]), metrics=_metrics(row)) for row in self._learner.epochs
        )
        last_step = self._saved_step or 0
        self._record = self._record.with_attempt(last_step=last_step).model_copy(update={"epochs": epochs})
        write_run(self._results, self._record)


def _metrics(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("epoch", "step")}
