"""Read an ellipsis by the shape of its dots: recognizers take them for zeros or leave them out."""

from __future__ import annotations

import re

import numpy as np

from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.ocr.base import Recognition
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

_MISREAD_DOTS = re.compile(r"[\s0oOD.,·•…。、*:;'\-_~]*")  # what a row of dots is read as
_FEWEST_DOTS, _MOST_DOTS = 3, 8
_LONG_ELLIPSIS = 5  # dots: the Chinese ellipsis has six, one of which may be lost in the background


def may_be_ellipsis(text: str) -> bool:
    """Return whether a row of dots may have been read as ``text``."""
    return _MISREAD_DOTS.fullmatch(text) is not None


def read_ellipsis(
    stroke_mask: Mask, box: tuple[int, int, int, int], line_px: float, *, vertical: bool
) -> Recognition | None:
    """Return the ellipsis that a line consists of, ``"..."`` or ``"……"``; None if it is not one.

    Args:
        stroke_mask: bool ``(height, width)``, transposed where the text is vertical.
        box: the line, ``(x0, y0, x1, y1)`` in pixels of the mask before it was transposed.
        line_px: height of a line, pixels of the mask.
        vertical: the line is a column.
    """
    import cv2

    x0, y0, x1, y1 = (box[1], box[0], box[3], box[2]) if vertical else box
    line = np.ascontiguousarray(stroke_mask[y0:y1, x0:x1], np.uint8)
    count, _, stats, centers = cv2.connectedComponentsWithStats(line, connectivity=8)
    dots, middles = stats[1:], centers[1:]
    if not _FEWEST_DOTS <= count - 1 <= _MOST_DOTS or dots[:, 2:4].max() > OCR.least_letter * line_px:
        return None
    steps = np.diff(np.sort(middles[:, 0]))
    if steps.max() > min(TUNING.dot_pitch * line_px, TUNING.dot_unevenness * steps.min()):
        return None
    if float(np.ptp(middles[:, 1])) > OCR.least_letter / 2 * line_px:
        return None
    return Recognition("……" if len(dots) >= _LONG_ELLIPSIS else "...", OCR.certain)
