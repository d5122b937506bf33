"""The networks: a small one of four convolutions, and the ResNet of 18 layers. Pure.

After He and others, Deep Residual Learning for Image Recognition (arXiv 1512.03385).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from training.classifier.config import Config

_SMALL_SIDE = 64  # below it, the ResNet begins without the two halvings that are made for pictures of 224 pixels


def network_of(config: Config, *, classes: int) -> nn.Module:
    """Return the network of a configuration, with fresh weights.

    Their channels lie last in memory: on one core, 28 x 28 pixels and 16 channels, a step took 55 ms instead of 74.
    """
    sizes = {"channels": config.pictures.channels, "classes": classes, "width": config.network.width}
    network: nn.Module
    if config.network.kind == "resnet-18":
        network = ResNet18(**sizes, dropout=config.network.dropout, side=config.pictures.side)
    else:
        network = SmallCnn(**sizes, dropout=config.network.dropout)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's own stubs lack it


class SmallCnn(nn.Module):
    """Map pictures (n, channels, side, side), float32, to scores (n, classes). Any side from 8 pixels up."""

    def __init__(self, *, channels: int, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * 2 * width, classes),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the scores before the softmax."""
        scores: Tensor = self.layers(pictures)
        return scores


class ResNet18(nn.Module):
    """Map pictures (n, channels, side, side), float32, to scores (n, classes), by four stages of two blocks.

    Each stage but the first halves the picture and doubles the channels; a picture of 2 pixels is not halved, so that
    a batch of one can still be normalised.
    """

    def __init__(self, *, channels: int, classes: int, width: int, dropout: float, side: int) -> None:
        super().__init__()
        layers: list[nn.Module]
        if side < _SMALL_SIDE:
            layers = [*_convolution(channels, width)]
        else:
            layers = [*_convolution(channels, width, kernel=7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)]
            side = -(-side // 4)
        before = width
        for stage in range(4):
            stride = 2 if stage and side > 2 else 1
            side = -(-side // stride)
            layers += [_Residual(before, width << stage, stride), _Residual(width << stage, width << stage, 1)]
            before = width << stage
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the scores before the softmax."""
        scores: Tensor = self.scores(self.dropout(self.layers(pictures).mean(dim=(2, 3))))
        return scores


class _Residual(nn.Module):
    """Two convolutions, and a way past them; the way past is a convolution of 1 pixel where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        first, (second, normal, _) = _convolution(channels, width, stride=stride), _convolution(width, width)
        self.layers = nn.Sequential(*first, second, normal)
        nn.init.zeros_(normal.weight)  # type: ignore[arg-type]  # a block begins as the way past it
        self.past: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.past = nn.Sequential(*_convolution(channels, width, kernel=1, stride=stride)[:2])

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.relu(self.layers(pictures) + self.past(pictures))


def _convolution(channels: int, width: int, *, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)
