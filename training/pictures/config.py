"""What every picture is made into, and what becomes of a file that is none. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.harness.config import Section


class Pictures(Section):
    """`side` is in pixels; `channels` 1 is grey, 3 colour.

    `unreadable` says what a file does that cannot be used (training.pictures.decoding names the causes): it stops
    the job, or it is skipped and counted.
    """

    side: Annotated[int, Field(ge=8, le=512)]
    channels: Literal[1, 3]
    unreadable: Literal["stop", "skip"]
