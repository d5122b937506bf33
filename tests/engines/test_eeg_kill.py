"""The detector's training killed at random moments: the same weights, scores and predictions in the end."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from tests.engines.killing import nursery
from tests.support.made_up_eeg import small_config
from tests.support.training import arguments, assert_equal_to_the_bit, assert_nothing_is_half, run_of
from training.eeg.synthetic import Size, lay_out

KILLS = 6
CALL = "training.eeg.__main__:main"
MODULES = (
    "training.eeg.__main__",
    "training.harness.attempt",
    "training.eeg.job",
    "torch._dynamo",
    "torch._inductor",
)


def measured(run: Path) -> dict[str, bytes]:
    """Return what was measured: scores, pictures and predictions."""
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted((run / "evaluation").rglob("*.*"))}


def test_however_often_it_is_killed_weights_and_predictions_are_equal_to_the_bit(tmp_path: Path, root: Path) -> None:
    draw = random.Random(20260503)  # noqa: S311  # moments to kill at, the same each time
    data, output = tmp_path / "data", tmp_path / "output"
    lay_out(data, Size(patients=5, hours=0.25, seed=2))
    config = small_config(tmp_path / "config.yaml", windows={"length_s": 30.0})
    with nursery(root, *MODULES) as children:
        assert children.run(CALL, arguments(config, data, tmp_path / "whole"), output=output) == 0, output.read_text()
        expected = measured(run_of(tmp_path / "whole")[1])
        assert {Path(name).suffix for name in expected} == {".json", ".png", ".svg", ".tsv", ".npz"}
        kills = trainings = 0
        firsts: list[int] = []
        while kills < KILLS:
            trainings += 1
            results, code = tmp_path / f"killed-{trainings}", None
            if trainings > 1:  # the first one is killed while it fills its cache, too
                shutil.copytree(tmp_path / "whole" / "cache", results / "cache")
            while code != 0:
                code = children.kill(
                    CALL,
                    arguments(config, data, results),
                    output=output,
                    after_lines=draw.choice([0, 1, 1, 2, 3]),
                    then_s=draw.uniform(0, 0.2),
                )
                assert code in (0, -signal.SIGKILL), output.read_text()
                kills += code != 0
                assert_nothing_is_half(results)
            assert_equal_to_the_bit(results, tmp_path / "whole")
            record, run = run_of(results)
            assert measured(run) == expected
            firsts += [attempt.first_step for attempt in record.attempts]
    assert any(firsts)
