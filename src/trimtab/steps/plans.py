"""Compose the steps into plans, from the catalogue and the ledger. Pure: nothing is looked at, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.catalogue import Catalogue
from trimtab.errors import UsageError
from trimtab.plan import Cost, Plan, Step
from trimtab.steps.dataset import dataset_step
from trimtab.steps.engine import engine_step
from trimtab.steps.front import front_step
from trimtab.steps.image import image_step
from trimtab.steps.provision import provision_step
from trimtab.steps.service import service_step
from trimtab.steps.training import training_step
from trimtab.steps.weights import weights_step

LOCAL_VARIANT = "cpu"


def local_plan(catalogue: Catalogue, measured: Mapping[str, Cost]) -> Plan:
    """Return the whole way on this machine: what is provisioned, built, served and trained, in order."""
    services = {name: s for name, s in catalogue.services.items() if LOCAL_VARIANT in s.variants}
    steps = [engine_step(catalogue.base_image), front_step(), provision_step()]
    steps += [weights_step(name, brings_npm=not position) for position, name in enumerate(services)]
    steps += [dataset_step(name) for name in catalogue.jobs]
    for name, service in services.items():
        steps += [image_step(name, service, LOCAL_VARIANT), service_step(name, service, LOCAL_VARIANT)]
    steps += [training_step(name, job) for name, job in catalogue.jobs.items()]
    return _predicted(steps, measured)


def build_plan(catalogue: Catalogue, measured: Mapping[str, Cost], *, service: str | None, variant: str) -> Plan:
    """Return the plan that builds one service's image, or every service's. Raises UsageError for an unknown name."""
    if service is not None:
        require_known("service", service, tuple(catalogue.services))
    chosen = catalogue.services if service is None else {service: catalogue.services[service]}
    missing = [name for name, section in chosen.items() if variant not in section.variants]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} has no variant {variant}",
            why=f"trimtab.yaml lists {', '.join(catalogue.services[missing[0]].variants)}",
            remedy=f"build one of these, or add services.{missing[0]}.variants.{variant}",
        )
    steps = [engine_step(catalogue.base_image)]
    steps += [image_step(name, section, variant) for name, section in chosen.items()]
    return _predicted(steps, measured)


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
