"""An encoder of a few kilobytes, as ONNX, and the manifest that describes a model to the job `dedup`."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.dedup.config import Embedding

SIDE, DIMENSIONS = 8, 5


def tiny_onnx() -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return a model that multiplies a picture by weights, and these; skip the test where onnx is not installed."""
    onnx = pytest.importorskip("onnx")
    weight = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, DIMENSIONS)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["pictures"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weight"], ["out"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("pictures", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", DIMENSIONS])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), weight


def described(folder: Path, kind: str, model: bytes, **changes: Any) -> Embedding:
    """Write a model with its manifest and return a configuration that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"small.{'onnx' if kind == 'onnx' else 'pt2'}"
    (folder / name).write_bytes(model)
    manifest = {
        "name": "small", "file": name, "sha256": sha256(model).hexdigest(), "format": kind, "side": SIDE,
        "dimensions": DIMENSIONS, "fit": "squash", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "pool": "first",
        **changes,
    }  # fmt: skip
    (folder / "small.json").write_text(json.dumps(manifest))
    return Embedding(manifest=f"{folder.name}/small.json", mirrored=False, batch_size=4, cache_max_gib=1)
