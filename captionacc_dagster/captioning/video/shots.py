"""Shots: where the camera cuts, told from a coarse look at every frame as it is decoded.

They are marks for people: no caption depends on them, nor on the numbers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
_BLACK = 20  # luma as coded, of black with its noise: 16 in most videos, 0 in the others


@dataclass(frozen=True)
class _Look:
    """The luma of a frame on the grid."""

    levels: NDArray[np.float32]

    @cached_property
    def contrast(self) -> float:
        """The variance of what is not black."""
        return _spread(self.levels[self.levels > _BLACK])


class ShotFinder:
    """Finds the frames with which shots begin; each frame of a video is shown to it once, in order.

    A cut is a change of the picture that the frames before and after it do not share: a pan changes every frame, and a
    flash changes twice. Dissolves and fades are no cuts.

    Attributes:
        starts_s: when each shot but the first begins, seconds.
    """

    def __init__(self) -> None:
        self.starts_s: list[float] = []
        self._look: _Look | None = None
        self._before = 0.0  # the change of the frame before the one in question
        self._change = 0.0  # of the frame in question
        self._time_s = 0.0

    def show(self, frame: NativeFrame) -> None:
        """Look at the next frame."""
        look = _look_at(frame)
        self._push(0.0 if self._look is None else _difference(self._look, look), frame.time_s)
        self._look = look

    def finish(self) -> None:
        """Decide about the last frame."""
        self._push(0.0, self._time_s)

    def _push(self, change: float, time_s: float) -> None:
        around = max(self._before, change)
        if self._change >= max(_CUT_CHANGE, _OVER_NEIGHBORS * around):
            self.starts_s.append(self._time_s)
        self._before, self._change, self._time_s = self._change, change, time_s


def _look_at(frame: NativeFrame) -> _Look:
    import cv2

    levels = cv2.resize(frame.scanlines(_ROWS), (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return _Look(np.asarray(levels, np.float32))


def _difference(before: _Look, after: _Look) -> float:
    """Return 0 for the same look, about 1 for pictures that have nothing in common."""
    change = after.levels - before.levels
    mean = float(np.vdot(change, change)) / change.size
    # Half of the places differ at most twice as much as all do. Nearly all frames end here, most of them without their
    # contrast, which keeps a look cheap.
    if 2 * mean < _LEAST_LIT * _CUT_CHANGE * _NOISE**2:
        return mean / _NOISE**2
    # Coding noise on flat ground is no difference.
    contrast = before.contrast + after.contrast + _NOISE**2
    if 2 * mean < _LEAST_LIT * _CUT_CHANGE * contrast:
        return mean / contrast
    squares = np.square(change)
    lit = (before.levels > _BLACK) | (after.levels > _BLACK)
    # On black ground, a caption is most of what there is to see.
    if lit.mean() < _LEAST_LIT:
        return 0.0
    points = _by_place(lit)
    # A caption changes some places, and a cut most of those that are not in a black bar.
    seen = points > 0
    return float(np.median(_by_place(squares * lit)[seen] / points[seen])) / contrast


def _by_place(values: NDArray[Any]) -> NDArray[np.float32]:
    places = values.reshape(_ROWS // _PLACE[0], _PLACE[0], _COLUMNS // _PLACE[1], _PLACE[1])
    return places.sum(axis=(1, 3), dtype=np.float32)


def _spread(levels: NDArray[np.float32]) -> float:
    """Return the variance of levels by their middle half, so that points half on a black bar do not count."""
    if not len(levels):
        return 0.0
    quarters = len(levels) // 4, len(levels) * 3 // 4
    ordered = np.partition(levels, quarters)
    return float((ordered[quarters[1]] - ordered[quarters[0]]) / _MIDDLE_HALF) ** 2
