"""One push at a time to a place: held while its process lives, let go of when it ends, however it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.modal_plane import wait_until
from tests.support.object_server import BUCKET, ObjectServer, client_of, object_server
from trimtab.errors import DriftError, UsageError
from trimtab.storage.datasets import push
from trimtab.storage.folders import MANIFEST
from trimtab.storage.leases import EXPIRES_S, LEASE, Lease
from trimtab.storage.objects import Place
from trimtab.storage.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACE = Place(bucket=BUCKET, prefix="datasets/pictures/")
KEY = PLACE.prefix + LEASE
ELSEWHERE = {"who": "maria@another", "began": "2026-03-01T10:00:00+00:00", "process": {"host": "another", "pid": 7}}


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / f"{number}.txt").write_bytes(b"%d" % number)
    return tmp_path / "data"


def lease(server: ObjectServer, **settings: Any) -> Lease:
    return Lease(client=client_of(server.endpoint), place=PLACE, **settings)


def test_while_one_holds_the_place_another_is_refused_and_told_by_whom(server: ObjectServer, folder: Path) -> None:
    with lease(server), pytest.raises(UsageError) as caught:
        push(client_of(server.endpoint), folder, PLACE)
    assert "another push to s3://bucket/datasets/pictures/ is under way" in caught.value.what
    assert "last heard of" in caught.value.why
    assert "push again: only what differs travels" in caught.value.remedy
    assert server.objects == {}
    assert push(client_of(server.endpoint), folder, PLACE).sent_files == 5
    assert KEY not in server.objects


def test_it_is_renewed_while_it_is_held(server: ObjectServer) -> None:
    with lease(server, renew_s=0.01) as held:
        wait_until(lambda: server.asked["put"] > 5)
        held.check()
    assert server.objects == {}


@pytest.mark.parametrize("then", ["waited for", "a zombie"])
def test_one_whose_process_was_killed_here_is_taken_over_at_once(
    server: ObjectServer, folder: Path, root: Path, then: str
) -> None:
    call = "from tests.engines.push_child import hold; import sys; hold(*sys.argv[1:])"
    argv = [sys.executable, "-c", call, server.endpoint, PLACE.prefix]
    with subprocess.Popen(argv, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another push"):
            push(client_of(server.endpoint), folder, PLACE)
        process.kill()
        if then == "waited for":
            process.wait()
        wait_until(lambda: push(client_of(server.endpoint), folder, PLACE).files)
    assert verify(client_of(server.endpoint), PLACE).problems == ()


def test_one_of_another_machine_is_taken_over_when_it_was_not_heard_of_for_a_minute(
    server: ObjectServer, folder: Path
) -> None:
    client = client_of(server.endpoint)
    server.put(KEY, json.dumps(ELSEWHERE).encode())
    with pytest.raises(UsageError, match="another push") as caught:
        push(client, folder, PLACE)
    assert "maria@another (since 2026-03-01T10:00:00+00:00" in caught.value.why
    server.written[KEY] = time.time() - EXPIRES_S - 2
    assert push(client, folder, PLACE).sent_files == 5
    assert KEY not in server.objects


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"process": {"pid": "x"}}'])
def test_one_that_nobody_can_read_is_somebodys_until_it_expires(
    server: ObjectServer, folder: Path, content: bytes
) -> None:
    server.put(KEY, content)
    with pytest.raises(UsageError, match="another push"):
        push(client_of(server.endpoint), folder, PLACE)
    server.written[KEY] -= EXPIRES_S + 2
    push(client_of(server.endpoint), folder, PLACE)


def test_one_that_was_taken_over_writes_nothing_more_and_leaves_the_other_be(
    server: ObjectServer, folder: Path
) -> None:
    with lease(server, renew_s=0.01) as held:
        server.put(KEY, json.dumps(ELSEWHERE).encode())
        with pytest.raises(DriftError, match="not held for it any more") as caught:
            wait_until(held.check)
        assert "maria@another" in caught.value.why
    assert server.objects == {KEY: json.dumps(ELSEWHERE).encode()}


def test_an_answer_that_was_lost_costs_nothing(server: ObjectServer, folder: Path) -> None:
    """The client asks again, and is told that the condition does not hold: by what it wrote itself."""
    server.answers_lost = {KEY, PLACE.prefix + MANIFEST}
    assert push(client_of(server.endpoint, attempts=2), folder, PLACE).sent_files == 5
    assert server.answers_lost == set()
    assert verify(client_of(server.endpoint), PLACE).problems == ()


@pytest.mark.parametrize("before", ["nothing", "a data set"])
def test_a_manifest_that_was_published_meanwhile_is_not_replaced(
    server: ObjectServer, folder: Path, before: str
) -> None:
    """By one that knows no lease: an older version of this program, or another one."""
    client = client_of(server.endpoint)
    if before == "a data set":
        push(client, folder, PLACE)
        (folder / "more.txt").write_bytes(b"more")

    def publish(_: object) -> None:
        server.put(PLACE.prefix + MANIFEST, b"another", {"pushed-by": "maria@another"})

    with pytest.raises(DriftError, match="published by another push") as caught:
        push(client, folder, PLACE, progress=publish)
    assert "maria@another" in caught.value.why
    assert server.objects[PLACE.prefix + MANIFEST] == b"another"
    assert push(client, folder, PLACE).sent_files == 0  # what cannot be trusted is replaced; what arrived stays
    assert verify(client, PLACE).problems == ()
