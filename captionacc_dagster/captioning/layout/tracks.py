"""From sighted lines to caption tracks: lines that keep a place while their text changes.

Lines stand in rows (vertical text: columns); rows that belong together make a track. Text that stays the
same for the whole video is a fixture (logo, watermark, clock), text that moves belongs to the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, SampleDetection, normalized_correlation

_COLUMN = 1.7  # a line this many times higher than wide is vertical text
_SAME_ROW = 0.3  # of a line's height: how far centers may lie apart
_SIMILAR_HEIGHT = 1.5
_SAME_TEXT = 0.55  # correlation of strokes from which on two samples show the same text
_FIXTURE_APART_S = 1.0  # samples closer than this say nothing about what stays
_FIXTURE_SHARE = 0.7  # of the other samples that show a fixture too
_COMPARED = 20  # so many of them are looked at
_HIDDEN = 0.3  # correlation below which the strokes of a fixture are hidden by other ones
_SAME_BOX = 0.7  # share of two boxes in each other from which on they are of the same thing
_SCENE_SLACK = 1.5  # times what two samples differ by as a whole, their text may differ,
_LEAST_SLACK = 0.05  # and this much more
_COARSE = 4  # every so many pixels are looked at to compare whole samples
_FLAT, _TALL = 0.55, 1.1  # of the usual height, that a tight box of a line has
_LEADING = 1.0  # line heights that may lie between two lines of one track
_CHANGES_OFTEN = 4  # different texts at one place that are captions even where nothing can be seen to stand
_UNLIKE_HEIGHT = 2.2  # times that lines of one track may differ in height
_WEAK_LEADING, _WEAK_HEIGHT = 0.45, 1.7  # the same where one of them alone would be no caption
CENTERED = 0.035  # of the width: how far a centerd line's center may lie off


@dataclass(frozen=True, slots=True)
class Line:
    """A line in its row, in pixels of the sample: along the text ``start..end``, across it ``low..high``."""

    sample: int
    time_s: float
    start: float
    end: float
    low: float
    high: float
    score: float
    still: float
    fine: bool = False

    @property
    def height(self) -> float:
        """Height of the line."""
        return self.high - self.low

    @property
    def middle(self) -> float:
        """Middle of the line along the text."""
        return (self.start + self.end) / 2


@dataclass(slots=True)
class Row:
    """Lines at one place across the text; ``lengths`` are those of the texts that followed one another, pixels.

    Where it stands is asked for each other line, and measured anew only when lines were put to it with `add`.
    """

    vertical: bool
    lines: list[Line] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    _place: tuple[float, float] | None = field(default=None, repr=False, compare=False)

    def add(self, lines: Sequence[Line]) -> None:
        """Put more lines to it."""
        self.lines += lines
        self._place = None

    @property
    def distinct(self) -> int:
        """How often the text was another than in the sample before."""
        return len(self.lengths)

    @property
    def low(self) -> float:
        """Where its lines begin across the text (median)."""
        return self._measured[0]

    @property
    def high(self) -> float:
        """Where its lines end across the text (median)."""
        return self._measured[1]

    @property
    def height(self) -> float:
        """Height of its lines (median)."""
        return self.high - self.low

    @property
    def _measured(self) -> tuple[float, float]:
        if self._place is None:
            telling = self._telling()
            self._place = (median(line.low for line in telling), median(line.high for line in telling))
        return self._place

    def _telling(self) -> list[Line]:
        """Give the lines that tell the row's place: tightly boxed ones where there are any of a usual height."""
        usual = median(line.height for line in self.lines)
        fine = [
            line
            for line in self.lines
            if line.fine and _FLAT * usual <= line.height <= _TALL * usual and line.end - line.start >= 2 * line.height
        ]
        return fine or self.lines


@dataclass(slots=True)
class FoundTrack:
    """Rows that belong together, from low to high, in pixels of the sample."""

    rows: list[Row]
    anchor: str
    confidence: float

    @property
    def vertical(self) -> bool:
        """Whether the text runs from top to bottom."""
        return self.rows[0].vertical


def find_fixtures(samples: Sequence[Sample], detections: Sequence[SampleDetection]) -> list[SampleDetection]:
    """Find the detections whose strokes are there in nearly every sample, however far away in time.

    Over a scene that stands still, a box round a caption holds much that never changes: there the text has to be as
    alike as the scene. What a line of other text runs across in some sample, and hides, belongs to the scene.
    """
    scenes = _Scenes(samples)
    fixtures = []
    for detection in detections:
        here = samples[detection.sample]
        others = [n for n, s in enumerate(samples) if abs(s.time_s - here.time_s) >= _FIXTURE_APART_S]
        if len(others) < 3:
            continue
        others = others[:: -(-len(others) // _COMPARED)]
        alike = [scenes.is_alike(detection.sample, other, detection.bbox, _SAME_TEXT) for other in others]
        if sum(alike) >= _FIXTURE_SHARE * len(alike):
            fixtures.append(detection)
    fixed = {id(detection) for detection in fixtures}
    free = [detection for detection in detections if id(detection) not in fixed]
    return [fixture for fixture in fixtures if not any(scenes.is_hidden(fixture, line) for line in free)]


class _Scenes:
    """Compares samples as a whole, each pair once."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._coarse = [np.ascontiguousarray(sample.strokes[::_COARSE, ::_COARSE]) for sample in samples]
        self._known: dict[tuple[int, int], float] = {}

    def is_alike(self, here: int, other: int, bbox: BBox, least: float) -> bool:
        """Tell whether two samples show the same in a box.

        ``least`` is the correlation that is asked for at least; where the scene is the same, more is.
        """
        alike = normalized_correlation(self._samples[here].strokes, self._samples[other].strokes, bbox)
        if alike < least:
            return False
        pair = (min(here, other), max(here, other))
        if pair not in self._known:
            one, another = (self._coarse[number] for number in pair)
            self._known[pair] = normalized_correlation(one, another, BBox(0.0, 0.0, 1.0, 1.0))
        return 1 - alike <= _SCENE_SLACK * (1 - self._known[pair]) + _LEAST_SLACK

    def is_hidden(self, fixture: SampleDetection, line: SampleDetection) -> bool:
        """Tell whether a line of other text runs across a fixture and hides the strokes that it should have there."""
        box, other = fixture.bbox, line.bbox
        if min(overlap(box, other), overlap(other, box)) > _SAME_BOX:
            return False
        left, right = max(box.left, other.left), min(box.right, other.right)
        top, bottom = max(box.top, other.top), min(box.bottom, other.bottom)
        height, width = self._samples[line.sample].strokes.shape
        if (right - left) * width < other.height * height or bottom - top < 0.5 * min(box.height, other.height):
            return False
        return not self.is_alike(fixture.sample, line.sample, BBox(left, top, right, bottom), _HIDDEN)


def find_rows(
    samples: Sequence[Sample], detections: Sequence[SampleDetection], fixtures: Sequence[BBox], size: tuple[int, int]
) -> list[Row]:
    """Group detections into rows and columns; fragments of a line become one line, fixtures at its ends are cut off.

    ``size``: ``(width, height)`` of the samples.
    """
    width, height = size
    rows: list[Row] = []
    for detection in sorted(detections, key=lambda s: -s.score):
        box = _without(detection.bbox, fixtures)
        x0, y0, x1, y1 = box.left * width, box.top * height, box.right * width, box.bottom * height
        vertical = (y1 - y0) > _COLUMN * (x1 - x0)
        spans = (y0, y1, x0, x1) if vertical else (x0, x1, y0, y1)
        line = Line(detection.sample, detection.time_s, *spans, detection.score, detection.still, detection.fine)
        home = next((row for row in rows if row.vertical == vertical and _belongs(line, row)), None)
        if home is None:
            home = Row(vertical)
            rows.append(home)
        home.add([line])
    rows = [Row(row.vertical, _joined(row.lines)) for row in _merged(rows)]
    scenes = _Scenes(samples)
    for row in rows:
        row.lengths = _text_lengths(row, scenes, size)
    return rows


def _belongs(line: Line, row: Row) -> bool:
    low, high = row.low, row.high
    smaller, larger = sorted((line.height, high - low))
    apart = abs((line.low + line.high) / 2 - (low + high) / 2)
    return larger <= _SIMILAR_HEIGHT * smaller and apart <= _SAME_ROW * smaller


def _without(box: BBox, fixtures: Sequence[BBox]) -> BBox:
    """Cut fixtures off the ends of a line that the detector found in one with them."""
    for fixed in fixtures:
        beside = min(box.bottom, fixed.bottom) - max(box.top, fixed.top) > 0.5 * fixed.height
        inside = min(box.right, fixed.right) - max(box.left, fixed.left) > 0.5 * fixed.width
        if not (beside and inside) or fixed.width > 0.8 * box.width:
            continue
        if fixed.left - box.left >= box.right - fixed.right:
            box = BBox(box.left, box.top, max(fixed.left, box.left + 1e-3), box.bottom)
        else:
            box = BBox(min(fixed.right, box.right - 1e-3), box.top, box.right, box.bottom)
    return box


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Merge rows that turn out to lie on top of each other."""
    merged: list[Row] = []
    for row in sorted(rows, key=lambda entry: -len(entry.lines)):
        for other in merged:
            shared = min(row.high, other.high) - max(row.low, other.low)
            smaller, larger = sorted((row.height, other.height))
            if row.vertical == other.vertical and shared > 0.7 * smaller and larger <= _SIMILAR_HEIGHT * smaller:
                other.add(row.lines)
                break
        else:
            merged.append(row)
    return merged


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Join the fragments of a line that the detector left apart in one sample."""
    joined: list[Line] = []
    for line in sorted(lines, key=lambda entry: (entry.time_s, entry.start)):
        last = joined[-1] if joined else None
        if last is not None and last.sample == line.sample and line.start - last.end < 2 * line.height:
            joined[-1] = Line(
                line.sample,
                line.time_s,
                last.start,
                max(last.end, line.end),
                min(last.low, line.low),
                max(last.high, line.high),
                max(last.score, line.score),
                max(last.still, line.still),
                line.fine,
            )
        else:
            joined.append(line)
    return joined


def _text_lengths(row: Row, scenes: _Scenes, size: tuple[int, int]) -> list[float]:
    """Give the length of each text of a row that is another than the one in the sample before, pixels."""
    lengths: list[float] = []
    before: Line | None = None
    for line in (line for line in row.lines if line.still > 0):
        length = line.end - line.start
        if before is not None:
            start, end = min(before.start, line.start), max(before.end, line.end)
            box = box_of(row.vertical, start, end, row.low, row.high, size)
            if scenes.is_alike(before.sample, line.sample, box, _SAME_TEXT):
                length = max(length, lengths.pop())
        lengths.append(length)
        before = line
    return lengths


def box_of(vertical: bool, start: float, end: float, low: float, high: float, size: tuple[int, int]) -> BBox:
    """Turn spans in pixels of the sample into a relative box, kept inside the picture."""
    width, height = size
    spans = (low, start, high, end) if vertical else (start, low, end, high)
    left, top, right, bottom = (np.clip(v / s, 0.0, 1.0) for v, s in zip(spans, (width, height) * 2, strict=True))
    return BBox(float(left), float(top), float(right), float(bottom))


def anchor_of(rows: Sequence[Row], along: float) -> str | None:
    """Tell what stays when the text changes; ``None`` when nothing does. ``along``: pixels along the text.

    Long lines count more: a short one may be part of a line that was not found as a whole.
    """
    lines = [line for row in rows for line in row.lines]
    starts = np.array([line.start for line in lines])
    ends = np.array([line.end for line in lines])
    lengths = ends - starts
    slack = max(CENTERED * along, 0.6 * median(line.height for line in lines))
    middle = weighted_median((starts + ends) / 2, lengths)
    spreads = {
        name: weighted_median(np.abs(places - weighted_median(places, lengths)), lengths)
        for name, places in (("center", (starts + ends) / 2), ("left", starts), ("right", ends))
    }
    if spreads["center"] <= slack and abs(middle - along / 2) <= CENTERED * along:
        return "center"
    best = min(spreads, key=lambda key: spreads[key])
    return best if spreads[best] <= slack else None


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Give the value below which half of all weight lies; both ``(n,)``."""
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order[int(np.searchsorted(passed, passed[-1] / 2))]])


def find_tracks(rows: Sequence[Row], size: tuple[int, int], duration_s: float) -> list[FoundTrack]:
    """Choose the rows in which captions follow one another, and put those that belong together into tracks."""
    strong: list[tuple[Row, str, float]] = []
    weak: list[Row] = []
    for row in rows:
        along = size[1] if row.vertical else size[0]
        anchor = anchor_of([row], along)
        confidence = _row_confidence(row, anchor, size, duration_s)
        if confidence >= 0.5 and anchor is not None:
            strong.append((row, anchor, confidence))
        elif confidence > 0:
            weak.append(row)
    tracks: list[FoundTrack] = []
    for row, anchor, confidence in sorted(strong, key=lambda entry: -entry[2]):
        if any(row.vertical == track.vertical and _covers(row, track) for track in tracks):
            continue  # the same text, found together with its surroundings
        home = next((track for track in tracks if _adjoins(row, track)), None)
        if home is None:
            tracks.append(FoundTrack([row], anchor, confidence))
        else:
            home.rows = sorted([*home.rows, row], key=lambda entry: entry.low)
    for row in weak:
        home = next((track for track in tracks if _completes(row, track, size)), None)
        if home is not None:
            home.rows = sorted([*home.rows, row], key=lambda entry: entry.low)
    return tracks


def _row_confidence(row: Row, anchor: str | None, size: tuple[int, int], duration_s: float) -> float:
    """Say how sure it is that captions stand in a row, by how often its text changes in one place."""
    moving = sum(line.still == 0 for line in row.lines)
    standing = sum(line.still == 1 for line in row.lines)
    if row.distinct == 0 or moving > 0.5 * standing + 0.15 * len(row.lines):
        return 0.0
    if anchor is None:
        return 0.3
    along = size[1] if row.vertical else size[0]
    middle = median(line.middle for line in row.lines) / along
    in_the_middle = not row.vertical and anchor == "center" and abs(middle - 0.5) < CENTERED
    if row.distinct >= 2:
        seen_to_stand = standing >= 2 or (standing >= 1 and in_the_middle)
        confidence = 0.55 + 0.06 * row.distinct + 0.15 * in_the_middle + 0.1 * seen_to_stand
        # Over a scene that stands itself nothing can be seen to stand; text that changes often there is no sign.
        often = moving == 0 and row.distinct >= _CHANGES_OFTEN
        return min(0.99, confidence) if seen_to_stand or in_the_middle or often else min(0.45, confidence)
    # A single text may be a sign; in the middle and near an edge, it is a caption.
    place = (row.low + row.high) / 2 / (size[0] if row.vertical else size[1])
    if in_the_middle and (place > 0.7 or place < 0.25):
        return 0.6 if duration_s < 15 or standing >= 2 else 0.5 if standing else 0.4
    return 0.2


def _adjoins(row: Row, track: FoundTrack, leading: float = _LEADING, unlike: float = _UNLIKE_HEIGHT) -> bool:
    if row.vertical != track.vertical:
        return False
    for other in track.rows:
        gap = max(other.low - row.high, row.low - other.high)
        smaller, larger = sorted((row.height, other.height))
        if gap <= leading * smaller and larger <= unlike * smaller:
            return True
    return False


def _completes(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    """Tell whether a row that alone would be no caption is another line of a track."""
    near = _adjoins(row, track, _WEAK_LEADING, _WEAK_HEIGHT)
    return near and not _covers(row, track) and _aligned(row, track, size)


def is_beside(row: Row, track: FoundTrack) -> bool:
    """Tell whether a row touches a track's rows: mostly lines of it that were found in part."""
    return row.vertical == track.vertical and any(
        min(row.high, other.high) - max(row.low, other.low) > 0 for other in track.rows
    )


def _covers(row: Row, track: FoundTrack) -> bool:
    """Tell whether a row lies over rows of the track instead of beside them."""
    return any(
        min(row.high, other.high) - max(row.low, other.low) > 0.4 * min(row.height, other.height)
        for other in track.rows
    )


def _aligned(row: Row, track: FoundTrack, size: tuple[int, int]) -> bool:
    along = size[1] if row.vertical else size[0]
    return anchor_of([*track.rows, row], along) == track.anchor


def overlap(box: BBox, other: BBox) -> float:
    """Give the share of ``box`` that lies in ``other``."""
    across = min(box.right, other.right) - max(box.left, other.left)
    down = min(box.bottom, other.bottom) - max(box.top, other.top)
    return max(0.0, across) * max(0.0, down) / max(1e-12, box.width * box.height)


def merged_boxes(boxes: Sequence[BBox]) -> list[BBox]:
    """Merge boxes that are the same thing found several times."""
    merged: list[BBox] = []
    for box in boxes:
        home = next((i for i, other in enumerate(merged) if overlap(box, other) > 0.3), None)
        if home is None:
            merged.append(box)
        else:
            merged[home] = merged[home].union(box)
    return merged
