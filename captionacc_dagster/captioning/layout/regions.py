"""The region of a track: what is followed of the picture, with room for longer lines and a second one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.fixtures import is_mostly_in, overlap
from captionacc_dagster.captioning.layout.model import Track
from captionacc_dagster.captioning.layout.rows import Line, Row, box_of, weighted_median
from captionacc_dagster.captioning.layout.tracks import FoundTrack
from captionacc_dagster.captioning.layout.tuning import TUNING

_BORDER = 0.01  # of the picture along the text: the region stays away from its edges
_WHOLE_LINE = 0.6  # of the tallest place: a lower one is a part of a line
_ON_ANCHOR = 1.2  # line heights: a line farther from the anchor was found in one with something else


def track_of(
    found: FoundTrack,
    size: tuple[int, int],
    avoid: Sequence[BBox],
    elsewhere: Sequence[BBox],
    followed: Sequence[BBox] = (),
) -> Track:
    """Return the track, without a name, of rows that belong together.

    Args:
        found: the rows.
        size: ``(width, height)`` of the samples, pixels.
        avoid: boxes of text that stays and is no caption.
        elsewhere: boxes of other text that is not followed.
        followed: boxes of the other tracks' text, where no room is left for a second line.
    """
    line_height = _line_height(found)
    along, across = (size[1], size[0]) if found.vertical else size
    places = _line_places(found.rows, line_height)
    room = [
        (low, high)
        for low, high in _room_for_a_line(found, places, line_height, across)
        if not any(min(high, box.bottom * across) - max(low, box.top * across) > 0.5 * (high - low) for box in followed)
    ]
    taken = [*places, *_line_places(found.covering, line_height), *room]
    low = min(place[0] for place in taken) - TUNING.margin * line_height
    high = max(place[1] for place in taken) + TUNING.margin * line_height
    texts = max(row.distinct for row in found.rows)
    lines = _own_lines(found, size, [*avoid, *elsewhere])
    anchor = found.anchor
    at = None if anchor is None else _anchor_of(lines, anchor)
    if anchor and at is not None and not all(_is_anchored(line, at, anchor) for line in lines if _tells_anchor(line)):
        # The region reaches over lines elsewhere: what is far from the anchor there is text of the track.
        anchor = at = None
    start = float(min(line.start for line in lines))
    end = float(max(line.end for line in lines))
    # The longest of a few texts is shorter than the longest of all.
    reserve = TUNING.region_reserve * (end - start) / max(1.0, (texts / 4) ** 0.5)
    spare = TUNING.track_reach * line_height + max(reserve, _longest_unbroken(lines) - (end - start)) / 2
    if found.anchor == "center":
        middle = _anchor_of(lines, "center")
        half = max(middle - start, end - middle) + spare
        start, end = middle - half, middle + half
    elif found.anchor == "left":
        start, end = start - 0.5 * line_height, end + 2 * spare
    elif found.anchor == "right":
        start, end = start - 2 * spare, end + 0.5 * line_height
    else:
        start, end = start - spare, end + spare
    if found.limits is not None:
        start, end = max(start, found.limits[0]), min(end, found.limits[1])
    inner = max(_BORDER * along, start), min((1 - _BORDER) * along, end)
    if inner[0] >= inner[1]:  # text at the very edge
        inner = max(0.0, start), min(float(along), end)
    region = box_of(found.vertical, *inner, low, high, size)
    return Track(
        name="",
        region=region,
        line_height=line_height / across,
        vertical=found.vertical,
        anchor=anchor or "mixed",
        anchor_position=None if at is None else at / along,
        confidence=found.confidence,
        lines=tuple((low / across, high / across) for low, high in places),
        room=next(((low / across, high / across) for low, high in room), None),
        texts_seen=texts,
        avoid=tuple(box.as_tuple() for box in avoid if overlap(box, region) > 0),
        kind=found.kind,
    )


def _own_lines(found: FoundTrack, size: tuple[int, int], elsewhere: Sequence[BBox]) -> list[Line]:
    """Return the lines of a track without those that were found in one with other text.

    Those are away from the anchor and reach into a place of other text.
    """
    lines = [line for row in found.all_rows for line in row.lines]
    if found.anchor is None:
        return lines
    own, at = [], _anchor_of(lines, found.anchor)
    for line in lines:
        box = box_of(found.vertical, line.start, line.end, line.low, line.high, size)
        if _is_anchored(line, at, found.anchor) or not any(is_mostly_in(other, box) for other in elsewhere):
            own.append(line)
    return own or lines


def _longest_unbroken(lines: Sequence[Line]) -> float:
    """Return how long a text is whose lines are broken, were it one line, pixels; 0 where a line by itself is as long
    as any: halves of texts do not tell how long a line gets."""
    lengths: dict[int, list[float]] = {}
    for line in lines:
        lengths.setdefault(line.sample, []).append(line.length)
    alone = max((own[0] for own in lengths.values() if len(own) == 1), default=0.0)
    broken = [own for own in lengths.values() if len(own) > 1]
    longest = max((max(own) for own in broken), default=0.0)
    return max((sum(own) for own in broken), default=0.0) if alone < longest else 0.0


def _line_places(rows: Sequence[Row], line_height: float) -> list[tuple[float, float]]:
    """Return the places of rows across the text, pixels, in order."""
    heights = [min(row.height, TUNING.detector_box * line_height) for row in rows]
    middles = [(row.low + row.high) / 2 for row in rows]
    return sorted((middle - height / 2, middle + height / 2) for middle, height in zip(middles, heights, strict=True))


def _room_for_a_line(
    found: FoundTrack, places: Sequence[tuple[float, float]], line_height: float, across: int
) -> list[tuple[float, float]]:
    """Return the place of a second line, above at the bottom and below at the top, where few texts of one line were
    seen."""
    texts = max(row.distinct for row in found.rows)
    height = max(high - low for low, high in places)
    whole = [(low + high) / 2 for low, high in places if high - low >= _WHOLE_LINE * height]
    if found.vertical or len(whole) != 1 or texts >= 2 * TUNING.settled_texts:
        return []
    middle = whole[0] + (2 - TUNING.detector_box) * line_height * (-1 if 2 * whole[0] > across else 1)
    return [(middle - height / 2, middle + height / 2)]


def _line_height(found: FoundTrack) -> float:
    """Return the height of a line of a track, pixels.

    Boxes grow with what surrounds the text and with how small the searched picture was: the lower ones are right, and
    those found in large pictures more than others.
    """
    texts = max(row.distinct for row in found.rows)
    main = max((row for row in found.rows if 2 * row.distinct >= texts), key=lambda row: row.height)
    loose = [line.height for line in main.lines if not line.fine]
    fine = [TUNING.detector_box * line.height for line in main.lines if line.fine and line.length >= 2 * line.height]
    return min((float(np.percentile(heights, 25)) for heights in (loose, fine) if heights), default=main.height)


def _is_anchored(line: Line, at: float, anchor: str) -> bool:
    """Return whether a line is where the track's lines are; one that was found in one with something else is not."""
    return abs(_side((line.start, line.end), anchor) - at) <= _ON_ANCHOR * line.height


def _tells_anchor(line: Line) -> bool:
    """Return whether a line was found whole for certain: a part of one is off its track's anchor."""
    return line.still == 1 and line.score >= TUNING.certain_score


def _anchor_of(lines: Sequence[Line], anchor: str) -> float:
    """Return where most of the lines have their anchored side, pixels along the text.

    A line that was found in one with what is beside it, such as the number of a line of code or a sign, has a side of
    each part: that of the text is where the most lines have one.
    """
    lengths = np.array([line.length for line in lines])
    usual = weighted_median(np.array([_side((line.start, line.end), anchor) for line in lines]), lengths)
    if all(len(line.spans) == 1 for line in lines):
        return usual
    parts = [[_side(span, anchor) for span in ((line.start, line.end), *line.spans)] for line in lines]
    sides, firsts = np.concatenate(parts), np.cumsum([0, *map(len, parts[:-1])])
    heights = np.array([line.height for line in lines])
    others = np.unique(sides)
    others = others[np.abs(others - usual) > TUNING.row_offset * np.median(heights)]
    places = np.append(usual, others)
    off = np.minimum.reduceat(np.abs(places[:, None] - sides), firsts, axis=1) / heights  # (places, lines)
    weights = (off <= TUNING.row_offset) @ lengths
    best = int(np.argmax(weights))  # the usual place if no other one has more
    if best == 0:
        return usual
    is_there = off[best] <= TUNING.row_offset
    nearest = np.array([min(own, key=lambda side: abs(side - places[best])) for own in parts])
    return weighted_median(nearest[is_there], lengths[is_there])


def _side(span: tuple[float, float], anchor: str) -> float:
    start, end = span
    return {"left": start, "right": end}.get(anchor, (start + end) / 2)
