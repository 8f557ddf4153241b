"""Where exactly a segment begins and ends: the native frames on which half of its own ink is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.glyphs import (
    InkChange,
    InkModel,
    Mask,
    Plane,
    compare_ink,
    model_ink,
    synchrony,
    visibility,
)
from captionacc_dagster.captioning.segments import AWAY, MIN_INK, SYNCHRONOUS, Segment

HALF = 0.5
_STANDING = 0.75  # a caption that stands shows at least this share of itself
_OVERSHOOT = 1.5  # no caption shows more of itself than about all
_AT_ONCE = 0.9  # of an added stroke's pixels change together
_ADDED = 0.4  # with less change than this, a character must have taken the place of another
_WEAK = 0.6  # with less than this share of its neighbour's ink, the same text is fading
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
    """Place the cut between two neighbours exactly, or find that there is none.

    Args:
        first: a segment.
        second: the one after it.
        line_px: height of a line.
        born: ink that the first brought when it came: while it stands, so does the caption.
    """
    around = second.around_start
    cut = second.start
    change = compare_ink(first.model, second.model, line_px)
    if not around:
        return Boundary(cut, cut, False, change.share)
    numbers = np.array([index for index, _ in around])
    frames = [strip for _, strip in around]
    if born is not None and _stands(first, second, born, change, around, line_px):
        return Boundary(cut, cut, True, change.share)
    fading = _fading(first, second, change, around, line_px)
    if fading is second:
        return Boundary(cut, cut, True, change.share)
    if fading is first:
        seen = visibility(frames, second.model, second.model.ink, line_px)
        start = _step(numbers, seen < HALF, cut)
        return Boundary(start, start, start <= first.start + 1, change.share)
    least = MIN_INK * line_px**2
    kept = first.model.ink & second.model.ink & ~change.lost & ~change.gained
    if kept.sum() >= max(least, _MOSTLY * (first.model.ink.sum() + second.model.ink.sum()) / 2):
        gap = _gap_in(first, kept, numbers, frames, cut, line_px)
        if gap is not None:
            return gap
        beside = [strip for index, strip in around if cut - 2 <= index < cut + 2]
        if change.total < _ADDED:
            return Boundary(cut, cut, not _is_other_character(first, second, change, beside, line_px), change.share)
        together = synchrony(beside, first.model, second.model, change, line_px, at_once=True)
        return Boundary(cut, cut, together < SYNCHRONOUS, change.share)
    old, new = change.lost, change.gained
    has_old, has_new = bool(old.sum() >= least), bool(new.sum() >= least)
    if not has_old and not has_new:
        return Boundary(cut, cut, True, change.share)
    end = start = cut
    seen_old = visibility(frames, first.model, old, line_px) if has_old else None
    seen_new = visibility(frames, second.model, new, line_px) if has_new else None
    if seen_old is not None and seen_new is None:  # it may fade: then all of it counts
        seen_old = visibility(frames, first.model, first.model.ink, line_px)
    if seen_old is not None:
        end = _step(numbers, seen_old >= HALF, cut)
    if seen_new is not None:
        start = _step(numbers, seen_new < HALF, cut)
    if seen_old is None or seen_new is None:
        end = start = start if seen_old is None else end
    elif end != start:
        end, start = _settle(numbers, seen_old, seen_new, end, start)
    return Boundary(end, start, False, change.share, new if has_new else None)


def _stands(
    first: Segment,
    second: Segment,
    born: Mask,
    change: InkChange,
    around: Sequence[tuple[int, Plane]],
    line_px: float,
) -> bool:
    """Say whether the ink that came with a caption stands on after a cut, whatever else changes there."""
    cut = second.start
    after = [strip for index, strip in around if cut <= index < second.end]
    own = born & first.model.ink
    if own.sum() < 2 * MIN_INK * line_px**2 or len(after) < 4:
        return False
    seen = visibility(after, first.model, own, line_px)
    if seen.min() < _STANDING or seen.max() > _OVERSHOOT:
        return False
    beside = [strip for index, strip in around if cut - 2 <= index < cut + 2]
    return not _is_other_character(first, second, change.touching(own, line_px), beside, line_px)


def _is_other_character(
    first: Segment, second: Segment, change: InkChange, beside: Sequence[Plane], line_px: float
) -> bool:
    """Say whether a character took the place of another at a cut, or a stroke was added to one that stays."""
    replaced = change.replacing(line_px)
    if synchrony(beside, first.model, second.model, replaced, line_px, at_once=True) >= SYNCHRONOUS:
        return True
    stays = first.model.ink & second.model.ink & ~change.lost & ~change.gained
    extended = change.extending(stays, line_px)
    return synchrony(beside, first.model, second.model, extended, line_px, at_once=True) >= _AT_ONCE


def _fading(
    first: Segment, second: Segment, change: InkChange, around: Sequence[tuple[int, Plane]], line_px: float
) -> Segment | None:
    """Give the neighbour that is but the fade of the other: half of that one is to be seen on both sides."""
    cut = second.start
    beside = [strip for index, strip in around if cut - 2 <= index < cut + 2]
    if len(beside) < 4 or synchrony(beside, first.model, second.model, change, line_px, at_once=True) >= SYNCHRONOUS:
        return None
    longest = max(index for index, _ in around) - cut
    for brief, lasting in ((second, first), (first, second)):
        ink = lasting.model.ink
        if brief.end - brief.start <= longest and ink.sum() >= MIN_INK * line_px**2:
            seen = visibility(beside, lasting.model, ink, line_px)
            if seen.min() >= HALF and seen.max() <= _OVERSHOOT:
                return brief
    return None


def _gap_in(
    first: Segment,
    common: Mask,
    numbers: NDArray[np.int_],
    frames: Sequence[Plane],
    cut: int,
    line_px: float,
) -> Boundary | None:
    """Look for frames near the cut on which the ink that both sides share is away."""
    seen = visibility(frames, first.model, common, line_px)
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
    padded = np.concatenate([np.full(reach, before[0]), before, np.full(reach, before[-1])])
    places = np.concatenate([numbers, [numbers[-1] + 1]])
    cost = np.abs(places - cut) * 0.15
    for place in range(len(places)):
        left, right = padded[place : place + reach], padded[place + reach : place + 2 * reach]
        cost[place] += np.sum(~left) + np.sum(right) + 2 * (not left[-1]) + 2 * (right.size > 0 and bool(right[0]))
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
    """Make one segment of two neighbours that show the same ink."""
    inks = float(first.model.ink.sum()), float(second.model.ink.sum())
    if min(inks) < _WEAK * max(inks):  # one of them fades
        stronger = first if inks[0] > inks[1] else second
        return Segment(first.start, second.end, stronger.model, stronger.pictures, first.around_start)
    share = (first.end - first.start) / (second.end - first.start)
    frames = _mixed(first.model.frames, second.model.frames, share)
    pictures = _mixed(first.pictures, second.pictures, share)
    return Segment(first.start, second.end, model_ink(frames, line_px), pictures, first.around_start)


def _mixed(one: Sequence[Plane], other: Sequence[Plane], share: float) -> list[Plane]:
    """Choose even samples of two lists, ``share`` of them from the first."""
    most = max(len(one), len(other))
    first = min(len(one), max(1, round(share * most)))
    second = min(len(other), max(1, most - first))
    return [
        *(one[number] for number in np.linspace(0, len(one) - 1, first).round().astype(int)),
        *(other[number] for number in np.linspace(0, len(other) - 1, second).round().astype(int)),
    ]


def earliest_sight(segment: Segment, ink: Mask, start: int, limit: int, line_px: float) -> int:
    """Give the first frame, back to ``limit``, from which on the ink is to be seen up to ``start``."""
    before = [(index, strip) for index, strip in segment.around_start if limit <= index < start]
    if not before:
        return start
    seen = visibility([strip for _, strip in before], segment.model, ink, line_px)
    for (index, _), share in zip(reversed(before), reversed(seen.tolist()), strict=True):
        if not _STANDING <= share <= _OVERSHOOT:
            break
        start = index
    return start


def own_ink(model: InkModel, background: InkModel | None) -> Mask:
    """Give the ink that does not stand in the picture without a caption as well."""
    if background is None:
        return model.ink
    stays = background.ink & (np.abs(model.level - background.level) < 24)
    return model.ink & ~stays
