"""Cut the letters of a line out of its picture, by a mask that has only a part of their strokes.

A mask has jagged edges, joins what is a pixel apart, and lacks whole marks and letters; the picture shows all of them,
but does not tell them from what is behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.tuning import TUNING

_LEAST_CONTRAST = 5.0  # gray levels between letters and what is around them
_CORE, _NEAR = 0.6, 0.3  # of the mask where a stroke surely is, and where one may be
_MASK_PX = 1.5  # pixels of the mask by which a stroke may reach beyond it

Gray = NDArray[np.float32]


def span_of_letters(
    levels: Gray, strokes: Gray, start: int, end: int, *, margin_px: float, least_px: float
) -> tuple[int, int]:
    """Return two columns between which a line is cut out so that no letter is cut through.

    What goes on beyond a column is the picture behind where it is not bounded, or fainter than the letters.

    Args:
        levels: the luma of the picture, ``(height, width)``: as high as the line, and wider.
        strokes: its mask, 0..1, at any size, without those of other text.
        start, end: the first columns, of the picture.
        margin_px: room beyond a letter that they would have cut through, pixels.
        least_px: what is lower is no letter, pixels.
    """
    import cv2

    cut = _contrasted(levels, strokes)
    if cut is None:
        return start, end
    _, contrast = cut
    lit = contrast > 0.5
    if not (lit[:, start].any() or lit[:, end - 1].any()):
        return start, end
    height, width = levels.shape
    _, found, boxes, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8), connectivity=4)
    labels = np.asarray(found, np.int32)

    def beyond(column: int) -> tuple[int, int] | None:
        """Return from where to where the letters at a column reach; None if there are none, or the picture behind."""
        left, right, highest = column, column + 1, 0
        for number in np.unique(labels[lit[:, column], column]):
            x, y, wide, high, _ = boxes[number]
            inside = labels[y : y + high, x : x + wide] == number
            if np.percentile(contrast[y : y + high, x : x + wide][inside], 90) < TUNING.mark_level:
                continue
            if not (x > 0 and y > 0 and x + wide < width and y + high < height):
                return None
            left, right, highest = min(left, int(x)), max(right, int(x + wide)), max(highest, int(high))
        return (left, right) if highest >= least_px else None

    while start > 0 and (there := beyond(start)) is not None:
        start = max(0, round(there[0] - margin_px))
    while end < width and (there := beyond(end - 1)) is not None:
        end = min(width, round(there[1] + margin_px))
    return start, end


def letters_of(levels: Gray, strokes: Gray) -> Gray:
    """Return the letters as smooth as the picture shows them, 0..1, with the marks that the mask lacks.

    What is connected in the picture and half covered by the mask is a letter; so is what is as bright, and
    bounded: a mask often lacks the vowel signs of Thai and the accents of Vietnamese. What reaches the edge of the
    picture of the line, or lies in the bowl of a letter, is the picture behind.
    """
    import cv2

    cut = _contrasted(levels, strokes)
    if cut is None:
        return strokes
    mask, contrast = cut
    height, width = levels.shape
    lit = contrast > 0.5
    count, found, boxes, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8), connectivity=4)
    labels = np.asarray(found, np.int32)

    def pixels(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many pixels of each component are marked."""
        return np.bincount(labels[inside & lit], minlength=count)

    area = np.maximum(1, boxes[:, cv2.CC_STAT_AREA])
    near = _grown(mask > _NEAR, round(_MASK_PX * height / strokes.shape[0]))
    # Of the picture behind, it covers a few pixels.
    covered = 2 * pixels(mask > _CORE) >= area
    letters = covered[labels] & lit & (near | (pixels(near) >= 0.5 * area)[labels])
    left, top = boxes[:, cv2.CC_STAT_LEFT], boxes[:, cv2.CC_STAT_TOP]
    right, bottom = left + boxes[:, cv2.CC_STAT_WIDTH], top + boxes[:, cv2.CC_STAT_HEIGHT]
    bounded = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    outside = ~covered & bounded & (pixels(_bowls(letters)) == 0)
    for number in np.flatnonzero(outside):
        place = slice(top[number], bottom[number]), slice(left[number], right[number])
        mark = labels[place] == number
        if np.percentile(contrast[place][mark], 90) >= TUNING.mark_level:
            letters[place] |= mark
    return _softened(contrast, _grown(letters, 1, square=True))


def _bowls(letters: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark what letters enclose."""
    import cv2

    around = np.pad((~letters).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 0)
    return around[1:-1, 1:-1] > 0


def cut_out(levels: Gray, strokes: Gray) -> Gray:
    """Return the strokes as smooth as the picture shows them, 0..1: its levels where the mask is, or next to it.

    A mask has jagged edges and joins what is a pixel apart, such as the loops of Thai letters and thin capitals.
    """
    cut = _contrasted(levels, strokes)
    if cut is None:
        return strokes
    mask, contrast = cut
    return _softened(contrast, _grown(mask > _NEAR, 1))


def _contrasted(levels: Gray, strokes: Gray) -> tuple[Gray, Gray] | None:
    """Return the mask at the size of the picture, and the picture from what is around letters, 0, to them, 1; None if
    the mask does not tell them apart."""
    import cv2

    height, width = levels.shape
    mask = np.asarray(cv2.resize(strokes, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    core = mask > _CORE
    around = _grown(mask > _NEAR, round(_MASK_PX * height / strokes.shape[0])) & (mask < _NEAR / 2)
    if not core.any() or not around.any():
        return None
    level, behind = float(np.median(levels[core])), float(np.median(levels[around]))
    contrast = level - behind if abs(level - behind) > _LEAST_CONTRAST else _LEAST_CONTRAST
    return mask, np.asarray(np.clip((levels - behind) / contrast, 0, 1), np.float32)


def _grown(mask: NDArray[np.bool_], pixels: int, *, square: bool = False) -> NDArray[np.bool_]:
    import cv2

    shape = cv2.MORPH_RECT if square else cv2.MORPH_ELLIPSE
    side = 2 * max(1, pixels) + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(shape, (side, side))) > 0


def _softened(contrast: Gray, mask: NDArray[np.bool_]) -> Gray:
    import cv2

    return np.asarray(contrast * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), TUNING.smooth_px), np.float32)
