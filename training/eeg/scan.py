"""The selective scan of a state-space block: in plain torch, and by mamba-ssm's kernel where CUDA has it. Pure.

For every channel d and state n, over time t, with step = softplus(delta + delta_bias):

    state[t, d, n] = exp(step[t, d] * decay[d, n]) * state[t-1, d, n] + step[t, d] * enter[t, n] * inputs[t, d]
    output[t, d]   = (sum over n of leave[t, n] * state[t, d, n] + skip[d] * inputs[t, d]) * silu(gate[t, d])

The recurrence is cut into chunks of about the square root of its length: all chunks advance together, then each takes
its predecessor's last state over. 960 steps are 61 of torch's calls instead of 960, and nothing is divided by a decay,
so it is as exact as one step after the other. Source of the model: Gu and Dao, https://arxiv.org/abs/2312.00752.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Kernel = Callable[..., Tensor]


class Scan(NamedTuple):
    """What is scanned, n windows at once; `decay` lies below 0."""

    inputs: Tensor
    """(n, channels, time), and so are `delta` and `gate`."""
    delta: Tensor
    decay: Tensor
    """(channels, states)"""
    enter: Tensor
    """(n, states, time), and so is `leave`."""
    leave: Tensor
    skip: Tensor
    """(channels), and so is `delta_bias`."""
    gate: Tensor
    delta_bias: Tensor


def selective_scan(scan: Scan) -> Tensor:
    """Return the output, (n, channels, time), by the kernel where it can run."""
    kernel = cuda_kernel() if scan.inputs.is_cuda else None
    return plain_scan(scan) if kernel is None else kernel_scan(kernel, scan)


@functools.cache
def cuda_kernel() -> Kernel | None:
    """Return mamba-ssm's kernel, or None where it is not installed."""
    try:
        kernel: Kernel = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except ImportError:
        return None
    return kernel


def kernel_scan(kernel: Kernel, scan: Scan) -> Tensor:
    """Return the output by a kernel that takes what mamba-ssm's `selective_scan_fn` takes."""
    inputs, delta, decay, enter, leave, skip, gate, bias = scan
    return kernel(inputs, delta, decay, enter, leave, D=skip, z=gate, delta_bias=bias, delta_softplus=True)


def plain_scan(scan: Scan) -> Tensor:
    """Return the output in plain torch, on any device and in any precision."""
    inputs, delta, decay, enter, leave, skip, gate, bias = scan
    step = functional.softplus(delta + bias[:, None]).permute(2, 0, 1)  # time first: each step lies in one piece
    entering = (step * inputs.permute(2, 0, 1))[..., None] * enter.permute(2, 0, 1)[:, :, None]
    states = linear_recurrence(torch.exp(step[..., None] * decay), entering)
    read = (states @ leave.permute(2, 0, 1)[..., None]).squeeze(-1).permute(1, 2, 0)
    return (read + skip[:, None] * inputs) * functional.silu(gate)


def linear_recurrence(decay: Tensor, entering: Tensor) -> Tensor:
    """Return all states of `state[t] = decay[t] * state[t-1] + entering[t]`, from 0; time is the first dimension.

    Decays must lie between 0 and 1: a product of them must not overflow. Differentiable once in both.
    """
    states: Tensor = _Recurrence.apply(decay, entering)  # type: ignore[no-untyped-call]  # torch annotates it not
    return states


class _Recurrence(torch.autograd.Function):
    """The recurrence with its gradient, which is the same recurrence backwards: no step's operations are kept."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, entering: Tensor) -> Tensor:
        states = _chunked(decay, entering)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        later = torch.cat([decay[1:], torch.zeros_like(decay[:1])])  # what carries step t into step t + 1
        of_entering = _chunked(later.flip(0), gradient.flip(0)).flip(0)
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        return of_entering * before, of_entering


def _chunked(decay: Tensor, entering: Tensor) -> Tensor:
    length = decay.shape[0]
    chunk = max(1, math.isqrt(length))
    reach, states = _in_chunks(decay, chunk), _in_chunks(entering, chunk)
    for index in range(1, chunk):
        states[:, index].addcmul_(reach[:, index], states[:, index - 1])
        reach[:, index].mul_(reach[:, index - 1])  # from here on: what is left of the state before the chunk
    for index in range(1, len(states)):
        states[index].addcmul_(reach[index], states[index - 1, -1])
    return states.flatten(0, 1)[:length]


def _in_chunks(values: Tensor, chunk: int) -> Tensor:
    """Return a copy as (chunks, chunk, ...), filled up with zeros."""
    chunks = -(-values.shape[0] // chunk)
    whole = values.new_zeros((chunks * chunk, *values.shape[1:]))
    whole[: values.shape[0]] = values
    return whole.view(chunks, chunk, *values.shape[1:])
