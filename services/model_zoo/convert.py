"""One graph model in, the bytes of one ONNX model out. Pure: the same input gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.model_zoo.onnx_graph import OnnxGraph, value_info
from services.model_zoo.operators import convert_node

if TYPE_CHECKING:
    from services.model_zoo.graph_model import GraphModel


def onnx_bytes(model: GraphModel) -> bytes:
    """Convert the model; inputs and outputs keep their names. Raises ConversionError for what is not known."""
    graph = OnnxGraph()
    for node in model.nodes:
        if node.op == "Const":
            graph.constant(model.weights[node.name], name=node.name)
        elif node.op != "Placeholder":
            convert_node(graph, node)
    return graph.model_bytes(
        inputs=[value_info(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs],
        outputs=[value_info(tensor.name, tensor.dtype, tensor.shape) for tensor in model.outputs],
    )
