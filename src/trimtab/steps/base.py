"""Step: the shared base of a variant, built once; every service's image of that variant stands on it."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.catalogue import Catalogue
from trimtab.errors import UsageError
from trimtab.executor import Result, Say
from trimtab.images.build import BASE_SERVICE, INDEX_VARIABLES, TORCH_INDEX_VARIABLE, ImageBuild, image_tag
from trimtab.images.builder import accept, candidate, present, stamps, standing
from trimtab.images.engine import connect, connect_or_none, image_or_none, size_over_base
from trimtab.images.estimate import Declared, image_cost
from trimtab.images.inputs import BASE_DOCKERFILE, CONTEXT, base_inputs
from trimtab.plan import Step
from trimtab.process import Runner
from trimtab.project import Project
from trimtab.steps.image import BuildImage, ImageHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildBase:
    """Build a variant's base, for these images."""

    variant: str
    images: tuple[BuildImage, ...]


def base_step(catalogue: Catalogue, variant: str, images: tuple[BuildImage, ...], declared: Declared) -> Step:
    """Return the step. Declared by the sizes beside the lock, else by the largest image's size budget."""
    budget = max(catalogue.services[image.service].variants[variant].size_over_base for image in images)
    return Step(
        name=f"base:{variant}",
        title=f"the base that all {variant} images stand on",
        action=BuildBase(variant=variant, images=images),
        predicted=declared.bases.get(variant) or image_cost(budget),
        disk="engine",
    )


class BaseHandler:
    """Carries it out, with buildx."""

    def __init__(self, project: Project, runner: Runner, images: ImageHandler) -> None:
        self._project = project
        self._runner = runner
        self._images = images

    def preflight(self, action: BuildBase) -> None:
        """Refuse a variant without a lock, and a project without the base's Dockerfile. Raises UsageError."""
        context = self._project.root / CONTEXT
        for needed in (context / BASE_DOCKERFILE, context / f"requirements-{action.variant}.lock"):
            if not needed.is_file():
                raise UsageError(
                    f"the base of the variant {action.variant} cannot be built",
                    why=f"{needed} does not exist",
                    remedy="add it (scripts/lock makes the locks), or build another variant",
                )

    def finished(self, action: BuildBase) -> Result | None:
        """Return the base when one stands that was made from these very inputs, or when no image is left to build."""
        client = connect_or_none()
        if client is None:
            return None
        below = image_or_none(client, self._project.catalogue.base_image)
        inputs = base_inputs(self._project.root, self._project.catalogue, action.variant)
        image = below and standing(client, self._tag(action), inputs=inputs, base=below)
        if image and below:
            return {"image": self._tag(action), "id": image.id, "over_base_bytes": size_over_base(image, below)}
        if all(self._images.finished(image) is not None for image in action.images):
            return {"image": self._tag(action), "needed": False}
        return None

    def run(self, action: BuildBase, say: Say) -> Result:
        """Build it. Raises ProgramError; the base before it then stays."""
        client = connect()
        below = client.images.get(self._project.catalogue.base_image)
        build = ImageBuild(
            project=self._project.catalogue.project,
            service=BASE_SERVICE,
            variant=action.variant,
            context=self._project.root / CONTEXT,
            dockerfile=self._project.root / CONTEXT / BASE_DOCKERFILE,
            base_image=self._project.catalogue.base_image,
            inputs=base_inputs(self._project.root, self._project.catalogue, action.variant),
            arguments=(("VARIANT", action.variant), *stamps(self._project, below)),
            secrets=present((*INDEX_VARIABLES, TORCH_INDEX_VARIABLE)),
        )
        hint = f"mend {CONTEXT}/{BASE_DOCKERFILE} or the lock; the base before it was not touched"
        with candidate(client, self._runner, build, hint=hint, say=say) as made:
            size = size_over_base(made.image, below)
            accept(client, build, made.image)
        return {
            "image": build.tag,
            "id": made.image.id,
            "over_base_bytes": size,
            "written_bytes": size,
            "peak_bytes": made.peak.size_bytes,
            "peak_layer": made.peak.layer,
        }

    def _tag(self, action: BuildBase) -> str:
        return image_tag(self._project.catalogue.project, BASE_SERVICE, action.variant)
