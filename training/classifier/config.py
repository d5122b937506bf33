"""What the classifier's configuration holds. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.harness.config import AtLeastOne, Fraction, JobConfig, NotNegative, Positive, Precision, Section
from training.pictures.config import Pictures


class Network(Section):
    """The network: its kind, the channels of its first block, and how much of its last features a step leaves out."""

    kind: Literal["small-cnn", "resnet-18"]
    width: Annotated[int, Field(ge=1, le=512)]
    dropout: Fraction


class Augmentation(Section):
    """What is done at random to a training picture. Zero everywhere: nothing.

    `mirror` is the part of the pictures that is mirrored left to right, `contrast` how far contrast is raised or
    lowered, `erase_pixels` the side of a square that is blanked.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    shift_pixels: NotNegative
    scale: Fraction
    mirror: Fraction
    contrast: Fraction
    erase_pixels: Annotated[int, Field(ge=0, le=512)]


class Optimisation(Section):
    """AdamW with a linear warm-up and a cosine to zero.

    A step learns from `batch_size` pictures, in so many `pieces` that one fits in memory: their gradients accumulate.
    """

    epochs: AtLeastOne
    batch_size: AtLeastOne
    pieces: AtLeastOne
    precision: Precision
    learning_rate: Positive
    weight_decay: NotNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    patience_epochs: AtLeastOne | None

    @model_validator(mode="after")
    def _pieces_hold_pictures(self) -> Self:
        if self.pieces > self.batch_size:
            raise ValueError("pieces cannot be more than batch_size")
        return self


class Config(JobConfig):
    """The whole configuration."""

    pictures: Pictures
    network: Network
    augmentation: Augmentation
    optimisation: Optimisation
