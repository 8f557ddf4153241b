"""Text that stays: fixtures such as logos, and captions of short videos, found by comparing samples far apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, SampleDetection, normalized_correlation
from captionacc_dagster.captioning.layout.still_scenes import WHOLE_PICTURE, coarse
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.video.pictures import pixel_rectangle

APART_S = 1.0  # seconds: samples closer than this say nothing about what stays


class SampleComparison:
    """Compares the same box of two samples, allowing for how much the samples differ as a whole."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._coarse = [coarse(sample) for sample in samples]
        self._correlations: dict[tuple[int, int], float] = {}

    def is_alike(self, one: int, other: int, bbox: BBox, least: float) -> bool:
        """Return whether two samples, given by number, show the same in a box.

        ``least`` is the least correlation; where the scene is the same, more is required.
        """
        correlation = normalized_correlation(self._samples[one].strokes, self._samples[other].strokes, bbox)
        if correlation < least:
            return False
        pair = (min(one, other), max(one, other))
        if pair not in self._correlations:
            first, second = (self._coarse[number] for number in pair)
            self._correlations[pair] = normalized_correlation(first, second, WHOLE_PICTURE)
        return 1 - correlation <= TUNING.scene_slack * (1 - self._correlations[pair]) + TUNING.least_slack

    def has_letters_of(self, line: SampleDetection, other: int) -> bool:
        """Return whether a sample shows the strokes of a line even when edges along the line do not count."""
        one, two = self._samples[line.sample].strokes, self._samples[other].strokes
        x0, y0, x1, y1 = pixel_rectangle(line.bbox, one.shape[1], one.shape[0])
        axis = 0 if y1 - y0 > x1 - x0 else 1
        first, second = (cut[y0:y1, x0:x1].astype(np.float32) for cut in (one, two))
        first -= first.mean(axis=axis, keepdims=True)
        second -= second.mean(axis=axis, keepdims=True)
        energy = float(np.sqrt((first**2).sum() * (second**2).sum()))
        return energy <= 1.0 or float((first * second).sum()) >= TUNING.same_strokes_correlation * energy

    def hides(self, line: SampleDetection, fixture: SampleDetection) -> bool:
        """Return whether a line of other text crosses a fixture and hides its strokes."""
        box, other = fixture.bbox, line.bbox
        if min(overlap(box, other), overlap(other, box)) > TUNING.same_place:
            return False
        left, right = max(box.left, other.left), min(box.right, other.right)
        top, bottom = max(box.top, other.top), min(box.bottom, other.bottom)
        height, width = self._samples[line.sample].strokes.shape
        if (right - left) * width < other.height * height or bottom - top < 0.5 * min(box.height, other.height):
            return False
        return self._differs(fixture, line, BBox(left, top, right, bottom))

    def replaces(self, line: SampleDetection, fixture: SampleDetection) -> bool:
        """Return whether a line is another text at the place of a fixture: longer or shorter, with other strokes.

        A part of the fixture alone, which the detector may find too, has its strokes.
        """
        box, other = fixture.bbox, line.bbox
        if min(overlap(box, other), overlap(other, box)) <= TUNING.same_place:
            return False
        height, width = self._samples[line.sample].strokes.shape
        line_height, length = sorted((box.width * width, box.height * height))
        if abs(length - max(other.width * width, other.height * height)) < line_height:
            return False
        return self._differs(fixture, line, other) and self._differs(fixture, line, box)

    def _differs(self, one: SampleDetection, other: SampleDetection, bbox: BBox) -> bool:
        """Return whether the samples of two lines show clearly different strokes in a box."""
        return not self.is_alike(one.sample, other.sample, bbox, TUNING.same_strokes_correlation / 2)


def find_staying(samples: Sequence[Sample], detections: Sequence[SampleDetection]) -> list[SampleDetection]:
    """Return the detections whose text nearly every sample shows, however far away in time.

    Over a static scene, a box around a caption contains much that never changes: there the text must be as alike as
    the scene. Edges along the line, as of the bars above and below a wide picture, are no text. Text that a line of
    other text hides in some sample is part of the scene, and text that another one replaces is no fixture.
    """
    comparison = SampleComparison(samples)
    staying = []
    for detection in detections:
        own_s = samples[detection.sample].time_s
        others = [n for n, sample in enumerate(samples) if abs(sample.time_s - own_s) >= APART_S]
        if len(others) < TUNING.telling_texts:
            continue
        others = others[:: -(-len(others) // TUNING.comparisons)]
        alike = [
            other
            for other in others
            if comparison.is_alike(detection.sample, other, detection.bbox, TUNING.same_strokes_correlation)
        ]
        least = TUNING.nearly_all * len(others)
        if len(alike) < least:
            continue
        letters = [other for other in alike if comparison.has_letters_of(detection, other)]
        if len(letters) >= least:
            staying.append(detection)
    stays = {id(detection) for detection in staying}
    others = [detection for detection in detections if id(detection) not in stays]
    staying = [line for line in staying if not any(comparison.replaces(other, line) for other in others)]
    staying = _by_majority(staying, detections)
    stays = {id(detection) for detection in staying}
    lines = [detection for detection in detections if id(detection) not in stays]
    return [detection for detection in staying if not any(comparison.hides(line, detection) for line in lines)]


def _by_majority(staying: Sequence[SampleDetection], detections: Sequence[SampleDetection]) -> list[SampleDetection]:
    """Return the detections of the texts most of whose detections stay: one text stays as a whole or not at all."""
    stays = {id(detection) for detection in staying}
    chosen: dict[int, SampleDetection] = {}
    for detection in staying:
        if id(detection) in chosen:
            continue
        same = [
            other
            for other in detections
            if min(overlap(detection.bbox, other.bbox), overlap(other.bbox, detection.bbox)) > TUNING.same_place
        ]
        if 2 * sum(id(other) in stays for other in same) > len(same):
            chosen |= {id(other): other for other in same}
    return list(chosen.values())


def overlap(box: BBox, other: BBox) -> float:
    """Return the share of ``box`` that is inside ``other``."""
    across = min(box.right, other.right) - max(box.left, other.left)
    down = min(box.bottom, other.bottom) - max(box.top, other.top)
    return max(0.0, across) * max(0.0, down) / max(1e-12, box.width * box.height)


def is_mostly_in(box: BBox, other: BBox) -> bool:
    """Return whether more than half of ``box`` is inside ``other``, so that it is part of it."""
    return 2 * overlap(box, other) > 1


def merged_boxes(boxes: Sequence[BBox]) -> list[BBox]:
    """Merge boxes of the same text that was found several times."""
    merged: list[BBox] = []
    for box in boxes:
        home = next((i for i, other in enumerate(merged) if is_mostly_in(box, other)), None)
        if home is None:
            merged.append(box)
        else:
            merged[home] = merged[home].union(box)
    return merged
