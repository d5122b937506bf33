"""Step: the bucket and its roles on the embedded AWS, by the Pulumi program itself. Runs `python -m infra.embedded`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trimtab.emulation import aws
from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.units import MIB

EMBEDDED_STACK = "dev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Apply the program to the embedded AWS, as a stack."""

    stack: str


def provision_step() -> Step:
    """Return the step. Declared: what moto and Pulumi take in memory, measured; they write a log and compiled files."""
    return Step(
        name="provision",
        title="the bucket and its roles, by the Pulumi program, on an embedded AWS",
        action=Provision(stack=EMBEDDED_STACK),
        predicted=Cost(peak_bytes=32 * MIB, kept_bytes=32 * MIB, memory_bytes=600 * MIB, wall_s=10),
    )


class ProvisionHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project = project
        self._runner = runner

    def preflight(self, action: Provision) -> None:  # noqa: ARG002 - every handler is asked with its action
        """Refuse a project without infra/. Raises UsageError."""
        if not (self._project.root / "infra" / "embedded.py").is_file():
            raise UsageError(
                "there is nothing to provision",
                why=f"{self._project.root} has no infra/embedded.py",
                remedy="run inside a checkout of Trimtab",
            )

    def finished(self, action: Provision) -> Result | None:
        """Return the outputs when the embedded AWS runs and holds what the program says."""
        if aws.status(self._project.state / "aws") is None:
            return None
        if self._embedded("preview", action, say=None)["changes"]:
            return None
        return self._result(self._embedded("outputs", action, say=None))

    def run(self, action: Provision, say: Say) -> Result:
        """Start the embedded AWS when it does not run, and apply the program to it."""
        return self._result(self._embedded("up", action, say=say))

    def _result(self, document: dict[str, Any]) -> Result:
        outputs = document["outputs"]
        return {"bucket": outputs["bucket"], "roles": outputs["modal_role_arns"], "notes": document["notes"]}

    def _embedded(self, verb: str, action: Provision, *, say: Say | None) -> dict[str, Any]:
        argv = self._project.python_argv(
            "infra.embedded", verb,
            "--stack", action.stack,
            "--catalogue", str(self._project.catalogue_path.absolute()),
            "--state-dir", str(self._project.state / "aws"),
            "--json",
        )  # fmt: skip
        hint = "the lines above are the embedded AWS's answer; `trimtab down` starts it afresh"
        done = self._runner.run(Command(argv=argv, cwd=self._project.root, hint=hint, house=True), on_line=say)
        document: dict[str, Any] = json.loads(done.stdout)
        return document
