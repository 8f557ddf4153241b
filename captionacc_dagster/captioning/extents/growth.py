"""Follows captions that are typed, or built up word by word, back to their first letter.

The strokes of the complete caption are parted into cells, each about a letter, in reading order. In every frame before
it is complete, those up to some cell are in the picture and those after it are not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.segmentation import MODEL_FRAMES, NumberedPlane
from captionacc_dagster.captioning.extents.strokes import Mask, high_pass
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine, ReadWord


@dataclass(frozen=True, slots=True)
class Growth:
    """How a caption appeared.

    Attributes:
        start: the first frame that shows a part of it.
        onsets: the cells of its strokes, in pixels of the ROI, and the first frame that shows each.
    """

    start: int
    onsets: tuple[tuple[Box, int], ...]

    def since(self, start: int) -> Growth:
        """Return the growth with what is before a frame, which shows another caption, left out."""
        return Growth(max(start, self.start), tuple((cell, max(start, number)) for cell, number in self.onsets))

    @property
    def complete(self) -> int:
        """The first frame that shows all of it."""
        return max(number for _, number in self.onsets)

    def is_at_once(self, word: ReadWord) -> bool:
        """Return whether a word appears at once, which it does not where letters are typed."""
        return len(set(self._onsets_of(word))) <= 1

    def onset(self, word: ReadWord) -> int | None:
        """Return the first frame that shows a part of a word."""
        return min(self._onsets_of(word), default=None)

    def _onsets_of(self, word: ReadWord) -> list[int]:
        x0, y0, x1, y1 = word.box
        return [
            number
            for (left, top, right, bottom), number in self.onsets
            if x0 <= (left + right) / 2 < x1 and y0 <= (top + bottom) / 2 < y1
        ]


def follow_growth(
    small_rois: Sequence[NumberedPlane], rest: int, end: int, lines: Sequence[ReadLine], strokes: Mask, line_px: float
) -> Growth | None:
    """Return how a caption grew to what it is at rest; None if it did not grow.

    Args:
        small_rois: of the frames before it is at rest and while it is, at half the size of the ROI.
        rest, end: the stretch of frames in which it is read.
        lines: its lines as they were read.
        strokes: of it, bool ``(height, width)`` of the ROI.
        line_px: height of a line, pixels of the ROI.
    """
    middle = (rest + end) // 2
    complete = [frame for number, frame in small_rois if middle <= number < end]
    if not complete:
        return None
    cells, weights = _weigh_cells(complete, lines, strokes, line_px)
    if len(cells) <= 2:
        return None
    # Cells are a small part of the ROI.
    pixels = np.flatnonzero(weights.any(axis=0))
    weights = np.ascontiguousarray(weights[:, pixels])
    onsets = np.full(len(cells), middle)
    shown, sizes = len(cells), [len(cells)]
    for number, frame in reversed([item for item in small_rois if item[0] < middle]):
        seen = weights @ high_pass(frame, line_px / 2).ravel().take(pixels) >= 0.5
        here = _shown_cells(seen)
        if here is None or here > shown + 1:
            break
        here = min(here, shown)
        if here == 0:
            break
        onsets[:here] = number
        shown = here
        if here < sizes[-1]:
            sizes.append(here)
    steps = [before - after for after, before in zip(sizes[1:], sizes[:-1], strict=True)]
    if len(steps) < 2 or max(*steps, sizes[-1]) > TUNING.nearly_all * len(cells):
        return None
    upper = [number for (_, top, _, _), number in zip(cells, onsets, strict=True) if top == cells[0][1]]
    at_once = np.unique(upper, return_counts=True)[1].max()
    if len(upper) < len(cells) and at_once > TUNING.nearly_all * len(upper):
        return None  # the upper line rolled up, and the lower one grows
    return Growth(int(onsets[0]), tuple(zip(cells, onsets.tolist(), strict=True)))


def _shown_cells(seen: NDArray[np.bool_]) -> int | None:
    """Return how many cells are there, in order, by which are seen; None if they are no beginning of the caption."""
    wrong = np.append(0, np.cumsum(~seen)) + seen.sum() - np.append(0, np.cumsum(seen))
    shown = int(np.argmin(wrong))
    return shown if wrong[shown] <= TUNING.fading_share * max(shown, len(seen) / 3) else None


def _weigh_cells(
    complete: Sequence[NDArray[np.uint8]], lines: Sequence[ReadLine], strokes: Mask, line_px: float
) -> tuple[list[Box], NDArray[np.float32]]:
    """Return the cells of a caption in reading order, and by what the relief of a frame is multiplied to get the
    visibility of each, ``(cells, pixels)``: 1 where it is in full.
    """
    import cv2

    height, width = complete[0].shape
    few = complete[:: max(1, len(complete) // MODEL_FRAMES)]
    relief = high_pass(np.asarray(np.mean(few, axis=0), np.float32), line_px / 2)
    covered = cv2.resize(strokes.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5
    side = 2 * TUNING.edge_px + 1
    near = cv2.dilate(covered.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    down, across = height / strokes.shape[0], width / strokes.shape[1]
    cells, weights = [], []
    for line in lines:
        for word in line.words:
            x0, y0, x1, y1 = word.box
            count = max(1, round((x1 - x0) / (TUNING.letter_width * line_px)))
            edges = np.linspace(x0, x1, count + 1)
            parts = [(round(edges[n]), y0, round(edges[n + 1]), y1) for n in range(count)]
            for cell in reversed(parts) if _is_from_right(word.text) else parts:
                inside = np.zeros((height, width), np.float32)
                rows = slice(int(cell[1] * down), round(cell[3] * down))
                columns = slice(int(cell[0] * across), round(cell[2] * across))
                inside[rows, columns] = (relief * near)[rows, columns]
                if covered[rows, columns].any():
                    cells.append(cell)
                    weights.append(inside.ravel() / float((inside * inside).sum()))
    return cells, np.array(weights, np.float32)


def _is_from_right(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
