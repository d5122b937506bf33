"""The geometry of the charts."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from trimtab.report.charts import DiskChart, disk_chart, epoch_charts
from trimtab.report.model import RunReport
from trimtab.units import GIB, MIB


def chart_of(report: RunReport) -> DiskChart:
    chart = disk_chart(report)
    assert chart is not None
    return chart


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


def test_the_curve_starts_at_the_floor_and_its_top_is_the_peak(first_run: RunReport) -> None:
    chart = chart_of(first_run)
    points = corners(chart.line)
    assert points[0] == (0, 1000)
    assert points[-1][0] == 1000
    assert abs(1000 - min(y for _, y in points) - 10 * chart.peak_height) < 0.1


def test_the_area_ends_on_the_floor_on_both_sides(first_run: RunReport) -> None:
    area = chart_of(first_run).area
    assert area.startswith("M0,1000L")
    assert area.endswith("L1000,1000Z")


def test_a_peak_of_one_sample_among_thousands_stays_in_the_curve(first_run: RunReport) -> None:
    disk = [(at / 5, 21 * GIB) for at in range(5000)]
    disk[2718] = (2718 / 5, 21 * GIB + 3 * GIB)
    chart = chart_of(replace(first_run, disk=tuple(disk)))
    points = corners(chart.line)
    assert len(points) < 500
    assert chart.peak.text == "3.0 GiB"
    assert abs(1000 - min(y for _, y in points) - 10 * chart.peak_height) < 0.1


def test_bands_follow_each_other_and_fill_the_clock(first_run: RunReport) -> None:
    bands = chart_of(first_run).bands
    assert [band.number for band in bands] == list(range(1, len(first_run.steps) + 1))
    for one, other in pairwise(bands):
        assert abs(one.left + one.width - other.left) < 0.02
    assert abs(bands[-1].left + bands[-1].width - 100) < 0.02


def test_the_budget_is_in_the_picture_also_where_the_run_went_over_it(first_run: RunReport) -> None:
    disk = ((0.0, 0), (100.0, 9 * GIB), (200.0, 0))
    chart = chart_of(replace(first_run, disk=disk))
    assert chart.budget is not None
    assert 0 < chart.budget.at < chart.peak_height < 100


def test_a_small_run_is_drawn_on_a_scale_of_its_own_and_the_budget_is_not_in_it(second_run: RunReport) -> None:
    disk = ((0.0, GIB), (3.0, GIB + 300 * MIB), (6.0, GIB + 100 * MIB))
    chart = chart_of(replace(second_run, disk=disk))
    assert chart.budget is None
    assert chart.peak_height > 80
    assert "the budget is 4.0 GiB" in chart.description


def test_what_others_write_while_nothing_runs_stays_a_flat_line(second_run: RunReport) -> None:
    assert chart_of(second_run).peak_height < 1


def test_each_step_that_ran_is_planned_above_what_the_steps_before_it_keep(first_run: RunReport) -> None:
    chart = chart_of(first_run)
    assert chart.budget is not None
    per_gib = chart.budget.at / 4
    heights = [(1000 - y) / 10 / per_gib * 1024 for _, y in corners(chart.planned)]
    assert [round(height) for height in heights[:3]] == [1400, 708, 868]


def test_a_run_in_which_everything_stood_plans_nothing(second_run: RunReport) -> None:
    assert chart_of(second_run).planned == ""


def test_disk_that_others_free_while_we_run_goes_below_the_start(first_run: RunReport) -> None:
    disk = ((0.0, GIB), (100.0, GIB - 512 * MIB), (200.0, GIB))
    chart = chart_of(replace(first_run, disk=disk))
    assert chart.peak.text == "0 B"
    assert all(0 <= y <= 1000 for _, y in corners(chart.line))


def test_one_sample_is_no_chart(first_run: RunReport) -> None:
    assert disk_chart(replace(first_run, disk=((0.0, GIB),))) is None


def test_axes_have_round_marks(first_run: RunReport, second_run: RunReport) -> None:
    first, second = chart_of(first_run), chart_of(second_run)
    assert [tick.text for tick in first.y_ticks] == ["0", "1 GiB", "2 GiB", "3 GiB", "4 GiB"]
    assert [tick.text for tick in first.x_ticks] == ["0", "1:00", "2:00", "3:00"]
    assert [tick.text for tick in second.x_ticks] == ["0", "2 s", "4 s", "6 s"]


def test_losses_and_accuracies_have_a_chart_each_and_a_colour_for_each_split(first_run: RunReport) -> None:
    accuracy, loss = epoch_charts(first_run.trainings[0])
    assert [series.name for series in accuracy.series] == ["val accuracy"]
    assert [(series.name, series.colour) for series in loss.series] == [("train loss", 0), ("val loss", 1)]
    assert accuracy.series[0].colour == loss.series[1].colour
    assert accuracy.kept is not None
    assert accuracy.kept.text == "epoch 37 kept"


def test_one_epoch_is_a_dot_and_a_metric_that_is_not_a_number_is_left_out(first_run: RunReport) -> None:
    epochs = ((1, {"val_loss": 0.5, "train_loss": float("nan")}),)
    (loss,) = epoch_charts(replace(first_run.trainings[0], epochs=epochs, final={}))
    assert [series.name for series in loss.series] == ["val loss"]
    assert loss.series[0].path.endswith("h0")
    assert loss.kept is None


def test_a_training_that_measured_nothing_has_no_charts(first_run: RunReport) -> None:
    assert epoch_charts(replace(first_run.trainings[0], epochs=())) == ()
