"""Step: a job's data set, laid out from its source and pushed under the job's data prefix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.catalogue import Job
from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import inputs_digest
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.storage.bucket import BucketAccess, manifest_or_none
from trimtab.storage.manifests import FileEntry, digest, sha256_of
from trimtab.storage.objects import Place
from trimtab.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class PushData:
    """Have a job's data in the bucket."""

    job: str


def dataset_step(job: str) -> Step:
    """Return the step. Declared for the demo's 1,797 small pictures and what lays them out, measured: 27 MiB."""
    return Step(
        name=f"data:{job}",
        title=f"the data of {job} in the bucket",
        action=PushData(job=job),
        predicted=Cost(peak_bytes=32 * MIB, kept_bytes=32 * MIB, memory_bytes=600 * MIB, wall_s=25),
    )


class DatasetHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket

    def preflight(self, action: PushData) -> None:
        """Refuse a source that is not there. Raises UsageError."""
        module = self._project.root.joinpath(*self._project.catalogue.jobs[action.job].source.split("."))
        if not module.with_suffix(".py").is_file() and not (module / "__main__.py").is_file():
            raise UsageError(
                f"the data of job {action.job} cannot be laid out",
                why=f"{module}.py does not exist",
                remedy=f"write it, or mend jobs.{action.job}.source in trimtab.yaml",
            )

    def finished(self, action: PushData) -> Result | None:
        """Return the data set when the bucket's manifest is that of exactly what was laid out here."""
        client = self._bucket.operator_or_none()
        folder = self._folder(action)
        if client is None or not folder.is_dir():
            return None
        manifest = manifest_or_none(client, self._place(action))
        if manifest is None or manifest.sha256 != _digest_of(folder):
            return None
        return self._result(action, manifest.sha256, len(manifest.files))

    def run(self, action: PushData, say: Say) -> Result:
        """Lay the data set out, and upload what the bucket lacks."""
        from trimtab.storage.datasets import push

        source = self._project.catalogue.jobs[action.job].source
        argv = self._project.python_argv(source, "--out", str(self._folder(action)))
        hint = f"the lines above are those of {source}"
        self._runner.run(Command(argv=argv, cwd=self._project.root, hint=hint, house=True), on_line=say)
        pushed = push(
            self._bucket.operator(),
            self._folder(action),
            self._place(action),
            progress=lambda done: (
                say(f"{done.files_done} of {done.files} files") if done.files_done % 200 == 0 else None
            ),
        )
        return self._result(action, pushed.sha256, pushed.files)

    def _result(self, action: PushData, sha256: str, files: int) -> Result:
        return {"data": str(self._place(action)), "files": files, "sha256": sha256}

    def _place(self, action: PushData) -> Place:
        return Place(bucket=self._bucket.name, prefix=self._job(action).data, role="the operator")

    def _job(self, action: PushData) -> Job:
        return self._project.catalogue.jobs[action.job]

    def _folder(self, action: PushData) -> Path:
        """Return where the data set is laid out: named by its source's code, so that changed code lays out anew."""
        source = self._job(action).source
        code = self._project.root / Path(*source.split(".")).with_suffix(".py")
        files = (code,) if code.is_file() else ()
        made_by = inputs_digest(files, root=self._project.root, also=(source,))[:12]
        return self._project.state / "cache" / "datasets" / f"{action.job}-{made_by}"


def _digest_of(folder: Path) -> str:
    """Return the digest that a manifest of this folder has: names with a leading dot are never pushed."""
    return digest(
        sorted(
            FileEntry(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=sha256_of(path))
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    )
