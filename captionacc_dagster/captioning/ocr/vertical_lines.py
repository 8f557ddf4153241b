"""Lay a vertical line flat: its upright characters side by side, as recognizers read them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_CLOSEST, _WIDEST_PITCH = 0.5, 1.3  # of a column's width: how far its characters may be apart


def lay_flat(column: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a column of upright characters as a line: cut between them and set side by side.

    The characters of a column have one pitch; the right one puts the cuts on rows without strokes.
    """
    height, width = column.shape[:2]
    luma = column.astype(np.float64) if column.ndim == 2 else column.mean(axis=2)
    unrest = np.abs(np.diff(luma, axis=1)).mean(axis=1)
    quiet = np.minimum(unrest, np.minimum(np.roll(unrest, 1), np.roll(unrest, -1)))
    grids = [
        (float(quiet[np.minimum(np.arange(start, height, pitch), height - 1).astype(int)].mean()), pitch, start)
        for pitch in np.arange(max(8.0, _CLOSEST * width), _WIDEST_PITCH * width + 1, 0.5)
        for start in np.arange(0.0, pitch, 1.0)
    ]
    # Every second gap is as quiet as every gap, so take the closest among the quiet grids.
    best = min(cost for cost, _, _ in grids) + 0.12 * float(unrest.mean())
    _, pitch, start = min((grid for grid in grids if grid[0] <= best), key=lambda grid: (grid[1], grid[0]))
    cuts = [0, *np.arange(start, height, pitch).round().astype(int).tolist(), height]
    left, right = _text_columns(luma, pitch)
    size = int(np.ceil(pitch))
    cells = []
    for top, bottom in itertools.pairwise(cuts):
        cell = column[top:bottom, left:right][-size:]
        at_an_end = top == 0 or bottom == height
        if at_an_end and (bottom - top < 0.4 * pitch or luma[top:bottom].std() < 0.35 * luma.std()):
            continue  # the margin above the first or below the last character
        missing = size - len(cell)
        room = [(missing // 2, missing - missing // 2), *[(0, 0)] * (cell.ndim - 1)]
        cells.append(np.pad(cell, room, mode="edge"))
    return np.concatenate(cells, axis=1) if cells else column


def _text_columns(luma: NDArray[np.floating], pitch: float) -> tuple[int, int]:
    """Return the range of columns with the most strokes, as wide as a character is high, without the margins."""
    width = luma.shape[1]
    across = min(width, int(np.ceil(1.08 * pitch)))
    busy = np.abs(np.diff(luma, axis=0)).mean(axis=0)
    sums = np.convolve(busy, np.ones(across), "valid")
    left = int(np.argmax(sums))
    return left, left + across
