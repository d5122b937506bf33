"""What `app.py` is made of at the desk: the catalogue, the infrastructure's outputs, the image, one function a job.

Runs `trimtab infra outputs` and reads the catalogue, the profiles and the locks. Is not there in a container.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import modal
from modal.types import FileEntryType

from deploy.modal.resources import profile_of
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.errors import TrimtabError, UsageError
from trimtab.process import Command, ProcessRunner
from trimtab.project import current_commit
from trimtab.steps.plans import require_known
from trimtab.storage.durable import make_directory, write_whole

RESULTS: Final = "/results"
DATA: Final = "/data"
PYTHON: Final = "3.11"
_PIP: Final = "python -m pip install --no-cache-dir --no-deps --require-hashes --requirement"


@contextmanager
def said_plainly() -> Iterator[None]:
    """End with our message and exit code, not with a traceback, where the catalogue or an argument is wrong."""
    try:
        yield
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The project, as one call of `modal run` finds it."""

    root: Path
    catalogue: Catalogue
    bucket: str
    role_arns: dict[str, str]
    functions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Self:
        """Read it. TRIMTAB_CATALOGUE names another catalogue, TRIMTAB_STACK another stack than dev.

        Raises TrimtabError.
        """
        path = Path(os.environ.get("TRIMTAB_CATALOGUE") or root / "trimtab.yaml")
        embedded = os.environ.get("MODAL_SERVER_URL", "").startswith("http://127.0.0.1:")
        words = ("infra", "outputs", *(("--embedded",) if embedded else ()))
        stack = os.environ.get("TRIMTAB_STACK", "dev")
        argv = (sys.executable, "-P", "-m", "trimtab", *words, "--stack", stack, "--catalogue", str(path), "--json")
        done = ProcessRunner().run(Command(argv=argv, cwd=root, hint="run `trimtab infra up` first", house=True))
        outputs = json.loads(done.stdout)
        outputs = outputs.get("outputs", outputs)
        return cls(
            root=root, catalogue=load_catalogue(path), bucket=outputs["bucket"], role_arns=outputs["modal_role_arns"]
        )

    @property
    def volume_name(self) -> str:
        """The Volume of all results."""
        return f"{self.catalogue.modal.app}-results"

    def volume(self) -> modal.Volume:
        """Return it; it is made when it is not there."""
        return modal.Volume.from_name(self.volume_name, create_if_missing=True)

    def declare(self, app: modal.App, job: str, train: Callable[..., Any]) -> None:
        """Declare the function of a job. Raises UsageError when its resources are not there."""
        profile = profile_of(job)
        data = modal.CloudBucketMount(
            self.bucket,
            key_prefix=self.catalogue.jobs[job].data,
            oidc_auth_role_arn=self.role_arns[job],
            read_only=True,
            secret=modal.Secret.from_dict({"AWS_REGION": self.catalogue.aws.region}),  # the mount has no other way
        )
        decorate = app.function(
            name=job,
            image=self.image(),
            volumes={RESULTS: self.volume(), DATA: data},
            retries=modal.Retries(initial_delay=0.0, max_retries=profile.retries),
            single_use_containers=True,  # what an attempt leaves in memory must not reach the next
            **profile.options(),
        )
        self.functions[job] = decorate(train)

    def image(self) -> modal.Image:
        """Return the image of all jobs: what the locks hold, by hash, and the code on top."""
        locks = {"torch": self.root / "requirements-torch.lock", "job": self.root / "deploy/modal/requirements.lock"}
        image = modal.Image.debian_slim(python_version=PYTHON)
        for name, lock in locks.items():
            image = image.add_local_file(lock, f"/requirements/{name}.lock", copy=True)
        torch = f"{_PIP} /requirements/torch.lock"
        # Where torch's authors publish the CPU build, for networks whose index has none.
        index = os.environ.get("TRIMTAB_TORCH_INDEX") or (self.root / "scripts" / "torch-index").read_text().strip()
        image = image.run_commands(f"{torch} || {torch} --index-url {index}", f"{_PIP} /requirements/job.lock")
        return image.add_local_python_source("trimtab", "training")

    def check(self, *, action: str, job: str, wait: str) -> None:
        """Refuse words that mean nothing. Raises UsageError."""
        for kind, word, known in (("action", action, ("train",)), ("--wait", wait, ("yes", "no"))):
            if word not in known:
                raise UsageError(f"{word!r} is no {kind}", why=f"known: {', '.join(known)}", remedy="name one of these")
        require_known("job", job, tuple(self.catalogue.jobs))

    def config_text(self, job: str, path: str) -> str:
        """Return a job's configuration, by default the catalogue's, once it is known to be right. Raises UsageError."""
        from training.harness.config import load_config

        file = Path(path) if path else self.root / self.catalogue.jobs[job].config
        load_config(file, importlib.import_module(f"training.{job}.config").Config)
        return file.read_text(encoding="utf-8")

    def commit(self) -> str | None:
        """Return the commit that is checked out, for the record."""
        return current_commit(self.root) or None

    def fetch(self, record: dict[str, Any], results: Path) -> None:
        """Bring a run's files from the Volume to a folder here, its record last."""
        volume = self.volume()
        for entry in volume.listdir(record["run_directory"], recursive=True):
            if entry.type == FileEntryType.FILE:
                self._fetch(volume, entry.path, results)
        self._fetch(volume, f"runs/{record['run_id']}.json", results)

    @staticmethod
    def _fetch(volume: modal.Volume, path: str, results: Path) -> None:
        target = results / path
        make_directory(target.parent)
        write_whole(target, b"".join(volume.read_file(path)))
