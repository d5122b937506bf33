"""Plans: which steps a command takes, in which order, and by what each is predicted."""

from __future__ import annotations

import copy

import pytest

from tests.support.catalogues import catalogue, plain
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.errors import UsageError
from trimtab.plan import Cost, require_fit
from trimtab.steps.plans import build_plan, local_plan, training_plan
from trimtab.units import GIB, MIB


def names(plan: object) -> list[str]:
    return [step.name for step in plan.steps]  # type: ignore[attr-defined]


@pytest.fixture
def two_of_each() -> Catalogue:
    """Give a catalogue with two services, of which one is for GPUs only, and two jobs."""
    services, jobs = plain()["services"], plain()["jobs"]
    services["terns"] = copy.deepcopy(services["gulls"]) | {"port": 9002}
    services["terns"]["variants"] = {"gpu": {"size_over_base": "1GiB"}}
    jobs["waves"] = copy.deepcopy(jobs["tides"]) | {"results": "results/waves/"}
    return catalogue(services=services, jobs=jobs)


def test_the_whole_way_goes_from_the_engine_to_the_training() -> None:
    assert names(local_plan(catalogue(), {})) == [
        "engine",
        "provision",
        "models:gulls",
        "data:tides",
        "image:gulls:cpu",
        "serve:gulls:cpu",
        "train:tides",
    ]


def test_the_whole_way_leaves_out_what_only_a_gpu_can_run(two_of_each: Catalogue) -> None:
    steps = names(local_plan(two_of_each, {}))
    assert not [step for step in steps if "terns" in step]
    assert steps[-2:] == ["train:tides", "train:waves"]


def test_the_demos_whole_way_fits_its_budgets(root: object) -> None:
    known = load_catalogue(root / "trimtab.yaml")  # type: ignore[operator]
    assert require_fit(local_plan(known, {}), known.budgets)


def test_every_step_has_a_name_of_its_own(two_of_each: Catalogue) -> None:
    steps = names(local_plan(two_of_each, {}))
    assert len(set(steps)) == len(steps)


def test_a_service_is_planned_by_its_own_numbers() -> None:
    plan = local_plan(catalogue(services__gulls__variants={"cpu": {"size_over_base": "300MiB"}}), {})
    image = next(step for step in plan.steps if step.name == "image:gulls:cpu")
    assert image.predicted.peak_bytes >= 2 * 300 * MIB
    serving = next(step for step in plan.steps if step.name == "serve:gulls:cpu")
    assert serving.predicted.memory_bytes == 256 * MIB
    training = next(step for step in plan.steps if step.name == "train:tides")
    assert (training.predicted.memory_bytes, training.predicted.wall_s) == (GIB, 60)


def test_what_was_measured_replaces_what_was_declared_but_for_memory() -> None:
    took = Cost(peak_bytes=7, kept_bytes=5, memory_bytes=1, wall_s=3)
    plan = local_plan(catalogue(), {"train:tides": took, "gone": took})
    by_name = {step.name: step for step in plan.steps}
    training = by_name["train:tides"]
    assert (training.basis, by_name["engine"].basis) == ("ledger", "declared")
    assert training.predicted == Cost(peak_bytes=7, kept_bytes=5, memory_bytes=GIB, wall_s=3)
    assert "gone" not in by_name


def test_building_one_service_leaves_the_others(two_of_each: Catalogue) -> None:
    assert names(build_plan(two_of_each, {}, service="terns", variant="gpu")) == ["engine", "image:terns:gpu"]


def test_building_a_variant_that_a_service_lacks_is_refused(two_of_each: Catalogue) -> None:
    with pytest.raises(UsageError, match="terns has no variant cpu") as caught:
        build_plan(two_of_each, {}, service=None, variant="cpu")
    assert caught.value.why == "trimtab.yaml lists gpu"
    assert "services.terns.variants.cpu" in caught.value.remedy


def test_training_takes_only_what_a_job_needs(two_of_each: Catalogue) -> None:
    plan = training_plan(two_of_each, {}, job="waves", label="")
    assert names(plan) == ["provision", "data:waves", "train:waves"]


@pytest.mark.parametrize(("name", "remedy"), [("gull", "did you mean 'gulls'?"), ("xyz", "name one of these")])
def test_an_unknown_service_names_the_nearest_or_all(name: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=f"there is no service '{name}'") as caught:
        build_plan(catalogue(), {}, service=name, variant="cpu")
    assert remedy in caught.value.remedy
    assert caught.value.why == "trimtab.yaml lists gulls"
