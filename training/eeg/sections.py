"""What the data half of the configuration holds: how signal is prepared, which recordings, which windows. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.harness.config import AtLeastOne, NotNegative, Positive, Section


class Signal(Section):
    """How a recording becomes what is learnt from. Every value is part of the cache's key."""

    rate_hz: Annotated[int, Field(ge=32, le=1024)]
    low_hz: Annotated[float, Field(ge=0.05, le=10)]
    high_hz: Positive
    notch_hz: Annotated[tuple[Positive, ...], Field(strict=False, max_length=8)]
    clip_sd: Annotated[float, Field(gt=0, le=100)]
    max_missing_channels: Annotated[int, Field(ge=0, le=18)]
    shortest_s: NotNegative
    storage: Literal["int16", "float16", "float32"]

    @model_validator(mode="after")
    def _band(self) -> Self:
        if not self.low_hz < self.high_hz < self.rate_hz / 2:
            raise ValueError("low_hz < high_hz < rate_hz / 2 must hold")
        return self


class CorpusChoice(Section):
    """Which recordings: all, or at most so many of all splits; and which share of them may be unusable."""

    limit_files: AtLeastOne | None
    max_skipped_share: Annotated[float, Field(ge=0, le=1)]


class Windows(Section):
    """What one example is: so long, one every so often; from `full_ratio` of seizure on it counts as all seizure."""

    length_s: Positive
    stride_s: Positive
    full_ratio: Annotated[float, Field(gt=0, le=1)]
