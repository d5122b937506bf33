"""Where a network computes and how precisely: device, threads, determinism, autocast, the scaling of float16's losses.

A GPU is used where there is one. What a learner draws at random it draws on the processor, so that the same seed means
the same draws on any device; only what layers draw themselves (dropout) comes from the device's own state. Both states
are part of a checkpoint. The algorithms are torch's deterministic ones; on CUDA only where there is one.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from training.harness.config import Precision


class Arithmetic:
    """The arithmetic of one training. Sets torch's threads, its algorithms and its random state when it is made."""

    def __init__(self, *, threads: int, seed: int, precision: Precision) -> None:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # what makes cuBLAS deterministic; read at its start
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.use_deterministic_algorithms(mode=True, warn_only=self.device.type == "cuda")
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self._type = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    def mixed(self) -> AbstractContextManager[object]:
        """Return the context to compute a network's answers in."""
        return nullcontext() if self._type is None else torch.autocast(self.device.type, dtype=self._type)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those that are there; with float16 they are scaled, so that small ones survive."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Take the optimiser's step; with float16 one whose gradients overflowed is left out, and the scale halved."""
        self._scaler.step(optimiser)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Return what a learner's state needs of it, under keys of its own."""
        return {
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what a learner's state has of it. A state of another kind of device has no draws for this one."""
        torch.set_num_threads(state["threads"])
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"])
