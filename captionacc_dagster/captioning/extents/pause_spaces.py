"""Put back the spaces of Chinese and Japanese lines that mean a pause; recognizers leave them out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.ocr.base import Recognition

_FIRST_KANA, _LAST_IDEOGRAPH = "\u3041", "\u9fff"
_PUNCTUATION = frozenset("，。、")  # a line with it marks its pauses by it
# Ideographs that leave at least 0.13 em of their cell empty on that side (median of CJK fonts; most leave 0.04 em).
_OPEN_LEFT = frozenset("白帛卜己甲巨口良吕冒目日申巳胃肖丫曰占旨自")
_OPEN_RIGHT = frozenset("白卜甲口目日习肖丫引月自")
_OPEN_SIDE = 0.13  # em: how much more than other ideographs they leave empty
_SPECK = 0.11  # em: the side of the largest speck of the stroke mask that belongs to no character


def with_pauses(line: Recognition, strokes: Mask, extent: tuple[float, float]) -> Recognition:
    """Return the reading of a line with a space in every gap that is too wide for its pitch.

    Ideographs and kana have one pitch. A pause moves all that follow it, and leaves a gap in the strokes.

    Args:
        line: what was read; without positions it is returned as it is.
        strokes: of the line, bool ``(height, width)``.
        extent: from where to where the image that was read reaches, pixels of ``strokes``.
    """
    if len(line.positions) != len(line.text) or _PUNCTUATION.intersection(line.text):
        return line
    start, end = extent
    letters = [number for number, character in enumerate(line.text) if character != " "]
    places = np.array([start + line.positions[number] * (end - start) for number in letters])
    pairs = [
        pair
        for pair, (one, other) in enumerate(itertools.pairwise(letters))
        if other == one + 1 and _is_full_width(line.text[one]) and _is_full_width(line.text[other])
    ]
    if len(pairs) < 2:
        return line
    read_steps = np.diff(places)
    read_em = float(np.median(read_steps[pairs]))
    spans = _spans(_columns(strokes, read_em), places)
    steps, gaps = np.diff(spans.mean(axis=1)), spans[1:, 0] - spans[:-1, 1]
    em = float(np.median(np.sort(steps[pairs])[: -(-3 * len(pairs) // 4)]))  # pauses are among the widest steps
    wide = {
        pair
        for pair in pairs
        # Strokes that the mask lacks leave gaps, too: the recognizer's places, though coarse, must agree.
        if min(steps[pair], em + gaps[pair] - _open_sides(line.text, letters[pair]) * em) >= (1 + TUNING.pause) * em
        and read_steps[pair] - read_em >= TUNING.pause / 2 * read_em
    }
    widest_step = max((steps[pair] for pair in pairs if pair not in wide), default=em)
    pauses = {
        letters[pair + 1]
        for pair in wide
        if steps[pair] - widest_step >= TUNING.pause / 2 * em and _shift(steps, pair, em) >= 0.75 * TUNING.pause * em
    }
    if not pauses:
        return line
    text, characters, positions = "", [], []
    for number, character in enumerate(line.text):
        if number in pauses:
            text += " "
            characters.append(line.confidence)
            positions.append((line.positions[number - 1] + line.positions[number]) / 2)
        text += character
        characters.append(line.characters[number])
        positions.append(line.positions[number])
    return replace(line, text=text, characters=tuple(characters), positions=tuple(positions))


def _is_full_width(character: str) -> bool:
    return _FIRST_KANA <= character <= _LAST_IDEOGRAPH


def _open_sides(text: str, number: int) -> float:
    """Return how much wider than usual the shapes of a character and the next one make the gap between them, em."""
    return _OPEN_SIDE * ((text[number] in _OPEN_RIGHT) + (text[number + 1] in _OPEN_LEFT))


def _shift(steps: NDArray[np.float64], pair: int, em: float) -> float:
    """Return by how much a wide step moves what follows it, pixels.

    Where the strokes of a character are incomplete, one of its steps is wide and the other one is as much too narrow.
    """
    around = steps[max(0, pair - 1) : pair + 2]
    return float(around.sum()) - len(around) * em


def _columns(strokes: Mask, em: float) -> Mask:
    """Return in which columns a line has strokes, specks left out."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(strokes, np.uint8), connectivity=8)
    is_part = stats[:, cv2.CC_STAT_AREA] >= (_SPECK * em) ** 2
    is_part[0] = False
    return np.any(np.take(is_part, np.asarray(labels, np.intp)), axis=0)


def _spans(columns: Mask, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return from where to where the strokes of each character reach, pixels, float ``(characters, 2)``."""
    cuts = [0, *((places[1:] + places[:-1]) / 2).round().astype(int), len(columns)]
    spans = np.stack([places, places], axis=1)
    for number, (left, right) in enumerate(itertools.pairwise(cuts)):
        inside = np.flatnonzero(columns[left:right])
        if inside.size:
            spans[number] = left + inside[0], left + inside[-1] + 1
    return spans
