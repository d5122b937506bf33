"""How a picture is laid into a model's input, and how the model's coordinates are read back. Pure.

Coordinates are continuous pixels: (0, 0) is the outer corner of the first pixel, (width, height) that of the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def fit(picture_size: tuple[int, int], input_size: tuple[int, int], resize: Literal["stretch", "letterbox"]) -> Framing:
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
