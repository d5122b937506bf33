"""Modal's GPUs: memory, how many one container may have, and a batch to begin with. Pure: the payload may import it.

Names, counts and memory: https://modal.com/docs/guide/gpu. Prices are elsewhere (`cost/prices.toml`): they have a date.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from trimtab.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind. `memory_gb` is the maker's number, in 10^9 bytes; `most` is what one container may have."""

    name: str
    memory_gb: int
    most: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """What a GPU holds, and the batch to begin with: pictures of 224 x 224 through a ViT-B encoder, in half precision.

    A preset, not a promise: a job that trains, or has larger pictures, divides it.
    """

    name: str
    memory_gb: int
    memory_bytes: int
    batch: int


GPUS: Final = {
    gpu.name: gpu
    for gpu in (
        Gpu(name="T4", memory_gb=16),
        Gpu(name="L4", memory_gb=24),
        Gpu(name="A10", memory_gb=24, most=4),
        Gpu(name="L40S", memory_gb=48),
        Gpu(name="A100-40GB", memory_gb=40),
        Gpu(name="A100-80GB", memory_gb=80),
        Gpu(name="RTX-PRO-6000", memory_gb=96),
        Gpu(name="H100", memory_gb=80),
        Gpu(name="H200", memory_gb=141),
        Gpu(name="B200", memory_gb=180),
        Gpu(name="B300", memory_gb=288),
    )
}
"""Every GPU by the name that it is asked for with."""

# The smaller of what an alias may become: `A100` is the one of 40 GB, `B200+` is at least a B200.
_ALIASES: Final = {"A10G": "A10", "A100": "A100-40GB", "H100!": "H100", "B200+": "B200"}
_GB: Final = 10**9
_BATCH_PER_GB: Final = 64 / 24  # the preset that the de-duplication of pictures ran with on an A10G


def find_gpu(name: str) -> Gpu:
    """Return a GPU by a name that Modal takes, in any case. Raises UsageError, naming the nearest, for another one."""
    wanted = name.upper()
    found = GPUS.get(_ALIASES.get(wanted, wanted))
    if found is not None:
        return found
    known = (*GPUS, *_ALIASES)
    near = difflib.get_close_matches(wanted, known, n=1)
    raise UsageError(
        f"there is no GPU {name!r}",
        why=f"Modal has {', '.join(known)}",
        remedy=f"did you mean {near[0]!r}?" if near else "name one of these",
    )


def gpu_memory_config(name: str) -> GpuMemory:
    """Return what a GPU holds, and the batch, in steps of 32, that its memory takes by the A10G's measure.

    Raises UsageError for a name that Modal does not have.
    """
    gpu = find_gpu(name)
    batch = int(gpu.memory_gb * _BATCH_PER_GB) // 32 * 32
    return GpuMemory(name=gpu.name, memory_gb=gpu.memory_gb, memory_bytes=gpu.memory_gb * _GB, batch=batch)
