"""Whether a machine fits: cores for the loader, memory for its processes, the batch in the GPU's memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.modal.fit import misfits, require_fit
from deploy.modal.functions import Function, load_functions
from deploy.modal.resources import profile_of
from trimtab.errors import BudgetError

ROOT = Path(__file__).resolve().parents[3]
FUNCTION = Function(
    name="tides", job="tides", runs="train", action="tides", profile="debug", packages="cuda",
    workers_key="loader.workers", batch_key="learning.batch", main_mib=8192, worker_mib=4096, fixed_mib=2048,
    item_mib=128,
)  # fmt: skip


def config(*, workers: int = 0, batch: int = 1, threads: int = 1) -> dict[str, Any]:
    return {"threads": threads, "loader": {"workers": workers}, "learning": {"batch": batch}}


def said(profile: str, **values: int) -> str:
    return "; ".join(misfits(FUNCTION, profile_of(profile), config(**values)))


@pytest.mark.parametrize(("profile", "workers"), [("debug", 2), ("train", 8), ("h100", 16)])
def test_a_loading_process_needs_four_cores(profile: str, workers: int) -> None:
    assert said(profile, workers=workers) == ""
    cores = profile_of(profile).cores
    assert f"need {4 * workers + 4} cores (4 each), and it has {cores:g}" in said(profile, workers=workers + 1)


def test_eight_workers_on_the_small_machine_starve_and_swap_as_they_did() -> None:
    found = said("debug", workers=8)
    assert "loader.workers is 8, which need 32 cores (4 each), and it has 8" in found
    assert "tides with 8 loading processes needs 40960 MiB of memory, and it has 32768" in found


def test_a_batch_has_to_fit_into_the_gpu_and_the_most_that_does_is_told() -> None:
    most = (int(16e9 * 0.9 / 1024**2) - 2048) // 128
    assert said("debug", batch=most) == ""
    assert f"at most {most}" in said("debug", batch=most + 1)
    assert said("train", batch=most + 1) == ""


def test_a_batch_in_pieces_is_held_piece_by_piece() -> None:
    in_pieces = replace(FUNCTION, pieces_key="learning.pieces")
    learning = {"learning": {"batch": 4096, "pieces": 64}}
    assert list(misfits(in_pieces, profile_of("debug"), learning)) == []
    assert "hold 4096 at once" in next(misfits(FUNCTION, profile_of("debug"), learning))


def test_a_process_that_feeds_nothing_else_needs_fewer_cores() -> None:
    decoding = replace(FUNCTION, worker_cores=1, worker_mib=1024)
    assert list(misfits(decoding, profile_of("debug"), config(workers=8))) == []
    (said,) = misfits(decoding, profile_of("debug"), config(workers=9))
    assert "loader.workers is 9, which need 9 cores (1 each), and it has 8" in said


@pytest.mark.parametrize("path", sorted((ROOT / "configs/modal").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_for_modal_fits_the_machine_of_its_function(path: Path) -> None:
    function = load_functions()[path.stem]
    assert list(misfits(function, profile_of(function.profile), yaml.safe_load(path.read_text()))) == []


def test_more_threads_than_cores_only_wait_for_each_other() -> None:
    assert said("debug", threads=8) == ""
    assert "threads is 9, and it has 8 cores" in said("debug", threads=9)


def test_a_gpu_for_what_computes_on_processors_is_refused() -> None:
    plain = replace(FUNCTION, packages="cpu")
    assert any("paid for nothing" in problem for problem in misfits(plain, profile_of("debug"), config()))


def test_a_second_gpu_that_nothing_uses_is_refused() -> None:
    two = replace(profile_of("debug"), gpu_count=2)
    assert list(misfits(FUNCTION, two, config())) == ["tides computes on one GPU, and it has 2"]


def test_a_machine_that_does_not_fit_is_exit_6_and_those_that_do_are_named() -> None:
    with pytest.raises(BudgetError, match=r"the machine debug does not fit tides with a\.yaml") as caught:
        require_fit(FUNCTION, "debug", profile_of("debug"), config(workers=8), "a.yaml")
    assert caught.value.exit_code == 6
    assert caught.value.remedy == "change these in a.yaml, or take --profile h100 or train"
    with pytest.raises(BudgetError) as caught:
        require_fit(FUNCTION, "debug", profile_of("debug"), config(workers=99), "a.yaml")
    assert "no machine of deploy/modal/profiles/ fits it" in caught.value.remedy


def test_a_key_that_a_configuration_has_not_asks_for_nothing() -> None:
    assert list(misfits(FUNCTION, profile_of("debug"), {})) == []
