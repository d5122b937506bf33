"""modal-train.yml, run by act on an embedded Modal: started and left alone, looked at now and later."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import catalogues
from tests.support.act import Checkout, Run
from tests.support.modal_plane import ModalPlane, embedded_modal

pytestmark = pytest.mark.xdist_group("engine")

APP = Path(__file__).parent / "modal_apps" / "tides.py"
SECRETS = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")


class Actions:
    """The workflow, in a checkout whose app trains nothing."""

    def __init__(self, folder: Path, plane: ModalPlane) -> None:
        self._checkout = Checkout(folder, catalogue=catalogues.text())
        shutil.copy(APP, self._checkout.root / "deploy" / "modal" / "app.py")
        self._checkout.commit()
        words = {name: value for name, value in plane.environment().items() if name.startswith("MODAL_")}
        self._secrets = {name: words.pop(name) for name in SECRETS}
        self._env = words

    def dispatch(self, **inputs: str) -> Run:
        given = {"job": "tides", "config": "", "resume": "false", "call": "", **inputs}
        return self._checkout.act(
            "modal-train", "workflow_dispatch", inputs=given, env=self._env, secrets=self._secrets
        )


@pytest.fixture(scope="module")
def actions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Actions]:
    folder = tmp_path_factory.mktemp("act")
    with embedded_modal(folder) as plane:
        yield Actions(folder, plane)


def test_a_run_is_started_and_left_alone_and_can_be_looked_at_later(actions: Actions) -> None:
    run = actions.dispatch(resume="true")
    assert (run.code, run.job("launch"), run.job("watch")) == (0, "success", "success"), run.told()
    call = run.output("launch", "call")
    assert re.fullmatch(r"fc-\w+", call)
    assert run.summary("launch") == f"Started tides as call `{call}`.\n"
    assert run.summary("watch") == f"Call `{call}` has finished.\n"

    later = actions.dispatch(call=call)
    assert (later.code, later.job("launch"), later.job("watch")) == (0, "skipped", "success"), later.told()
    assert later.summary("watch") == f"Call `{call}` has finished.\n"


def test_a_run_that_failed_fails_the_job_that_looks_at_it_and_says_why(actions: Actions) -> None:
    run = actions.dispatch(config="broken")
    assert (run.job("launch"), run.job("watch")) == ("success", "failure"), run.told()
    assert "**failed**" in run.summary("watch")
    assert "the tide is out" in run.printed("watch")


def test_a_call_that_nobody_made_is_told_apart_from_one_that_failed(actions: Actions) -> None:
    run = actions.dispatch(call="fc-0123456789")
    assert run.job("watch") == "failure", run.told()
    assert "the run's state is not known" in run.printed("watch")
