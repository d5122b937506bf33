"""What the configuration of the job eeg holds. Pure."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.eeg.sections import CorpusChoice, Signal, Windows
from training.harness.config import AtLeastOne, Fraction, JobConfig, NotNegative, Positive, Section

Probability = Annotated[float, Field(gt=0, lt=1)]


class Network(Section):
    """Its size. Each of `strides` decimates the signal; each of `dilations`, in steps of what is left, is a block."""

    width: Annotated[int, Field(ge=1, le=1024)]
    strides: Annotated[list[Annotated[int, Field(ge=2, le=16)]], Field(min_length=1)]
    dilations: list[AtLeastOne]
    state_blocks: Annotated[int, Field(ge=0, le=48)]
    states: Annotated[int, Field(ge=1, le=256)]
    dropout: Fraction

    def latent_rate_hz(self, rate_hz: int) -> int:
        """Return the values a second after the decimation, 0 where they do not come out whole."""
        decimation = math.prod(self.strides)
        return 0 if rate_hz % decimation else rate_hz // decimation


class Loader(Section):
    """Threads that read windows ahead. What a batch holds does not depend on how many."""

    workers: Annotated[int, Field(ge=1, le=64)]


class Sampling(Section):
    """Windows of an epoch beside all that are partly in a seizure, and the control that must learn nothing."""

    full_per_partial: NotNegative
    none_per_partial: NotNegative
    shuffled_labels: bool


class Augmentation(Section):
    """How far a window is made louder or softer, how often a channel is left out and left becomes right, at random."""

    gain: Fraction
    channel_dropout: Fraction
    mirror: Fraction


class Optimisation(Section):
    """AdamW with a linear warm-up and a cosine to zero; gradients are cut to a length."""

    epochs: AtLeastOne
    batch_size: AtLeastOne
    learning_rate: Positive
    weight_decay: NotNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    gradient_norm: Positive
    precision: Literal["float32", "bfloat16"]


class Detection(Section):
    """How probabilities become events (`training.eeg.detection`); a window is asked every `stride_s`."""

    upper: Probability
    lower: Probability
    minimum_s: NotNegative
    merge_s: NotNegative
    stride_s: AtLeastOne


class Config(JobConfig):
    """The whole configuration."""

    corpus: CorpusChoice
    signal: Signal
    windows: Windows
    network: Network
    loader: Loader
    sampling: Sampling
    augmentation: Augmentation
    optimisation: Optimisation
    detection: Detection

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.network.latent_rate_hz(self.signal.rate_hz):
            strides = " x ".join(map(str, self.network.strides))
            raise ValueError(f"network.strides, {strides}, must divide signal.rate_hz")
        if self.windows.length_s % 1 or self.windows.stride_s % 1:
            raise ValueError("windows.length_s and windows.stride_s must be whole seconds: each gets one score")
        if self.detection.lower > self.detection.upper:
            raise ValueError("detection.lower must not be above detection.upper")
        if self.detection.stride_s > self.windows.length_s:
            raise ValueError("detection.stride_s must not be above windows.length_s: seconds would be left out")
        return self

    @property
    def window_s(self) -> int:
        """Return the seconds of a window, and so its scores."""
        return int(self.windows.length_s)
