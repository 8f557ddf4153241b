"""Split the stroke mask of a caption into its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.layout.rows import SIDE_GAP
from captionacc_dagster.captioning.ocr.base import Recognition

_SEAM = -1  # strokes in a row that parts two lines
_LETTERS = 0.6  # line heights: what is as high as letters, above and below rows without strokes
_BARE = 0.05  # of the strokes in the fullest row: a descender or a speck of the picture, between two lines
_FLUSH = 0.2  # line heights: two lines begin at one place, though letters leave more or less room beside them


@dataclass(frozen=True, slots=True)
class Anchor:
    """The side of a track's text that stays in place when the text changes.

    Attributes:
        side: ``left``, ``center`` or ``right``.
        position: where that side is, pixels.
    """

    side: str
    position: float

    def distance(self, start: float, end: float) -> float:
        """Return how far the anchored side of a text from ``start`` to ``end`` is from its place, pixels."""
        at = {"left": start, "right": end}.get(self.side, (start + end) / 2)
        return abs(at - self.position)

    def fits(self, start: float, end: float, line_px: float) -> bool:
        """Return whether a text from ``start`` to ``end`` may be anchored here."""
        return self.distance(start, end) <= TUNING.line_pitch * line_px


def split_lines(
    stroke_mask: Mask,
    line_px: float,
    *,
    vertical: bool = False,
    seams: Sequence[float] = (),
    anchor: Anchor | None = None,
) -> list[tuple[int, int, int, int]]:
    """Return the boxes of the lines of a stroke mask, ``(x0, y0, x1, y1)`` in pixels, half-open, in reading order.

    Args:
        stroke_mask: bool ``(height, width)``.
        line_px: height of a line (width of a column), pixels.
        vertical: lines are columns, read from right to left.
        seams: rows (columns) near which two lines may meet, pixels.
        anchor: where the text of the track is; text far from it is left out.
    """
    if vertical:
        boxes = split_lines(stroke_mask.T, line_px, seams=seams, anchor=anchor)
        return [(y0, x0, y1, x1) for x0, y0, x1, y1 in reversed(boxes)]
    profile = stroke_mask.sum(axis=1)
    for seam in seams:
        profile = _with_seam(profile, seam, line_px)
    bands = _bands(profile, line_px)
    extents = [_extent(stroke_mask[top:bottom], line_px, anchor) for top, bottom in bands]
    if anchor is not None and len(bands) > 1:
        wholes = [_extent(stroke_mask[top:bottom], line_px, None) for top, bottom in bands]
        known = [whole for whole, extent in zip(wholes, extents, strict=True) if whole is not None and whole == extent]
        # Too few lines were seen to tell the anchor: of lines that begin or end together, all are of the text.
        extents = [
            whole
            if extent is None
            and whole is not None
            and any(_are_flush(whole, other, stroke_mask.shape[1], line_px) for other in known)
            else extent
            for whole, extent in zip(wholes, extents, strict=True)
        ]
    return [
        (extent[0], top, extent[1], bottom)
        for (top, bottom), extent in zip(bands, extents, strict=True)
        if extent is not None
    ]


def _are_flush(extent: tuple[int, int], other: tuple[int, int], width: int, line_px: float) -> bool:
    """Return whether two lines begin or end at the same place, other than where the picture of them ends."""
    slack = _FLUSH * line_px
    begins = min(extent[0], other[0]) > slack and abs(extent[0] - other[0]) <= slack
    ends = max(extent[1], other[1]) < width - slack and abs(extent[1] - other[1]) <= slack
    return begins or ends


def split_texts(strokes: Mask, line: Recognition, extent: tuple[float, float], line_px: float) -> list[tuple[int, int]]:
    """Return from where to where each of the texts in a line reaches, columns of ``strokes``, half-open.

    Strokes that the mask lacks leave gaps, too: nothing may have been read in the gap between two texts.

    Args:
        strokes: of the line, bool ``(height, width)``.
        line: what was read in it.
        extent: from where to where the image that was read reaches, columns of ``strokes``.
        line_px: height of a line, pixels.
    """
    columns = np.flatnonzero(strokes.any(axis=0))
    if not columns.size:
        return []
    gap = SIDE_GAP * line_px
    start, end = extent
    read = [
        start + place * (end - start) for place, letter in zip(line.positions, line.text, strict=False) if letter != " "
    ]
    cuts = [
        int(number) + 1
        for number in np.flatnonzero(np.diff(columns) > gap)
        if not any(columns[number] + line_px / 2 < place < columns[number + 1] - line_px / 2 for place in read)
    ]
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(columns, cuts)]


def _extent(line: Mask, line_px: float, anchor: Anchor | None) -> tuple[int, int] | None:
    """Return the first and last column of a line, without text far from the rest of it; None if none is near.

    Args:
        line: its strokes, bool ``(height, width)``.
    """
    profile = line.sum(axis=0)
    columns = np.flatnonzero(profile)
    if not columns.size:
        return None
    parts = _runs(columns, TUNING.column_gap * line_px)
    if anchor is None:
        return int(columns[0]), int(columns[-1]) + 1
    strokes = np.array([profile[part].sum() for part in parts], float)
    best, extent = -np.inf, None
    for first in range(len(parts)):
        for last in range(first, len(parts)):
            start, end = int(parts[first][0]), int(parts[last][-1]) + 1
            off = anchor.distance(start, end)
            # As much of the strokes as possible, as near to the anchor as possible for a line of this width.
            score = strokes[first : last + 1].sum() / strokes.sum() - off / (2 * line_px + (end - start) / 2)
            if anchor.fits(start, end, line_px) and score > best:
                best, extent = score, (start, end)
    return _without_specks(line, extent, line_px, anchor) if extent else None


def _without_specks(strokes: Mask, extent: tuple[int, int], line_px: float, anchor: Anchor) -> tuple[int, int]:
    """Return a line's extent without the specks at its ends if that brings the line closer to its anchor.

    Texture beside a word of two letters may have as many strokes as half of one. It is left out when its pieces are
    small and the rest of the line is exactly where the track has its text.

    Args:
        strokes: of the line, bool ``(height, width)``.
    """
    start, end = extent
    profile = strokes.sum(axis=0)
    parts = _runs(start + np.flatnonzero(profile[start:end]), TUNING.speck_gap * line_px)
    is_specks = [_has_only_specks(strokes[:, part[0] : part[-1] + 1], line_px) for part in parts]
    if all(is_specks):  # an ellipsis
        return extent
    total, gain = float(profile[start:end].sum()), TUNING.speck_gap / 2 * line_px
    best, closest = extent, anchor.distance(start, end) - gain
    for first in range(len(parts)):
        if not all(is_specks[:first]):
            break
        for last in range(len(parts) - 1, first - 1, -1):
            if not all(is_specks[last + 1 :]):
                break
            rest = (int(parts[first][0]), int(parts[last][-1]) + 1)
            off, dropped = anchor.distance(*rest), 1 - float(profile[slice(*rest)].sum()) / total
            if off < closest and (dropped <= TUNING.speck_share or (4 * dropped < 1 and off <= gain)):
                best, closest = rest, off
    return best


def _has_only_specks(strokes: Mask, line_px: float) -> bool:
    """Return whether no connected piece of a part of a line is half as large as a letter."""
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(strokes, np.uint8), connectivity=8)
    return bool(stats[1:, 2:4].max(initial=0) <= TUNING.speck_width * line_px)


def _runs(places: NDArray[np.int_], gap: float) -> list[NDArray[np.int_]]:
    """Return sorted places grouped into runs that are more than ``gap`` apart."""
    return np.split(places, np.flatnonzero(np.diff(places) > gap) + 1)


def _with_seam(profile: NDArray[np.int_], seam: float, line_px: float) -> NDArray[np.int_]:
    """Return the profile with the row marked at which two lines meet near a seam, if both are there.

    Args:
        profile: strokes in each row, pixels.
    """
    reach = TUNING.lowest_letters * line_px
    low, high = max(1, round(seam - reach)), min(len(profile) - 1, round(seam + reach) + 1)
    if low >= high:
        return profile
    row = low + int(np.argmin(profile[low:high]))
    line = round(0.8 * line_px)  # a line without its descenders
    sides = min(profile[max(0, row - line) : row].max(initial=0), profile[row + 1 : row + line].max(initial=0))
    if 2 * profile[row] > sides:  # a row with more than half of the strokes beside it crosses a line
        return profile
    parted = profile.copy()
    parted[row] = _SEAM
    return parted


def _bands(profile: NDArray[np.int_], line_px: float) -> list[tuple[int, int]]:
    """Return the bands of rows that contain one line each, from top to bottom."""
    rows = np.flatnonzero(profile > 0)
    if not rows.size:
        return []
    bands = [[int(rows[0]), int(rows[0]) + 1]]
    for row in rows[1:].tolist():
        if row - bands[-1][1] <= TUNING.accent * line_px and not (profile[bands[-1][1] : row] == _SEAM).any():
            bands[-1][1] = row + 1
        else:
            bands.append([row, row + 1])
    single: list[tuple[int, int]] = []
    for top, bottom in bands:
        single.extend(_cut_band(profile, top, bottom, line_px))
    return _joined_bands(single, np.flatnonzero(profile == _SEAM), line_px)


def _cut_band(profile: NDArray[np.int_], top: int, bottom: int, line_px: float) -> list[tuple[int, int]]:
    """Return a band of several lines cut at the rows with the fewest strokes between them."""
    count = round((bottom - top) / (TUNING.line_pitch * line_px))
    bare = np.flatnonzero(profile[top:bottom] <= _BARE * profile[top:bottom].max()) + top
    apart = bare[np.minimum(bare - top, bottom - 1 - bare) >= _LETTERS * line_px]
    if apart.size and count < 2:  # lines lower than thought: an accent or a dot is lower than either
        cut = int(apart[np.argmin(profile[apart])])
        return [(top, cut), (int(np.flatnonzero(profile[cut:bottom] > 0)[0]) + cut, bottom)]
    if bottom - top < 1.5 * line_px:  # there is no second one
        return [(top, bottom)]
    if count < 2:
        return [(top, bottom)]
    middle = top + (bottom - top) / count
    low, high = round(middle - 0.3 * line_px), round(middle + 0.3 * line_px)
    cut = low + int(np.argmin(profile[low:high]))
    return [(top, cut), *_cut_band(profile, cut, bottom, line_px)]


def _joined_bands(bands: list[tuple[int, int]], seams: NDArray[np.int_], line_px: float) -> list[tuple[int, int]]:
    """Return the bands with those too low to be a line (accents, dots) joined to the line beside them."""
    joined: list[tuple[int, int]] = []
    for top, bottom in bands:
        parted = bool(joined) and bool(((seams >= joined[-1][1]) & (seams <= top)).any())
        if joined and not parted and bottom - joined[-1][0] <= TUNING.line_pitch * line_px:
            joined[-1] = (joined[-1][0], bottom)
        else:
            joined.append((top, bottom))
    return joined
