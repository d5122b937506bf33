"""A writer of checkpoints on a Volume of the embedded Modal, its containers killed and preempted at random moments.

TRIMTAB_KILLS=60 makes it that many; what that gave is in docs/checkpoints.md.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker.errors import APIError

from tests.engines.killing import POLICY, state_of
from tests.engines.test_checkpoint_kill import Witness
from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until
from trimtab.storage.checkpoint_manifests import MARKER
from trimtab.storage.checkpoints import Checkpoint, published

if TYPE_CHECKING:
    from docker import DockerClient

ASKED = os.environ.get("TRIMTAB_KILLS")
KILLS = int(ASKED or 4)
APP = Path(__file__).parent / "modal_apps" / "saves.py"
_NO_RETRY_S = 3.0  # a retry has its container at once
RUN = "checkpoints/tides/2026-03-01/killed"
pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(3600 if ASKED else 300)]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, engine: DockerClient) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("saves"), runner="docker", grace_s=30.0) as running:
        running.cli("deploy", APP)
        yield running


def committed(plane: ModalPlane) -> tuple[Path, tuple[Checkpoint, ...]] | None:
    """Return the run as last committed, read whole, or None where the next commit replaced it meanwhile."""
    (volume,) = (plane.running.state_dir / "volumes").iterdir()
    version = volume / (volume / "head").readlink()
    with suppress(OSError):
        found = published(version / RUN)
        sound = all(
            item.damage() is None and (item.path / "state").read_bytes() == state_of(item.step) for item in found
        )
        names = {path.name for path in (version / RUN).iterdir()} if found else {MARKER}
        if (volume / "head").readlink() == Path("versions", version.name):
            assert sound
            assert names == {MARKER, *(item.path.name for item in found)}
            return version, found
    return None


@dataclass
class Calls:
    """Keeps one call under way: a killed one is retried ten times, and then it is over."""

    plane: ModalPlane
    idle_since_s: float | None = 0.0

    def keep_one(self) -> None:
        (app,) = [app for app in self.plane.record()["apps"] if app["name"] == "saves"]
        if any(container["ended_at"] is None for container in app["containers"]):
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = time.monotonic()
        elif time.monotonic() > self.idle_since_s + _NO_RETRY_S:
            self.plane.python(f"modal.Function.from_name('saves', 'saves').spawn({RUN!r}, {POLICY!r})\nanswer = None")
            self.idle_since_s = None


def kill_containers(plane: ModalPlane, engine: DockerClient) -> None:
    """Kill what runs for the plane; something may be ending by itself just now."""
    for container in engine.containers.list(filters={"label": "org.trimtab.modal.task"}, ignore_removed=True):
        if any(str(plane.running.state_dir) in mount["Source"] for mount in container.attrs["Mounts"]):
            with suppress(APIError):
                container.kill()


def test_no_kill_leaves_half_a_checkpoint_on_a_volume_or_loses_one_that_the_policy_keeps(
    plane: ModalPlane, engine: DockerClient
) -> None:
    draw, witness = random.Random(20260405), Witness()  # noqa: S311  # moments to kill at, the same each time
    calls = Calls(plane)
    for _ in range(KILLS):
        seen = witness.newest

        def got_on(seen: int = seen) -> bool:
            calls.keep_one()
            found = committed(plane)
            return found is not None and bool(found[1]) and found[1][-1].step > seen

        wait_until(got_on, within_s=240)
        time.sleep(draw.uniform(0, 0.3))
        if draw.random() < 0.25:
            plane.running.ask("interrupt", {"target": "saves.saves"})
        else:
            kill_containers(plane, engine)
        _, found = wait_until(lambda: committed(plane))
        assert found[-1].step > seen
        witness.follow(found[-1].step)
        witness.check(found)
    assert witness.newest >= KILLS
