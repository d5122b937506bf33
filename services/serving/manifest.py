"""models.toml -> frozen, validated descriptions of models; every problem is reported at once, with its path.

Reads the manifest and, in `check_files`, the model files; writes nothing. The same file tells `services.model_zoo` how
to make the models and tells whoever deploys under which keys of the bucket they lie.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.serving.problems import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

Task = Literal["detect", "pose"]
DetectDecoderName = Literal[
    "centernet", "nanodet", "yolo-nas", "yolo-nas-batch", "yolo-nas-flat", "yolov8", "yolov8-nms"
]
PictureDecoderName = Literal[DetectDecoderName, "movenet-multipose", "yolov8-pose", "yolov8-pose-nms"]
CropDecoderName = Literal["movenet-single", "rtmpose-simcc"]
DecoderName = Literal[PictureDecoderName, CropDecoderName]

Share = Annotated[float, Field(ge=0, le=1)]
Channels = tuple[float, float, float]
Text = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PackageSource(_Section):
    """A package that holds models before conversion: its name and version, its tarball's sha512 and size."""

    npm: Annotated[str, Field(pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9._-]+@\d+\.\d+\.\d+$")]
    integrity: Annotated[str, Field(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")]
    bytes: Annotated[int, Field(gt=0)]


class GraphSource(_Section):
    """Where a model lies inside a package: the graph, and the weights that the graph names."""

    package: Text
    graph: Text
    weights: Annotated[tuple[Text, ...], Field(min_length=1)]


class ModelInput(_Section):
    """What the model's input tensor holds: pixels in this size, layout and colour order, as (value - mean) / std."""

    width: Annotated[int, Field(ge=1, le=4096)]
    height: Annotated[int, Field(ge=1, le=4096)]
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "int32", "uint8"]
    colour: Literal["RGB", "BGR"]
    resize: Literal["stretch", "letterbox", "crop"]
    fill: Annotated[int, Field(ge=0, le=255, description="the grey of what the picture does not cover")] = 0
    mean: Channels = (0.0, 0.0, 0.0)
    std: Annotated[Channels, Field(description="in the model's colour order, as mean is")] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _integers_are_not_normalised(self) -> Self:
        if self.dtype != "float32" and (self.mean, self.std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            raise ValueError(f"an {self.dtype} input takes pixels as they are: leave out mean and std")
        if 0.0 in self.std:
            raise ValueError("std divides, so none of it may be 0")
        return self


class Crop(_Section):
    """Whom a model looks at that sees one person at a time: what another model of the manifest found."""

    detector: Annotated[Text, Field(description="a model of this manifest; it then serves this one and nobody else")]
    label: Annotated[Text, Field(description="which of its labels are looked at")]
    at_most: Annotated[int, Field(ge=1, le=100, description="in one picture, the best first")]
    padding: Annotated[float, Field(ge=1, le=3, description="the crop's size as a multiple of the box's")] = 1.25


class ModelSpec(_Section):
    """One model: the file and its proof, what it computes, how its tensors read, and its terms of use."""

    file: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*\.onnx$")]
    key: Annotated[str, Field(pattern=r"^models/[a-z0-9._/-]+\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1)]
    task: Task
    decoder: DecoderName
    labels: Annotated[tuple[Text, ...], Field(min_length=1)]
    min_score: Share
    overlap: Annotated[Share, Field(description="of two boxes of one label that overlap more (IoU), one is kept")]
    input: ModelInput
    crop: Crop | None = None
    licence: Text
    upstream: Text
    source: GraphSource

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        serves: Task = "detect" if self.decoder in get_args(DetectDecoderName) else "pose"
        if serves != self.task:
            raise ValueError(f"the decoder {self.decoder} serves the task {serves}")
        crops = self.decoder in get_args(CropDecoderName)
        if crops != (self.input.resize == "crop") or crops != (self.crop is not None):
            raise ValueError(
                f"the decoder {self.decoder} "
                + ("looks at crops: it needs input.resize = crop, and crop" if crops else "looks at whole pictures")
            )
        if ".." in PurePosixPath(self.key).parts:
            raise ValueError("the key climbs out of models/")
        return self


class Manifest(_Section):
    """All models of one service, at most one for each task offered, and the packages that they are made from."""

    packages: dict[str, PackageSource]
    models: Annotated[dict[str, ModelSpec], Field(min_length=1)]

    @property
    def offered(self) -> Mapping[Task, str]:
        """Return the model behind each task that is offered; a detector that another model crops by is behind none."""
        inner = {crop.detector for crop in self._crops().values()}
        return {model.task: name for name, model in self.models.items() if name not in inner}

    def _crops(self) -> dict[str, Crop]:
        return {name: model.crop for name, model in self.models.items() if model.crop is not None}

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        inner = {crop.detector for crop in self._crops().values()}
        for name, model in self.models.items():
            if model.source.package not in self.packages:
                raise ValueError(f"models.{name}.source.package names {model.source.package}, which packages lacks")
            if self.offered.get(model.task, name) != name and name not in inner:
                raise ValueError(
                    f"models.{name} and models.{self.offered[model.task]} both serve the task {model.task}"
                )
        for name, crop in self._crops().items():
            detector = self.models.get(crop.detector)
            if detector is None or detector.task != "detect":
                raise ValueError(f"models.{name}.crop.detector names {crop.detector}, which is no detector of models")
            if crop.label not in detector.labels:
                raise ValueError(f"models.{name}.crop.label names {crop.label}, which {crop.detector} does not find")
        return self


def read_manifest(path: Path) -> Manifest:
    """Read and validate the manifest; raises StartError that lists every problem with its path."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartError(
            f"The model manifest {path} cannot be read.",
            why=str(error),
            remedy="Give the path of a models.toml in MODELS_MANIFEST, as docs/services.md shows.",
        ) from error
    try:
        # by way of JSON, whose arrays strict mode takes for tuples; a TOML date becomes text and fails as text
        return Manifest.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise StartError(
            f"The model manifest {path} is wrong.",
            why="; ".join(_sentence(problem) for problem in error.errors(include_url=False)),
            remedy="Mend these places; docs/services.md describes every key.",
        ) from error


def check_files(manifest: Manifest, directory: Path) -> None:
    """Compare every model file with its size and sha256; raises StartError that lists every file that differs."""
    problems = [
        f"{model.file}: {problem}"
        for model in manifest.models.values()
        if (problem := file_problem(directory / model.file, model)) is not None
    ]
    if problems:
        raise StartError(
            f"The models in {directory} are not those of the manifest.",
            why="; ".join(problems),
            remedy="Fetch them again by their keys (or `python -m services.model_zoo fetch --out DIR`), "
            "then mount that directory, readable for the service's user, or give it in MODELS_DIR.",
        )


def file_problem(path: Path, model: ModelSpec) -> str | None:
    """Say what is wrong with a model's file, or None when it is the one that the manifest pins."""
    try:
        size = path.stat().st_size
        if size != model.bytes:
            return f"holds {size} bytes, the manifest says {model.bytes}"
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return error.strerror or str(error)
    return None if digest == model.sha256 else f"has the sha256 {digest}, the manifest says {model.sha256}"


def _sentence(problem: ErrorDetails) -> str:
    """Say one of pydantic's findings as `path: what`, with the nearest known key for an unknown one."""
    path = ".".join(str(part) for part in problem["loc"]) or "the whole"
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(), n=1)
        return f"{path}: unknown key" + (f" (did you mean {nearest[0]}?)" if nearest else "")
    if path.endswith(".decoder") and problem["type"] == "literal_error":
        return f"{path}: unknown decoder {problem['input']!r}, this service has {', '.join(get_args(DecoderName))}"
    return f"{path}: {problem['msg'].removeprefix('Value error, ')}"


def _known_keys() -> list[str]:
    sections = (Manifest, PackageSource, ModelSpec, ModelInput, Crop, GraphSource)
    return [key for section in sections for key in section.model_fields]
