"""The network: half and quarter resolution inside, one logit a pixel outside; about 1,500 multiplications a pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captionacc_dagster.captioning.glyph_network import CHANNELS

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
    """Logits ``(n, 1, h, w)`` of `glyph_network.channels` ``(n, CHANNELS, h, w)``; h and w are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _convolution(CHANNELS, HALF, 3, stride=2)
        self.second = _convolution(HALF, HALF, 3)
        self.down = _convolution(HALF, QUARTER, 3, stride=2)
        self.around = nn.ModuleList(
            _convolution(QUARTER, QUARTER, 5, dilation=dilation, groups=QUARTER) for dilation in DILATIONS
        )
        self.mixed = nn.ModuleList(_convolution(QUARTER, QUARTER, 1) for _ in DILATIONS)
        self.up = _convolution(QUARTER, HALF, 1)
        self.near = _convolution(HALF, HALF, 3, groups=HALF)
        self.joined = _convolution(HALF, HALF, 1)
        self.last = nn.Conv2d(HALF, 4, 1)

    def forward(self, seen: Tensor) -> Tensor:
        half = torch.relu(self.second(torch.relu(self.first(seen))))
        quarter = torch.relu(self.down(half))
        for around, mixed in zip(self.around, self.mixed, strict=True):
            quarter = quarter + torch.relu(mixed(around(quarter)))
        raised = nn.functional.interpolate(self.up(quarter), scale_factor=2.0, mode="nearest")
        half = torch.relu(half + raised)
        half = torch.relu(self.joined(self.near(half)))
        return nn.functional.pixel_shuffle(self.last(half), 2)
