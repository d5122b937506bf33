"""What can happen to a call: it is preempted, killed, timed out, cancelled, detached; its plane starts anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until

pytestmark = pytest.mark.xdist_group("engine")

APPS = Path(__file__).parent / "modal_apps"
APP = APPS / "lives.py"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("lives"), grace_s=5.0) as running:
        running.cli("deploy", APP)
        yield running


def function(name: str) -> str:
    return f"f = modal.Function.from_name('lives', '{name}')\n"


def spawn(plane: ModalPlane, name: str, *arguments: object) -> str:
    words = ", ".join(map(repr, arguments))
    call: str = plane.python(f"{function(name)}answer = f.spawn({words}).object_id")
    return call


_GET = """
try:
    answer = call.get(timeout=90)
except Exception as error:
    answer = f"{type(error).__name__}: {error}"
"""


def result(plane: ModalPlane, call: str) -> object:
    return plane.python(f"call = modal.FunctionCall.from_id('{call}'){_GET}")


def call(plane: ModalPlane, name: str, *arguments: object) -> object:
    words = ", ".join(map(repr, arguments))
    return plane.python(f"{function(name)}call = f.spawn({words}){_GET}")


def test_a_preempted_input_runs_again_from_its_last_commit(plane: ModalPlane) -> None:
    running = spawn(plane, "trains", "preempted", 5)
    plane.wait_for_log("lives", "preempted did step 2")
    first = plane.running.ask("interrupt", {"target": "lives.trains"})
    done = result(plane, running)
    assert isinstance(done, list)
    assert len(done) == 5
    assert done[:2] == first * 2
    assert done[-1] != first[0]


def test_what_an_attempt_that_died_had_not_committed_is_gone_in_the_next(plane: ModalPlane) -> None:
    assert call(plane, "falls") == [True, False]


def test_a_container_that_ends_at_an_input_says_how(plane: ModalPlane) -> None:
    assert "exit code 7" in str(call(plane, "dies", 7))


def test_an_input_that_takes_longer_than_an_attempt_goes_on_in_the_next(plane: ModalPlane) -> None:
    resumed_at = call(plane, "crawls", "crawler", 4)
    assert isinstance(resumed_at, int)
    assert resumed_at >= 1


def test_a_cancelled_call_ends_as_cancelled(plane: ModalPlane) -> None:
    running = spawn(plane, "waits", 60)
    plane.wait_for_log("lives", "waiting")
    assert "cancelled" in str(plane.python(f"call = modal.FunctionCall.from_id('{running}')\ncall.cancel(){_GET}"))


def test_a_single_use_container_serves_one_input(plane: ModalPlane) -> None:
    first, second = plane.python(f"{function('once')}answer = [f.remote(), f.remote()]")
    assert first != second


def test_one_container_takes_as_many_inputs_at_a_time_as_its_function_says(plane: ModalPlane) -> None:
    assert len(set(plane.python(f"{function('together')}answer = list(f.map(range(4)))"))) == 1


def test_a_batched_function_gets_inputs_together(plane: ModalPlane) -> None:
    assert max(plane.python(f"{function('batches')}answer = list(f.map(range(8)))")) == 4


def test_a_function_calls_another_from_its_container(plane: ModalPlane) -> None:
    assert call(plane, "asks", 10) == 90


def test_a_spawn_map_runs_without_its_caller(plane: ModalPlane) -> None:
    plane.python(f"{function('doubles')}f.spawn_map(range(1000, 1003))\nanswer = None")
    plane.wait_for_log("lives", "doubling 1002")


def test_a_container_sees_neither_calls_nor_volumes_of_another_app(plane: ModalPlane) -> None:
    plane.cli("deploy", APPS / "other.py")
    code = "c = modal.Function.from_name('other', 'hides').spawn()\nanswer = [c.object_id, c.get()]"
    hidden, word = plane.python(code)
    assert word == "hidden"
    said = call(plane, "peeks", hidden, "other-secrets")
    assert isinstance(said, list)
    assert [("belongs to another app" in said[0]), ("not mounted by any function of this app" in said[1])] == [True] * 2


def test_a_detached_app_goes_on_when_its_client_has_left_and_stops_when_it_is_done(plane: ModalPlane) -> None:
    output = plane.cli("run", "--detach", f"{APP}::launch", "--seconds", "6")
    found = re.search(r"call (fc-\w+)", output)
    assert found is not None
    app = wait_until(lambda: next((a for a in plane.record()["apps"] if a["state"] == "running, detached"), None))
    assert result(plane, found.group(1)) == "waited"
    wait_until(lambda: [a["state"] for a in plane.record()["apps"] if a["id"] == app["id"]] == ["stopped"])


def test_an_app_whose_client_is_interrupted_stops(plane: ModalPlane) -> None:
    import signal

    process = plane.start("run", f"{APP}::main", "--seconds", "100")
    wait_until(lambda: any(app["state"] == "running" and app["containers"] for app in plane.record()["apps"]))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "abort" in output.lower() or "disconnect" in output.lower()
    wait_until(lambda: not any(app["state"] in {"running", "stopping"} for app in plane.record()["apps"]))


def test_a_new_deployment_takes_the_place_of_the_old(plane: ModalPlane, tmp_path: Path) -> None:
    file = tmp_path / "versions.py"
    text = "import modal\napp = modal.App('versions')\n\n@app.function()\ndef number():\n    return {}\n"
    for number in (1, 2):
        file.write_text(text.format(number))
        plane.cli("deploy", file)
        assert plane.python("answer = modal.Function.from_name('versions', 'number').remote()") == number


def test_a_function_that_can_not_be_loaded_fails_its_call_with_the_reason(plane: ModalPlane, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "import modal\napp = modal.App('broken')\n"
        "if not modal.is_local():\n    import no_such_module\n\n@app.function()\ndef f():\n    pass\n"
    )
    output = plane.cli("run", file, code=1)
    assert "no_such_module" in output


def test_what_was_promised_survives_the_end_of_the_plane(plane: ModalPlane) -> None:
    done, first = plane.python(f"{function('doubles')}c = f.spawn(21)\nanswer = [c.object_id, c.get()]")
    assert first == 42
    running = spawn(plane, "waits", 3)
    wait_until(
        lambda: any(c["started_at"] and not c["ended_at"] for a in plane.record()["apps"] for c in a["containers"])
    )
    plane.restart()
    assert result(plane, done) == 42
    assert result(plane, running) == "waited"
    assert plane.python(f"{function('doubles')}answer = f.remote(4)") == 8
    assert plane.log() == ""


def test_a_stopped_app_is_no_more_to_be_found(plane: ModalPlane) -> None:
    plane.cli("deploy", APPS / "other.py")
    plane.cli("app", "stop", "other", "--yes")
    wait_until(lambda: "stopped" in plane.cli("app", "list"))
    code = (
        "try:\n    modal.Function.from_name('other', 'hides').remote()\n"
        "except modal.exception.NotFoundError as error:\n    answer = str(error)"
    )
    assert "'other'" in plane.python(code)
