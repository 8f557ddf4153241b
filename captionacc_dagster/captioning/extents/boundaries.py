"""The exact boundaries of a segment: the native frames at which its own strokes cross half visibility."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.boxes import CaptionBox, mark_boxes
from captionacc_dagster.captioning.extents.segmentation import NumberedPlane, Segment, joined_small_rois
from captionacc_dagster.captioning.extents.strokes import (
    LETTERS,
    Mask,
    Plane,
    StrokeChange,
    StrokeModel,
    StrokeStyle,
    compare_strokes,
    compare_styled_strokes,
    in_style,
    is_isolated_change,
    measure_styles,
    min_stroke_px,
    model_strokes,
    synchrony,
    text_box,
    visibility,
)
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.layout.rows import SIDE_GAP

HALF = 0.5  # a boundary is where a caption crosses this visibility
_RAMP_FRAMES = 4  # a line cannot be fitted to fewer frames: then the change is a cut
_STEADY_FRAMES = 6  # over which a visibility counts as steady
_FIT_ERROR_FRAMES = 0.25  # of a fitted fade
_SPLIT_REACH = 4
_SPLIT_DISTANCE_COST = 0.15  # of a split, per frame from the cut; a frame on the wrong side costs 1 to 3
_RESTING_SHARE = 0.25  # of the difference that motion makes: what is left at rest, of compression
_MOTION_PX = 800  # pixels that are compared to detect motion


@dataclass(slots=True)
class Boundary:
    """Where one segment ends and the next begins.

    Attributes:
        end: first native frame that no longer shows the first.
        start: first native frame that shows the second, ``start >= end``.
        is_same: both show the same strokes with nothing between: then there is no boundary at all.
        share: the share of the strokes that differ, 0..1.
        appeared: bool ``(height, width)``, strokes that appeared with the second; None if that is unknown.
        is_background: both show the same caption, and what changes is behind it.
        is_line: a line comes or goes beside lines that stay.
        is_word: a word is added to those that stay.
    """

    end: int
    start: int
    is_same: bool
    share: float
    appeared: Mask | None = None
    is_background: bool = False
    is_line: bool = False
    is_word: bool = False


def find_boundary(
    first: Segment,
    second: Segment,
    line_px: float,
    appeared: Mask | None = None,
    styles: Sequence[StrokeStyle] = (),
    boxes: Sequence[CaptionBox] = (),
    styles_of_text: Sequence[StrokeStyle] = (),
) -> Boundary:
    """Place the boundary between two neighbors exactly, or find that there is none.

    Args:
        first: a segment.
        second: the one after it.
        line_px: height of a line, pixels.
        appeared: strokes that appeared with the first. While they are present, so is its caption.
        styles: of the track's text if a box or an outline bounds its letters, else empty.
        boxes: behind the track's letters, if there are any.
        styles_of_text: of the track's text, whether anything bounds it or not.
    """
    cut = second.start
    change = compare_strokes(first.model, second.model, line_px)
    if not second.around_start:
        return Boundary(cut, cut, False, change.share)
    around = _FramesAroundCut.of(_own_frames(first, second), cut, line_px)
    if change.is_change and _only_background_changes(first, second, styles, around, boxes):
        return Boundary(cut, cut, True, change.share, is_background=True)
    if (line := _line_change(first, second, change, styles_of_text, around)) is not None:
        return line
    if appeared is not None and _another_speaks(first, second, appeared, change, around):
        return Boundary(cut, cut, False, change.share, (appeared & second.model.stroke_mask) | change.gained)
    if appeared is not None and _adds_word(first, second, appeared, change, around):
        return Boundary(cut, cut, False, change.share, change.gained, is_word=True)
    if appeared is not None and _persists(first, second, appeared, change, around):
        return Boundary(cut, cut, True, change.share)
    old, new = (_text_strokes(segment.model, boxes) for segment in (first, second))
    fading = _neighbor_in_fade(first, second, (old, new), change, around, boxes)
    if fading is second:
        return Boundary(cut, cut, True, change.share)
    if fading is first:
        seen = visibility(around.rois, second.model, second.model.stroke_mask)
        start = _half_visible_frame(around, seen, second, rising=True) or around.split(seen < HALF)
        return Boundary(start, start, start <= first.start + 1, change.share)
    kept = old & new & ~change.lost & ~change.gained
    if kept.sum() < max(min_stroke_px(line_px), (1 - TUNING.different_share) * (old.sum() + new.sum()) / 2):
        return _place_transition(first, second, change, around, old, new)
    gap = _find_gap(first, kept, around)
    if gap is not None:
        return gap
    adjacent = around.adjacent()
    changed = np.count_nonzero((old & change.lost) | (new & change.gained)) / max(1, np.count_nonzero(old | new))
    if (changed if boxes else change.total) < TUNING.different_share:
        is_same = not _replaces_character(first, second, change, adjacent, line_px)
        return Boundary(cut, cut, is_same, change.share)
    if synchrony(adjacent, first.model, second.model, change, line_px, at_once=True) >= TUNING.nearly_all:
        return Boundary(cut, cut, False, change.share)
    if synchrony(around.rois, first.model, second.model, change, line_px, at_once=False) < TUNING.nearly_all:
        return Boundary(cut, cut, True, change.share)
    # A caption fades beside text that stays: only its own strokes show when.
    return _place_transition(first, second, change, around, old & ~kept, new & ~kept)


def _text_strokes(model: StrokeModel, boxes: Sequence[CaptionBox]) -> Mask:
    """Return the strokes of some frames without those that are on no box, where captions are on boxes."""
    if not boxes:
        return model.stroke_mask
    on_boxes = model.stroke_mask & mark_boxes(model, boxes)
    return on_boxes if on_boxes.sum() >= min_stroke_px(model.line_px) else model.stroke_mask


def _own_frames(first: Segment, second: Segment) -> list[NumberedPlane]:
    """Return the frames around the cut between two neighbors; beyond a brief one, others are shown."""
    low = first.start if second.start - first.start <= _SPLIT_REACH else 0
    high = second.end if second.end - second.start <= _SPLIT_REACH else second.start + len(second.around_start)
    return [item for item in second.around_start if low <= item[0] < high]


@dataclass(frozen=True, slots=True)
class _FramesAroundCut:
    """The frames around a cut: their numbers and ROIs."""

    cut: int
    line_px: float
    numbers: NDArray[np.int_]
    rois: list[Plane]

    @classmethod
    def of(cls, around: Sequence[NumberedPlane], cut: int, line_px: float) -> _FramesAroundCut:
        return cls(cut, line_px, np.array([index for index, _ in around]), [roi for _, roi in around])

    def adjacent(self) -> list[Plane]:
        """Return the two ROIs before the cut and the two after it."""
        return self.between(self.cut - 2, self.cut + 2)

    @property
    def gap_reach(self) -> int:
        """How far from the cut a gap without the caption may be, frames."""
        return round(TUNING.fade_s / TUNING.far_s * int(np.abs(self.numbers - self.cut).max()))

    def between(self, start: int, end: int) -> list[Plane]:
        """Return the ROIs of the frames from ``start`` to ``end``."""
        return [roi for index, roi in zip(self.numbers, self.rois, strict=True) if start <= index < end]

    def is_camera_cut(self, rows: slice, first: StrokeModel, second: StrokeModel) -> bool:
        """Return whether the picture beside the strokes in some rows changes at the cut."""
        import cv2

        before, after = self.between(self.cut - 1, self.cut), self.between(self.cut, self.cut + 1)
        if not before or not after:
            return False
        strokes = (first.stroke_mask | second.stroke_mask)[rows]
        beside = cv2.dilate(strokes.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
        change = cv2.absdiff(before[0][rows], after[0][rows])[beside]
        return bool(change.size) and float(np.median(change)) >= TUNING.steady_levels

    def split(self, is_before: NDArray[np.bool_]) -> int:
        """Return the frame near the cut that best separates frames that are True from those after it.

        A frame on the wrong side costs more the nearer it is. Distance from the cut costs a little.
        """
        reach = _SPLIT_REACH
        places = np.append(self.numbers, self.numbers[-1] + 1)
        count = len(places)
        padded = np.concatenate([np.full(reach, is_before[0]), is_before, np.full(reach, is_before[-1])]).astype(int)
        up_to = np.append(0, np.cumsum(padded))
        missing = reach - (up_to[reach : reach + count] - up_to[:count])
        left_over = up_to[2 * reach : 2 * reach + count] - up_to[reach : reach + count]
        next_to = 2 * (1 - padded[reach - 1 : reach - 1 + count]) + 2 * padded[reach : reach + count]
        cost = np.abs(places - self.cut) * _SPLIT_DISTANCE_COST + missing + left_over + next_to
        return int(places[int(np.argmin(cost))])


def _only_background_changes(
    first: Segment,
    second: Segment,
    styles: Sequence[StrokeStyle],
    around: _FramesAroundCut,
    boxes: Sequence[CaptionBox],
) -> bool:
    """Return whether every character in the track's styles stays, and is never absent near the cut."""
    line_px = around.line_px
    if not styles:
        return False
    places = [mark_boxes(segment.model, boxes) for segment in (first, second)] if boxes else None
    own = compare_styled_strokes(first.model, second.model, styles, line_px, places)
    if own is None or own.is_change:
        return False
    kept = first.model.stroke_mask & in_style(first.model.level, styles)
    if places is not None:
        kept &= places[0]
    return _find_gap(first, kept & ~own.lost, around) is None


def _visibility_near(
    around: _FramesAroundCut, model: StrokeModel, strokes: Mask, *, before: bool
) -> NDArray[np.float32]:
    """Return the visibility of strokes around a cut, by how they look near it; ``before``: those of what ends there.

    Letters that are darker than snow are brighter than the scene that the camera cuts to while they stay: as most of
    a caption's frames show them, they are not visible in the others.
    """
    seen = visibility(around.rois, model, strokes)
    own = np.flatnonzero((around.numbers < around.cut) == before)
    own = own[::-1] if before else own
    is_visible = seen[own] >= HALF
    unseen = own[: int(np.argmax(is_visible))] if is_visible.any() else own
    steady = unseen[-_STEADY_FRAMES:]  # in a fade, their visibility differs
    if len(steady) < _STEADY_FRAMES or np.ptp(seen[steady]) > TUNING.ramp_foot / 3:
        return seen
    near = model_strokes([around.rois[number] for number in sorted(steady)], around.line_px)
    shared = strokes & near.stroke_mask
    if 2 * shared.sum() < strokes.sum():
        return seen
    return np.maximum(seen, visibility(around.rois, near, shared))


def _place_transition(
    first: Segment, second: Segment, change: StrokeChange, around: _FramesAroundCut, going: Mask, coming: Mask
) -> Boundary:
    """Place the boundary where strokes disappear, others appear, or both; there is none where too few do."""
    least = min_stroke_px(around.line_px)
    has_old, has_new = bool(change.lost.sum() >= least), bool(change.gained.sum() >= least)
    if not has_old and not has_new:
        return Boundary(around.cut, around.cut, True, change.share)
    old = _visibility_near(around, first.model, going, before=True) if has_old else None
    new = _visibility_near(around, second.model, coming, before=False) if has_new else None
    faded_out = _half_visible_frame(around, old, first, rising=False) if old is not None else None
    faded_in = _half_visible_frame(around, new, second, rising=True) if new is not None else None
    appeared = change.gained if has_new else None
    if old is not None and new is not None:
        if faded_out is not None and faded_in is not None:
            end, start = _place_crossfade(around.numbers, old, new, faded_out, faded_in)
            return Boundary(end, start, False, change.share, appeared)
        seen_old = _visibility_near(around, first.model, change.lost, before=True)
        seen_new = _visibility_near(around, second.model, change.gained, before=False)
        end = faded_out or around.split(seen_old >= HALF)
        start = faded_in or around.split(seen_new < HALF)
        if end != start:
            end, start = _resolve(around.numbers, seen_old, seen_new, end, start)
    elif old is not None:
        end = start = faded_out or around.split(old >= HALF)
    else:
        seen_new = _visibility_near(around, second.model, change.gained, before=False)
        end = start = faded_in or around.split(seen_new < HALF)
    return Boundary(end, start, False, change.share, appeared)


def _place_crossfade(
    numbers: NDArray[np.int_], old: NDArray[np.float32], new: NDArray[np.float32], faded_out: int, faded_in: int
) -> tuple[int, int]:
    """Return where one text ends and the next begins when both fade: one cut if they fade into each other.

    In a crossfade each covers the other, so that neither may be half visible for some frames: the cut is where both
    are equally visible.
    """
    low, high = min(faded_out, faded_in), max(faded_out, faded_in)
    between = (numbers >= low) & (numbers < high)
    if faded_out < faded_in and bool((np.maximum(old, new)[between] < TUNING.crossfade_gap).any()):
        return faded_out, faded_in
    cut = low + int((old[between] >= new[between]).sum())
    return cut, cut


def _half_visible_frame(
    around: _FramesAroundCut, seen: NDArray[np.float32], segment: Segment, *, rising: bool
) -> int | None:
    """Return the first frame from which a fading caption is half visible, or no longer is; None without a fade.

    A line is fitted to the visibility in the frames of the fade, relative to that of the caption in full.
    """
    near = around.split(seen < HALF) if rising else around.split(seen >= HALF)
    ways = seen if rising else seen[::-1]
    numbers = around.numbers if rising else around.numbers[::-1]
    at = int(np.searchsorted(around.numbers, near))
    at = at if rising else len(numbers) - at
    absent = _visibility_when_absent(ways, at)
    full = _visibility_when_full(ways, at, segment) - absent
    ways = ways - absent
    foot, top = TUNING.ramp_foot * full, TUNING.ramp_top * full
    low, high = at, at
    while low > 0 and foot < ways[low - 1] < top:
        low -= 1
    while high < len(ways) and foot < ways[high] < top:
        high += 1
    if high - low < _RAMP_FRAMES:
        return None
    slope, offset = np.polyfit(numbers[low:high], ways[low:high], 1)
    if (slope > 0) != rising:
        return None
    place = (HALF * full - offset) / slope
    if not numbers[low:high].min() - 1 <= place <= numbers[low:high].max() + 1:
        return None
    return int(np.ceil(place - _FIT_ERROR_FRAMES)) if rising else int(np.floor(place + _FIT_ERROR_FRAMES)) + 1


def _visibility_when_absent(ways: NDArray[np.float32], at: int) -> float:
    """Return the steady visibility before a fade: over a static picture, how much of it resembles the strokes."""
    for end in range(at, _STEADY_FRAMES - 1, -1):
        flat = ways[end - _STEADY_FRAMES : end]
        if flat.max() < HALF and float(np.ptp(flat)) <= TUNING.ramp_foot / 3:
            return float(np.clip(np.median(flat), 0.0, HALF))
    return 0.0


def _visibility_when_full(ways: NDArray[np.float32], at: int, segment: Segment) -> float:
    """Return the steady visibility after a fade, or else that in the segment's own frames."""
    for begin in range(at, len(ways) - _STEADY_FRAMES + 1):
        flat = ways[begin : begin + _STEADY_FRAMES]
        if flat.max() >= HALF and flat.min() >= (1 - TUNING.ramp_foot / 3) * flat.max():
            return float(np.median(flat))
    own = visibility([roi for _, roi in segment.rois], segment.model, segment.model.stroke_mask)
    return float(np.clip(np.percentile(own, 80), 1.0, TUNING.overshoot))


def _resolve(
    numbers: NDArray[np.int_],
    seen_old: NDArray[np.float32],
    seen_new: NDArray[np.float32],
    end: int,
    start: int,
) -> tuple[int, int]:
    """Turn an overlap into one cut, and a short gap as well unless it is clearly empty."""
    low, high = min(end, start), max(end, start)
    between = (numbers >= low) & (numbers < high)
    if start > end and bool((np.maximum(seen_old, seen_new)[between] < TUNING.absent).any()):
        return end, start
    if start > end + 2:
        return end, start
    cut = low + int((seen_old[between] >= seen_new[between]).sum())
    return cut, cut


def _persists(
    first: Segment,
    second: Segment,
    appeared: Mask,
    change: StrokeChange,
    around: _FramesAroundCut,
) -> bool:
    """Return whether the strokes that appeared with a caption stay after a cut, whatever else changes there."""
    line_px = around.line_px
    after = around.between(around.cut, min(second.end, around.cut + around.gap_reach))
    own = appeared & first.model.stroke_mask
    if own.sum() < 2 * min_stroke_px(line_px) or len(after) < 4:
        return False
    seen = visibility(after, first.model, own)
    if seen.min() < TUNING.nearly_all or seen.max() > TUNING.overshoot:
        return False
    # Not every stroke of a caption is seen to appear: those between them belong to it as well.
    touching = change.touching(first.model.stroke_mask & text_box(own, line_px), line_px)
    return not _replaces_character(first, second, touching, around.adjacent(), line_px)


def _adds_word(first: Segment, second: Segment, appeared: Mask, change: StrokeChange, around: _FramesAroundCut) -> bool:
    """Return whether a word is added at once to words that one was added to before, in their color.

    The longer the caption, the smaller the share of it that one more word changes. A word is in one line; what changes
    in several is the text behind.
    """
    line_px = around.line_px
    kept = first.model.stroke_mask & second.model.stroke_mask & ~change.gained & ~change.lost
    before = kept & ~appeared
    if min(change.gained.sum(), before.sum()) < LETTERS * min_stroke_px(line_px):
        return False
    if change.lost.sum() > (1 - TUNING.nearly_all) * change.gained.sum():
        return False
    if np.ptp(np.percentile(np.nonzero(change.gained)[0], (5, 95))) > line_px:
        return False
    levels = [float(np.median(second.model.level[strokes])) for strokes in (kept, change.gained)]
    if abs(levels[0] - levels[1]) > TUNING.same_style_levels:
        return False
    return synchrony(around.adjacent(), first.model, second.model, change, line_px, at_once=True) >= TUNING.nearly_all


def _another_speaks(
    first: Segment, second: Segment, appeared: Mask, change: StrokeChange, around: _FramesAroundCut
) -> bool:
    """Return whether a text comes or goes at once beside the one that appeared with the first, which stays.

    It is on the same row, of the same color, and farther away than another word would be. A cut of the scene behind
    changes what is between them, or above or below, as well.
    """
    line_px = around.line_px
    least, own = 2 * min_stroke_px(line_px), appeared & first.model.stroke_mask & second.model.stroke_mask
    changed = max(change.lost, change.gained, key=np.count_nonzero)
    if own.sum() < least or changed.sum() < least:
        return False
    rows, columns = np.nonzero(own)
    beside = np.zeros(own.shape, bool)
    gap, top, bottom = round(SIDE_GAP * line_px), int(rows.min()), int(rows.max()) + 1
    beside[top:bottom, : max(0, int(columns.min()) - gap)] = True
    beside[top:bottom, int(columns.max()) + gap :] = True
    text = changed & beside
    if text.sum() < max(least, TUNING.nearly_all * np.count_nonzero(change.lost | change.gained)):
        return False
    shown = second.model if changed is change.gained else first.model
    levels = [float(np.median(shown.level[strokes])) for strokes in (own, text)]
    if abs(levels[0] - levels[1]) > TUNING.same_style_levels:
        return False
    return synchrony(around.adjacent(), first.model, second.model, change, line_px, at_once=True) >= TUNING.nearly_all


def _line_change(
    first: Segment,
    second: Segment,
    change: StrokeChange,
    styles: Sequence[StrokeStyle],
    around: _FramesAroundCut,
) -> Boundary | None:
    """Return where a whole line comes or goes above or below lines that stay; None if none does.

    It is on rows of its own, and its strokes come or go together; nearly nothing else changes. It is in one color, and
    in a color of the track: where the camera does not cut, one of both is enough, for thin strokes are uneven.
    """
    line_px = around.line_px
    changed = max(change.lost, change.gained, key=np.count_nonzero)
    kept = first.model.stroke_mask & second.model.stroke_mask & ~change.lost & ~change.gained
    least = LETTERS * min_stroke_px(line_px)
    # Letters of the picture behind, in another color, are no lines that stay.
    stay = kept & in_style(first.model.level, styles) & in_style(second.model.level, styles)
    if not styles or min(np.count_nonzero(changed), np.count_nonzero(stay)) < least:
        return None
    text = changed.copy()
    rows = np.flatnonzero(kept.any(axis=1))
    text[rows[0] : rows[-1] + 1] = False
    if text.sum() < max(least, (1 + TUNING.nearly_all) / 2 * np.count_nonzero(change.lost | change.gained)):
        return None  # letters behind the lines that stay are on their rows, too
    measured = measure_styles(second.model if changed is change.gained else first.model, text)
    pairs = [(style, known) for style in measured for known in styles if style.sign == known.sign]
    is_even = any(not style.is_uneven for style, _ in pairs)
    is_known = any(abs(style.level - known.level) <= TUNING.same_style_levels for style, known in pairs)
    beside = slice(int(rows[0]), int(rows[-1]) + 1)
    is_sure = is_even and is_known
    if not is_sure and (not (is_even or is_known) or around.is_camera_cut(beside, first.model, second.model)):
        return None
    if synchrony(around.adjacent(), first.model, second.model, change, line_px, at_once=True) >= TUNING.nearly_all:
        at = around.cut
    elif (
        is_even
        and synchrony(around.rois, first.model, second.model, change, line_px, at_once=False) >= TUNING.nearly_all
    ):
        placed = _place_transition(first, second, change, around, change.lost, change.gained)
        at = placed.start if changed is change.gained else placed.end
    else:
        return None
    appeared = second.model.stroke_mask & (kept | change.gained)
    return Boundary(at, at, False, change.share, appeared, is_line=True)


def _replaces_character(
    first: Segment, second: Segment, change: StrokeChange, adjacent: Sequence[Plane], line_px: float
) -> bool:
    """Return whether a character replaces another at a cut, or a stroke is added to a character that stays."""
    replaced = change.replacements(line_px)
    if synchrony(adjacent, first.model, second.model, replaced, line_px, at_once=True) >= TUNING.nearly_all:
        return True
    if is_isolated_change(first.model, second.model, adjacent, line_px):
        return True
    kept = first.model.stroke_mask & second.model.stroke_mask & ~change.lost & ~change.gained
    extended = change.extensions(kept, line_px)
    return (
        synchrony(adjacent, first.model, second.model, extended, line_px, at_once=True) >= (1 + TUNING.nearly_all) / 2
    )


def _neighbor_in_fade(
    first: Segment,
    second: Segment,
    texts: tuple[Mask, Mask],
    change: StrokeChange,
    around: _FramesAroundCut,
    boxes: Sequence[CaptionBox],
) -> Segment | None:
    """Return the neighbor that is merely the other's fade: the other is at least half visible on both sides.

    Args:
        first, second: the neighbors.
        texts: the strokes of the text in each.
        change: how they differ.
        around: the frames around the cut between them.
        boxes: behind the track's letters, if there are any.
    """
    adjacent, line_px = around.adjacent(), around.line_px
    if len(adjacent) < 4:
        return None
    if synchrony(adjacent, first.model, second.model, change, line_px, at_once=True) >= TUNING.nearly_all:
        return None
    longest = int(around.numbers.max()) - around.cut
    for brief, lasting, strokes in ((second, first, texts[0]), (first, second, texts[1])):
        if boxes and strokes is lasting.model.stroke_mask:
            continue  # its letters are not in the mask: what is around their box stays whatever they do
        own = brief.model.stroke_mask
        own = own & text_box(strokes, line_px) if strokes is not lasting.model.stroke_mask else own
        if (own & strokes).sum() < TUNING.different_share * own.sum():
            continue  # over a static picture, strokes of the picture are on both sides of any caption
        if brief.end - brief.start <= longest and strokes.sum() >= min_stroke_px(line_px):
            seen = visibility(adjacent, lasting.model, strokes)
            if seen.min() >= HALF and seen.max() <= TUNING.overshoot:
                return brief
    return None


def _find_gap(first: Segment, common: Mask, around: _FramesAroundCut) -> Boundary | None:
    """Find the frames nearest to the cut at which the strokes that both sides share are absent, between both sides."""
    inside = np.abs(around.numbers - around.cut) <= around.gap_reach
    numbers = around.numbers[inside]
    seen = visibility([around.rois[place] for place in np.flatnonzero(inside)], first.model, common)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen < HALF, [False]]).astype(int)))
    gaps = [
        (int(numbers[start]), int(numbers[end - 1]) + 1)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if start > 0 and end < len(seen) and seen[start:end].min() < TUNING.absent
    ]
    if not gaps:
        return None
    start, end = min(gaps, key=lambda gap: max(gap[0] - around.cut, around.cut - gap[1], 0))
    return Boundary(start, end, False, 1.0)


def join_segments(first: Segment, second: Segment, line_px: float, *, is_background: bool = False) -> Segment:
    """Return one segment made of two neighbors that show the same strokes; ``is_background`` as of a boundary."""
    joined = _joined_segments(first, second, line_px, is_background=is_background)
    return replace(joined, small_rois=joined_small_rois(first.small_rois, second.small_rois))


def _joined_segments(first: Segment, second: Segment, line_px: float, *, is_background: bool) -> Segment:
    areas = float(first.model.stroke_mask.sum()), float(second.model.stroke_mask.sum())
    strengths = _strength(first.model, second.model), _strength(second.model, first.model)
    if not is_background and min(areas) < TUNING.faded * max(areas):  # one of them fades
        stronger = first if areas[0] > areas[1] else second
        return replace(stronger, start=first.start, end=second.end, around_start=first.around_start)
    share = (first.end - first.start) / (second.end - first.start)
    pictures = _sample_both(first.pictures, second.pictures, share)
    if not is_background and _is_recolored(first.model, second.model):
        # What follows is compared with the caption as it looks now.
        return replace(second, start=first.start, pictures=pictures, around_start=first.around_start)
    if (
        not is_background
        and min(strengths) < 1 - TUNING.fainter
        and max(strengths) > 1 + TUNING.fainter  # more strokes of the picture behind make the text no stronger
        and strengths[0] * strengths[1] > 1 - TUNING.different_share
    ):
        stronger = first if strengths[0] > strengths[1] else second
        return replace(stronger, start=first.start, end=second.end, around_start=first.around_start)
    rois = _sample_both(first.rois, second.rois, share)
    model = model_strokes([roi for _, roi in rois], line_px)
    return Segment(first.start, second.end, model, rois, pictures, first.around_start)


def _is_recolored(before: StrokeModel, after: StrokeModel) -> bool:
    """Return whether part of a text changed its level and part did not, as in karaoke. A fade changes all alike.

    Over another picture, as after a cut, letters contrast otherwise without a change of their own.
    """
    common = before.stroke_mask & after.stroke_mask
    areas = float(before.stroke_mask.sum()), float(after.stroke_mask.sum())
    if common.sum() < max(min_stroke_px(before.line_px), (1 - TUNING.different_share) * sum(areas) / 2):
        return False
    old, new = before.relief[common], after.relief[common]
    # Edges of strokes are blends with the background: take the half of the pixels that contrasts most.
    inner = np.maximum(np.abs(old), np.abs(new))
    inner = inner >= np.median(inner)
    steps = np.abs(after.level[common] - before.level[common])[inner]
    if 2 * np.percentile(steps, 90) <= TUNING.steady_levels:
        return False
    ratios = new[inner] / np.where(np.abs(old[inner]) < 1, 1, old[inner])
    low, high = np.percentile(ratios, (10, 90))
    return bool(low > 0 and high > TUNING.recolored_ratio * low)


def _strength(model: StrokeModel, other: StrokeModel) -> float:
    """Return the visibility of another model's strokes in this one; 1 where it has none."""
    return float(visibility([model.level], other, other.stroke_mask)[0]) if other.stroke_mask.any() else 1.0


def _sample_both(one: Sequence[NumberedPlane], other: Sequence[NumberedPlane], share: float) -> list[NumberedPlane]:
    """Return even samples of two lists, ``share`` of them from the first."""
    count = max(len(one), len(other))
    first = min(len(one), max(1, round(share * count)))
    second = min(len(other), max(1, count - first))
    return [
        *(one[number] for number in np.linspace(0, len(one) - 1, first).round().astype(int)),
        *(other[number] for number in np.linspace(0, len(other) - 1, second).round().astype(int)),
    ]


def first_visible_frame(segment: Segment, stroke_mask: Mask, start: int, limit: int) -> int:
    """Return the first frame, not before ``limit``, from which the strokes are visible without a break up to
    ``start``.
    """
    before = [(index, roi) for index, roi in segment.around_start if limit <= index < start]
    if not before:
        return start
    seen = visibility([roi for _, roi in before], segment.model, stroke_mask)
    for (index, _), share in zip(reversed(before), reversed(seen.tolist()), strict=True):
        if not TUNING.nearly_all <= share <= TUNING.overshoot:
            break
        start = index
    return start


def is_fade_of(segment: Segment, stroke_mask: Mask, other: Segment, line_px: float) -> bool:
    """Return whether a segment's text is a neighboring caption fading in or out: the same strokes, fainter.

    Args:
        segment: its frames are within its exact boundaries.
        stroke_mask: bool ``(height, width)``, its own strokes.
        other: the segment before or after it.
        line_px: height of a line, pixels.
    """
    whole = other.model.stroke_mask
    if whole.sum() < min_stroke_px(line_px):
        return False
    if (stroke_mask & whole).sum() < TUNING.different_share * max(1, stroke_mask.sum()):
        return False
    if float(visibility([other.model.level], segment.model, stroke_mask)[0]) < 1 + TUNING.fainter:
        return False
    if _strength(segment.model, other.model) >= TUNING.faded:
        return False
    frames = [roi for _, roi in segment.rois]
    if visibility(frames, other.model, whole).min() >= TUNING.absent:
        return False  # text that is fainter than before, but remains: a fade ends in absence
    seen = visibility(frames, segment.model, stroke_mask)
    is_steady = 2 * (seen >= seen.max() - TUNING.ramp_foot).sum() > len(seen)  # karaoke that was sung, before its fade
    return len(seen) < _STEADY_FRAMES or not is_steady


def comes_and_goes(segment: Segment, neighbors: Sequence[Segment], styles: Sequence[StrokeStyle]) -> bool:
    """Return whether what a segment shows in the style of a track vanishes where its neighbors begin.

    Then it is a text, even if it could not be read. The picture is in the neighbors, too, except under their letters.
    """
    model = segment.model
    own = model.stroke_mask & in_style(model.level, styles)
    apart = [(other.model.level, own & ~other.model.stroke_mask) for other in neighbors]
    seen = [visibility([level], model, mask)[0] for level, mask in apart if mask.sum() >= min_stroke_px(model.line_px)]
    return bool(seen) and max(seen) < HALF


def only_in(segment: Segment, neighbors: Sequence[Segment], styles: Sequence[StrokeStyle]) -> Mask:
    """Mark what a segment shows in the style of a track, whatever its shape, and its neighbors do not: the picture is
    in these, too, except under their letters."""
    level = segment.model.level
    found = in_style(level, styles) if neighbors else np.zeros(level.shape, bool)
    for other in neighbors:
        found &= (np.abs(level - other.model.level) > 2 * TUNING.steady_levels) | other.model.stroke_mask
    return found


def is_moving(segment: Segment, stroke_mask: Mask, max_residual: float) -> bool:
    """Return whether strokes move through the ROI during their segment, as signs in a scene do.

    Args:
        segment: its first picture and its last one are compared.
        stroke_mask: bool ``(height, width)``, the strokes.
        max_residual: the largest share of the pictures' difference that a shift may leave.
    """
    pictures = [picture for _, picture in segment.pictures]
    first, middle, last = pictures[0], pictures[len(pictures) // 2], pictures[-1]
    if _shift_between(first, last, stroke_mask, segment.model.line_px, max_residual) is None:
        return False
    if len(pictures) < 3:
        return True
    whole, *halves = (_difference(*pair, stroke_mask) for pair in ((first, last), (first, middle), (middle, last)))
    return min(halves) >= _RESTING_SHARE * whole  # a caption that slides in or out rests for half of its time


def _slides(segment: Segment, neighbor: Segment, stroke_mask: Mask, moved: float) -> bool:
    """Return whether strokes slide in their segment's neighbor and rest in the segment, as those of a caption do.

    A sign rests in both, or in none.

    Args:
        segment, neighbor: of each, the first picture and the last one are compared.
        stroke_mask: bool ``(height, width)``, the strokes.
        moved: how much one differs from the other there, gray levels.
    """
    ends = [(part.pictures[0][1], part.pictures[-1][1]) for part in (segment, neighbor)]
    within, beside = (_difference(*pair, stroke_mask) for pair in ends)
    return len(segment.pictures) > 1 and within < _RESTING_SHARE * moved <= beside


def _difference(one: Plane, other: Plane, stroke_mask: Mask) -> float:
    """Return the mean difference of two pictures where the strokes are, gray levels."""
    import cv2

    height, width = one.shape
    strokes = cv2.resize(stroke_mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return float(cv2.absdiff(one, other)[strokes].mean())


def _shift_between(
    first: Plane, last: Plane, stroke_mask: Mask, line_px: float, max_residual: float
) -> tuple[int, int] | None:
    """Return how far strokes moved from one picture to another, ROI pixels ``(down, right)``; None if they did not.

    The pixels around the strokes in the first picture are searched near their place in the last one.
    """
    import cv2

    height, width = first.shape
    reach = 2 * max(1, round(TUNING.word_gap * line_px * height / stroke_mask.shape[0] / 2))
    near = cv2.dilate(stroke_mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    near = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
    near[:reach], near[height - reach :], near[:, :reach], near[:, width - reach :] = 0, 0, 0, 0
    rows, columns = np.nonzero(near)
    if not rows.size:
        return None
    step = max(1, len(rows) // _MOTION_PX)
    rows, columns = rows[::step], columns[::step]
    # Blurred by about the width of a stroke, so that a search in steps of two pixels comes close.
    before = cv2.blur(first, (5, 5))[rows, columns].astype(np.int16)
    after = cv2.blur(last, (5, 5)).astype(np.int16)
    places = rows * width + columns

    def differences(shifts: Sequence[tuple[int, int]]) -> NDArray[np.floating]:
        """Return the mean difference of the pixels for each shift ``(down, right)``."""
        moved = after.take(np.add.outer([down * width + right for down, right in shifts], places))
        return np.abs(moved - before).mean(axis=1)

    unmoved = float(differences([(0, 0)])[0])
    if 2 * unmoved < TUNING.steady_levels:
        return None
    steps = range(1 - reach, reach, 2)
    coarse = list(itertools.product(steps, steps))
    down, right = coarse[int(np.argmin(differences(coarse)))]
    fine = list(itertools.product((down - 1, down, down + 1), (right - 1, right, right + 1)))
    left = differences(fine)
    if left.min() > max_residual * unmoved:
        return None
    down, right = fine[int(np.argmin(left))]
    return round(down * stroke_mask.shape[0] / height), round(right * stroke_mask.shape[1] / width)


def drop_moving_lines(
    segment: Segment, stroke_mask: Mask, lines: Sequence[tuple[int, int, int, int]], max_residual: float
) -> Mask:
    """Return the strokes without the lines, ``(x0, y0, x1, y1)`` half-open, that move; see `is_moving`."""
    kept = stroke_mask.copy()
    for x0, y0, x1, y1 in lines:
        line = np.zeros_like(stroke_mask)
        line[y0:y1, x0:x1] = stroke_mask[y0:y1, x0:x1]
        if is_moving(segment, line, max_residual):
            kept[y0:y1, x0:x1] = False
    return kept


def drop_signs(
    segment: Segment, neighbor: Segment, stroke_mask: Mask, lines: Sequence[tuple[int, int, int, int]]
) -> Mask:
    """Return the strokes of a brief segment without the lines that its neighbor shows at another place, as signs.

    A sign hardly moves within a few frames. A letter of another word may look as if a brief word had moved, but has
    other letters beside it. A caption slides in or out.
    """
    import cv2

    line_px, kept = segment.model.line_px, stroke_mask.copy()
    # Compare frames that are far apart: a sign moves little from one frame to the next.
    pair = (segment.pictures[-1], neighbor.pictures[-1])
    if neighbor.start >= segment.start:
        pair = (segment.pictures[0], neighbor.pictures[0])
    reach = round(TUNING.word_gap * line_px)
    for x0, y0, x1, y1 in lines:
        line = np.zeros_like(stroke_mask)
        line[y0:y1, x0:x1] = stroke_mask[y0:y1, x0:x1]
        shift = _shift_between(pair[0][1], pair[1][1], line, line_px, TUNING.motion_residual / 2)
        if shift is None or _slides(segment, neighbor, line, _difference(pair[0][1], pair[1][1], line)):
            continue
        moved = np.roll(cv2.dilate(line.astype(np.uint8), np.ones((5, 5), np.uint8)), shift, axis=(0, 1)) > 0
        box = slice(max(0, y0 - reach), y1 + reach), slice(max(0, x0 - reach), x1 + reach)
        beside = neighbor.model.stroke_mask[box] & ~moved[box]
        if beside.sum() < line.sum():
            kept[y0:y1, x0:x1] = False
    return kept


def drop_background(model: StrokeModel, background: StrokeModel | None) -> Mask:
    """Return the strokes that are not in the picture without a caption as well."""
    if background is None:
        return model.stroke_mask
    is_kept_level = np.abs(model.level - background.level) < TUNING.same_style_levels
    return model.stroke_mask & ~(background.stroke_mask & is_kept_level)
