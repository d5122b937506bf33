"""Releases on the real engine: whatever is wrong with the new one, the old one serves, and nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalogues import catalogue, plain
from tests.support.engine import ROOT, SERVICE, free_port, tidied_up, unused_project
from tests.support.load import Load
from tests.support.releases import MODES, PICTURE, Harbour, build_front, build_mode
from tests.support.runner import RecordingRunner
from trimtab.errors import HealthError, ProgramError, UsageError
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.container import container_name, port_is_taken, releases_of, stop_all
from trimtab.project import Project
from trimtab.steps.service import Serve, ServiceHandler

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")

BAD = {
    "unhealthy": "is not healthy after 3 s",
    "starting": "is not healthy after 3 s",
    "crashing": "ended before it was healthy",
    "wrong": "gave a wrong answer to the golden request",
    "refusing": "did not answer the golden request",
}
WHY = {
    "unhealthy": '/health answered 200: {"status": "unhealthy"',
    "starting": '/health answered 503: {"status": "starting"',
    "crashing": "no model under /models",
    "wrong": "gull: expected 1, found 3",
    "refusing": 'it answered 422: {"error": "I do not like this picture"}',
}


@pytest.fixture(scope="module")
def made(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Build one image for each way to behave, and the front's; the harbour of this module's own."""
    with tidied_up(engine, unused_project()) as project:
        folder = tmp_path_factory.mktemp("harbour")
        images = {mode: build_mode(project, mode, folder / "images" / mode) for mode in MODES}
        front = build_front(engine, project)
        yield Harbour(engine=engine, project=project, port=free_port(), folder=folder, images=images, front_image=front)


@pytest.fixture
def harbour(made: Harbour) -> Harbour:
    """Give a harbour in which the good release serves."""
    made.release("good")
    return made


@pytest.fixture
def fresh(made: Harbour, project: str, tmp_path: Path) -> Harbour:
    """Give a harbour in which nothing was ever released."""
    return replace(made, project=project, port=free_port(), folder=tmp_path)


def load_on(harbour: Harbour) -> Load:
    return Load(harbour.address, post="/v1/detect", picture=PICTURE * 2000)


def test_a_first_release_serves_on_its_port_and_leaves_nothing_else(fresh: Harbour) -> None:
    release, answer = fresh.release("good")
    assert answer.document["detections"] == [{"label": "gull"}]
    assert fresh.served() == "good"
    assert fresh.containers() == ["1", "front"]
    (kept,) = fresh.front().record().releases
    assert (kept.number, kept.healthy, kept.digest) == (1, True, fresh.images["good"])
    assert release.number == 1


def test_a_first_release_that_fails_leaves_no_container_and_no_port(fresh: Harbour) -> None:
    with pytest.raises(HealthError):
        fresh.release("wrong")
    assert fresh.containers() == []
    assert port_is_taken(fresh.port) is None


def test_a_release_runs_without_any_right_that_it_does_not_need(harbour: Harbour) -> None:
    for role in (harbour.live() or 0, "front"):
        container = harbour.engine.containers.get(container_name(harbour.project, SERVICE, role))
        state = container.exec_run(["cat", "/proc/1/status"]).output.decode()
        fields = dict(line.split(":\t", 1) for line in state.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] == "10001"
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
        assert fields["NoNewPrivs"] == "1"
        assert container.exec_run(["touch", "/srv/x"]).exit_code != 0


def test_a_release_has_its_limits_and_no_way_out(harbour: Harbour) -> None:
    container = harbour.engine.containers.get(container_name(harbour.project, SERVICE, harbour.live() or 0))
    limits = container.attrs["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (64 << 20, 64 << 20)
    assert container.exec_run(["touch", "/models/x"]).exit_code != 0
    assert container.exec_run(["touch", "/tmp/x"]).exit_code == 0  # noqa: S108 - inside the container
    assert container.exec_run(["printenv", "MAX_RESULTS"]).output == b"7\n"
    assert container.ports == {}
    route = "import socket; socket.create_connection(('1.1.1.1', 80), 3)"
    tried = container.exec_run(["python", "-c", route])
    assert tried.exit_code != 0
    assert b"unreachable" in tried.output or b"timed out" in tried.output


def test_the_front_alone_is_published_and_only_on_loopback(harbour: Harbour) -> None:
    front = harbour.engine.containers.get(container_name(harbour.project, SERVICE, "front"))
    assert front.ports["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(harbour.port)}]


def test_a_new_release_takes_over_under_load_and_no_request_fails(harbour: Harbour) -> None:
    with load_on(harbour) as load:
        release, _ = harbour.release("better")
        time.sleep(1)
    assert load.failures == {}
    assert load.requests > 50
    assert load.releases["good"] > 0
    assert load.releases["better"] > 0
    assert harbour.served() == "better"
    assert harbour.containers() == [str(release.number), "front"]


@pytest.mark.parametrize("mode", BAD)
def test_a_bad_release_is_refused_under_load_and_no_request_fails(harbour: Harbour, mode: str) -> None:
    live = harbour.live()
    with load_on(harbour) as load, pytest.raises(HealthError, match=BAD[mode]) as caught:
        harbour.release(mode)
    assert caught.value.exit_code == 7
    assert WHY[mode] in caught.value.why
    assert f"| this is the last line of {mode}" in caught.value.why
    assert "the release before" in caught.value.remedy
    assert load.failures == {}
    assert set(load.releases) == {"good"}
    assert harbour.containers() == [str(live), "front"]
    refused = harbour.front().record().releases[-1]
    assert (refused.healthy, refused.digest) == (False, harbour.images[mode])
    assert BAD[mode].split("|")[0] in refused.why


def test_a_rollback_under_load_goes_to_the_last_healthy_release_and_no_request_fails(harbour: Harbour) -> None:
    harbour.release("better")
    with load_on(harbour) as load:
        target = harbour.front().record().rollback_target(None)
        assert target.digest == harbour.images["good"]
        harbour.release("good", withdraw=True)
        time.sleep(1)
    assert load.failures == {}
    assert set(load.releases) == {"good", "better"}
    assert harbour.served() == "good"


def test_a_request_that_runs_during_the_switch_is_ended_by_the_release_that_began_it(harbour: Harbour) -> None:
    answers = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", harbour.port, timeout=20)
        connection.request("GET", "/slow")
        answers.append(json.load(connection.getresponse())["release"])
        connection.close()

    def at_the_switch(line: str) -> None:
        if line.startswith("traffic moves"):
            slow.start()
            time.sleep(0.2)

    slow = threading.Thread(target=ask)
    harbour.release("better", say=at_the_switch)
    slow.join()
    assert answers == ["good"]


def test_a_connection_that_is_kept_open_meets_no_closed_one(harbour: Harbour) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", harbour.port, timeout=20)

    def ask() -> str:
        connection.request("GET", "/health")
        release: str = json.loads(connection.getresponse().read())["release"]
        return release

    def before_the_switch(line: str) -> None:
        if line.startswith("traffic moves"):
            assert ask() == "good"

    releasing = threading.Thread(target=lambda: harbour.release("better", say=before_the_switch))
    before = harbour.live()
    releasing.start()
    front = harbour.front()
    while front.record_at_once().live == before:
        time.sleep(0.05)
    assert ask() in {"good", "better"}  # whichever: it is answered
    releasing.join()
    connection.close()
    assert harbour.served() == "better"


def test_the_same_release_again_changes_nothing(harbour: Harbour) -> None:
    before = harbour.containers()
    release, _ = harbour.release("good")
    assert harbour.containers() == before
    assert release.number == harbour.live()


def test_an_interrupt_while_the_new_release_starts_leaves_nothing_of_it(harbour: Harbour) -> None:
    before = harbour.containers()

    def interrupt(line: str) -> None:
        if line.startswith("waiting"):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        harbour.release("starting", say=interrupt)
    assert harbour.served() == "good"
    assert harbour.containers() == before


_RELEASE = """\
import sys
from pathlib import Path
import docker
from tests.support.releases import Harbour
project, port, folder, image, front, mode = sys.argv[1:]
harbour = Harbour(engine=docker.from_env(), project=project, port=int(port), folder=Path(folder),
                  images={mode: image}, front_image=front)
harbour.release(mode, say=lambda line: print(line, flush=True))
"""


def in_a_process(harbour: Harbour, mode: str) -> subprocess.Popen[str]:
    argv = (
        sys.executable, "-c", _RELEASE,
        harbour.project, str(harbour.port), str(harbour.folder), harbour.images[mode], harbour.front_image, mode,
    )  # fmt: skip
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("moment", ["waiting", "traffic", "anywhere"])
def test_a_release_that_is_killed_leaves_one_serving_and_the_next_run_mends(harbour: Harbour, moment: str) -> None:
    chance = random.Random(moment)  # noqa: S311 - nothing secret: a moment
    with load_on(harbour) as load:
        with in_a_process(harbour, "better") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if moment.startswith("anywhere"):
                    time.sleep(chance.uniform(0, 2.5))
                    break
                if line.startswith(moment):
                    time.sleep(chance.uniform(0, 0.3))
                    break
            process.kill()
        assert harbour.served() in {"good", "better"}
        release, _ = harbour.release("better")
        time.sleep(0.3)
    assert load.failures == {}
    assert harbour.served() == "better"
    assert harbour.containers() == [str(release.number), "front"]


def test_two_first_releases_at_the_same_moment_come_one_after_the_other(fresh: Harbour) -> None:
    with in_a_process(fresh, "good") as one, in_a_process(fresh, "better") as other:
        said = [process.communicate(timeout=120)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sum(line.startswith("waiting for the ") for lines in said for line in lines.splitlines()) == 1
    record = fresh.front().record()
    assert [(release.number, release.healthy) for release in record.releases] == [(1, True), (2, True)]
    assert {release.digest for release in record.releases} == {fresh.images["good"], fresh.images["better"]}
    assert record.live == 2
    assert fresh.images[fresh.served()] == record.releases[-1].digest
    assert fresh.containers() == ["2", "front"]


def test_a_release_that_waits_goes_on_when_the_one_before_it_is_killed(harbour: Harbour) -> None:
    with in_a_process(harbour, "starting") as one:
        assert one.stdout is not None
        for line in one.stdout:
            if line.startswith("waiting"):
                break
        with in_a_process(harbour, "better") as other:
            assert other.stdout is not None
            assert other.stdout.readline().startswith("waiting for the starting by ")
            one.kill()
            assert "taking away what an earlier run left" in other.communicate(timeout=120)[0]
    assert other.returncode == 0
    assert harbour.served() == "better"
    assert harbour.containers() == [str(harbour.live()), "front"]


def test_a_switch_that_was_cut_off_after_its_record_is_carried_through(harbour: Harbour) -> None:
    front = harbour.front()
    record = front.record()
    target = f"{container_name(harbour.project, SERVICE, record.live or 0)}:8000"

    def in_force() -> str:
        answer = front.container.exec_run(["python", "-S", "-m", "front", "state"]).output
        value: str = json.loads(answer)["in_force"]
        return value

    cut = record.document(target=target)
    cut["live"]["number"] = 999
    writing = f"open('/state/releases.json', 'w').write({json.dumps(cut)!r})"
    assert front.container.exec_run(["python", "-c", writing]).exit_code == 0
    assert in_force() == f"{record.live} {target}"
    front.mend()
    assert in_force() == f"999 {target}"
    assert harbour.served() == "good"
    front.put_in_force(record, target=target)


def test_a_name_that_nobody_knows_is_not_switched_to(harbour: Harbour) -> None:
    front = harbour.front()
    record = front.record()
    with pytest.raises(ProgramError, match="could not `switch`"):
        front.put_in_force(replace(record, live=record.next_number), target="nobody-here:8000")
    assert front.record() == record
    assert harbour.served() == "good"


def test_front_and_release_come_back_by_themselves(harbour: Harbour) -> None:
    live = harbour.engine.containers.get(container_name(harbour.project, SERVICE, harbour.live() or 0))
    front = harbour.front().container
    for container in (live, front):  # as after a restart of the machine, in no special order
        container.reload()
        assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    assert harbour.served() == "good"


def test_the_last_three_that_differ_are_kept_and_older_ones_go(fresh: Harbour) -> None:
    folder = fresh.folder / "images"
    images = {f"good{n}": build_mode(fresh.project, f"good{n}", folder / str(n)) for n in range(4)}
    harbour = replace(fresh, images=images)
    for mode in images:
        harbour.release(mode)
    tags = {tag.rpartition(":")[2] for image in images.values() for tag in tags_of(harbour, image)}
    assert {tag for tag in tags if tag.startswith("release-")} == {"release-2", "release-3", "release-4"}
    assert harbour.front().record().rollback_target("1").digest == images["good0"]  # remembered, if not kept


def tags_of(harbour: Harbour, image: str) -> list[str]:
    from docker.errors import ImageNotFound

    try:
        tags: list[str] = harbour.engine.images.get(image).tags
    except ImageNotFound:
        return []
    return tags


def test_what_down_stops_can_still_be_gone_back_to(fresh: Harbour) -> None:
    fresh.release("good")
    fresh.release("better")
    prefix = f"{fresh.project}-{SERVICE}"
    assert stop_all(fresh.engine, fresh.project) == (f"{prefix}-2", f"{prefix}-front")
    assert fresh.containers() == []
    fresh.release("better")
    record = fresh.front().record()
    assert record.live == 3
    assert record.rollback_target(None).digest == fresh.images["good"]


def test_stopping_all_stops_nobody_elses(harbour: Harbour, fresh: Harbour) -> None:
    fresh.release("good")
    stop_all(fresh.engine, fresh.project)
    assert fresh.containers() == []
    assert harbour.served() == "good"
    assert stop_all(fresh.engine, fresh.project) == ()


def test_another_port_replaces_the_front_and_the_release_stays(harbour: Harbour) -> None:
    live = harbour.live()
    moved = replace(harbour, port=free_port())
    moved.release("good")
    assert moved.served() == "good"
    assert moved.containers() == [str(live), "front"]
    assert port_is_taken(harbour.port) is None
    harbour.release("good")  # back, for the tests that follow
    assert harbour.served() == "good"


def test_a_front_that_cannot_start_gives_its_place_back(harbour: Harbour) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        moved = replace(harbour, port=other.getsockname()[1])
        with pytest.raises(ProgramError, match="could not start") as caught:
            moved.release("good")
    assert "address already in use" in caught.value.why
    assert harbour.served() == "good"
    assert harbour.containers() == [str(harbour.live()), "front"]


def test_a_front_whose_replacement_was_killed_serves_again(harbour: Harbour) -> None:
    front = harbour.front().container
    front.rename(container_name(harbour.project, SERVICE, "front-before"))
    front.stop(timeout=2)
    harbour.release("good")
    assert harbour.served() == "good"
    assert harbour.containers() == [str(harbour.live()), "front"]


@pytest.mark.parametrize("role", ["1", "front", "models"])
def test_a_stranger_with_our_name_is_refused_and_not_touched(fresh: Harbour, role: str) -> None:
    name = container_name(fresh.project, SERVICE, role)
    stranger = fresh.engine.containers.run(
        fresh.images["good"], name=name, detach=True, environment={"PORT": "8000"}, labels={LABEL_PROJECT: "somebody"}
    )
    try:
        with pytest.raises(ProgramError, match=f"the container name {name} is taken") as caught:
            fresh.release("good")
        assert f"docker rename {name}" in caught.value.remedy
        stranger.reload()
        assert (stranger.name, stranger.status) == (name, "running")
    finally:
        stranger.remove(force=True)


class NoBucket:
    """A bucket that nobody may ask for."""

    name = "none"

    def operator(self) -> Any:
        raise AssertionError("the bucket was asked for")

    operator_or_none = operator

    def of_job(self, job: str) -> Any:
        raise AssertionError(f"the bucket was asked for, by {job}")


def service_handler(project: str, port: int, root: Path) -> ServiceHandler:
    services = plain()["services"]
    services[SERVICE]["port"] = port
    known = catalogue(project=project, services=services)
    picture = root / known.services[SERVICE].golden.picture
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(PICTURE)
    paths = Project(root=root, catalogue_path=root / "trimtab.yaml", catalogue=known, state=root / "state")
    return ServiceHandler(paths, RecordingRunner(), NoBucket())


SERVE = Serve(service=SERVICE, variant="cpu")


def test_a_port_of_another_program_is_refused_before_anything_is_done(project: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"service gulls cannot have port {port}") as caught:
            service_handler(project, port, tmp_path).preflight(SERVE)
    assert caught.value.exit_code == 2
    assert f"(process {os.getpid()})" in caught.value.why
    assert f"services.{SERVICE}.port in trimtab.yaml" in caught.value.remedy


def test_a_port_that_another_program_holds_on_every_address_is_taken_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 - that is what is tried
        assert port_is_taken(other.getsockname()[1]) is not None
    assert port_is_taken(free_port()) is None


def test_the_port_of_our_own_front_is_not_taken_and_another_one_is(harbour: Harbour, tmp_path: Path) -> None:
    service_handler(harbour.project, harbour.port, tmp_path).preflight(SERVE)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="cannot have port"):
        service_handler(harbour.project, other.getsockname()[1], tmp_path).preflight(SERVE)


def test_releases_are_known_by_their_numbers(harbour: Harbour) -> None:
    assert set(releases_of(harbour.engine, harbour.project, SERVICE)) == {harbour.live()}
