"""The network: two blocks of two convolutions, an average, one linear layer. Pure."""

from __future__ import annotations

from torch import Tensor, nn


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


def _convolution(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
