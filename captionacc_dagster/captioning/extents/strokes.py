"""Caption strokes: where the learned glyph mask finds them, and how those of two stretches of frames differ.

Everything works on small luma ROIs, ``(height, width)`` uint8, scaled so that a line of text is at most
`ExtentTuning.roi_line_px` high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.glyph_mask import mean_distance, mean_level, stroke_map
from captionacc_dagster.captioning.extents.reading_tuning import TUNING as READING
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

Plane = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_MAX_WINDOWS = 12  # changed windows that are examined
_MAX_STYLES = 3
_MIN_STYLE_PX = 40  # pixels of strokes, for a median and its spread
_TOLERANCE_LEVELS = (36.0, 60.0)  # of a style: no less than antialiasing needs, no more than half of the contrast
_SECOND_STYLE_SPREAD_LEVELS = 9  # a second color is as even as the first
_MIN_STEP_LEVELS = 12  # a shorter way between two levels would divide noise by little
_ELLIPSIS_DOTS = 3
LETTERS = 8  # ellipses have the strokes of a few letters
_ROUNDING = 0.99  # thresholds of a quick first check leave room for rounding


@dataclass(frozen=True, slots=True)
class StrokeStyle:
    """The style of a track's strokes.

    Attributes:
        sign: 1 where strokes are brighter than their surroundings, -1 where they are darker.
        level: their luma, 0..255.
        tolerance: how far the luma of a stroke may be from ``level``, gray levels.
        of_middles: level and tolerance of the middles of its strokes where those of its pixels are uneven.
    """

    sign: int
    level: float
    tolerance: float
    of_middles: tuple[float, float] | None = None

    @property
    def is_uneven(self) -> bool:
        """Whether its strokes differ by as much as the letters contrast with what is around them."""
        return self.tolerance >= _TOLERANCE_LEVELS[1]


def measure_styles(model: StrokeModel, inside: Mask) -> list[StrokeStyle]:
    """Measure the style of a text: one, or two where part of the text has another color.

    Args:
        model: of frames that show the text.
        inside: bool ``(height, width)``, the box of the line of text.
    """
    best: list[StrokeStyle] = []
    best_weight = 0.0
    for sign in (1, -1):
        strokes = model.stroke_mask & inside & (model.relief * sign > 0)
        count = int(strokes.sum())
        if count < _MIN_STYLE_PX:
            continue
        # Edges of strokes are blends with the background: take the half of the pixels that contrasts most.
        relief = np.abs(model.relief[strokes])
        levels = model.level[strokes][relief >= np.percentile(relief, 50)]
        middle = float(np.median(levels))
        spread = float(np.median(np.abs(levels - middle)))
        weight = count / (4 + spread) * (TUNING.bright_prior if sign > 0 else 1.0)
        if weight > best_weight:
            best_weight = weight
            style = _style_of(sign, levels)
            if style.is_uneven and _are_of_one_color(model, strokes, inside):
                middles = _middles_of_strokes(model, strokes, sign)
                even = _style_of(sign, middles)
                if np.mean(np.abs(middles - even.level) <= even.tolerance) >= TUNING.nearly_all:
                    style = replace(style, of_middles=(even.level, even.tolerance))
            best = [style, *_second_style(style, levels)]
    return best


def _style_of(sign: int, levels: NDArray[np.float32]) -> StrokeStyle:
    middle = float(np.median(levels))
    spread = float(np.median(np.abs(levels - middle)))
    return StrokeStyle(sign, middle, float(np.clip(12 + 4 * spread, *_TOLERANCE_LEVELS)))


def _are_of_one_color(model: StrokeModel, strokes: Mask, inside: Mask) -> bool:
    """Return whether few other strokes are in the box of some, as those of a highlighted word on a box of its own."""
    others = np.count_nonzero(model.stroke_mask & inside & ~strokes)
    return bool(others <= (1 - TUNING.nearly_all) / 2 * np.count_nonzero(strokes))


def _middles_of_strokes(model: StrokeModel, strokes: Mask, sign: int) -> NDArray[np.float32]:
    """Return of each pixel of strokes the level in the middle of its stroke: of thin strokes, most pixels are edges."""
    import cv2

    side = nearest_odd(TUNING.thickest_stroke / 2 * model.line_px)
    levels = np.where(strokes, sign * model.level, np.float32(-256))
    return np.asarray(sign * cv2.dilate(levels, np.ones((side, side), np.uint8))[strokes], np.float32)


def _second_style(style: StrokeStyle, levels: NDArray[np.float32]) -> list[StrokeStyle]:
    others = levels[np.abs(levels - style.level) > style.tolerance]
    if len(others) < max(_MIN_STYLE_PX, TUNING.fading_share * len(levels)):
        return []
    middle = float(np.median(others))
    spread = float(np.median(np.abs(others - middle)))
    return [StrokeStyle(style.sign, middle, _TOLERANCE_LEVELS[0])] if spread <= _SECOND_STYLE_SPREAD_LEVELS else []


def common_styles(measured: Sequence[StrokeStyle]) -> tuple[StrokeStyle, ...]:
    """Return the styles that several measurements share, the most frequent first, or the first one if none do."""
    thin = sum(style.of_middles is not None for style in measured)
    if 2 * thin > len(measured):
        # Most pixels of thin strokes are edges, of many levels; of a few texts, what is behind them makes them uneven.
        measured = [
            style if style.of_middles is None else StrokeStyle(style.sign, *style.of_middles) for style in measured
        ]
    groups: list[list[StrokeStyle]] = []
    for style in measured:
        for group in groups:
            middle = float(np.median([member.level for member in group]))
            if group[0].sign == style.sign and abs(middle - style.level) <= TUNING.same_style_levels:
                group.append(style)
                break
        else:
            groups.append([style])
    groups.sort(key=len, reverse=True)
    shared = [group for group in groups if len(group) >= max(2, TUNING.fading_share * len(measured))] or groups[:1]
    return tuple(
        StrokeStyle(
            group[0].sign,
            float(np.median([member.level for member in group])),
            float(np.median([member.tolerance for member in group])),
        )
        for group in shared[:_MAX_STYLES]
    )


@dataclass(frozen=True)
class StrokeModel:
    """The strokes that some frames have in common. The glyph mask runs at the first use of ``stroke_mask``.

    Attributes:
        level: mean luma of the frames, float32 ``(height, width)``.
        frames: the ROIs it was made from.
        line_px: height of a line in them, pixels.
    """

    level: NDArray[np.float32]
    frames: tuple[Plane, ...]
    line_px: float

    @cached_property
    def relief(self) -> NDArray[np.float32]:
        """``level`` minus the mean of its surroundings, float32."""
        return high_pass(self.level, self.line_px)

    @cached_property
    def stroke_mask(self) -> Mask:
        """Pixels that a caption's stroke covers in most of the frames, bool."""
        return np.asarray(stroke_map(self.frames, self.line_px, self.level) >= TUNING.stroke_probability)

    @cached_property
    def contrast(self) -> float:
        """The 90th percentile of its strokes' contrast, which is that of the text; 0 without strokes."""
        if not self.stroke_mask.any():
            return 0.0
        contrasts = np.abs(self.relief[self.stroke_mask])
        place = 0.9 * (len(contrasts) - 1)
        below = int(place)
        # np.percentile returns the same, but takes longer than the rest of a comparison.
        above = min(below + 1, len(contrasts) - 1)
        ordered = np.partition(contrasts, (below, above))
        return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def model_strokes(frames: Sequence[Plane], line_px: float) -> StrokeModel:
    """Model the strokes of frames that show the same caption, or none."""
    return StrokeModel(mean_level(frames), tuple(frames), line_px)


def min_stroke_px(line_px: float) -> float:
    """Return the least number of stroke pixels that can be text."""
    return TUNING.min_stroke_area * line_px**2


def min_text_px(text: str, line_px: float) -> float:
    """Return the least number of stroke pixels that a text can have: each character at least those of a dot."""
    return sum(not character.isspace() for character in text) / _ELLIPSIS_DOTS * min_stroke_px(line_px)


def high_pass(level: NDArray[np.float32] | Plane, line_px: float) -> NDArray[np.float32]:
    """Return a picture, float32 or uint8, minus the mean of its surroundings, about a character wide: float32."""
    import cv2

    window = _surroundings_px(level.shape, line_px)
    surroundings = cv2.boxFilter(level, cv2.CV_32F, (window, window))
    return np.asarray(cv2.subtract(level, surroundings, dtype=cv2.CV_32F), np.float32)


def _surroundings_px(shape: tuple[int, ...], line_px: float) -> int:
    """Return the side of the window of surroundings: about a character, odd, within what OpenCV can mirror."""
    return min(nearest_odd(line_px * 0.7), 2 * min(shape) - 1)


@dataclass(frozen=True, slots=True)
class StrokeChange:
    """How the strokes of two stretches of frames differ.

    Attributes:
        share: the largest share of changed strokes in a character's window, 0..1.
        total: the share of changed strokes in all strokes, 0..1.
        lost: bool ``(height, width)``, strokes of the first that the second does not show.
        gained: bool, strokes of the second that the first does not show.
        windows: centers ``(row, column)`` of the changed character windows, the most changed first.
    """

    share: float
    total: float
    lost: Mask
    gained: Mask
    windows: tuple[tuple[int, int], ...]

    @property
    def is_change(self) -> bool:
        """Whether at least one character differs."""
        return bool(self.windows)

    def replacements(self, line_px: float) -> StrokeChange:
        """Keep only the windows in which one character replaced another: strokes disappeared and appeared."""

        def is_replaced(window: tuple[slice, slice]) -> bool:
            lost, gained = int(self.lost[window].sum()), int(self.gained[window].sum())
            return min(lost, gained) >= TUNING.replaced_share * (lost + gained)

        return self._keep(lambda center: is_replaced(_window_at(center, line_px)))

    def extensions(self, kept: Mask, line_px: float) -> StrokeChange:
        """Keep only the windows in which a stroke was added to a character that stays, or removed from it (hat, bat).

        Args:
            kept: bool ``(height, width)``, strokes that did not change.
            line_px: height of a line, pixels.
        """
        import cv2

        changed = self.lost | self.gained
        near = cv2.dilate(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0

        def is_extended(window: tuple[slice, slice]) -> bool:
            pixels = int(changed[window].sum())
            attached = int((changed & near)[window].sum())
            return attached >= TUNING.attached_share * pixels and bool(kept[window].sum() >= pixels)

        return self._keep(lambda center: is_extended(_window_at(center, line_px)))

    def touching(self, mask: Mask, line_px: float) -> StrokeChange:
        """Keep only the windows that contain pixels of a mask."""
        return self._keep(lambda center: bool(mask[_window_at(center, line_px)].any()))

    def _keep(self, condition: Callable[[tuple[int, int]], bool]) -> StrokeChange:
        return replace(self, windows=tuple(center for center in self.windows if condition(center)))


def _window_at(center: tuple[int, int], line_px: float) -> tuple[slice, slice]:
    """Return the rows and columns of a character's window around a center."""
    (row, column), (width, height) = center, character_window(line_px)
    return (
        slice(max(0, row - height // 2), row + height // 2 + 1),
        slice(max(0, column - width // 2), column + width // 2 + 1),
    )


def compare_strokes(before: StrokeModel, after: StrokeModel, line_px: float) -> StrokeChange:
    """Compare two stretches of frames by their strokes, whatever the picture behind does."""
    return _compare(before, after, _differing(before, after), line_px)


def find_change(
    before: StrokeModel, after: StrokeModel, line_px: float, around: Sequence[Plane] = (), synchrony: float = 0.0
) -> StrokeChange | None:
    """Compare two stretches of frames; do not run the glyph mask where no character can have changed.

    Args:
        before: the stretch before a frame.
        after: the stretch after it.
        line_px: height of a line, pixels.
        around: consecutive frames; the one in the middle is the first of ``after``. Empty: the change may be slow.
        synchrony: the share of a character's changed pixels that have to switch at that frame.

    Returns:
        None where no character changed, or where it cannot have changed at once.
    """
    differing = _differing(before, after)
    changeable = _without_specks(differing[0]) | _without_specks(differing[1])
    least = TUNING.changed_area
    if len(around) > 1:
        changeable &= _may_switch(before, after, around)
        least *= _ROUNDING * synchrony
    if float(_window_share(changeable, character_window(line_px)).max()) < least:
        return None
    change = _compare(before, after, differing, line_px)
    return change if change.is_change else None


def _may_switch(before: StrokeModel, after: StrokeModel, around: Sequence[Plane]) -> Mask:
    """Mark the pixels that may cover most of the way between two levels at the frame in the middle."""
    import cv2

    middle = len(around) // 2
    done = cv2.subtract(around[middle], around[middle - 1], dtype=cv2.CV_32F)
    step = after.level - before.level
    size = np.abs(step)
    least = size * np.maximum(size, np.float32(_MIN_STEP_LEVELS))
    least *= _ROUNDING * TUNING.switched_share
    return np.asarray(done * step >= least)


def _differing(before: StrokeModel, after: StrokeModel) -> tuple[Mask, Mask]:
    """Mark where the frames after differ from the mean before, and those before from the mean after."""
    needed = np.maximum(TUNING.steady_levels, 0.5 * np.maximum(np.abs(before.relief), np.abs(after.relief)))
    return (
        np.asarray(mean_distance(after.frames, before.level) > needed),
        np.asarray(mean_distance(before.frames, after.level) > needed),
    )


def _window_share(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of marked pixels in the window ``(width, height)`` around each pixel."""
    import cv2

    marked = mask.view(np.uint8)
    return np.asarray(cv2.boxFilter(marked, cv2.CV_32F, size, borderType=cv2.BORDER_CONSTANT), np.float32)


def _compare(before: StrokeModel, after: StrokeModel, differing: tuple[Mask, Mask], line_px: float) -> StrokeChange:
    least = TUNING.relative_contrast * max(before.contrast, after.contrast)
    old = before.stroke_mask & (np.abs(before.relief) >= least)
    new = after.stroke_mask & (np.abs(after.relief) >= least)
    lost = old & (differing[0] | _is_plain(after))
    gained = new & (differing[1] | _is_plain(before))
    return _changed(old, new, _without_specks(lost), _without_specks(gained), line_px)


def _is_plain(model: StrokeModel) -> Mask:
    """Mark where nothing contrasts with its surroundings: a stroke is not visible there even if it keeps its level.

    White letters on a dark box over a white picture disappear with the box.
    """
    return ~model.stroke_mask & (np.abs(model.relief) <= TUNING.steady_levels)


def _changed(old: Mask, new: Mask, lost: Mask, gained: Mask, line_px: float) -> StrokeChange:
    """Return the change from old strokes to new ones, of which some are lost and some gained."""
    size = character_window(line_px)
    changed = _window_share(lost | gained, size)
    share = changed / np.maximum(_window_share(old | new, size), 1e-6)
    strong = changed * ((changed >= TUNING.changed_area) & (share >= TUNING.changed_share))
    windows: list[tuple[int, int]] = []
    while len(windows) < _MAX_WINDOWS:
        row, column = np.unravel_index(int(np.argmax(strong)), strong.shape)
        if strong[row, column] <= 0:
            break
        windows.append((int(row), int(column)))
        strong[max(0, row - size[1]) : row + size[1] + 1, max(0, column - size[0]) : column + size[0] + 1] = 0
    return StrokeChange(
        share=float(share[windows[0]]) if windows else float(share.max()),
        total=np.count_nonzero(lost | gained) / max(1, np.count_nonzero(old | new)),
        lost=lost,
        gained=gained,
        windows=tuple(windows),
    )


def in_style(level: NDArray[np.float32], styles: Sequence[StrokeStyle], slack: float = 1.0) -> Mask:
    """Mark the pixels of a picture at the level of a style, within its tolerance times ``slack``."""
    marked = np.zeros(level.shape, bool)
    for style in styles:
        marked |= np.abs(level - style.level) <= slack * style.tolerance
    return marked


def compare_styled_strokes(
    before: StrokeModel,
    after: StrokeModel,
    styles: Sequence[StrokeStyle],
    line_px: float,
    places: Sequence[Mask] | None = None,
) -> StrokeChange | None:
    """Compare two stretches of frames by the strokes in a track's styles alone, where its letters are bounded.

    Letters of the picture behind, in other colors, do not count. A stroke is the same while it keeps its level.

    Args:
        before, after: the stretches.
        styles: of the track's letters.
        line_px: height of a line, pixels.
        places: where the letters of each may be, bool ``(height, width)``; None: everywhere.

    Returns:
        None where one of the two has too few strokes in these styles for a text.
    """
    old, new = (
        model.stroke_mask & in_style(model.level, styles) & ~_areas_in_style(model, styles) for model in (before, after)
    )
    if places is not None:
        old, new = old & places[0], new & places[1]
    if min(int(old.sum()), int(new.sum())) < LETTERS * min_stroke_px(line_px):
        return None
    step = np.abs(after.level - before.level)

    def goes(strokes: Mask, there: StrokeModel, then: StrokeModel) -> Mask:
        """Mark strokes that lose their color or much of their contrast. The edge of one blends with the picture."""
        is_lost = ~in_style(then.level, styles) | (step > 0.5 * np.abs(there.relief))
        return _without_specks(strokes & (step > TUNING.steady_levels) & is_lost)

    return _changed(old, new, goes(old, before, after), goes(new, after, before), line_px)


def own_strokes(
    model: StrokeModel,
    stroke_mask: Mask,
    styles: Sequence[StrokeStyle],
    places: Sequence[tuple[float, float]],
) -> Mask:
    """Return the strokes of a text without those of the picture behind: letters of other styles, edges of areas.

    Part of a text may have a color of its own: words on the same line as the rest, or a line of its own.

    Args:
        model: of the frames.
        stroke_mask: bool ``(height, width)``, its strokes or some of them.
        styles: of the track's text, whose letters are bounded by a box or an outline: none touches an area of its
            own color. With too few strokes in one, all strokes count.
        places: top and bottom of the track's lines, pixels; empty where they are unknown.
    """
    import cv2

    line_px = model.line_px
    areas = _areas_in_style(model, styles)
    core = stroke_mask & in_style(model.level, styles) & ~areas
    if core.sum() < LETTERS * min_stroke_px(line_px):
        return stroke_mask
    near = cv2.dilate(core.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    styled = stroke_mask & (near | (in_style(model.level, styles, TUNING.other_style) & ~areas))
    styled &= ~_small_words(styled, areas, line_px, places)
    rest = stroke_mask & ~styled & ~areas & np.isin(np.sign(model.relief), [style.sign for style in styles])
    own = styled | _words_in_line(rest, styled, line_px, places) if rest.any() else styled
    return own if (stroke_mask & ~own).sum() >= min_stroke_px(line_px) else stroke_mask


def share_of_islands(model: StrokeModel, stroke_mask: Mask, styles: Sequence[StrokeStyle]) -> float:
    """Return the share of strokes in a text's styles that no area in the same style touches; 0 without any strokes."""
    core = stroke_mask & in_style(model.level, styles)
    return float((core & ~_areas_in_style(model, styles)).sum() / max(1, core.sum()))


def _areas_in_style(model: StrokeModel, styles: Sequence[StrokeStyle]) -> Mask:
    """Mark what is connected with areas at the level of a style that are thicker than a stroke, and their edges.

    What is no higher than a line may be a letter of a heavy font.
    """
    import cv2

    level = in_style(model.level, styles, TUNING.other_style).view(np.uint8)
    side = nearest_odd(TUNING.thickest_stroke * model.line_px)
    thick = cv2.morphologyEx(level, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
    if not thick.any():
        return thick
    _, found, stats, _ = cv2.connectedComponentsWithStats(level, connectivity=4)
    labels, is_area = np.asarray(found, np.int32), np.zeros(len(stats), bool)
    is_area[labels[thick]] = True
    is_area &= np.asarray(stats)[:, cv2.CC_STAT_HEIGHT] > model.line_px
    if not is_area.any():
        return np.zeros_like(thick)
    return cv2.dilate(is_area.take(labels).view(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _small_words(strokes: Mask, areas: Mask, line_px: float, places: Sequence[tuple[float, float]]) -> Mask:
    """Mark what is much smaller than the letters of the line it is on: words of several letters, and what is close to
    an area in the text's style, which are gaps in darker letters on it.
    """
    import cv2

    reach = nearest_odd(TUNING.thickest_stroke * line_px)
    near = cv2.dilate(areas.view(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mark_words(strokes, line_px), connectivity=8)
    small = np.zeros_like(strokes)
    for number, (x, y, width, height, _) in enumerate(stats[1:], start=1):
        box = slice(y, y + height), slice(x, x + width)
        word = strokes[box] & (labels[box] == number)
        is_gap = bool(near[box][word].all())
        if width < READING.widest_character * line_px and not is_gap:
            continue
        mass = np.cumsum(word.sum(axis=1)) / word.sum()
        body = int(((mass > TUNING.beyond_body) & (mass < 1 - TUNING.beyond_body)).sum())
        nearest = min(places, key=lambda place: abs(place[0] + place[1] - 2 * y - height), default=(0.0, line_px))
        # Of small letters, the body is two thirds of what is above the baseline.
        low, high = (share * (nearest[1] - nearest[0]) for share in (READING.accent, OCR.least_letter * 2 / 3))
        if (is_gap or low < body) and body < high:
            small[box] |= word
    return small


def mark_words(strokes: Mask, line_px: float) -> NDArray[np.uint8]:
    """Mark strokes and the gaps between the letters of a word."""
    import cv2

    gap = np.ones((1, nearest_odd(TUNING.word_gap * line_px)), np.uint8)
    return np.asarray(cv2.morphologyEx(strokes.view(np.uint8), cv2.MORPH_CLOSE, gap), np.uint8)


def _words_in_line(rest: Mask, styled: Mask, line_px: float, places: Sequence[tuple[float, float]]) -> Mask:
    """Return those of some strokes that are words on the lines of a text, beside it, or a line at a place of one."""
    import cv2

    lines = _line_bodies(styled, line_px)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mark_words(rest, line_px), connectivity=8)
    kept = np.zeros_like(rest)
    slack = TUNING.word_gap / 2 * line_px
    for number, (x, y, width, height, _) in enumerate(stats[1:], start=1):
        box = slice(y, y + height), slice(x, x + width)
        word = rest[box] & (labels[box] == number)
        bodies = _line_bodies(word, line_px)
        if len(bodies) != 1:
            continue
        top, bottom = y + bodies[0][0], y + bodies[0][1]
        is_word = any(
            top >= line_top - slack
            and abs(bottom - line_bottom) <= slack
            and 2 * (bottom - top) >= line_bottom - line_top
            for line_top, line_bottom in lines
        )
        is_line = any(
            abs((top + bottom) / 2 - (place_top + place_bottom) / 2) <= slack
            and not any(
                line_top < place_bottom - slack and place_top + slack < line_bottom for line_top, line_bottom in lines
            )
            for place_top, place_bottom in places
        )
        if is_word or is_line:
            kept[box] |= word
    return kept


def _line_bodies(strokes: Mask, line_px: float) -> list[tuple[int, int]]:
    """Return top and baseline of each line of letters: the runs of rows with many strokes, without descenders."""
    profile = strokes.sum(axis=1)
    rows = np.flatnonzero(profile > TUNING.body_share * profile.max())
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run) >= OCR.least_letter * line_px]


def is_isolated_change(before: StrokeModel, after: StrokeModel, around: Sequence[Plane], line_px: float) -> bool:
    """Return whether pixels where the text is change for good at the middle frame, while nothing else changes.

    Over a static picture that is a character, however little of it the glyph mask knows. Arguments as of
    `find_change`.
    """
    if len(around) < 2:
        return False
    middle = len(around) // 2
    at_once = np.abs(around[middle].astype(np.int16) - around[middle - 1]) > TUNING.steady_levels
    for_good = at_once & (np.abs(after.level - before.level) > TUNING.steady_levels)
    for_good &= _may_switch(before, after, around)  # excludes fades, which take several frames
    total, least = int(at_once.sum()), min_stroke_px(line_px)

    def is_isolated(changed: int) -> bool:
        return changed >= least and total - changed <= TUNING.elsewhere_share * changed

    if not is_isolated(int(for_good.sum())):
        return False  # without running the glyph mask
    strokes = before.stroke_mask | after.stroke_mask
    return bool(strokes.any()) and is_isolated(int((for_good & text_box(strokes, line_px)).sum()))


def text_box(strokes: Mask, line_px: float) -> Mask:
    """Mark the bounding box of strokes, enlarged by half a line on each side."""
    rows, columns = np.nonzero(strokes)
    margin = round(line_px / 2)
    box = np.zeros(strokes.shape, bool)
    box[max(0, rows.min() - margin) : rows.max() + margin, max(0, columns.min() - margin) : columns.max() + margin] = (
        True
    )
    return box


def character_window(line_px: float) -> tuple[int, int]:
    """Return ``(width, height)`` of the window that a narrow character fills, odd numbers of pixels."""
    return nearest_odd(line_px * 0.5), nearest_odd(line_px * 0.8)


def synchrony(
    frames: Sequence[Plane],
    before: StrokeModel,
    after: StrokeModel,
    change: StrokeChange,
    line_px: float,
    *,
    at_once: bool,
) -> float:
    """Return how synchronously the changed pixels of a character change, 0..1: the best of its windows.

    A glyph appears and disappears as a whole, at once or in one fade. What moves through the ROI changes pixel by
    pixel.

    Args:
        frames: ROIs around the change; the one in the middle is the first after it.
        before: the stretch before it.
        after: the stretch after it.
        change: how the two differ.
        line_px: height of a line, pixels.
        at_once: True returns the share of the pixels that switch at the middle frame; False returns the share of
            the variance of the pixels' ways over the frames that one common curve explains.
    """
    if len(frames) < 2:
        return 0.0
    windows = _changed_pixels(change, line_px)
    if not windows:
        return 0.0
    pixels = np.concatenate(windows)
    low, high = before.level.take(pixels), after.level.take(pixels)
    middle = len(frames) // 2
    used = frames[middle - 1 : middle + 1] if at_once else frames
    ways = (np.stack([frame.take(pixels) for frame in used]) - low) / _signed_steps(low, high)
    parts = np.split(ways, np.cumsum([len(window) for window in windows])[:-1], axis=1)
    if at_once:
        return max(float(np.mean(part[1] - part[0] >= TUNING.switched_share)) for part in parts)
    return max(_explained_variance(np.clip(part, -0.5, 1.5)) for part in parts)


def _changed_pixels(change: StrokeChange, line_px: float) -> list[NDArray[np.intp]]:
    """Return the flat indices of the changed pixels in each changed window."""
    changed = change.lost | change.gained
    across = changed.shape[1]
    pixels = []
    for center in change.windows:
        rows, columns = _window_at(center, line_px)
        down, right = np.nonzero(changed[rows, columns])
        pixels.append((down + rows.start) * across + right + columns.start)
    return pixels


def _explained_variance(ways: NDArray[np.floating]) -> float:
    """Return the share of the variance of ways ``(frames, pixels)`` that their mean explains; 0 if it barely moves."""
    mean = ways.mean(axis=1, keepdims=True)
    total = float(np.mean((ways - 0.5) ** 2))
    if float(np.ptp(mean)) <= 0.5 or total <= 0:
        return 0.0
    return max(0.0, 1 - float(np.mean((ways - mean) ** 2)) / total)


def _signed_steps(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the difference of two levels per pixel, in size at least `_MIN_STEP_LEVELS`."""
    step = high - low
    least = np.where(step < 0, -_MIN_STEP_LEVELS, _MIN_STEP_LEVELS)
    return np.where(np.abs(step) < _MIN_STEP_LEVELS, least, step)


def _without_specks(mask: Mask) -> Mask:
    """Drop single pixels and hairlines, which are compression noise: a pixel needs three marked neighbors."""
    import cv2

    marked = mask.view(np.uint8)
    near = cv2.boxFilter(marked, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return mask & (near >= 4)


def visibility(
    frames: Sequence[Plane | NDArray[np.float32]], model: StrokeModel, stroke_mask: Mask
) -> NDArray[np.float32]:
    """Return the visibility of a caption's strokes in each frame: about 0 without them, 1 in full, between in a fade.

    Args:
        frames: ROIs or mean levels, ``(height, width)``.
        model: the caption.
        stroke_mask: bool ``(height, width)``, those of its strokes to judge by.

    Returns:
        float32 ``(len(frames),)``: the correlation of each frame's relief with the model's, divided by that of the
        model's with itself.
    """
    target = model.relief * stroke_mask
    norm = float(np.vdot(target, target))
    if norm <= 0:
        return np.zeros(len(frames), np.float32)
    # The high-pass filter is linear: its transpose applied once to the target saves filtering every frame.
    weights = target - _transposed_mean(target, model.line_px)
    rows, columns = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    weights = weights[part].ravel() / np.float32(norm)
    return np.array([np.dot(weights, frame[part].astype(np.float32).ravel()) for frame in frames], np.float32)


def _transposed_mean(target: NDArray[np.float32], line_px: float) -> NDArray[np.float32]:
    """Apply the transpose of the mean of surroundings that `high_pass` subtracts."""
    import cv2

    window = _surroundings_px(target.shape, line_px)
    reach = window // 2
    edges = reach, reach, reach, reach
    padded = cv2.copyMakeBorder(target, *edges, cv2.BORDER_CONSTANT, value=0)
    spread = np.asarray(cv2.boxFilter(padded, -1, (window, window), borderType=cv2.BORDER_CONSTANT), np.float32)
    # OpenCV mirrors pixels beyond an edge: their weights are added to those of the pixels they mirror.
    for turned in (spread, spread.T):
        length = len(turned)
        turned[reach + 1 : 2 * reach + 1] += turned[:reach][::-1]
        turned[length - 2 * reach - 1 : length - reach - 1] += turned[length - reach :][::-1]
    return spread[reach : reach + target.shape[0], reach : reach + target.shape[1]]


def nearest_odd(value: float) -> int:
    """Return the nearest odd whole number, at least 3."""
    return max(3, 2 * round((value - 1) / 2) + 1)
