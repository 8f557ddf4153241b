"""Text over pictures that stand still, told by its pixels: what a sample shows and others of the same scene do not."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, lines_in, normalized_correlation
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

_SAME_SCENE = 0.6  # correlation of strokes from which on two samples show the same scene
_COARSE = 4  # every so many pixels are looked at to compare whole samples
_APART_S = (2.4, 0.7)  # between samples that are compared, so that their captions are others; closer if need be
_COMPARED = 3  # samples of the same scene that tell what one of them shows by itself
_STRONG = 85  # gray levels of difference from which on a pixel is wholly text
_CHANGED = 14  # gray levels by which strokes differ that were not there
_OF_THE_STRONGEST = 0.4  # of the strongest changes in a box: what is weaker is the blur round letters
_LEAST = 0.02  # of a box, that its letters fill at least
_OUTSIDE = 0.02  # of all changed pixels in a box, that may lie outside to each side
_GROWN, _BELOW = 0.15, 0.22  # of the letters' height, that a box reaches beyond them: below there may be descenders
_FEW = 2  # pixels of a column that may change where no text is, fewer than these
_ROOM = 0.4  # of a band's height, that is looked at to both sides of what changes in it
_WHOLE = BBox(0.0, 0.0, 1.0, 1.0)
_LOOSE = 1.2  # times the height that it would have, from which on a box is too high


class Changes:
    """What each of some samples shows that the scene behind it does not.

    A pixel counts where its strokes are others, and stronger, than in most of three other samples of the same scene:
    there it is no matter that these show captions too, as those are others.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = sorted(samples, key=lambda sample: sample.time_s)
        self._times = [sample.time_s for sample in self._samples]
        self._coarse = [np.ascontiguousarray(sample.strokes[::_COARSE, ::_COARSE]) for sample in self._samples]
        self._found: dict[int, NDArray[np.uint8] | None] = {}

    def compared_with(self, sample: Sample) -> tuple[float, ...]:
        """Give the times of the samples that tell what one of them shows by itself; none where there are too few."""
        others = self._of_the_same_scene(sample)
        return tuple(other.time_s for other in others) if len(others) == _COMPARED else ()

    def lines(self, sample: Sample) -> list[tuple[BBox, float]] | None:
        """Find what looks like a line of text that comes and goes; ``None`` where it cannot be told.

        Gives boxes and the share of the picture that the strokes of each fill.
        """
        changed = self._changed(sample)
        return None if changed is None else lines_in(changed >= _CHANGED)

    def picture(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Give what comes and goes, ``(h, w)`` uint8 from white to black, for a detector to find lines in."""
        changed = self._changed(sample)
        return None if changed is None else 255 - np.minimum(changed, _STRONG) * np.uint8(255 // _STRONG)

    def part(self, sample: Sample, low: float, high: float) -> BBox | None:
        """Give the part of a band across a sample's picture (its top and bottom, fractions) in which anything comes or
        goes, with room around; ``None`` where nothing does."""
        changed = self._changed(sample)
        if changed is None:
            return BBox(0.0, low, 1.0, high)
        height, width = changed.shape
        _, y0, _, y1 = pixel_rectangle(BBox(0.0, low, 1.0, high), width, height)
        columns = np.flatnonzero((changed[y0:y1] >= _CHANGED).sum(axis=0) >= _FEW)
        if not len(columns):
            return None
        room = _ROOM * (y1 - y0)
        left, right = float(columns[0]) - room, float(columns[-1]) + 1 + room
        return BBox(max(0.0, left / width), low, min(1.0, right / width), high)

    def tightened(self, sample: Sample, bbox: BBox) -> BBox | None:
        """Cut a box down to the letters in it, ``None`` where it is tight already or cannot be told."""
        changed = self._changed(sample)
        if changed is None:
            return None
        height, width = changed.shape
        x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
        inside = changed[y0:y1, x0:x1]
        ink = inside >= max(_CHANGED, _OF_THE_STRONGEST * float(np.percentile(inside, 98)))
        if ink.mean() < _LEAST:
            return None
        top, bottom = _extent(ink.sum(axis=1), _OUTSIDE)
        left, right = _extent(ink.sum(axis=0), _OUTSIDE / 4)
        grown, below = _GROWN * (bottom - top), _BELOW * (bottom - top)
        if y1 - y0 <= _LOOSE * (bottom - top + grown + below):
            return None
        return BBox(
            max(bbox.left, (x0 + left - grown) / width),
            max(bbox.top, (y0 + top - grown) / height),
            min(bbox.right, (x0 + right + grown) / width),
            min(bbox.bottom, (y0 + bottom + below) / height),
        )

    def _changed(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Give by how much strokes differ from those of most others, ``(h, w)`` uint8; ``None``: too few others."""
        if id(sample) not in self._found:
            self._found[id(sample)] = self._compared(sample)
        return self._found[id(sample)]

    def _compared(self, sample: Sample) -> NDArray[np.uint8] | None:
        import cv2

        others = self._of_the_same_scene(sample)
        if len(others) < _COMPARED:
            return None
        one, two, three = (_gained(sample.strokes, other.strokes) for other in others)
        return np.asarray(cv2.max(cv2.min(one, two), cv2.min(cv2.max(one, two), three)), np.uint8)

    def _of_the_same_scene(self, sample: Sample) -> list[Sample]:
        """Choose samples near in time, but not too near, that show the same scene."""
        number = bisect.bisect_left(self._times, sample.time_s)
        near = sorted(self._scene(number), key=lambda entry: abs(entry.time_s - sample.time_s))
        chosen: list[Sample] = []
        for apart_s in _APART_S:
            for other in near:
                if all(abs(other.time_s - known.time_s) >= apart_s for known in (sample, *chosen)):
                    chosen.append(other)
        return chosen[:_COMPARED]

    def _scene(self, number: int) -> list[Sample]:
        """Give the samples before and after one, up to where the scene changes."""
        scene: list[Sample] = []
        for following in (range(number - 1, -1, -1), range(number + 1, len(self._samples))):
            for other in following:
                if normalized_correlation(self._coarse[number], self._coarse[other], _WHOLE) < _SAME_SCENE:
                    break
                scene.append(self._samples[other])
        return scene


def _gained(strokes: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give by how much strokes differ from others where they are stronger than those, ``(h, w)`` uint8."""
    import cv2

    none = np.full_like(strokes, 128)
    stronger = cv2.subtract(cv2.absdiff(strokes, none), cv2.absdiff(others, none))
    return np.asarray(cv2.min(cv2.absdiff(strokes, others), cv2.add(stronger, stronger)), np.uint8)


def _extent(counts: NDArray[np.integer], outside: float) -> tuple[int, int]:
    """Give where all but a share of some counts to each side lies, half-open."""
    passed = np.cumsum(counts)
    low = int(np.searchsorted(passed, outside * passed[-1], side="right"))
    high = int(np.searchsorted(passed, (1 - outside) * passed[-1]))
    return low, high + 1
