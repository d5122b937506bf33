"""Whether images fit: how many side by side, what is short, and every way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.steps import task_step
from trimtab.catalogue import Budgets
from trimtab.disk.meter import free_bytes
from trimtab.errors import BudgetError
from trimtab.executor import rooms
from trimtab.plan import Plan
from trimtab.steps.fit import fit
from trimtab.units import GIB, MIB


def budgets(disk: str = "4GiB") -> Budgets:
    return Budgets.model_validate({"disk": disk, "memory": "4GiB", "time": "10min", "usd": 0})


def builds(count: int, *, peak_bytes: int = 100 * MIB, kept_bytes: int = 0) -> Plan:
    steps = [task_step(f"image:s{n}:cpu", peak_bytes=peak_bytes, kept_bytes=kept_bytes, needs=()) for n in range(count)]
    return Plan(steps=tuple(steps))


def test_as_many_are_built_side_by_side_as_the_budget_allows(tmp_path: Path) -> None:
    folders = {"state": tmp_path}
    assert fit(builds(4), budgets("250MiB"), folders, jobs=None).left.jobs == 2  # type: ignore[arg-type]
    assert fit(builds(4), budgets("199MiB"), folders, jobs=None).left.jobs == 1  # type: ignore[arg-type]
    assert fit(builds(1), budgets(), folders, jobs=None).left.jobs == 1  # type: ignore[arg-type]


def test_nothing_left_to_do_always_fits(tmp_path: Path) -> None:
    fit(Plan(steps=()), budgets("0B"), {"state": tmp_path}, jobs=None).require(variant="cpu")


def test_too_many_side_by_side_are_refused_and_fewer_offered(tmp_path: Path) -> None:
    tight = fit(builds(4), budgets("150MiB"), {"state": tmp_path}, jobs=3)
    with pytest.raises(BudgetError, match="nothing was written") as caught:
        tight.require(variant="cpu")
    assert caught.value.exit_code == 6
    assert caught.value.why == "disk: they need 300.0 MiB and may take 150.0 MiB"
    assert caught.value.remedy.startswith("build one at a time: --jobs 1; or raise budgets.disk to 300MiB")


def test_too_little_free_disk_offers_cleaning_the_smaller_variant_and_a_larger_disk(tmp_path: Path) -> None:
    huge = free_bytes(tmp_path) + 10 * GIB
    tight = fit(builds(1, peak_bytes=huge), budgets("900TiB"), {"state": tmp_path}, jobs=None)
    ways = tight.options(variant="gpu")
    assert [way.split(":")[0].split(" with ")[0] for way in ways] == [
        "clean", "build the smaller variant", "take a disk",
    ]  # fmt: skip
    assert ways[0].startswith("clean: trimtab disk free --need 10")
    assert ways[1].endswith("--variant cpu")
    assert "--variant" not in " ".join(tight.options(variant="cpu"))


def test_each_file_system_is_asked_for_what_is_written_to_it(tmp_path: Path) -> None:
    plan = Plan(steps=(task_step("a", peak_bytes=5, kept_bytes=5), task_step("b", peak_bytes=7, kept_bytes=7)))
    plan = Plan(steps=(plan.steps[0], _engine(plan)))
    one_disk = rooms(plan, {"engine": tmp_path, "state": tmp_path / "not" / "yet"})
    assert [(folder, need) for folder, need, _ in one_disk] == [(tmp_path, 12)]
    two_disks = rooms(plan, {"engine": tmp_path, "state": Path("/proc")})
    assert [(folder, need) for folder, need, _ in two_disks] == [(tmp_path, 7), (Path("/proc"), 5)]


def _engine(plan: Plan):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(plan.steps[1], disk="engine")
