"""Rows of text: lines of many samples at one place across the text. Vertical text has columns in place of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.fixtures import SampleComparison
from captionacc_dagster.captioning.layout.samples import Sample, SampleDetection
from captionacc_dagster.captioning.layout.tuning import TUNING

# Of full contrast: lines of one caption were measured to differ by up to 0.1, captions from code or slides by 0.3 on.
_SAME_LOOK = 0.2
_COMPARED = 5  # lines of two rows, of the samples that show both, whose looks are compared
_FRAGMENT_GAP = 2.0  # line heights: the widest gap between two fragments of a line
SIDE_GAP = 1.5  # line heights: a gap wider than any space between words, between the text of two speakers


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
    sources: tuple[BBox, ...] = ()
    parts: tuple[tuple[float, float], ...] = ()

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """Where each of the parts that it was found in begins and ends along the text, pixels."""
        return self.parts or ((self.start, self.end),)

    @property
    def height(self) -> float:
        """Height of the line, pixels."""
        return self.high - self.low

    @property
    def length(self) -> float:
        """Length of the line along the text, pixels."""
        return self.end - self.start

    @property
    def middle(self) -> float:
        """Middle of the line along the text, pixels."""
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class Look:
    """How the lines of a row look, all 0..1.

    Attributes:
        bright, dark: contrast of the strokes that are brighter and darker than their surroundings; outlined letters
            have both.
        ring: how uneven the picture just outside the lines is.
        step: how much the picture changes between the margin of the lines and what is beyond it: text on a box of its
            own has a margin that is even and ends.
    """

    bright: float
    dark: float
    ring: float
    step: float

    @property
    def contrast(self) -> float:
        """Contrast of the stronger strokes."""
        return max(self.bright, self.dark)

    def is_like(self, other: Look) -> bool:
        """Return whether the strokes of two rows contrast alike, as those of lines in one color and outline do."""
        return max(abs(self.bright - other.bright), abs(self.dark - other.dark)) <= _SAME_LOOK


def mean_look(looks: Sequence[Look]) -> Look:
    """Return the mean of some looks."""
    return Look(*(mean(getattr(look, name) for look in looks) for name in ("bright", "dark", "ring", "step")))


@dataclass(slots=True)
class RowText:
    """One text of a row: the lines of successive samples that show it.

    Attributes:
        first_s, last_s: times of the first and the last sample that shows it, seconds.
        start: where it begins along the text, pixels.
        length: the longest of its lines, pixels.
    """

    first_s: float
    last_s: float
    start: float
    length: float


@dataclass(slots=True)
class Row:
    """Lines at one place across the text.

    Attributes:
        vertical: the text runs from top to bottom.
        lines: the lines, in order of time.
        texts: the texts that followed one another.
        stays: nearly all samples show the same text here.
        chances: how likely it is that the row is of each kind (0..1).
        limits: between which places along the text its text stays, pixels; None: the whole picture. Beyond them is
            text of another speaker.
        look: how its lines look, None until that was measured.
        look_of: measures how one of its lines looks.
        stays_alone: the share of the other rows' texts that change while its own stays, 0..1.

    Add lines with `add`, which resets the place of the row: it is read far more often than it changes.
    """

    vertical: bool
    lines: list[Line] = field(default_factory=list)
    texts: list[RowText] = field(default_factory=list)
    stays: bool = False
    chances: Mapping[Kind, float] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    look: Look | None = None
    look_of: Callable[[Line], Look] | None = field(default=None, repr=False, compare=False)
    stays_alone: float = 0.0
    _place: tuple[float, float] | None = field(default=None, repr=False, compare=False)

    def add(self, lines: Sequence[Line]) -> None:
        """Add lines."""
        self.lines += lines
        self._place = None

    def drop_passing(self) -> None:
        """Drop lines that move, such as those of a sign of the scene, from beside text that changes in one place."""
        if self._changes_in_its_place:
            self.lines, self._place = self._without_passing(), None

    def _without_passing(self) -> list[Line]:
        """Return the lines without those that move and are not where most are."""
        middle = self.middle
        return [line for line in self.lines if line.still > 0 or abs(line.middle - middle) <= line.height]

    def is_apart_from(self, other: Row) -> bool:
        """Return whether one of the rows is beyond the limits of the other along the text."""
        return any(
            two.limits is not None and not two.limits[0] <= one.middle <= two.limits[1]
            for one, two in ((self, other), (other, self))
        )

    def looks_like(self, other: Row) -> bool:
        """Return whether two rows look alike, as far as that is known."""
        return self.look is None or other.look is None or self.look.is_like(other.look)

    def looks_like_beside(self, other: Row) -> bool:
        """Return whether two rows look alike where both are visible: contrast depends on the picture behind them."""
        if self.look_of is None or other.look_of is None:
            return False
        theirs = {line.sample: line for line in other.lines}
        both = [(line, theirs[line.sample]) for line in self.lines if line.sample in theirs][:_COMPARED]
        if not both:
            return False
        own = mean_look([self.look_of(line) for line, _ in both])
        return own.is_like(mean_look([other.look_of(line) for _, line in both]))

    @property
    def middle(self) -> float:
        """Middle of its lines along the text (median), pixels."""
        return median(line.middle for line in self.lines)

    @property
    def kind(self) -> Kind:
        """What the row most likely is."""
        return max(self.chances, key=lambda kind: self.chances[kind])

    @property
    def is_moving(self) -> bool:
        """Whether its text moves, as a ticker or the scene does: the longest line of each sample tells.

        Beside a caption, the detector finds specks of the scene, which move.
        """
        longest: dict[int, Line] = {}
        for line in self.lines:
            if line.sample not in longest or line.length > longest[line.sample].length:
                longest[line.sample] = line
        moving, still = (sum(line.still == state for line in longest.values()) for state in (0, 1))
        return moving > 0.5 * still + 0.15 * len(longest) and not self._changes_in_its_place

    @property
    def _changes_in_its_place(self) -> bool:
        """Whether its text varies around what stays: both ends around the middle, as with centered captions that slide
        into place or that words like them replace, or one end while the other one stays, as with lines that roll up.
        The ends of what passes by vary with its middle, or are those of the picture. A few of the lines may be a sign
        of the scene that passes beside the captions."""
        lines = self._without_passing()
        if self.distinct < 2 or len(lines) < 3 or 2 * len(lines) <= len(self.lines):
            return False
        start, end, middle = _deviations(lines)
        return 2 * middle < min(start, end) or (not self.vertical and 2 * min(start, end) < middle)

    @property
    def changes_around_its_middle(self) -> bool:
        """Whether it shows several texts whose ends vary and whose middle does not."""
        if self.distinct < TUNING.telling_texts:
            return False
        start, end, middle = _deviations(self.lines)
        return 2 * middle < min(start, end)

    @property
    def score(self) -> float:
        """The detector's best score of a line, 0..1."""
        return max(line.score for line in self.lines)

    def extent(self, size: tuple[int, int]) -> BBox:
        """Return the box of all of its lines; ``size`` is that of the samples, pixels."""
        start, end = min(line.start for line in self.lines), max(line.end for line in self.lines)
        return box_of(self.vertical, start, end, self.low, self.high, size)

    @property
    def distinct(self) -> int:
        """How many texts followed one another."""
        return len(self.texts)

    @property
    def lengths(self) -> list[float]:
        """Length of each text, pixels."""
        return [text.length for text in self.texts]

    @property
    def low(self) -> float:
        """Where its lines begin across the text (median), pixels."""
        return self._measured[0]

    @property
    def high(self) -> float:
        """Where its lines end across the text (median), pixels."""
        return self._measured[1]

    @property
    def height(self) -> float:
        """Height of its lines (median), pixels."""
        return self.high - self.low

    @property
    def _measured(self) -> tuple[float, float]:
        if self._place is None:
            lines = self._tightest()
            self._place = (median(line.low for line in lines), median(line.high for line in lines))
        return self._place

    def _tightest(self) -> list[Line]:
        """Return the lines with tight boxes of a usual height, or all lines where there are none."""
        usual = median(line.height for line in self.lines)
        lowest, highest = TUNING.detector_box / 2 * usual, TUNING.detector_box * usual
        fine = [
            line
            for line in self.lines
            if line.fine and lowest <= line.height <= highest and line.length >= 2 * line.height
        ]
        return fine or self.lines


def find_rows(
    samples: Sequence[Sample], detections: Sequence[SampleDetection], fixtures: Sequence[BBox], size: tuple[int, int]
) -> list[Row]:
    """Group detections into rows and columns; join the fragments of a line, and cut fixtures off its ends.

    ``size``: ``(width, height)`` of the samples, pixels.
    """
    width, height = size
    rows: list[Row] = []
    for detection in sorted(detections, key=lambda entry: -entry.score):
        box = _without_fixtures(detection.bbox, fixtures)
        x0, y0, x1, y1 = box.left * width, box.top * height, box.right * width, box.bottom * height
        vertical = (y1 - y0) > TUNING.column_shape * (x1 - x0)
        spans = (y0, y1, x0, x1) if vertical else (x0, x1, y0, y1)
        line = Line(
            detection.sample,
            detection.time_s,
            *spans,
            detection.score,
            detection.still,
            detection.fine,
            (detection.bbox,),
        )
        home = next((row for row in rows if row.vertical == vertical and _belongs(line, row)), None)
        if home is None:
            home = Row(vertical)
            rows.append(home)
        home.add([line])
    rows = [Row(row.vertical, _joined(row.lines)) for row in _merged(rows)]
    comparison = SampleComparison(samples)
    for row in rows:
        row.texts = _texts(row, comparison, size)
        row.drop_passing()
    return rows


def _belongs(line: Line, row: Row) -> bool:
    low, high = row.low, row.high
    smaller, larger = sorted((line.height, high - low))
    offset = abs((line.low + line.high) / 2 - (low + high) / 2)
    return larger <= TUNING.row_height_ratio * smaller and offset <= TUNING.row_offset * smaller


def _without_fixtures(box: BBox, fixtures: Sequence[BBox]) -> BBox:
    """Cut fixtures off the ends of a line that the detector joined with them."""
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
    """Merge rows that turn out to be on top of each other."""
    merged: list[Row] = []
    for row in sorted(rows, key=lambda entry: -len(entry.lines)):
        for other in merged:
            shared = min(row.high, other.high) - max(row.low, other.low)
            smaller, larger = sorted((row.height, other.height))
            alike = larger <= TUNING.row_height_ratio * smaller
            if row.vertical == other.vertical and shared > TUNING.same_place * smaller and alike:
                other.add(row.lines)
                break
        else:
            merged.append(row)
    return merged


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Join the fragments of a line that the detector found apart in one sample."""
    joined: list[Line] = []
    for line in sorted(lines, key=lambda entry: (entry.time_s, entry.start)):
        last = joined[-1] if joined else None
        if last is not None and last.sample == line.sample and line.start - last.end < _FRAGMENT_GAP * line.height:
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
                (*last.sources, *line.sources),
                (*last.spans, *line.spans),
            )
        else:
            joined.append(line)
    return joined


def split_sides(row: Row, samples: Sequence[Sample], size: tuple[int, int]) -> list[Row]:
    """Return the left and the right part of a row in which two speakers' text is visible at once, or the row itself.

    Every line is on one side of a gap, some samples show both sides, and each side is visible without the other: two
    parts of one line come and go together.
    """
    pairs = [(one, two) for one, two in itertools.pairwise(row.lines) if one.sample == two.sample]
    if row.vertical or row.stays or not pairs:
        return [row]
    pivot = median((one.end + two.start) / 2 for one, two in pairs)
    sides = [[line for line in row.lines if (line.middle < pivot) is is_left] for is_left in (True, False)]
    left, right = ({line.sample for line in side} for side in sides)
    if not (left - right and right - left):
        return [row]
    end, start = max(line.end for line in sides[0]), min(line.start for line in sides[1])
    if start - end < SIDE_GAP * row.height:
        return [row]
    comparison = SampleComparison(samples)
    parts = []
    for lines, limits in zip(sides, ((0.0, (end + start) / 2), ((end + start) / 2, float(size[0]))), strict=True):
        part = Row(row.vertical, lines, chances=row.chances, limits=limits, look=row.look, look_of=row.look_of)
        part.texts = _texts(part, comparison, size)
        parts.append(part)
    return parts


def _texts(row: Row, comparison: SampleComparison, size: tuple[int, int]) -> list[RowText]:
    """Return the texts of a row: each differs from the one in the sample before."""
    texts: list[RowText] = []
    before: Line | None = None
    for line in (line for line in row.lines if line.still > 0):
        text = RowText(line.time_s, line.time_s, line.start, line.length)
        if before is not None:
            start, end = min(before.start, line.start), max(before.end, line.end)
            box = box_of(row.vertical, start, end, row.low, row.high, size)
            if comparison.is_alike(before.sample, line.sample, box, TUNING.same_strokes_correlation):
                same = texts.pop()
                text = RowText(same.first_s, line.time_s, min(same.start, line.start), max(same.length, line.length))
        texts.append(text)
        before = line
    return texts


def change_together(row: Row, other: Row) -> bool:
    """Return whether most texts of the row with fewer texts begin in a sample in which one of the other begins."""
    fewer, more = sorted((row, other), key=lambda entry: entry.distinct)
    begins = {text.first_s for text in more.texts}
    return 2 * sum(text.first_s in begins for text in fewer.texts) >= len(fewer.texts)


def turn_over_together(row: Row, other: Row) -> bool:
    """Return whether most samples in which a text of one of two rows begins are samples in which one of each does, or
    most changes between samples that show both rows are changes of both.

    Where one of two lines begins a frame late, or was not found in a sample, their texts begin in different samples.
    """
    begins, others = ({text.first_s for text in entry.texts} for entry in (row, other))
    if 2 * len(begins & others) > len(begins | others):
        return True
    both, either = _common_changes(row, other)
    return both >= TUNING.telling_texts and 2 * both > either


def _common_changes(row: Row, other: Row) -> tuple[int, int]:
    """Return between how many successive samples with a text of both rows both change, and between how many either."""
    seen = [{line.time_s: _text_at(entry, line.time_s) for line in entry.lines} for entry in (row, other)]
    pairs = [(one, seen[1][time_s]) for time_s, one in sorted(seen[0].items()) if time_s in seen[1]]
    changes = [(a != c, b != d) for (a, b), (c, d) in itertools.pairwise(p for p in pairs if None not in p)]
    return sum(map(all, changes)), sum(map(any, changes))


def _text_at(row: Row, time_s: float) -> int | None:
    """Return which of its texts a row shows, by number; None where it moves."""
    return next((number for number, text in enumerate(row.texts) if text.first_s <= time_s <= text.last_s), None)


def box_of(vertical: bool, start: float, end: float, low: float, high: float, size: tuple[int, int]) -> BBox:
    """Return the relative box of spans in pixels of the sample, kept inside the picture."""
    width, height = size
    spans = (low, start, high, end) if vertical else (start, low, end, high)
    left, top, right, bottom = (np.clip(v / s, 0.0, 1.0) for v, s in zip(spans, (width, height) * 2, strict=True))
    return BBox(float(left), float(top), float(right), float(bottom))


def anchor_of(rows: Sequence[Row], along: float) -> str | None:
    """Return what stays when the text changes: ``left``, ``center``, ``right``, or None. ``along``: pixels along the
    text.

    Long lines count more: a short one may be part of a line that was not found as a whole.
    """
    lines = [line for row in rows for line in row.lines]
    starts = np.array([line.start for line in lines])
    ends = np.array([line.end for line in lines])
    lengths = ends - starts
    slack = max(TUNING.centered * along, TUNING.track_reach * median(line.height for line in lines))
    middle = weighted_median((starts + ends) / 2, lengths)
    spreads = {
        name: weighted_median(np.abs(places - weighted_median(places, lengths)), lengths)
        for name, places in (("center", (starts + ends) / 2), ("left", starts), ("right", ends))
    }
    if spreads["center"] <= slack and abs(middle - along / 2) <= TUNING.centered * along:
        return "center"
    if _is_each_centered(rows, along):
        return "center"
    best = min(spreads, key=lambda key: spreads[key])
    return best if spreads[best] <= slack else None


def are_centered(rows: Sequence[Row], size: tuple[int, int]) -> bool:
    """Return whether all lines of some rows, which are level, are in the middle of the picture."""
    return all(
        not row.vertical and abs(line.middle - size[0] / 2) <= TUNING.centered * size[0]
        for row in rows
        for line in row.lines
    )


def _is_each_centered(rows: Sequence[Row], along: float) -> bool:
    """Return whether most texts, of several, were found centered in one of their samples.

    In the other samples they may have been found in one with the letters beside them, such as code behind them.
    """
    offsets = [
        min(
            (abs(line.middle - along / 2) for line in row.lines if text.first_s <= line.time_s <= text.last_s),
            default=0.0,
        )
        for row in rows
        for text in row.texts
    ]
    centered = sum(offset <= TUNING.centered * along for offset in offsets)
    return len(offsets) >= TUNING.telling_texts and centered >= TUNING.nearly_all * len(offsets)


def _deviations(lines: Sequence[Line]) -> tuple[float, float, float]:
    """Return the median distance of the lines' starts, ends, and middles from their medians, pixels."""

    def deviation(places: Sequence[float]) -> float:
        usual = median(places)
        return median(abs(place - usual) for place in places)

    return (
        deviation([line.start for line in lines]),
        deviation([line.end for line in lines]),
        deviation([line.middle for line in lines]),
    )


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value below which half of the weight is; both ``(n,)``."""
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order[int(np.searchsorted(passed, passed[-1] / 2))]])
