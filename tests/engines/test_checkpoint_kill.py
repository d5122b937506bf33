"""A writer of checkpoints killed at random moments, on a disk and on a bucket, hundreds of times if asked to.

TRIMTAB_KILLS=300 makes it that many in each; what that gave is in docs/checkpoints.md.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.bucket_writer import bucket_store
from tests.engines.killing import POLICY, Nursery, loss_of, nursery, state_of
from tests.support.embedded import embedded_aws
from trimtab.storage.checkpoint_manifests import Checkpoint
from trimtab.storage.checkpoints import CheckpointStore, open_store, pin, published
from trimtab.storage.checkpoints_bucket import BucketCheckpoints
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence

ASKED = os.environ.get("TRIMTAB_KILLS")
KILLS = int(ASKED or 80)
KILLS_ON_A_BUCKET = int(ASKED or 10)
BUCKET = "results-of-tides"
RUN = "checkpoints/tides/2026-03-01/killed"


@dataclass(kw_only=True)
class Witness:
    """Knows from what was saved which checkpoints the policy keeps, by applying it as the steps came."""

    policy: Retention = field(default_factory=lambda: Retention(**POLICY))
    kept: dict[int, Checkpoint] = field(default_factory=dict)
    found: set[int] = field(default_factory=set)
    newest: int = 0

    def follow(self, newest: int) -> None:
        """Take note of every step up to the newest that was published."""
        for step in range(self.newest + 1, newest + 1):
            self.found |= set(self.kept)
            saved_at = datetime(2026, 3, 1, tzinfo=UTC)
            self.kept[step] = Checkpoint(
                path=Path(), step=step, saved_at=saved_at, metrics={"loss": loss_of(step)}, files=()
            )
            for item in self.policy.removable(tuple(self.kept.values())):
                del self.kept[item.step]
        self.newest = max(self.newest, newest)

    def pin(self, step: int) -> None:
        """Take note of a pin."""
        item = self.kept[step]
        self.kept[step] = Checkpoint(
            path=item.path, step=step, saved_at=item.saved_at, metrics=item.metrics, files=(), pinned=True
        )

    def check(self, found: Sequence[Checkpoint]) -> None:
        """Check that all that the policy keeps is there, and no more than what a killed save was still to remove."""
        steps = {item.step for item in found}
        assert set(self.kept) <= steps <= {*self.kept, *self.found, self.newest}
        self.found = steps


def kill_at_random(
    children: Nursery, draw: random.Random, call: str, *arguments: Any, output: Path, longest_s: float
) -> None:
    """Kill a writer, one in five by an interrupt, and check how it ended and that it kept what it had said."""
    number = signal.SIGINT if draw.random() < 0.2 else signal.SIGKILL
    code = children.kill(
        call,
        *arguments,
        output=output,
        after_lines=draw.randint(0, 2),
        then_s=draw.uniform(0, longest_s),
        number=number,
    )
    # Interrupted before it listens, it ends as any program does.
    assert code in ((-signal.SIGKILL,) if number == signal.SIGKILL else (130, 1, -signal.SIGINT)), output.read_text()[
        -2000:
    ]


def said(output: Path) -> int:
    steps = [line for line in output.read_text().split("\n") if line.isdigit()] if output.exists() else []
    return int(steps[-1]) if steps else 0


def test_no_kill_leaves_half_a_checkpoint_or_loses_one_that_the_policy_keeps(tmp_path: Path, root: Path) -> None:
    draw = random.Random(20260401)  # noqa: S311  # moments to kill at, the same each time
    directory, output = tmp_path / "run", tmp_path / "output"
    witness, found_in_mid_save = Witness(), 0
    with nursery(root, "trimtab.storage.checkpoints", "trimtab.storage.retention") as children:
        for kill in range(KILLS):
            call = "tests.engines.killing:save_for_ever"
            kill_at_random(children, draw, call, str(directory), output=output, longest_s=0.01)
            checkpoints = published(directory)
            assert [item.damage() for item in checkpoints] == [None] * len(checkpoints)
            assert all((item.path / "state").read_bytes() == state_of(item.step) for item in checkpoints)
            newest = checkpoints[-1].step if checkpoints else 0
            assert newest >= said(output)
            witness.follow(newest)
            witness.check(checkpoints)
            if checkpoints and kill % 40 == 20:
                pin(checkpoints[-1])
                witness.pin(newest)
            if directory.exists():
                assert not list(directory.glob("*.broken"))
                found_in_mid_save += bool(list(directory.glob(".*")))
    assert found_in_mid_save > KILLS // 10
    assert witness.newest > KILLS // 10
    with open_store(directory, run_id="killed", retention=witness.policy) as store:
        tidied_up(store, witness)
    left = {"CHECKPOINTS.json", *(f"step-{step:09d}" for step in witness.kept)}
    assert {path.name for path in directory.iterdir()} == left


def test_a_second_process_on_a_run_is_refused_while_the_first_lives_and_not_after_it_was_killed(
    tmp_path: Path, root: Path
) -> None:
    directory = tmp_path / "run"
    argv = (sys.executable, "-c", "import sys; from tests.engines.killing import save_for_ever as f; f(sys.argv[1])")
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    with subprocess.Popen((*argv, str(directory)), cwd=root, env=environment, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()  # it has saved once
        second = subprocess.run(
            (*argv, str(directory)), cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        first.kill()
    assert second.returncode == 1
    assert f"UsageError: {directory} is being written by another process" in second.stderr
    assert "next: wait for it to end" in second.stderr
    with open_store(directory, run_id="killed", retention=Retention(**POLICY)) as store:
        newest = store.newest_complete()
        assert newest is not None
        assert (newest.path / "state").read_bytes() == state_of(newest.step)


def tidied_up(store: CheckpointStore | BucketCheckpoints, witness: Witness) -> None:
    """Save once more: what is there then is what the policy keeps, and nothing else."""
    step = witness.newest + 1
    store.save(step, {"state": lambda stream: stream.write(state_of(step))}, metrics={"loss": loss_of(step)})
    witness.follow(step)
    assert {item.step for item in store.checkpoints()} == set(witness.kept)


@pytest.mark.timeout(3600 if ASKED else 300)
def test_no_kill_leaves_half_a_checkpoint_on_a_bucket_or_loses_one_that_the_policy_keeps(
    tmp_path: Path, root: Path
) -> None:
    draw = random.Random(20260404)  # noqa: S311  # moments to kill at, the same each time
    output, witness = tmp_path / "output", Witness()
    halves = 0
    with (
        embedded_aws(tmp_path / "aws") as running,
        nursery(root, "tests.engines.bucket_writer", EMBEDDED_AWS=str(tmp_path / "aws")) as children,
    ):
        client = running.operator_client("s3")
        client.create_bucket(Bucket=BUCKET)
        store = bucket_store(client, BUCKET, RUN)
        for kill in range(KILLS_ON_A_BUCKET):
            call = "tests.engines.bucket_writer:save_for_ever"
            kill_at_random(children, draw, call, BUCKET, RUN, output=output, longest_s=0.2)
            checkpoints = store.checkpoints()
            newest = checkpoints[-1].step if checkpoints else 0
            assert newest >= said(output)
            complete = store.newest_complete()
            assert complete == (checkpoints[-1] if checkpoints else None)
            witness.follow(newest)
            witness.check(checkpoints)
            if checkpoints and kill % 40 == 5:
                store.pin(checkpoints[-1])
                witness.pin(newest)
            halves += len({name.partition("/")[0] for name in store.names()} - {"CHECKPOINTS.json"}) > len(checkpoints)
        assert halves >= KILLS_ON_A_BUCKET // 20
        assert all(store.damage(item) is None for item in store.checkpoints())
        tidied_up(store, witness)
        left = {"CHECKPOINTS.json", *(f"step-{step:09d}" for step in witness.kept)}
        assert {name.partition("/")[0] for name in store.names()} == left
