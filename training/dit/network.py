"""The diffusion transformer: patches in, velocities out, time and class by modulation of every block. Pure torch.

After Peebles and Xie, Scalable Diffusion Models with Transformers (arXiv 2212.09748): adaptive layer norm whose gates
begin at zero, so that each block begins as the identity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from training.dit.config import Network

_TIME_WAVES = 128
_TIME_SCALE = 1000.0  # the waves were made for steps of 0 to 1000


class DiffusionTransformer(nn.Module):
    """Predicts the velocity of pictures (n, channels, side, side) at times (n) in [0, 1], given classes (n).

    Class `classes` means no class: what guidance compares with.
    """

    def __init__(self, *, side: int, channels: int, classes: int, network: Network) -> None:
        super().__init__()
        self.no_class = classes
        self._patch, self._channels, self._grid = network.patch, channels, side // network.patch
        pixels = channels * network.patch**2
        self.patches = nn.Linear(pixels, network.width)
        self.register_buffer("places", _places(self._grid, network.width), persistent=False)
        self.time = nn.Sequential(
            nn.Linear(_TIME_WAVES, network.width), nn.SiLU(), nn.Linear(network.width, network.width)
        )
        self.labels = nn.Embedding(classes + 1, network.width)
        self.blocks = nn.ModuleList(_Block(network.width, network.heads) for _ in range(network.depth))
        self.norm = nn.LayerNorm(network.width, elementwise_affine=False)
        self.modulation = nn.Linear(network.width, 2 * network.width)
        self.pixels = nn.Linear(network.width, pixels)
        for layer in (self.modulation, self.pixels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.labels.weight, std=0.02)

    def forward(self, pictures: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Return velocities in the shape of the pictures."""
        tokens = self.patches(self._as_patches(pictures)) + self.places
        condition = functional.silu(self.time(_waves(times * _TIME_SCALE, _TIME_WAVES)) + self.labels(labels))
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(condition).unsqueeze(1).chunk(2, dim=2)
        return self._as_pictures(self.pixels(self.norm(tokens) * (1 + scale) + shift))

    def _as_patches(self, pictures: Tensor) -> Tensor:
        grid, patch = self._grid, self._patch
        cut = pictures.reshape(len(pictures), self._channels, grid, patch, grid, patch)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(len(pictures), grid * grid, -1)

    def _as_pictures(self, tokens: Tensor) -> Tensor:
        grid, patch = self._grid, self._patch
        cut = tokens.reshape(len(tokens), grid, grid, self._channels, patch, patch)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), self._channels, grid * patch, grid * patch)


class _Block(nn.Module):
    """Attention, then a small network for each token; both shifted, scaled and gated by the condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.before_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_tokens = nn.LayerNorm(width, elementwise_affine=False)
        self.tokens = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(condition).unsqueeze(1).chunk(6, dim=2)
        tokens = tokens + gate * self._attend(self.before_attention(tokens) * (1 + scale) + shift)
        changed: Tensor = tokens + gate_2 * self.tokens(self.before_tokens(tokens) * (1 + scale_2) + shift_2)
        return changed

    def _attend(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        split = self.queries_keys_values(tokens).reshape(count, length, 3, self._heads, width // self._heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self.mix(mixed.transpose(1, 2).reshape(count, length, width))  # type: ignore[no-any-return]  # a Tensor


def _waves(values: Tensor, count: int) -> Tensor:
    """Return cosines and sines (n, count) of values (n), at wavelengths from 2 pi to 20,000 pi."""
    rates = torch.exp(-math.log(10_000) * torch.arange(count // 2, dtype=torch.float32) / (count // 2))
    angles = values[:, None] * rates.to(values.device)
    return torch.cat((angles.cos(), angles.sin()), dim=1)


def _places(grid: int, width: int) -> Tensor:
    """Return where each patch lies, (grid * grid, width): half of the numbers say the row, half the column."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    halves = (_waves(axis.flatten().to(torch.float32), width // 2) for axis in (rows, columns))
    return torch.cat(tuple(halves), dim=1)
