"""The golden picture of a service with what was found on it. Reads the picture, and nothing else.

The picture is made smaller and re-encoded, so that the page stays small and carries none of its metadata.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LONGEST_SIDE: Final = 960
_JPEG_QUALITY: Final = 82


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object that was found: what, how sure, and where, as [x0, y0, x1, y1] in pixels of the upright picture.

    `colour` counts the labels in the order in which they first appear.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    colour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InlinePicture:
    """A picture as a data URI, and the size in pixels of the upright original, which boxes refer to."""

    data_uri: str
    width: int
    height: int


def detections(answer: Mapping[str, Any]) -> tuple[Detection, ...]:
    """Return what a service's answer lists, in its order; an entry without label, score and box is passed over."""
    listed = answer.get("detections", answer.get("persons"))
    found: list[Detection] = []
    colours: dict[str, int] = {}
    for item in listed if isinstance(listed, list | tuple) else ():
        try:
            x0, y0, x1, y1 = (float(corner) for corner in item["box"])
            label, score = str(item["label"]), float(item["score"])
        except (KeyError, TypeError, ValueError):
            continue
        if all(map(math.isfinite, (x0, y0, x1, y1, score))):
            colour = colours.setdefault(label, len(colours))
            found.append(Detection(label=label, score=score, box=(x0, y0, x1, y1), colour=colour))
    return tuple(found)


def inline_picture(path: Path) -> InlinePicture | None:
    """Return a picture file, upright and at most 960 pixels a side; None when it is not there or is no picture."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    width, height = upright.size
    upright.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    content = io.BytesIO()
    upright.save(content, "JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return InlinePicture(data_uri=f"data:image/jpeg;base64,{encoded}", width=width, height=height)
