"""Plans: which steps a command takes, in which order, and by what each is predicted."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from tests.support.catalogues import catalogue, plain
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.errors import UsageError
from trimtab.images.estimate import Declared, DeclaredModel, image_cost
from trimtab.plan import Cost, Plan, require_fit
from trimtab.steps.plans import ImagesWanted, images_plan, local_plan, training_plan
from trimtab.units import GIB, MIB

TINY = DeclaredModel(file="tiny", size_bytes=MIB, package_bytes=3 * MIB)
LARGE = DeclaredModel(file="large", size_bytes=20 * MIB, package_bytes=100 * MIB)


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
        "front",
        "provision",
        "models:gulls",
        "data:tides",
        "base:cpu",
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


def test_what_is_not_known_of_an_image_is_planned_by_its_size_budget() -> None:
    plan = local_plan(catalogue(services__gulls__variants={"cpu": {"size_over_base": "300MiB"}}), {})
    by_name = {step.name: step.predicted for step in plan.steps}
    assert by_name["base:cpu"].kept_bytes >= 300 * MIB
    assert by_name["image:gulls:cpu"].kept_bytes >= 300 * MIB
    training = by_name["train:tides"]
    assert (training.memory_bytes, training.wall_s) == (GIB, 60)


def test_what_is_declared_of_images_and_models_replaces_their_budgets() -> None:
    declared = Declared(
        bases={"cpu": image_cost(100 * MIB)}, services={"gulls": image_cost(MIB)}, models={"gulls": (TINY, LARGE)}
    )
    by_name = {step.name: step for step in local_plan(catalogue(), {}, declared).steps}
    assert by_name["base:cpu"].predicted == image_cost(100 * MIB)
    assert by_name["image:gulls:cpu"].predicted == image_cost(MIB)
    assert 21 * MIB < by_name["serve:gulls:cpu"].predicted.kept_bytes < 23 * MIB


def test_models_and_what_makes_them_are_there_once_and_their_package_is_there_twice_meanwhile(three: Catalogue) -> None:
    models = {"gulls": (TINY, LARGE), "terns": (TINY, replace(LARGE, file="other")), "auks": (TINY, LARGE)}

    def taken(*, has_npm: bool) -> list[tuple[int, int]]:
        steps = local_plan(three, {}, Declared(models=models, has_npm=has_npm)).steps
        costs = [step.predicted for step in steps if step.name.startswith("models:")]
        return [(cost.peak_bytes // MIB, cost.kept_bytes // MIB) for cost in costs]

    assert taken(has_npm=True) == [(242, 42), (240, 40), (0, 0)]
    assert taken(has_npm=False) == [(1092, 892), (240, 40), (0, 0)]


def test_a_release_on_a_host_takes_nothing_of_this_machine_s_disk(three: Catalogue) -> None:
    declared = Declared(models={"gulls": (LARGE,)})
    wanted = ImagesWanted(services=("gulls",), variant="cpu", release=True, host="vm.harbour.example")
    assert images_plan(three, {}, declared, wanted).steps[-1].predicted.peak_bytes == 0


def test_images_releases_and_trainings_are_written_into_the_engine_and_the_rest_into_the_state() -> None:
    disks = {step.name: step.disk for step in local_plan(catalogue(), {}).steps}
    assert [name for name, disk in disks.items() if disk == "engine"] == [
        "front", "base:cpu", "image:gulls:cpu", "serve:gulls:cpu", "train:tides",
    ]  # fmt: skip


def test_what_was_measured_replaces_what_was_declared_but_for_memory() -> None:
    took = Cost(peak_bytes=7, kept_bytes=5, memory_bytes=1, wall_s=3)
    plan = local_plan(catalogue(), {"train:tides": took, "gone": took})
    by_name = {step.name: step for step in plan.steps}
    training = by_name["train:tides"]
    assert (training.basis, by_name["engine"].basis) == ("ledger", "declared")
    assert training.predicted == Cost(peak_bytes=7, kept_bytes=5, memory_bytes=GIB, wall_s=3)
    assert "gone" not in by_name


def plan_of_images(known: Catalogue, measured: dict[str, Cost] | None = None, **wanted: object) -> Plan:
    asked = ImagesWanted(**{"services": (), "variant": "cpu", **wanted})  # type: ignore[arg-type]
    return images_plan(known, measured or {}, Declared(), asked)


@pytest.fixture
def three() -> Catalogue:
    """Give a catalogue with three services that have one variant."""
    services = plain()["services"]
    for port, name in enumerate(("terns", "auks"), 9002):
        services[name] = copy.deepcopy(services["gulls"]) | {"port": port}
    return catalogue(services=services)


def test_building_one_service_leaves_the_others(two_of_each: Catalogue) -> None:
    plan = plan_of_images(two_of_each, services=("terns",), variant="gpu")
    assert names(plan) == ["engine", "base:gpu", "image:terns:gpu"]


def test_a_service_needs_the_base_and_nothing_of_another_service(three: Catalogue) -> None:
    needs = plan_of_images(three, release=True, push=True).needs()
    assert needs["image:auks:cpu"] == {"base:cpu"}
    assert needs["models:auks"] == {"provision"}
    assert needs["serve:auks:cpu"] == {"front", "models:auks", "image:auks:cpu"}
    assert needs["push:auks:cpu"] == {"serve:auks:cpu"}


def test_the_service_that_gives_back_most_is_built_first(three: Catalogue) -> None:
    took = {
        "image:gulls:cpu": Cost(peak_bytes=10, kept_bytes=10, memory_bytes=None, wall_s=1),
        "image:terns:cpu": Cost(peak_bytes=30, kept_bytes=1, memory_bytes=None, wall_s=1),
        "image:auks:cpu": Cost(peak_bytes=20, kept_bytes=2, memory_bytes=None, wall_s=1),
    }
    steps = names(plan_of_images(three, took))
    assert steps == ["engine", "base:cpu", "image:terns:cpu", "image:auks:cpu", "image:gulls:cpu"]


def test_each_service_is_released_before_the_next_is_built(three: Catalogue) -> None:
    steps = names(plan_of_images(three, release=True, services=("gulls", "auks")))
    assert steps == [
        "engine", "front", "provision", "base:cpu",
        "models:gulls", "image:gulls:cpu", "serve:gulls:cpu",
        "models:auks", "image:auks:cpu", "serve:auks:cpu",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "forgotten"),
    [({}, True), ({"keep": True}, False), ({"release": True}, False)],
    ids=["pushed", "kept", "released"],
)
def test_what_was_only_pushed_is_forgotten(wanted: dict[str, bool], forgotten: bool) -> None:  # noqa: FBT001
    plan = plan_of_images(catalogue(), push=True, **wanted)
    (push,) = (step.action for step in plan.steps if step.name == "push:gulls:cpu")
    assert push.forget is forgotten  # type: ignore[attr-defined]


def test_a_release_on_a_host_says_so(three: Catalogue) -> None:
    steps = names(plan_of_images(three, release=True, host="vm.harbour.example", services=("gulls",)))
    assert steps[-1] == "serve:gulls:cpu@vm.harbour.example"


def test_all_services_are_those_that_have_the_variant(two_of_each: Catalogue) -> None:
    assert names(plan_of_images(two_of_each)) == ["engine", "base:cpu", "image:gulls:cpu"]


def test_building_a_variant_that_a_service_lacks_is_refused(two_of_each: Catalogue) -> None:
    with pytest.raises(UsageError, match="terns has no variant cpu") as caught:
        plan_of_images(two_of_each, services=("terns",))
    assert caught.value.why == "trimtab.yaml lists gpu"
    assert "services.terns.variants.cpu" in caught.value.remedy
    with pytest.raises(UsageError, match="gulls has no variant gpu"):
        plan_of_images(catalogue(), variant="gpu")


def test_training_takes_only_what_a_job_needs(two_of_each: Catalogue) -> None:
    plan = training_plan(two_of_each, {}, job="waves", label="")
    assert names(plan) == ["provision", "data:waves", "train:waves"]


@pytest.mark.parametrize(("name", "remedy"), [("gull", "did you mean 'gulls'?"), ("xyz", "name one of these")])
def test_an_unknown_service_names_the_nearest_or_all(name: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=f"there is no service '{name}'") as caught:
        plan_of_images(catalogue(), services=(name,))
    assert remedy in caught.value.remedy
    assert caught.value.why == "trimtab.yaml lists gulls"
