"""The previous network, from an ONNX file: training starts from its weights.

It mixed channels in convolutions of 3x3 pixels (`second`, `down`) where this one does so in 1x1; all else has the same
place and shape in both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from captionacc_dagster.captioning.ocr.onnx_session import open_session
from training.glyph_mask.network import DILATIONS, GlyphMaskNetwork

_LAYERS = (
    "first", "second", "down",
    *(f"{part}.{number}" for number in range(len(DILATIONS)) for part in ("around", "mixed")),
    "up", "near", "joined", "last",
)  # fmt: skip
_SPLIT = ("second", "down")


class Forerunner:
    """The previous network: the strokes it finds, and its weights."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = open_session(path.read_bytes(), threads)
        graph = onnx.load(path).graph
        constants = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        inputs = [node.input for node in graph.node if node.op_type == "Conv"]
        self._layers = {
            name: (constants[weight], constants[bias]) for name, (_, weight, bias) in zip(_LAYERS, inputs, strict=True)
        }

    def strokes(self, seen: Tensor) -> Tensor:
        """Return the probability of a stroke at each pixel."""
        return torch.from_numpy(np.asarray(self._session.run(["strokes"], {"window": seen.numpy()})[0]))

    @torch.no_grad()
    def hand_over(self, network: GlyphMaskNetwork, seen: Tensor) -> None:
        """Copy the weights into a new network, and set its normalization so that it does not change ``seen``."""
        layers = dict(self._layers)
        for name in _SPLIT:
            weight, bias = layers[name]
            around, mixed = _split(weight)
            layers[f"{name}_around"], layers[name] = (around, torch.zeros(len(around))), (mixed, bias)
        biases: dict[nn.Module, Tensor] = {}
        for name, (weight, bias) in layers.items():
            layer = network.get_submodule(name)
            if isinstance(layer, nn.Sequential):
                layer[0].weight.copy_(weight)
                biases[layer[1]] = bias
            else:
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)

        def set_norm(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.copy_(mean + biases[norm])

        hooks = [norm.register_forward_pre_hook(set_norm) for norm in biases]
        network.eval()
        network(seen)
        network.train()
        for hook in hooks:
            hook.remove()


def _split(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the convolutions of each input alone and of 1x1 pixels that best approximate one convolution over both."""
    outputs, inputs, *size = weight.shape
    left, strength, right = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2), full_matrices=False)
    root = strength[:, 0].sqrt()
    around = (right[:, 0] * root[:, None]).reshape(inputs, 1, *size)
    return around, (left[:, :, 0] * root[:, None]).T.reshape(outputs, inputs, 1, 1)
