"""A writer of checkpoints killed at random moments, hundreds of times."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

from tests.engines.killing import nursery, state_of
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 250


def test_no_kill_leaves_half_a_checkpoint_or_loses_one_that_was_saved(tmp_path: Path, root: Path) -> None:
    draw = random.Random(20260401)  # noqa: S311  # moments to kill at, the same each time
    directory, output = tmp_path / "run", tmp_path / "output"
    found_in_mid_save = 0
    with nursery(root, "trimtab.storage.checkpoints", "trimtab.storage.retention") as children:
        for _ in range(KILLS):
            code = children.kill(
                "tests.engines.killing:save_for_ever",
                str(directory),
                output=output,
                after_lines=draw.randint(0, 2),
                then_s=draw.uniform(0, 0.01),
            )
            said = output.read_text().split() if output.exists() else []
            assert code == -signal.SIGKILL, said[-20:]
            checkpoints = published(directory)
            assert [item.damage() for item in checkpoints] == [None] * len(checkpoints)
            assert all((item.path / "state").read_bytes() == state_of(item.step) for item in checkpoints)
            assert (checkpoints[-1].step if checkpoints else 0) >= int(said[-1] if said else 0)
            if directory.exists():
                assert not list(directory.glob("*.broken"))
                found_in_mid_save += bool(list(directory.glob(".*")))
    assert found_in_mid_save > KILLS // 10
    last = published(directory)[-1].step
    assert last > KILLS // 10
    with open_store(directory, run_id="killed", retention=Retention(keep_last=2)) as store:
        store.save(last + 1, {"state": lambda stream: stream.write(state_of(last + 1))})
    left = {"CHECKPOINTS.json", f"step-{last:09d}", f"step-{last + 1:09d}"}
    assert {path.name for path in directory.iterdir()} == left
