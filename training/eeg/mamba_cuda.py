"""Does mamba-ssm's kernel give the plain scan's numbers? `python -m training.eeg.mamba_cuda` answers where a GPU is.

Compares outputs and gradients on the same random input, and times both. Touches no file.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import torch

from training.eeg.scan import cuda_kernel, plain_scan, selective_scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_SHAPE: Final = {"windows": 8, "channels": 64, "steps": 960, "states": 16}
_TOLERANCE: Final = 1e-3  # of the largest value: both sum a thousand float32 steps, in another order
_REPEATS: Final = 10


def check() -> dict[str, Any]:
    """Compare the kernel with the scan: {"outcome": "equal" | "different" | "not compared", ...}, JSON-able."""
    if not torch.cuda.is_available():
        return {"outcome": "not compared", "why": "no GPU here; the plain scan is what runs"}
    if cuda_kernel() is None:
        return {"outcome": "not compared", "why": "no mamba-ssm here; the plain scan is what runs"}
    scan = _random_scan(torch.device("cuda"))
    ours, theirs = _with_gradients(plain_scan, scan), _with_gradients(selective_scan, scan)
    differences = {name: ((theirs[name] - ours[name]).abs().max() / ours[name].abs().max()).item() for name in ours}
    return {
        "outcome": "equal" if max(differences.values()) <= _TOLERANCE else "different",
        "device": torch.cuda.get_device_name(),
        "shape": _SHAPE,
        "relative_differences": differences,
        "tolerance": _TOLERANCE,
        "kernel_ms": _milliseconds(selective_scan, scan),
        "plain_ms": _milliseconds(plain_scan, scan),
    }


def _random_scan(device: torch.device) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    windows, channels, steps, states = _SHAPE.values()
    scan = {
        "inputs": values(windows, channels, steps),
        "delta": values(windows, channels, steps),
        "decay": -torch.exp(values(channels, states)),
        "enter": values(windows, states, steps),
        "leave": values(windows, states, steps),
        "skip": values(channels),
        "gate": values(windows, channels, steps),
        "delta_bias": values(channels),
    }
    return {name: value.to(device).requires_grad_() for name, value in scan.items()}


def _with_gradients(run: Callable[..., Tensor], scan: dict[str, Tensor]) -> dict[str, Tensor]:
    output = run(**scan)
    gradients = torch.autograd.grad(output.square().mean(), list(scan.values()))
    return {"output": output.detach(), **{f"d_{name}": one for name, one in zip(scan, gradients, strict=True)}}


def _milliseconds(run: Callable[..., Tensor], scan: dict[str, Tensor]) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(_REPEATS):
        _with_gradients(run, scan)
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun) / _REPEATS


def main() -> int:
    """Print the comparison; 7 where the two differ."""
    found = check()
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n")
    return 7 if found["outcome"] == "different" else 0


if __name__ == "__main__":
    sys.exit(main())
