"""Tiny ONNX exports with known answers, to be run by onnxruntime as the real ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from services.model_zoo.onnx_graph import OnnxGraph, onnx_type
from services.serving.manifest import ModelInput, ModelSpec

KEYPOINT_COUNT = 17


def constant_export(
    wanted: ModelInput, outputs: Mapping[str, np.ndarray], *, shape: Sequence[int | str] | None = None
) -> bytes:
    """Return a model that gives these tensors for any picture; its input is the manifest's unless given."""
    graph = OnnxGraph()
    for name, array in outputs.items():
        graph.add("Identity", [graph.constant(array)], outputs=[name])
    return graph.model_bytes(
        inputs=[described("picture", wanted.dtype, shape or input_shape(wanted, batch=1))],
        outputs=[described(name, array.dtype, array.shape) for name, array in outputs.items()],
    )


def dot_finder(spec: ModelSpec, *, batch: int | str, peak: float) -> bytes:
    """Return a pose model that puts all keypoints on the brightest column and row of each crop, with one score."""
    graph = OnnxGraph()
    width, height = spec.input.width, spec.input.height
    channels_first = spec.input.layout == "NCHW"
    across, down = ([1, 2], [1, 3]) if channels_first else ([1, 3], [2, 3])
    columns = graph.add("ReduceMax", ["crops"], axes=across, keepdims=0)  # (n, width)
    rows = graph.add("ReduceMax", ["crops"], axes=down, keepdims=0)  # (n, height)
    if spec.decoder == "rtmpose-simcc":
        brightest = graph.constant(np.float32(255))
        for name, line, size in (("simcc_x", columns, width), ("simcc_y", rows, height)):
            scaled = graph.add("Mul", [graph.add("Div", [line, brightest]), graph.constant(np.float32(peak))])
            # two bins a pixel: its own, and an empty one after it
            pairs = graph.add(
                "Pad", [graph.add("Unsqueeze", [scaled, graph.integers(2)]), graph.integers(0, 0, 0, 0, 0, 1)]
            )
            bins = graph.add("Reshape", [pairs, graph.integers(-1, 1, 2 * size)])
            graph.add("Expand", [bins, graph.integers(1, KEYPOINT_COUNT, 1)], outputs=[name])
        outputs = [
            described("simcc_x", np.float32, (batch, KEYPOINT_COUNT, 2 * width)),
            described("simcc_y", np.float32, (batch, KEYPOINT_COUNT, 2 * height)),
        ]
    else:
        shares = []
        for line, size in ((rows, height), (columns, width)):  # y, x, score
            at = graph.add("Cast", [graph.add("ArgMax", [line], axis=1, keepdims=1)], to=onnx_type(np.float32))
            shares.append(graph.add("Div", [at, graph.constant(np.float32(size))]))
        score = graph.add(
            "Add", [graph.add("Mul", [shares[0], graph.constant(np.float32(0))]), graph.constant(np.float32(peak))]
        )
        point = graph.add("Concat", [*shares, score], axis=1)  # (n, 3)
        person = graph.add("Unsqueeze", [point, graph.integers(1, 2)])
        graph.add("Expand", [person, graph.integers(1, 1, KEYPOINT_COUNT, 1)], outputs=["output_0"])
        outputs = [described("output_0", np.float32, (batch, 1, KEYPOINT_COUNT, 3))]
    return graph.model_bytes(
        inputs=[described("crops", spec.input.dtype, input_shape(spec.input, batch=batch))], outputs=outputs
    )


def input_shape(wanted: ModelInput, *, batch: int | str) -> tuple[int | str, ...]:
    """Return the shape of a model's input."""
    size = (wanted.height, wanted.width)
    return (batch, 3, *size) if wanted.layout == "NCHW" else (batch, *size, 3)


def described(name: str, dtype: object, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """Describe an input or output, whose open axes are names."""
    return onnx.helper.make_tensor_value_info(name, onnx_type(dtype), list(shape))  # type: ignore[arg-type]  # numpy's
