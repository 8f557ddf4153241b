"""Words that a recognizer left out of a line, as it often does with a single thin letter: SO HERE AM for SO HERE I AM.

Their strokes are there, beside the characters that were read. What is cut out around them is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from captionacc_dagster.captioning.extents.strokes import Mask, mark_words
from captionacc_dagster.captioning.ocr.base import LinePicture, OcrEngine, Recognition
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR


@dataclass(frozen=True, slots=True)
class _Word:
    """The strokes of a word: its columns, half-open, its height, and the characters that were read in it."""

    left: int
    right: int
    height: int
    characters: tuple[int, ...]


def with_lost_words(
    engine: OcrEngine, image: NDArray[np.uint8], strokes: Mask, line: Recognition, line_px: float
) -> tuple[Recognition, int]:
    """Return the reading of a line with the words that it lacks, and how many times a part was read again.

    Args:
        engine: reads line images.
        image: of the line, uint8 ``(height, width)``.
        strokes: of the same part of the picture, bool, at any scale.
        line: what was read.
        line_px: height of a line, pixels of ``strokes``.
    """
    if line.confidence < OCR.sure or len(line.positions) != len(line.text) or not line.text.strip():
        return line, 0
    words = _words_of(strokes, line, line_px)
    usual = np.median([word.height for word in words if word.characters] or [line_px])
    lost = [n for n, word in enumerate(words) if not word.characters and 2 * word.height > usual]
    tries = 0
    for number in reversed(lost):  # what is added moves the characters after it
        around = words[max(0, number - 1) : number + 2]
        if len(around) == len(words):  # the whole line again
            around = words[number : number + 2] if number + 1 < len(words) else words[number - 1 :]
        added = _read_part(engine, image, strokes.shape[1], line, around, line_px)
        tries += 1
        line = added or line
    return line, tries


def _words_of(strokes: Mask, line: Recognition, line_px: float) -> list[_Word]:
    """Return the words of a line from left to right; each character that was read is of the word nearest to it."""
    columns = np.flatnonzero(mark_words(strokes, line_px).any(axis=0))
    if not columns.size:
        return []
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    spans = [(int(run[0]), int(run[-1]) + 1) for run in runs]
    inside: list[list[int]] = [[] for _ in spans]
    for number, place in enumerate(line.positions):
        if not line.text[number].isspace():
            at = place * strokes.shape[1]
            distances = [max(left - at, at - right, 0.0) for left, right in spans]
            inside[distances.index(min(distances))].append(number)
    words = []
    for (left, right), characters in zip(spans, inside, strict=True):
        rows = np.flatnonzero(strokes[:, left:right].any(axis=1))
        height = int(rows[-1] - rows[0]) + 1 if rows.size else 0
        words.append(_Word(left, right, height, tuple(characters)))
    return words


def _read_part(
    engine: OcrEngine, image: NDArray[np.uint8], width: int, line: Recognition, words: Sequence[_Word], line_px: float
) -> Recognition | None:
    """Return the line with what a part of it, some words, says; None if that adds nothing to what was read."""
    known = [number for word in words for number in word.characters]
    if not known:
        return None
    margin = line_px / 4
    left, right = max(0.0, (words[0].left - margin) / width), min(1.0, (words[-1].right + margin) / width)
    part = np.ascontiguousarray(image[:, round(left * image.shape[1]) : round(right * image.shape[1])])
    [read] = engine.recognize([LinePicture(part, np.ones(part.shape, np.bool_))])
    first, last = min(known), max(known) + 1
    before, text = _letters(line.text[first:last]), read.text.strip()
    after = _letters(text)
    if read.confidence < OCR.sure or len(after) <= len(before) or LCSseq.similarity(before, after) < len(before):
        return None
    start = len(read.text) - len(read.text.lstrip())
    positions = [left + place * (right - left) for place in read.positions][start : start + len(text)]
    if len(positions) != len(text):
        return None
    head, tail = line.text[:first], line.text[last:]
    joined = head + text + tail
    confidence = (line.confidence * (len(head) + len(tail)) + read.confidence * len(text)) / len(joined)
    places = (*line.positions[:first], *positions, *line.positions[last:])
    return replace(line, text=joined, confidence=confidence, characters=(), positions=places)


def _letters(text: str) -> str:
    return "".join(text.split())
