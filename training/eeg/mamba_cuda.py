"""Does mamba-ssm's kernel give the plain scan's numbers? `python -m training.eeg.mamba_cuda` answers where a GPU is.

Compares outputs and gradients on the same random input, and times both. Touches no file.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import torch

from training.eeg.scan import Scan, cuda_kernel, kernel_scan, plain_scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from training.eeg.scan import Kernel

Shape = tuple[int, int, int, int]
"""Windows, channels, steps and states of a scan."""
_SHAPE: Final[Shape] = (8, 64, 960, 16)
_TOLERANCE: Final = 1e-3  # of the largest value: both sum a thousand float32 steps, in another order
_REPEATS: Final = 5


def check() -> dict[str, Any]:
    """Compare the kernel with the scan: {"outcome": "equal" | "different" | "not compared", ...}, JSON-able."""
    if not torch.cuda.is_available():
        return {"outcome": "not compared", "why": "no GPU here; the plain scan is what runs"}
    kernel = cuda_kernel()
    if kernel is None:
        return {"outcome": "not compared", "why": "mamba-ssm is not installed; the plain scan is what runs here"}
    return {**compare(kernel, torch.device("cuda")), "device": torch.cuda.get_device_name()}


def compare(kernel: Kernel, device: torch.device, shape: Shape = _SHAPE) -> dict[str, Any]:
    """Return how far a kernel's output and gradients are from the plain scan's, and how long each takes."""
    scan = _random_scan(device, shape)
    by_kernel = functools.partial(kernel_scan, kernel)
    ours, theirs = _with_gradients(plain_scan, scan), _with_gradients(by_kernel, scan)
    differences = {name: ((theirs[name] - ours[name]).abs().max() / ours[name].abs().max()).item() for name in ours}
    return {
        "outcome": "equal" if all(one <= _TOLERANCE for one in differences.values()) else "different",
        "shape": dict(zip(("windows", "channels", "steps", "states"), shape, strict=True)),
        "relative_differences": differences,
        "tolerance": _TOLERANCE,
        "kernel_ms": _milliseconds(by_kernel, scan),
        "plain_ms": _milliseconds(plain_scan, scan),
    }


def _random_scan(device: torch.device, shape: Shape) -> Scan:
    random = torch.Generator().manual_seed(1)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    windows, channels, steps, states = shape
    scan = Scan(
        inputs=values(windows, channels, steps),
        delta=values(windows, channels, steps),
        decay=-torch.exp(values(channels, states)),
        enter=values(windows, states, steps),
        leave=values(windows, states, steps),
        skip=values(channels),
        gate=values(windows, channels, steps),
        delta_bias=values(channels),
    )
    return Scan(*(value.to(device).requires_grad_() for value in scan))


def _with_gradients(run: Callable[..., Tensor], scan: Scan) -> dict[str, Tensor]:
    output = run(scan)
    gradients = torch.autograd.grad(output.square().mean(), list(scan))
    return {"output": output.detach(), **{f"d_{name}": one for name, one in zip(scan._fields, gradients, strict=True)}}


def _milliseconds(run: Callable[..., Tensor], scan: Scan) -> float:
    _wait(scan)
    begun = time.perf_counter()
    for _ in range(_REPEATS):
        _with_gradients(run, scan)
    _wait(scan)
    return 1000 * (time.perf_counter() - begun) / _REPEATS


def _wait(scan: Scan) -> None:
    if scan.inputs.is_cuda:
        torch.cuda.synchronize()


def main() -> int:
    """Print the comparison; 7 where the two differ."""
    found = check()
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n")
    return 7 if found["outcome"] == "different" else 0


if __name__ == "__main__":
    sys.exit(main())
