"""Compose the steps into plans, from the catalogue and the ledger. Pure: nothing is looked at, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trimtab.catalogue import Catalogue
from trimtab.errors import UsageError
from trimtab.images.estimate import Declared
from trimtab.plan import Cost, Plan, Step
from trimtab.schedule import least_peak_order
from trimtab.steps.base import base_step
from trimtab.steps.dataset import dataset_step
from trimtab.steps.engine import engine_step
from trimtab.steps.front import front_step
from trimtab.steps.image import BuildImage, image_step
from trimtab.steps.provision import provision_step
from trimtab.steps.push import PushImage, push_step
from trimtab.steps.service import service_step
from trimtab.steps.training import training_step
from trimtab.steps.weights import weights_steps

LOCAL_VARIANT = "cpu"


def local_plan(catalogue: Catalogue, measured: Mapping[str, Cost], declared: Declared | None = None) -> Plan:
    """Return the whole way on this machine: what is provisioned, built, served and trained, in order."""
    known = declared or Declared()
    services = {name: s for name, s in catalogue.services.items() if LOCAL_VARIANT in s.variants}
    images = {name: BuildImage(service=name, variant=LOCAL_VARIANT) for name in services}
    steps = [engine_step(catalogue.base_image), front_step(), provision_step()]
    steps += weights_steps(tuple(services), known).values()
    jobs = {name: job for name, job in catalogue.jobs.items() if job.local}
    steps += [dataset_step(name) for name in jobs]
    if images:
        steps.append(base_step(catalogue, LOCAL_VARIANT, tuple(images.values()), known))
    for name, service in services.items():
        steps.append(image_step(name, service, images[name], known))
        steps.append(service_step(name, service, LOCAL_VARIANT, known))
    steps += [training_step(name, job) for name, job in jobs.items()]
    return _predicted(steps, measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesWanted:
    """What is asked of the images: which services, which variant, and what becomes of each.

    `release` has each serve, here or on `host`; `push` has it in the registry. What was only pushed, or released on
    a host, is not needed here any more and makes room for the next one, unless `keep`.
    """

    services: tuple[str, ...]
    variant: str
    release: bool = False
    push: bool = False
    keep: bool = False
    host: str | None = None

    @property
    def forget(self) -> bool:
        """Whether an image is of no use here once it is in the registry."""
        return self.push and not self.release and not self.keep


def images_plan(
    catalogue: Catalogue, measured: Mapping[str, Cost], declared: Declared, wanted: ImagesWanted, *, jobs: int = 1
) -> Plan:
    """Return the plan that builds services' images, one service after the other in the order with the lowest peak.

    No services means all that have the variant. A service needs the base and nothing of another service. Raises
    UsageError for an unknown name, and for a variant that a named service, or every one, lacks.
    """
    chosen = _chosen(catalogue, wanted)
    images = {name: BuildImage(service=name, variant=wanted.variant, for_registry=wanted.forget) for name in chosen}
    engine = replace(engine_step(catalogue.base_image), disk="engine", needs=())
    base = replace(base_step(catalogue, wanted.variant, tuple(images.values()), declared), needs=(engine.name,))
    image_steps = {
        name: replace(image_step(name, catalogue.services[name], images[name], declared), needs=(base.name,))
        for name in chosen
    }
    predicted = _predicted(list(image_steps.values()), measured).costs()
    order = least_peak_order({name: predicted[image_steps[name].name] for name in chosen})
    steps = [engine, base]
    if wanted.release:
        front = replace(front_step(), needs=(engine.name,))
        steps = [engine, front, replace(provision_step(), needs=()), base]
    models = weights_steps(order, declared)
    for name in order:
        steps += _chain(catalogue, models[name], image_steps[name], name, wanted, declared)
    return replace(_predicted(steps, measured), jobs=jobs)


def _chain(
    catalogue: Catalogue, models: Step, image: Step, name: str, wanted: ImagesWanted, declared: Declared
) -> list[Step]:
    """Return what is done for one service: its models and its image, then its release, then its push."""
    steps = [image]
    if wanted.release:
        models = replace(models, needs=(provision_step().name,))
        serving = service_step(name, catalogue.services[name], wanted.variant, declared, host=wanted.host)
        steps = [models, image, replace(serving, needs=(front_step().name, models.name, image.name))]
    if wanted.push:
        action = PushImage(service=name, variant=wanted.variant, forget=wanted.forget)
        steps.append(replace(push_step(action), needs=(steps[-1].name,)))
    return steps


def _chosen(catalogue: Catalogue, wanted: ImagesWanted) -> tuple[str, ...]:
    for name in wanted.services:
        require_known("service", name, tuple(catalogue.services))
    having = tuple(name for name, service in catalogue.services.items() if wanted.variant in service.variants)
    missing = [name for name in wanted.services if name not in having] or (
        list(catalogue.services) if not having else []
    )
    if missing:
        raise UsageError(
            f"{', '.join(missing)} has no variant {wanted.variant}",
            why=f"trimtab.yaml lists {', '.join(catalogue.services[missing[0]].variants)}",
            remedy=f"build one of these, or add services.{missing[0]}.variants.{wanted.variant}",
        )
    return tuple(dict.fromkeys(wanted.services)) or having


def training_plan(catalogue: Catalogue, measured: Mapping[str, Cost], *, job: str, label: str) -> Plan:
    """Return the plan that trains one job on this machine. Raises UsageError for an unknown name."""
    require_known("job", job, tuple(catalogue.jobs))
    training = training_step(job, catalogue.jobs[job], label=label)
    return _predicted([provision_step(), dataset_step(job), training], measured)


def require_known(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Raise UsageError, with the nearest known name, when a name is not in the catalogue."""
    if name in known:
        return
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        f"there is no {kind} {name!r}",
        why=f"trimtab.yaml lists {', '.join(known)}",
        remedy=f"did you mean {near[0]!r}?" if near else f"name one of these, or add it under {kind}s",
    )


def _predicted(steps: list[Step], measured: Mapping[str, Cost]) -> Plan:
    """Predict disk and time by what each step took last; memory stays what is declared: it is what is set aside."""
    return Plan(
        steps=tuple(
            replace(step, basis="ledger", predicted=replace(last, memory_bytes=step.predicted.memory_bytes))
            if (last := measured.get(step.name)) is not None
            else step
            for step in steps
        )
    )
