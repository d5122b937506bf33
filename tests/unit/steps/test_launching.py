"""A launch: what is sent and what is not, against a Modal of our own that only remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from tests.support.commands import write_project
from tests.support.registry_of_runs import USD_PER_HOUR, attempt, launch, record
from trimtab.cost.prices import load_prices
from trimtab.cost.work import machine_from
from trimtab.errors import BudgetError, ProgramError, UsageError
from trimtab.process import Command, Completed
from trimtab.project import Project, find_project
from trimtab.steps import launching
from trimtab.steps.launching import Launched, Priced, Wanted
from trimtab.steps.modal_client import ModalClient, called
from trimtab.steps.training import Train
from trimtab.storage.launches import Launch, Machine, list_launches

CALL = {"app_id": "ap-9", "call_id": "fc-9", "profile": "train"}
MACHINE = {
    "gpu": "",
    "gpu_count": 0,
    "cores": 1.0,
    "memory_mib": 1024,
    "disk_mib": 0,
    "timeout_s": 86400,
    "retries": 10,
    "region": "",
}
SMALL = Machine(gpu=None, gpu_count=0, cores=1, memory_gib=1, timeout_s=86400, retries=10, usd_per_hour=0.0552)


class Resources:
    """Runs nothing: answers as deploy.modal.resources does."""

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:
        assert command.argv[2] == "deploy.modal.resources", on_line
        return Completed(stdout=json.dumps({"tides": MACHINE}), wall_s=0.0)


@dataclass(kw_only=True)
class Remembering:
    """What a launch needs of Modal: what lies there, what was sent, what was written down."""

    documents: Mapping[str, Any] = field(default_factory=dict)
    sent: list[tuple[str, ...]] = field(default_factory=list)
    kept: list[Launch] = field(default_factory=list)
    is_deaf: bool = False
    server: Literal["modal"] = "modal"
    runner: Resources = field(default_factory=Resources)

    def listed(self, run_id: str | None = None) -> Mapping[str, Any]:
        assert run_id in ("r1", None)
        return self.documents

    def launch(self, words: Iterable[str], say: Callable[[str], None]) -> Mapping[str, Any]:
        say("sending")
        self.sent.append(tuple(words))
        return CALL

    def remember(self, one: Launch) -> None:
        if self.is_deaf:
            raise ProgramError("the Volume does not answer", why="a test", remedy="again")
        self.kept.append(one)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = write_project(tmp_path / "project")
    (folder / "tides.yaml").write_text("seed: 1\n")
    return find_project(folder / "trimtab.yaml")


def send(project: Project, modal: Remembering, said: list[str] | None = None, **wanted: Any) -> Launched:
    train = Train(job="tides", run_id="r1", config=project.root / "tides.yaml", must_resume=wanted.pop("resume", False))
    say = (said if said is not None else []).append
    client = cast("ModalClient", modal)
    return launching.launch(project, client, Wanted(train=train, **wanted), load_prices(), say=say)


def known(*attempts: Any, call: str = "finished", launches: tuple[Launch, ...] = (launch(),)) -> Remembering:
    return Remembering(
        documents={
            "records": {"runs/r1.json": record("r1", *attempts).model_dump(mode="json")},
            "launches": {f"launches/{one.call_id}.json": one.model_dump(mode="json") for one in launches},
            "calls": {one.call_id: {"state": call, "error": None} for one in launches},
        }
    )


def test_the_words_of_a_launch_are_those_of_the_app_and_it_is_written_down_twice(project: Project) -> None:
    modal = Remembering()
    found = send(project, modal, profile="debug", resume=True)

    config = str(project.root / "tides.yaml")
    assert modal.sent == [
        (
            *("--action", "train", "--job", "tides", "--config", config, "--run-id", "r1", "--resume"),
            *("--wait", "no", "--profile", "debug"),
        )
    ]
    assert (found.sent, found.launch) == (True, modal.kept[0])
    assert list_launches(project.state / "results").launches == tuple(modal.kept)
    assert (modal.kept[0].call_id, modal.kept[0].profile, modal.kept[0].cap_s) == ("fc-9", "debug", None)


def test_the_cap_is_of_the_run_and_counts_what_its_attempts_took_at_their_own_price(project: Project) -> None:
    modal = known(attempt(0, 30, outcome="interrupted", message="stopped by its budget limit"))
    send(project, modal, max_usd=4.0)

    price = modal.kept[0].machine.usd_per_hour
    left_s = (4.0 - USD_PER_HOUR / 2) / price * 3600
    assert modal.kept[0].cap_s == pytest.approx(30 * 60 + left_s)
    assert modal.sent[0][-2:] == ("--cap-seconds", f"{30 * 60 + left_s:.0f}")


def test_a_run_that_has_cost_what_it_may_is_not_sent(project: Project) -> None:
    modal = known(attempt(0, 30, outcome="interrupted"))
    with pytest.raises(BudgetError, match="may cost no more") as refused:
        send(project, modal, max_usd=3.0)
    assert "3.00 $ so far of 3.00 $" in refused.value.why
    assert modal.sent == []


def test_a_cap_in_which_nothing_can_be_done_is_refused_by_its_price_alone(project: Project) -> None:
    wanted = Wanted(train=Train(job="tides", config=project.root / "tides.yaml"), max_usd=0.0009)
    with pytest.raises(BudgetError, match="may cost no more") as refused:
        launching.priced(project, wanted, load_prices(), machine_from(MACHINE))
    assert "what is left is 59 s of a machine at 0.055 $/h" in refused.value.why


@pytest.mark.parametrize("max_usd", [float("nan"), float("inf")])
def test_a_cap_that_is_no_amount_is_refused(project: Project, max_usd: float) -> None:
    modal = Remembering()
    with pytest.raises(UsageError, match="is no amount"):
        send(project, modal, max_usd=max_usd)
    assert modal.sent == []


@pytest.mark.parametrize(("outcome", "call"), [("finished", "finished"), ("running", "running")])
def test_what_runs_or_has_finished_is_not_sent_again(project: Project, outcome: str, call: str) -> None:
    modal = known(attempt(0, 30 if outcome == "finished" else None, outcome=outcome), call=call)
    found = send(project, modal)
    assert (found.sent, found.state, found.launch, modal.sent) == (False, outcome, launch(), [])


def priced(project: Project, config: str) -> Priced:
    (project.root / "tides.yaml").write_text(config)
    wanted = Wanted(train=Train(job="tides", config=project.root / "tides.yaml"))
    return launching.priced(project, wanted, load_prices(), machine_from(MACHINE))


def test_a_run_is_priced_by_the_steps_of_its_configuration_at_the_rate_of_the_last_one(project: Project) -> None:
    modal = known(
        attempt(0, 21, last_step=1200, outcome="interrupted", call="fc-1"),
        attempt(30, 41, first_step=1200, last_step=1800, call="fc-2"),
        launches=(launch(machine=SMALL), launch("fc-2", minutes=30, machine=SMALL)),
    )
    (before,) = priced(project, "seed: 1\n").told("tides", None)
    assert "nobody knows yet how long tides computes" in before
    # 11 attempts of 24 h at 0.0000131 x 3600 + 0.00000222 x 3600 = 0.0552 $/h
    assert "all of the 11 attempts of 24 h 00 min that it is allowed 14.56 $" in before

    assert launching.learn(project, cast("ModalClient", modal), "tides")
    assert not launching.learn(project, cast("ModalClient", modal), "tides")
    whole, counted = priced(project, "seed: 1\n"), priced(project, "optimisation: {steps: 7200}\n")
    assert whole.basis is not None
    assert whole.basis.compute_s == 30 * 60  # of both launches: one alone was not the whole run
    assert counted.basis is not None
    assert counted.basis.compute_s == 2 * 3600
    assert "7,200 steps at 1 a second, the rate of run r1" in next(counted.told("tides", None))


def test_a_launch_that_the_volume_did_not_take_is_still_one(project: Project) -> None:
    said: list[str] = []
    found = send(project, Remembering(is_deaf=True), said)
    assert found.sent
    assert list_launches(project.state / "results").launches == (found.launch,)
    assert "other machines do not see this launch" in said[-1]


def test_a_configuration_that_is_not_there_is_refused_first(project: Project) -> None:
    (project.root / "tides.yaml").unlink()
    modal = Remembering()
    with pytest.raises(UsageError, match="there is no configuration"):
        send(project, modal)
    assert modal.sent == []


def test_the_call_is_the_last_document_among_what_the_client_prints() -> None:
    said = '- Initialized\n{"no": 1}\n{"app_id": "ap-1", "call_id": "fc-1"}\nView it at {here}\n'
    assert called(said) == {"app_id": "ap-1", "call_id": "fc-1"}
    assert called("nothing of it\n[1]\n") is None
