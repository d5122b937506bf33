"""The average of a network's weights over its steps, the younger the heavier: what is measured and drawn with. Pure."""

from __future__ import annotations

import torch
from torch import nn


def kept_part(step: int, decay: float) -> float:
    """Return how much of the average the step (counted from 1) keeps: less in the first steps, which are noise."""
    return min(decay, (1 + step) / (10 + step))


def average(mean: nn.Module, now: nn.Module, kept: float) -> None:
    """Move the average towards the weights as they are now: `mean = kept mean + (1 - kept) now`."""
    with torch.no_grad():
        for old, new in zip(mean.parameters(), now.parameters(), strict=True):
            old.lerp_(new, 1 - kept)
