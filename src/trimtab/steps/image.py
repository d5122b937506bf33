"""Step: build one variant of one service, measure it, and hold it against its size budget."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.catalogue import Service
from trimtab.errors import BudgetError, UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import (
    INDEX_VARIABLES,
    LABEL_INPUTS,
    ImageBuild,
    docker_build_argv,
    image_tag,
    inputs_digest,
)
from trimtab.images.engine import connect, connect_or_none, image_or_none, size_over_base
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project, current_commit
from trimtab.units import MIB, format_size

if TYPE_CHECKING:
    from docker.models.images import Image

# Of buildx's plain progress the lines that begin a layer: `#6 [builder 3/4] RUN ...`. A failure shows the last lines.
_STAGE_LINE: Final = re.compile(r"#\d+ \[(?!internal)")
_SHOWN_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage:
    """Build a service's variant."""

    service: str
    variant: str


def image_step(name: str, service: Service, variant: str) -> Step:
    """Return the step. Declared twice its size: the stage that installs and the final layers stand side by side."""
    budget = service.variants[variant].size_over_base
    return Step(
        name=f"image:{name}:{variant}",
        title=f"image {name} ({variant}), at most {format_size(budget)} over its base",
        action=BuildImage(service=name, variant=variant),
        predicted=Cost(peak_bytes=2 * budget + 100 * MIB, kept_bytes=2 * budget, memory_bytes=None, wall_s=60),
    )


class ImageHandler:
    """Carries it out, with buildx."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project = project
        self._runner = runner

    def preflight(self, action: BuildImage) -> None:
        """Refuse a service that has no Dockerfile. Raises UsageError."""
        dockerfile = self._dockerfile(action)
        if not dockerfile.is_file():
            raise UsageError(
                f"service {action.service} cannot be built",
                why=f"{dockerfile} does not exist",
                remedy=f"add it, or take services.{action.service} out of trimtab.yaml",
            )

    def finished(self, action: BuildImage) -> Result | None:
        """Return the image's measurements when one stands that was made from these very inputs."""
        client = connect_or_none()
        if client is None:
            return None
        base = image_or_none(client, self._project.catalogue.base_image)
        image = image_or_none(client, self._tag(action))
        if base is None or image is None or image.labels.get(LABEL_INPUTS) != self._inputs(action, str(base.id)):
            return None
        size = size_over_base(image, base)
        return self._result(action, str(image.id), size) if size <= self._budget(action) else None

    def run(self, action: BuildImage, say: Say) -> Result:
        """Build it. Raises ProgramError, and BudgetError for one over its budget; the image before it then stays."""
        client = connect()
        base = client.images.get(self._project.catalogue.base_image)
        build = ImageBuild(
            project=self._project.catalogue.project,
            service=action.service,
            variant=action.variant,
            context=self._project.root / "services",
            dockerfile=self._dockerfile(action),
            base_image=self._project.catalogue.base_image,
            inputs=self._inputs(action, str(base.id)),
            revision=current_commit(self._project.root) or "unknown",
        )
        passed_on = tuple(name for name in INDEX_VARIABLES if name in os.environ)
        hint = f"mend {build.dockerfile.relative_to(self._project.root)}; the image before it was not touched"
        self._runner.run(
            Command(argv=docker_build_argv(build, passed_on=passed_on), hint=hint),
            on_line=lambda line: say(line[:_SHOWN_CHARACTERS]) if _STAGE_LINE.match(line) else None,
        )
        image = client.images.get(build.candidate_tag)
        try:
            size = self._measured(action, image, base)
            image.tag(build.tag)
        finally:
            client.images.remove(build.candidate_tag, force=True)
        return self._result(action, str(image.id), size)

    def _measured(self, action: BuildImage, image: Image, base: Image) -> int:
        """Return the bytes that an image adds to its base. Raises BudgetError when they are too many."""
        size, budget = size_over_base(image, base), self._budget(action)
        if size > budget:
            largest = max(image.history(), key=lambda layer: int(layer["Size"]))
            raise BudgetError(
                f"image {self._tag(action)} is over its size budget and was not kept",
                why=f"it adds {format_size(size)} to its base and may add {format_size(budget)}; its largest layer"
                f" ({format_size(int(largest['Size']))}): {largest['CreatedBy'][:120]}",
                remedy=f"leave something out of it, or raise services.{action.service}.variants.{action.variant}"
                ".size_over_base",
            )
        return size

    def _result(self, action: BuildImage, image_id: str, size: int) -> Result:
        return {
            "image": self._tag(action),
            "id": image_id,
            "over_base_bytes": size,
            "budget_bytes": self._budget(action),
        }

    def _tag(self, action: BuildImage) -> str:
        return image_tag(self._project.catalogue.project, action.service, action.variant)

    def _budget(self, action: BuildImage) -> int:
        return self._project.catalogue.services[action.service].variants[action.variant].size_over_base

    def _dockerfile(self, action: BuildImage) -> Path:
        return self._project.root / "services" / action.service / "Dockerfile"

    def _inputs(self, action: BuildImage, base_id: str) -> str:
        services = self._project.root / "services"
        files = (
            services / action.service,
            services / "serving",
            services / f"requirements-{action.variant}.lock",
            services / ".dockerignore",
        )
        return inputs_digest(tuple(f for f in files if f.exists()), root=services, also=(base_id, action.variant))
