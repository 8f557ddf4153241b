"""The network: convolutions down to one row, then the mean and the maximum along the line."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Output channels, kernel, stride, and padding of each layer, ``(rows, columns)``.
LAYERS = (
    (16, (3, 3), (2, 2), (1, 1)),
    (32, (3, 3), (2, 2), (1, 1)),
    (48, (3, 3), (2, 1), (1, 1)),
    (64, (3, 3), (1, 1), (1, 1)),
    (96, (3, 3), (2, 2), (1, 1)),
    (128, (2, 3), (1, 1), (0, 1)),
)


class ScriptNetwork(nn.Module):
    """Scores ``(batch, classes)`` of lines ``(batch, 1, 32, width)`` with levels 0 to 255."""

    def __init__(self, classes: int = 13) -> None:
        super().__init__()
        before = 1
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, kernel, stride, padding in LAYERS:
            self.convolutions.append(nn.Conv2d(before, channels, kernel, stride, padding, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            before = channels
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(2 * before, classes)

    def forward(self, lines: Tensor) -> Tensor:
        found = (lines - 128) / 64
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            found = torch.relu(norm(convolution(found)))
        pooled = torch.cat([found.mean(dim=(2, 3)), found.amax(dim=(2, 3))], dim=1)
        return self.last(self.dropout(pooled))
