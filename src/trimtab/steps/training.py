"""Step: one training job on this machine, with the rights of its Modal role and nothing more.

Two ways. With a Docker engine and root: `modal run` on the embedded Modal (`modal_training.py`), as on Modal itself.
Without: the job's data prefix is brought to a read-only folder (the local equivalent of the bucket mount) with the
role's credentials, and the job, an ordinary program that knows only paths, trains as a program here. Either way the
same inputs are the same run, and its results go under its results prefix.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.catalogue import Job
from trimtab.errors import ProgramError, UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import inputs_digest
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project, current_commit
from trimtab.steps.modal_training import SAVING_S, modal_run_words, train_on_modal, why_not_here
from trimtab.storage.bucket import BucketAccess, manifest_or_none
from trimtab.storage.objects import Place, explained
from trimtab.units import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from trimtab.storage.runs import RunRecord


_SHARED: Final = ("harness", "pictures")  # what jobs are made of besides their own package
# The first job's image and its run, measured on a disk of its own: 1588 MiB, of which 1380 stay.
_PEAK_BYTES: Final = 1700 * MIB
_KEPT_BYTES: Final = 1450 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a job; the same inputs are the same run, which goes on or is already finished.

    `label` tells a further run of the same inputs from the first, `run_id` names a run whatever its inputs are now.
    `config` takes the place of the catalogue's. With `must_resume` it is an error when there is nothing to go on with.
    """

    job: str
    label: str = ""
    run_id: str = ""
    config: Path | None = None
    must_resume: bool = False


def training_step(name: str, job: Job, *, label: str = "") -> Step:
    """Return the step. Its memory and time are the job's own in the catalogue; its disk is the job's image."""
    return Step(
        name=f"train:{name}",
        title=f"training {name}, with its role's credentials",
        action=Train(job=name, label=label),
        predicted=Cost(peak_bytes=_PEAK_BYTES, kept_bytes=_KEPT_BYTES, memory_bytes=job.memory, wall_s=job.time),
        disk="engine",
    )


class TrainingHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket
        self._results = project.state / "results"

    def preflight(self, action: Train) -> None:
        """Refuse a job whose program or configuration is not there. Raises UsageError."""
        program = self._project.root / "training" / action.job / "__main__.py"
        if not program.is_file():
            raise UsageError(
                f"job {action.job} cannot be run",
                why=f"{program} does not exist",
                remedy=f"write it as docs/training.md says, or take jobs.{action.job} out of trimtab.yaml",
            )
        if not (config := self._config(action)).is_file():
            raise UsageError(
                f"job {action.job} has no configuration",
                why=f"{config} does not exist",
                remedy=f"write it, name another one, or mend jobs.{action.job}.config in trimtab.yaml",
            )

    def finished(self, action: Train) -> Result | None:
        """Return the run's result when it is finished for these inputs and its results lie in the bucket."""
        from trimtab.storage.runs import read_run

        client = self._bucket.operator_or_none()
        data = client and manifest_or_none(client, self._place(self._job(action).data))
        record = data and read_run(self._results, self._run_id(action, data.sha256))
        if client is None or not record or record.outcome != "finished":
            return None
        # A run's results are pushed once it is finished, and their manifest last.
        pushed = manifest_or_none(client, self._place(self._destination(action, record)))
        return None if pushed is None else self._result(action, record)

    def run(self, action: Train, say: Say) -> Result:
        """Mount the data, train or go on training, and push what it left. Raises what the job or the bucket raises."""
        from trimtab.storage.datasets import push, read_manifest
        from trimtab.storage.runs import read_run

        job, role = self._job(action), f"the role of job {action.job}"
        client = self._bucket.of_job(action.job)
        place = self._place(job.data, role)
        data = read_manifest(client, place)
        if data is None:
            raise UsageError(
                f"{place} holds no data set", why="it has no manifest", remedy="push it: `trimtab local` does"
            )
        run_id = self._run_id(action, data.sha256)
        reason = why_not_here(self._project)
        if reason is None:
            config = self._config(action)
            words = modal_run_words(action.job, config=config, run_id=run_id, must_resume=action.must_resume)
            train_on_modal(self._project, self._runner, words, run_id=run_id, results=self._results, say=say)
        else:
            say(f"not on the embedded Modal, but as a program here: {reason}")
            self._run_program(action, client, run_id, say)
        record = read_run(self._results, run_id)
        if record is None:
            raise ProgramError(
                f"training.{action.job} left no record of the run {run_id}",
                why=f"{self._results / 'runs'} does not hold it",
                remedy="a job records its run as docs/training.md says",
            )
        destination = self._destination(action, record)
        say(f"writing s3://{self._bucket.name}/{destination} as {role}")
        push(client, self._results / record.run_directory, self._place(destination, role))
        registry = self._place(f"{job.results}runs/", role)
        with explained("writing to", registry):
            client.put_object(
                Bucket=registry.bucket,
                Key=f"{registry.prefix}{run_id}.json",
                Body=(self._results / "runs" / f"{run_id}.json").read_bytes(),
            )
        return self._result(action, record)

    def _run_program(self, action: Train, client: S3Client, run_id: str, say: Say) -> None:
        from trimtab.storage.caches import materialise

        job, role = self._job(action), f"the role of job {action.job}"
        say(f"reading s3://{self._bucket.name}/{job.data} as {role}")
        data = materialise(client, self._place(job.data, role), self._project.state / "mounts" / action.job)
        argv = self._project.python_argv(
            f"training.{action.job}",
            "--config", str(self._config(action)),
            "--data", str(data.path),
            "--results", str(self._results),
            "--run-id", run_id,
            "--json",
            *(("--resume",) if action.must_resume else ()),
        )  # fmt: skip
        if commit := current_commit(self._project.root):
            argv += ("--commit", commit)
        hint = "run the same command again: it goes on from the last complete checkpoint"
        command = Command(argv=argv, cwd=self._project.root, hint=hint, house=True, grace_s=SAVING_S)
        self._runner.run(command, on_line=say)

    def _place(self, prefix: str, role: str = "the operator") -> Place:
        return Place(bucket=self._bucket.name, prefix=prefix, role=role)

    def _job(self, action: Train) -> Job:
        return self._project.catalogue.jobs[action.job]

    def _config(self, action: Train) -> Path:
        return config_of(self._project, action)

    def _run_id(self, action: Train, data_digest: str) -> str:
        return run_id_of(self._project, action, data_digest)

    def _destination(self, action: Train, record: RunRecord) -> str:
        return f"{self._job(action).results}{record.run_directory}/"

    def _result(self, action: Train, record: RunRecord) -> Result:
        final = record.final or {}
        return {
            "job": action.job,
            "run_id": record.run_id,
            "test_accuracy": final.get("test_accuracy"),
            "attempts": len(record.attempts),
            "checkpoints": str(self._results / record.run_directory),
            "bucket": f"s3://{self._bucket.name}/{self._destination(action, record)}",
        }


def config_of(project: Project, action: Train) -> Path:
    """Return the configuration that a job is trained with."""
    return action.config or project.root / project.catalogue.jobs[action.job].config


def run_id_of(project: Project, action: Train, data_digest: str) -> str:
    """Name a run by what goes into it: data, configuration, code. The same inputs are the same run."""
    if action.run_id:
        return action.run_id
    root = project.root
    code = tuple(path for name in (action.job, *_SHARED) if (path := root / "training" / name).is_dir())
    inputs = inputs_digest(code, root=root, also=(data_digest, action.label, config_of(project, action).read_text()))
    return f"{action.job}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"
