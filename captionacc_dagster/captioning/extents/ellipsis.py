"""Read an ellipsis by the shape of its dots: recognizers take them for zeros or leave them out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.ocr.base import Recognition
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

_MISREAD_DOTS = re.compile(r"[\s0oOD.,·•…。、*:;'\-_~]*")  # what a row of dots is read as
_LAST_MISREAD = "0oO.,·•…。 \u3000"  # at the end of a line; which of these are dots tells their place
_ELLIPSIS = re.compile(r"\.{3,}|…+|。{3,}|·{3,}")
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
    x0, y0, x1, y1 = (box[1], box[0], box[3], box[2]) if vertical else box
    dots, middles = _parts(stroke_mask[y0:y1, x0:x1])
    if len(dots) > _MOST_DOTS or not _are_dots_in_a_row(dots, middles, line_px):
        return None
    return Recognition(_ellipsis_of(len(dots)), OCR.certain)


def with_last_ellipsis(line: Recognition, strokes: Mask, extent: tuple[float, float], line_px: float) -> Recognition:
    """Return the reading of a line with the dots that it ends in as an ellipsis, where they were misread.

    Args:
        line: what was read; without positions it is returned as it is.
        strokes: of the line, bool ``(height, width)``.
        extent: from where to where the image that was read reaches, pixels of ``strokes``.
        line_px: height of a line, pixels of ``strokes``.
    """
    first = len(line.text.rstrip(_LAST_MISREAD))
    read = line.text[first:]
    if not read or _ELLIPSIS.fullmatch(read) or len(line.positions) != len(line.text):
        return line
    dots, middles = _parts(strokes)
    is_small = dots.max(axis=1, initial=0) <= OCR.least_letter * line_px
    count = int(np.argmin(np.append(is_small[::-1], False)))
    dots, middles = dots[len(dots) - count :], middles[len(dots) - count :]
    if len(is_small) == count or count > _MOST_DOTS or not _are_dots_in_a_row(dots, middles, line_px):
        return line
    start, end = extent
    pitch = float(middles[1, 0] - middles[0, 0])
    places = start + np.array(line.positions) * (end - start)
    kept = max(first, int(np.argmax(np.append(places >= middles[0, 0] - pitch / 2, True))))
    said = line.text[kept:].replace(" ", "")
    # Each dot is read as something; what was not is no dot, as in a picture of small strokes.
    if len(said) < count - 1 or not (len(said) >= _FEWEST_DOTS or set(said) == {"."}):
        return line
    text = line.text[:kept].rstrip()
    ellipsis = _ellipsis_of(count)
    dots_at = (np.linspace(middles[0, 0], middles[-1, 0], len(ellipsis)) - start) / (end - start)
    return replace(
        line,
        text=text + ellipsis,
        characters=(*line.characters[: len(text)], *[OCR.certain] * len(ellipsis)) if line.characters else (),
        positions=(*line.positions[: len(text)], *dots_at.tolist()),
    )


def _ellipsis_of(dots: int) -> str:
    return "……" if dots >= _LONG_ELLIPSIS else "..."


def _parts(strokes: Mask) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the sizes of the connected parts of strokes, ``(width, height)``, and their centers, by their place."""
    import cv2

    line = np.ascontiguousarray(strokes, np.uint8)
    _, _, stats, centers = cv2.connectedComponentsWithStats(line, connectivity=8)
    order = np.argsort(centers[1:, 0])
    return np.asarray(stats[1:, 2:4], np.int32)[order], np.asarray(centers[1:], np.float64)[order]


def _are_dots_in_a_row(dots: NDArray[np.int32], middles: NDArray[np.float64], line_px: float) -> bool:
    """Return whether parts of strokes are three dots or more at one height and at even distances."""
    if len(dots) < _FEWEST_DOTS or dots.max() > OCR.least_letter * line_px:
        return False
    steps = np.diff(middles[:, 0])
    is_even = steps.max() <= min(TUNING.dot_pitch * line_px, TUNING.dot_unevenness * steps.min())
    return bool(is_even and float(np.ptp(middles[:, 1])) <= OCR.least_letter / 2 * line_px)
