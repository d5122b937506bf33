"""Twelve kinds of function, deployed once and called by the real client, each from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harbour import DATA, harbour
from tests.support.modal_plane import ModalPlane, embedded_modal
from trimtab.emulation.modal import bucket_mount

pytestmark = pytest.mark.xdist_group("engine")

APP = Path(__file__).parent / "modal_apps" / "kinds.py"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    folder = tmp_path_factory.mktemp("kinds")
    with harbour(folder / "aws") as stack, embedded_modal(folder, aws_state_dir=folder / "aws") as running:
        stack.put(f"{DATA}tuesday.txt", b"high water at noon")
        running.env["CHARTS_ROLE"] = stack.role_arn
        running.cli("deploy", APP)
        yield running


def function(name: str) -> str:
    return f"f = modal.Function.from_name('harbour', '{name}')\n"


def test_the_file_runs_unchanged_with_its_output_in_the_terminal(plane: ModalPlane) -> None:
    output = plane.cli("run", f"{APP}::main")
    assert "plain got 12" in output
    assert "plain: 144" in output
    assert "App completed" in output


def test_a_client_of_the_minor_version_before_runs_the_same_file(plane: ModalPlane, tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "venv" / "bin" / "python"
    for words in (("venv", "-p", sys.executable, tmp_path / "venv"), ("pip", "install", "-p", python, "modal==1.5.5")):
        done = subprocess.run((uv, "-q", *words), capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            pytest.skip(f"the client 1.5.5 cannot be had here: {done.stderr.strip()[-200:]}")
    argv = (python, "-m", "modal", "run", APP)
    older = subprocess.run(argv, env=plane.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert older.returncode == 0, older.stderr
    assert "plain: 144" in older.stdout


def test_a_function_returns_its_result(plane: ModalPlane) -> None:
    assert plane.python(f"{function('plain')}answer = f.remote(12)") == 144


def test_what_one_container_commits_to_a_volume_another_reads(plane: ModalPlane) -> None:
    code = "w, r = (modal.Function.from_name('harbour', name) for name in ('writes', 'reads'))\n"
    assert plane.python(f"{code}w.remote('a note')\nanswer = r.remote()") == "a note"


@pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing()))
def test_a_bucket_mount_shows_what_lies_under_its_prefix(plane: ModalPlane) -> None:
    names, text = plane.python(f"{function('looks')}answer = f.remote('tuesday.txt')")
    assert names == ["tuesday.txt"]
    assert text == "high water at noon"


def test_a_class_keeps_its_state_between_enter_and_exit(plane: ModalPlane) -> None:
    code = "c = modal.Cls.from_name('harbour', 'Counter')(start=40)\nanswer = [c.add.remote(1), c.add.remote(1)]"
    assert plane.python(code) == [41, 42]
    other = "answer = modal.Cls.from_name('harbour', 'Counter')().add.remote(1)"
    assert plane.python(other) == 1


def test_a_generator_streams_what_it_yields(plane: ModalPlane) -> None:
    assert plane.python(f"{function('counts')}answer = list(f.remote_gen(5))") == [0, 1, 2, 3, 4]


def test_a_map_runs_in_several_containers_and_keeps_the_order(plane: ModalPlane) -> None:
    results = plane.python(f"{function('square')}answer = list(f.map(range(100)))")
    assert [value for value, _ in results] == [number * number for number in range(100)]
    assert len({task for _, task in results}) == 2


def test_a_starmap_spreads_its_arguments(plane: ModalPlane) -> None:
    assert plane.python(f"{function('add')}answer = list(f.starmap([(1, 2), (3, 4)]))") == [3, 7]


def test_retries_go_on_until_the_third_attempt_succeeds(plane: ModalPlane) -> None:
    assert plane.python(f"{function('third_time')}answer = f.remote('only')") == 3


def test_a_timeout_is_raised_in_the_caller(plane: ModalPlane) -> None:
    code = (
        f"{function('sleeps')}"
        "try:\n    f.remote(60)\n"
        "except modal.exception.FunctionTimeoutError as error:\n    answer = str(error)"
    )
    assert "1s" in plane.python(code)


def test_an_exception_is_raised_in_the_caller_with_its_traceback(plane: ModalPlane) -> None:
    code = (
        f"import traceback\n{function('fails')}"
        "try:\n    f.remote('no such bird')\n"
        "except ValueError as error:\n    answer = [str(error), ''.join(traceback.format_exception(error))]"
    )
    message, lines = plane.python(code)
    assert message == "no such bird"
    assert "/root/kinds.py" in lines
    assert "in fails" in lines


def test_a_big_result_and_a_big_argument_go_by_blobs(plane: ModalPlane) -> None:
    assert plane.python(f"{function('big')}answer = len(f.remote(5 * 1024 * 1024))") == 5 * 1024 * 1024
    code = f"{function('fails')}\ntry:\n    f.remote('x' * 3_000_000)\nexcept ValueError as error:\n"
    assert plane.python(f"{code}    answer = len(str(error))") == 3_000_000


def test_a_secret_is_in_the_environment(plane: ModalPlane) -> None:
    assert plane.python(f"{function('told')}answer = f.remote()") == "albatross"


def test_a_schedule_is_recorded_and_may_be_run_on_demand(plane: ModalPlane) -> None:
    app = next(app for app in plane.record()["apps"] if app["state"] == "deployed")
    nightly = next(one for one in app["functions"] if one["name"] == "nightly")
    assert nightly["schedule"] == {"cron": "0 4 * * *", "timezone": "UTC"}
    call = plane.running.ask("trigger", {"app": "harbour", "function": "nightly"})["call_id"]
    assert plane.python(f"answer = modal.FunctionCall.from_id('{call}').get(timeout=60)") == "done"


def test_what_was_spawned_is_fetched_from_another_process(plane: ModalPlane) -> None:
    call = plane.python(f"{function('plain')}answer = f.spawn(9).object_id")
    assert plane.python(f"answer = modal.FunctionCall.from_id('{call}').get(timeout=60)") == 81


def test_the_record_tells_what_was_declared(plane: ModalPlane) -> None:
    app = next(app for app in plane.record()["apps"] if app["state"] == "deployed")
    functions = {one["name"]: one for one in app["functions"]}
    assert functions["third_time"]["retries"]["max"] == 3
    assert functions["sleeps"]["timeout_s"] == 1
    assert functions["told"]["secrets"] == [{"name": "", "keys": ["FAVOURITE"]}]
    assert functions["writes"]["volumes"][0]["path"] == "/results"
    assert functions["looks"]["buckets"][0]["prefix"] == DATA
    assert functions["square"]["max_containers"] == 2
    assert functions["plain"]["files"] == ["/root/kinds.py"]
    assert any("FROM" in command for layer in functions["plain"]["image"] for command in layer)
