"""What an estimate begins with: a profile read as what is paid for, and only the rate of a machine like it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.commands import write_project
from tests.support.registry_of_runs import attempt, launch, record
from trimtab.cost.ledger import Ledger
from trimtab.cost.spending import settle
from trimtab.cost.work import as_last_time, machine_from
from trimtab.project import find_project
from trimtab.storage.registry import Found, registry_of

if TYPE_CHECKING:
    from pathlib import Path

GIVEN: Final[dict[str, Any]] = {
    "gpu": "A100-80GB",
    "gpu_count": 1,
    "cores": 32.0,
    "memory_mib": 131_072,
    "disk_mib": 1024 * 1024,
    "timeout_s": 86_400,
    "retries": 10,
    "region": "",
}


def test_memory_and_disk_are_told_in_gib() -> None:
    machine = machine_from(GIVEN)
    assert (machine.memory_gib, machine.disk_gib) == (128, 1024)


@pytest.mark.parametrize(("region", "kind"), [("", None), ("eu", "broad"), ("us", "broad"), ("eu-west-1", "narrow")])
def test_a_region_of_a_continent_is_broad_and_one_within_it_narrow(region: str, kind: str | None) -> None:
    assert machine_from({**GIVEN, "region": region}).region == kind


def test_a_run_on_another_machine_tells_no_rate(tmp_path: Path) -> None:
    project = find_project(write_project(tmp_path / "project") / "trimtab.yaml")
    ended = record("r1", attempt(0, 61, first_step=0, last_step=7200))
    (run,) = registry_of([Found(place="modal", records=(ended,), launches=(launch(),))]).runs
    settle(Ledger(project.state / "ledger.jsonl"), run)
    machine = machine_from(GIVEN)

    found = as_last_time(project, "tides", machine, steps=3600)
    assert found is not None
    assert found.compute_s == pytest.approx(1800)
    for other in (replace(machine, cores=16.0), replace(machine, gpu="H100"), replace(machine, gpu_count=2)):
        assert as_last_time(project, "tides", other, steps=3600) is None
