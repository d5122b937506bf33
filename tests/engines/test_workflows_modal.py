"""modal-train.yml, run by act on an embedded Modal: priced, launched and left alone, looked at now and later.

Every dispatch is another machine, a copy of the tree without a state: what others launched it sees on the Volume.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import catalogues
from tests.support.act import Checkout, Run
from tests.support.modal_plane import ModalPlane, embedded_modal
from tests.support.registry_of_runs import RESOURCES
from trimtab.emulation.modal import bucket_mount

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing())),
]

APP: Final = Path(__file__).parent / "modal_apps" / "runs.py"
SECRETS: Final = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")


class Actions:
    """The workflow, in a checkout whose app only counts."""

    def __init__(self, folder: Path, plane: ModalPlane) -> None:
        self._checkout = Checkout(folder, catalogue=catalogues.text())
        modal = self._checkout.root / "deploy" / "modal"
        shutil.copy(APP, modal / "app.py")
        (modal / "resources.py").write_text(RESOURCES)
        configs = self._checkout.root / "configs" / "local"
        (configs / "tides.yaml").write_text("12")
        (configs / "broken.yaml").write_text("13")
        self._checkout.commit()
        words = {name: value for name, value in plane.environment().items() if name.startswith("MODAL_")}
        self._secrets = {name: words.pop(name) for name in SECRETS}
        self._env = words

    def dispatch(self, **inputs: str) -> Run:
        blank = dict.fromkeys(("config", "profile", "max_usd", "run"), "")
        given = {"job": "tides", "resume": "false", **blank, **inputs}
        return self._checkout.act(
            "modal-train", "workflow_dispatch", inputs=given, env=self._env, secrets=self._secrets
        )


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("plane"), runner="namespace") as running:
        yield running


@pytest.fixture(scope="module")
def actions(tmp_path_factory: pytest.TempPathFactory, plane: ModalPlane) -> Actions:
    return Actions(tmp_path_factory.mktemp("act"), plane)


@pytest.fixture(scope="module")
def first(actions: Actions) -> Run:
    return actions.dispatch(max_usd="5")


def test_a_run_is_priced_launched_followed_and_found_by_a_later_dispatch(actions: Actions, first: Run) -> None:
    assert (first.code, first.job("launch"), first.job("follow")) == (0, "success", "success"), first.told()
    run_id = first.output("launch", "run")
    said = first.printed("launch")
    assert said.index("5.032 $/h") < said.index("launching tides on embedded modal")
    page = first.summary("launch")
    assert f"{run_id} (tides)" in page
    assert "32 cores, 128 GiB, 5.032 $/h" in page
    assert ", at most 5.00 $" in page
    assert all(f"trimtab runs {verb} {run_id}" in page for verb in ("follow", "stop", "fetch"))
    assert f"{run_id} (tides), finished" in first.summary("follow")

    later = actions.dispatch(run=run_id)
    assert (later.code, later.job("launch"), later.job("follow")) == (0, "skipped", "success"), later.told()
    assert f"{run_id} (tides), finished" in later.summary("follow")


def test_what_is_likely_to_cost_more_than_it_may_is_not_sent_by_what_earlier_machines_launched(
    actions: Actions, first: Run, plane: ModalPlane
) -> None:
    assert first.code == 0
    before = len(plane.record()["apps"])
    run = actions.dispatch(config="configs/local/broken.yaml", max_usd="0.1")
    assert (run.job("launch"), run.job("follow")) == ("failure", "skipped"), run.told()
    assert "a run of tides is likely to cost more than it may; nothing was started" in run.printed("launch")
    assert "exit status 6" in run.told()
    assert len(plane.record()["apps"]) == before


def test_a_run_that_failed_fails_the_job_that_follows_it_and_says_why(actions: Actions) -> None:
    run = actions.dispatch(config="configs/local/broken.yaml")
    assert (run.job("launch"), run.job("follow")) == ("success", "failure"), run.told()
    assert "predicted" in run.summary("launch")
    assert "failed" in run.summary("follow")
    assert "the tide is out" in run.printed("follow")


def test_a_run_that_nobody_launched_is_told_apart_from_one_that_failed(actions: Actions) -> None:
    run = actions.dispatch(run="--nobody-s")
    assert run.job("follow") == "failure", run.told()
    assert "there is no run --nobody-s" in run.printed("follow")
