"""The plane's doors: every call of the protocol is answered or refused by name, to the right caller, on loopback."""

from __future__ import annotations

import asyncio
import inspect
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientBase, ModalClientStub

from tests.support.modal_plane import ModalPlane, embedded_modal
from trimtab.emulation.modal import calls
from trimtab.emulation.modal.attempt import TASK_HEADER
from trimtab.emulation.modal.rpc import CALLS, Who

pytestmark = pytest.mark.xdist_group("engine")

PROTOCOL = sorted(name for name, _ in inspect.getmembers(ModalClientBase, inspect.isfunction) if name[0] != "_")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("doors")) as running:
        yield running


def token(plane: ModalPlane) -> dict[str, str]:
    return {
        "x-modal-token-id": plane.running.token_id,
        "x-modal-token-secret": plane.running.token_secret.reveal(),
    }


async def ask(stub: ModalClientStub, name: str, metadata: dict[str, str], request: Any = None) -> GRPCError | None:
    """Make one call with an empty request; return how it was refused, or None when it was answered."""
    method = getattr(stub, name)
    message = method.request_type() if request is None else request
    try:
        async with asyncio.timeout(20), method.open(metadata=metadata) as stream:
            await stream.send_message(message, end=True)
            await stream.recv_message()
    except GRPCError as error:
        return error
    return None


def ask_all(plane: ModalPlane, names: list[str], metadata: dict[str, str]) -> dict[str, GRPCError | None]:
    async def run() -> dict[str, GRPCError | None]:
        channel = Channel("127.0.0.1", plane.running.port)
        try:
            stub = ModalClientStub(channel)
            return {name: await ask(stub, name, metadata) for name in names}
        finally:
            channel.close()

    return asyncio.run(run())


def test_every_call_that_is_registered_is_one_of_the_protocol() -> None:
    assert set(CALLS) <= set(PROTOCOL)
    assert {call.subject for call in CALLS.values()} == set(calls.__all__)


def test_a_call_that_is_not_supported_is_refused_by_its_name_and_never_hangs(plane: ModalPlane) -> None:
    unknown = [name for name in PROTOCOL if name not in CALLS]
    answers = ask_all(plane, unknown, token(plane))
    assert len(unknown) > 100
    for name, error in answers.items():
        assert error is not None
        assert error.status is Status.UNIMPLEMENTED
        assert f"does not answer the call {name}." in str(error.message)
        assert "docs/embedded-modal.md" in str(error.message)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"x-modal-token-id": "ak-other", "x-modal-token-secret": "as-other"},
        {TASK_HEADER: "of-no-task"},
    ],
    ids=["none", "another's", "no task's"],
)
def test_a_wrong_token_is_refused_at_every_call(plane: ModalPlane, wrong: dict[str, str]) -> None:
    for error in ask_all(plane, PROTOCOL, wrong).values():
        assert error is not None
        assert error.status is Status.UNAUTHENTICATED


def test_a_right_name_with_a_wrong_secret_is_refused(plane: ModalPlane) -> None:
    wrong = {**token(plane), "x-modal-token-secret": "as-guessed"}
    (error,) = ask_all(plane, ["AppList"], wrong).values()
    assert error is not None
    assert error.status is Status.UNAUTHENTICATED


def test_a_person_may_not_make_the_calls_of_containers(plane: ModalPlane) -> None:
    names = [name for name, call in CALLS.items() if call.who is Who.CONTAINER]
    assert "FunctionGetInputs" in names
    for error in ask_all(plane, names, token(plane)).values():
        assert error is not None
        assert error.status is Status.PERMISSION_DENIED


def test_calls_about_what_does_not_exist_are_answered_so(plane: ModalPlane) -> None:
    async def run() -> list[GRPCError | None]:
        channel = Channel("127.0.0.1", plane.running.port)
        try:
            stub = ModalClientStub(channel)
            requests = {
                "AppGetLifecycle": api_pb2.AppGetLifecycleRequest(app_id="ap-none"),
                "FunctionMap": api_pb2.FunctionMapRequest(function_id="fu-none"),
                "FunctionGetOutputs": api_pb2.FunctionGetOutputsRequest(function_call_id="fc-none"),
                "VolumeGetOrCreate": api_pb2.VolumeGetOrCreateRequest(deployment_name="none"),
                "SecretGetOrCreate": api_pb2.SecretGetOrCreateRequest(deployment_name="none"),
                "BlobGet": api_pb2.BlobGetRequest(blob_id="../token.json"),
                "EnvironmentGetOrCreate": api_pb2.EnvironmentGetOrCreateRequest(deployment_name="none"),
            }
            return [await ask(stub, name, token(plane), request) for name, request in requests.items()]
        finally:
            channel.close()

    for error in asyncio.run(run()):
        assert error is not None
        assert error.status is Status.NOT_FOUND


def test_nothing_listens_beyond_loopback(plane: ModalPlane) -> None:
    listening = [c for c in psutil.Process(plane.running.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.port for c in listening} == {plane.running.port, plane.running.web_port}
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def test_token_environment_and_state_are_their_owner_s_alone(plane: ModalPlane) -> None:
    folder = plane.running.state_dir
    for name in ("token.json", "environment", "state.db", "plane.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert plane.running.token_secret.reveal() not in repr(plane.running)


@pytest.mark.parametrize("path", ["/blob/bl-any?key=x", "/file?name=2f657463&start=0&end=9&key=x", "/control/status"])
def test_an_address_that_was_not_given_out_is_forbidden(plane: ModalPlane, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{plane.running.web_port}{path}", timeout=10)
    assert caught.value.code == 403
    caught.value.close()


REFUSED = """
cases = {
    "timeout": dict(timeout=86401),
    "retries": dict(retries=modal.Retries(max_retries=11)),
    "gpu": dict(gpu="H1000"),
    "gpus": dict(gpu="A10:5"),
    "disk": dict(ephemeral_disk=4 * 1024 * 1024),
    "choice": dict(gpu=["H100", "T4:9"]),
}
answer = {}
for name, words in cases.items():
    app = modal.App(name)
    app.function(serialized=True, **words)(lambda: None)
    try:
        with app.run():
            answer[name] = "accepted"
    except modal.exception.InvalidError as error:
        answer[name] = str(error)
"""

PAGES = {
    "timeout": "guide/timeouts",
    "retries": "guide/retries",
    "gpu": "guide/gpu",
    "gpus": "guide/gpu",
    "disk": "guide/resources",
    "choice": "guide/gpu",
}


def test_what_modal_would_refuse_is_refused_with_the_page_that_says_so(plane: ModalPlane) -> None:
    said = plane.python(REFUSED)
    for name, page in PAGES.items():
        assert f"https://modal.com/docs/{page}" in said[name], said[name]


UNSUPPORTED = """
app = modal.App("web")
image = modal.Image.debian_slim()
app.function(serialized=True)(modal.fastapi_endpoint()(lambda: None))
try:
    with app.run():
        answer = "accepted"
except Exception as error:
    answer = f"{type(error).__name__}: {error}"
"""


def test_what_the_embedded_one_cannot_do_is_said_so(plane: ModalPlane) -> None:
    assert "nothing here listens for the web" in plane.python(UNSUPPORTED)


FILES = """
import io
answer = []
for version in (1, 2):
    name = f"files-{version}"
    modal.Volume.objects.create(name, version=version)
    volume = modal.Volume.from_name(name)
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"one"), "/a/one.txt")
        batch.put_file(io.BytesIO(b"\\x02" * 9_000_000), "/big.bin")
    names = sorted(entry.path for entry in volume.listdir("/", recursive=True))
    size = sum(map(len, volume.read_file("big.bin")))
    try:
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"again"), "/a/one.txt")
        twice = "accepted"
    except FileExistsError:
        twice = "refused"
    volume.copy_files(["a/one.txt"], "two.txt")
    volume.remove_file("a", recursive=True)
    left = sorted(entry.path for entry in volume.listdir("/"))
    answer.append([names, size, twice, left])
"""


def test_files_of_a_volume_are_put_read_copied_and_removed_by_the_client(plane: ModalPlane) -> None:
    for names, size, twice, left in plane.python(FILES):
        assert [name for name in names if name != "a"] == ["a/one.txt", "big.bin"]
        assert size == 9_000_000
        assert twice == "refused"
        assert left == ["big.bin", "two.txt"]


def test_files_of_a_volume_are_put_listed_fetched_and_removed_by_the_cli(plane: ModalPlane, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("from the desk")
    plane.cli("volume", "create", "desk")
    plane.cli("volume", "put", "desk", tmp_path / "note.txt", "/notes/note.txt")
    assert "notes/note.txt" in plane.cli("volume", "ls", "desk", "notes")
    plane.cli("volume", "get", "desk", "notes/note.txt", tmp_path / "back.txt")
    assert (tmp_path / "back.txt").read_text() == "from the desk"
    plane.cli("volume", "rm", "desk", "notes/note.txt")
    assert "note.txt" not in plane.cli("volume", "ls", "desk", "notes")


def test_a_secret_s_keys_are_told_and_its_values_are_not(plane: ModalPlane) -> None:
    plane.cli("secret", "create", "gulls", "BIRD=albatross")
    assert "gulls" in plane.cli("secret", "list")
    assert plane.python("answer = modal.Secret.from_name('gulls').info().name") == "gulls"
    assert next(one for one in plane.record()["secrets"] if one["name"] == "gulls")["keys"] == ["BIRD"]
    assert "albatross" not in str(plane.record())
    assert "albatross" not in plane.log()
