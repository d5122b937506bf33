"""One attempt at a run: go on from the newest complete checkpoint, save, record, finish. Touches the results only.

`train` is an ordinary function that knows only paths, so that a desk, a Modal function and a test call the same one.
The checkpoint is the truth; the record (`RESULTS/runs/RUN_ID.json`) follows it and is mended by the next attempt.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import torch

from training.classifier.identity import check_same_origin, check_same_run, fresh_record, is_finished
from training.classifier.pictures import ImageFolder, read_image_folder
from training.classifier.trainer import Trainer
from trimtab.errors import TrimtabError, UsageError
from trimtab.storage.checkpoints import CheckpointStore, open_store
from trimtab.storage.durable import write_whole
from trimtab.storage.retention import Retention
from trimtab.storage.runs import Artifact, Epoch, RunRecord, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.classifier.config import Config

_STATE: Final = "state.pt"
_MODEL: Final = "model.pt"


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


def train(
    config: Config,
    *,
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
    folder = read_image_folder(data, config.pictures)
    if folder.leaked:
        hooks.say(f"warning: {folder.leaked} pictures are in more than one split; what they measure looks too good")
    fresh = fresh_record(config, folder, results, run_id, git_commit)
    if must_resume and read_run(results, fresh.run_id) is None:
        raise UsageError(
            f"there is no run {fresh.run_id} to resume",
            why=f"{results / 'runs'} has no record of it",
            remedy="give its id with --run-id, or leave --resume out to begin it",
        )
    kept = config.checkpoints
    retention = Retention(
        keep_last=kept.keep_last, keep_best=kept.keep_best, metric="val_loss", greater_is_better=False
    )
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
            return Result(outcome="already finished", resumed_from_step=None, record=record)
        attempt = _Attempt(config, folder, store, results, record, hooks)
        try:
            return attempt.run()
        except Exception as error:
            attempt.note_failure(error)
            raise


class _Attempt:
    """What one process does on a run while it holds the run's directory."""

    def __init__(
        self,
        config: Config,
        folder: ImageFolder,
        store: CheckpointStore,
        results: Path,
        record: RunRecord,
        hooks: Hooks,
    ) -> None:
        self._config, self._folder, self._store, self._results = config, folder, store, results
        self._stop, self._say = hooks.stop, hooks.say
        self._trainer = Trainer(config, folder)
        newest = store.newest_complete()
        self._saved_step = newest.step if newest else None
        if newest:
            self._load(newest.path, record)
        self._resumed_from = self._saved_step
        self._record = record.with_attempt_begun(started=datetime.now(UTC), first_step=self._trainer.step)
        self._write_record()

    def _load(self, checkpoint: Path, record: RunRecord) -> None:
        try:
            state = torch.load(checkpoint / _STATE, weights_only=True)
            check_same_origin(state, record, checkpoint)
            self._trainer.load(state)
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
        trainer, every = self._trainer, self._config.checkpoints.every_steps
        where = "the beginning" if self._resumed_from is None else f"step {self._resumed_from}"
        self._say(
            f"run {self._record.run_id}: from {where}, to epoch {self._config.optimisation.epochs}"
            f" of {trainer.batches} steps, {torch.get_num_threads()} threads"
        )
        while not trainer.done:
            if self._stop():
                return self._interrupted()
            trainer.train_step()
            if trainer.at_epoch_end:
                self._end_epoch()
            elif trainer.step % every == 0:
                self._save({})
        return self._finish()

    def note_failure(self, error: Exception) -> None:
        """Record why the attempt failed; where even that fails (a full disk), the first error is the one to tell."""
        said = (error.what, error.why) if isinstance(error, TrimtabError) else (type(error).__name__, str(error))
        try:
            self._end("failed", ": ".join(said))
        except TrimtabError as second:
            self._say(f"the failure could not be recorded: {second.why}")

    def _end_epoch(self) -> None:
        trainer = self._trainer
        measured = trainer.end_epoch()
        self._save({"val_loss": measured["val_loss"], "val_accuracy": measured["val_accuracy"]})
        self._write_record()
        self._say(
            f"epoch {trainer.epoch}/{self._config.optimisation.epochs}  step {trainer.step}"
            f"  loss {measured['train_loss']:.4f}  val loss {measured['val_loss']:.4f}"
            f"  val accuracy {measured['val_accuracy']:.4f}"
        )

    def _interrupted(self) -> Result:
        if self._saved_step != self._trainer.step:
            self._save({})
        self._end("interrupted", None)
        self._say(f"interrupted at step {self._trainer.step}; the same command goes on from there")
        return Result(outcome="interrupted", resumed_from_step=self._resumed_from, record=self._record)

    def _finish(self) -> Result:
        """Measure the best weights on the test split and write them. Killed in here, the next attempt does it again."""
        trainer = self._trainer
        if trainer.best is None:
            raise AssertionError("a training that is done has had an epoch")
        trainer.network.load_state_dict(trainer.best["weights"])
        test = trainer.evaluate(self._folder.test)
        content = io.BytesIO()
        torch.save(trainer.best["weights"], content)
        path = self._store.directory / _MODEL
        write_whole(path, content.getvalue())
        artifact = Artifact(
            name="model",
            path=path.relative_to(self._results).as_posix(),
            size_bytes=len(content.getvalue()),
            sha256=hashlib.sha256(content.getvalue()).hexdigest(),
        )
        final = {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "best_epoch": trainer.best["epoch"],
            "val_loss": trainer.best["val_loss"],
            "steps": trainer.step,
            "classes": list(self._folder.classes),
            "confusion": [list(row) for row in test.confusion],
        }
        self._record = self._record.model_copy(update={"final": final, "artifacts": (artifact,)})
        self._end("finished", None)
        self._say(f"test accuracy {test.accuracy:.4f} with the weights of epoch {trainer.best['epoch']}")
        return Result(outcome="finished", resumed_from_step=self._resumed_from, record=self._record)

    def _save(self, metrics: dict[str, float]) -> None:
        origin = {"config_sha256": self._record.config_sha256, "data_sha256": self._record.data_sha256}
        state = {**origin, **self._trainer.state()}

        def write(stream: BinaryIO) -> None:
            torch.save(state, stream)

        self._store.save(self._trainer.step, {_STATE: write}, metrics=metrics)
        self._saved_step = self._trainer.step

    def _end(self, outcome: str, message: str | None) -> None:
        self._record = self._record.with_attempt(ended=datetime.now(UTC), outcome=outcome, message=message)
        self._write_record()

    def _write_record(self) -> None:
        epochs = tuple(
            Epoch(epoch=int(row["epoch"]), step=int(row["step"]), metrics=_metrics(row)) for row in self._trainer.epochs
        )
        last_step = self._saved_step or 0
        self._record = self._record.with_attempt(last_step=last_step).model_copy(update={"epochs": epochs})
        write_run(self._results, self._record)


def _metrics(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("epoch", "step")}
