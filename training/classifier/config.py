"""What the classifier's configuration holds. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from training.harness.config import AtLeastOne, Fraction, JobConfig, NotNegative, Positive, Section
from training.pictures.config import Pictures


class Network(Section):
    """The size of the network, and how much of its last features each training step leaves out."""

    width: Annotated[int, Field(ge=1, le=512)]
    dropout: Fraction


class Augmentation(Section):
    """How far a training picture is turned, moved and scaled at random. Zero everywhere: not at all."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    shift_pixels: NotNegative
    scale: Fraction


class Optimisation(Section):
    """AdamW with a linear warm-up and a cosine to zero."""

    epochs: AtLeastOne
    batch_size: AtLeastOne
    learning_rate: Positive
    weight_decay: NotNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    patience_epochs: AtLeastOne | None


class Config(JobConfig):
    """The whole configuration."""

    pictures: Pictures
    network: Network
    augmentation: Augmentation
    optimisation: Optimisation
