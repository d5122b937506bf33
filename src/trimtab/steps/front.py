"""Step: the image of the front, which stands before every service. It is small, and the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import LABEL_INPUTS, inputs_digest
from trimtab.images.engine import build_cache_as_before, connect, connect_or_none, image_or_none, size_over_base
from trimtab.images.front import front_build_argv, front_tag
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project, current_commit
from trimtab.units import MIB

# Measured on a disk of its own, 2 cores: HAProxy keeps 7 MiB in the engine, Debian's package lists take 19 on the way.
_DECLARED = Cost(peak_bytes=36 * MIB, kept_bytes=8 * MIB, memory_bytes=None, wall_s=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFront:
    """Build the front's image."""


def front_step() -> Step:
    """Return the step."""
    return Step(
        name="front",
        title="the front, which moves traffic between releases",
        action=BuildFront(),
        predicted=_DECLARED,
        disk="engine",
    )


class FrontHandler:
    """Carries it out, with buildx."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project = project
        self._runner = runner

    def preflight(self, action: BuildFront) -> None:  # noqa: ARG002 - every handler is asked with its action
        """Refuse a project without the front's Dockerfile. Raises UsageError."""
        if not (self._context / "Dockerfile").is_file():
            raise UsageError(
                "the front cannot be built",
                why=f"{self._context / 'Dockerfile'} does not exist",
                remedy="take deploy/front/ over from the project that Trimtab came with",
            )

    def finished(self, action: BuildFront) -> Result | None:  # noqa: ARG002 - every handler is asked with its action
        """Return the image when one stands that was made from these very inputs."""
        client = connect_or_none()
        if client is None:
            return None
        base = image_or_none(client, self._project.catalogue.base_image)
        image = image_or_none(client, self._tag)
        if base is None or image is None or image.labels.get(LABEL_INPUTS) != self._inputs(str(base.id)):
            return None
        return {"image": self._tag, "id": image.id, "over_base_bytes": size_over_base(image, base)}

    def run(self, action: BuildFront, say: Say) -> Result:  # noqa: ARG002 - every handler is asked with its action
        """Build it. Raises ProgramError."""
        client = connect()
        base = client.images.get(self._project.catalogue.base_image)
        argv = front_build_argv(
            project=self._project.catalogue.project,
            base_image=self._project.catalogue.base_image,
            inputs=self._inputs(str(base.id)),
            revision=current_commit(self._project.root) or "unknown",
            context=self._context,
        )
        hint = "it installs HAProxy from Debian: see that containers reach a mirror; the front before it still stands"
        with build_cache_as_before(client):
            self._runner.run(Command(argv=argv, hint=hint))
        image = client.images.get(self._tag)
        return {"image": self._tag, "id": image.id, "over_base_bytes": size_over_base(image, base)}

    @property
    def _tag(self) -> str:
        return front_tag(self._project.catalogue.project)

    @property
    def _context(self) -> Path:
        return self._project.root / "deploy" / "front"

    def _inputs(self, base_id: str) -> str:
        files = (self._context / "Dockerfile", self._context / "front.py")
        return inputs_digest(files, root=self._context, also=(base_id,))
