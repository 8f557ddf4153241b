"""A cheap measure of how many stroke pixels appear and disappear per frame, which says where to compare closely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.strokes import Plane, StrokeStyle, nearest_odd
from captionacc_dagster.captioning.extents.tuning import TUNING


def _opencv() -> Any:
    """Return OpenCV untyped: its stubs lack comparisons with a number."""
    import cv2

    return cv2


class StrokeMeter:
    """Measures, frame by frame, the share of pixels in each character cell where a stroke appears or disappears.

    Each pixel has an age: the number of frames it has stayed at its level. A stroke appears at a frame when its age
    begins there and reaches ``hold`` frames. A stroke disappears when it had reached that age before. One that keeps
    its level appears or disappears with its contrast, when what surrounds it changes.

    Attributes:
        styles: of the text, empty while they are unknown.
        brief_change: as the change that was returned last, of strokes that last two frames or more.
    """

    def __init__(self, line_px: float, hold: int) -> None:
        self.hold = hold
        self.styles: tuple[StrokeStyle, ...] = ()
        self.brief_change = 0.0
        self._cell = max(4, round(line_px / 2))  # about a narrow character
        self._window = nearest_odd(line_px * 0.37)  # wider than a stroke
        self._previous: Plane | None = None
        # Of the previous frame, if they were computed: its strokes, and how far pixels are from their surroundings.
        self._strokes: Plane | None = None
        self._relief: Plane | None = None
        self._sharp: list[Plane | None] = []  # what changed at once at each of the last frames; None: nothing
        self._emerged: list[
            Plane | None
        ] = []  # what began to contrast then at its own level, as its surroundings change
        self._level: Plane | None = None
        self._age: Plane | None = None
        self._one: Plane | None = None
        self._gone: list[NDArray[np.float32] | None] = []  # shares that disappeared; None: nothing
        self._brief: list[NDArray[np.float32] | None] = []  # of text that lasts two frames or more; None: nothing

    def update(self, roi: Plane) -> float | None:
        """Take the next frame; return the change at the frame ``hold - 1`` before it, None for the first frames.

        The change is the largest share of a character cell's pixels that appeared or disappeared, 0..2.
        """
        cv2 = _opencv()

        if self._level is None or self._previous is None or self._age is None or self._one is None:
            self._level = roi.copy()
            # What is in the first frame of a video was there before: only its start cuts it off.
            self._age = np.full_like(roi, self.hold)
            self._one = np.ones_like(roi)
            self._gone.append(None)
            self._brief.append(None)
            self._sharp.append(None)
            self._emerged.append(None)
            self._previous = roi
            return None
        moved = _above(cv2.absdiff(roi, self._level), TUNING.steady_levels)
        sharp: Plane | None = _above(cv2.absdiff(roi, self._previous), 2 * TUNING.steady_levels - 1)
        # In most ROIs most of the time nothing changes at once: then no strokes need to be computed.
        sharp = sharp if cv2.countNonZero(sharp) else None
        strokes: Plane | None = None
        relief: Plane | None = None
        emerged: Plane | None = None
        if sharp is None:
            self._gone.append(None)
            self._brief.append(None)
        else:
            relief, relief_before = self._relief_of(roi), self._relief
            relief_before = self._relief_of(self._previous) if relief_before is None else relief_before
            before = self._contrasting(self._previous, relief_before) if self._strokes is None else self._strokes
            strokes = self._contrasting(roi, relief)
            settled, switched = _above(self._age, self.hold - 2), cv2.bitwise_and(moved, sharp)
            # White letters on a dark box over a white picture keep their level when the box comes or goes.
            around = cv2.dilate(switched, np.ones((self._window, self._window), np.uint8))
            merged = cv2.bitwise_and(around, cv2.bitwise_and(before, _plain(relief)))
            emerged = cv2.bitwise_and(around, cv2.bitwise_and(strokes, _plain(relief_before)))
            emerged = cv2.bitwise_and(emerged, settled)
            gone = cv2.bitwise_and(cv2.bitwise_and(settled, before), cv2.bitwise_or(switched, merged))
            self._gone.append(self._shares(gone))
            going = cv2.bitwise_and(before, switched)
            self._brief.append(self._shares(cv2.bitwise_and(going, _above(self._age, 0))))
        self._previous, self._strokes, self._relief = roi, strokes, relief
        self._emerged.append(emerged)
        self._sharp.append(sharp)
        cv2.add(self._age, self._one, dst=self._age)
        cv2.subtract(self._age, moved, dst=self._age)  # the age of what moved is 0
        cv2.copyTo(roi, moved, self._level)
        if len(self._sharp) > 1 and (coming := self._sharp[-2]) is not None:
            came = cv2.bitwise_and(cv2.compare(self._age, 1, cv2.CMP_EQ), self._current_strokes(roi))
            brief = self._brief[-2]
            shares = self._shares(cv2.bitwise_and(came, coming))
            self._brief[-2] = shares if brief is None else brief + shares
        if len(self._gone) < self.hold:
            return None
        shares, brief = self._gone.pop(0), self._brief.pop(0)
        appearing, emerged = self._sharp.pop(0), self._emerged.pop(0)
        if appearing is not None:
            appeared = cv2.bitwise_and(cv2.compare(self._age, self.hold - 1, cv2.CMP_EQ), appearing)
            appeared = appeared if emerged is None else cv2.bitwise_or(appeared, emerged)
            came = self._shares(cv2.bitwise_and(appeared, self._current_strokes(roi)))
            shares = came if shares is None else shares + came
        self.brief_change = 0.0 if brief is None else float(brief.max())
        return 0.0 if shares is None else float(shares.max())

    def flush(self) -> Iterator[tuple[float, float]]:
        """Yield the change and the brief change at each of the last frames, up to ``hold - 1``.

        What is in the last frame of a video counts as staying: only its end cuts it off.
        """
        if (last := self._previous) is None:
            return
        for _ in range(self.hold - 1):
            change = self.update(last)
            if change is not None:
                yield change, self.brief_change

    def _relief_of(self, roi: Plane) -> Plane:
        """Return how far pixels are from their surroundings, gray levels."""
        cv2 = _opencv()

        return cv2.absdiff(roi, cv2.blur(roi, (self._window, self._window)))

    def _current_strokes(self, roi: Plane) -> Plane:
        """Return what is contrasting in the frame that is taken."""
        if self._strokes is None:
            self._relief = self._relief_of(roi)
            self._strokes = self._contrasting(roi, self._relief)
        return self._strokes

    def _contrasting(self, roi: Plane, relief: Plane) -> Plane:
        """Mark pixels with 255 that contrast with their surroundings and have the level of the text if it is known."""
        cv2 = _opencv()

        strokes = _above(relief, TUNING.same_style_levels - 1)
        if not self.styles:
            return strokes
        matching: Plane | None = None
        for style in self.styles:
            near = cv2.inRange(roi, style.level - style.tolerance, style.level + style.tolerance)
            matching = near if matching is None else cv2.bitwise_or(matching, near)
        return cv2.bitwise_and(strokes, matching)

    def _cells(self, roi: Plane) -> tuple[int, int]:
        height, width = roi.shape
        return max(1, round(height / self._cell)), max(1, round(width / self._cell))

    def _shares(self, mask: Plane) -> NDArray[np.float32]:
        """Return the share of each cell's pixels that a mask marks; an edge loses at most a quarter of a cell."""
        cv2 = _opencv()

        rows, columns = self._cells(mask)
        if not cv2.countNonZero(mask):
            return np.zeros((rows, columns), np.float32)
        # Averaging whole blocks of pixels is several times as fast as averaging parts of them.
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


def _plain(relief: Plane) -> Plane:
    """Mark pixels with 255 that differ from their surroundings by no more than the noise of compression."""
    cv2 = _opencv()

    return cv2.threshold(relief, TUNING.steady_levels, 255, cv2.THRESH_BINARY_INV)[1]


def _above(plane: Plane, level: int) -> Plane:
    """Mark pixels above a level with 255. A threshold is three times as fast as a comparison with a number."""
    cv2 = _opencv()

    return cv2.threshold(plane, level, 255, cv2.THRESH_BINARY)[1]
