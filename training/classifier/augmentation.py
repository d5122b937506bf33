"""Random turning, moving and scaling of a batch. Draws from torch's global random state, which checkpoints carry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from training.classifier.config import Augmentation


def augment(pictures: Tensor, how: Augmentation) -> Tensor:
    """Return pictures (n, channels, side, side), each under its own random affine map; outside of a picture is 0."""
    count, side = pictures.shape[0], pictures.shape[-1]
    angle, across, down, scale = (2 * torch.rand(4, count) - 1).unbind()
    angle = angle * math.radians(how.rotation_degrees)
    scale = 1 + scale * how.scale
    shift = 2 * how.shift_pixels / side  # grid_sample counts from -1 to 1 across the picture
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    maps = torch.stack([cosine, -sine, across * shift, sine, cosine, down * shift], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
