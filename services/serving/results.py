"""The JSON that the service answers with. The same types describe it in OpenAPI. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.serving.manifest import Task

Box = Annotated[
    tuple[float, float, float, float],
    Field(description="x0, y0, x1, y1 in pixels of the upright picture; (0, 0) is its upper left corner"),
]
Score = Annotated[float, Field(ge=0, le=1)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class PictureSize(_Answer):
    """The size of the picture as sent, after its EXIF orientation is applied."""

    width: int
    height: int


class ModelName(_Answer):
    """Which model answered: its name in the manifest and the sha256 of its file."""

    name: str
    sha256: str


class Milliseconds(_Answer):
    """How long the picture took to decode, and the model to answer (waiting not counted)."""

    picture: float
    model: float


class Detection(_Answer):
    """One object."""

    label: str
    score: Score
    box: Box


class Keypoint(_Answer):
    """One joint or feature of a person, in pixels of the upright picture."""

    name: str
    x: float
    y: float
    score: Score


class Person(_Answer):
    """One person, with COCO's seventeen keypoints in COCO's order."""

    label: str
    score: Score
    box: Box
    keypoints: tuple[Keypoint, ...]


class DetectAnswer(_Answer):
    """Every object found, best first."""

    model: ModelName
    picture: PictureSize
    milliseconds: Milliseconds
    detections: tuple[Detection, ...]


class PoseAnswer(_Answer):
    """Every person found, best first."""

    model: ModelName
    picture: PictureSize
    milliseconds: Milliseconds
    persons: tuple[Person, ...]


class ModelHealth(_Answer):
    """One model of the manifest, whether it has answered its warm-up, and what it runs on once it is loaded."""

    name: str
    task: Task
    sha256: str
    licence: str
    ready: bool
    device: Literal["cpu", "cuda"] | None


class Health(_Answer):
    """`healthy` once every model has answered; until then `starting`, with status 503."""

    status: Literal["starting", "healthy"]
    models: tuple[ModelHealth, ...]


class Problem(_Answer):
    """What was wrong with a request: a code for programs, a sentence for people, and what to do next."""

    code: str
    message: str
    hint: str


class ProblemAnswer(_Answer):
    """Every answer that is not a result has this form."""

    error: Problem
