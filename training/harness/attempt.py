"""One attempt at a run: go on from the newest complete checkpoint, learn, save, stop in time, finish.

`run_job` is an ordinary function that knows only paths, so that a desk, a Modal function and a test call the same one.
What it writes goes through `keeping`; what it uses is watched by `watch`. Touches the results only, and their copy.
"""

from __future__ import annotations

import importlib
import pickle
import time
from typing import TYPE_CHECKING, Any, Literal

import torch

from training.harness.config import load_config
from training.harness.gauges import gauges_of
from training.harness.hooks import Hooks, Result
from training.harness.identity import check_same_origin, check_same_run, fresh_record, is_finished
from training.harness.keeping import STATE, Keeper, backup_of, uncopied
from training.harness.learner import Job
from training.harness.limits import Pace
from training.harness.watch import Watch
from trimtab.errors import TrimtabError, UsageError
from trimtab.storage.backups import restore
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.retention import Retention
from trimtab.storage.runs import read_run

__all__ = ["Hooks", "Result", "job_of", "run_job"]

if TYPE_CHECKING:
    from pathlib import Path

    from training.harness.config import JobConfig
    from training.harness.learner import Learner
    from trimtab.storage.checkpoints import CheckpointStore
    from trimtab.storage.runs import RunRecord


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
    job: str | Job[Any],
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
    if isinstance(job, str):
        job = job_of(job)
    values = load_config(config, job.config)
    if results.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"the results {results} lie inside the data {data}",
            why="what a run writes would be taken for data by the next one",
            remedy="give a folder of its own with --results",
        )
    with Watch(gauges_of(results), values.model_dump(mode="json"), hooks.say) as watch:
        read = job.read_data(data, values, results / "cache" / job.name)
        for warning in read.warnings:
            hooks.say(f"warning: {warning}")
        fresh = _here_or_copied(
            fresh_record(job.name, values, read.sha256, results, run_id, git_commit), results, hooks
        )
        if must_resume and read_run(results, fresh.run_id) is None:
            raise UsageError(
                f"there is no run {fresh.run_id} to resume",
                why=f"{results / 'runs'} has no record of it",
                remedy="give its id with --run-id, or leave --resume out to begin it",
            )
        retention = _retention(job, values)
        hooks.stop()  # asked from here on: what interrupts now is recorded, where before it may end the process at once
        with open_store(
            results / fresh.run_directory,
            run_id=fresh.run_id,
            retention=retention,
            commit=hooks.commit,
            notice=hooks.say,
        ) as store:
            record = read_run(results, fresh.run_id) or fresh
            check_same_run(record, fresh)
            if is_finished(record, results):
                _copy_if_needed(record, results, retention, hooks)
                return Result(outcome="already finished", resumed_from_step=None, record=record)
            attempt = _Attempt(job.learner(values, read), values, store, results, record, hooks, watch)
            try:
                return attempt.run()
            except Exception as error:
                attempt.note_failure(error)
                raise
            finally:
                attempt.settle()


def _here_or_copied(fresh: RunRecord, results: Path, hooks: Hooks) -> RunRecord:
    """Bring the run back where it is not here: then its directory is the one of its first attempt.

    Checkpoints without a record are what a restore leaves that was killed: it writes the record last.
    """
    is_here = published(results / fresh.run_directory) and read_run(results, fresh.run_id)
    if hooks.backup is None or is_here:
        return fresh
    copied = restore(hooks.backup, results, fresh.run_id, notice=hooks.say)
    return fresh if copied is None else fresh.model_copy(update={"run_directory": copied.run_directory})


def _copy_if_needed(record: RunRecord, results: Path, retention: Retention, hooks: Hooks) -> None:
    if hooks.backup is None:
        return
    backup = backup_of(hooks.backup, record, results, retention, hooks.say)
    try:
        if not backup.is_current():
            backup.copy()
    except TrimtabError as error:
        raise uncopied(record, backup, error) from error


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
        watch: Watch,
    ) -> None:
        self._learner, self._hooks, self._watch = learner, hooks, watch
        self._every = config.checkpoints.every_steps
        self._pace = Pace()
        self._keeper = Keeper(store, results, record, hooks, watch, self._pace)
        newest = store.newest_complete()
        if newest:
            self._load(newest.path, record)
        self._resumed_from = self._keeper.saved_step = newest.step if newest else None
        self._keeper.begin(learner.step, learner.epochs)

    def _load(self, checkpoint: Path, record: RunRecord) -> None:
        try:
            state = torch.load(checkpoint / STATE, weights_only=True)
            check_same_origin(state, record, checkpoint)
            self._learner.load(state)
        except (KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise UsageError(
                f"{checkpoint} cannot be gone on from",
                why=f"its checksums are right, but another version of this program wrote it ({type(error).__name__})",
                remedy="go on with that version, or give another --run-id",
            ) from error
        if state["torch"] != str(torch.__version__):
            self._hooks.say(
                f"warning: saved by torch {state['torch']}, this is {torch.__version__}: last bits may differ"
            )

    def run(self) -> Result:
        """Train, save and record until the end or a stop."""
        learner, keeper = self._learner, self._keeper
        where = "the beginning" if self._resumed_from is None else f"step {self._resumed_from}"
        self._hooks.say(f"run {keeper.record.run_id}: from {where}, {learner.scope}, {torch.get_num_threads()} threads")
        while not learner.done:
            keeper.check()
            if reason := self._reason_to_stop():
                return self._interrupted(reason)
            began_s = time.monotonic()
            milestone = learner.advance()
            self._pace.note_step(time.monotonic() - began_s)
            if milestone is not None:
                keeper.save(
                    learner.step,
                    learner.state(),
                    metrics=milestone.metrics,
                    files=milestone.files,
                    epochs=learner.epochs,
                )
                self._hooks.say(f"{milestone.line}  {self._watch.line}")
            elif learner.step % self._every == 0:
                keeper.save(learner.step, learner.state())
        return self._finish()

    def note_failure(self, error: Exception) -> None:
        """Record why the attempt failed; where even that fails (a full disk), the first error is the one to tell."""
        said = (error.what, error.why) if isinstance(error, TrimtabError) else (type(error).__name__, str(error))
        try:
            self._keeper.wait()
        except TrimtabError as second:
            self._hooks.say(f"the last checkpoint was not written: {second.why}")
        if self._keeper.record.outcome == "finished":
            return
        try:
            self._keeper.end("failed", ": ".join(said))
        except TrimtabError as second:
            self._hooks.say(f"the failure could not be recorded: {second.why}")

    def settle(self) -> None:
        """Let no save be under way when the run's directory is let go of."""
        self._keeper.settle()

    def _reason_to_stop(self) -> str | None:
        return "signal" if self._hooks.stop() else self._pace.reached(self._hooks.limits)

    def _interrupted(self, reason: str) -> Result:
        limit = next((limit for limit in self._hooks.limits if limit.name == reason), None)
        if limit is None:
            self._keeper.abandon_copy()
        self._keeper.wait()
        step = self._learner.step
        if self._keeper.saved_step != step:
            self._keeper.save(step, self._learner.state())
            self._keeper.wait()
        self._keeper.end("interrupted", None if limit is None else f"stopped by its {limit.name} limit")
        self._hooks.say(f"interrupted at step {step}; the same command goes on from there")
        if limit:
            try:
                self._keeper.copy_to_the_end(lambda: limit.left_s() <= limit.margin_s / 4)
            except TrimtabError as error:  # no failure of the attempt, and not the last word: the next one copies, too
                self._hooks.say(f"warning: {error.what}: {error.why}")
        return self._result("interrupted", stopped_by=reason)

    def _finish(self) -> Result:
        ending = self._learner.finish()
        self._keeper.wait()
        self._keeper.finish(ending)
        self._hooks.say(ending.line)
        self._keeper.copy_to_the_end()
        return self._result("finished")

    def _result(self, outcome: Literal["finished", "interrupted"], *, stopped_by: str | None = None) -> Result:
        return Result(
            outcome=outcome,
            resumed_from_step=self._resumed_from,
            record=self._keeper.record,
            stopped_by=stopped_by,
            peaks=self._watch.peaks,
        )
