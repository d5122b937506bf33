"""Step: a Docker engine that answers, with the base image in it. Runs scripts/setup-engine."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import TrimtabError
from trimtab.executor import Result, Say
from trimtab.images.engine import connect, connect_or_none, image_or_none
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.units import MIB

# Measured on a bare Debian 12, 2 cores: docker.io with buildx 12 s, the base from Debian's packages 27 s; 1.6 GiB.
_DECLARED = Cost(peak_bytes=1800 * MIB, kept_bytes=900 * MIB, memory_bytes=600 * MIB, wall_s=75)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureEngine:
    """Have an engine with this base image."""

    base_image: str


def engine_step(base_image: str) -> Step:
    """Return the step."""
    return Step(
        name="engine",
        title=f"a Docker engine with {base_image}",
        action=EnsureEngine(base_image=base_image),
        predicted=_DECLARED,
    )


class EngineHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project = project
        self._runner = runner

    def preflight(self, action: EnsureEngine) -> None:
        """Nothing: the script itself refuses, with exit code 3, before it writes."""

    def finished(self, action: EnsureEngine) -> Result | None:
        """Return the engine's version when it answers, has the base, and buildx builds for it."""
        client = connect_or_none()
        base = client and image_or_none(client, action.base_image)
        if client is None or base is None or not self._has_buildx():
            return None
        return {"engine": client.version()["Version"], "base": base.id}

    def _has_buildx(self) -> bool:
        try:
            self._runner.run(Command(argv=("docker", "buildx", "version")))
        except TrimtabError:
            return False
        return True

    def run(self, action: EnsureEngine, say: Say) -> Result:
        """Install and start what is missing."""
        script = str(self._project.root / "scripts" / "setup-engine")
        argv = (script, "--base", action.base_image)
        hint = "the lines above say what could not be installed, and the command that helps"
        self._runner.run(Command(argv=argv, hint=hint, house=True), on_line=say)
        client = connect()
        return {"engine": client.version()["Version"], "base": client.images.get(action.base_image).id}
