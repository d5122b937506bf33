"""The functions: every job has one that trains it, and what stands in their files means something."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from deploy.modal import attempts
from deploy.modal.fit import misfits, require_places
from deploy.modal.functions import JOBS, Function, load_functions, training_function
from deploy.modal.resources import profile_of
from trimtab.catalogue import load_catalogue
from trimtab.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
CATALOGUE = load_catalogue(ROOT / "trimtab.yaml")
FUNCTIONS = load_functions()
GOOD = 'runs = "train"\npackages = "cpu"\ndata = "/data"\nresults = "/results"\n'


def written(folder: Path, text: str, *, job: str = "tides", name: str = "tides") -> Path:
    path = folder / job / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return folder


@pytest.mark.parametrize("job", CATALOGUE.jobs)
def test_every_job_of_the_catalogue_has_a_function_that_trains_it(job: str) -> None:
    function = training_function(FUNCTIONS, job)
    assert function is not None
    assert function.job == job


def test_no_function_is_kept_for_a_job_that_is_gone() -> None:
    assert {path.name for path in JOBS.iterdir()} == set(CATALOGUE.jobs)


def test_the_functions_are_those_that_the_seeds_had() -> None:
    names = {"train", "evaluate", "smoke", "populate_cache", "test_mamba_cuda"}
    assert set(FUNCTIONS) == names | (set(CATALOGUE.jobs) - {FUNCTIONS["train"].job})
    assert FUNCTIONS["test_mamba_cuda"].action == "test-mamba"
    assert FUNCTIONS["populate_cache"].action == "populate-cache"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_can_be_run_and_fits_its_machine(name: str) -> None:
    function = FUNCTIONS[name]
    assert callable(getattr(attempts, function.runs))
    require_places(function)
    path = ROOT / (function.config or CATALOGUE.jobs[function.job].config)
    config = yaml.safe_load(path.read_text()) if function.runs != "check" else {}
    assert list(misfits(function, profile_of(function.profile), config)) == []


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.runs != "check"])
def test_every_key_that_is_held_against_the_machine_is_one_of_the_configuration(name: str) -> None:
    function = FUNCTIONS[name]
    config = importlib.import_module(f"training.{function.job}.config").Config
    for key in filter(None, (function.workers_key, function.batch_key, function.pieces_key)):
        model = config
        for part in key.split("."):
            assert part in model.model_fields, f"{key} is no key of {function.job}"
            model = model.model_fields[part].annotation


def test_what_writes_a_checkpoint_has_a_place_for_it_and_one_that_outlives_the_volume() -> None:
    for function in FUNCTIONS.values():
        assert bool(function.results) == (function.runs != "check")
        assert bool(function.backup) == (function.runs == "train")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('runs = "train"', 'runs = "trian"', "runs is 'trian' and must be one of train, evaluate, populate, check"),
        ('packages = "cpu"', "", "packages is missing"),
        ('data = "/data"', "data = 7", "data is 7 and must be a text"),
        ('data = "/data"', 'dta = "/data"', "dta is unknown"),
        ('data = "/data"', "item_mib = 0.5", "item_mib is 0.5 and must be a whole number"),
        ('data = "/data"', "item_mib = -1", "item_mib is -1 and must not be negative"),
        ('data = "/data"', 'name = "x"', "name is unknown"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_by_name(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_functions(written(tmp_path, GOOD.replace(old, new)))
    assert said in caught.value.why


def test_a_file_that_is_none_and_a_name_that_is_there_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the function tides cannot be read"):
        load_functions(written(tmp_path, "runs = "))
    written(tmp_path, GOOD)
    with pytest.raises(UsageError, match="tides is there twice"):
        load_functions(written(tmp_path, GOOD, job="waves"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/root", "'/root' is no place for a mount"),
        ("/", "'/' is no place for a mount"),
        ("results", "'results' is no place for a mount: it must be an absolute path"),
        ("/data", "'/data' is mounted twice"),
    ],
)
def test_a_mount_where_modal_forbids_one_is_refused(place: str, said: str) -> None:
    function = Function(
        name="f", job="tides", runs="train", action="f", profile="cpu", packages="cpu", data="/data", results=place
    )
    with pytest.raises(UsageError) as caught:
        require_places(function)
    assert said in caught.value.why
