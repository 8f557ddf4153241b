"""Write the trained network as an ONNX file, batch normalization folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from captionacc_dagster.captioning.extents.glyph_mask import CHANNELS
from training.glyph_mask.network import GlyphMaskNetwork

MODEL = Path(__file__).parents[2] / "captionacc_dagster/captioning/models/glyph_mask.onnx"
_OPSET, _IR_VERSION = 17, 8
_SIDES = {1: ("h", "w"), 2: ("half_h", "half_w"), 4: ("quarter_h", "quarter_w")}


class _Graph:
    """A builder of an ONNX graph.

    It names the size of each map: only where ONNX Runtime knows that two are of one size does it add one to the other
    within the convolution that makes the latter.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.maps: list[onnx.ValueInfoProto] = []

    def constant(self, value: NDArray[np.float32]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def map(self, name: str, count: int, stride: int) -> str:
        """Name the size of a tensor: its number of maps, and how much smaller than the window they are."""
        self.maps.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, *_SIDES[stride]]))
        return name

    def convolve(self, layer: nn.Module, source: str, stride: int, *, plus: str = "", relu: bool = False) -> str:
        """Add a convolution with the normalization of its output folded in; ``stride`` is that of its output."""
        if isinstance(layer, nn.Sequential):
            convolution, norm = layer
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        else:
            convolution, weight, bias = layer, layer.weight, layer.bias
        names = [self.constant(tensor.detach().cpu().numpy().astype(np.float32)) for tensor in (weight, bias)]
        pads = [*convolution.padding, *convolution.padding]
        count = convolution.out_channels
        result = self.add(
            "Conv", source, *names, kernel_shape=list(convolution.kernel_size), strides=list(convolution.stride),
            dilations=list(convolution.dilation), group=convolution.groups, pads=pads,
        )  # fmt: skip
        self.map(result, count, stride)
        if plus:
            result = self.map(self.add("Add", result, plus), count, stride)
        return self.map(self.add("Relu", result), count, stride) if relu else result


def write_model(network: GlyphMaskNetwork, path: Path) -> None:
    """Write a network.

    In goes ``window`` float32 ``(n, CHANNELS, h, w)``, out comes ``strokes`` float32 ``(n, h / 2, w / 2, 4)``: of each
    two by two pixels the probabilities row by row.
    """
    graph = _Graph()
    half = graph.convolve(network.first, "window", 2, relu=True)
    half = graph.convolve(network.second, graph.convolve(network.second_around, half, 2), 2, relu=True)
    quarter = graph.convolve(network.down, graph.convolve(network.down_around, half, 4), 4, relu=True)
    for around, mixed in zip(network.around, network.mixed, strict=True):
        quarter = graph.convolve(mixed, graph.convolve(around, quarter, 4), 4, plus=quarter, relu=True)
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    raised = graph.add(
        "Resize", graph.convolve(network.up, quarter, 4), "", scales,
        mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    half = graph.convolve(network.near, half, 2, plus=graph.map(raised, network.near[0].out_channels, 2), relu=True)
    half = graph.convolve(network.joined, half, 2, relu=True)
    logits = graph.add("Transpose", graph.convolve(network.last, half, 2), perm=[0, 2, 3, 1])
    graph.add("Sigmoid", logits, output="strokes")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "glyph_mask",
            [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", CHANNELS, *_SIDES[1]])],
            [helper.make_tensor_value_info("strokes", TensorProto.FLOAT, ["n", *_SIDES[2], 4])],
            graph.constants,
            value_info=graph.maps,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="training.glyph_mask",
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
