"""A model on onnxruntime: its file, loaded once and asked once, then tensors in and decoded outputs out.

Sessions are made for a machine of two cores and a bounded memory: few threads, no spinning between requests. They run
on CUDA where the installed onnxruntime has it and a driver is there, and on the CPU otherwise; /health says which.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no annotations
from PIL import Image

from services.serving.decoders import CROP_DECODERS, PICTURE_DECODERS
from services.serving.problems import WarmUpError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.serving.decoders import Findings
    from services.serving.manifest import ModelInput, ModelSpec

Device = Literal["cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
CUDA_DRIVER = "libcuda.so.1"  # comes with the machine's driver, never with an image
NUMPY_TYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}

log = logging.getLogger(__name__)


class Model:
    """One loaded model. It may run in any one thread at a time."""

    def __init__(self, name: str, spec: ModelSpec, session: onnxruntime.InferenceSession) -> None:
        self.name = name
        self.spec = spec
        self.takes_batches = not isinstance(session.get_inputs()[0].shape[0], int)
        self.device: Device = "cuda" if session.get_providers()[0] == CUDA else "cpu"
        self._session = session
        self._input_name = session.get_inputs()[0].name

    @classmethod
    def load(cls, name: str, spec: ModelSpec, path: Path, *, threads: int) -> Model:
        """Load the file and make it answer once; raises WarmUpError when it does not fit its manifest."""
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=_session_options(threads), providers=list(_providers())
            )
            _check_input(session, spec)
            model = cls(name, spec, session)
            model._warm_up()
        except Exception as error:
            # onnxruntime's own exceptions share no base class
            raise WarmUpError(
                f"The model {name} ({path}) does not answer its warm-up.",
                why=f"{type(error).__name__}: {error}",
                remedy=f"Compare models.{name} of the manifest (decoder, input, labels) with what the file holds.",
            ) from error
        return model

    def findings(self, pixels: NDArray[np.uint8]) -> Findings:
        """Return everything that a model of whole pictures finds in (height, width, 3) RGB, in the input's pixels."""
        return PICTURE_DECODERS[self.spec.decoder](self._run(pixels[np.newaxis]), self.spec)  # type: ignore[index]  # the manifest has checked which of the two kinds it is

    def keypoints(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return x, y, score (crops, 17, 3) of crops (crops, height, width, 3) RGB: at once where the model allows."""
        batches = [crops] if self.takes_batches else np.split(crops, len(crops))
        decode = CROP_DECODERS[self.spec.decoder]  # type: ignore[index]  # as above
        return np.concatenate([decode(self._run(batch), self.spec) for batch in batches])

    def _run(self, pixels: NDArray[np.uint8]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session.run(None, {self._input_name: input_tensor(pixels, self.spec.input)})
        return outputs

    def _warm_up(self) -> None:
        grey = np.full((2, self.spec.input.height, self.spec.input.width, 3), 128, np.uint8)
        if self.spec.crop is None:
            self.findings(grey[0])
        elif self.keypoints(grey).shape[0] != len(grey):
            raise ValueError("two crops do not give two persons")


def input_tensor(pixels: NDArray[np.uint8], wanted: ModelInput) -> NDArray[Any]:
    """Turn RGB pixels (n, height, width, 3) into the model's tensor: colour order, type, normalisation and layout."""
    if wanted.colour == "BGR":
        pixels = pixels[..., ::-1]
    tensor: NDArray[Any] = pixels.astype(wanted.dtype)
    if wanted.dtype == "float32":
        tensor = (tensor - np.array(wanted.mean, np.float32)) / np.array(wanted.std, np.float32)
    if wanted.layout == "NCHW":
        tensor = tensor.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(tensor)


def blank_input(wanted: ModelInput) -> Image.Image:
    """Return a picture of the input's size, all of the manifest's fill."""
    return Image.new("RGB", (wanted.width, wanted.height), (wanted.fill,) * 3)


@cache
def _providers() -> tuple[str, ...]:
    """Ask for CUDA where it can work; where it is installed and cannot, say so once (onnxruntime says it in red)."""
    if CUDA in onnxruntime.get_available_providers():
        try:
            ctypes.CDLL(CUDA_DRIVER)
        except OSError as error:
            log.warning("no_gpu", extra={"fields": {"reason": str(error), "runs_on": "cpu"}})
        else:
            return (CUDA, "CPUExecutionProvider")
    return ("CPUExecutionProvider",)


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena keeps its peak: 55 MB here, for no time that could be measured
    options.log_severity_level = 3  # errors; its warnings speak of graph nodes that nobody can act on
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_input(session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
    """Compare the file's one input with the manifest's; an axis that the file leaves open (a name) takes any size."""
    inputs = [(NUMPY_TYPES.get(item.type, item.type), tuple(item.shape)) for item in session.get_inputs()]
    height, width = spec.input.height, spec.input.width
    shape = (1, 3, height, width) if spec.input.layout == "NCHW" else (1, height, width, 3)
    agrees = len(inputs) == 1 and inputs[0][0] == spec.input.dtype and len(inputs[0][1]) == 4
    if not agrees or any(
        isinstance(size, int) and size != wanted for size, wanted in zip(inputs[0][1], shape, strict=True)
    ):
        raise ValueError(f"the manifest says one input {spec.input.dtype} {shape}, the file has {inputs}")
