"""Windows made a little different, at random. Draws from torch's global random state, which checkpoints carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from training.eeg.montage import CHANNELS

if TYPE_CHECKING:
    from torch import Tensor

    from training.eeg.config import Augmentation


def _opposite(name: str) -> str:
    """Return the electrode on the other side: odd numbers are left, even ones right, z is the middle."""
    side = name[-1]
    return name if side == "z" else f"{name[:-1]}{int(side) + (1 if int(side) % 2 else -1)}"


OPPOSITE: Final = tuple(CHANNELS.index(_opposite(name)) for name in CHANNELS)
"""For each of CHANNELS the place of the one that mirrors it."""


def augmented(signals: Tensor, how: Augmentation) -> Tensor:
    """Return windows (n, 19, samples) louder or softer, without some channels, some with left and right exchanged."""
    count, channels, _ = signals.shape
    gain = 1 + how.gain * (2 * torch.rand(count, 1, 1) - 1)
    kept = torch.rand(count, channels, 1) >= how.channel_dropout
    turned = torch.rand(count, 1, 1) < how.mirror
    return torch.where(turned, signals[:, list(OPPOSITE)], signals) * (gain * kept)
