"""What goes wrong around the embedded Modal: a kill, a full disk, a damaged file, a hostile message."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientStub

from tests.support.disk import small_disk
from tests.support.engine import BASE_IMAGE, require_engine
from tests.support.modal_plane import ENVIRONMENT, WORKSPACE, ModalPlane, embedded_modal, wait_until
from trimtab.emulation.modal import control, namespaces
from trimtab.emulation.modal.containers import LABEL
from trimtab.emulation.modal.place import plane_name
from trimtab.emulation.modal.server import MAX_MESSAGE_BYTES
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.errors import ProgramError

pytestmark = pytest.mark.xdist_group("engine")

needs_namespaces = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))
APP = """
import modal
app = modal.App("faults")
volume = modal.Volume.from_name("faults-data", create_if_missing=True)

@app.function(volumes={"/data": volume})
def waits(seconds):
    import time
    print("waiting", flush=True)
    time.sleep(seconds)
    return "waited"

@app.function()
def talks(lines):
    import time
    for number in range(lines):
        print(f"word {number} " * 200, flush=True)
        time.sleep(0.02)
    return lines
"""


def deploy(plane: ModalPlane) -> None:
    (plane.cwd / "faults.py").write_text(APP)
    plane.cli("deploy", plane.cwd / "faults.py")


def spawn(plane: ModalPlane, name: str, argument: float) -> str:
    call: str = plane.python(f"answer = modal.Function.from_name('faults', '{name}').spawn({argument}).object_id")
    return call


def result(plane: ModalPlane, call: str) -> object:
    return plane.python(f"answer = modal.FunctionCall.from_id('{call}').get(timeout=90)")


def kill(plane: ModalPlane) -> None:
    os.kill(plane.running.pid, signal.SIGKILL)
    wait_until(lambda: control.status(plane.running.state_dir) is None)


def asked(plane: ModalPlane, sql: str) -> int:
    """Count something in the plane's file, whether it runs or not: a client would take a second."""
    with closing(sqlite3.connect(f"file:{plane.running.state_dir / 'state.db'}?mode=ro", uri=True)) as state:
        count: int = state.execute(sql).fetchone()[0]
    return count


SAID = "SELECT count(*) FROM log WHERE data LIKE 'waiting%'"
FINISHED = "SELECT count(*) FROM input WHERE entry NOT NULL"


def test_a_killed_plane_is_told_and_what_it_left_running_is_ended_and_run_again(root: Path, tmp_path: Path) -> None:
    engine = require_engine()
    (tmp_path / "faults.py").write_text(f"{APP}\n@app.local_entrypoint()\ndef main():\n    waits.remote(1.5)\n")
    env = {**os.environ, "TRIMTAB_ROOT": str(root), "TRIMTAB_STATE": str(tmp_path)}
    argv = (sys.executable, "-m", "trimtab", "modal", "run", tmp_path / "faults.py")
    with embedded_modal(tmp_path, runner="docker") as plane:
        ours = {"label": f"{LABEL}={plane_name(plane.running.state_dir)}"}
        with subprocess.Popen(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            wait_until(lambda: asked(plane, SAID))
            kill(plane)
            assert control.left_running(plane.running.state_dir) == 1
            assert len(engine.containers.list(filters=ours, ignore_removed=True)) == 1
            assert control.stop(plane.running.state_dir) is False  # what `down` does: there is no plane to stop
            assert engine.containers.list(filters=ours, ignore_removed=True) == []
            assert control.left_running(plane.running.state_dir) == 0
            output, _ = process.communicate(timeout=90)
        assert process.returncode == 4
        assert "the embedded Modal ended meanwhile" in output
        plane.restart()
        wait_until(lambda: asked(plane, FINISHED))
        assert asked(plane, SAID) == 2


@needs_namespaces
def test_a_killed_plane_s_processes_end_with_it_and_leave_no_mount(tmp_path: Path) -> None:
    with embedded_modal(tmp_path, runner="namespace") as plane:
        deploy(plane)
        spawn(plane, "waits", 60)
        wait_until(lambda: asked(plane, SAID))
        children = psutil.Process(plane.running.pid).children(recursive=True)
        assert children
        kill(plane)
        psutil.wait_procs(children, timeout=10)
        assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
        control.stop(plane.running.state_dir)
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
        assert control.left_running(plane.running.state_dir) == 0


@needs_namespaces
def test_a_full_disk_ends_the_plane_with_what_to_do_and_the_next_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk, embedded_modal(disk, runner="namespace") as plane:
        deploy(plane)
        call = spawn(plane, "talks", 50)
        wait_until(lambda: asked(plane, "SELECT count(*) FROM log WHERE data LIKE 'word 2 %'"))
        filler = disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        wait_until(lambda: control.status(plane.running.state_dir) is None)
        words = control.last_words(plane.running.state_dir)
        assert words.startswith("the embedded Modal ended: its disk is full")
        assert "next: free space" in words
        with pytest.raises(ProgramError) as failed:
            control.ensure_running(plane.running.state_dir, plane.settings)
        assert failed.value.exit_code == 6
        assert "the embedded Modal has no room" in failed.value.why
        filler.unlink()
        plane.restart()
        assert result(plane, call) == 50


def settings() -> PlaneSettings:
    return PlaneSettings(
        workspace=WORKSPACE, environment=ENVIRONMENT, runner="namespace", base_image=BASE_IMAGE, aws_state_dir=""
    )


@pytest.mark.parametrize("name", ["state.db", "token.json"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 8192)
    with pytest.raises(ProgramError) as failed:
        control.ensure_running(tmp_path, settings())
    assert f"{name}" in failed.value.why
    assert "next: " in failed.value.why
    assert "Traceback" not in failed.value.why


def test_four_starts_at_once_start_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        starts = [threads.submit(control.ensure_running, tmp_path, settings()) for _ in range(4)]
    try:
        assert len({start.result().pid for start in starts}) == 1
    finally:
        control.stop(tmp_path)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("hostile"), runner="namespace") as running:
        yield running


def test_a_record_that_is_damaged_while_the_plane_runs_is_named_with_who_to_end(plane: ModalPlane) -> None:
    record = plane.running.state_dir / "plane.json"
    right = record.read_bytes()
    record.write_text("{")
    with pytest.raises(ProgramError) as failed:
        control.status(plane.running.state_dir)
    record.write_bytes(right)
    assert "plane.json" in failed.value.what
    assert "plane.lock" in failed.value.remedy


def token(plane: ModalPlane) -> dict[str, str]:
    return {
        "x-modal-token-id": plane.running.token_id,
        "x-modal-token-secret": plane.running.token_secret.reveal(),
    }


def say(plane: ModalPlane, head: bytes, body: bytes) -> Status | None:
    """Send bytes of our own as the message of a call, with the right token; return how it was refused."""

    async def run() -> Status | None:
        channel = Channel("127.0.0.1", plane.running.port)
        try:
            async with asyncio.timeout(20), ModalClientStub(channel).AppList.open(metadata=token(plane)) as stream:
                await stream.send_request()
                await stream._stream.send_data(head + body, end_stream=True)
                await stream.recv_message()
        except GRPCError as error:
            return error.status
        finally:
            channel.close()
        return None

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), b"x"),
        (b"\0\xff\xff\xff\xff", b""),
        (b"\1\0\0\0\4", b"abcd"),
        (b"\0\0\0\0\4", b"\xff\xff\xff\xff"),
        (b"\0\0", b""),
        (b"", b""),
    ],
    ids=["too big", "of 4 GiB", "compressed", "no message", "cut short", "empty"],
)
def test_a_message_that_is_none_is_refused(plane: ModalPlane, head: bytes, body: bytes) -> None:
    assert say(plane, head, body) is Status.INVALID_ARGUMENT
    assert plane.record()["apps"] == []
    assert plane.log() == ""


def test_what_leads_out_or_is_not_there_or_makes_no_sense_is_refused_and_not_logged(plane: ModalPlane) -> None:
    file = api_pb2.MountFile
    refused: list[tuple[str, Any, Status]] = [
        ("MountGetOrCreate", mount(file(filename="/root/../../etc/passwd", sha256_hex="aa")), Status.INVALID_ARGUMENT),
        ("MountGetOrCreate", mount(file(filename="/a.py", sha256_hex="../token.json")), Status.INVALID_ARGUMENT),
        ("MountPutFile", api_pb2.MountPutFileRequest(sha256_hex="a" * 5000), Status.INVALID_ARGUMENT),
        ("MountPutFile", api_pb2.MountPutFileRequest(sha256_hex="aa", data_blob_id="none"), Status.NOT_FOUND),
        ("FunctionGetOutputs", api_pb2.FunctionGetOutputsRequest(function_call_id="x"), Status.NOT_FOUND),
        ("AppFetchLogs", api_pb2.AppFetchLogsRequest(since={"nanos": -5}), Status.INVALID_ARGUMENT),
    ]

    async def run() -> list[Status]:
        channel = Channel("127.0.0.1", plane.running.port)
        found = []
        for name, request, _ in refused:
            with pytest.raises(GRPCError) as caught:
                await getattr(ModalClientStub(channel), name)(request, metadata=token(plane))
            found.append(caught.value.status)
        channel.close()
        return found

    assert asyncio.run(run()) == [status for _, _, status in refused]
    assert plane.log() == ""


def mount(file: api_pb2.MountFile) -> api_pb2.MountGetOrCreateRequest:
    return api_pb2.MountGetOrCreateRequest(files=[file])
