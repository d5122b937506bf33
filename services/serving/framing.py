"""How a picture, or a person in it, is laid into a model's input, and how coordinates are read back. Pure.

Coordinates are continuous pixels: (0, 0) is the outer corner of the first pixel, (width, height) that of the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


Resize = Literal["stretch", "letterbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How large a picture is inside the model's input, where it lies in the upper left corner."""

    picture_width: int
    picture_height: int
    inner_width: int
    inner_height: int

    def to_picture(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Turn points (..., 2), x and y in the input's pixels, into the picture's pixels, clipped to the picture."""
        picture_size = np.array([self.picture_width, self.picture_height], np.float64)
        inner_size = np.array([self.inner_width, self.inner_height], np.float64)
        inside: NDArray[np.float64] = np.clip(points * (picture_size / inner_size), 0.0, picture_size)
        return inside


def fit(picture_size: tuple[int, int], input_size: tuple[int, int], resize: Resize) -> Framing:
    """Lay a picture (width, height) into an input (width, height).

    `stretch` fills the input and changes the proportions; `letterbox` keeps them and leaves bars right or below.
    """
    width, height = picture_size
    input_width, input_height = input_size
    if resize == "stretch":
        return Framing(picture_width=width, picture_height=height, inner_width=input_width, inner_height=input_height)
    scale = min(input_width / width, input_height / height)
    return Framing(
        picture_width=width,
        picture_height=height,
        inner_width=min(input_width, max(1, round(width * scale))),
        inner_height=min(input_height, max(1, round(height * scale))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CropFraming:
    """Which part of a picture fills a model's input; it may reach beyond the picture's edges."""

    picture_width: int
    picture_height: int
    left: float
    top: float
    pixels: float
    """The picture's pixels in one of the input's, the same across and down."""

    def to_picture(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Turn points (..., 2), x and y in the input's pixels, into the picture's pixels, clipped to the picture."""
        there = points * self.pixels + np.array([self.left, self.top])
        inside: NDArray[np.float64] = np.clip(there, 0.0, [self.picture_width, self.picture_height])
        return inside


def crop_around(
    box: NDArray[Any], picture_size: tuple[int, int], input_size: tuple[int, int], *, padding: float
) -> CropFraming:
    """Frame a box (4,) in the middle of an input, `padding` times as large, in the input's proportions.

    The shorter side is widened, never the longer cut, as top-down pose models are trained (MMPose's GetBBoxCenterScale
    and TopdownAffine without rotation). A box thinner than a pixel counts as one pixel.
    """
    input_width, input_height = input_size
    width, height = np.maximum(box[2:] - box[:2], 1.0) * padding
    pixels = max(width / input_width, height / input_height)
    centre_x, centre_y = (box[:2] + box[2:]) / 2
    return CropFraming(
        picture_width=picture_size[0],
        picture_height=picture_size[1],
        left=float(centre_x - pixels * input_width / 2),
        top=float(centre_y - pixels * input_height / 2),
        pixels=float(pixels),
    )
