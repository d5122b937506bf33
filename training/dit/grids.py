"""Pictures side by side in one PNG. Pure."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

_LEAST_SIDE = 48  # of one picture in the grid, in pixels: small ones are shown larger, with their pixels as squares
_GAP = 2


def as_bytes(pictures: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as uint8, as files hold them."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def picture_grid(pictures: Tensor, *, columns: int) -> bytes:
    """Return a PNG of pictures (n, channels, side, side) in [-1, 1], in rows of `columns`, the first at top left."""
    count, channels, side, _ = pictures.shape
    scale = max(1, -(-_LEAST_SIDE // side))
    cell = side * scale + _GAP
    sheet = torch.full((-(-count // columns) * cell - _GAP, columns * cell - _GAP, channels), 255, dtype=torch.uint8)
    shown = as_bytes(pictures).permute(0, 2, 3, 1)
    large = shown.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    for index, picture in enumerate(large):
        top, left = index // columns * cell, index % columns * cell
        sheet[top : top + side * scale, left : left + side * scale] = picture
    stream = io.BytesIO()
    Image.fromarray(sheet.squeeze(2).numpy() if channels == 1 else sheet.numpy()).save(stream, "PNG")
    return stream.getvalue()
