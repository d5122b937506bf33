"""The data bucket on the embedded AWS: clients of the operator, and of each job's role by web identity."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trimtab.emulation import aws
from trimtab.emulation.web_identity import modal_claims
from trimtab.errors import ProgramError
from trimtab.process import Command, Runner
from trimtab.project import Project

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REMEDY = "run `trimtab infra up --embedded`, or the whole way again"


class EmbeddedBucket:
    """The bucket of one stack, with the rights of who asks. Starts nothing."""

    def __init__(self, project: Project, runner: Runner, *, stack: str) -> None:
        self._project = project
        self._runner = runner
        self._stack = stack
        self._state = project.state / "aws"

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._project.catalogue.bucket_name(self._stack)

    def operator(self) -> S3Client:
        """Return a client with every right. Raises ProgramError while the embedded AWS does not run."""
        return self._running().operator_client("s3", region=self._project.catalogue.aws.region)

    def operator_or_none(self) -> S3Client | None:
        """Return a client with every right, or None while the embedded AWS does not run."""
        return self.operator() if aws.status(self._state) is not None else None

    def of_job(self, job: str) -> S3Client:
        """Return a client with the rights of a job's role, assumed with the claims of a Modal container of the app.

        Raises ProgramError when the role is not there or does not trust these claims.
        """
        catalogue = self._project.catalogue
        claims = modal_claims(
            workspace=catalogue.modal.workspace,
            environment=catalogue.modal.environment,
            app=catalogue.modal.app,
            function=job,
        )
        return self._running().role_client("s3", self._role_arn(job), claims, region=catalogue.aws.region)

    def _running(self) -> aws.EmbeddedAws:
        running = aws.status(self._state)
        if running is None:
            raise ProgramError("the embedded AWS does not run", why=f"{self._state} has no server", remedy=_REMEDY)
        return running

    def _role_arn(self, job: str) -> str:
        argv = self._project.python_argv(
            "infra.embedded", "outputs",
            "--stack", self._stack,
            "--catalogue", str(self._project.catalogue_path.absolute()),
            "--state-dir", str(self._state),
            "--json",
        )  # fmt: skip
        done = self._runner.run(Command(argv=argv, cwd=self._project.root, hint=_REMEDY, house=True))
        roles: dict[str, str] = json.loads(done.stdout)["outputs"]["modal_role_arns"]
        if job not in roles:
            raise ProgramError(f"job {job} has no role", why=f"the roles are {', '.join(roles)}", remedy=_REMEDY)
        return roles[job]
