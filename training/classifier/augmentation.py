"""What is done at random to a batch. Draws from torch's global random state, on the processor: checkpoints carry it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from training.classifier.config import Augmentation


def augment(pictures: Tensor, how: Augmentation) -> Tensor:
    """Return pictures (n, channels, side, side) in [0, 1], each changed in its own way; outside of a picture is 0."""
    count, side = pictures.shape[0], pictures.shape[-1]
    drawn = torch.rand(8, count)  # as many for any configuration, so that a change of one kind leaves the others' draws
    angle, across, down, scale, contrast = (2 * drawn[:5] - 1).unbind()
    maps = _maps(angle, across, down, scale, mirrored=drawn[5] < how.mirror, side=side, how=how).to(pictures.device)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    changed = functional.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    if how.contrast:
        factor = (1 + contrast * how.contrast).to(pictures.device).view(count, 1, 1, 1)
        mean = changed.mean(dim=(1, 2, 3), keepdim=True)
        changed = ((changed - mean) * factor + mean).clamp(0, 1)
    if how.erase_pixels:
        kept = ~_squares(drawn[6:], side=side, erased=how.erase_pixels).to(pictures.device)
        changed = changed * kept.unsqueeze(1)
    return changed


def _maps(
    angle: Tensor, across: Tensor, down: Tensor, scale: Tensor, *, mirrored: Tensor, side: int, how: Augmentation
) -> Tensor:
    """Return affine maps (n, 2, 3) from places in the new picture to places in the old one, both from -1 to 1."""
    angle = angle * math.radians(how.rotation_degrees)
    scale = 1 + scale * how.scale
    shift = 2 * how.shift_pixels / side
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    sign = 1 - 2 * mirrored.to(torch.float32)
    rows = [sign * cosine, -sine, across * shift, sign * sine, cosine, down * shift]
    return torch.stack(rows, dim=1).view(len(angle), 2, 3)


def _squares(drawn: Tensor, *, side: int, erased: int) -> Tensor:
    """Return (n, side, side), true in a square of `erased` pixels whose middle is anywhere in the picture."""
    pixels = torch.arange(side) + 0.5
    rows, columns = ((pixels - middle.unsqueeze(1) * side).abs() <= erased / 2 for middle in drawn)
    inside: Tensor = rows.unsqueeze(2) & columns.unsqueeze(1)
    return inside
