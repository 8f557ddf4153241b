"""Writes the trained network as an ONNX file, batch normalisation folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from captionacc_dagster.captioning.glyph_network import CHANNELS
from training.glyph_mask.network import GlyphMaskNetwork

MODEL = Path(__file__).parents[2] / "captionacc_dagster/captioning/models/glyph_mask.onnx"
_OPSET, _IR_VERSION = 17, 8


class _Graph:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.float32]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def convolve(self, layer: nn.Module, source: str, *, relu: bool) -> str:
        """Add a convolution with what normalises its output folded in."""
        if isinstance(layer, nn.Sequential):
            convolution, norm = layer
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        else:
            convolution, weight, bias = layer, layer.weight, layer.bias
        names = [self.constant(tensor.detach().cpu().numpy().astype(np.float32)) for tensor in (weight, bias)]
        pads = [*convolution.padding, *convolution.padding]
        result = self.add(
            "Conv", source, *names, kernel_shape=list(convolution.kernel_size), strides=list(convolution.stride),
            dilations=list(convolution.dilation), group=convolution.groups, pads=pads,
        )  # fmt: skip
        return self.add("Relu", result) if relu else result


def write_model(network: GlyphMaskNetwork, path: Path) -> None:
    """Write a network: ``window`` float32 ``(n, CHANNELS, h, w)`` in, ``strokes`` float32 ``(n, 1, h, w)`` out."""
    graph = _Graph()
    half = graph.convolve(network.second, graph.convolve(network.first, "window", relu=True), relu=True)
    quarter = graph.convolve(network.down, half, relu=True)
    for around, mixed in zip(network.around, network.mixed, strict=True):
        wider = graph.convolve(mixed, graph.convolve(around, quarter, relu=False), relu=True)
        quarter = graph.add("Add", quarter, wider)
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    raised = graph.add(
        "Resize", graph.convolve(network.up, quarter, relu=False), "", scales,
        mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    half = graph.add("Relu", graph.add("Add", half, raised))
    half = graph.convolve(network.joined, graph.convolve(network.near, half, relu=False), relu=True)
    logits = graph.add("DepthToSpace", graph.convolve(network.last, half, relu=False), blocksize=2, mode="CRD")
    graph.add("Sigmoid", logits, output="strokes")
    shape = ["n", CHANNELS, "h", "w"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "glyph_mask",
            [helper.make_tensor_value_info("window", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("strokes", TensorProto.FLOAT, ["n", 1, "h", "w"])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="training.glyph_mask",
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
