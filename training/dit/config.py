"""What the diffusion transformer's configuration holds. Pure."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from training.harness.config import AtLeastOne, Fraction, JobConfig, NotNegative, Positive, Precision, Section
from training.pictures.config import Pictures


class Network(Section):
    """The transformer: `patch` pixels square make a token of `width` numbers, which go through `depth` blocks."""

    patch: Annotated[int, Field(ge=1, le=32)]
    width: Annotated[int, Field(ge=8, le=2048)]
    depth: Annotated[int, Field(ge=1, le=64)]
    heads: Annotated[int, Field(ge=1, le=64)]

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % (4 * self.heads):
            raise ValueError("width must be a multiple of 4 x heads: each head's share holds two pairs of waves")
        return self


class Optimisation(Section):
    """AdamW with a linear warm-up, then a constant rate, as the averaged weights are what is used.

    `ema_decay` is how much of the averaged weights a step keeps; `label_dropout` the part of the pictures that is
    learnt without its class, which guidance needs.
    """

    steps: AtLeastOne
    batch_size: AtLeastOne
    precision: Precision
    learning_rate: Positive
    weight_decay: NotNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    ema_decay: Fraction
    label_dropout: Fraction


class Sampling(Section):
    """When a grid is drawn and the validation measured, and how: `steps` from noise to picture, `guidance` towards
    the class (1: none), `per_class` pictures of each."""

    every_steps: AtLeastOne
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance: Annotated[float, Field(ge=1, le=20)]
    per_class: Annotated[int, Field(ge=1, le=64)]


class Config(JobConfig):
    """The whole configuration."""

    pictures: Pictures
    network: Network
    optimisation: Optimisation
    sampling: Sampling

    @model_validator(mode="after")
    def _patches_fill_the_picture(self) -> Self:
        if self.pictures.side % self.network.patch:
            raise ValueError("pictures.side must be a multiple of network.patch")
        return self
