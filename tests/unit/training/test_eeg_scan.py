"""The scan: the same numbers as one step after the other, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from training.eeg.scan import linear_recurrence, plain_scan, selective_scan

LENGTHS = (1, 2, 3, 4, 15, 16, 17, 240, 251)


def one_after_the_other(scan: dict[str, Tensor]) -> Tensor:
    """Return the selective scan as its definition says it, a step and a state at a time."""
    inputs, decay = scan["inputs"], scan["decay"]
    step = torch.log1p(torch.exp(scan["delta"] + scan["delta_bias"][:, None]))
    state = torch.zeros(inputs.shape[0], *decay.shape, dtype=inputs.dtype)
    outputs = []
    for t in range(inputs.shape[-1]):
        now = step[:, :, t, None]
        state = torch.exp(now * decay) * state + now * inputs[:, :, t, None] * scan["enter"][:, None, :, t]
        outputs.append((state * scan["leave"][:, None, :, t]).sum(-1))
    gate = scan["gate"]
    return (torch.stack(outputs, -1) + scan["skip"][:, None] * inputs) * gate / (1 + torch.exp(-gate))


def scan_of(length: int, *, batch: int = 2, channels: int = 3, states: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(length)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    scan = {
        "inputs": values(batch, channels, length),
        "delta": values(batch, channels, length),
        "decay": -torch.exp(values(channels, states)),
        "enter": values(batch, states, length),
        "leave": values(batch, states, length),
        "skip": values(channels),
        "gate": values(batch, channels, length),
        "delta_bias": values(channels),
    }
    return {name: value.requires_grad_() for name, value in scan.items()}


@pytest.mark.parametrize("length", LENGTHS)
def test_the_scan_is_what_one_step_after_the_other_gives(length: int) -> None:
    scan = scan_of(length)
    assert torch.allclose(plain_scan(**scan), one_after_the_other(scan), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("length", LENGTHS)
def test_its_gradients_are_what_one_step_after_the_other_gives(length: int) -> None:
    scan = scan_of(length)
    weights = torch.randn(2, 3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((plain_scan(**scan) * weights).sum(), list(scan.values()))
    theirs = torch.autograd.grad((one_after_the_other(scan) * weights).sum(), list(scan.values()))
    for name, one, other in zip(scan, ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11), name


@pytest.mark.parametrize("length", [1, 5, 9])
def test_the_recurrences_gradient_is_that_of_finite_differences(length: int) -> None:
    random = torch.Generator().manual_seed(3)
    decay = torch.rand(length, 2, generator=random, dtype=torch.float64).requires_grad_()
    entering = torch.randn(length, 2, generator=random, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(linear_recurrence, (decay, entering))


def test_its_arguments_are_left_as_they_were() -> None:
    decay, entering = torch.rand(16, 2), torch.rand(16, 2)
    before = decay.clone(), entering.clone()
    linear_recurrence(decay, entering)
    assert torch.equal(decay, before[0])
    assert torch.equal(entering, before[1])


def test_states_that_decay_to_nothing_in_one_step_stay_numbers() -> None:
    scan = {name: value.detach().float() for name, value in scan_of(100).items()}
    scan["decay"] = torch.full_like(scan["decay"], -1e30)
    inputs: dict[str, Any] = {name: value.requires_grad_() for name, value in scan.items()}
    output = selective_scan(**inputs)
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(value.grad).all() for value in inputs.values())


def test_without_a_gpu_the_plain_scan_is_taken() -> None:
    scan = scan_of(20)
    assert torch.equal(selective_scan(**scan), plain_scan(**scan))
