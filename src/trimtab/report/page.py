"""Write the page of a run: one HTML file with its pictures in it, that needs nothing from anywhere else.

The last stage of the flow. Reads the golden pictures that the report names; writes only `index.html` in its folder.
Everything that a person or a program named is escaped by the template; the page runs no script and may load nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from trimtab.plan import Verdict
from trimtab.report.charts import DiskChart, EpochChart, disk_above_start, disk_chart, epoch_charts
from trimtab.report.model import RunReport, ServiceReport, StepReport, TrainingReport
from trimtab.report.pictures import Detection, InlinePicture, detections, inline_picture
from trimtab.storage.durable import make_directory, write_whole
from trimtab.units import format_duration, format_size, format_usd

if TYPE_CHECKING:
    from jinja2 import Template

PAGE_NAME: Final = "index.html"

Mood = Literal["good", "quiet", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The answer in one line, and the sentence under it."""

    mood: Mood
    title: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One budget: what the plan needed, what was measured (None: it could not be), and what it may take."""

    verdict: Verdict
    measured: float | None
    measured_text: str

    @property
    def fits(self) -> bool:
        return self.verdict.fits and (self.measured or 0) <= self.verdict.limit

    def percent(self, amount: float | None) -> float:
        """Return an amount's part of the budget, at most all of it."""
        if not amount:
            return 0.0
        return 100.0 if amount >= self.verdict.limit else round(100 * amount / self.verdict.limit, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service with its picture and what was found on it."""

    service: ServiceReport
    picture: InlinePicture | None
    detections: tuple[Detection, ...]

    @property
    def is_link(self) -> bool:
        """Tell whether the address is one that a click may follow."""
        return urlsplit(self.service.address).scheme in ("http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionMatrix:
    """How often each true class (a row) was answered with each class (a column)."""

    classes: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    def percent(self, row: int, column: int) -> float:
        """Return a cell's part of its row."""
        return round(100 * self.rows[row][column] / max(1, sum(self.rows[row])), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingView:
    """A training with its charts."""

    training: TrainingReport
    charts: tuple[EpochChart, ...]
    confusion: ConfusionMatrix | None


def write_page(report: RunReport, folder: Path) -> Path:
    """Write the page, whole or not at all, and return its path.

    Raises BudgetError when the disk is full, ProgramError when the system refuses otherwise; a page that was there
    before is then untouched.
    """
    make_directory(folder)
    page = folder / PAGE_NAME
    # A file name that is not UTF-8 reaches us with surrogates; the page shows a question mark there.
    write_whole(page, page_html(report).encode(errors="replace"))
    return page


def page_html(report: RunReport) -> str:
    """Return the page; equal reports give equal pages."""
    chart: DiskChart | None = disk_chart(report)
    budgets = budget_lines(report)
    return _template().render(
        report=report,
        headline=headline(report, budgets),
        budgets=budgets,
        disk=chart,
        services=tuple(
            ServiceView(service=service, picture=inline_picture(service.picture), detections=detections(service.answer))
            for service in report.services
        ),
        trainings=tuple(
            TrainingView(training=training, charts=epoch_charts(training), confusion=confusion_matrix(training.final))
            for training in report.trainings
        ),
        started=_readable(report.started_at),
        mood=mood_of,
        css=files(__package__).joinpath("page.css").read_text("utf-8"),
    )


def headline(report: RunReport, budgets: tuple[BudgetLine, ...]) -> Headline:
    """Answer the reader's first question: did it work, and does it fit?"""
    failed = [step for step in report.steps if step.outcome == "failed"]
    if failed:
        return Headline(
            mood="bad",
            title=f"It stopped at step {report.steps.index(failed[0]) + 1}: {failed[0].title}",
            sentence="What stood before still stands. Mend the cause and give the same command again: "
            "it goes on from there.",
        )
    took = f"It took {format_duration(_wall_s(report))}."
    over = ", ".join(budget.verdict.budget for budget in budgets if not budget.fits)
    if over:
        return Headline(mood="warn", title=f"It worked, but took more than its budget of {over}", sentence=took)
    stood = sum(step.outcome == "already done" for step in report.steps)
    ran = len(report.steps) - stood
    if not ran:
        return Headline(
            mood="quiet",
            title="Nothing had to be done, and it fits",
            sentence=f"All that {_steps(stood)} of earlier runs made was looked at again, and stands. {took}",
        )
    already = f"; {_steps(stood)} stood already" if stood else ""
    return Headline(
        mood="good", title="It worked, and it fits", sentence=f"{_steps(ran).capitalize()} ran{already}. {took}"
    )


def budget_lines(report: RunReport) -> tuple[BudgetLine, ...]:
    """Return each budget with what the run really took of it."""
    costs = [step.measured for step in report.steps if step.measured is not None]
    memories = [cost.memory_bytes for cost in costs if cost.memory_bytes is not None]
    measured: dict[str, tuple[float | None, str]] = {
        "disk": _with_text(max((used for _, used in disk_above_start(report)), default=None), format_size),
        "memory": _with_text(max(memories, default=None), format_size),
        "time": _with_text(_wall_s(report), format_duration),
        "usd": _with_text(sum(cost.usd for cost in costs), format_usd),
    }
    return tuple(
        BudgetLine(verdict=verdict, measured=measured[verdict.budget][0], measured_text=measured[verdict.budget][1])
        for verdict in report.verdicts
    )


def mood_of(step: StepReport) -> Mood:
    """Tell how a step went: as planned, over its plan, nothing to do, or failed."""
    if step.outcome == "failed":
        return "bad"
    if step.outcome == "already done" or step.measured is None:
        return "quiet"
    predicted, measured = step.predicted, step.measured
    over_memory = predicted.memory_bytes is not None and (measured.memory_bytes or 0) > predicted.memory_bytes
    is_over = measured.peak_bytes > predicted.peak_bytes or measured.wall_s > predicted.wall_s or over_memory
    return "warn" if is_over else "good"


def confusion_matrix(final: Any) -> ConfusionMatrix | None:
    """Return what a training's last test left under `classes` and `confusion`, or None when that is not a square."""
    classes, rows = final.get("classes"), final.get("confusion")
    try:
        names = tuple(str(name) for name in classes)
        counts = tuple(tuple(int(count) for count in row) for row in rows)
    except (TypeError, ValueError):
        return None
    is_square = bool(names) and len(counts) == len(names) and all(len(row) == len(names) for row in counts)
    return ConfusionMatrix(classes=names, rows=counts) if is_square else None


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("trimtab", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": format_size, "duration": format_duration, "usd": format_usd}
    return environment.get_template("page.html")


def _with_text(amount: float | None, text_of: Any) -> tuple[float | None, str]:
    return amount, "-" if amount is None else text_of(amount)


def _wall_s(report: RunReport) -> float:
    return max((step.ended_s for step in report.steps), default=0.0)


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"


def _readable(moment: str) -> str:
    """Return an ISO 8601 moment as a person says it; anything else stays as it is."""
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{at.day} {at:%B %Y, %H:%M} {at.tzname() or ''}".rstrip()
