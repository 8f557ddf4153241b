"""Shots: where the camera cuts, told from a coarse look at every frame as it is decoded.

They are marks for people: no caption depends on them, nor on the numbers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.video.reader import NativeFrame

# The grid of a look. Rows are sampled, which reads a small part of the picture; along them, pixels are averaged.
_ROWS, _COLUMNS = 36, 32
# Points of a place, down and across: looks are compared place by place.
_PLACE = 3, 4
_MIDDLE_HALF = 1.35  # standard deviations that the middle half of a normal distribution spans
# Difference over contrast, frame to frame. Pictures that have nothing in common differ by about 1; frames of one shot,
# by a few hundredths.
_CUT_CHANGE = 0.2
# A pan changes the frames around alike, and a flash changes the picture back.
_OVER_NEIGHBORS = 2.0
# Share of the picture that is not black. Two lines of text fill a fifth; an upright film between black bars, a third.
_LEAST_LIT = 0.25
_NOISE = 4.0  # gray levels by which a flat picture changes; after averaging, coding noise is one or two
_TOGETHER = 16  # looks that are compared at once: right after a frame is decoded, no CPU cache has what that needs
_BLACK = 20  # luma as coded, of black with its noise: 16 in most videos, 0 in the others


@dataclass(frozen=True)
class _Look:
    """The luma of a frame on the grid."""

    levels: NDArray[np.uint8]

    @cached_property
    def contrast(self) -> float:
        """The variance of what is not black."""
        return _spread(self.levels[self.levels > _BLACK])


class ShotFinder:
    """Finds the frames with which shots begin; each frame of a video is shown to it once, in order.

    A cut is a change of the picture that the frames before and after it do not share: a pan changes every frame, and a
    flash changes twice. Dissolves and fades are no cuts.

    Attributes:
        starts_s: when each shot but the first begins, seconds; complete after `finish`.
    """

    def __init__(self) -> None:
        self.starts_s: list[float] = []
        self._look: _Look | None = None  # the last one that was compared
        self._waiting: list[tuple[_Look, float]] = []  # those after it, with their times
        self._before = 0.0  # the change of the frame before the one in question
        self._change = 0.0  # of the frame in question
        self._time_s = 0.0

    def show(self, frame: NativeFrame) -> None:
        """Look at the next frame."""
        self._waiting.append((_look_at(frame), frame.time_s))
        if len(self._waiting) == _TOGETHER:
            self._compare()

    def finish(self) -> None:
        """Decide about the last frame."""
        self._compare()
        self._push(0.0, self._time_s)

    def _compare(self) -> None:
        for look, time_s in self._waiting:
            self._push(0.0 if self._look is None else _difference(self._look, look), time_s)
            self._look = look
        self._waiting.clear()

    def _push(self, change: float, time_s: float) -> None:
        around = max(self._before, change)
        if self._change >= max(_CUT_CHANGE, _OVER_NEIGHBORS * around):
            self.starts_s.append(self._time_s)
        self._before, self._change, self._time_s = self._change, change, time_s


def _look_at(frame: NativeFrame) -> _Look:
    import cv2

    levels = cv2.resize(frame.scanlines(_ROWS), (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return _Look(np.asarray(levels, np.uint8))


def _difference(before: _Look, after: _Look) -> float:
    """Return 0 for the same look, about 1 for pictures that have nothing in common."""
    import cv2

    mean = cv2.norm(before.levels, after.levels, cv2.NORM_L2SQR) / before.levels.size
    # Half of the places differ at most twice as much as all do. Nearly all frames end here, most of them without their
    # contrast, which keeps a look cheap.
    if 2 * mean < _LEAST_LIT * _CUT_CHANGE * _NOISE**2:
        return mean / _NOISE**2
    # Coding noise on flat ground is no difference.
    contrast = before.contrast + after.contrast + _NOISE**2
    if 2 * mean < _LEAST_LIT * _CUT_CHANGE * contrast:
        return mean / contrast
    # On black ground, a caption is most of what there is to see.
    lit = cv2.threshold(cv2.max(before.levels, after.levels), _BLACK, 1, cv2.THRESH_BINARY)[1].astype(np.float32)
    if lit.mean() < _LEAST_LIT:
        return 0.0
    change = cv2.absdiff(before.levels, after.levels).astype(np.float32)
    points = _by_place(lit)
    # A caption changes some places, and a cut most of those that are not in a black bar.
    seen = points > 0
    changes = np.sort(_by_place(np.square(change) * lit)[seen] / points[seen])
    return float(changes[(len(changes) - 1) // 2] + changes[len(changes) // 2]) / 2 / contrast


def _by_place(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of values in each place. OpenCV takes a tenth of NumPy's time."""
    import cv2

    down, across = _PLACE
    return np.asarray(cv2.resize(values, (_COLUMNS // across, _ROWS // down), interpolation=cv2.INTER_AREA), np.float32)


def _spread(levels: NDArray[np.uint8]) -> float:
    """Return the variance of levels by their middle half, so that points half on a black bar do not count."""
    if not len(levels):
        return 0.0
    quarters = len(levels) // 4, len(levels) * 3 // 4
    ordered = np.partition(levels, quarters)
    return (int(ordered[quarters[1]] - ordered[quarters[0]]) / _MIDDLE_HALF) ** 2
