"""Text over static scenes, found by differencing: what one sample shows and others of the same scene do not."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, lines_in, normalized_correlation
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

COARSE_STEP = 4  # pixels of a thumbnail: step of the grid on which whole samples are compared
WHOLE_PICTURE = BBox(0.0, 0.0, 1.0, 1.0)
_COMPARISONS = 3  # the median of three differences is computed from them
_WHITEST = 85  # gray levels of difference shown as fully black text: a third of the range
_SPECKS = 2  # changed pixels of a column from which on it counts
_ROOM = 0.4  # band heights: room on both sides of what changes in a band
_ABOVE, _BELOW = 0.15, 0.22  # letter heights: room around letters; below there may be descenders


class SceneDifferences:
    """What each sample shows that the static scene behind it does not.

    A pixel counts where its strokes differ from, and are stronger than, those of most of three other samples of the
    same scene. Captions in those samples do not matter, because they are other captions.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = sorted(samples, key=lambda sample: sample.time_s)
        self._times = [sample.time_s for sample in self._samples]
        self._coarse = [coarse(sample) for sample in self._samples]
        self._differences: dict[int, NDArray[np.uint8] | None] = {}

    def compared_with(self, sample: Sample) -> tuple[float, ...]:
        """Return the times of the samples that a sample is compared with, seconds; empty where there are too few."""
        others = self._of_the_same_scene(sample)
        return tuple(other.time_s for other in others) if len(others) == _COMPARISONS else ()

    def lines(self, sample: Sample) -> list[tuple[BBox, float]] | None:
        """Return what looks like a line of text that comes and goes; None where there is too little to compare.

        Each is a box and the share of the picture that its strokes fill.
        """
        difference = self._difference(sample)
        return None if difference is None else lines_in(difference >= TUNING.changed_contrast)

    def picture(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Return what comes and goes in black on white, ``(h, w)`` uint8, for the text detector."""
        difference = self._difference(sample)
        return None if difference is None else 255 - np.minimum(difference, _WHITEST) * np.uint8(255 // _WHITEST)

    def changing_part(self, sample: Sample, top: float, bottom: float) -> BBox | None:
        """Return the part of a horizontal band, given by fractions of the height, in which anything comes or goes,
        with some room around it; None where nothing does."""
        difference = self._difference(sample)
        if difference is None:
            return BBox(0.0, top, 1.0, bottom)
        height, width = difference.shape
        _, y0, _, y1 = pixel_rectangle(BBox(0.0, top, 1.0, bottom), width, height)
        columns = np.flatnonzero((difference[y0:y1] >= TUNING.changed_contrast).sum(axis=0) >= _SPECKS)
        if not len(columns):
            return None
        room = _ROOM * (y1 - y0)
        left, right = float(columns[0]) - room, float(columns[-1]) + 1 + room
        return BBox(max(0.0, left / width), top, min(1.0, right / width), bottom)

    def tightened(self, sample: Sample, bbox: BBox) -> BBox | None:
        """Return a box cut to the letters in it; None where it is tight already or there is too little to compare."""
        difference = self._difference(sample)
        if difference is None:
            return None
        height, width = difference.shape
        x0, y0, x1, y1 = pixel_rectangle(bbox, width, height)
        inside = difference[y0:y1, x0:x1]
        strongest = float(np.percentile(inside, 98))
        letters = inside >= max(TUNING.changed_contrast, TUNING.strongest_share * strongest)
        if letters.mean() < TUNING.stray_share:
            return None
        top, bottom = _bulk(letters.sum(axis=1), TUNING.stray_share)
        left, right = _bulk(letters.sum(axis=0), TUNING.stray_share / 4)
        above, below = _ABOVE * (bottom - top), _BELOW * (bottom - top)
        if y1 - y0 <= TUNING.loose_box * (bottom - top + above + below):
            return None
        return BBox(
            max(bbox.left, (x0 + left - above) / width),
            max(bbox.top, (y0 + top - above) / height),
            min(bbox.right, (x0 + right + above) / width),
            min(bbox.bottom, (y0 + bottom + below) / height),
        )

    def _difference(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Return by how much strokes differ from those of most others, ``(h, w)`` uint8; None: too few others."""
        if id(sample) not in self._differences:
            self._differences[id(sample)] = self._compared(sample)
        return self._differences[id(sample)]

    def _compared(self, sample: Sample) -> NDArray[np.uint8] | None:
        import cv2

        others = self._of_the_same_scene(sample)
        if len(others) < _COMPARISONS:
            return None
        one, two, three = (_gained(sample.strokes, other.strokes) for other in others)
        return np.asarray(cv2.max(cv2.min(one, two), cv2.min(cv2.max(one, two), three)), np.uint8)

    def _of_the_same_scene(self, sample: Sample) -> list[Sample]:
        """Return samples of the same scene, near in time but far enough to show other captions."""
        number = bisect.bisect_left(self._times, sample.time_s)
        near = sorted(self._scene(number), key=lambda entry: abs(entry.time_s - sample.time_s))
        chosen: list[Sample] = []
        for apart_s in (TUNING.far_spacing_s, 0.75 * TUNING.sample_spacing_s):
            for other in near:
                if all(abs(other.time_s - known.time_s) >= apart_s for known in (sample, *chosen)):
                    chosen.append(other)
        return chosen[:_COMPARISONS]

    def _scene(self, number: int) -> list[Sample]:
        """Return the samples before and after one, up to where the scene changes."""
        scene: list[Sample] = []
        for following in (range(number - 1, -1, -1), range(number + 1, len(self._samples))):
            for other in following:
                correlation = normalized_correlation(self._coarse[number], self._coarse[other], WHOLE_PICTURE)
                if correlation < TUNING.same_scene_correlation:
                    break
                scene.append(self._samples[other])
        return scene


def coarse(sample: Sample) -> NDArray[np.uint8]:
    """Return a sample's strokes on a coarse grid, to compare it as a whole."""
    return np.ascontiguousarray(sample.strokes[::COARSE_STEP, ::COARSE_STEP])


def _gained(strokes: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return by how much strokes differ from others where they are stronger than those, ``(h, w)`` uint8."""
    import cv2

    blank = np.full_like(strokes, 128)
    stronger = cv2.subtract(cv2.absdiff(strokes, blank), cv2.absdiff(others, blank))
    return np.asarray(cv2.min(cv2.absdiff(strokes, others), cv2.add(stronger, stronger)), np.uint8)


def _bulk(counts: NDArray[np.integer], outside: float) -> tuple[int, int]:
    """Return the half-open range that contains all but the share ``outside`` of the counts on each side."""
    passed = np.cumsum(counts)
    low = int(np.searchsorted(passed, outside * passed[-1], side="right"))
    high = int(np.searchsorted(passed, (1 - outside) * passed[-1]))
    return low, high + 1
