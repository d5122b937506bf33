"""The resources of jobs: every job has a file of them, and what Modal would refuse is refused here."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.modal.resources import PROFILES, profile_of
from trimtab.catalogue import load_catalogue
from trimtab.errors import UsageError

CATALOGUE = load_catalogue(Path(__file__).resolve().parents[2] / "trimtab.yaml")
GOOD = 'gpu = ""\ngpu_count = 0\ncores = 1\nmemory_mib = 2048\ndisk_mib = 0\ntimeout_s = 60\nretries = 3\nregion = ""\n'


@pytest.mark.parametrize("job", CATALOGUE.jobs)
def test_every_job_of_the_catalogue_has_its_resources(job: str) -> None:
    assert profile_of(job).timeout_s >= 1


def test_no_resources_are_kept_for_a_job_that_is_gone() -> None:
    assert {path.stem for path in PROFILES.glob("*.toml")} == set(CATALOGUE.jobs)


def test_what_is_left_out_is_left_to_modal(tmp_path: Path) -> None:
    (tmp_path / "tides.toml").write_text(GOOD)
    assert profile_of("tides", folder=tmp_path).options() == {"cpu": 1.0, "memory": 2048, "timeout": 60}


def test_several_gpus_are_asked_for_by_number(tmp_path: Path) -> None:
    text = GOOD.replace('gpu = ""', 'gpu = "H100"').replace("gpu_count = 0", "gpu_count = 2")
    (tmp_path / "tides.toml").write_text(text)
    assert profile_of("tides", folder=tmp_path).options()["gpu"] == "H100:2"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("timeout_s = 60", "timeout_s = 86401", "timeout_s is 86401 and must be 1 to 86400"),
        ("retries = 3", "retries = 11", "retries is 11 and must be 0 to 10"),
        ("gpu_count = 0", "gpu_count = 1", "gpu_count is 1 and must be 0 to 0"),
        ("retries = 3", "retires = 3", "retires is unknown; retries is missing"),
        ("memory_mib = 2048", "memory_mib = 2048.0", "memory_mib is 2048.0"),
    ],
)
def test_what_is_wrong_is_said_by_name(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tides.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        profile_of("tides", folder=tmp_path)
    assert caught.value.why == said


def test_a_job_without_resources_is_told_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the resources of job tides cannot be read"):
        profile_of("tides", folder=tmp_path)
