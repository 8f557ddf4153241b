"""Write the network as ONNX, with the normalization folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.script_classifier.network import LAYERS, ScriptNetwork


def write_model(network: ScriptNetwork, path: Path) -> None:
    """Write ``path``: input ``line`` (1, 1, 32, width) float32 of levels 0 to 255, output ``scores`` (1, classes)."""
    weights, nodes = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    nodes.append(helper.make_node("Sub", ["line", constant("middle", np.float32(128).reshape(1))], ["centered"]))
    nodes.append(helper.make_node("Div", ["centered", constant("range", np.float32(64).reshape(1))], ["layer0"]))
    for number, (_, _, stride, padding) in enumerate(LAYERS):
        convolution, norm = network.convolutions[number], network.norms[number]
        gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        weight = (convolution.weight.detach() * gain[:, None, None, None]).numpy()
        bias = (norm.bias.detach() - norm.running_mean * gain).numpy()
        inputs = [f"layer{number}", constant(f"weight{number}", weight), constant(f"bias{number}", bias)]
        pads = [padding[0], padding[1]] * 2
        nodes.append(helper.make_node("Conv", inputs, [f"sum{number}"], strides=list(stride), pads=pads))
        nodes.append(helper.make_node("Relu", [f"sum{number}"], [f"layer{number + 1}"]))
    last = f"layer{len(LAYERS)}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"]))
    nodes.append(helper.make_node("GlobalMaxPool", [last], ["most"]))
    nodes.append(helper.make_node("Concat", ["mean", "most"], ["pooled"], axis=1))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    inputs = [
        "flat",
        constant("weight", network.last.weight.detach().numpy()),
        constant("bias", network.last.bias.detach().numpy()),
    ]
    nodes.append(helper.make_node("Gemm", inputs, ["scores"], transB=1))
    graph = helper.make_graph(
        nodes, "script_classifier",
        [helper.make_tensor_value_info("line", TensorProto.FLOAT, [1, 1, 32, "width"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, network.last.out_features])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
