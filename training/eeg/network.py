"""The network: strided convolutions, dilated ones, state-space blocks in both directions, a score a second. Pure.

The signal is decimated at once, so that all that follows runs at a few values a second: (channels, seconds * rate)
becomes (width, seconds * latent rate). Dilated convolutions see seconds, the state-space blocks the whole window.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.eeg.scan import Scan, selective_scan

if TYPE_CHECKING:
    from training.eeg.config import Network

_SHORT: Final = 4  # steps that a state-space block's own convolution sees, as in the model's paper
_STEPS: Final = (0.001, 0.1)  # between these the first step sizes lie: memories of 10 to 1000 steps


class Detector(nn.Module):
    """Map signals (n, channels, seconds * rate), float32, to scores (n, seconds) before the sigmoid."""

    def __init__(self, how: Network, *, channels: int, rate_hz: int) -> None:
        super().__init__()
        self.latent_rate_hz = how.latent_rate_hz(rate_hz)
        widths = (channels, *[how.width] * len(how.strides))
        self.decimation = nn.Sequential(
            *(_Decimation(before, how.width, stride) for before, stride in zip(widths, how.strides, strict=False))
        )
        self.convolutions = nn.Sequential(*(_Dilated(how.width, dilation, how.dropout) for dilation in how.dilations))
        self.state_spaces = nn.Sequential(
            *(_StateSpaces(how.width, how.states, how.dropout) for _ in range(how.state_blocks))
        )
        self.head = nn.Linear(2 * how.width, 1)

    def forward(self, signals: Tensor) -> Tensor:
        """Return the scores; from each second the mean and the peak of what was seen in it."""
        seen = self.state_spaces(self.convolutions(self.decimation(signals)))
        seconds = seen.unflatten(-1, (-1, self.latent_rate_hz))
        scores: Tensor = self.head(torch.cat([seconds.mean(-1), seconds.amax(-1)], dim=1).transpose(1, 2)).squeeze(-1)
        return scores


class _Decimation(nn.Sequential):
    """One value where there were `stride`."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(
            nn.Conv1d(before, after, 3 * stride, stride=stride, padding=stride, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(inplace=True),
        )


class _Dilated(nn.Module):
    """A residual block that looks `dilation` steps to both sides."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, values: Tensor) -> Tensor:
        changed: Tensor = values + self.change(values)
        return changed


class _StateSpaces(nn.Module):
    """A residual block of two state spaces, one forwards in time and one backwards, between shared projections."""

    def __init__(self, width: int, states: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 4 * width, bias=False)
        self.forwards, self.backwards = _StateSpace(2 * width, states), _StateSpace(2 * width, states)
        self.out = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        inputs, gate = self.into(self.norm(values.transpose(1, 2))).transpose(1, 2).chunk(2, dim=1)
        both = self.forwards(inputs, gate) + self.backwards(inputs.flip(-1), gate.flip(-1)).flip(-1)
        changed: Tensor = values + self.dropout(self.out(both.transpose(1, 2))).transpose(1, 2)
        return changed


class _StateSpace(nn.Module):
    """One direction: a short convolution of the past, and a selective scan whose parameters the input chooses."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.states, self.rank = states, math.ceil(width / 16)
        self.short = nn.Conv1d(width, width, _SHORT, groups=width, padding=_SHORT - 1)
        self.choose = nn.Linear(width, self.rank + 2 * states, bias=False)
        self.delta = nn.Linear(self.rank, width, bias=False)
        low, high = map(math.log, _STEPS)
        steps = torch.exp(low + (high - low) * torch.rand(width))
        self.delta_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))  # softplus of it is the step
        self.log_decay = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, inputs: Tensor, gate: Tensor) -> Tensor:
        seen = functional.silu(self.short(inputs)[..., : inputs.shape[-1]])
        delta, enter, leave = self.choose(seen.transpose(1, 2)).split([self.rank, self.states, self.states], dim=-1)
        delta = self.delta(delta)
        with torch.autocast(inputs.device.type, enabled=False):  # a sum over a whole window needs all its digits
            return selective_scan(
                Scan(
                    inputs=seen.float(),
                    delta=delta.float().transpose(1, 2),
                    decay=-torch.exp(self.log_decay.float()),
                    enter=enter.float().transpose(1, 2),
                    leave=leave.float().transpose(1, 2),
                    skip=self.skip.float(),
                    gate=gate.float(),
                    delta_bias=self.delta_bias.float(),
                )
            )
