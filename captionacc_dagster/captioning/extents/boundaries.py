"""Where exactly a segment begins and ends: the native frames on which half of its own ink is to be seen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.segmentation import AWAY, SYNCHRONOUS, Segment
from captionacc_dagster.captioning.extents.strokes import (
    MIN_STROKE_AREA,
    Mask,
    Plane,
    StrokeChange,
    StrokeModel,
    box_around,
    changes_alone,
    compare_strokes,
    model_strokes,
    synchrony,
    visibility,
)

HALF = 0.5
_STANDING = 0.75  # a caption that stands shows at least this share of itself
_OVERSHOOT = 1.5  # no caption shows more of itself than about all
_AT_ONCE = 0.9  # of an added stroke's pixels change together
_ADDED = 0.4  # with less change than this, a character must have taken the place of another
_WEAK_INK = 0.6  # with less than this share of its neighbor's stroke_mask, the same text is fading,
_WEAK = 0.85  # and with less than this share of its contrast
_SAME_PATTERN = 0.6  # of the variance, common to two pictures of one text
_NEAR = 0.6  # of the frames looked at
_FOOT, _TOP = 0.12, 0.88  # a ramp is followed between these shares of the whole
_RAMP_FRAMES = 4  # with fewer frames between them it is a cut
_FLAT_FRAMES = 6  # over so many frames
_STEADY = 0.96  # what is seen of a caption that stands varies by no more
_AMIDST = 0.3  # of either of two captions that fade into each other is always to be seen
_EARLY = 0.25  # of a frame: what the fit of a ramp may be off
_CONTAINED = 0.4  # of the ink of a fade lies where the caption has its own,
_STRONGER = 1.15  # which shows all of it by so much more
_FAINT = 0.6  # of the caption is to be seen at most in the middle of a fade's half
_RAMPED = 0.1  # what is seen of a caption in a fade varies by at least this
_REACH = 0.25  # of a line's height: what moves is looked for so far away
_LOOKED_AT = 800  # pixels
_UNLIKE = 10  # levels: what stands still differs less
_FOUND_AGAIN = 0.5  # of that difference is left where it went
_MOSTLY = 0.54  # the same text keeps at least this share of its ink


@dataclass(slots=True)
class Boundary:
    """Where one segment ends and the next begins.

    Attributes:
        end: first native frame that no longer shows the first.
        start: first native frame that shows the second, ``start >= end``.
        is_same: whether both are the same ink with nothing between: then there is no boundary at all.
        share: how much of the ink differs, 0..1.
        born: bool ``(height, width)``, ink that the second brought; None where that is not known.
    """

    end: int
    start: int
    is_same: bool
    share: float
    born: Mask | None = None


def find_boundary(first: Segment, second: Segment, line_px: float, born: Mask | None = None) -> Boundary:
    """Place the cut between two neighbors exactly, or find that there is none.

    Args:
        first: a segment.
        second: the one after it.
        line_px: height of a line.
        born: ink that the first brought when it came: while it stands, so does the caption.
    """
    cut = second.start
    change = compare_strokes(first.model, second.model, line_px)
    if not second.around_start:
        return Boundary(cut, cut, False, change.share)
    sight = _Sight.of(second.around_start, cut, line_px)
    if born is not None and _stands(first, second, born, change, sight):
        return Boundary(cut, cut, True, change.share)
    fading = _fading(first, second, change, sight)
    if fading is second:
        return Boundary(cut, cut, True, change.share)
    if fading is first:
        seen = visibility(sight.rois, second.model, second.model.stroke_mask)
        start = sight.step(seen < HALF)
        start = _half_way(sight, seen, second, rising=True) or start
        return Boundary(start, start, start <= first.start + 1, change.share)
    least = MIN_STROKE_AREA * line_px**2
    kept = first.model.stroke_mask & second.model.stroke_mask & ~change.lost & ~change.gained
    if kept.sum() >= max(least, _MOSTLY * (first.model.stroke_mask.sum() + second.model.stroke_mask.sum()) / 2):
        gap = _gap_in(first, kept, sight)
        if gap is not None:
            return gap
        beside = sight.beside()
        if change.total < _ADDED:
            return Boundary(cut, cut, not _is_other_character(first, second, change, beside, line_px), change.share)
        if synchrony(beside, first.model, second.model, change, line_px, at_once=True) >= SYNCHRONOUS:
            return Boundary(cut, cut, False, change.share)
        if synchrony(sight.rois, first.model, second.model, change, line_px, at_once=False) < SYNCHRONOUS:
            return Boundary(cut, cut, True, change.share)
        # A fade beside what stands: a sign tells nothing of what comes or goes.
        return _turn(
            first, second, change, sight, first.model.stroke_mask & ~kept, second.model.stroke_mask & ~kept, least
        )
    return _turn(first, second, change, sight, first.model.stroke_mask, second.model.stroke_mask, least)


@dataclass(frozen=True, slots=True)
class _Sight:
    """The frames around a cut: their numbers and rois."""

    cut: int
    line_px: float
    numbers: NDArray[np.int_]
    rois: list[Plane]

    @classmethod
    def of(cls, around: Sequence[tuple[int, Plane]], cut: int, line_px: float) -> _Sight:
        return cls(cut, line_px, np.array([index for index, _ in around]), [roi for _, roi in around])

    def beside(self) -> list[Plane]:
        """Give the two strips before the cut and the two after it."""
        return [roi for index, roi in zip(self.numbers, self.rois, strict=True) if -2 <= index - self.cut < 2]

    @property
    def near(self) -> int:
        """How far from the cut a moment without the caption may lie, frames."""
        return round(_NEAR * int(np.abs(self.numbers - self.cut).max()))

    def between(self, start: int, end: int) -> list[Plane]:
        """Give the strips of the frames ``start`` to ``end``."""
        return [roi for index, roi in zip(self.numbers, self.rois, strict=True) if start <= index < end]

    def step(self, before: NDArray[np.bool_]) -> int:
        """Give the frame number that best parts frames that are True from those after it."""
        return _step(self.numbers, before, self.cut)


def _turn(
    first: Segment, second: Segment, change: StrokeChange, sight: _Sight, going: Mask, coming: Mask, least: float
) -> Boundary:
    """Place the boundary where some ink goes, other ink comes, or both; with less than ``least`` there is none."""
    has_old, has_new = bool(change.lost.sum() >= least), bool(change.gained.sum() >= least)
    if not has_old and not has_new:
        return Boundary(sight.cut, sight.cut, True, change.share)
    old = visibility(sight.rois, first.model, going) if has_old else None
    new = visibility(sight.rois, second.model, coming) if has_new else None
    gone = _half_way(sight, old, first, rising=False) if old is not None else None
    come = _half_way(sight, new, second, rising=True) if new is not None else None
    born = change.gained if has_new else None
    if old is not None and new is not None:
        if gone is not None and come is not None:
            end, start = _crossed(sight.numbers, old, new, gone, come)
            return Boundary(end, start, False, change.share, born)
        seen_old = visibility(sight.rois, first.model, change.lost)
        seen_new = visibility(sight.rois, second.model, change.gained)
        end = gone or sight.step(seen_old >= HALF)
        start = come or sight.step(seen_new < HALF)
        if end != start:
            end, start = _settle(sight.numbers, seen_old, seen_new, end, start)
    elif old is not None:
        end = start = gone or sight.step(old >= HALF)
    else:
        end = start = come or sight.step(visibility(sight.rois, second.model, change.gained) < HALF)
    return Boundary(end, start, False, change.share, born)


def _crossed(
    numbers: NDArray[np.int_], old: NDArray[np.float32], new: NDArray[np.float32], gone: int, come: int
) -> tuple[int, int]:
    """Give where one text is gone and the next has come, both in a fade: one cut where they fade into each other.

    What comes covers what goes, so that neither is half to be seen for some frames: the cut is where both are alike.
    """
    low, high = min(gone, come), max(gone, come)
    between = (numbers >= low) & (numbers < high)
    if gone < come and bool((np.maximum(old, new)[between] < _AMIDST).any()):
        return gone, come
    cut = low + int((old[between] >= new[between]).sum())
    return cut, cut


def _half_way(sight: _Sight, seen: NDArray[np.float32], segment: Segment, *, rising: bool) -> int | None:
    """Give the frame from which on a caption that fades is half to be seen (no longer half, where it goes).

    The ramp is a straight line through the frames on which some of it is to be seen, against what is seen of it when
    it stands in full. None where nothing fades.
    """
    near = sight.step(seen < HALF) if rising else sight.step(seen >= HALF)
    ways = seen if rising else seen[::-1]
    numbers = sight.numbers if rising else sight.numbers[::-1]
    at = int(np.searchsorted(sight.numbers, near))
    at = at if rising else len(numbers) - at
    rest = _at_rest(ways, at)
    ways = ways - rest
    full = _in_full(ways + rest, at, segment) - rest
    low, high = at, at
    while low > 0 and _FOOT * full < ways[low - 1] < _TOP * full:
        low -= 1
    while high < len(ways) and _FOOT * full < ways[high] < _TOP * full:
        high += 1
    if high - low < _RAMP_FRAMES:
        return None
    slope, offset = np.polyfit(numbers[low:high], ways[low:high], 1)
    if (slope > 0) != rising:
        return None
    place = (HALF * full - offset) / slope
    if not numbers[low:high].min() - 1 <= place <= numbers[low:high].max() + 1:
        return None
    return int(np.ceil(place - _EARLY)) if rising else int(np.floor(place + _EARLY)) + 1


def _at_rest(ways: NDArray[np.float32], at: int) -> float:
    """Give how much is seen of a caption while it is away: over a still picture, what there is like its stroke_mask."""
    for end in range(at, _FLAT_FRAMES - 1, -1):
        flat = ways[end - _FLAT_FRAMES : end]
        if flat.max() < HALF and float(np.ptp(flat)) <= 1 - _STEADY:
            return float(np.clip(np.median(flat), 0.0, HALF))
    return 0.0


def _in_full(ways: NDArray[np.float32], at: int, segment: Segment) -> float:
    """Give how much is seen of a caption that fades when it stands: right beside the ramp, else in its own frames."""
    for begin in range(at, len(ways) - _FLAT_FRAMES + 1):
        flat = ways[begin : begin + _FLAT_FRAMES]
        if flat.max() >= HALF and flat.min() >= _STEADY * flat.max():
            return float(np.median(flat))
    own = visibility([roi for _, roi in segment.rois], segment.model, segment.model.stroke_mask)
    return float(np.clip(np.percentile(own, 80), 1.0, _OVERSHOOT))


def _stands(
    first: Segment,
    second: Segment,
    born: Mask,
    change: StrokeChange,
    sight: _Sight,
) -> bool:
    """Say whether the ink that came with a caption stands on after a cut, whatever else changes there."""
    after = sight.between(sight.cut, min(second.end, sight.cut + sight.near))
    own = born & first.model.stroke_mask
    if own.sum() < 2 * MIN_STROKE_AREA * sight.line_px**2 or len(after) < 4:
        return False
    seen = visibility(after, first.model, own)
    if seen.min() < _STANDING or seen.max() > _OVERSHOOT:
        return False
    # Not all that came was seen to come: what stands amidst it is the caption's as well.
    touching = change.touching(first.model.stroke_mask & box_around(own, sight.line_px), sight.line_px)
    return not _is_other_character(first, second, touching, sight.beside(), sight.line_px)


def _is_other_character(
    first: Segment, second: Segment, change: StrokeChange, beside: Sequence[Plane], line_px: float
) -> bool:
    """Say whether a character took the place of another at a cut, or a stroke was added to one that stays."""
    replaced = change.replacing(line_px)
    if synchrony(beside, first.model, second.model, replaced, line_px, at_once=True) >= SYNCHRONOUS:
        return True
    if changes_alone(first.model, second.model, beside, line_px):
        return True
    stays = first.model.stroke_mask & second.model.stroke_mask & ~change.lost & ~change.gained
    extended = change.extending(stays, line_px)
    return synchrony(beside, first.model, second.model, extended, line_px, at_once=True) >= _AT_ONCE


def _fading(first: Segment, second: Segment, change: StrokeChange, sight: _Sight) -> Segment | None:
    """Give the neighbor that is but the fade of the other: half of that one is to be seen on both sides."""
    beside = sight.beside()
    line_px = sight.line_px
    if len(beside) < 4 or synchrony(beside, first.model, second.model, change, line_px, at_once=True) >= SYNCHRONOUS:
        return None
    longest = int(sight.numbers.max()) - sight.cut
    for brief, lasting in ((second, first), (first, second)):
        stroke_mask, own = lasting.model.stroke_mask, brief.model.stroke_mask
        if (own & stroke_mask).sum() < _CONTAINED * own.sum():
            continue  # over a still picture, ink of the picture stands on both sides of whatever comes
        if brief.end - brief.start <= longest and stroke_mask.sum() >= MIN_STROKE_AREA * line_px**2:
            seen = visibility(sight.between(sight.cut - 2, sight.cut + 2), lasting.model, stroke_mask)
            if seen.min() >= HALF and seen.max() <= _OVERSHOOT:
                return brief
    return None


def _gap_in(first: Segment, common: Mask, sight: _Sight) -> Boundary | None:
    """Look for frames near the cut on which the ink that both sides share is away."""
    inside = np.abs(sight.numbers - sight.cut) <= sight.near
    numbers = sight.numbers[inside]
    seen = visibility([sight.rois[place] for place in np.flatnonzero(inside)], first.model, common)
    lowest = int(np.argmin(seen))
    if seen[lowest] >= AWAY or seen[:lowest].max(initial=0.0) < HALF or seen[lowest:].max() < HALF:
        return None
    left, right = lowest, lowest
    while left > 0 and seen[left - 1] < HALF:
        left -= 1
    while right + 1 < len(seen) and seen[right + 1] < HALF:
        right += 1
    return Boundary(int(numbers[left]), int(numbers[right]) + 1, False, 1.0)


def _step(numbers: NDArray[np.int_], before: NDArray[np.bool_], cut: int) -> int:
    """Give the frame number near ``cut`` that best parts frames that are True from those after it.

    Frames on the wrong side count for as much as they are near; distance from ``cut`` counts a little.
    """
    reach = 4
    places = np.append(numbers, numbers[-1] + 1)
    count = len(places)
    padded = np.concatenate([np.full(reach, before[0]), before, np.full(reach, before[-1])]).astype(int)
    upto = np.append(0, np.cumsum(padded))
    missing = reach - (upto[reach : reach + count] - upto[:count])
    left_over = upto[2 * reach : 2 * reach + count] - upto[reach : reach + count]
    beside = 2 * (1 - padded[reach - 1 : reach - 1 + count]) + 2 * padded[reach : reach + count]
    cost = np.abs(places - cut) * 0.15 + missing + left_over + beside
    return int(places[int(np.argmin(cost))])


def _settle(
    numbers: NDArray[np.int_],
    seen_old: NDArray[np.float32],
    seen_new: NDArray[np.float32],
    end: int,
    start: int,
) -> tuple[int, int]:
    """Make an overlap one cut, and a gap one cut too where it is not clearly empty."""
    low, high = min(end, start), max(end, start)
    between = (numbers >= low) & (numbers < high)
    if start > end and bool((np.maximum(seen_old, seen_new)[between] < 0.4).any()):
        return end, start
    if start > end + 2:
        return end, start
    leading = seen_old[between] >= seen_new[between]
    cut = low + int(leading.sum())
    return cut, cut


def join(first: Segment, second: Segment, line_px: float) -> Segment:
    """Make one segment of two neighbors that show the same stroke_mask."""
    inks = float(first.model.stroke_mask.sum()), float(second.model.stroke_mask.sum())
    shown = _strength(first.model, second.model), _strength(second.model, first.model)
    if min(inks) < _WEAK_INK * max(inks):  # one of them fades
        stronger = first if inks[0] > inks[1] else second
        return replace(stronger, start=first.start, end=second.end, around_start=first.around_start)
    if min(shown) < _WEAK and shown[0] * shown[1] > _SAME_PATTERN:  # the same, in part fainter
        stronger = first if shown[0] > shown[1] else second
        return replace(stronger, start=first.start, end=second.end, around_start=first.around_start)
    share = (first.end - first.start) / (second.end - first.start)
    rois = _mixed(first.rois, second.rois, share)
    pictures = _mixed(first.pictures, second.pictures, share)
    model = model_strokes([roi for _, roi in rois], line_px)
    return Segment(first.start, second.end, model, rois, pictures, first.around_start)


def _strength(model: StrokeModel, other: StrokeModel) -> float:
    """Give how much of another model's ink this one shows, 1 where it is all of it."""
    return float(visibility([model.level], other, other.stroke_mask)[0]) if other.stroke_mask.any() else 1.0


def _mixed(
    one: Sequence[tuple[int, Plane]], other: Sequence[tuple[int, Plane]], share: float
) -> list[tuple[int, Plane]]:
    """Choose even samples of two lists, ``share`` of them from the first."""
    most = max(len(one), len(other))
    first = min(len(one), max(1, round(share * most)))
    second = min(len(other), max(1, most - first))
    return [
        *(one[number] for number in np.linspace(0, len(one) - 1, first).round().astype(int)),
        *(other[number] for number in np.linspace(0, len(other) - 1, second).round().astype(int)),
    ]


def first_visible_frame(segment: Segment, stroke_mask: Mask, start: int, limit: int) -> int:
    """Give the first frame, back to ``limit``, from which on the ink is to be seen up to ``start``."""
    before = [(index, roi) for index, roi in segment.around_start if limit <= index < start]
    if not before:
        return start
    seen = visibility([roi for _, roi in before], segment.model, stroke_mask)
    for (index, _), share in zip(reversed(before), reversed(seen.tolist()), strict=True):
        if not _STANDING <= share <= _OVERSHOOT:
            break
        start = index
    return start


def is_fade_of(segment: Segment, stroke_mask: Mask, other: Segment, line_px: float) -> bool:
    """Say whether some ink is but a neighbor that comes or goes: its strokes in place, fainter, never half of them.

    Args:
        segment: what has the ink; its frames lie between its exact boundaries.
        ink: bool ``(height, width)``, its own stroke_mask.
        other: the caption before or after it.
        line_px: height of a line.
    """
    whole = other.model.stroke_mask
    if whole.sum() < MIN_STROKE_AREA * line_px**2 or (stroke_mask & whole).sum() < _CONTAINED * max(
        1, stroke_mask.sum()
    ):
        return False
    stronger = float(visibility([other.model.level], segment.model, stroke_mask)[0])
    if stronger < _STRONGER or _strength(segment.model, other.model) >= _FAINT:
        return False
    seen = visibility([roi for _, roi in segment.rois], segment.model, stroke_mask)
    return len(seen) < _FLAT_FRAMES or float(np.ptp(seen)) >= _RAMPED


def moves(segment: Segment, stroke_mask: Mask) -> bool:
    """Say whether some ink moves through the strip while its segment lasts, as signs in the scene do.

    The pixels around it on the first picture are looked for near their place on the last.
    """
    import cv2

    (_, first), (_, last) = segment.pictures[0], segment.pictures[-1]
    height, width = first.shape
    reach = 2 * max(1, round(_REACH * segment.model.line_px * height / stroke_mask.shape[0] / 2))
    near = cv2.dilate(stroke_mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    near = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
    near[:reach], near[height - reach :], near[:, :reach], near[:, width - reach :] = 0, 0, 0, 0
    rows, columns = np.nonzero(near)
    if not rows.size:
        return False
    step = max(1, len(rows) // _LOOKED_AT)
    rows, columns = rows[::step], columns[::step]
    # Blurred by about a stroke, so that a search in steps of two pixels comes near.
    here = cv2.blur(first, (5, 5))[rows, columns].astype(np.int16)
    there = cv2.blur(last, (5, 5)).astype(np.int16)
    places = rows * width + columns

    def unlike(shifts: Sequence[tuple[int, int]]) -> NDArray[np.floating]:
        """Give by how much the pixels differ where each of some shifts, down and right, takes them."""
        moved = there.take(np.add.outer([down * width + right for down, right in shifts], places))
        return np.abs(moved - here).mean(axis=1)

    unmoved = float(unlike([(0, 0)])[0])
    if unmoved < _UNLIKE:
        return False
    steps = range(1 - reach, reach, 2)
    coarse = list(itertools.product(steps, steps))
    down, right = coarse[int(np.argmin(unlike(coarse)))]
    fine = itertools.product((down - 1, down, down + 1), (right - 1, right, right + 1))
    return float(unlike(list(fine)).min()) <= _FOUND_AGAIN * unmoved


def standing(segment: Segment, stroke_mask: Mask, lines: Sequence[tuple[int, int, int, int]]) -> Mask:
    """Leave out the lines of some ink that move, ``(x0, y0, x1, y1)`` half-open."""
    kept = stroke_mask.copy()
    for x0, y0, x1, y1 in lines:
        line = np.zeros_like(stroke_mask)
        line[y0:y1, x0:x1] = stroke_mask[y0:y1, x0:x1]
        if moves(segment, line):
            kept[y0:y1, x0:x1] = False
    return kept


def without_background(model: StrokeModel, background: StrokeModel | None) -> Mask:
    """Give the ink that does not stand in the picture without a caption as well."""
    if background is None:
        return model.stroke_mask
    stays = background.stroke_mask & (np.abs(model.level - background.level) < 24)
    return model.stroke_mask & ~stays
