"""The scan: the same numbers as one step after the other, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from training.eeg.mamba_cuda import compare
from training.eeg.scan import Scan, kernel_scan, linear_recurrence, plain_scan, selective_scan

LENGTHS = (1, 2, 3, 4, 15, 16, 17, 240, 251)


def one_after_the_other(scan: Scan) -> Tensor:
    """Return the selective scan as its definition says it, a step and a state at a time."""
    inputs, decay = scan.inputs, scan.decay
    step = torch.log1p(torch.exp(scan.delta + scan.delta_bias[:, None]))
    state = torch.zeros(inputs.shape[0], *decay.shape, dtype=inputs.dtype)
    outputs = []
    for t in range(inputs.shape[-1]):
        now = step[:, :, t, None]
        state = torch.exp(now * decay) * state + now * inputs[:, :, t, None] * scan.enter[:, None, :, t]
        outputs.append((state * scan.leave[:, None, :, t]).sum(-1))
    gate = scan.gate
    return (torch.stack(outputs, -1) + scan.skip[:, None] * inputs) * gate / (1 + torch.exp(-gate))


def scan_of(length: int, *, batch: int = 2, channels: int = 3, states: int = 4) -> Scan:
    random = torch.Generator().manual_seed(length)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    scan = Scan(
        inputs=values(batch, channels, length),
        delta=values(batch, channels, length),
        decay=-torch.exp(values(channels, states)),
        enter=values(batch, states, length),
        leave=values(batch, states, length),
        skip=values(channels),
        gate=values(batch, channels, length),
        delta_bias=values(channels),
    )
    return Scan(*(value.requires_grad_() for value in scan))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_scan_is_what_one_step_after_the_other_gives(length: int) -> None:
    scan = scan_of(length)
    assert torch.allclose(plain_scan(scan), one_after_the_other(scan), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("length", LENGTHS)
def test_its_gradients_are_what_one_step_after_the_other_gives(length: int) -> None:
    scan = scan_of(length)
    weights = torch.randn(2, 3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((plain_scan(scan) * weights).sum(), list(scan))
    theirs = torch.autograd.grad((one_after_the_other(scan) * weights).sum(), list(scan))
    for name, one, other in zip(scan._fields, ours, theirs, strict=True):
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
    scan = Scan(*(value.detach().float().requires_grad_() for value in scan_of(100)))
    scan = scan._replace(decay=torch.full_like(scan.decay, -1e30, requires_grad=True))
    output = selective_scan(scan)
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in scan)


def kernel_like(  # noqa: PLR0917  # the signature of mamba-ssm's selective_scan_fn
    u: Tensor,
    delta: Tensor,
    A: Tensor,  # noqa: N803
    B: Tensor,  # noqa: N803
    C: Tensor,  # noqa: N803
    D: Tensor,  # noqa: N803
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,  # noqa: FBT001
) -> Tensor:
    assert delta_softplus
    return plain_scan(Scan(u, delta, A, B, C, D, z, delta_bias))


def test_a_kernel_is_asked_as_mamba_ssm_is() -> None:
    scan = scan_of(20)
    assert torch.equal(kernel_scan(kernel_like, scan), plain_scan(scan))


def test_a_kernel_with_the_scans_numbers_is_equal() -> None:
    found = compare(kernel_like, torch.device("cpu"), (1, 4, 60, 3))
    assert found["outcome"] == "equal"
    assert set(found["relative_differences"]) == {"output", *(f"d_{name}" for name in Scan._fields)}


def test_a_kernel_that_is_off_by_a_hundredth_or_gives_no_number_is_different() -> None:
    def off(*scan: Tensor, **named: Any) -> Tensor:
        return 1.01 * kernel_like(*scan, **named)

    def broken(*scan: Tensor, **named: Any) -> Tensor:
        return float("nan") * kernel_like(*scan, **named)

    for kernel in (off, broken):
        assert compare(kernel, torch.device("cpu"), (1, 4, 60, 3))["outcome"] == "different"


def test_without_a_gpu_the_plain_scan_is_taken() -> None:
    scan = scan_of(20)
    assert torch.equal(selective_scan(scan), plain_scan(scan))
