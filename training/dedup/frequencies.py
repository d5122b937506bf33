"""The built-in encoder: a picture's low frequencies, of light and of colour. Pure arithmetic; it needs no weights.

It finds copies (resized, recompressed, trimmed, mirrored), not other pictures of the same thing: for that, give an
encoder that was trained. The discrete cosine transform is Ahmed, Natarajan and Rao's of 1974, orthonormal; the colours
are ITU-R BT.601's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

NAME: Final = "frequencies-1"
SIDE: Final = 32
_LIGHT, _COLOUR = 16, 6  # how many frequencies a direction, the mean included
_LIGHT_FADES, _COLOUR_FADES = 8.0, 3.0  # the frequency at which a cut of a few pixels begins to hide it
_MEAN_COLOUR_WEIGHT: Final = 0.5
_BRIGHTNESS_WEIGHT: Final = 0.05
_FLOOR: Final = 1e-3  # one constant number, so that a picture of one colour has a direction, too


def _cosines(count: int) -> npt.NDArray[np.float64]:
    """Return the first rows of the orthonormal transform of 32 values: (count, 32)."""
    rows: npt.NDArray[np.float64] = np.cos(np.pi / SIDE * np.outer(np.arange(count), np.arange(SIDE) + 0.5)) * np.sqrt(
        2 / SIDE
    )
    rows[0] /= np.sqrt(2)
    return rows


_ROWS: Final = _cosines(_LIGHT)
_ROWS_OF_COLOUR: Final = _cosines(_COLOUR)


def _frequencies(count: int) -> npt.NDArray[np.float64]:
    """Return how often a picture's side each of (count, count) waves repeats, times two."""
    steps = np.arange(count, dtype=np.float64)
    return np.hypot(steps[:, None], steps)


# The amplitudes of natural pictures fall with the frequency; weighted by its square, small forms tell as much as large
# ones, up to where a copy that was cropped has lost them.
_WEIGHTS: Final = _frequencies(_LIGHT) ** 2 * np.exp(-((_frequencies(_LIGHT) / _LIGHT_FADES) ** 2))
_WEIGHTS_OF_COLOUR: Final = np.exp(-((_frequencies(_COLOUR) / _COLOUR_FADES) ** 2))
_WEIGHTS_OF_COLOUR[0, 0] = _MEAN_COLOUR_WEIGHT
_TO_LIGHT: Final = np.array([0.299, 0.587, 0.114])
_TO_COLOUR: Final = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

DIMENSIONS: Final = _LIGHT**2 - 1 + 2 * _COLOUR**2 + 2


def encode(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (n, 329) numbers for pictures (n, 32, 32, 3), not yet of length 1."""
    values = pictures.astype(np.float64) / 255
    light = _ROWS @ (values @ _TO_LIGHT) @ _ROWS.T / SIDE
    colour = np.moveaxis(values @ _TO_COLOUR.T, -1, 1)
    colour = _ROWS_OF_COLOUR @ colour @ _ROWS_OF_COLOUR.T / SIDE
    count = len(pictures)
    shape = (light * _WEIGHTS).reshape(count, -1)[:, 1:]
    brightness = (light[:, :1, 0] - 0.5) * _BRIGHTNESS_WEIGHT
    constant = np.full((count, 1), _FLOOR)
    return np.concatenate([shape, (colour * _WEIGHTS_OF_COLOUR).reshape(count, -1), brightness, constant], axis=1)
