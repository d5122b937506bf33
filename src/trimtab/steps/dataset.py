"""Step: a job's data set, laid out from its source and pushed under the job's data prefix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.executor import Result, Say
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.storage.bucket import BucketAccess
from trimtab.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class PushData:
    """Have a job's data in the bucket."""

    job: str


def dataset_step(job: str) -> Step:
    """Return the step. Declared for the demo's 1,797 small pictures: a block each, in the cache and in memory."""
    return Step(
        name=f"data:{job}",
        title=f"the data of {job} in the bucket",
        action=PushData(job=job),
        predicted=Cost(peak_bytes=40 * MIB, kept_bytes=40 * MIB, memory_bytes=600 * MIB, wall_s=25),
    )


class DatasetHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket

    def preflight(self, action: PushData) -> None:
        """Nothing can be told before the source runs."""

    def finished(self, action: PushData) -> Result | None:
        """Return the manifest's digest when the bucket holds the manifest of exactly what was laid out here."""
        from trimtab.storage.datasets import is_pushed

        client = self._bucket.operator_or_none()
        folder = self._folder(action)
        if client is None or not folder.is_dir():
            return None
        return is_pushed(client, folder, self._bucket.name, self._prefix(action))

    def run(self, action: PushData, say: Say) -> Result:
        """Lay the data set out, and upload what the bucket lacks."""
        from trimtab.storage.datasets import push

        source = self._project.catalogue.jobs[action.job].source
        argv = self._project.python_argv(source, "--out", str(self._folder(action)))
        hint = f"the lines above are those of {source}"
        self._runner.run(Command(argv=argv, cwd=self._project.root, hint=hint, house=True), on_line=say)
        return push(self._bucket.operator(), self._folder(action), self._bucket.name, self._prefix(action), say=say)

    def _folder(self, action: PushData) -> Path:
        return self._project.state / "cache" / "datasets" / action.job

    def _prefix(self, action: PushData) -> str:
        return self._project.catalogue.jobs[action.job].data
