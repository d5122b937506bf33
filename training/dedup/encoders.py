"""What makes numbers of pictures: the built-in encoder, or any model that a manifest describes. Reads the model.

A manifest is TOML or JSON beside its model, both below the data, so that they come through the same mount:

    name = "dinov2-small"                  dimensions = 384
    file = "dinov2-small.onnx"             side = 224
    sha256 = "..."                         fit = "centre"            # or "squash": the whole picture, squeezed
    format = "onnx"                        mean = [0.485, 0.456, 0.406]
    pool = "first"                         std = [0.229, 0.224, 0.225]

`format` is "onnx" or "torch" (a program of torch.export, .pt2). The model takes float32 (n, 3, side, side), RGB, and
gives (n, dimensions), or (n, tokens, dimensions) of which `pool` takes the "first" or the "mean".
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field, ValidationError

from training.dedup import decoding, frequencies
from training.harness.config import AtLeastOne, Positive, Section
from trimtab.errors import ToolMissingError, UsageError
from trimtab.storage.manifests import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from training.dedup.config import Embedding

Three = tuple[float, float, float]


class Manifest(Section):
    """A model and how pictures are brought before it."""

    name: Annotated[str, Field(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    format: Literal["onnx", "torch"]
    side: Annotated[int, Field(ge=8, le=2048)]
    dimensions: Annotated[int, Field(ge=2, le=16384)]
    fit: Literal["centre", "squash"]
    mean: Three
    std: tuple[Positive, Positive, Positive]
    pool: Literal["none", "first", "mean"]
    output: AtLeastOne = 1
    """Which of the model's outputs, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides what numbers a picture becomes. `key` names it: embeddings of another key are other numbers."""

    name: str
    key: str
    side: int
    dimensions: int
    whole: bool
    mirrored: bool
    manifest: Manifest | None
    folder: Path | None


class Encoder(Protocol):
    """Makes float32 or float64 (n, dimensions) of uint8 pictures (n, side, side, 3)."""

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]: ...


def read_recipe(data: Path, how: Embedding) -> Recipe:
    """Return the recipe that the configuration names, its model's checksum verified. Raises UsageError."""
    if how.manifest is None:
        described: dict[str, Any] = {"name": frequencies.NAME}
        return Recipe(
            name=frequencies.NAME,
            key=_key(described, mirrored=how.mirrored),
            side=frequencies.SIDE,
            dimensions=frequencies.DIMENSIONS,
            whole=True,
            mirrored=how.mirrored,
            manifest=None,
            folder=None,
        )
    path = data / how.manifest
    manifest = _read_manifest(path)
    model = path.parent / manifest.file
    if not model.is_file():
        raise UsageError(f"the model {model} is missing", why=f"{path} names it", remedy="put it beside its manifest")
    if (found := sha256_of(model)) != manifest.sha256:
        raise UsageError(
            f"the model {model} is not the one that {path.name} describes",
            why=f"its SHA-256 is {found}, not {manifest.sha256}",
            remedy="fetch it again, or describe it in a manifest of its own",
        )
    return Recipe(
        name=manifest.name,
        key=_key(manifest.model_dump(mode="json"), mirrored=how.mirrored),
        side=manifest.side,
        dimensions=manifest.dimensions,
        whole=manifest.fit == "squash",
        mirrored=how.mirrored,
        manifest=manifest,
        folder=path.parent,
    )


def load_encoder(recipe: Recipe, *, batch_size: int, threads: int) -> Callable[[npt.NDArray[np.uint8]], _Vectors]:
    """Return what makes unit vectors of up to `batch_size` pictures; a row that has no direction is NaN.

    Every batch is filled up to the same shape, so that a picture's numbers do not depend on what it was computed with.
    Raises ToolMissingError when the model's runtime is not installed, UsageError when the model is not as described.
    """
    encoder: Encoder = frequencies.encode
    if recipe.manifest is not None and recipe.folder is not None:
        load = _onnx if recipe.manifest.format == "onnx" else _torch
        encoder = _Prepared(recipe.manifest, load(recipe.folder / recipe.manifest.file, threads))

    def encode(pictures: npt.NDArray[np.uint8]) -> _Vectors:
        full = np.zeros((batch_size, recipe.side, recipe.side, 3), np.uint8)
        full[: len(pictures)] = pictures
        vectors = _unit(encoder(full))
        if recipe.mirrored:
            vectors = _unit(vectors + _unit(encoder(np.ascontiguousarray(full[:, :, ::-1]))))
        return vectors[: len(pictures)].astype(np.float32)

    return encode


_Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: npt.NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    unit[~np.isfinite(unit).all(axis=1)] = np.nan
    return unit


def _key(described: dict[str, Any], *, mirrored: bool) -> str:
    whole = {**described, "mirrored": mirrored, "decoding": decoding.VERSION}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return Manifest.model_validate_json(json.dumps(raw))  # where a list is a tuple, and nothing else is bent
    except (OSError, ValueError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, ValidationError):
            why = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise UsageError(
            f"the encoder's manifest {path} cannot be used",
            why=why,
            remedy="embedding.manifest is a path below the data; docs/dedup.md shows a manifest",
        ) from error


class _Prepared:
    """A model with the preparation that its manifest asks for, and one vector a picture taken from what it gives."""

    def __init__(self, manifest: Manifest, model: Callable[[npt.NDArray[np.float32]], list[npt.NDArray[Any]]]) -> None:
        self._manifest, self._model = manifest, model
        self._mean = np.array(manifest.mean, np.float32)
        self._std = np.array(manifest.std, np.float32)

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        values = (pictures.astype(np.float32) / 255 - self._mean) / self._std
        outputs = self._model(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
        if self._manifest.output > len(outputs):
            raise self._not_as_described(f"it has {len(outputs)} outputs, not {self._manifest.output}")
        found = outputs[self._manifest.output - 1]
        tokens = found.ndim == 3
        if tokens and self._manifest.pool != "none":
            found = found[:, 0] if self._manifest.pool == "first" else found.mean(axis=1)
        if found.shape != (len(pictures), self._manifest.dimensions):
            raise self._not_as_described(f"it gives {found.shape} for {len(pictures)} pictures")
        return found

    def _not_as_described(self, why: str) -> UsageError:
        return UsageError(
            f"the model {self._manifest.file} is not as its manifest says",
            why=why,
            remedy="mend output, pool or dimensions in the manifest",
        )


def _onnx(path: Path, threads: int) -> Callable[[npt.NDArray[np.float32]], list[npt.NDArray[Any]]]:
    import torch

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it reports each session to its maker otherwise (its Privacy.md)
    try:
        import onnxruntime  # type: ignore[import-untyped]  # it has no stubs
    except ImportError as error:
        raise ToolMissingError(
            "an ONNX model needs onnxruntime",
            why=str(error),
            remedy="install it, or export the model with torch.export",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    try:
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base
        raise UsageError(f"{path} cannot be loaded", why=str(error)[:300], remedy="export the model again") from error
    if torch.cuda.is_available() and "CUDAExecutionProvider" not in session.get_providers():
        raise ToolMissingError(
            f"{path} would run on the processor, beside an idle GPU",
            why="this onnxruntime does not find CUDA",
            remedy="install onnxruntime-gpu, or hide the GPU with CUDA_VISIBLE_DEVICES=",
        )
    (name, *others) = [item.name for item in session.get_inputs()]
    if others:
        raise UsageError(f"{path} has {1 + len(others)} inputs", why="an encoder has one", remedy="export it with one")
    return lambda values: list(session.run(None, {name: values}))


def _torch(path: Path, _threads: int) -> Callable[[npt.NDArray[np.float32]], list[npt.NDArray[Any]]]:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        module = torch.export.load(path).module().to(device)
    except Exception as error:  # a damaged archive raises whatever its part of torch raises
        raise UsageError(f"{path} cannot be loaded", why=str(error)[:300], remedy="export the model again") from error

    def run(values: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        with torch.inference_mode():
            found = module(torch.from_numpy(values).to(device))
        return [item.float().cpu().numpy() for item in (found if isinstance(found, list | tuple) else [found])]

    return run
