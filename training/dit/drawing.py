"""Pictures from a trained network, the same for the same seed. Pure torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.dit.flow import sample
from training.dit.network import DiffusionTransformer

if TYPE_CHECKING:
    from training.dit.config import Config

_BATCH = 256


def network_of(config: Config, *, classes: int) -> DiffusionTransformer:
    """Return the network of a configuration, with fresh weights."""
    how = config.pictures
    return DiffusionTransformer(side=how.side, channels=how.channels, classes=classes, network=config.network)


def draw(network: DiffusionTransformer, labels: Tensor, *, config: Config, seed: int) -> Tensor:
    """Draw a picture of each class in `labels` (n) as the configuration samples; (n, channels, side, side) in [-1, 1].

    All noise is drawn at once and on the processor: neither batches nor device change a picture's beginning.
    """
    how = config.pictures
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((len(labels), how.channels, how.side, how.side), generator=generator)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(labels), _BATCH):
            part = slice(start, start + _BATCH)
            parts.append(
                sample(
                    network,
                    noise[part].to(device),
                    labels[part].to(device),
                    no_class=network.no_class,
                    steps=config.sampling.steps,
                    guidance=config.sampling.guidance,
                ).cpu()
            )
    return torch.cat(parts)
