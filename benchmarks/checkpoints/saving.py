# ruff: noqa: INP001, T201 - a script that is run by its path, and prints its table
"""How long a training stands still for a checkpoint: saved in its way, and beside it.

    python benchmarks/checkpoints/saving.py [--mib 512] [--saves 5]

The state is tensors of random numbers; a step is a matrix product on one thread. Each way makes as many saves, with
steps between them until the save is over. Medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402  # after the path is set

from training.harness.background import Background  # noqa: E402  # as above
from training.harness.snapshots import snapshot  # noqa: E402  # as above
from trimtab.storage.checkpoints import CheckpointStore, open_store  # noqa: E402  # as above
from trimtab.storage.retention import Retention  # noqa: E402  # as above

STEPS_BETWEEN = 40


def save(store: CheckpointStore, number: int, state: dict[str, torch.Tensor]) -> None:
    """Write one checkpoint whole: serialised, synced, published, read back, the oldest removed."""

    def write(stream: BinaryIO) -> None:
        torch.save(state, stream)

    store.save(number, {"state.pt": write})


def step(weights: torch.Tensor) -> float:
    """Learn a step, as it were; return how long it took."""
    began = time.perf_counter()
    torch.mm(weights, weights)
    return time.perf_counter() - began


def stands_still(state: dict[str, torch.Tensor], saves: int, *, beside: bool) -> tuple[float, float, float]:
    """Return how long the training stood at a save, a step beside a save, and a step without one, medians in s."""
    weights = torch.rand(700, 700)
    alone = statistics.median(step(weights) for _ in range(STEPS_BETWEEN))
    stalls, meanwhile = [], []
    background = Background("save")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder, "run"), run_id="r", retention=Retention(keep_last=1)) as store,
    ):
        for number in range(1, saves + 1):
            began = time.perf_counter()
            if beside:
                copied = snapshot(state)
                background.start(lambda number=number, copied=copied: save(store, number, copied))  # type: ignore[misc]  # bound
            else:
                save(store, number, state)
            stalls.append(time.perf_counter() - began)
            took = [step(weights) for _ in range(STEPS_BETWEEN)]
            while background.is_busy:
                took.append(step(weights))
            meanwhile.append(statistics.median(took))
        background.wait()
    return statistics.median(stalls), statistics.median(meanwhile), alone


def main() -> None:
    """Measure both ways and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--mib", type=int, default=512, help="size of the state")
    parser.add_argument("--saves", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = {f"weights {number}": torch.rand(8 * 2**20 // 4) for number in range(options.mib // 8)}
    print(f"state of {options.mib} MiB, {options.saves} saves")
    print("| saved | the training stands still | a step meanwhile | a step otherwise |\n|---|---|---|---|")
    for name, beside in (("in its way", False), ("beside it", True)):
        stall, meanwhile, alone = stands_still(state, options.saves, beside=beside)
        print(f"| {name} | {stall * 1e3:.0f} ms | {meanwhile * 1e3:.1f} ms | {alone * 1e3:.1f} ms |")


if __name__ == "__main__":
    main()
