"""`trimtab train --on modal` and `trimtab runs`, with the real client on an embedded Modal, from two machines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import ROOT, Ended, environment, trimtab, write_project
from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until
from tests.support.registry_of_runs import RESOURCES
from trimtab.emulation.modal import bucket_mount

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing())),
]
APP = Path(__file__).parent / "modal_apps" / "runs.py"
USD_PER_SECOND = 5.032 / 3600


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A machine with a checkout and a state of its own, set up for the plane as for Modal: by its environment."""

    folder: Path
    plane: ModalPlane

    def trimtab(self, *words: str, code: int = 0) -> Ended:
        client = {name: value for name, value in self.plane.environment().items() if name.startswith("MODAL_")}
        env = environment(**client)
        env["PYTHONPATH"] = f"{self.folder}:{env['PYTHONPATH']}"
        ended = trimtab(*words, cwd=self.folder, env=env)
        assert ended.code == code, ended.err + ended.out
        return ended

    def launch(self, steps: int, *words: str) -> str:
        """Launch a training of so many steps, and return its run's id."""
        config = self.folder / f"{steps}.yaml"
        config.write_text(str(steps))
        document = self.trimtab("train", "tides", "--on", "modal", "--config", str(config), "--json", *words).document
        assert document["launched"], document
        run_id: str = document["run_id"]
        return run_id

    def state(self, run_id: str) -> str:
        state: str = self.trimtab("runs", "show", run_id, "--on", "modal", "--json").document["state"]
        return state


def desk(folder: Path, plane: ModalPlane) -> Desk:
    project = write_project(folder)
    modal = project / "deploy" / "modal"
    modal.mkdir(parents=True)
    for package in (modal.parent, modal):
        (package / "__init__.py").touch()
    for name in ("results.py", "state.py"):
        shutil.copy(ROOT / "deploy" / "modal" / name, modal / name)
    shutil.copy(APP, modal / "app.py")
    (modal / "resources.py").write_text(RESOURCES)
    (project / "training" / "tides").mkdir(parents=True)
    return Desk(folder=project, plane=plane)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("plane"), runner="namespace", grace_s=5.0) as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, plane: ModalPlane) -> Desk:
    return desk(tmp_path_factory.mktemp("here") / "project", plane)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, plane: ModalPlane) -> Desk:
    return desk(tmp_path_factory.mktemp("elsewhere") / "project", plane)


@pytest.fixture(scope="module")
def finished(here: Desk) -> str:
    """A run that was launched, left alone, and has ended."""
    run_id = here.launch(12)
    here.trimtab("runs", "follow", run_id)
    return run_id


def test_a_launch_that_is_too_dear_sends_nothing(here: Desk, plane: ModalPlane) -> None:
    before = plane.record()
    (here.folder / "dear.yaml").write_text("5")
    words = ("train", "tides", "--on", "modal", "--config", "dear.yaml", "--compute", "100h", "--max-usd", "500")
    ended = here.trimtab(*words, "--json", code=6)
    assert "532 $ of 500 $" in ended.document["error"]["why"]
    assert plane.record() == before
    assert not (here.folder / ".trimtab" / "results").exists()


def test_a_run_is_seen_followed_and_fetched_from_a_machine_that_did_not_launch_it(
    here: Desk, elsewhere: Desk, finished: str
) -> None:
    (run,) = [one for one in elsewhere.trimtab("runs", "list", "--json").document["runs"] if one["run_id"] == finished]
    assert (run["state"], run["places"], run["attempts"][0]["last_step"]) == ("finished", ["modal"], 12)
    assert run["launches"][0]["machine"]["gpu"] == "A100-80GB"
    assert 0 < run["cost"]["usd"] < 1
    assert "step 12" in elsewhere.trimtab("runs", "follow", finished, "--tail", "50").out

    fetched = elsewhere.trimtab("runs", "fetch", finished, "--json").document
    assert fetched["brought_files"] == fetched["files"] > 0
    assert elsewhere.trimtab("runs", "fetch", finished, "--json").document["brought_files"] == 0
    kept = elsewhere.trimtab("checkpoints", "list", finished, "--json").document["checkpoints"]
    assert [checkpoint["step"] for checkpoint in kept] == [10, 12]
    state = elsewhere.folder / ".trimtab" / "results"
    assert [path.name for path in (state / "launches").iterdir()] == [f"{run['launches'][0]['call_id']}.json"]
    assert here.trimtab("runs", "list", "--on", "here", "--json").document["runs"][0]["state"] == "launched"


def test_the_ledger_holds_what_it_was_to_cost_and_what_it_cost_once(here: Desk, finished: str) -> None:
    for _ in range(2):
        here.trimtab("runs", "show", finished)
    lines = (here.folder / ".trimtab" / "ledger.jsonl").read_text().splitlines()
    (entry,) = [entry for entry in map(json.loads, lines) if entry["result"].get("run_id") == finished]
    assert (entry["step"], entry["outcome"]) == ("modal:tides", "done")
    assert entry["measured"]["usd"] == pytest.approx(entry["result"]["seconds"] * USD_PER_SECOND, rel=1e-3)
    assert "last      " in here.trimtab("cost", "tides").out


def test_what_has_finished_is_not_sent_again(here: Desk, finished: str) -> None:
    words = ("train", "tides", "--on", "modal", "--config", str(here.folder / "12.yaml"), "--json")
    document = here.trimtab(*words).document
    assert (document["run_id"], document["launched"], document["state"]) == (finished, False, "finished")


def test_a_run_is_stopped_with_a_checkpoint_from_elsewhere_and_goes_on_with_it(
    here: Desk, elsewhere: Desk, finished: str
) -> None:
    most = ("--max-usd", f"{600 * USD_PER_SECOND:.6f}")
    run_id = here.launch(6000, *most)
    wait_until(lambda: here.state(run_id) == "running", within_s=120)
    config = str(here.folder / "6000.yaml")
    again = here.trimtab("train", "tides", "--on", "modal", "--config", config, "--json")
    assert again.document["launched"] is False  # it runs: two attempts at one run would overwrite each other

    stopped = elsewhere.trimtab("runs", "stop", run_id, "--json").document
    assert (stopped["stopped"], stopped["state"]) == (True, "stopped")
    compared = elsewhere.trimtab("runs", "compare", finished, run_id, "--json").document
    assert compared["differing"] == {"config.steps": [12, 6000]}
    assert compared["measured"]["steps"][0] == 12

    spent = here.trimtab("train", "tides", "--on", "modal", "--config", config, "--max-usd", "0.001", code=6)
    assert "nothing was started" in spent.err
    here.launch(6000, *most)
    wait_until(lambda: here.state(run_id) == "running", within_s=120)
    assert here.trimtab("runs", "stop", run_id, "--json").document["stopped"] is True
    document = here.trimtab("runs", "show", run_id, "--json").document
    first, second = document["attempts"]  # what was stopped is not tried again by itself
    assert (first["outcome"], second["first_step"]) == ("interrupted", first["last_step"])
    assert first["last_step"] > 0
    caps = [launch["cap_s"] for launch in reversed(document["launches"])]
    assert caps == pytest.approx([600, 600], rel=1e-3)  # of the run, not of a launch
    assert here.trimtab("runs", "stop", run_id, "--json").document["stopped"] is False


def test_a_run_that_fails_is_7_for_who_follows_it(here: Desk) -> None:
    run_id = here.launch(13)
    ended = here.trimtab("runs", "follow", run_id, "--json", code=7)
    assert (ended.document["state"], ended.document["error"]["exit"]) == ("failed", 7)
    assert "the tide is out" in ended.document["error"]["why"]


def test_a_run_that_nobody_launched_is_told_apart(here: Desk) -> None:
    assert "there is no run nobody-s" in here.trimtab("runs", "fetch", "nobody-s", code=2).err


def test_a_probe_is_priced_before_and_after_and_is_a_run_of_its_own(here: Desk, finished: str) -> None:
    assert finished
    words = ("cost", "tides", "--probe", "--steps", "3600", "--config", str(here.folder / "12.yaml"), "--json")
    dear = here.trimtab(*words, "--max-usd", "0.3", code=6)
    assert "up to 4 min 00 s at 5.032 $/h are 0.34 $ of 0.30 $" in dear.document["error"]["why"]

    ended = here.trimtab(*words, "--max-usd", "0.35", code=6)  # the probe may be made, but not the run after it
    assert "the probe is likely to cost 0.26 $, and at most 0.34 $" in ended.err
    probe = ended.document["probe"]
    assert (probe["steps"], probe["predicted_usd"]) == (12, pytest.approx(0.2558, abs=1e-3))
    assert f"the probe took {probe['usd']:.2f} $ of them" in ended.document["error"]["why"]
    assert ended.document["compute_from"].startswith("3,600 steps at ")
    assert ended.document["last"]["run_id"] != probe["run_id"]  # it is no run of the job

    lines = map(json.loads, (here.folder / ".trimtab" / "ledger.jsonl").read_text().splitlines())
    (entry,) = [entry for entry in lines if entry["result"].get("run_id") == probe["run_id"]]
    assert (entry["outcome"], entry["measured"]["usd"]) == ("done", probe["usd"])
    listed = here.trimtab("runs", "list", "--on", "modal", "--json").document["runs"]
    assert probe["usd"] in [run["cost"]["usd"] for run in listed if run["run_id"] == probe["run_id"]]


def test_a_machine_that_launched_nothing_prices_by_what_others_launched(elsewhere: Desk, finished: str) -> None:
    told = elsewhere.trimtab("cost", "tides", "--json").document
    assert told["compute_from"] == f"as long as run {finished} on 1 x A100-80GB, 32 cores took"


def test_rates_that_modal_does_not_tell_leave_the_table_as_it_is(here: Desk) -> None:
    ended = here.trimtab("cost", "tides", "--compute", "1h", "--refresh", code=4)
    assert "WorkspaceBillingRates" in ended.err
    assert not (here.folder / ".trimtab" / "prices.toml").exists()
