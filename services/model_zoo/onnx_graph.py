"""An ONNX graph under construction. Knows ONNX and nothing of TensorFlow; touches no file.

The bytes must be the same on every machine, because a manifest pins their sha256: names are counted, not random; the
opset, IR version and producer are fixed here; protobuf serialises deterministically.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

OPSET = 17  # onnxruntime >= 1.12 runs it; its ReduceMax still takes axes as an attribute
IR_VERSION = 8  # the one that came with opset 17
HALVED_FROM_ELEMENTS = 33  # smaller constants gain less than their Cast costs


class OnnxGraph:
    """Collect nodes and constants; `model_bytes` assembles them."""

    def __init__(self) -> None:
        self.constants: dict[str, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._counts: Counter[str] = Counter()

    def constant(self, value: ArrayLike | NDArray[Any], *, name: str | None = None) -> str:
        """Store a constant and return its name."""
        name = name or self._fresh("constant")
        self.constants[name] = np.asarray(value)
        return name

    def integers(self, *values: int) -> str:
        """Store int64 numbers as a list, the form in which ONNX takes axes, shapes and pads."""
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, inputs: Sequence[str], *, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Append one node and return its (first) output, named here unless the caller names it."""
        outputs = tuple(outputs) or (self._fresh(operator),)
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=self._fresh("node"), **attributes))
        return outputs[0]

    def as_int64(self, tensor: str) -> str:
        """Return the tensor as int64, at once when it is a constant: TensorFlow's indices are int32, ONNX's are not."""
        if tensor in self.constants:
            return self.constant(self.constants[tensor].astype(np.int64))
        return self.add("Cast", [tensor], to=onnx.TensorProto.INT64)

    def model_bytes(
        self,
        *,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> bytes:
        """Assemble, check and serialise the model, leaving out what no output needs."""
        needed = {value.name for value in outputs}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        kept.reverse()
        casts, initializers = self._stored_constants(needed)
        graph = helper.make_graph([*casts, *kept], "graph", list(inputs), list(outputs), initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="trimtab",
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _stored_constants(self, needed: set[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Store as float16 what float16 holds exactly (packages ship halved weights); the runtime folds the Casts."""
        casts: list[onnx.NodeProto] = []
        initializers: list[onnx.TensorProto] = []
        for name, array in self.constants.items():
            if name not in needed:
                continue
            half = _exact_half(array)
            if half is None:
                initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
            else:
                stored = f"{name}/half"
                initializers.append(numpy_helper.from_array(half, stored))
                casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}/cast", to=onnx.TensorProto.FLOAT))
        return casts, initializers

    def _fresh(self, prefix: str) -> str:
        self._counts[prefix] += 1
        return f"{prefix}_{self._counts[prefix]}"


def value_info(name: str, dtype: DTypeLike, shape: Sequence[int]) -> onnx.ValueInfoProto:
    """Describe an input or an output of the model."""
    return helper.make_tensor_value_info(name, onnx_type(dtype), list(shape))


def onnx_type(dtype: DTypeLike) -> int:
    """Return ONNX's number for numpy's type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _exact_half(array: NDArray[Any]) -> NDArray[np.float16] | None:
    if array.dtype != np.float32 or array.size < HALVED_FROM_ELEMENTS:
        return None
    with np.errstate(over="ignore"):  # what overflows becomes inf, is therefore not exact, and stays float32
        half = np.ascontiguousarray(array, np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else None
