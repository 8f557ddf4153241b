"""The network: half and quarter resolution inside, one logit per pixel outside; about 810 multiplications per pixel.

Convolutions of more than one pixel, the first apart, look at each channel by itself; those of one pixel mix them.
The network that went before did both at once, in twice the multiplications.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captionacc_dagster.captioning.extents.glyph_mask import CHANNELS

# ONNX Runtime's quick convolutions take channels by sixteen where the processor has AVX-512.
HALF, QUARTER = 16, 32
DILATIONS = (1, 2, 3)


def _convolution(
    inputs: int, outputs: int, size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False), nn.BatchNorm2d(outputs)
    )


class GlyphMaskNetwork(nn.Module):
    """Logits ``(n, 1, h, w)`` of `glyph_mask.channels` ``(n, CHANNELS, h, w)``; h and w are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _convolution(CHANNELS, HALF, 3, stride=2)
        self.second_around = _convolution(HALF, HALF, 3, groups=HALF)
        self.second = _convolution(HALF, HALF, 1)
        self.down_around = _convolution(HALF, HALF, 3, stride=2, groups=HALF)
        self.down = _convolution(HALF, QUARTER, 1)
        self.around = nn.ModuleList(
            _convolution(QUARTER, QUARTER, 5, dilation=dilation, groups=QUARTER) for dilation in DILATIONS
        )
        self.mixed = nn.ModuleList(_convolution(QUARTER, QUARTER, 1) for _ in DILATIONS)
        self.up = _convolution(QUARTER, HALF, 1)
        self.near = _convolution(HALF, HALF, 3, groups=HALF)
        self.joined = _convolution(HALF, HALF, 1)
        self.last = nn.Conv2d(HALF, 4, 1)

    def forward(self, seen: Tensor) -> Tensor:
        half = torch.relu(self.first(seen))
        half = torch.relu(self.second(self.second_around(half)))
        quarter = torch.relu(self.down(self.down_around(half)))
        # Sums come straight after a convolution, before what bends them: ONNX Runtime makes one step of all three.
        for around, mixed in zip(self.around, self.mixed, strict=True):
            quarter = torch.relu(mixed(around(quarter)) + quarter)
        raised = nn.functional.interpolate(self.up(quarter), scale_factor=2.0, mode="nearest")
        half = torch.relu(self.near(half) + raised)
        half = torch.relu(self.joined(half))
        return nn.functional.pixel_shuffle(self.last(half), 2)
