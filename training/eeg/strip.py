"""A strip of EEG as a picture: channels over time, what is true, what was detected, and the probability. Pure."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.config import Detection
    from training.eeg.detection import Events

_WIDTH, _LEFT, _RIGHT = 1400, 70, 30
_TOP, _CHANNEL, _BAND, _CURVE, _BOTTOM = 44, 26, 22, 90, 34
_PIXELS: Final = 5  # of one standard deviation
_CLIP: Final = 4.0  # standard deviations, so that no channel hides its neighbours
_INK, _GREY, _LIGHT, _TRUE, _FOUND = "#1f2933", "#7b8794", "#e4e7eb", "#0b7a75", "#c2410c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """What is drawn. `signals` are z-scored (channels, samples); events are in seconds since `start_s`."""

    title: str
    channels: tuple[str, ...]
    signals: NDArray[np.float32]
    start_s: int
    truth: Events
    detected: Events
    probabilities: NDArray[np.float32]


def draw_strip(strip: Strip, how: Detection) -> bytes:
    """Return the picture as PNG; the same bytes for the same input."""
    seconds = len(strip.probabilities)
    height = _TOP + len(strip.channels) * _CHANNEL + 2 * _BAND + _CURVE + _BOTTOM
    image = Image.new("RGB", (_WIDTH, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((_LEFT, 12), strip.title, fill=_INK, font=ImageFont.load_default(16))

    def x_of(second: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(second, 0.0), seconds) / seconds

    bands = _TOP + len(strip.channels) * _CHANNEL
    for start, stop in strip.truth:
        draw.rectangle((x_of(start), _TOP, x_of(stop), bands), fill="#e6f4f1")
    for index, name in enumerate(strip.channels):
        middle = _TOP + (index + 0.5) * _CHANNEL
        draw.text((8, middle), name, fill=_INK, font=font, anchor="lm")
        _draw_channel(draw, strip.signals[index], middle)
    for row, (name, events, colour) in enumerate((("truth", strip.truth, _TRUE), ("detected", strip.detected, _FOUND))):
        top = bands + row * _BAND
        draw.text((8, top + _BAND / 2), name, fill=colour, font=font, anchor="lm")
        draw.line((_LEFT, top + _BAND / 2, _WIDTH - _RIGHT, top + _BAND / 2), fill=_LIGHT)
        for start, stop in events:
            draw.rectangle((x_of(start), top + 5, x_of(stop), top + _BAND - 5), fill=colour)
    floor = bands + 2 * _BAND + _CURVE - 6
    for threshold, name, anchor in ((how.upper, "upper", "rb"), (how.lower, "lower", "rt")):
        y = floor - threshold * (_CURVE - 16)
        draw.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=_LIGHT)
        draw.text((_LEFT - 4, y), f"{name} {threshold:g}", fill=_GREY, font=ImageFont.load_default(10), anchor=anchor)
    draw.text((8, floor), "p(seizure)", fill=_INK, font=ImageFont.load_default(11), anchor="lm")
    draw.line(
        [(x_of(second + 0.5), floor - float(p) * (_CURVE - 16)) for second, p in enumerate(strip.probabilities)],
        fill=_FOUND,
        width=2,
    )
    draw.line((_LEFT, floor, _WIDTH - _RIGHT, floor), fill=_GREY)
    every = next((step for step in (5, 10, 30, 60, 300, 600, 3600) if seconds / step <= 14), 86400)
    for second in range(-strip.start_s % every, seconds + 1, every):
        draw.line((x_of(second), floor, x_of(second), floor + 4), fill=_GREY)
        draw.text((x_of(second), floor + 8), f"{strip.start_s + second} s", fill=_GREY, font=font, anchor="mt")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _draw_channel(draw: ImageDraw.ImageDraw, signal: NDArray[np.float32], middle: float) -> None:
    """Draw one line from the lowest to the highest value of each pixel's stretch: no spike is lost."""
    width = _WIDTH - _LEFT - _RIGHT
    edges = np.linspace(0, len(signal), min(width, len(signal)) + 1).astype(int)[:-1]
    lows = np.clip(np.minimum.reduceat(signal, edges), -_CLIP, _CLIP) * _PIXELS
    highs = np.clip(np.maximum.reduceat(signal, edges), -_CLIP, _CLIP) * _PIXELS
    before = middle - float(highs[0])
    for pixel, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
        x = _LEFT + pixel * width / len(edges)
        draw.line((x, min(before, middle - high), x, middle - low), fill=_INK)
        before = middle - (low + high) / 2
