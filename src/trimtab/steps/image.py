"""Step: build one variant of one service on its shared base, measure it, and hold it against its size budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.catalogue import Service
from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import BASE_SERVICE, ImageBuild, image_tag
from trimtab.images.builder import accept, candidate, require_size, stamps, standing
from trimtab.images.engine import connect, connect_or_none, image_or_none, size_over_base
from trimtab.images.estimate import Declared, image_cost
from trimtab.images.inputs import CONTEXT, SERVICE_DOCKERFILE, service_inputs
from trimtab.images.registry import remote_digest, remote_reference, repository
from trimtab.plan import Step
from trimtab.process import Runner
from trimtab.project import Project
from trimtab.units import format_size

if TYPE_CHECKING:
    from docker import DockerClient


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage:
    """Build a service's variant. `for_registry`: it is only to be pushed, so one that the registry holds will do."""

    service: str
    variant: str
    for_registry: bool = False


def image_step(name: str, service: Service, action: BuildImage, declared: Declared) -> Step:
    """Return the step. Declared: what the service's own layer copies, on a base that stands."""
    budget = service.variants[action.variant].size_over_base
    return Step(
        name=f"image:{name}:{action.variant}",
        title=f"image {name} ({action.variant}), at most {format_size(budget)} over its base",
        action=action,
        predicted=declared.services.get(name) or image_cost(budget),
        disk="engine",
    )


class ImageHandler:
    """Carries it out, with buildx."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project = project
        self._runner = runner

    def preflight(self, action: BuildImage) -> None:
        """Refuse a service that cannot be built, and a push to nowhere. Raises UsageError."""
        context = self._project.root / CONTEXT
        for needed in (context / SERVICE_DOCKERFILE, context / action.service / "models.toml"):
            if not needed.is_file():
                raise UsageError(
                    f"service {action.service} cannot be built",
                    why=f"{needed} does not exist",
                    remedy=f"add it, or take services.{action.service} out of trimtab.yaml",
                )
        if action.for_registry:
            repository(self._project.catalogue, action.service)

    def finished(self, action: BuildImage) -> Result | None:
        """Return the image's measurements when one stands that was made from these very inputs."""
        client = connect_or_none()
        if client is None:
            return None
        below = image_or_none(client, self._project.catalogue.base_image)
        image = below and standing(client, self._tag(action), inputs=self._inputs(action), base=below)
        if image and below and (size := size_over_base(image, below)) <= self._budget(action):
            return self._result(action, id=image.id, over_base_bytes=size)
        return self._in_registry(client, action) if action.for_registry else None

    def run(self, action: BuildImage, say: Say) -> Result:
        """Build it. Raises ProgramError, and BudgetError for one over its budget; the image before it then stays."""
        client = connect()
        catalogue = self._project.catalogue
        below = client.images.get(catalogue.base_image)
        base_tag = image_tag(catalogue.project, BASE_SERVICE, action.variant)
        base = client.images.get(base_tag)
        build = ImageBuild(
            project=catalogue.project,
            service=action.service,
            variant=action.variant,
            context=self._project.root / CONTEXT,
            dockerfile=self._project.root / CONTEXT / SERVICE_DOCKERFILE,
            base_image=base_tag,
            inputs=self._inputs(action),
            arguments=(("SERVICE", action.service), *stamps(self._project, base)),
        )
        hint = f"mend {CONTEXT}/{SERVICE_DOCKERFILE} or what it copies; the image before it was not touched"
        with candidate(client, self._runner, build, hint=hint, say=say) as made:
            size = require_size(client, made.image, below, build=build, budget=self._budget(action))
            accept(client, build, made.image)
        return self._result(
            action,
            id=made.image.id,
            over_base_bytes=size,
            written_bytes=size_over_base(made.image, base),
            peak_bytes=made.peak.size_bytes,
            peak_layer=made.peak.layer,
        )

    def _in_registry(self, client: DockerClient, action: BuildImage) -> Result | None:
        reference = remote_reference(self._project.catalogue, action.service, action.variant, self._inputs(action))
        digest = remote_digest(client, reference)
        return None if digest is None else self._result(action, reference=reference, digest=digest)

    def _result(self, action: BuildImage, **found: Any) -> Result:
        return {"image": self._tag(action), "budget_bytes": self._budget(action), **found}

    def _tag(self, action: BuildImage) -> str:
        return image_tag(self._project.catalogue.project, action.service, action.variant)

    def _budget(self, action: BuildImage) -> int:
        return self._project.catalogue.services[action.service].variants[action.variant].size_over_base

    def _inputs(self, action: BuildImage) -> str:
        return service_inputs(self._project.root, self._project.catalogue, action.service, action.variant)
