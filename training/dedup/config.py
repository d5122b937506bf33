"""What the configuration of `dedup` holds. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.harness.config import AtLeastOne, JobConfig, Positive, Section

Cosine = Annotated[float, Field(gt=0, le=1)]


class Pictures(Section):
    """What is looked at. `splits` are folders at the top of the data, from the least worth keeping to the most."""

    splits: Annotated[tuple[str, ...], Field(strict=False)]
    max_megapixels: Annotated[float, Field(gt=0, le=170)]
    max_file_mib: Annotated[float, Field(gt=0, le=1024)]
    workers: AtLeastOne

    @model_validator(mode="after")
    def _splits_are_folders(self) -> Self:
        if len(set(self.splits)) != len(self.splits):
            raise ValueError("a split is there twice")
        if wrong := [name for name in self.splits if not name or "/" in name or name.startswith(".")]:
            raise ValueError(f"{wrong[0]!r} is not the name of a folder")
        return self


class Embedding(Section):
    """What a picture is made into. `manifest` is a path below the data; null: the encoder that needs no weights."""

    manifest: str | None
    mirrored: bool
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    cache_max_gib: Annotated[float, Field(ge=0)]


class Matching(Section):
    """Which pairs are copies; `sweep` are the cosines for which the outcome is told as well."""

    threshold: Cosine
    sweep: Annotated[tuple[Cosine, ...], Field(strict=False)]
    max_pairs: AtLeastOne
    max_vectors_gib: Positive
    link: Literal["complete", "single"]

    @property
    def floor(self) -> float:
        """Return the lowest cosine of which every pair is needed."""
        return min((self.threshold, *self.sweep))


class ContactSheet(Section):
    """How much the page to look through holds at most; `thumbnail` is the longer side in pixels."""

    clusters: Annotated[int, Field(ge=0, le=2000)]
    pictures: Annotated[int, Field(ge=2, le=100)]
    thumbnail: Annotated[int, Field(ge=32, le=512)]


class Config(JobConfig):
    """The whole configuration. Nothing here is drawn at random: the seed changes nothing but the run's name."""

    pictures: Pictures
    embedding: Embedding
    matching: Matching
    contact_sheet: ContactSheet
