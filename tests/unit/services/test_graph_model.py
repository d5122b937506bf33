"""TensorFlow.js's graph model, read: what is right, and what is refused in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from services.model_zoo.convert import onnx_bytes
from services.model_zoo.errors import ConversionError
from services.model_zoo.graph_model import GraphModel, read_graph_model

HALF = {"dtype": "float16", "original_dtype": "float32"}
WEIGHTS = np.arange(40, dtype=np.float16).reshape(40)


def document(**changes: Any) -> dict[str, Any]:
    """Return a model.json of one addition: input + weights."""
    tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "40"}]}}
    return {
        "format": "graph-model",
        "signature": {
            "inputs": {"picture": {"name": "input:0", **tensor}},
            "outputs": {"sum": {"name": "sum:0", **tensor}},
        },
        "modelTopology": {
            "node": [
                {"name": "sum", "op": "AddV2", "input": ["input", "weights:0", "^nothing"]},
                {"name": "input", "op": "Placeholder"},
                {"name": "weights", "op": "Const"},
            ]
        },
        "weightsManifest": [
            {
                "paths": ["model.bin"],
                "weights": [{"name": "weights", "shape": [40], "dtype": "float32", "quantization": HALF}],
            }
        ],
        **changes,
    }


def read(content: dict[str, Any], weights: bytes | None = None) -> GraphModel:
    """Read the document with its one weight file."""
    return read_graph_model(
        json.dumps(content).encode(), {"model.bin": WEIGHTS.tobytes() if weights is None else weights}
    )


def test_nodes_come_after_what_they_read_and_control_inputs_are_left_out() -> None:
    model = read(document())
    assert [node.name for node in model.nodes] == ["input", "weights", "sum"]
    assert model.nodes[-1].inputs == ("input", "weights")


def test_weights_stored_in_halves_are_read_in_full() -> None:
    weights = read(document()).weights["weights"]
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.arange(40, dtype=np.float32))


def test_the_conversion_gives_the_same_bytes_each_time_and_stores_halves() -> None:
    once, twice = onnx_bytes(read(document())), onnx_bytes(read(document()))
    assert once == twice
    assert WEIGHTS.tobytes() in once


def with_node(**node: Any) -> dict[str, Any]:
    """Return the document with one more node."""
    content = document()
    content["modelTopology"]["node"].append(node)
    return content


def with_weight(**changes: Any) -> dict[str, Any]:
    """Return the document with its weight described otherwise."""
    content = document()
    content["weightsManifest"][0]["weights"][0].update(changes)
    return content


def with_input(**changes: Any) -> dict[str, Any]:
    """Return the document with its input described otherwise."""
    content = document()
    content["signature"]["inputs"]["picture"].update(changes)
    return content


@pytest.mark.parametrize(
    ("content", "weights", "said"),
    [
        ({"format": "layers-model"}, None, "not a TensorFlow.js graph model"),
        (with_node(name="loop", op="Abs", input=["loop"]), None, "reads its own result"),
        (with_node(name="lost", op="Abs", input=["nowhere"]), None, "does not have: nowhere"),
        (with_weight(quantization={"dtype": "uint8", "scale": 1, "min": 0}), None, "stored as uint8"),
        (with_input(dtype="DT_STRING"), None, "DT_STRING"),
        (with_input(tensorShape={"dim": [{"size": "-1"}]}), None, "no fixed shape"),
        (document(), WEIGHTS.tobytes()[:-1], "ends at byte"),
        (document(), WEIGHTS.tobytes() + b"rest", "accounts for"),
    ],
)
def test_what_is_not_a_whole_graph_model_is_refused_in_words(
    content: dict[str, Any], weights: bytes | None, said: str
) -> None:
    with pytest.raises(ConversionError, match=said):
        read(content, weights)


def test_a_weight_file_that_the_json_names_must_be_given() -> None:
    with pytest.raises(ConversionError, match=r"model\.bin"):
        read_graph_model(json.dumps(document()).encode(), {})
