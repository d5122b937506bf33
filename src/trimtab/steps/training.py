"""Step: one training job on this machine, with the rights of its Modal role and nothing more.

The job's data prefix is brought to a read-only folder (the local equivalent of the bucket mount) with the role's
credentials; the job, an ordinary program that knows only paths, trains; its results go under its results prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.catalogue import Job
from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.storage.bucket import BucketAccess
from trimtab.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a job; the same inputs are the same run, which goes on or is already finished."""

    job: str
    attempt_label: str = ""


def training_step(name: str, job: Job, *, attempt_label: str = "") -> Step:
    """Return the step. Its memory and time are the job's own in the catalogue."""
    return Step(
        name=f"train:{name}",
        title=f"training {name}, with its role's credentials",
        action=Train(job=name, attempt_label=attempt_label),
        predicted=Cost(peak_bytes=64 * MIB, kept_bytes=64 * MIB, memory_bytes=job.memory, wall_s=job.time),
    )


class TrainingHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket

    def preflight(self, action: Train) -> None:
        """Refuse a job whose configuration is not there. Raises UsageError."""
        job = self._job(action)
        if not (self._project.root / job.config).is_file():
            raise UsageError(
                f"job {action.job} has no configuration",
                why=f"{job.config} does not exist",
                remedy=f"write it, or mend jobs.{action.job}.config in trimtab.yaml",
            )

    def finished(self, action: Train) -> Result | None:
        """Return the run's result when it is finished for these inputs and lies in the bucket."""
        from trimtab.storage.datasets import is_pushed
        from trimtab.storage.runs import read_run

        client = self._bucket.operator_or_none()
        data = self._mounted(action)
        if client is None or not data.is_dir():
            return None
        run_id = self._run_id(action, data)
        record = read_run(self._results, run_id) if run_id else None
        if record is None or record.outcome != "finished":
            return None
        folder = self._results / record.run_directory
        if is_pushed(client, folder, self._bucket.name, self._destination(action, record.run_directory)) is None:
            return None
        return self._result(action, record)

    def run(self, action: Train, say: Say) -> Result:
        """Mount the data, train or go on training, and push what it left. Raises what the job or the bucket raises."""
        from trimtab.storage.datasets import materialise, push
        from trimtab.storage.runs import read_run

        job = self._job(action)
        client = self._bucket.of_job(action.job)
        data = self._mounted(action)
        materialise(client, self._bucket.name, job.data, data, say=say)
        run_id = self._run_id(action, data)
        argv = self._project.python_argv(
            f"training.{action.job}",
            "--config", str(self._project.root / job.config),
            "--data", str(data),
            "--results", str(self._results),
            "--run-id", run_id,
            "--resume",
            "--json",
        )  # fmt: skip
        hint = "run the same command again: it goes on from the last complete checkpoint"
        self._runner.run(Command(argv=argv, cwd=self._project.root, hint=hint, house=True), on_line=say)
        record = read_run(self._results, run_id)
        folder = self._results / record.run_directory
        say(f"results to s3://{self._bucket.name}/{self._destination(action, record.run_directory)}")
        push(client, folder, self._bucket.name, self._destination(action, record.run_directory), say=say)
        return self._result(action, record)
