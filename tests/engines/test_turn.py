"""Turns on the real engine: one holder at a time, who may be killed or fall silent; nothing of a turn is left."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.engine import BASE_IMAGE, ROOT, SERVICE
from trimtab.errors import ProgramError
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.turn import TurnSpec, turn, turn_arguments

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")

WHO = f"{getpass.getuser()}@{socket.gethostname()}"
_HOLD = """\
import sys, time
import docker
from trimtab.images.turn import TurnSpec, turn
project, service, image, silent_s = sys.argv[1:]
spec = TurnSpec(project=project, service=service, image=image, purpose="rollback", silent_s=int(silent_s))
with turn(docker.from_env(), spec, say=print) as mine:
    print("mine", flush=True)
    sys.stdin.readline()
    mine.require()
"""


@pytest.fixture
def spec(project: str) -> TurnSpec:
    return TurnSpec(project=project, service=SERVICE, image=BASE_IMAGE, purpose="release of commit c0de")


def silent(_line: str) -> None:
    """Say nothing."""


def held_elsewhere(spec: TurnSpec) -> subprocess.Popen[str]:
    """Have another process hold the turn until it reads a line."""
    argv = (sys.executable, "-c", _HOLD, spec.project, spec.service, spec.image, str(spec.silent_s))
    process = subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def left(engine: DockerClient, spec: TurnSpec) -> list[str]:
    found = engine.containers.list(all=True, filters={"label": f"{LABEL_PROJECT}={spec.project}"}, ignore_removed=True)
    return [str(container.name) for container in found]


def test_a_turn_is_nobody_elses_and_nothing_is_left_of_it(engine: DockerClient, spec: TurnSpec) -> None:
    hasty = replace(spec, patience_s=0.5)
    with turn(engine, spec, say=silent) as mine:
        mine.require()
        refused = pytest.raises(ProgramError, match=f"{SERVICE} is being changed by somebody else")
        with refused as caught, turn(engine, hasty, say=silent):
            raise AssertionError("two have it")
        assert f"the release of commit c0de by {WHO} since 20" in caught.value.why
        assert f"docker rm --force {spec.name}" in caught.value.remedy
        mine.require()
    assert left(engine, spec) == []


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_has_ended(engine: DockerClient, spec: TurnSpec) -> None:
    told: list[str] = []
    with held_elsewhere(spec) as other:
        assert other.stdin is not None

        def hear(line: str) -> None:
            told.append(line)
            other.stdin.write("\n")  # type: ignore[union-attr]
            other.stdin.flush()  # type: ignore[union-attr]

        with turn(engine, spec, say=hear) as mine:
            mine.require()
    assert other.returncode == 0
    assert [line[: line.index(" since")] for line in told] == [f"waiting for the rollback by {WHO}"]
    assert left(engine, spec) == []


def test_what_was_killed_holds_nothing(engine: DockerClient, spec: TurnSpec) -> None:
    with held_elsewhere(spec) as other:
        other.kill()
    with turn(engine, replace(spec, patience_s=10), say=silent) as mine:
        mine.require()
    assert left(engine, spec) == []


def test_what_was_killed_before_it_began_holds_nothing(engine: DockerClient, spec: TurnSpec) -> None:
    engine.containers.create(**turn_arguments(spec, holder="ben@away"))
    told: list[str] = []
    with turn(engine, replace(spec, starts_within_s=0.5, patience_s=10), say=told.append) as mine:
        mine.require()
    assert "by ben@away" in told[0]
    assert left(engine, spec) == []


def test_a_turn_lasts_while_its_holder_lives_and_no_longer(engine: DockerClient, spec: TurnSpec) -> None:
    short = replace(spec, silent_s=2, patience_s=20)
    with held_elsewhere(short) as other:
        time.sleep(3)  # longer than it may be silent: it is not
        with pytest.raises(ProgramError), turn(engine, replace(short, patience_s=0), say=silent):
            raise AssertionError("two have it")
        os.kill(other.pid, signal.SIGSTOP)  # as a machine that goes to sleep
        with turn(engine, short, say=silent):
            os.kill(other.pid, signal.SIGCONT)
            _, err = other.communicate("\n", timeout=20)
        assert other.returncode == 1
        assert "it was not its turn any more" in err
    assert left(engine, spec) == []


def test_another_service_has_turns_of_its_own(engine: DockerClient, spec: TurnSpec) -> None:
    with turn(engine, spec, say=silent), turn(engine, replace(spec, service="terns", patience_s=0), say=silent) as mine:
        mine.require()
    assert left(engine, spec) == []
