"""`trimtab modal`, as a person types it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.support.modal_plane import wait_until
from trimtab.emulation.modal import control

pytestmark = pytest.mark.xdist_group("engine")

APP = Path(__file__).parent / "modal_apps" / "lives.py"


class Desk:
    """A shell in a project whose state lies in a folder of the test's own."""

    def __init__(self, root: Path, state: Path) -> None:
        self.state = state
        mine = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
        self.env = {**mine, "TRIMTAB_ROOT": str(root), "TRIMTAB_STATE": str(state)}

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        argv = (sys.executable, "-m", "trimtab", "modal", *map(str, words))
        return subprocess.Popen(argv, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        process = self.start(*words)
        output, error = process.communicate(timeout=120)
        assert process.returncode == code, output + error
        return output, error


@pytest.fixture(scope="module")
def desk(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    state = tmp_path_factory.mktemp("state")
    yield Desk(root, state)
    control.stop(state / "modal")


def test_without_a_plane_status_says_so_and_what_needs_one_says_what_to_do(desk: Desk) -> None:
    assert json.loads(desk.run("status", "--json")[0]) == {"running": False}
    assert json.loads(desk.run("down", "--json")[0]) == {"stopped": False}
    _, error = desk.run("interrupt", "lives", code=2)
    assert "trimtab modal up" in error


def test_a_wrong_number_is_refused_before_anything_starts(desk: Desk) -> None:
    desk.run("up", "--time-scale", "0", code=2)
    assert control.status(desk.state / "modal") is None


def test_up_starts_one_and_a_second_up_finds_it(desk: Desk) -> None:
    first = json.loads(desk.run("up", "--grace", "5", "--json")[0])
    assert json.loads(desk.run("up", "--json")[0]) == first
    assert Path(first["environment_file"]).is_file()
    assert "token" not in json.dumps(first)


def test_options_that_the_running_one_was_not_started_with_are_refused(desk: Desk) -> None:
    desk.run("up", "--grace", "5")
    _, error = desk.run("up", "--grace", "6", code=2)
    assert "--grace is 5.0, and not 6.0" in error
    assert "trimtab modal down" in error


def test_the_exported_lines_let_the_real_client_use_it(desk: Desk) -> None:
    script = f'eval "$({sys.executable} -m trimtab modal up --export)" && {sys.executable} -m modal app list'
    done = subprocess.run(("bash", "-c", script), env=desk.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Apps" in done.stdout


def test_run_runs_the_real_command_and_keeps_the_plane(desk: Desk) -> None:
    output, _ = desk.run("run", f"{APP}::main", "--seconds", "0.1")
    assert "it waited" in output
    assert control.status(desk.state / "modal") is not None


def test_a_failing_run_ends_with_the_code_for_another_program(desk: Desk, tmp_path: Path) -> None:
    output, error = desk.run("run", tmp_path / "no-such-file.py", code=4)
    assert "no-such-file.py" in output + error
    assert "ended with exit code" in error


def test_status_tells_what_was_deployed(desk: Desk) -> None:
    desk.run("run", f"{APP}::main")
    record = json.loads(desk.run("status", "--json")[0])
    assert record["running"] is True
    assert {function["name"] for function in record["apps"][-1]["functions"]} >= {"waits", "trains"}
    assert "lives" in desk.run("status")[0]


def test_interrupt_preempts_what_runs_and_its_input_runs_again(desk: Desk) -> None:
    process = desk.start("run", f"{APP}::main", "--seconds", "4")
    try:
        wait_until(lambda: _is_waiting(desk))
        interrupted = json.loads(desk.run("interrupt", "lives.waits", "--json")[0])["interrupted"]
        assert len(interrupted) == 1
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.communicate()
    assert "Preempted" in output
    assert output.count("waiting") == 2
    assert "it waited" in output


def _is_waiting(desk: Desk) -> bool:
    """Tell whether the app that runs now has said so. Reads the plane's own file: a client would take a second."""
    plane = control.status(desk.state / "modal")
    apps = [app["id"] for app in plane.ask("status")["apps"] if app["state"] == "running"] if plane else []
    with closing(sqlite3.connect(f"file:{desk.state / 'modal' / 'state.db'}?mode=ro", uri=True)) as state:
        said = [state.execute("SELECT data FROM log WHERE app_id = ?", (app,)).fetchall() for app in apps]
    return any("waiting" in row[0] for rows in said for row in rows)


def test_a_run_that_is_interrupted_stops_its_app_and_nothing_else(desk: Desk) -> None:
    process = desk.start("run", f"{APP}::main", "--seconds", "60")
    wait_until(lambda: _is_waiting(desk))
    for reached in (psutil.Process(process.pid), *psutil.Process(process.pid).children()):  # as Ctrl-C reaches both
        reached.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert "Disconnecting" in output + error
    plane = control.status(desk.state / "modal")
    assert plane is not None
    wait_until(lambda: not any(app["state"] in {"running", "stopping"} for app in plane.ask("status")["apps"]))


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended, where nobody took note of it: in a container whose first process does not."""
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_down_ends_the_plane_and_what_it_knows_stays(desk: Desk) -> None:
    running = control.status(desk.state / "modal")
    assert running is not None
    assert json.loads(desk.run("down", "--json")[0]) == {"stopped": True}
    assert control.status(desk.state / "modal") is None
    assert not (desk.state / "modal" / "environment").exists()
    wait_until(lambda: not psutil.pid_exists(running.pid) or _is_zombie(running.pid), within_s=10)
    assert (desk.state / "modal" / "state.db").is_file()
