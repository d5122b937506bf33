"""The mathematics of the flow, its sampling, guidance and averaging, against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from training.dit.averaging import average, kept_part
from training.dit.flow import draw_times, flow_loss, sample

NO_CLASS = 9


@pytest.fixture(autouse=True)
def same_draws_each_time() -> None:
    torch.manual_seed(20260501)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 3


def test_the_loss_of_the_right_velocity_is_nothing() -> None:
    pictures, noise, times = torch.rand(6, 2, 4, 4), torch.randn(6, 2, 4, 4), torch.rand(6)
    assert flow_loss(lambda *_: pictures - noise, pictures, labels(6), times, noise).item() == 0


def test_the_loss_of_standing_still_is_the_mean_square_of_the_way() -> None:
    pictures, noise, times = torch.rand(6, 2, 4, 4), torch.randn(6, 2, 4, 4), torch.rand(6)
    loss = flow_loss(lambda at, *_: torch.zeros_like(at), pictures, labels(6), times, noise)
    assert loss.item() == pytest.approx((pictures - noise).square().mean().item())


@pytest.mark.parametrize(("time", "expected"), [(0.0, "noise"), (1.0, "picture"), (0.25, "between")])
def test_the_network_is_shown_the_point_of_the_line_at_its_time(time: float, expected: str) -> None:
    pictures, noise = torch.rand(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    seen: list[Tensor] = []

    def network(at: Tensor, times: Tensor, of: Tensor) -> Tensor:
        seen.extend((at, times, of))
        return at

    flow_loss(network, pictures, labels(3), torch.full((3,), time), noise)
    lines = {"noise": noise, "picture": pictures, "between": 0.75 * noise + 0.25 * pictures}
    assert torch.allclose(seen[0], lines[expected])
    assert seen[1].tolist() == [time] * 3
    assert seen[2].tolist() == [0, 1, 2]


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_a_constant_velocity_is_followed_exactly(steps: int) -> None:
    noise = 0.1 * torch.randn(5, 1, 2, 2)
    drawn = sample(
        lambda at, *_: torch.full_like(at, 0.3), noise, labels(5), no_class=NO_CLASS, steps=steps, guidance=1
    )
    assert torch.allclose(drawn, noise + 0.3, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_a_velocity_in_proportion_grows_by_heun_s_factor_in_each_step(steps: int) -> None:
    rate, width = -1.5, 1 / steps
    noise = torch.rand(5, 1, 2, 2) * 0.1
    drawn = sample(lambda at, *_: rate * at, noise, labels(5), no_class=NO_CLASS, steps=steps, guidance=1)
    factor = (1 + rate * width + (rate * width) ** 2 / 2) ** steps
    assert torch.allclose(drawn, noise * factor, rtol=1e-5)


def test_a_velocity_of_the_time_alone_is_summed_by_the_trapezoid_rule() -> None:
    noise = torch.zeros(2, 1, 1, 1)
    drawn = sample(
        lambda at, times, _: times.view(-1, 1, 1, 1).expand_as(at),
        noise, labels(2), no_class=NO_CLASS, steps=7, guidance=1,
    )  # fmt: skip
    assert drawn.flatten().tolist() == pytest.approx([0.5, 0.5])  # the integral of t from 0 to 1, exactly


def test_the_exact_flow_to_a_normal_distribution_gives_every_noise_its_picture() -> None:
    # Where pictures are normal with deviation s, the mean velocity at x is x (t s^2 - (1 - t)) / ((1 - t)^2 + t^2 s^2),
    # and the flow takes noise z to s z.
    deviation = 0.2

    def velocity(at: Tensor, times: Tensor, _: Tensor) -> Tensor:
        t = times.view(-1, 1, 1, 1)
        return at * (t * deviation**2 - (1 - t)) / ((1 - t) ** 2 + (t * deviation) ** 2)

    noise = torch.randn(200, 1, 1, 1)
    errors = [
        (sample(velocity, noise, labels(200), no_class=NO_CLASS, steps=steps, guidance=1) - deviation * noise)
        .abs().max().item()
        for steps in (20, 40, 80)
    ]  # fmt: skip
    assert errors[2] < 0.002
    assert 3 < errors[1] / errors[2] < 5  # of second order: half the step, a quarter of the error


@pytest.mark.parametrize("guidance", [1.0, 2.0, 3.5])
def test_guidance_goes_that_many_times_as_far_from_no_class_to_the_class(guidance: float) -> None:
    asked: list[int] = []

    def velocity(at: Tensor, _: Tensor, of: Tensor) -> Tensor:
        asked.extend(of.tolist())
        value = torch.where(of == NO_CLASS, 0.1, 0.1 + 0.05 * of)
        return value.view(-1, 1, 1, 1).expand_as(at)

    drawn = sample(velocity, torch.zeros(3, 1, 1, 1), labels(3), no_class=NO_CLASS, steps=2, guidance=guidance)
    expected = [0.1 + guidance * 0.05 * label for label in range(3)]
    assert drawn.flatten().tolist() == pytest.approx(expected)
    assert (NO_CLASS in asked) == (guidance != 1)  # without guidance the second half of the work is not done


def test_what_is_drawn_stays_within_a_picture() -> None:
    drawn = sample(
        lambda at, *_: torch.full_like(at, 50.0), torch.randn(4, 1, 2, 2), labels(4),
        no_class=NO_CLASS, steps=3, guidance=1,
    )  # fmt: skip
    assert drawn.tolist() == torch.ones(4, 1, 2, 2).tolist()


def test_times_are_logit_normal() -> None:
    times = draw_times(40_000)
    assert 0 < times.min() < times.max() < 1
    logits = torch.logit(times)
    assert logits.mean().item() == pytest.approx(0, abs=0.03)
    assert logits.std().item() == pytest.approx(1, abs=0.03)
    assert ((times > 1 / (1 + math.e)) & (times < math.e / (1 + math.e))).float().mean().item() == pytest.approx(
        0.6827, abs=0.01
    )  # within one deviation


def test_the_average_forgets_its_beginning_as_a_power_of_its_decay() -> None:
    mean, now = nn.Linear(3, 3), nn.Linear(3, 3)
    first, later = mean.weight.clone(), now.weight.clone()
    for _ in range(12):
        average(mean, now, 0.9)
    assert torch.allclose(mean.weight, 0.9**12 * first + (1 - 0.9**12) * later, atol=1e-6)
    assert torch.equal(now.weight, later)


def test_the_average_keeps_little_of_the_first_steps_and_never_more_than_its_decay() -> None:
    parts = [kept_part(step, 0.99) for step in range(1, 2000)]
    assert parts[0] == pytest.approx(2 / 11)
    assert parts == sorted(parts)
    assert parts[-1] == 0.99
