"""The estimate against sums done by hand, and its laws over any machine and any work."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cost.estimate import DAY_S, HOUR_S, Machine, Work, estimate
from trimtab.cost.prices import load_prices
from trimtab.errors import UsageError

PRICES: Final = load_prices()
A100: Final = Machine(gpu="A100-80GB", gpu_count=1, cores=32, memory_gib=128, timeout_s=DAY_S, retries=10)
HUNDRED_HOURS: Final = Work(compute_s=100 * HOUR_S, start_s=120, checkpoint_every_s=1800)


def test_a_hundred_hours_of_an_a100_with_32_cores_are_twice_what_the_gpu_alone_says() -> None:
    low, likely, high = estimate(A100, HUNDRED_HOURS, PRICES)

    # 100 h in attempts of 24 h, each of which starts for 2 min: 5 attempts, 100.1667 h.
    assert low.attempts == 5
    assert low.billed_s == 360_000 + 5 * 120
    parts = dict(low.parts)
    assert parts["gpu"] == pytest.approx(2.50 * 100.166667)  # 250.42
    assert parts["cpu"] == pytest.approx(32 * 0.0000131 * 360_600)  # 151.16
    assert parts["memory"] == pytest.approx(128 * 0.00000222 * 360_600)  # 102.47
    assert low.usd == pytest.approx(504.05, abs=0.01)
    assert low.usd < likely.usd < high.usd


def test_preemptions_cost_a_start_and_half_of_what_lies_between_two_checkpoints() -> None:
    likely = estimate(A100, HUNDRED_HOURS, PRICES)[1]

    # 105 h at half a preemption a day: 2.19, so 2; 2 x 15 min again; 105.5 h in attempts of 23.97 h: 5, and 2 more.
    assert likely.attempts == 7
    assert likely.billed_s == 105 * 3600 + 2 * 900 + 7 * 120


def test_a_run_of_seconds_is_likely_to_be_left_alone() -> None:
    cases = estimate(A100, replace(HUNDRED_HOURS, compute_s=10, checkpoint_every_s=10), PRICES)

    assert [case.attempts for case in cases] == [1, 1, 2]


def test_a_region_multiplies_the_machine_and_not_the_bucket() -> None:
    work = replace(HUNDRED_HOURS, bucket_gib=500)
    anywhere = dict(estimate(A100, work, PRICES)[0].parts)
    narrow = dict(estimate(replace(A100, region="narrow"), work, PRICES)[0].parts)

    assert [narrow[part] / anywhere[part] for part in ("gpu", "cpu", "memory", "bucket")] == pytest.approx(
        [1.75, 1.75, 1.75, 1.0]
    )


def test_disk_is_billed_as_memory_where_it_comes_to_more() -> None:
    hour = replace(A100, memory_gib=32).usd_per_hour(PRICES)["memory"]

    assert replace(A100, memory_gib=32, disk_gib=512).usd_per_hour(PRICES)["memory"] == hour
    assert replace(A100, memory_gib=32, disk_gib=1280).usd_per_hour(PRICES)["memory"] == pytest.approx(2 * hour)


def test_a_volume_costs_only_what_is_above_the_free_part() -> None:
    parts = [dict(estimate(A100, replace(HUNDRED_HOURS, volume_gib=gib), PRICES)[0].parts) for gib in (1024, 2024)]

    assert parts[0]["volume"] == 0
    assert parts[1]["volume"] == pytest.approx(1000 * 0.09 * 360_600 / (30 * 86_400))


def test_what_an_attempt_needs_to_start_is_no_part_of_its_day() -> None:
    work = replace(HUNDRED_HOURS, compute_s=2 * DAY_S)

    # Two days in attempts of 24 h less 2 min: 3, where starts that took no time would leave 2.
    assert estimate(A100, work, PRICES)[0].attempts == 3
    assert estimate(A100, replace(work, start_s=0), PRICES)[0].attempts == 2


def test_requests_and_what_lies_in_the_bucket_are_paid_for_by_number_and_by_time() -> None:
    work = replace(HUNDRED_HOURS, bucket_gib=500, read_requests=1_000_000, write_requests=10_000)
    parts = dict(estimate(A100, work, PRICES)[0].parts)

    assert parts["requests"] == pytest.approx(5 * 0.43 + 0.054)  # each of the five attempts reads, the run writes once
    assert parts["bucket"] == pytest.approx(500 * 0.0245 * 360_600 / (30 * 86_400))


def test_a_run_that_never_gets_to_its_first_checkpoint_is_refused() -> None:
    with pytest.raises(UsageError, match="makes no progress"):
        estimate(replace(A100, timeout_s=1800), HUNDRED_HOURS, PRICES)


@given(
    st.builds(
        Machine,
        gpu=st.sampled_from([None, *PRICES.gpu_hour]),
        gpu_count=st.integers(1, 8),
        cores=st.floats(0.1, 64),
        memory_gib=st.floats(0.1, 512),
        disk_gib=st.floats(0, 3072),
        timeout_s=st.floats(7200, DAY_S),
        retries=st.integers(0, 10),
        region=st.sampled_from([None, "broad", "narrow"]),
    ),
    st.builds(
        Work,
        compute_s=st.floats(1, 1e7),
        start_s=st.floats(0, 600),
        checkpoint_every_s=st.floats(1, 3600),
        volume_gib=st.floats(0, 5000),
        bucket_gib=st.floats(0, 5000),
        read_gib=st.floats(0, 500),
        read_requests=st.integers(0, 10**6),
        write_requests=st.integers(0, 10**6),
    ),
)
def test_the_cases_are_in_order_and_never_below_the_work_itself(machine: Machine, work: Work) -> None:
    cases = estimate(machine, work, PRICES)

    assert [case.name for case in cases] == ["low", "likely", "high"]
    assert cases[0].usd <= cases[1].usd <= cases[2].usd
    assert cases[0].attempts <= cases[1].attempts <= cases[2].attempts
    for case in cases:
        assert case.billed_s >= work.compute_s
        assert case.usd >= sum(machine.usd_per_hour(PRICES).values()) * work.compute_s / HOUR_S * (1 - 1e-12)
        assert all(math.isfinite(usd) and usd >= 0 for _, usd in case.parts)


def test_thirty_hours_of_an_a10g_are_more_than_the_fifteen_to_twenty_five_dollars_once_told() -> None:
    machine = Machine(gpu="A10G", gpu_count=1, cores=4, memory_gib=16, timeout_s=DAY_S, retries=10)
    cases = estimate(machine, replace(HUNDRED_HOURS, compute_s=30 * HOUR_S), PRICES)

    # 1.10 + 4 x 0.0000131 x 3600 + 16 x 0.00000222 x 3600 = 1.4165 $/h
    assert [round(case.billed_s / HOUR_S, 3) for case in cases] == [30.067, 31.85, 38.983]
    assert [round(case.usd, 2) for case in cases] == [42.59, 45.12, 55.22]


def test_what_leaves_the_bucket_costs_more_than_the_machine_that_reads_it() -> None:
    machine = Machine(gpu=None, gpu_count=0, cores=16, memory_gib=32, timeout_s=DAY_S, retries=10)
    low, _, high = estimate(machine, replace(HUNDRED_HOURS, compute_s=HOUR_S, read_gib=449), PRICES)

    assert dict(low.parts)["bucket"] == pytest.approx(449 * 0.09)  # 40.41
    assert sum(machine.usd_per_hour(PRICES).values()) == pytest.approx(1.010, abs=0.001)
    assert (high.attempts, round(high.usd)) == (2, 82)
