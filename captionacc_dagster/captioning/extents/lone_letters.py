"""Tell the I that is alone by its shape: recognizers read nothing in a bar, or a 1."""

from __future__ import annotations

import numpy as np

from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

_WIDEST = 1 / 3  # of the height: an I in the heaviest condensed fonts


def upright_bar(strokes: Mask, line_px: float) -> Box | None:
    """Return the box of an upright bar as high as a capital, ``(x0, y0, x1, y1)``, if strokes are hardly anything else.

    Args:
        strokes: bool ``(height, width)``.
        line_px: height of a line, pixels.
    """
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(strokes.view(np.uint8), connectivity=8)
    if count < 2:
        return None
    number = 1 + int(np.argmax(np.asarray(stats)[1:, cv2.CC_STAT_AREA]))
    x0, y0, width, height, area = (int(value) for value in stats[number])
    if strokes.sum() - area > TUNING.fading_share * area:
        return None
    if not OCR.least_letter * line_px < height <= line_px or width > _WIDEST * height:
        return None
    return (x0, y0, x0 + width, y0 + height) if 2 * area >= width * height else None
