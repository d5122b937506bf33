"""TensorFlow.js's graph-model format (model.json and its .bin files), read into frozen values. Touches no file.

Source: tensorflow/tfjs, tfjs-core/src/io/types.ts (ModelJSON, WeightsManifestEntry, quantization) and
tfjs-converter/src/data/api.ts (the GraphDef as JSON: NodeDef, AttrValue, the DT_ names).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.model_zoo.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

DTYPES: Mapping[str, DTypeLike] = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_BOOL": np.bool_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation: its name, its TensorFlow op, its data inputs, and its attributes as the JSON has them."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def integer(self, key: str, default: int = 0) -> int:
        """Return an integer attribute, or the default when the graph leaves it out."""
        return int(self.attributes.get(key, {}).get("i", default))

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers; empty when the graph leaves it out."""
        return tuple(int(item) for item in self.attributes.get(key, {}).get("list", {}).get("i", ()))

    def real(self, key: str) -> float:
        """Return a float attribute, which must be there."""
        return float(self.attributes[key]["f"])

    def flag(self, key: str) -> bool:
        """Return a boolean attribute; false when the graph leaves it out."""
        return bool(self.attributes.get(key, {}).get("b", False))

    def text(self, key: str) -> str:
        """Return a bytes attribute (base64 in the JSON) as text."""
        return base64.b64decode(self.attributes[key]["s"]).decode()

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of bytes attributes as texts; empty when the graph leaves it out."""
        return tuple(
            base64.b64decode(item).decode() for item in self.attributes.get(key, {}).get("list", {}).get("s", ())
        )

    def dtype(self, key: str) -> DTypeLike:
        """Return a type attribute as numpy's type."""
        return named_dtype(self.attributes[key]["type"], where=f"{self.name}.{key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of the graph: its name, its type and its fixed shape."""

    name: str
    dtype: DTypeLike
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphModel:
    """A whole model: nodes sorted so that each comes after what it reads, the weights, and the edges."""

    nodes: tuple[Node, ...]
    weights: Mapping[str, NDArray[Any]]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def named_dtype(name: str, *, where: str) -> DTypeLike:
    """Return numpy's type for TensorFlow's name; raises ConversionError for one that our models do not use."""
    if name not in DTYPES:
        raise ConversionError(
            f"The tensor type {name} at {where} is not known.",
            why=f"The converter knows {', '.join(DTYPES)}, which is all that our models use.",
            remedy="Add the type to DTYPES in services/model_zoo/graph_model.py, with a test.",
        )
    return DTYPES[name]


def read_graph_model(topology: bytes, weight_files: Mapping[str, bytes]) -> GraphModel:
    """Read model.json and its weight files, the latter by the names that the JSON gives them.

    Raises ConversionError for a graph that is not in this format, misses weights, or has a cycle.
    """
    try:
        document = json.loads(topology)
        definitions = document["modelTopology"]["node"]
        signature = document["signature"]
        groups = document["weightsManifest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            "The model's JSON is not a TensorFlow.js graph model.",
            why=f"{type(error).__name__}: {error}",
            remedy="Point `source.graph` of the manifest at a file whose `format` is graph-model.",
        ) from error
    nodes = tuple(
        Node(
            name=definition["name"],
            op=definition["op"],
            inputs=tuple(_tensor_name(item) for item in definition.get("input", ()) if not item.startswith("^")),
            attributes=definition.get("attr", {}),
        )
        for definition in definitions
    )
    return GraphModel(
        nodes=_sorted_by_use(nodes),
        weights=_weights(groups, weight_files),
        inputs=tuple(_tensor(key, value) for key, value in signature["inputs"].items()),
        outputs=tuple(_tensor(key, value) for key, value in signature["outputs"].items()),
    )


def _tensor_name(reference: str) -> str:
    """Drop the `:0` of a node's first output; later outputs keep their number."""
    return reference.removesuffix(":0")


def _tensor(key: str, value: Mapping[str, Any]) -> Tensor:
    name = _tensor_name(value.get("name", key))
    shape = tuple(int(dimension["size"]) for dimension in value["tensorShape"]["dim"])
    if any(size < 1 for size in shape):
        raise ConversionError(
            f"The tensor {name} has no fixed shape: {shape}.",
            why="A service allocates for one known shape, so that its memory is known as well.",
            remedy="Use an export whose signature fixes every dimension.",
        )
    return Tensor(name=name, dtype=named_dtype(value["dtype"], where=name), shape=shape)


def _weights(groups: Sequence[Mapping[str, Any]], weight_files: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    weights: dict[str, NDArray[Any]] = {}
    for group in groups:
        missing = [path for path in group["paths"] if path not in weight_files]
        if missing:
            raise ConversionError(
                f"The model's JSON reads weights that were not given: {', '.join(missing)}.",
                why=f"The manifest gives {', '.join(weight_files) or 'none'}.",
                remedy="Name every weight file under `source.weights` of the manifest.",
            )
        buffer = b"".join(weight_files[path] for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            array, offset = _weight(entry, buffer, offset)
            weights[entry["name"]] = array
        if offset != len(buffer):
            raise ConversionError(
                f"The weight files hold {len(buffer)} bytes and the model's JSON accounts for {offset}.",
                why="The JSON and its .bin files are not of one export, or one of them is cut short.",
                remedy="Fetch the package again; when that does not help, pin another version of it.",
            )
    return weights


def _weight(entry: Mapping[str, Any], buffer: bytes, offset: int) -> tuple[NDArray[Any], int]:
    """Return one weight and the offset after it; float16 is how TensorFlow.js halves its files."""
    stored = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
    if stored not in (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.int32)):
        raise ConversionError(
            f"The weight {entry['name']} is stored as {stored}.",
            why="The converter reads float32, int32 and float16, which is all that our models use.",
            remedy="Teach services/model_zoo/graph_model.py that quantization, with a test.",
        )
    count = int(np.prod(entry["shape"], dtype=np.int64))
    end = offset + count * stored.itemsize
    if end > len(buffer):
        raise ConversionError(
            f"The weight {entry['name']} ends at byte {end} of {len(buffer)}.",
            why="A weight file is cut short.",
            remedy="Fetch the package again.",
        )
    array = np.frombuffer(buffer, stored, count, offset).reshape(entry["shape"]).astype(entry["dtype"])
    return array, end


def _sorted_by_use(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Sort so that a node follows the nodes it reads, keeping the file's order otherwise (hence deterministic)."""
    by_name = {node.name: node for node in nodes}
    dangling = {item.partition(":")[0] for node in nodes for item in node.inputs} - by_name.keys()
    if dangling:
        raise ConversionError(
            f"The graph reads nodes that it does not have: {', '.join(sorted(dangling))}.",
            why="The model's JSON is cut short or was edited.",
            remedy="Fetch the package again.",
        )
    done: dict[str, Node] = {}
    entered: set[str] = set()
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            waiting = [
                by_name[producer]
                for producer in dict.fromkeys(item.partition(":")[0] for item in node.inputs)
                if producer not in done
            ]
            if not waiting:
                done.setdefault(node.name, node)
                stack.pop()
            elif node.name in entered:
                raise ConversionError(
                    f"The node {node.name} reads its own result.",
                    why="Graphs with loops (TensorFlow's control flow) cannot be converted.",
                    remedy="Use an export without control flow.",
                )
            else:
                entered.add(node.name)
                stack.extend(reversed(waiting))
    return tuple(done.values())
