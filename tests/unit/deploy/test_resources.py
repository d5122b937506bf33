"""The machines: every function has one, and what Modal would refuse is refused here, with the page that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.modal.functions import load_functions
from deploy.modal.resources import PROFILES, Profile, main, profile_names, profile_of
from trimtab.catalogue import load_catalogue
from trimtab.cost.prices import BUNDLED, load_prices
from trimtab.errors import UsageError
from trimtab.gpus import GPUS

CATALOGUE = load_catalogue(Path(__file__).resolve().parents[3] / "trimtab.yaml")
GOOD = 'gpu = ""\ngpu_count = 0\ncores = 1\nmemory_mib = 2048\ndisk_mib = 0\ntimeout_s = 60\nretries = 3\nregion = ""\n'


@pytest.mark.parametrize("name", profile_names())
def test_every_machine_is_one_that_modal_has_and_that_has_a_price(name: str) -> None:
    profile = profile_of(name)
    assert not profile.gpu or profile.gpu in GPUS
    assert not profile.gpu or profile.gpu in load_prices(BUNDLED).gpu_hour


def test_every_machine_but_those_that_a_person_chooses_is_some_function_s() -> None:
    chosen = set(profile_names()) - {function.profile for function in load_functions().values()}
    assert chosen == {"cpu", "dedup-cpu", "h100"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", ("A100-80GB", 32.0, 131072, 86400, 10)),
        ("evaluate", ("A100-40GB", 16.0, 65536, 3600, 2)),
        ("test", ("A100-40GB", 4.0, 16384, 300, 0)),
        ("debug", ("T4", 8.0, 32768, 3600, 2)),
        ("h100", ("H100", 64.0, 262144, 86400, 10)),
    ],
)
def test_the_machines_are_those_that_the_old_trainings_had(name: str, expected: tuple[object, ...]) -> None:
    found = profile_of(name)
    assert (found.gpu, found.cores, found.memory_mib, found.timeout_s, found.retries) == expected


def test_what_is_left_out_is_left_to_modal(tmp_path: Path) -> None:
    (tmp_path / "tides.toml").write_text(GOOD)
    assert profile_of("tides", folder=tmp_path).options() == {"cpu": 1.0, "memory": 2048, "timeout": 60}


def test_several_gpus_are_asked_for_by_number(tmp_path: Path) -> None:
    text = GOOD.replace('gpu = ""', 'gpu = "H100"').replace("gpu_count = 0", "gpu_count = 2")
    (tmp_path / "tides.toml").write_text(text)
    assert profile_of("tides", folder=tmp_path).options()["gpu"] == "H100:2"


_ON_GPU = ('gpu = ""\ngpu_count = 0', 'gpu = "{}"\ngpu_count = {}')


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("timeout_s = 60", "timeout_s = 90000", "timeout=90000 is too long: an attempt may take 1 second to 24 hours"),
        ("timeout_s = 60", "timeout_s = 0", "timeout_s is 0 and must be 1 or more"),
        ("retries = 3", "retries = 11", "max_retries=11 is too many: at most 10"),
        ("disk_mib = 0", "disk_mib = 3145729", "ephemeral_disk=3145729 is too much"),
        ("cores = 1", "cores = 65", "cores is 65 and must be 0.125 to 64"),
        ("memory_mib = 2048", "memory_mib = 400000", "memory_mib is 400000 and must be 128 to 344064"),
        ("gpu_count = 0", "gpu_count = 1", "gpu_count is 1 and must be 0 to 0"),
        (_ON_GPU[0], _ON_GPU[1].format("V100", 1), "gpu='V100' is no GPU that Modal has"),
        (_ON_GPU[0], _ON_GPU[1].format("H100", 9), "gpu='H100:9' asks for too many: a container has at most 8"),
        (_ON_GPU[0], _ON_GPU[1].format("A10", 5), "gpu='A10:5' asks for too many: a container has at most 4"),
        (_ON_GPU[0], _ON_GPU[1].format("A100", 1), "gpu is 'A100', which is another name"),
        ("retries = 3", "retires = 3", "retires is unknown; retries is missing"),
        ("memory_mib = 2048", "memory_mib = 2048.0", "memory_mib is 2048.0"),
        ('region = ""', "region = true", "region is True"),
        ("retries = 3", "retries = true", "retries is True"),
    ],
)
def test_what_is_wrong_is_said_by_name(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tides.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        profile_of("tides", folder=tmp_path)
    assert said in caught.value.why
    assert caught.value.exit_code == 2


def test_a_machine_that_is_not_there_is_told_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "tides.toml").write_text(GOOD)
    with pytest.raises(UsageError, match="there is no machine profile 'tdies'") as caught:
        profile_of("tdies", folder=tmp_path)
    assert "did you mean 'tides'?" in caught.value.remedy


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, object]]:
    assert main([*words, "--json"]) == 0
    document: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return document


def test_the_machine_of_every_job_of_the_catalogue_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = printed(capsys)
    assert set(jobs) == set(CATALOGUE.jobs)
    assert {job["memory_mib"] for job in printed(capsys, "--profile", "debug").values()} == {32768}
    assert all(Profile(**values).timeout_s for values in jobs.values())  # type: ignore[arg-type]  # as it was printed
    assert set(printed(capsys, "--functions")) == set(load_functions())
    assert set(printed(capsys, "--profiles")) == {path.stem for path in PROFILES.glob("*.toml")}
    assert printed(capsys, "--gpus")["A10"]["batch"] == 64
