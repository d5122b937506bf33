"""Every operator that the converter knows, run by onnxruntime and compared with numpy on small tensors."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import onnxruntime
import pytest

from services.model_zoo.convert import onnx_bytes
from services.model_zoo.errors import ConversionError
from services.model_zoo.graph_model import GraphModel, Node, Tensor
from services.model_zoo.operators import CONVERTERS, SAME_IN_ONNX

F32, I32, BOOL = np.float32, np.int32, np.bool_
TYPE_NAMES = {np.dtype(F32): "DT_FLOAT", np.dtype(I32): "DT_INT32", np.dtype(BOOL): "DT_BOOL"}


def values(*shape: int, low: float = -3, high: float = 3, dtype: Any = F32) -> np.ndarray:
    """Return reproducible numbers; floats are spread, integers are whole."""
    drawn = np.random.default_rng(sum(shape)).uniform(low, high, shape)
    return drawn.astype(dtype)


def text(value: str) -> dict[str, str]:
    """Return TensorFlow.js's form of a bytes attribute."""
    return {"s": base64.b64encode(value.encode()).decode()}


def texts(*items: str) -> dict[str, Any]:
    return {"list": {"s": [text(item)["s"] for item in items]}}


def integers(*items: int) -> dict[str, Any]:
    return {"list": {"i": [str(item) for item in items]}}


def converted(
    op: str,
    inputs: list[np.ndarray],
    attributes: dict[str, Any],
    expected: list[np.ndarray],
    constants: dict[int, np.ndarray],
) -> list[np.ndarray]:
    """Convert a graph of this one operator and run it; inputs named in `constants` are weights of the graph."""
    names = [f"x{index}" for index in range(len(inputs) + len(constants))]
    fed = iter(inputs)
    arrays = {name: constants[index] if index in constants else next(fed) for index, name in enumerate(names)}
    nodes = [
        Node(name=name, op="Const" if index in constants else "Placeholder", inputs=(), attributes={})
        for index, name in enumerate(names)
    ]
    nodes.append(Node(name="node", op=op, inputs=tuple(names), attributes=attributes))
    outputs = ["node", *(f"node:{index}" for index in range(1, len(expected)))]
    # a node whose result is folded into a constant needs a reader, as it has in real graphs
    nodes += [
        Node(name=f"result{index}", op="Identity", inputs=(name,), attributes={}) for index, name in enumerate(outputs)
    ]
    model = GraphModel(
        nodes=tuple(nodes),
        weights={name: arrays[name] for index, name in enumerate(names) if index in constants},
        inputs=tuple(
            Tensor(name=name, dtype=arrays[name].dtype, shape=arrays[name].shape)
            for index, name in enumerate(names)
            if index not in constants
        ),
        outputs=tuple(
            Tensor(name=f"result{index}", dtype=array.dtype, shape=array.shape) for index, array in enumerate(expected)
        ),
    )
    session = onnxruntime.InferenceSession(onnx_bytes(model), providers=["CPUExecutionProvider"])
    return session.run(
        [f"result{index}" for index in range(len(expected))],
        {name: arrays[name] for index, name in enumerate(names) if index not in constants},
    )


def convolved(picture: np.ndarray, kernel: np.ndarray, *, stride: int, same: bool, depthwise: bool) -> np.ndarray:
    """Convolve NHWC by definition: TensorFlow's SAME puts the odd pixel of padding after."""
    size = kernel.shape[0]
    out = -(-picture.shape[1] // stride) if same else (picture.shape[1] - size) // stride + 1
    padding = max(0, (out - 1) * stride + size - picture.shape[1]) if same else 0
    before = padding // 2
    padded = np.pad(picture, ((0, 0), (before, padding - before), (before, padding - before), (0, 0)))
    channels = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    result = np.zeros((1, out, out, channels), F32)
    for row in range(out):
        for column in range(out):
            top, left = row * stride, column * stride
            window = padded[0, top : top + size, left : left + size]
            if depthwise:
                result[0, row, column] = np.einsum("ijc,ijcm->cm", window, kernel).reshape(-1)
            else:
                result[0, row, column] = np.einsum("ijc,ijco->o", window, kernel)
    return result


def bilinear(picture: np.ndarray, height: int, width: int, *, centre: float = 0.5) -> np.ndarray:
    """Resize NHWC by definition; a pixel lies at its index plus `centre` (TensorFlow's first way had 0)."""

    def positions(count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(count) + centre) * size / count - centre, 0, size - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), (at - low).astype(F32)

    top, bottom, down = positions(height, picture.shape[1])
    left, right, across = positions(width, picture.shape[2])
    rows = picture[:, top] * (1 - down)[:, None, None] + picture[:, bottom] * down[:, None, None]
    return rows[:, :, left] * (1 - across)[:, None] + rows[:, :, right] * across[:, None]


CONV = {"strides": integers(1, 2, 2, 1), "dilations": integers(1, 1, 1, 1), "data_format": text("NHWC")}
CONV_SAME = {**CONV, "padding": text("SAME")}
CONV_VALID = {**CONV, "padding": text("VALID")}
PICTURE = values(1, 6, 6, 2)
KERNEL = values(3, 3, 2, 4)
A, B = values(2, 3), values(2, 3, low=0.5)
MASKS = ("begin_mask", "end_mask", "shrink_axis_mask", "new_axis_mask")


def sliced(array: np.ndarray, *items: tuple[int, int, int], **masks: int) -> tuple[Any, ...]:
    """Return the arguments of a StridedSlice case, all but what it must give."""
    begin, end, stride = (np.array(part, I32) for part in zip(*items, strict=True))
    return "StridedSlice", [array], {mask: {"i": str(masks.get(mask, 0))} for mask in MASKS}, (begin, end, stride)


SLICES = [
    (sliced(values(4, 5), (1, 3, 1), (0, 5, 2)), values(4, 5)[1:3, 0:5:2]),
    (sliced(values(4, 5), (1, 0, 1), (2, 3, 1), begin_mask=2, end_mask=1), values(4, 5)[1:, :3]),
    (sliced(values(4), (-1, 0, 1), shrink_axis_mask=1), values(4)[-1]),
    (sliced(values(4), (2, 3, 1), shrink_axis_mask=1), values(4)[2]),
    (
        sliced(values(4, 5), (0, 0, 1), (0, 0, 1), (0, 0, 1), begin_mask=3, end_mask=3, new_axis_mask=4),
        values(4, 5)[:, :, None],
    ),
    (
        sliced(values(4, 5), (0, 0, 1), (0, 0, 1), (0, 4, 2), begin_mask=3, end_mask=1, new_axis_mask=2),
        values(4, 5)[:, None, 0:4:2],
    ),
]

CASES: dict[str, tuple[str, list[np.ndarray], dict[str, Any], dict[int, np.ndarray], list[np.ndarray]]] = {
    "abs": ("Abs", [A], {}, {}, [np.abs(A)]),
    "add": ("Add", [A, B], {}, {}, [A + B]),
    "add folds constants": ("Add", [], {}, {0: A, 1: B}, [A + B]),
    "add v2": ("AddV2", [A, B], {}, {}, [A + B]),
    "add n": ("AddN", [A, B, A], {}, {}, [A + B + A]),
    "argmax": ("ArgMax", [A], {"output_type": {"type": "DT_INT32"}}, {1: np.array(1, I32)}, [A.argmax(1).astype(I32)]),
    "cast": ("Cast", [values(3, dtype=I32)], {"DstT": {"type": "DT_FLOAT"}}, {}, [values(3, dtype=I32).astype(F32)]),
    "concat": ("ConcatV2", [A, B], {}, {2: np.array(1, I32)}, [np.concatenate([A, B], 1)]),
    "conv same, strided": (
        "Conv2D", [PICTURE], CONV_SAME, {1: KERNEL}, [convolved(PICTURE, KERNEL, stride=2, same=True, depthwise=False)],
    ),
    "conv valid": (
        "Conv2D", [PICTURE], CONV_VALID, {1: KERNEL},
        [convolved(PICTURE, KERNEL, stride=2, same=False, depthwise=False)],
    ),
    "conv with bias and relu": (
        "_FusedConv2D", [PICTURE], {**CONV_SAME, "fused_ops": texts("BiasAdd", "Relu")}, {1: KERNEL, 2: values(4)},
        [np.maximum(convolved(PICTURE, KERNEL, stride=2, same=True, depthwise=False) + values(4), 0)],
    ),
    "depthwise": (
        "DepthwiseConv2dNative", [PICTURE], CONV_SAME, {1: KERNEL},
        [convolved(PICTURE, KERNEL, stride=2, same=True, depthwise=True)],
    ),
    "depthwise with bias and relu6": (
        "FusedDepthwiseConv2dNative", [PICTURE], {**CONV_SAME, "fused_ops": texts("BiasAdd", "Relu6")},
        {1: KERNEL, 2: values(8)},
        [np.clip(convolved(PICTURE, KERNEL, stride=2, same=True, depthwise=True) + values(8), 0, 6)],
    ),
    "equal": ("Equal", [values(5, dtype=I32), values(5, dtype=I32)], {}, {}, [np.ones(5, BOOL)]),
    "exp": ("Exp", [A], {}, {}, [np.exp(A)]),
    "expand dims": ("ExpandDims", [A], {}, {1: np.array(1, I32)}, [A[:, None]]),
    "fill": ("Fill", [], {}, {0: np.array([2, 3], I32), 1: np.array(7, F32)}, [np.full((2, 3), 7, F32)]),
    "floor division, negative too": (
        "FloorDiv", [np.array([7, -7, 6], I32), np.array([2, 2, 3], I32)], {"T": {"type": "DT_INT32"}}, {},
        [np.array([3, -4, 2], I32)],
    ),
    "floor modulo, negative too": (
        "FloorMod", [np.array([7, -7, 6], I32), np.array([2, 2, 3], I32)], {}, {}, [np.array([1, 1, 0], I32)],
    ),
    "gather": ("GatherV2", [A, np.array([2, 0], I32)], {}, {2: np.array(1, I32)}, [A[:, [2, 0]]]),
    "gather by index": (
        "GatherNd", [A, np.array([[0, 2], [1, 0]], I32)], {}, {}, [A[[0, 1], [2, 0]]],
    ),
    "greater": ("Greater", [A, B], {}, {}, [A > B]),
    "greater or equal": ("GreaterEqual", [A, A], {}, {}, [np.ones((2, 3), BOOL)]),
    "identity": ("Identity", [A], {}, {}, [A]),
    "leaky relu": ("LeakyRelu", [A], {"alpha": {"f": 0.1}}, {}, [np.where(A < 0, A * F32(0.1), A)]),
    "less": ("Less", [A, B], {}, {}, [A < B]),
    "logical and": ("LogicalAnd", [A > 0, B > 1], {}, {}, [(A > 0) & (B > 1)]),
    "max": ("Max", [A], {"keep_dims": {"b": True}}, {1: np.array([1], I32)}, [A.max(1, keepdims=True)]),
    "max pool, same": (
        "MaxPool", [values(1, 4, 4, 1)],
        {"ksize": integers(1, 3, 3, 1), "strides": integers(1, 2, 2, 1), "padding": text("SAME"),
         "data_format": text("NHWC")},
        {},
        [np.array([[values(1, 4, 4, 1)[0, r : r + 3, c : c + 3].max() for c in (0, 2)] for r in (0, 2)], F32)[
            None, :, :, None
        ]],
    ),
    "maximum": ("Maximum", [A, B], {}, {}, [np.maximum(A, B)]),
    "mean": ("Mean", [A], {"keep_dims": {"b": True}}, {1: np.array([0], I32)}, [A.mean(0, keepdims=True)]),
    "minimum": ("Minimum", [A, B], {}, {}, [np.minimum(A, B)]),
    "mul": ("Mul", [A, B], {}, {}, [A * B]),
    "pack": ("Pack", [A, B], {"axis": {"i": "1"}}, {}, [np.stack([A, B], 1)]),
    "pad": ("Pad", [A], {}, {1: np.array([[1, 0], [0, 2]], I32)}, [np.pad(A, ((1, 0), (0, 2)))]),
    "pad with a value": (
        "PadV2", [A], {}, {1: np.array([[1, 0], [0, 2]], I32), 2: np.array(-9, F32)},
        [np.pad(A, ((1, 0), (0, 2)), constant_values=-9)],
    ),
    "range": (
        "Range", [], {}, {0: np.array(1, F32), 1: np.array(4, F32), 2: np.array(1, F32)}, [np.arange(1, 4, dtype=F32)],
    ),
    "real division": ("RealDiv", [A, B], {}, {}, [A / B]),
    "reciprocal": ("Reciprocal", [B], {}, {}, [1 / B]),
    "relu": ("Relu", [A], {}, {}, [np.maximum(A, 0)]),
    "relu6": ("Relu6", [3 * A], {}, {}, [np.clip(3 * A, 0, 6)]),
    "reshape": ("Reshape", [A], {}, {1: np.array([3, -1], I32)}, [A.reshape(3, 2)]),
    "resize": ("ResizeBilinear", [PICTURE], {"half_pixel_centers": {"b": True}}, {1: np.array([9, 4], I32)},
               [bilinear(PICTURE, 9, 4)]),
    "resize by corners of pixels": (
        "ResizeBilinear", [PICTURE], {}, {1: np.array([9, 4], I32)}, [bilinear(PICTURE, 9, 4, centre=0)],
    ),
    "select": ("Select", [A > 0, A, B], {}, {}, [np.where(A > 0, A, B)]),
    "shape": ("Shape", [A], {"out_type": {"type": "DT_INT32"}}, {}, [np.array([2, 3], I32)]),
    "sigmoid": ("Sigmoid", [A], {}, {}, [1 / (1 + np.exp(-A))]),
    "size": ("Size", [A], {"out_type": {"type": "DT_INT32"}}, {}, [np.array(6, I32)]),
    "sparse to dense": (
        "SparseToDense", [], {},
        {0: np.array([[1], [3]], I32), 1: np.array([5], I32), 2: np.array([8, 9], I32), 3: np.array(-1, I32)},
        [np.array([-1, 8, -1, 9, -1], I32)],
    ),
    "split": (
        "Split", [A], {"num_split": {"i": "3"}}, {0: np.array(1, I32)}, [A[:, :1], A[:, 1:2], A[:, 2:]],
    ),
    "split by sizes": (
        "SplitV", [A], {"num_split": {"i": "2"}}, {1: np.array([1, 2], I32), 2: np.array(1, I32)}, [A[:, :1], A[:, 1:]],
    ),
    "sqrt": ("Sqrt", [B], {}, {}, [np.sqrt(B)]),
    "squared difference": ("SquaredDifference", [A, B], {}, {}, [(A - B) ** 2]),
    "squeeze one": ("Squeeze", [A[None, :, None]], {"squeeze_dims": integers(0)}, {}, [A[:, None]]),
    "squeeze all": ("Squeeze", [A[None, :, None]], {}, {}, [A]),
    "sub": ("Sub", [A, B], {}, {}, [A - B]),
    "sum": ("Sum", [A], {}, {1: np.array([0], I32)}, [A.sum(0)]),
    "tile": ("Tile", [A], {}, {1: np.array([2, 1], I32)}, [np.tile(A, (2, 1))]),
    "top k": (
        "TopKV2", [np.array([3, 1, 9, 5], F32)], {}, {1: np.array(2, I32)},
        [np.array([9, 5], F32), np.array([2, 3], I32)],
    ),
    "transpose": ("Transpose", [A], {}, {1: np.array([1, 0], I32)}, [A.T]),
    "unpack": ("Unpack", [A], {"axis": {"i": "1"}, "num": {"i": "3"}}, {}, [A[:, 0], A[:, 1], A[:, 2]]),
    **{
        f"strided slice {number}": (op, inputs, attributes, dict(enumerate(specification, start=1)), [expected])
        for number, ((op, inputs, attributes, specification), expected) in enumerate(SLICES, start=1)
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_converted_operator_computes_what_tensorflow_defines(case: tuple[Any, ...]) -> None:
    op, inputs, attributes, constants, expected = case
    results = converted(op, inputs, attributes, expected, constants)
    for result, right in zip(results, expected, strict=True):
        assert result.dtype == right.dtype
        np.testing.assert_allclose(result, right, rtol=1e-5, atol=1e-5)


def test_every_operator_that_the_converter_knows_has_a_case() -> None:
    assert {case[0] for case in CASES.values()} == {*CONVERTERS, *SAME_IN_ONNX}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "constants", "said"),
    [
        ("Einsum", [A], {}, {}, "operator Einsum"),
        ("_FusedConv2D", [PICTURE], {**CONV_SAME, "fused_ops": texts("Elu")}, {1: KERNEL}, "Elu fused into it"),
        ("Conv2D", [PICTURE, KERNEL], CONV_SAME, {}, "is computed, not constant"),
        ("Conv2D", [PICTURE], {**CONV, "padding": text("EXPLICIT")}, {1: KERNEL}, "pads EXPLICIT"),
        ("ResizeBilinear", [PICTURE], {"align_corners": {"b": True}}, {1: np.array([2, 2], I32)}, "aligns corners"),
        ("GatherV2", [A, I32(0)], {"batch_dims": {"i": "1"}}, {2: np.array(0, I32)}, "within batches"),
        ("FloorDiv", [A, B], {"T": {"type": "DT_FLOAT"}}, {}, "not int32"),
        ("StridedSlice", [A], {"ellipsis_mask": {"i": "1"}}, {1: A, 2: A, 3: A}, "has an ellipsis"),
    ],
)
def test_what_the_converter_does_not_know_is_an_error_that_names_it(
    op: str, inputs: list[np.ndarray], attributes: dict[str, Any], constants: dict[int, np.ndarray], said: str
) -> None:
    with pytest.raises(ConversionError, match=said):
        converted(op, inputs, attributes, [A], constants)
