"""The price table: what it holds, what it takes for a GPU's name, and what is wrong with a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.cost.prices import ALIASES, BUNDLED, load_prices
from trimtab.errors import UsageError


def test_the_bundled_table_prices_every_gpu_that_modal_rents_and_says_when_and_whence() -> None:
    prices = load_prices()

    assert set(prices.gpu_hour) == {
        "T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000", "H100", "H200", "B200", "B300",
    }  # fmt: skip
    assert prices.dated.year >= 2026
    assert prices.source


@pytest.mark.parametrize(("alias", "name"), sorted(ALIASES.items()))
def test_another_name_of_a_gpu_has_its_price(alias: str, name: str) -> None:
    prices = load_prices()

    assert prices.of_gpu(alias) == prices.of_gpu(name)


def test_a_gpu_without_a_price_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as refused:
        load_prices().of_gpu("A100-80G")

    assert "'A100-80GB'" in refused.value.remedy


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("gib_month = 0.09", "gib_month = -1"), "volume.gib_month"),
        (("core_second", "core_secnd"), "compute.core_secnd"),
        (("dated = 2026-10-31", "dated ="), "line"),
    ],
)
def test_a_broken_table_is_refused_naming_what_is_wrong(change: tuple[str, str], named: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(BUNDLED.read_text().replace(*change))
    with pytest.raises(UsageError) as refused:
        load_prices(path)
    assert str(path) in refused.value.what
    assert named in refused.value.why


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be used"):
        load_prices(tmp_path / "prices.toml")
