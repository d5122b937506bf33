"""What every picture is made into. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.harness.config import Section


class Pictures(Section):
    """`side` is in pixels; `channels` 1 is grey, 3 colour."""

    side: Annotated[int, Field(ge=8, le=512)]
    channels: Literal[1, 3]
