"""From a run's record to what its page shows. Reads the run registry; writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from trimtab.executor import RunRecord, StepOutcome
from trimtab.plan import Verdict
from trimtab.project import Project
from trimtab.report.model import RunReport, ServiceReport, StepReport, TrainingReport
from trimtab.steps.image import BuildImage
from trimtab.steps.provision import EMBEDDED_STACK, Provision
from trimtab.steps.service import Serve
from trimtab.steps.training import Train

NOT_PROVEN: Final = (
    (
        "The embedded AWS checks actions and resources of a policy, not its conditions: that listing is limited to a"
        " prefix, and that only TLS is allowed, is not enforced here."
    ),
    "Web identity tokens are checked against the trust policy by Trimtab, not by AWS; no signature is verified.",
    "Nothing here says how long an image takes to pull, or what a GPU does.",
    "The embedded AWS keeps objects in memory: they are gone when it stops, and are then published anew.",
)


def report_of(project: Project, record: RunRecord, verdicts: tuple[Verdict, ...], *, commit: str) -> RunReport:
    """Return what the page of a run shows."""
    provisioned = next((o.result for o in record.outcomes if isinstance(o.step.action, Provision)), {})
    return RunReport(
        project=project.catalogue.project,
        stack=EMBEDDED_STACK,
        run=record.run,
        started_at=datetime.strptime(record.run, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).isoformat(timespec="seconds"),
        commit=commit,
        steps=tuple(_step(outcome) for outcome in record.outcomes),
        verdicts=verdicts,
        disk=record.disk,
        disk_budget_bytes=project.catalogue.budgets.disk,
        services=tuple(_service(project, record, o) for o in record.outcomes if isinstance(o.step.action, Serve)),
        trainings=tuple(_training(project, o) for o in record.outcomes if isinstance(o.step.action, Train)),
        bucket=str(provisioned.get("bucket", "")),
        roles=dict(provisioned.get("roles", {})),
        not_proven=(*NOT_PROVEN, *provisioned.get("notes", ())),
    )


def _step(outcome: StepOutcome) -> StepReport:
    return StepReport(
        name=outcome.step.name,
        title=outcome.step.title,
        outcome=outcome.outcome,
        predicted=outcome.step.predicted,
        measured=outcome.measured,
        verdict=outcome.verdict,
        started_s=outcome.started_s,
        ended_s=outcome.ended_s,
    )


def _service(project: Project, record: RunRecord, outcome: StepOutcome) -> ServiceReport:
    action = outcome.step.action
    assert isinstance(action, Serve)  # noqa: S101 - the caller chose it by its type
    built = next(
        o.result for o in record.outcomes if o.step.action == BuildImage(service=action.service, variant=action.variant)
    )
    golden = outcome.result["golden"]
    return ServiceReport(
        name=action.service,
        variant=action.variant,
        address=outcome.result["address"],
        over_base_bytes=built["over_base_bytes"],
        budget_bytes=built["budget_bytes"],
        picture=project.root / golden["picture"],
        answer=golden["answer"],
    )


def _training(project: Project, outcome: StepOutcome) -> TrainingReport:
    from trimtab.storage.runs import read_run

    record = read_run(project.state / "results", outcome.result["run_id"])
    assert record is not None  # noqa: S101 - the step has just read it
    return TrainingReport(
        job=record.job,
        run_id=record.run_id,
        outcome=str(record.outcome),
        attempts=len(record.attempts),
        checkpoints=outcome.result["checkpoints"],
        epochs=tuple((epoch.epoch, epoch.metrics) for epoch in record.epochs),
        final=record.final or {},
    )
