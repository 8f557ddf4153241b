"""Text over pictures that stand still, told by its pixels: what a sample shows and others of the same scene do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.pictures import pixel_rectangle
from captionacc_dagster.captioning.sightings import Sample, likeness, lines_in

_SAME_SCENE = 0.6  # correlation of strokes from which on two samples show the same scene
_COARSE = 4  # every so many pixels are looked at to compare whole samples
_APART_S = 0.7  # between samples that are compared: their captions are others, mostly
_COMPARED = 3  # samples of the same scene that tell what one of them shows by itself
_CHANGED = 14  # grey levels by which strokes differ that were not there
_OF_THE_STRONGEST = 0.4  # of the strongest changes in a box: what is weaker is the blur round letters
_LEAST = 0.02  # of a box, that its letters fill at least
_OUTSIDE = 0.02  # of all changed pixels in a box, that may lie outside to each side
_GROWN = 0.15  # of the letters' height, that a detector's box reaches beyond them
_LOOSE = 1.2  # times the height that it would have, from which on a box is too high


class Changes:
    """What each of some samples shows that the scene behind it does not.

    A pixel counts where it differs from most of three other samples of the same scene: there it is no matter that
    these show captions too, as those are others.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = sorted(samples, key=lambda sample: sample.time_s)
        self._coarse = {id(sample): np.ascontiguousarray(sample.strokes[::_COARSE, ::_COARSE]) for sample in samples}
        self._found: dict[int, NDArray[np.uint8] | None] = {}

    def lines(self, sample: Sample) -> list[tuple[BBox, float]]:
        """Find what looks like a line of text that comes and goes; the share of the picture that each fills."""
        changed = self._changed(sample)
        return [] if changed is None else lines_in(changed >= _CHANGED)

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
        grown = _GROWN * (bottom - top)
        if y1 - y0 <= _LOOSE * (bottom - top + 2 * grown):
            return None
        return BBox(
            max(bbox.left, (x0 + left - grown) / width),
            max(bbox.top, (y0 + top - grown) / height),
            min(bbox.right, (x0 + right + grown) / width),
            min(bbox.bottom, (y0 + bottom + grown) / height),
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
        one, two, three = (cv2.absdiff(sample.strokes, other.strokes) for other in others)
        return np.asarray(cv2.max(cv2.min(one, two), cv2.min(cv2.max(one, two), three)), np.uint8)

    def _of_the_same_scene(self, sample: Sample) -> list[Sample]:
        """Choose the samples nearest in time, but not too near, that show the same scene."""
        whole = BBox(0.0, 0.0, 1.0, 1.0)
        chosen: list[Sample] = []
        for other in sorted(self._samples, key=lambda entry: abs(entry.time_s - sample.time_s)):
            if all(abs(other.time_s - known.time_s) >= _APART_S for known in (sample, *chosen)):
                if likeness(self._coarse[id(sample)], self._coarse[id(other)], whole) < _SAME_SCENE:
                    break
                chosen.append(other)
                if len(chosen) == _COMPARED:
                    break
        return chosen


def _extent(counts: NDArray[np.integer], outside: float) -> tuple[int, int]:
    """Give where all but a share of some counts to each side lies, half-open."""
    passed = np.cumsum(counts)
    low = int(np.searchsorted(passed, outside * passed[-1], side="right"))
    high = int(np.searchsorted(passed, (1 - outside) * passed[-1]))
    return low, high + 1
