"""What schemathesis sends where the description asks for a picture: small real ones. Loaded by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 64)
VALUES = st.integers(0, 255)


def _picture(kind: str, size: tuple[int, int], colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


for _kind in ("JPEG", "PNG", "WEBP", "BMP"):
    schemathesis.openapi.media_type(
        f"image/{_kind.lower()}",
        st.builds(_picture, st.just(_kind), st.tuples(SIDES, SIDES), st.tuples(VALUES, VALUES, VALUES)),
    )
