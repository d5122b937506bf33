"""A model on onnxruntime: a picture in, findings in the picture's own pixels out. Reads the model's file once.

Sessions are made for a machine of two cores and a bounded memory: few threads, no spinning between requests.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no annotations
from PIL import Image

from services.serving.boxes import best_of_overlapping
from services.serving.decoders import DECODERS, Findings
from services.serving.framing import Framing, fit
from services.serving.pictures import Picture
from services.serving.problems import WarmUpError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.serving.manifest import ModelSpec

NUMPY_TYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


class Model:
    """One loaded model. `find` may run in any one thread at a time."""

    def __init__(self, name: str, spec: ModelSpec, session: onnxruntime.InferenceSession) -> None:
        self.name = name
        self.spec = spec
        self._session = session
        self._input_name = session.get_inputs()[0].name

    @classmethod
    def load(cls, name: str, spec: ModelSpec, path: Path, *, threads: int) -> Model:
        """Load the file and make it answer once; raises WarmUpError when it does not fit its manifest."""
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=_session_options(threads), providers=["CPUExecutionProvider"]
            )
            _check_input(session, spec)
            model = cls(name, spec, session)
            model.find(_grey(spec), min_score=spec.min_score, at_most=1)
        except Exception as error:
            # onnxruntime's own exceptions share no base class
            raise WarmUpError(
                f"The model {name} ({path}) does not answer its warm-up.",
                why=f"{type(error).__name__}: {error}",
                remedy=f"Compare models.{name} of the manifest (decoder, input, labels) with what the file holds.",
            ) from error
        return model

    def find(self, picture: Picture, *, min_score: float, at_most: int) -> tuple[Findings, float]:
        """Return what the model finds, best first, in the picture's pixels; and the milliseconds that it took."""
        started = time.perf_counter()
        tensor, framing = model_input(picture, self.spec)
        outputs: list[NDArray[Any]] = self._session.run(None, {self._input_name: tensor})
        findings = DECODERS[self.spec.decoder](outputs, self.spec)
        findings = findings.chosen(findings.scores >= min_score)
        findings = findings.chosen(
            best_of_overlapping(
                findings.boxes, findings.scores, findings.labels, overlap=self.spec.overlap, at_most=at_most
            )
        )
        return _in_picture(findings, framing), (time.perf_counter() - started) * 1000


def model_input(picture: Picture, spec: ModelSpec) -> tuple[NDArray[Any], Framing]:
    """Lay the picture into the model's input tensor (1, 3, h, w) or (1, h, w, 3), and say where it lies there."""
    wanted = spec.input
    framing = fit((picture.width, picture.height), (wanted.width, wanted.height), wanted.resize)
    inner = picture.image.resize((framing.inner_width, framing.inner_height), Image.Resampling.BILINEAR)
    pixels = np.zeros((wanted.height, wanted.width, 3), np.uint8)
    pixels[: framing.inner_height, : framing.inner_width] = np.asarray(inner)
    if wanted.colour == "BGR":
        pixels = pixels[..., ::-1]
    tensor = pixels.astype(wanted.dtype)
    if wanted.dtype == "float32":
        tensor = (tensor - np.array(wanted.mean, np.float32)) / np.array(wanted.std, np.float32)
    if wanted.layout == "NCHW":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[np.newaxis]), framing


def _in_picture(findings: Findings, framing: Framing) -> Findings:
    corners = framing.to_picture(findings.boxes.reshape(-1, 2, 2))
    points = framing.to_picture(findings.keypoints[..., :2])
    return Findings(
        boxes=corners.reshape(-1, 4),
        scores=findings.scores,
        labels=findings.labels,
        keypoints=np.concatenate([points, findings.keypoints[..., 2:]], axis=-1),
    )


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena keeps its peak: 55 MB here, for no time that could be measured
    options.log_severity_level = 3  # errors; its warnings speak of graph nodes that nobody can act on
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_input(session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
    inputs = [(NUMPY_TYPES.get(item.type, item.type), tuple(item.shape)) for item in session.get_inputs()]
    height, width = spec.input.height, spec.input.width
    shape = (1, 3, height, width) if spec.input.layout == "NCHW" else (1, height, width, 3)
    if inputs != [(spec.input.dtype, shape)]:
        raise ValueError(f"the manifest says one input {spec.input.dtype} {shape}, the file has {inputs}")


def _grey(spec: ModelSpec) -> Picture:
    size = (spec.input.width, spec.input.height)
    return Picture(image=Image.new("RGB", size, "grey"), width=size[0], height=size[1])
