"""The box behind a track's letters: an even area that ends just beyond them. What is not on it is other text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import CaptionWarning
from captionacc_dagster.captioning.extents.reading_tuning import TUNING as READING
from captionacc_dagster.captioning.extents.strokes import (
    Mask,
    Plane,
    StrokeModel,
    StrokeStyle,
    in_style,
    measure_styles,
    min_stroke_px,
    nearest_odd,
)
from captionacc_dagster.captioning.extents.tuning import TUNING

_CORNER = 1 / 6  # line heights: rows at the top and bottom of a box that say nothing about its sides
_MOST_LEVELS = 6  # at which boxes are searched


@dataclass(frozen=True, slots=True)
class CaptionBox:
    """The box behind the letters of a text.

    Attributes:
        level: its luma, 0..255.
        style: of the letters on it.
    """

    level: float
    style: StrokeStyle

    def is_like(self, other: CaptionBox) -> bool:
        """Return whether two boxes are of one color, with letters of one color on them."""
        return 2 * abs(self.level - other.level) <= TUNING.steady_levels and self.has_letters_of(other.style)

    def has_letters_of(self, style: StrokeStyle) -> bool:
        """Return whether the letters on it have a style."""
        return self.style.sign == style.sign and abs(self.style.level - style.level) <= TUNING.same_style_levels


def find_boxes(model: StrokeModel) -> list[tuple[CaptionBox, Mask]]:
    """Return the boxes behind letters in some frames, each with where it is, bool ``(height, width)``.

    A box is even and ends just beyond its letters on both sides.
    """
    line_px, width = model.line_px, model.level.shape[1]
    found = []
    for level in _common_levels(model):
        for area in _areas_at(model, level):
            columns = np.flatnonzero(area.any(axis=0))
            left, right = int(columns[0]), int(columns[-1]) + 1
            if left < TUNING.edge_px or right > width - TUNING.edge_px:
                continue
            letters = model.stroke_mask & area
            plain = _is_at(model, level)[area & ~_near(letters, TUNING.edge_px)]
            is_even = plain.size and plain.mean() >= TUNING.nearly_all
            style = next(iter(measure_styles(model, area)), None)
            if style is None or not is_even:
                continue
            own = np.flatnonzero((letters & in_style(model.level, (style,))).any(axis=0))
            is_tight = own.size and max(own[0] - left, right - 1 - own[-1]) <= line_px
            is_apart = (style.level - level) * style.sign >= TUNING.other_style * style.tolerance
            if is_tight and is_apart and not _parts_text(model, style, area):
                found.append((CaptionBox(level, style), area))
    return found


def _parts_text(model: StrokeModel, style: StrokeStyle, area: Mask) -> bool:
    """Return whether a side of an area is between letters of one line, as that of a wall behind them may be: a box
    contains all of its line."""
    letters = model.stroke_mask & in_style(model.level, (style,))
    parted = _parted_letters(letters, area, model.line_px)
    return bool(4 * np.count_nonzero(parted.any(axis=1)) >= model.line_px)


def _parted_letters(letters: Mask, area: Mask, line_px: float) -> Mask:
    """Mark the letters on an area that others of their line are beside, no farther than a space, beyond its sides."""
    import cv2

    # Letters that touch a side of their box leave notches in it, and edges of a page are beside it.
    upright = np.ones((round(line_px), 1), np.uint8)
    whole = cv2.morphologyEx(area.view(np.uint8), cv2.MORPH_CLOSE, upright) > 0
    beyond = letters & ~_near(whole, 2 * TUNING.edge_px)
    space = np.ones((1, 2 * round(READING.column_gap * line_px) + 1), np.uint8)
    return np.asarray(letters & whole & (cv2.dilate(beyond.view(np.uint8), space) > 0))


def _between_straight_sides(area: Mask, strokes: Mask, line_px: float) -> Mask | None:
    """Return what is between the sides of an area if they are mostly straight, as far as pixels tell; else None.

    They are straight for a quarter of a line at a time, except where one line of a box is wider than the next. Those of
    the outline of a word and of parts of the scene are not. Letters close to a side leave notches in it, which are
    filled. Corners may be round.

    Args:
        area: bool ``(height, width)``.
        strokes: of letters, in the same place.
        line_px: height of a line, pixels.
    """
    import cv2

    corner, size = round(_CORNER * line_px), max(2, round(line_px / 4))
    rows = np.flatnonzero(area.any(axis=1))
    if len(rows) - 2 * corner < size:
        return None
    steps = max(0, round(len(rows) / line_px) - 1)
    columns, letters = np.arange(area.shape[1]), _near(strokes, TUNING.edge_px)[rows]
    between = np.ones((len(rows), area.shape[1]), bool)
    flipped = between[:, ::-1], area[rows][:, ::-1], letters[:, ::-1]
    for inside, part, here in ((between, area[rows], letters), flipped):
        ragged = np.argmax(part, axis=1)[:, np.newaxis]
        kernel = np.ones((size, 1), np.uint8)
        side = cv2.morphologyEx(ragged.astype(np.float32), cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REPLICATE)
        notch = (columns >= side) & (columns < ragged)
        is_of_letters = (here & notch).sum(axis=1) >= TUNING.nearly_all * notch.sum(axis=1)
        side = np.where(is_of_letters[:, np.newaxis], side, ragged)
        pieces = np.lib.stride_tricks.sliding_window_view(side[corner : len(side) - corner, 0], size)
        uneven = int((np.ptp(pieces, axis=1) > TUNING.edge_px).sum()) - steps * size
        if uneven > (1 - TUNING.nearly_all) * len(pieces):
            return None
        inside &= columns >= side
    filled = np.zeros_like(area)
    filled[rows] = between
    return filled


def _without_narrow_parts(area: Mask, strokes: Mask) -> Mask:
    """Return an area without rows narrower than half of its widest that contain no letters, as a line of few words
    does: those are of something in its color that touches it."""
    widths = area.sum(axis=1)
    is_narrow = 2 * widths < widths.max()
    kept = area.copy()
    for rows in np.split(np.arange(len(area)), np.flatnonzero(np.diff(is_narrow)) + 1):
        if is_narrow[rows[0]] and not (strokes & area)[rows].any():
            kept[rows] = False
    return kept


def _common_levels(model: StrokeModel) -> list[float]:
    """Return the levels at which many pixels are, the most frequent first."""
    reach = TUNING.steady_levels // 2
    counts = np.bincount(np.clip(model.level, 0, 255).round().astype(np.int64).ravel(), minlength=256)
    levels = []
    while len(levels) < _MOST_LEVELS:
        near = np.convolve(counts, np.ones(2 * reach + 1, int), "same")
        level = int(np.argmax(near))
        if near[level] < model.line_px**2:
            break
        low, high = max(0, level - reach), level + reach + 1
        levels.append(float(np.average(np.arange(low, min(256, high)), weights=counts[low:high])))
        counts[low:high] = 0
    return levels


def _is_at(model: StrokeModel, level: float) -> Mask:
    return np.asarray(2 * np.abs(model.level - level) <= TUNING.steady_levels)


def _areas_at(model: StrokeModel, level: float) -> list[Mask]:
    """Return the areas at a level that are half as wide and high as a line or more, with what is between their
    sides, which are straight: those of the outline of a word are not.

    A box around letters without ascenders or descenders is lower than the track's lines usually are. Letters on an area
    are between its sides, even where they reach its edge.
    """
    import cv2

    closed = cv2.morphologyEx(_is_at(model, level).view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, found, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    stats, areas = np.asarray(found), []
    is_large = (2 * stats[:, cv2.CC_STAT_WIDTH] >= model.line_px) & (2 * stats[:, cv2.CC_STAT_HEIGHT] >= model.line_px)
    for number in np.flatnonzero(is_large[1:]) + 1:
        x, y, width, height, _ = stats[number].tolist()
        place = slice(y, y + height), slice(x, x + width)
        part = np.asarray(labels)[place] == number
        after = np.logical_or.accumulate(part, axis=1)
        inside = after & np.logical_or.accumulate(part[:, ::-1], axis=1)[:, ::-1]
        inside = _without_narrow_parts(inside, model.stroke_mask[place])
        if 2 * inside.any(axis=1).sum() < model.line_px:
            continue
        if (between := _between_straight_sides(inside, model.stroke_mask[place], model.line_px)) is not None:
            area = np.zeros(model.level.shape, bool)
            area[place] = between
            areas.append(area)
    return areas


def common_boxes(
    measured: Sequence[Sequence[CaptionBox]], unboxed: Sequence[StrokeStyle], known: Sequence[CaptionBox]
) -> tuple[CaptionBox, ...]:
    """Return the boxes behind the lines of a track, one for each color; none where many lines have no box.

    A box that shines through has the color of what is behind it, which may change. Letters of another color, on boxes
    of another one, are captions too, as those of another speaker, where these are not shown together with the others:
    text of a slide behind captions is.

    Args:
        measured: boxes that were found behind lines, those of the same frames together.
        unboxed: styles of lines of letters without a box. Those that look like letters on a box may be captions.
        known: the boxes that were known before.
    """
    groups: list[list[CaptionBox]] = []
    for box in (box for together in measured for box in together):
        home = next((group for group in groups if group[0].is_like(box)), None)
        if home is None:
            groups.append([box])
        else:
            home.append(box)
    main = max(groups, key=len, default=[])
    if len(main) < 2:
        return ()
    same = [group for group in groups if group[0].has_letters_of(main[0].style)]
    alike = sum(main[0].has_letters_of(style) for style in unboxed)
    if sum(map(len, same)) < (1 if known else 2) * alike:
        return ()
    with_main = [box for boxes in measured if any(box in group for group in same for box in boxes) for box in boxes]
    others = [group for group in groups if group not in same and len(group) > 1]
    return tuple(group[0] for group in (*same, *others) if group in same or not any(box in with_main for box in group))


def boxes_in(model: StrokeModel, boxes: Sequence[CaptionBox]) -> list[tuple[CaptionBox, Mask]]:
    """Return which boxes some frames show, each with where it is, letters included, bool ``(height, width)``.

    Where none of these is, one in another color with letters like theirs counts: that of another speaker, or one that
    shines through; then letters like theirs that are on a box by what is around them.
    """
    shown = [(box, area) for box in boxes if (area := _mark_box(model, box)).any()]
    if not shown:
        shown = [found for found in find_boxes(model) if any(box.has_letters_of(found[0].style) for box in boxes)]
    return shown or [(box, area) for box in boxes if (area := _mark_by_letters(model, box)).any()]


def mark_boxes(model: StrokeModel, boxes: Sequence[CaptionBox]) -> Mask:
    """Mark where boxes are in some frames, their letters included; nothing where none is."""
    return np.logical_or.reduce([np.zeros(model.level.shape, bool), *(area for _, area in boxes_in(model, boxes))])


def with_letters_on_boxes(model: StrokeModel, boxes: Sequence[CaptionBox]) -> StrokeModel:
    """Return a model of which the stroke mask has the letters on boxes; the same one where it has them already.

    The glyph mask lacks letters on a box that is hardly larger than its word, in front of other letters. What has their
    color on a box and is no thicker than a stroke are letters.
    """
    if not boxes:
        return model
    area = mark_boxes(model, boxes)
    colored = _letters_by_color(model, area, styles_on(model, boxes))
    if 2 * (model.stroke_mask & area).sum() >= colored.sum():
        return model
    completed = replace(model)
    completed.__dict__["stroke_mask"] = (model.stroke_mask & ~area) | colored  # in place of the cached property
    return completed


def _letters_by_color(model: StrokeModel, area: Mask, styles: Sequence[StrokeStyle]) -> Mask:
    """Return what in an area has the color of letters and is no thicker than a stroke."""
    import cv2

    inner = cv2.erode(area.view(np.uint8), np.ones((3, 3), np.uint8)) > 0  # its edge blends with what is around it
    colored = inner & in_style(model.level, styles)
    side = nearest_odd(TUNING.thickest_stroke * model.line_px)
    thick = cv2.morphologyEx(colored.view(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
    return np.asarray(colored & ~thick)


def styles_on(model: StrokeModel, boxes: Sequence[CaptionBox]) -> tuple[StrokeStyle, ...]:
    """Return the styles of the letters on those of the boxes that some frames show; of the main one where none is."""
    main = boxes[0]
    if all(main.has_letters_of(box.style) for box in boxes):
        return (main.style,)
    return tuple(box.style for box, _ in boxes_in(model, boxes)) or (main.style,)


def _mark_by_letters(model: StrokeModel, box: CaptionBox) -> Mask:
    """Mark lines of letters in the style of a box that are on one by what is around them, and what is close to them.

    Nearly everything around them is in its color, as the picture behind it may be, too; or they are between two sides
    of a box that shines through, and darkens, or brightens, what is behind it.
    """
    import cv2

    strokes = model.stroke_mask & in_style(model.level, (box.style,))
    edges = _near(strokes, TUNING.edge_px)
    reach = round(model.line_px / 2)
    around = cv2.dilate(strokes.view(np.uint8), np.ones((2 * TUNING.edge_px + 3, 2 * reach + 1), np.uint8))
    _, labels = cv2.connectedComponents(around, connectivity=4)
    marked = np.zeros(model.level.shape, bool)
    for number in range(1, int(np.max(labels)) + 1):
        area = np.asarray(labels) == number
        letters = strokes & area
        if letters.sum() < min_stroke_px(model.line_px):
            continue
        beside = _near(letters, 2 * TUNING.edge_px) & ~edges
        if beside.any() and np.mean(_is_at(model, box.level)[beside]) >= TUNING.nearly_all:
            marked |= area
        else:
            marked |= _between_sides(model, letters, box.style.sign)
    return marked


def _between_sides(model: StrokeModel, letters: Mask, sign: int) -> Mask:
    """Mark what is between the upright sides of a box around a line of letters; nothing where it has none.

    Beyond these, the picture is brighter than the box if the letters are (``sign`` 1), or darker (-1).
    """
    rows, columns = (np.flatnonzero(letters.any(axis=axis)) for axis in (1, 0))
    down, start, end, reach = slice(rows[0], rows[-1] + 1), columns[0], columns[-1] + 1, round(model.line_px)
    level = model.level[down] * sign
    left, right = _side(level[:, max(0, start - reach) : start][:, ::-1]), _side(level[:, end : end + reach])
    marked = np.zeros(letters.shape, bool)
    if left is not None and right is not None:
        marked[down, start - left : end + right] = True
    return marked


def _mark_box(model: StrokeModel, box: CaptionBox) -> Mask:
    """Mark where a box is in some frames."""
    marked = np.zeros(model.level.shape, bool)
    letters = model.stroke_mask & in_style(model.level, (box.style,), TUNING.other_style)
    for area in _areas_at(model, box.level):
        if ((letters & area) | _letters_by_color(model, area, (box.style,))).sum() >= min_stroke_px(model.line_px):
            marked |= area | _rest_of_line(letters, area, model.line_px)
    return marked


def _rest_of_line(letters: Mask, area: Mask, line_px: float) -> Mask:
    """Mark the rest of a line where a side of the area is between its letters, close to one of them.

    A box that shines through has the level of what is behind it only in part. There is room between the letters on a
    box and its sides, beyond which text of a slide may be.
    """
    import cv2

    rest, room = np.zeros_like(area), round(_CORNER * line_px)
    parted = _parted_letters(letters, area, line_px)
    inner = cv2.erode(area.view(np.uint8), np.ones((1, 2 * room + 1), np.uint8)) > 0
    parted &= ~inner
    if 4 * np.count_nonzero(parted.any(axis=1)) < line_px:
        return rest
    space = np.ones((1, 2 * round(READING.column_gap * line_px) + 1), np.uint8)
    _, labels, found, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(letters.view(np.uint8), cv2.MORPH_CLOSE, space)
    )
    stats = np.asarray(found)
    for number in set(np.asarray(labels)[parted].tolist()) - {0}:
        x, y, width, height, _ = stats[number].tolist()
        line = letters & (np.asarray(labels) == number)
        words = min(np.count_nonzero((line & part).any(axis=0)) for part in (area, ~area))
        if words >= 2 * line_px:  # not a speck of the picture beyond it, and no outline of a few letters
            rest[
                max(0, y - TUNING.edge_px) : y + height + TUNING.edge_px,
                max(0, x - TUNING.edge_px) : x + width + TUNING.edge_px,
            ] = True
    return rest


def _side(level: NDArray[np.float32]) -> int | None:
    """Return how far away from letters the side of their box is, pixels; None without one.

    Args:
        level: luma beside the letters, ``(height, distance)``; of dark letters its negative.
    """
    step = level[:, 2 * TUNING.edge_px :] - level[:, : -2 * TUNING.edge_px]
    if not step.size:
        return None
    shares = np.mean(2 * step >= TUNING.steady_levels, axis=0)
    best = int(np.argmax(shares))
    return best + TUNING.edge_px if shares[best] >= TUNING.nearly_all else None


def _near(mask: Mask, pixels: int) -> Mask:
    """Mark what is at most so many pixels from a mask."""
    import cv2

    side = 2 * pixels + 1
    return cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8)) > 0


def on_boxes_alone(picture: Plane, area: Mask, strokes: Mask) -> Plane:
    """Return a picture with everything that is not on a box in the color of the box.

    Args:
        picture: luma, uint8.
        area: where the box is, bool at any scale.
        strokes: of the letters on it, which may touch its edge.
    """
    import cv2

    height, width = picture.shape
    # Its edge blends with what is around it.
    kept = (cv2.erode(area.view(np.uint8), np.ones((3, 3), np.uint8)) > 0) | _near(strokes, 1)
    inside = cv2.resize(kept.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return np.where(inside, picture, np.uint8(np.median(picture[inside]))) if inside.any() else picture


def unboxed_warnings(times_s: Sequence[float]) -> tuple[CaptionWarning, ...]:
    """Return a warning of the texts that were left out because they are on no box, by when they begin, seconds."""
    if not times_s:
        return ()
    count = "1 text" if len(times_s) == 1 else f"{len(times_s)} texts"
    first_s = min(times_s)
    message = (
        f"{count} without the box of the captions {'was' if len(times_s) == 1 else 'were'} left out, the first at "
        f"{first_s:.1f} s; to read everything in a region, draw it on the review page or pass --crop-region."
    )
    return (CaptionWarning("text_left_out", message, first_s),)
