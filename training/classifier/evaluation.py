"""How well a network tells the classes of a split: mean loss and confusion matrix. Draws nothing, changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from training.harness.arithmetic import Arithmetic
    from training.pictures.folder import Split

_BATCH: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Mean loss and the confusion matrix, rows the truth and columns the answer."""

    loss: float
    confusion: tuple[tuple[int, ...], ...]

    @property
    def accuracy(self) -> float:
        """Return the part of the pictures that was told right."""
        total = sum(map(sum, self.confusion))
        return sum(row[index] for index, row in enumerate(self.confusion)) / total


def evaluate(network: nn.Module, split: Split, *, classes: int, arithmetic: Arithmetic) -> Evaluation:
    """Measure a network on a split."""
    network.eval()
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    loss_sum = 0.0
    with torch.inference_mode(), arithmetic.mixed():
        for pictures, labels in zip(
            torch.split(split.pictures, _BATCH), torch.split(split.labels, _BATCH), strict=True
        ):
            scores = network(as_input(pictures, arithmetic.device)).to("cpu", torch.float32)
            loss_sum += functional.cross_entropy(scores, labels, reduction="sum").item()
            confusion += torch.bincount(labels * classes + scores.argmax(1), minlength=classes * classes)
    rows = confusion.view(classes, classes).tolist()
    return Evaluation(loss=loss_sum / len(split.labels), confusion=tuple(tuple(row) for row in rows))


def as_input(pictures: Tensor, device: torch.device) -> Tensor:
    """Return pictures as a network takes them: uint8 to float32 in [0, 1], on its device."""
    return pictures.to(device).to(torch.float32) / 255
