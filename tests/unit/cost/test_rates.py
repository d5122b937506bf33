"""Modal's own prices: understood where they can mean one thing only, said where not, never taken on trust."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from trimtab.cost.prices import load_prices
from trimtab.cost.rates import refreshed, write_prices
from trimtab.errors import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("name", "value", "line", "price"),
    [
        ("gpu_a100_80gb", "0.0007", "A100-80GB", 2.52),
        ("GPU A100-40GB per second", "0.0006", "A100-40GB", 2.16),
        ("a100", "2.2", "A100-40GB", 2.2),
        ("nvidia_a10g", "0.0003", "A10", 1.08),
        ("rtx_pro_6000", "3.1", "RTX-PRO-6000", 3.1),
        ("H100 (hour)", "3.99", "H100", 3.99),
        ("cpu_core_second", "0.000014", "core_second", 0.000014),
        ("cpu_core_hour", "0.0504", "core_second", 0.000014),
        ("memory_gib_second", "0.0000023", "memory_gib_second", 0.0000023),
    ],
)
def test_a_price_is_understood_by_its_name_and_its_size(name: str, value: str, line: str, price: float) -> None:
    found = refreshed(load_prices(), {name: value}, today=TODAY)
    assert found.understood == {line: pytest.approx(price)}
    compute = found.prices.compute
    given = {
        **found.prices.gpu_hour,
        "core_second": compute.core_second,
        "memory_gib_second": compute.memory_gib_second,
    }
    assert given[line] == pytest.approx(price)
    assert found.prices.dated == TODAY
    assert line in found.prices.source


def test_what_is_not_understood_keeps_the_table_s_price_and_is_said() -> None:
    rates = {
        "t4": "0.6",
        "sandbox_cpu": "0.00004",
        "b200": "99",
        "volume_gib_month": "0.09",
        "h100": "free",
        "gpu": "1",
    }
    found = refreshed(load_prices(), rates, today=TODAY)
    assert set(found.understood) == {"T4"}
    assert set(found.passed_over) == {"sandbox_cpu", "b200", "volume_gib_month", "h100", "gpu"}
    assert found.prices.gpu_hour["B200"] == load_prices().gpu_hour["B200"]


def test_two_prices_for_one_thing_are_not_both_taken() -> None:
    found = refreshed(load_prices(), {"l4": "0.80", "l4_eu": "1.2"}, today=TODAY)
    assert (found.understood, list(found.passed_over)) == ({"L4": 0.8}, ["l4_eu"])


@pytest.mark.parametrize("rates", [{}, {"x": "1"}, {"h100": "x"}])
def test_an_answer_of_which_nothing_is_understood_is_refused(rates: dict[str, str]) -> None:
    with pytest.raises(ProgramError, match="not understood"):
        refreshed(load_prices(), rates, today=TODAY)


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    prices = refreshed(load_prices(), {"t4": "0.61"}, today=TODAY).prices
    write_prices(tmp_path / "prices.toml", prices)
    assert load_prices(tmp_path / "prices.toml") == prices
