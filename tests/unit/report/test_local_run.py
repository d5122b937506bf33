"""From the record of a run, with the catalogue's own steps, to the page that shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trimtab.catalogue import load_catalogue
from trimtab.executor import RunRecord, StepOutcome
from trimtab.plan import Plan, judge
from trimtab.project import Project
from trimtab.report.local_run import report_of
from trimtab.report.page import page_html
from trimtab.steps.image import BuildImage
from trimtab.steps.plans import local_plan
from trimtab.steps.provision import Provision
from trimtab.steps.service import Serve
from trimtab.steps.training import Train
from trimtab.storage import runs

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """This very project, with a state of its own in which one training is finished."""
    path = ROOT / "trimtab.yaml"
    project = Project(root=ROOT, catalogue_path=path, catalogue=load_catalogue(path), state=tmp_path)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    record = runs.RunRecord(
        job="classifier",
        run_id="classifier-1",
        run_directory="checkpoints/classifier/2026-01-02/classifier-1",
        commit=None,
        config={},
        config_sha256="0" * 64,
        data_sha256="0" * 64,
        attempts=(runs.Attempt(started=at, ended=at, outcome="finished", first_step=0, last_step=9),),
        epochs=(runs.Epoch(epoch=1, step=9, metrics={"val_loss": 0.5, "val_accuracy": 0.9}),),
        final={"test_accuracy": 0.9875, "classes": ["0", "1"], "confusion": [[40, 0], [1, 39]]},
    )
    runs.write_run(tmp_path / "results", record)
    return project


def result_of(action: object, project: Project) -> dict[str, Any]:
    """Return what the step of an action leaves for the page."""
    match action:
        case Provision():
            return {"bucket": "a-bucket", "roles": {"classifier": "arn:aws:iam::123456789012:role/a-role"}}
        case BuildImage():
            return {"over_base_bytes": 150_000_000, "budget_bytes": 220_000_000}
        case Serve(service=name):
            found = {"label": "person", "score": 0.9, "box": [10, 20, 30, 40]}
            answer = {"picture": {"width": 512, "height": 512}, "detections": [found]}
            picture = project.catalogue.services[name].golden.picture
            return {"address": "http://127.0.0.1:8001/", "golden": {"picture": picture, "answer": answer}}
        case Train():
            return {"run_id": "classifier-1", "checkpoints": "s3://a-bucket/results/classifier/checkpoints/"}
        case _:
            return {}


def record_of(plan: Plan, project: Project) -> RunRecord:
    outcomes = tuple(
        StepOutcome(
            step=step,
            outcome="done",
            measured=step.predicted,
            result=result_of(step.action, project),
            started_s=float(at),
            ended_s=at + 1.0,
        )
        for at, step in enumerate(plan.steps)
    )
    disk = tuple((float(at), at * 1000) for at in range(len(plan.steps) + 1))
    return RunRecord(run="20260102T091500.000000Z", outcomes=outcomes, disk=disk)


def test_the_page_of_the_catalogues_own_plan_shows_every_step_service_and_training(project: Project) -> None:
    plan = local_plan(project.catalogue, {})
    verdicts = judge(plan, project.catalogue.budgets)
    report = report_of(project, record_of(plan, project), verdicts, commit="1234567")
    html = page_html(report)
    assert "2 January 2026, 09:15 UTC" in html
    for step in plan.steps:
        assert step.name in html
    assert 'href="http://127.0.0.1:8001/"' in html
    assert 'x="10.0" y="20.0" width="20.0" height="20.0"' in html
    assert "98.75 %" in html
    assert "s3://a-bucket" in html
    assert "arn:aws:iam::123456789012:role/a-role" in html
    assert "data:image/jpeg;base64," in html, "the golden picture that the catalogue names is not there"
