"""How much ink comes and goes in a strip from frame to frame, measured cheaply: where it is worth looking closer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.strokes import STEADY_LEVELS, Plane, StrokeStyle, odd

SHARP_CONTRAST_LEVELS = 30  # of ink that comes or goes at once, judged without averaging
SHARP_STEP_LEVELS = 40  # such ink changes by this much from one frame to the next


def _opencv() -> Any:
    """Give OpenCV untyped: its stubs know no comparison with a number."""
    import cv2

    return cv2


class StrokeMeter:
    """Measures, frame after frame, how much ink appears and how much goes in the strip's character cells.

    Each pixel has an age: for how many frames it has stayed at its level. Ink that appears at a frame is
    ink whose age begins there and reaches ``hold`` frames; ink that goes had reached it before.
    """

    def __init__(self, line_px: float, hold: int) -> None:
        self.hold = hold
        self.styles: tuple[StrokeStyle, ...] = ()
        self._cell = max(4, round(line_px / 2))
        self._window = odd(line_px * 0.37)
        self._previous: Plane | None = None
        self._ink: Plane | None = None  # of the frame before, once it was asked for
        self._sharp: list[Plane | None] = []  # what changed at each of the last frames; None: nothing did
        self._level: Plane | None = None
        self._age: Plane | None = None
        self._one: Plane | None = None
        self._gone: list[NDArray[np.float32] | None] = []  # None: nothing went

    def update(self, roi: Plane) -> float | None:
        """Take the next frame; give the change at the frame ``hold - 1`` before it (None for the first ones).

        The change is the largest share of one character cell's pixels that appeared or went, 0..2.
        """
        cv2 = _opencv()

        if self._level is None or self._previous is None or self._age is None or self._one is None:
            self._level = roi.copy()
            self._age = np.zeros_like(roi)
            self._one = np.ones_like(roi)
            self._gone.append(None)
            self._sharp.append(None)
            self._previous = roi
            return None
        moved = _above(cv2.absdiff(roi, self._level), STEADY_LEVELS)
        sharp: Plane | None = _above(cv2.absdiff(roi, self._previous), SHARP_STEP_LEVELS - 1)
        # In most strips most of the time nothing changes at once: then ink need not be looked for.
        sharp = sharp if cv2.countNonZero(sharp) else None
        if sharp is None:
            self._gone.append(None)
        else:
            stroke_mask = self._contrasting(self._previous) if self._ink is None else self._ink
            was_ink = cv2.bitwise_and(_above(self._age, self.hold - 2), stroke_mask)
            self._gone.append(self._shares(cv2.bitwise_and(cv2.bitwise_and(was_ink, moved), sharp)))
        self._previous, self._ink = roi, None
        self._sharp.append(sharp)
        cv2.add(self._age, self._one, dst=self._age)
        cv2.subtract(self._age, moved, dst=self._age)  # what moved is 0 again
        cv2.copyTo(roi, moved, self._level)
        if len(self._gone) < self.hold:
            return None
        shares, appearing = self._gone.pop(0), self._sharp.pop(0)
        if appearing is not None:
            self._ink = self._contrasting(roi)
            born = cv2.bitwise_and(cv2.compare(self._age, self.hold - 1, cv2.CMP_EQ), self._ink)
            came = self._shares(cv2.bitwise_and(born, appearing))
            shares = came if shares is None else shares + came
        return 0.0 if shares is None else float(shares.max())

    def flush(self) -> list[float]:
        """Give the change at the last frames, for which nothing can be known any more about what appears."""
        rest = [0.0 if gone is None else float(gone.max()) for gone in self._gone]
        self._gone.clear()
        self._sharp.clear()
        return rest

    def _contrasting(self, roi: Plane) -> Plane:
        cv2 = _opencv()

        around = cv2.blur(roi, (self._window, self._window))
        stroke_mask = _above(cv2.absdiff(roi, around), SHARP_CONTRAST_LEVELS - 1)
        if not self.styles:
            return stroke_mask
        matching: Plane | None = None
        for style in self.styles:
            near = cv2.inRange(roi, style.level - style.tolerance, style.level + style.tolerance)
            matching = near if matching is None else cv2.bitwise_or(matching, near)
        return cv2.bitwise_and(stroke_mask, matching)

    def _cells(self, roi: Plane) -> tuple[int, int]:
        height, width = roi.shape
        return max(1, round(height / self._cell)), max(1, round(width / self._cell))

    def _shares(self, mask: Plane) -> NDArray[np.float32]:
        """Give the share of each cell's pixels that a mask marks; an edge loses at most a quarter of a cell."""
        cv2 = _opencv()

        rows, columns = self._cells(mask)
        if not cv2.countNonZero(mask):
            return np.zeros((rows, columns), np.float32)
        # Whole blocks of pixels are averaged several times as quickly as parts of them.
        height, width = mask.shape
        down, across = max(1, round(height / rows)), max(1, round(width / columns))
        over, beside = height - rows * down, width - columns * across
        top, left = max(0, over) // 2, max(0, beside) // 2
        whole = mask[top : top + rows * down, left : left + columns * across]
        if over < 0 or beside < 0:
            high, wide = max(0, -over), max(0, -beside)
            edges = high // 2, high - high // 2, wide // 2, wide - wide // 2
            whole = cv2.copyMakeBorder(whole, *edges, cv2.BORDER_CONSTANT, value=0)
        return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _above(plane: Plane, level: int) -> Plane:
    """Mark pixels above a level with 255: three times as quick as a comparison with a number."""
    cv2 = _opencv()

    return cv2.threshold(plane, level, 255, cv2.THRESH_BINARY)[1]
