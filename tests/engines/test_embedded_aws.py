"""The embedded AWS as a program: it starts once, is found again, guards its door, and only it is stopped."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded import answer_of, embedded_aws
from trimtab.emulation import aws
from trimtab.errors import ProgramError


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws.EmbeddedAws]:
    with embedded_aws(tmp_path_factory.mktemp("aws")) as running:
        yield running


def alive(pid: int) -> bool:
    """Return whether a process runs (one that is dead and not yet reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Any, *, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def status_of(url: str, *, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data=data, headers=headers or {})  # noqa: S310 - our own server
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_second_start_finds_the_first(running: aws.EmbeddedAws) -> None:
    again = aws.ensure_running(running.state_dir)
    assert (again.pid, again.port, again.generation) == (running.pid, running.port, running.generation)


def test_it_listens_on_this_machine_only(running: aws.EmbeddedAws) -> None:
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{running.port:04X}")
    ]
    assert listening == [f"0100007F:{running.port:04X}"]


def test_keys_are_generated_and_readable_by_their_owner_only(running: aws.EmbeddedAws) -> None:
    keys = running.state_dir / "operator.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    secret = json.loads(keys.read_text())["secret_access_key"]
    assert secret not in repr(running)
    assert secret.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("path", ["/moto-api/reset-auth", "/moto-api/reset", "/moto-api/data.json", "/"])
def test_nobody_switches_enforcement_off_or_comes_in_unsigned(running: aws.EmbeddedAws, path: str) -> None:
    for data in (None, b"inf", b"Action=CreateUser&UserName=me&Version=2010-05-08"):
        status, _ = status_of(running.endpoint_url + path, data=data)
        assert status == 403
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=b"}
    if path != "/":
        assert status_of(running.endpoint_url + path, data=b"inf", headers=signed)[0] == 403


def test_made_up_keys_are_refused(running: aws.EmbeddedAws) -> None:
    from trimtab.emulation.clients import create_client
    from trimtab.process import Secret

    stranger = create_client(
        "s3", running.endpoint_url, region="eu-north-1", keys=("AKIAEXAMPLE", Secret("guessed"), None)
    )
    assert answer_of(stranger.list_buckets) == 403


def test_the_person_s_own_aws_settings_neither_reach_it_nor_break_it(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from trimtab.emulation import aws\n"
        f"state = Path({str(tmp_path)!r})\n"
        "running = aws.ensure_running(state)\n"
        "try: print(running.operator_client('s3').list_buckets()['Buckets'])\n"
        "finally: aws.stop(state)"
    )
    hostile = {
        "AWS_PROFILE": "missing",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/missing",
        "MOTO_ACCOUNT_ID": "000000000000",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, **hostile},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_objects_of_any_size_and_name_come_back_as_they_were(running: aws.EmbeddedAws, tmp_path: Path) -> None:
    s3 = running.operator_client("s3")
    s3.create_bucket(Bucket="objects")
    large = os.urandom(20 * 1024 * 1024)  # over boto3's 8 MiB: in parts
    (tmp_path / "large").write_bytes(large)
    s3.upload_file(str(tmp_path / "large"), "objects", "large")
    s3.download_file("objects", "large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == large
    for key, body in (("a b+c&d=ü/é.txt", b"x"), ("empty", b""), ("_under_score-._~!*'()", b"y" * 70_000)):
        s3.put_object(Bucket="objects", Key=key, Body=body)
        assert s3.get_object(Bucket="objects", Key=key)["Body"].read() == body


def test_many_requests_at_once_are_answered(running: aws.EmbeddedAws) -> None:
    s3 = running.operator_client("s3")
    s3.create_bucket(Bucket="many")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: s3.put_object(Bucket="many", Key=f"k/{n:03}", Body=b"%d" % n), range(200)))
    assert s3.list_objects_v2(Bucket="many")["KeyCount"] == 200


def test_stop_ends_it_and_says_whether_one_ran(tmp_path: Path) -> None:
    running = aws.ensure_running(tmp_path)
    assert aws.stop(tmp_path) is True
    assert not alive(running.pid)
    assert aws.status(tmp_path) is None
    assert aws.stop(tmp_path) is False
    assert not (tmp_path / "operator.json").exists()


def test_a_new_server_is_another_generation_with_other_keys(tmp_path: Path) -> None:
    with embedded_aws(tmp_path) as first:
        keys = (tmp_path / "operator.json").read_text()
        os.kill(first.pid, 9)
        wait_until(lambda: aws.status(tmp_path) is None)
    with embedded_aws(tmp_path) as second:
        assert second.generation != first.generation
        assert (tmp_path / "operator.json").read_text() != keys


def test_a_process_that_got_the_old_id_is_neither_taken_for_it_nor_killed(tmp_path: Path) -> None:
    with embedded_aws(tmp_path) as first:
        os.kill(first.pid, 9)
        wait_until(lambda: not alive(first.pid))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as innocent:
        record = {"pid": innocent.pid, "port": first.port, "generation": first.generation}
        (tmp_path / "server.json").write_text(json.dumps(record))
        try:
            assert aws.status(tmp_path) is None
            assert aws.stop(tmp_path) is False
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_two_starts_at_once_start_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: aws.ensure_running(tmp_path), range(4)))
    try:
        assert len({running.pid for running in found}) == 1
    finally:
        aws.stop(tmp_path)


def test_it_ends_by_itself_when_its_folder_is_removed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    running = aws.ensure_running(state)
    for path in state.iterdir():
        path.unlink()
    state.rmdir()
    wait_until(lambda: not alive(running.pid))


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    (tmp_path / "operator.json").mkdir()  # so that its keys cannot be written
    with pytest.raises(ProgramError) as failed:
        aws.ensure_running(tmp_path)
    assert "operator.json was not written" in failed.value.why
    assert "server.log" in failed.value.remedy
    assert aws.status(tmp_path) is None
