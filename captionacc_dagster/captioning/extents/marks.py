"""Marks that recognizers take for something else or leave out, told by their shape: rows of dots, ``¡``."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.ocr.base import Recognition

_DOTS = re.compile(r"[\s0oOD.,·•…。、*:;'\-_~]*")  # what a row of dots is read as
_FEWEST_DOTS, _MOST_DOTS = 3, 8
_LONG_ELLIPSIS = 5  # dots: one of the six may be lost in what is behind it
_DOT = 0.3  # line heights: the largest dot,
_DOT_PITCH = (0.1, 0.7)  # how far apart they are,
_UNEVEN = 1.6  # times that may differ,
_OFF_LINE = 0.08  # and how far they lie off their line
_SURE_OF_DOTS = 0.95
_THIN = 0.25  # line heights: the widest inverted exclamation mark,
_HIGH = 0.4  # how high it is at least,
_HANGS = 0.09  # how far its ends lie below those of the letters,
_WITHOUT_GAPS = 0.72  # and the share of its rows that have ink: a semicolon has less
_LETTER = 0.3  # line heights: lower ink is no letter
_BESIDE = 0.22  # line heights from it to the middle of the next letter, at least
_TAKEN_FOR = frozenset("iIjlíì|1!;:")  # what it is read as, unless it is left out
_SURE_OF_MARKS = 0.95


def may_be_dots(text: str) -> bool:
    """Tell whether a row of dots may have been read as this."""
    return _DOTS.fullmatch(text) is not None


def ellipsis(
    stroke_mask: Mask, box: tuple[int, int, int, int], line_px: float, *, vertical: bool
) -> Recognition | None:
    """Read a row of dots by their shape, which recognizers take for zeros or for nothing; None where it is none.

    Args:
        ink: bool ``(height, width)``, turned where the text is vertical.
        box: the line in the ink as it stands in the picture.
        line_px: height of a line.
        vertical: the line is a column.
    """
    import cv2

    x0, y0, x1, y1 = (box[1], box[0], box[3], box[2]) if vertical else box
    line = np.ascontiguousarray(stroke_mask[y0:y1, x0:x1], np.uint8)
    count, _, stats, centers = cv2.connectedComponentsWithStats(line, connectivity=8)
    dots, middles = stats[1:], centers[1:]
    if not _FEWEST_DOTS <= count - 1 <= _MOST_DOTS or dots[:, 2:4].max() > _DOT * line_px:
        return None
    steps = np.diff(np.sort(middles[:, 0])) / line_px
    is_even = _DOT_PITCH[0] <= steps.min() and steps.max() <= min(_DOT_PITCH[1], _UNEVEN * steps.min())
    if not is_even or float(np.ptp(middles[:, 1])) > 2 * _OFF_LINE * line_px:
        return None
    return Recognition("……" if len(dots) >= _LONG_ELLIPSIS else "...", _SURE_OF_DOTS)


def with_inverted_marks(
    line: Recognition, stroke_mask: Mask, box: tuple[int, int, int, int], extent: tuple[float, float], line_px: float
) -> Recognition:
    """Put the inverted exclamation marks of a line back, a symbol that the recognizer may not know.

    It is a thin stroke that hangs lower than letters do: its top below theirs, its foot below their line.

    Args:
        line: what was read.
        ink: bool ``(height, width)``.
        box: the line in the stroke_mask, ``(x0, y0, x1, y1)`` in pixels.
        extent: from where to where the picture that was read reaches, pixels of the stroke_mask.
        line_px: height of a line.
    """
    if len(line.positions) != len(line.text):
        return line
    start, end = extent
    text, certainties = list(line.text), list(line.characters)
    places = [start + position * (end - start) for position in line.positions]
    for left, right in _hanging_strokes(stroke_mask, box, line_px):
        middle = (left + right) / 2
        number = next((n for n, place in enumerate(places) if place > middle and text[n] != " "), len(text))
        near = [n for n, place in enumerate(places) if abs(place - middle) < _BESIDE * line_px and text[n] != " "]
        taken = [n for n in near if text[n] in _TAKEN_FOR]
        at = taken[0] if taken else number
        if (near and not taken) or (at and text[at - 1].isalnum()):
            continue  # it is part of another character, or within a word
        read = slice(at, at + len(taken[:1]))
        text[read], certainties[read], places[read] = ["¡"], [_SURE_OF_MARKS], [middle]
    positions = tuple((place - start) / (end - start) for place in places)
    return replace(line, text="".join(text), characters=tuple(certainties), positions=positions)


def _hanging_strokes(stroke_mask: Mask, box: tuple[int, int, int, int], line_px: float) -> list[tuple[int, int]]:
    """Find the thin strokes of a line that hang lower than its letters: from where to where each runs, pixels."""
    x0, y0, x1, y1 = box
    line = stroke_mask[y0:y1, x0:x1]
    columns = np.flatnonzero(line.any(axis=0))
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    spans = []
    for group in groups:
        rows = np.flatnonzero(line[:, group[0] : group[-1] + 1].any(axis=1))
        spans.append((int(group[0]), int(group[-1]) + 1, int(rows[0]), int(rows[-1]) + 1, len(rows)))
    letters = [span for span in spans if span[3] - span[2] >= _LETTER * line_px]
    found = []
    for number, (left, right, top, bottom, inked) in enumerate(letters[:-1]):
        if right - left > _THIN * line_px or bottom - top < _HIGH * line_px:
            continue
        others = [*letters[:number], *letters[number + 1 :]]
        highest = min(letter[2] for letter in others)
        foot = float(np.median([letter[3] for letter in others]))
        hangs = top - highest >= _HANGS * line_px and bottom - foot >= _HANGS * line_px
        opens = not number or left - letters[number - 1][1] > letters[number + 1][0] - right  # it is at what follows
        if hangs and opens and inked >= _WITHOUT_GAPS * (bottom - top):
            found.append((x0 + left, x0 + right))
    return found
