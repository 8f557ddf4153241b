"""Ink: the pixels of glyphs as the learned mask finds them, and how the ink of two stretches of frames differs.

Everything works on small luma rois, ``(height, width)`` uint8, scaled so that a line of text, as the layout
measures it, is `LINE_PX` pixels high or less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.glyph_mask import mean_distance, mean_level, stroke_map

LIKELY = 0.4  # from this probability on a pixel is the stroke of a caption
LINE_PX = 33  # at most: text is then about 24 pixels high, its strokes two to four wide
STEADY_LEVELS = 18  # a pixel stands still while it stays this near its level, in 8-bit levels
MIN_CHANGED_SHARE = 0.18  # of the ink in a window as large as a narrow character
MIN_CHANGED_AREA = 0.011  # of that window's area
MIN_STROKE_AREA = 0.012  # of a squared line height: an ellipsis has somewhat more
_MOST_WINDOWS = 12
_BRIGHT_RATHER = 6.0
_SAME_STYLE_LEVELS = 28
_MOST_STYLES = 3
_SECOND_SHARE = 0.2
_SECOND_SPREAD_LEVELS = 9
_LEAST_STROKES = 40  # pixels of strokes from which a style can be told
_REPLACED = 0.03
_ATTACHED = 0.2  # of the pixels of an added stroke
_MOST_OF_THE_WAY = 0.55
_LEAST_STEP = 12  # levels: no pixel's way counts as shorter
_AROUND = 0.5  # line heights around some ink in which more of its text may stand
_ELSEWHERE = 0.25  # of the pixels that change at a character may change elsewhere
_RELATIVE_CONTRAST = 0.4  # ink of one caption has about the same contrast: less than this share is no text

Plane = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StrokeStyle:
    """How the strokes of a track look: brighter (1) or darker (-1) than around them, and their level.

    ``tolerance`` is how far the level of a stroke may lie from ``level``, in 8-bit levels.
    """

    sign: int
    level: float
    tolerance: float


def measure_styles(model: StrokeModel, inside: Mask) -> list[StrokeStyle]:
    """Measure how the strokes of some text look: one style, or two where part of it has another color.

    Args:
        model: what stood still while the text did.
        inside: bool ``(height, width)``, the box in which a line of text was found.
    """
    best: list[StrokeStyle] = []
    best_count = 0.0
    for sign in (1, -1):
        strokes = model.stroke_mask & inside & (model.relief * sign > 0)
        count = int(strokes.sum())
        if count < _LEAST_STROKES:
            continue
        # Only the middle of the strokes has the level of the text: take those that stand out most.
        relief = np.abs(model.relief[strokes])
        levels = model.level[strokes][relief >= np.percentile(relief, 50)]
        middle = float(np.median(levels))
        spread = float(np.median(np.abs(levels - middle)))
        # White with a dark outline looks like dark on white; it is by far the more common of the two.
        weight = count / (4 + spread) * (_BRIGHT_RATHER if sign > 0 else 1.0)
        if weight > best_count:
            best_count = weight
            style = StrokeStyle(sign, middle, float(np.clip(12 + 4 * spread, 36, 60)))
            best = [style, *_second_style(style, levels)]
    return best


def _second_style(style: StrokeStyle, levels: NDArray[np.float32]) -> list[StrokeStyle]:
    others = levels[np.abs(levels - style.level) > style.tolerance]
    if len(others) < max(_LEAST_STROKES, _SECOND_SHARE * len(levels)):
        return []
    middle = float(np.median(others))
    spread = float(np.median(np.abs(others - middle)))
    return [StrokeStyle(style.sign, middle, 36.0)] if spread <= _SECOND_SPREAD_LEVELS else []


def common_styles(measured: Sequence[StrokeStyle]) -> tuple[StrokeStyle, ...]:
    """Give the styles that several measurements share, the most frequent first; the only ones when none do."""
    groups: list[list[StrokeStyle]] = []
    for style in measured:
        for group in groups:
            middle = float(np.median([member.level for member in group]))
            if group[0].sign == style.sign and abs(middle - style.level) <= _SAME_STYLE_LEVELS:
                group.append(style)
                break
        else:
            groups.append([style])
    groups.sort(key=len, reverse=True)
    shared = [group for group in groups if len(group) >= max(2, 0.2 * len(measured))] or groups[:1]
    return tuple(
        StrokeStyle(
            group[0].sign,
            float(np.median([member.level for member in group])),
            float(np.median([member.tolerance for member in group])),
        )
        for group in shared[:_MOST_STYLES]
    )


@dataclass(frozen=True)
class StrokeModel:
    """What stood still over some frames; what the network says of it is asked for at the first look at ``ink``.

    Attributes:
        level: mean luma, float32 ``(height, width)``.
        frames: the strips it was made from.
        line_px: height of a line in them.
    """

    level: NDArray[np.float32]
    frames: tuple[Plane, ...]
    line_px: float

    @cached_property
    def relief(self) -> NDArray[np.float32]:
        """``level`` less the mean of its surroundings, float32."""
        return high_pass(self.level, self.line_px)

    @cached_property
    def stroke_mask(self) -> Mask:
        """Strokes of a caption that stood for most of the frames, bool."""
        return np.asarray(stroke_map(self.frames, self.line_px, self.level) >= LIKELY)

    @cached_property
    def contrast(self) -> float:
        """Contrast of the strongest tenth of its ink: that of the text, where there is text; 0 without stroke_mask."""
        if not self.stroke_mask.any():
            return 0.0
        contrasts = np.abs(self.relief[self.stroke_mask])
        place = 0.9 * (len(contrasts) - 1)
        below = int(place)
        # np.percentile gives the same and takes longer than all the rest of a comparison.
        above = min(below + 1, len(contrasts) - 1)
        ordered = np.partition(contrasts, (below, above))
        return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def model_strokes(frames: Sequence[Plane], line_px: float) -> StrokeModel:
    """Model the ink of some frames that show the same caption (or none)."""
    return StrokeModel(mean_level(frames), tuple(frames), line_px)


def high_pass(level: NDArray[np.float32] | Plane, line_px: float) -> NDArray[np.float32]:
    """Give a picture, float32 or uint8, less the mean of its surroundings, about a character wide: float32."""
    import cv2

    window = _surroundings(level.shape, line_px)
    surroundings = cv2.boxFilter(level, cv2.CV_32F, (window, window))
    return np.asarray(cv2.subtract(level, surroundings, dtype=cv2.CV_32F), np.float32)


def _surroundings(shape: tuple[int, ...], line_px: float) -> int:
    """Give the side of the window that counts as surroundings, odd; it reaches less far than a roi."""
    return min(odd(line_px * 0.7), 2 * min(shape) - 1)


@dataclass(frozen=True, slots=True)
class StrokeChange:
    """How the ink of two stretches of frames differs.

    Attributes:
        share: the largest share of changed ink in a character-sized window, 0..1.
        total: the share of changed ink in all stroke_mask, 0..1.
        lost: bool ``(height, width)``, ink of the first that the second does not show.
        gained: bool, ink of the second that the first does not show.
        windows: centers ``(row, column)`` of the character-sized windows that changed, the most changed first.
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

    def replacing(self, line_px: float) -> StrokeChange:
        """Give only the windows in which ink went and other ink came: one character for another."""
        width, height = character_window(line_px)
        kept = []
        for row, column in self.windows:
            rows = slice(max(0, row - height // 2), row + height // 2 + 1)
            columns = slice(max(0, column - width // 2), column + width // 2 + 1)
            lost, gained = int(self.lost[rows, columns].sum()), int(self.gained[rows, columns].sum())
            if min(lost, gained) >= _REPLACED * (lost + gained):
                kept.append((row, column))
        return StrokeChange(self.share, self.total, self.lost, self.gained, tuple(kept))

    def extending(self, stays: Mask, line_px: float) -> StrokeChange:
        """Give only the windows in which a stroke was added to a character that stays, or taken from it (hat, bat)."""
        import cv2

        width, height = character_window(line_px)
        changed = self.lost | self.gained
        near = cv2.dilate(stays.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        kept = []
        for row, column in self.windows:
            rows = slice(max(0, row - height // 2), row + height // 2 + 1)
            columns = slice(max(0, column - width // 2), column + width // 2 + 1)
            pixels = int(changed[rows, columns].sum())
            beside = int((changed & near)[rows, columns].sum())
            if beside >= _ATTACHED * pixels and stays[rows, columns].sum() >= pixels:
                kept.append((row, column))
        return StrokeChange(self.share, self.total, self.lost, self.gained, tuple(kept))

    def touching(self, stroke_mask: Mask, line_px: float) -> StrokeChange:
        """Give only the windows that hold some of this stroke_mask."""
        width, height = character_window(line_px)
        kept = tuple(
            (row, column)
            for row, column in self.windows
            if stroke_mask[
                max(0, row - height // 2) : row + height // 2 + 1, max(0, column - width // 2) : column + width // 2 + 1
            ].any()
        )
        return StrokeChange(self.share, self.total, self.lost, self.gained, kept)


def compare_strokes(before: StrokeModel, after: StrokeModel, line_px: float) -> StrokeChange:
    """Compare two stretches of frames by the ink that each of them has, wherever the picture behind went."""
    return _compare(before, after, _apart(before, after), line_px)


def find_change(
    before: StrokeModel, after: StrokeModel, line_px: float, beside: Sequence[Plane] = (), together: float = 0.0
) -> StrokeChange | None:
    """Compare two stretches of frames, without looking for ink where no character can have changed.

    Args:
        before: what stood before.
        after: what stands after.
        line_px: height of a line.
        beside: the frames around the change; the one in the middle is the first after it.
        together: the share of a character's changed pixels that have to change at that frame.

    Returns:
        None where no character changed, or where it cannot have changed at once.
    """
    apart = _apart(before, after)
    size = character_window(line_px)
    changeable = _strokes(apart[0]) | _strokes(apart[1])
    least = MIN_CHANGED_AREA
    if len(beside) > 1:
        changeable &= _goes_most_of_its_way(before, after, beside)
        least *= 0.99 * together
    if float(_density(changeable, size).max()) < least:
        return None
    change = _compare(before, after, apart, line_px)
    return change if change.is_change else None


def _goes_most_of_its_way(before: StrokeModel, after: StrokeModel, beside: Sequence[Plane]) -> Mask:
    """Mark the pixels that may take most of their way from one level to the other at the frame in the middle."""
    import cv2

    middle = len(beside) // 2
    done = cv2.subtract(beside[middle], beside[middle - 1], dtype=cv2.CV_32F)
    step = after.level - before.level
    size = np.abs(step)
    least = size * np.maximum(size, np.float32(_LEAST_STEP))
    least *= 0.99 * _MOST_OF_THE_WAY
    return np.asarray(done * step >= least)


def _apart(before: StrokeModel, after: StrokeModel) -> tuple[Mask, Mask]:
    """Mark where the frames after differ from what stood before, and those before from what stands after."""
    needed = np.maximum(STEADY_LEVELS, 0.5 * np.maximum(np.abs(before.relief), np.abs(after.relief)))
    return (
        np.asarray(mean_distance(after.frames, before.level) > needed),
        np.asarray(mean_distance(before.frames, after.level) > needed),
    )


def _density(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """Give the share of the pixels of a window ``(width, height)`` around each pixel that a mask marks."""
    import cv2

    marked = mask.view(np.uint8)
    return np.asarray(cv2.boxFilter(marked, cv2.CV_32F, size, borderType=cv2.BORDER_CONSTANT), np.float32)


def _compare(before: StrokeModel, after: StrokeModel, apart: tuple[Mask, Mask], line_px: float) -> StrokeChange:
    least = _RELATIVE_CONTRAST * max(before.contrast, after.contrast)
    old = before.stroke_mask & (np.abs(before.relief) >= least)
    new = after.stroke_mask & (np.abs(after.relief) >= least)
    lost, gained = _strokes(old & apart[0]), _strokes(new & apart[1])
    size = character_window(line_px)
    changed = _density(lost | gained, size)
    stroke_mask = _density(old | new, size)
    share = changed / np.maximum(stroke_mask, 1e-6)
    strong = changed * ((changed >= MIN_CHANGED_AREA) & (share >= MIN_CHANGED_SHARE))
    windows: list[tuple[int, int]] = []
    while len(windows) < _MOST_WINDOWS:
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


def changes_alone(before: StrokeModel, after: StrokeModel, beside: Sequence[Plane], line_px: float) -> bool:
    """Say whether something changes for good where the text stands, in the middle of some frames, and nothing else.

    Over a picture that stands still that is a character, however little of it is known to be a stroke. Arguments as of
    `find_change`.
    """
    if len(beside) < 2:
        return False
    middle = len(beside) // 2
    at_once = np.abs(beside[middle].astype(np.int16) - beside[middle - 1]) > STEADY_LEVELS
    for_good = at_once & (np.abs(after.level - before.level) > STEADY_LEVELS)
    for_good &= _goes_most_of_its_way(before, after, beside)  # what fades takes several frames
    least = MIN_STROKE_AREA * line_px**2

    def is_alone(changed: int) -> bool:
        return changed >= least and int(at_once.sum()) - changed <= _ELSEWHERE * changed

    if not is_alone(int(for_good.sum())):
        return False  # without asking what is ink
    stroke_mask = before.stroke_mask | after.stroke_mask
    return bool(stroke_mask.any()) and is_alone(int((for_good & box_around(stroke_mask, line_px)).sum()))


def box_around(stroke_mask: Mask, line_px: float) -> Mask:
    """Mark the box of some stroke_mask, and half a line more to each side."""
    rows, columns = np.nonzero(stroke_mask)
    room = round(_AROUND * line_px)
    box = np.zeros(stroke_mask.shape, bool)
    box[max(0, rows.min() - room) : rows.max() + room, max(0, columns.min() - room) : columns.max() + room] = True
    return box


def character_window(line_px: float) -> tuple[int, int]:
    """Give ``(width, height)`` of the window that a narrow character fills, odd numbers of pixels."""
    return odd(line_px * 0.5), odd(line_px * 0.8)


def synchrony(
    frames: Sequence[Plane],
    before: StrokeModel,
    after: StrokeModel,
    change: StrokeChange,
    line_px: float,
    *,
    at_once: bool,
) -> float:
    """Say how much the changed pixels of one character changed together, 0..1: the best of its windows.

    Glyphs come and go as a whole, at once or in one fade; what merely moves through the strip changes
    pixel by pixel.

    Args:
        frames: strips around the change; the one in the middle is the first after it.
        before: what stood before.
        after: what stands after.
        change: how they differ.
        line_px: height of a line.
        at_once: the change is at the middle frame. Then it is the share of the pixels that take most of their way
            there; else the share of the variance of the pixels' ways, over the frames, that one common curve explains.
    """
    if len(frames) < 2:
        return 0.0
    windows = _windows_of(change, line_px)
    if not windows:
        return 0.0
    pixels = np.concatenate(windows)
    low, high = before.level.take(pixels), after.level.take(pixels)
    middle = len(frames) // 2
    looked_at = frames[middle - 1 : middle + 1] if at_once else frames
    ways = (np.stack([frame.take(pixels) for frame in looked_at]) - low) / _steps(low, high)
    parts = np.split(ways, np.cumsum([len(window) for window in windows])[:-1], axis=1)
    if at_once:
        return max(float(np.mean(part[1] - part[0] >= _MOST_OF_THE_WAY)) for part in parts)
    return max(_common_curve(np.clip(part, -0.5, 1.5)) for part in parts)


def _windows_of(change: StrokeChange, line_px: float) -> list[NDArray[np.intp]]:
    """Give the changed pixels of each changed window, numbered row by row."""
    width, height = character_window(line_px)
    changed = change.lost | change.gained
    across = changed.shape[1]
    windows = []
    for row, column in change.windows:
        top, left = max(0, row - height // 2), max(0, column - width // 2)
        down, right = np.nonzero(changed[top : row + height // 2 + 1, left : column + width // 2 + 1])
        windows.append((down + top) * across + right + left)
    return windows


def _common_curve(ways: NDArray[np.floating]) -> float:
    """Give the share of the variance of ways ``(frames, pixels)`` that their mean explains, if it goes half the way."""
    mean = ways.mean(axis=1, keepdims=True)
    total = float(np.mean((ways - 0.5) ** 2))
    if float(np.ptp(mean)) <= 0.5 or total <= 0:
        return 0.0
    return max(0.0, 1 - float(np.mean((ways - mean) ** 2)) / total)


def _steps(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give how far pixels go from one level to another, at least `_LEAST_STEP`."""
    step = high - low
    return np.where(np.abs(step) < _LEAST_STEP, np.where(step < 0, -_LEAST_STEP, _LEAST_STEP), step)


def _strokes(mask: Mask) -> Mask:
    """Leave out single pixels and hairlines: noise of the encoding."""
    import cv2

    marked = mask.view(np.uint8)
    near = cv2.boxFilter(marked, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return mask & (near >= 4)


def visibility(
    frames: Sequence[Plane | NDArray[np.float32]], model: StrokeModel, stroke_mask: Mask
) -> NDArray[np.float32]:
    """Give how much of some ink each frame shows: about 0 without it, 1 in full, in between while it fades.

    Args:
        frames: the strips to judge, or mean levels of some, ``(height, width)``.
        model: the caption whose ink it is.
        ink: bool ``(height, width)``, the pixels to judge by.

    Returns:
        float32 ``(len(frames),)``: the correlation of each frame's relief with the model's, over that of the model's
        with itself.
    """
    target = model.relief * stroke_mask
    norm = float(np.vdot(target, target))
    if norm <= 0:
        return np.zeros(len(frames), np.float32)
    # What would be taken of every frame's relief is turned round once: then the frames need no relief.
    weights = target - _spread(target, model.line_px)
    rows, columns = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    weights = weights[part].ravel() / np.float32(norm)
    return np.array([np.dot(weights, frame[part].astype(np.float32).ravel()) for frame in frames], np.float32)


def _spread(target: NDArray[np.float32], line_px: float) -> NDArray[np.float32]:
    """Give what each pixel takes part in: the transpose of the mean of surroundings that `high_pass` takes away."""
    import cv2

    window = _surroundings(target.shape, line_px)
    reach = window // 2
    edges = reach, reach, reach, reach
    padded = cv2.copyMakeBorder(target, *edges, cv2.BORDER_CONSTANT, value=0)
    spread = np.asarray(cv2.boxFilter(padded, -1, (window, window), borderType=cv2.BORDER_CONSTANT), np.float32)
    # Pixels beyond an edge are those before it, mirrored.
    for turned in (spread, spread.T):
        length = len(turned)
        turned[reach + 1 : 2 * reach + 1] += turned[:reach][::-1]
        turned[length - 2 * reach - 1 : length - reach - 1] += turned[length - reach :][::-1]
    return spread[reach : reach + target.shape[0], reach : reach + target.shape[1]]


def odd(value: float) -> int:
    """Give the nearest odd whole number, at least 3."""
    return max(3, 2 * round((value - 1) / 2) + 1)
