"""Flow matching: straight lines from noise to pictures, learnt as velocities and followed back in steps. Pure torch.

After Lipman and others, Flow Matching for Generative Modeling (arXiv 2210.02747). At time 0 a picture is noise, at time
1 it is itself; in between `x = (1 - t) noise + t picture`, whose velocity is `picture - noise` everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Pictures (n, channels, side, side), times (n) and classes (n) -> velocities in the shape of the pictures."""


def flow_loss(network: Velocity, pictures: Tensor, labels: Tensor, times: Tensor, noise: Tensor) -> Tensor:
    """Return the mean square error of the velocity; pictures are in [-1, 1], times (n) in [0, 1]."""
    at = times[:, None, None, None]
    return functional.mse_loss(network((1 - at) * noise + at * pictures, times, labels), pictures - noise)


def draw_times(count: int) -> Tensor:
    """Draw times from the logit-normal distribution: the middle of the way is the hardest, and is learnt most.

    Esser and others, Scaling Rectified Flow Transformers (arXiv 2403.03206).
    """
    return torch.sigmoid(torch.randn(count))


def sample(network: Velocity, noise: Tensor, labels: Tensor, *, no_class: int, steps: int, guidance: float) -> Tensor:
    """Follow the flow from noise (n, channels, side, side) to pictures in [-1, 1], by Heun's rule.

    Guidance g goes g times as far as from the velocity without a class to the one with it (arXiv 2207.12598).
    """

    def velocity(pictures: Tensor, time: float) -> Tensor:
        times = torch.full((len(pictures),), time, device=pictures.device)
        with_class = network(pictures, times, labels)
        if guidance == 1:
            return with_class
        without = network(pictures, times, torch.full_like(labels, no_class))
        return without + guidance * (with_class - without)

    pictures, width = noise, 1 / steps
    for step in range(steps):
        here = velocity(pictures, step * width)
        there = velocity(pictures + width * here, (step + 1) * width)
        pictures = pictures + width * (here + there) / 2
    return pictures.clamp(-1, 1)
