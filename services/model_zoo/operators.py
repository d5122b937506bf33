"""TensorFlow's operators said in ONNX: one small converter each, only those that our models need.

Tensors keep TensorFlow's names and its NHWC layout; a convolution transposes around itself, and the runtime's optimiser
cancels neighbouring transposes. Every converter is tested against numpy in tests/unit/services/test_operators.py.
Source of the semantics: tensorflow/core/ops/*.cc and the documentation of each op; onnx/docs/Operators.md, opset 17.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from services.model_zoo.errors import ConversionError
from services.model_zoo.onnx_graph import OnnxGraph, onnx_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.model_zoo.graph_model import Node

Converter = Callable[[OnnxGraph, "Node"], None]
CONVERTERS: dict[str, Converter] = {}

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)
OPEN_END = np.iinfo(np.int32).max

SAME_IN_ONNX = {
    "AddN": "Sum",
    "AddV2": "Add",
    "Abs": "Abs",
    "Equal": "Equal",
    "Exp": "Exp",
    "FloorMod": "Mod",  # both take the divisor's sign
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Identity": "Identity",
    "Less": "Less",
    "LogicalAnd": "And",
    "Maximum": "Max",
    "Minimum": "Min",
    "Mul": "Mul",
    "RealDiv": "Div",
    "Reciprocal": "Reciprocal",
    "Relu": "Relu",
    "Select": "Where",
    "Sigmoid": "Sigmoid",
    "Sqrt": "Sqrt",
    "Sub": "Sub",
}


def convert_node(graph: OnnxGraph, node: Node) -> None:
    """Append the node's computation to the graph; raises ConversionError for an operator that is not known here."""
    if node.op in SAME_IN_ONNX:
        graph.add(SAME_IN_ONNX[node.op], node.inputs, outputs=[node.name])
    elif node.op in CONVERTERS:
        CONVERTERS[node.op](graph, node)
    else:
        raise ConversionError(
            f"The operator {node.op} (node {node.name}) is not known.",
            why=f"The converter knows only what our models use: {', '.join(sorted({*SAME_IN_ONNX, *CONVERTERS}))}.",
            remedy="Add a converter to services/model_zoo/operators.py, and a case to its test against numpy.",
        )


def _converts(*operators: str) -> Callable[[Converter], Converter]:
    def register(converter: Converter) -> Converter:
        for operator in operators:
            CONVERTERS[operator] = converter
        return converter

    return register


def _known(graph: OnnxGraph, node: Node, index: int) -> NDArray[Any]:
    """Return an input that must be a constant, because ONNX wants it while the graph is built."""
    name = node.inputs[index]
    if name not in graph.constants:
        raise ConversionError(
            f"Input {index} ({name}) of the {node.op} {node.name} is computed, not constant.",
            why="ONNX needs that value when the graph is built.",
            remedy="Use an export in which it is a constant.",
        )
    return graph.constants[name]


def _unsupported(node: Node, what: str) -> ConversionError:
    return ConversionError(
        f"The {node.op} {node.name} {what}.",
        why="None of our models needs that, so the converter does not know it.",
        remedy="Teach services/model_zoo/operators.py, and add a case to its test against numpy.",
    )


@_converts("Add")
def _add(graph: OnnxGraph, node: Node) -> None:
    # nanodet adds its biases to zeros at run time; folded, the result can serve as a constant below
    if all(name in graph.constants for name in node.inputs):
        graph.constant(graph.constants[node.inputs[0]] + graph.constants[node.inputs[1]], name=node.name)
    else:
        graph.add("Add", node.inputs, outputs=[node.name])


@_converts("LeakyRelu")
def _leaky_relu(graph: OnnxGraph, node: Node) -> None:
    graph.add("LeakyRelu", node.inputs, outputs=[node.name], alpha=node.real("alpha"))


@_converts("Relu6")
def _relu6(graph: OnnxGraph, node: Node) -> None:
    _clip_to_6(graph, node.inputs[0], outputs=(node.name,))


def _clip_to_6(graph: OnnxGraph, tensor: str, *, outputs: tuple[str, ...] = ()) -> str:
    limits = (graph.constant(np.float32(0)), graph.constant(np.float32(6)))
    return graph.add("Clip", [tensor, *limits], outputs=outputs)


@_converts("SquaredDifference")
def _squared_difference(graph: OnnxGraph, node: Node) -> None:
    difference = graph.add("Sub", node.inputs)
    graph.add("Mul", [difference, difference], outputs=[node.name])


@_converts("FloorDiv")
def _floor_division(graph: OnnxGraph, node: Node) -> None:
    # ONNX's integer Div truncates towards zero; its Mod takes the divisor's sign, as Python's does
    numerator, denominator = node.inputs
    if np.dtype(node.dtype("T")) != np.int32:
        raise _unsupported(node, "divides numbers that are not int32")
    remainder = graph.add("Mod", [numerator, denominator])
    graph.add("Div", [graph.add("Sub", [numerator, remainder]), denominator], outputs=[node.name])


@_converts("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
def _convolution(graph: OnnxGraph, node: Node) -> None:
    kernel = _known(graph, node, 1)
    height, width, channels, multiplier = kernel.shape
    if "Depthwise" in node.op:
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        group = channels
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
        group = 1
    fused = node.texts("fused_ops")
    inputs = [graph.add("Transpose", [node.inputs[0]], perm=TO_NCHW), graph.constant(kernel)]
    if "BiasAdd" in fused:
        inputs.append(graph.constant(_known(graph, node, 2).reshape(-1)))
    result = graph.add(
        "Conv",
        inputs,
        auto_pad=_auto_pad(node),
        strides=node.integers("strides")[1:3],
        dilations=node.integers("dilations")[1:3],
        group=group,
        kernel_shape=(height, width),
    )
    for activation in fused:
        if activation == "Relu":
            result = graph.add("Relu", [result])
        elif activation == "Relu6":
            result = _clip_to_6(graph, result)
        elif activation != "BiasAdd":
            raise _unsupported(node, f"has {activation} fused into it")
    graph.add("Transpose", [result], outputs=[node.name], perm=TO_NHWC)


@_converts("MaxPool")
def _max_pool(graph: OnnxGraph, node: Node) -> None:
    result = graph.add(
        "MaxPool",
        [graph.add("Transpose", [node.inputs[0]], perm=TO_NCHW)],
        auto_pad=_auto_pad(node),
        kernel_shape=node.integers("ksize")[1:3],
        strides=node.integers("strides")[1:3],
    )
    graph.add("Transpose", [result], outputs=[node.name], perm=TO_NHWC)


def _auto_pad(node: Node) -> str:
    padding = node.text("padding")
    if node.text("data_format") != "NHWC" or padding not in ("SAME", "VALID"):
        raise _unsupported(node, f"pads {padding} in the layout {node.text('data_format')}")
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[padding]


@_converts("ResizeBilinear")
def _resize_bilinear(graph: OnnxGraph, node: Node) -> None:
    if node.flag("align_corners"):
        raise _unsupported(node, "aligns corners")
    positions = "half_pixel" if node.flag("half_pixel_centers") else "asymmetric"
    picture = graph.add("Transpose", [node.inputs[0]], perm=TO_NCHW)
    batch_and_channels = graph.add("Shape", [picture], start=0, end=2)
    size = graph.add("Concat", [batch_and_channels, graph.as_int64(node.inputs[1])], axis=0)
    # an empty name is how ONNX leaves out an optional input (here the region and the scales)
    resized = graph.add("Resize", [picture, "", "", size], mode="linear", coordinate_transformation_mode=positions)
    graph.add("Transpose", [resized], outputs=[node.name], perm=TO_NHWC)


@_converts("Pad", "PadV2")
def _pad(graph: OnnxGraph, node: Node) -> None:
    before, after = _known(graph, node, 1).astype(np.int64).T
    value = [graph.constant(np.float32(_known(graph, node, 2)))] if node.op == "PadV2" else []
    graph.add("Pad", [node.inputs[0], graph.integers(*before, *after), *value], outputs=[node.name])


@_converts("Transpose")
def _transpose(graph: OnnxGraph, node: Node) -> None:
    graph.add("Transpose", [node.inputs[0]], outputs=[node.name], perm=_known(graph, node, 1).tolist())


@_converts("Reshape")
def _reshape(graph: OnnxGraph, node: Node) -> None:
    graph.add("Reshape", [node.inputs[0], graph.as_int64(node.inputs[1])], outputs=[node.name])


@_converts("ExpandDims")
def _expand_dimensions(graph: OnnxGraph, node: Node) -> None:
    axes = graph.integers(*_known(graph, node, 1).reshape(-1))
    graph.add("Unsqueeze", [node.inputs[0], axes], outputs=[node.name])


@_converts("Squeeze")
def _squeeze(graph: OnnxGraph, node: Node) -> None:
    axes = node.integers("squeeze_dims")
    graph.add("Squeeze", [node.inputs[0], *([graph.integers(*axes)] if axes else [])], outputs=[node.name])


@_converts("Cast")
def _cast(graph: OnnxGraph, node: Node) -> None:
    graph.add("Cast", node.inputs, outputs=[node.name], to=onnx_type(node.dtype("DstT")))


@_converts("ConcatV2")
def _concatenate(graph: OnnxGraph, node: Node) -> None:
    graph.add("Concat", node.inputs[:-1], outputs=[node.name], axis=int(_known(graph, node, -1)))


@_converts("Pack")
def _pack(graph: OnnxGraph, node: Node) -> None:
    axis = node.integer("axis")
    widened = [graph.add("Unsqueeze", [name, graph.integers(axis)]) for name in node.inputs]
    graph.add("Concat", widened, outputs=[node.name], axis=axis)


@_converts("Unpack")
def _unpack(graph: OnnxGraph, node: Node) -> None:
    for index, name in enumerate(_output_names(node, node.integer("num"))):
        which = graph.constant(np.int64(index))
        graph.add("Gather", [node.inputs[0], which], outputs=[name], axis=node.integer("axis"))


@_converts("Split")
def _split(graph: OnnxGraph, node: Node) -> None:
    names = _output_names(node, node.integer("num_split"))
    graph.add("Split", [node.inputs[1]], outputs=names, axis=int(_known(graph, node, 0)))


@_converts("SplitV")
def _split_by_sizes(graph: OnnxGraph, node: Node) -> None:
    names = _output_names(node, node.integer("num_split"))
    sizes = graph.integers(*_known(graph, node, 1).reshape(-1))
    graph.add("Split", [node.inputs[0], sizes], outputs=names, axis=int(_known(graph, node, 2)))


def _output_names(node: Node, count: int) -> list[str]:
    """Return TensorFlow's names of a node's outputs: the first is the node's own."""
    return [node.name, *(f"{node.name}:{index}" for index in range(1, count))]


@_converts("GatherNd")
def _gather_by_index(graph: OnnxGraph, node: Node) -> None:
    graph.add("GatherND", [node.inputs[0], graph.as_int64(node.inputs[1])], outputs=[node.name])


@_converts("GatherV2")
def _gather(graph: OnnxGraph, node: Node) -> None:
    if node.integer("batch_dims"):
        raise _unsupported(node, "gathers within batches")
    graph.add("Gather", node.inputs[:2], outputs=[node.name], axis=int(_known(graph, node, 2)))


@_converts("TopKV2")
def _top_k(graph: OnnxGraph, node: Node) -> None:
    count = graph.integers(*_known(graph, node, 1).reshape(-1))
    indices = f"{node.name}/indices_int64"
    graph.add("TopK", [node.inputs[0], count], outputs=[node.name, indices], axis=-1, largest=1, sorted=1)
    graph.add("Cast", [indices], outputs=[f"{node.name}:1"], to=onnx_type(np.int32))


@_converts("ArgMax")
def _argmax(graph: OnnxGraph, node: Node) -> None:
    found = graph.add("ArgMax", [node.inputs[0]], axis=int(_known(graph, node, 1)), keepdims=0)
    graph.add("Cast", [found], outputs=[node.name], to=onnx_type(node.dtype("output_type")))


@_converts("Max")
def _reduce_max(graph: OnnxGraph, node: Node) -> None:
    axes = _known(graph, node, 1).reshape(-1).tolist()
    graph.add("ReduceMax", [node.inputs[0]], outputs=[node.name], axes=axes, keepdims=int(node.flag("keep_dims")))


@_converts("Mean")
def _reduce_mean(graph: OnnxGraph, node: Node) -> None:
    axes = _known(graph, node, 1).reshape(-1).tolist()
    graph.add("ReduceMean", [node.inputs[0]], outputs=[node.name], axes=axes, keepdims=int(node.flag("keep_dims")))


@_converts("Sum")
def _reduce_sum(graph: OnnxGraph, node: Node) -> None:
    axes = graph.integers(*_known(graph, node, 1).reshape(-1))
    graph.add("ReduceSum", [node.inputs[0], axes], outputs=[node.name], keepdims=int(node.flag("keep_dims")))


@_converts("Shape", "Size")
def _shape(graph: OnnxGraph, node: Node) -> None:
    measured = graph.add(node.op, node.inputs)
    graph.add("Cast", [measured], outputs=[node.name], to=onnx_type(node.dtype("out_type")))


@_converts("Range")
def _range(graph: OnnxGraph, node: Node) -> None:
    graph.add("Range", node.inputs, outputs=[node.name])


@_converts("Tile")
def _tile(graph: OnnxGraph, node: Node) -> None:
    graph.add("Tile", [node.inputs[0], graph.as_int64(node.inputs[1])], outputs=[node.name])


@_converts("Fill")
def _fill(graph: OnnxGraph, node: Node) -> None:
    shape, value = node.inputs
    graph.add("Expand", [value, graph.as_int64(shape)], outputs=[node.name])


@_converts("SparseToDense")
def _sparse_to_dense(graph: OnnxGraph, node: Node) -> None:
    # nanodet builds the target shapes of its Reshapes this way, from constants only
    indices, shape, values, default = (_known(graph, node, index) for index in range(4))
    dense = np.full(tuple(shape.astype(np.int64)), default)
    if indices.size:
        dense[tuple(np.atleast_2d(indices).T)] = values
    graph.constant(dense, name=node.name)


@_converts("StridedSlice")
def _strided_slice(graph: OnnxGraph, node: Node) -> None:
    """Slice, drop and insert axes: bit i of each mask speaks of item i of the specification (`x[a:b, None, 3]`)."""
    if node.integer("ellipsis_mask"):
        raise _unsupported(node, "has an ellipsis")
    starts: list[int] = []
    ends: list[int] = []
    axes: list[int] = []
    steps: list[int] = []
    dropped: list[int] = []
    inserted: list[int] = []
    axis = out_axis = 0
    specification = zip(*(_known(graph, node, index).tolist() for index in (1, 2, 3)), strict=True)
    for item, (start, end, step) in enumerate(specification):

        def masked(mask: str, item: int = item) -> bool:
            return bool(node.integer(mask) >> item & 1)

        if masked("new_axis_mask"):
            inserted.append(out_axis)
            out_axis += 1
            continue
        first = 0 if masked("begin_mask") else start
        last = OPEN_END if masked("end_mask") else end
        if masked("shrink_axis_mask"):
            last = OPEN_END if first == -1 else first + 1
            dropped.append(axis)
        else:
            out_axis += 1
        if (first, last, step) != (0, OPEN_END, 1):
            starts.append(first)
            ends.append(last)
            axes.append(axis)
            steps.append(step)
        axis += 1
    result = node.inputs[0]
    if axes:
        result = graph.add("Slice", [result, *(graph.integers(*part) for part in (starts, ends, axes, steps))])
    if dropped:
        result = graph.add("Squeeze", [result, graph.integers(*dropped)])
    if inserted:
        result = graph.add("Unsqueeze", [result, graph.integers(*inserted)])
    graph.add("Identity", [result], outputs=[node.name])
