"""Read a line that has Latin words among words of another script, such as English names in Hindi captions.

The engine of a script reads Latin words badly and is unsure of them; the default recognizer reads nothing else. So the
default recognizer reads what the engine is unsure of, and the engine reads what is between the Latin words again.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.base import LinePicture, Recognition
from captionacc_dagster.captioning.ocr.tuning import TUNING

_RIGHT_TO_LEFT = frozenset({"Arab", "Hebr"})
# Scripts with letters that look like Latin ones, which the default recognizer reads with confidence.
_LOOKALIKES = frozenset({"Cyrl", "Grek"})


Reader = Callable[[LinePicture], Recognition]


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word, its place as fractions of the line's width, and how surely it was read."""

    text: str
    start: float
    end: float
    confidence: float

    def overlaps(self, other: PlacedWord) -> bool:
        """Return whether two words share most of the place of one of them."""
        common = min(self.end, other.end) - max(self.start, other.start)
        return 2 * common >= max(1e-6, min(self.end - self.start, other.end - other.start))


def placed_words(read: Recognition) -> list[PlacedWord]:
    """Return the words of a reading in its order; empty where the engine does not say where its characters are."""
    if not read.text or len(read.positions) != len(read.text) or len(read.characters) != len(read.text):
        return []
    pitch = _pitch([place for letter, place in zip(read.text, read.positions, strict=True) if not letter.isspace()])
    words = []
    for is_space, group in itertools.groupby(range(len(read.text)), lambda at: read.text[at].isspace()):
        if is_space:
            continue
        at = list(group)
        places = [read.positions[number] for number in at]
        sure = sum(read.characters[number] for number in at) / len(at)
        text = "".join(read.text[number] for number in at)
        words.append(PlacedWord(text, min(places) - pitch / 2, max(places) + pitch / 2, sure))
    return words


def read_mixed(
    line: LinePicture, native: Recognition, script: str, read_native: Reader, read_latin: Reader
) -> Recognition:
    """Return the reading of a line with its Latin words as the default recognizer reads them.

    Args:
        line: its picture.
        native: the reading of the whole line by the engine of its script.
        script: of the line, ISO 15924.
        read_native: reads a part of the line as ``native`` was read.
        read_latin: reads a part of the line with the default recognizer.
    """
    words = placed_words(native)
    strokes = _strokes(line)
    height, width = line.image.shape[:2]
    reach = TUNING.cut_reach * height / width
    gain = (3 if script in _LOOKALIKES else 1) * TUNING.gain
    latin: list[PlacedWord] = []
    for start, end in _doubtful_parts(words, strokes, reach):
        for word in placed_words(read_latin(_part(line, start, end))):
            placed = replace(word, start=start + word.start * (end - start), end=start + word.end * (end - start))
            if _is_latin(placed) and _is_surer(placed, words, gain):
                latin.append(placed)
    if not latin:
        return native
    runs = _runs(latin, strokes, reach)
    parts: list[tuple[float, Recognition]] = [(start, _joined(run)) for run, start, _ in runs]
    edges = [0.0, *(edge for _, start, end in runs for edge in (start, end)), 1.0]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        inside = strokes[round(start * len(strokes)) : round(end * len(strokes))]
        if np.count_nonzero(inside) * width / len(strokes) >= TUNING.least_letter * height:
            known = [word for word in words if start <= (word.start + word.end) / 2 < end]
            beside = _columns_beside(strokes, known, start, end, reach) * width / len(strokes)
            is_known = beside < TUNING.least_letter * height and not any(map(_is_doubtful, known))
            read = _joined(known) if is_known else read_native(_part(line, start, end))
            if read.text:
                parts.append((start, read))
    parts.sort(key=lambda part: part[0], reverse=script in _RIGHT_TO_LEFT)
    return _one_line([read for _, read in parts])


def _columns_beside(
    strokes: NDArray[np.integer], words: Sequence[PlacedWord], start: float, end: float, reach: float
) -> int:
    """Return how many columns of a part of a line have strokes beside its words."""
    is_beside = strokes > 0
    is_beside[: round(start * len(strokes))] = is_beside[round(end * len(strokes)) :] = False
    for word in words:
        is_beside[max(0, round((word.start - reach) * len(strokes))) : round((word.end + reach) * len(strokes))] = False
    return int(np.count_nonzero(is_beside))


def _doubtful_parts(
    words: Sequence[PlacedWord], strokes: NDArray[np.integer], reach: float
) -> list[tuple[float, float]]:
    """Return the parts of a line between words that the engine of the script is sure of, where it read others."""
    in_place = sorted(words, key=lambda word: word.start)
    runs = [(doubtful, list(run)) for doubtful, run in itertools.groupby(in_place, _is_doubtful)]
    parts = []
    for number, (doubtful, _) in enumerate(runs):
        if doubtful:
            start = _gap(strokes, runs[number - 1][1][-1].end, reach, 1) if number else 0.0
            end = _gap(strokes, runs[number + 1][1][0].start, reach, -1) if number + 1 < len(runs) else 1.0
            if start < end:
                parts.append((start, end))
    return parts


def _is_doubtful(word: PlacedWord) -> bool:
    """Return whether the engine of the script is not sure of a word, or read no letter of the script in it."""
    return word.confidence < TUNING.doubtful or not _has_own_letters(word.text)


def _is_surer(word: PlacedWord, native: Sequence[PlacedWord], gain: float) -> bool:
    """Return whether a Latin word is surer than what the script's engine read in its place.

    What has no letter of the script in it, such as digits for Latin letters, says nothing against the word.
    """
    against = [other.confidence for other in native if word.overlaps(other) and _has_own_letters(other.text)]
    return not against or word.confidence >= max(against) + gain


def _runs(
    latin: Sequence[PlacedWord], strokes: NDArray[np.integer], reach: float
) -> list[tuple[list[PlacedWord], float, float]]:
    """Return the Latin words in runs without other strokes between them, with the start and end of each run."""
    cut: list[tuple[PlacedWord, float, float]] = []
    for word in sorted(latin, key=lambda word: word.start):
        cut.append((word, _gap(strokes, word.start, reach, -1), _gap(strokes, word.end, reach, 1)))
    runs: list[tuple[list[PlacedWord], float, float]] = []
    for word, start, end in cut:
        between = strokes[round(runs[-1][2] * len(strokes)) : round(start * len(strokes))] if runs else strokes[:0]
        if runs and not between.any():
            runs[-1] = ([*runs[-1][0], word], runs[-1][1], max(end, runs[-1][2]))
        else:
            runs.append(([word], max(start, runs[-1][2]) if runs else start, end))
    return runs


def _gap(strokes: NDArray[np.integer], edge: float, reach: float, side: int) -> float:
    """Return the middle of the widest gap near the start (``side`` -1) or end (1) of a word, as a fraction."""
    size = len(strokes)
    low = max(0, round((edge - (reach if side < 0 else reach / 2)) * size))
    high = min(size, round((edge + (reach / 2 if side < 0 else reach)) * size))
    if low >= high:
        return min(1.0, max(0.0, edge))
    empty = strokes[low:high] == 0
    best, best_length, at = round(edge * size), 0, low
    for is_empty, group in itertools.groupby(empty):
        length = len(list(group))
        if is_empty and length > best_length:
            best, best_length = at + length // 2, length
        at += length
    return min(1.0, max(0.0, best / size))


def _strokes(line: LinePicture) -> NDArray[np.integer]:
    """Return the number of stroke pixels in each column; without a mask, every column has some."""
    if line.mask is None:
        return np.ones(line.image.shape[1], int)
    return (np.asarray(line.mask, np.float32) > 0.5).sum(axis=0)


def _part(line: LinePicture, start: float, end: float) -> LinePicture:
    """Return a part of a line between two fractions of its width."""

    def cut(pixels: NDArray[Any]) -> NDArray[Any]:
        width = pixels.shape[1]
        return pixels[:, round(start * width) : max(round(start * width) + 1, round(end * width))]

    return LinePicture(cut(line.image), None if line.mask is None else cut(line.mask))


def _joined(words: Sequence[PlacedWord]) -> Recognition:
    letters = sum(len(word.text) for word in words)
    confidence = sum(word.confidence * len(word.text) for word in words) / letters
    return Recognition(" ".join(word.text for word in words), confidence)


def _one_line(parts: Sequence[Recognition]) -> Recognition:
    letters = sum(len(part.text) for part in parts)
    confidence = sum(part.confidence * len(part.text) for part in parts) / max(1, letters)
    return Recognition(" ".join(part.text for part in parts), confidence)


def _is_latin(word: PlacedWord) -> bool:
    """Return whether a word of the default recognizer is certainly Latin: sure, and of more than one character."""
    known = [character for character in word.text if character.isalnum()]
    letters = [character for character in known if character.isalpha()]
    return len(known) > 1 and word.confidence >= TUNING.sure and bool(letters) and all(map(is_latin_letter, letters))


def _has_own_letters(text: str) -> bool:
    return any(character.isalpha() and not is_latin_letter(character) for character in text)


def is_latin_letter(character: str) -> bool:
    """Return whether a character is a letter of the Latin script, with or without marks."""
    return unicodedata.name(character, "").startswith("LATIN")


def _pitch(places: Sequence[float]) -> float:
    """Return the usual distance between neighboring characters."""
    steps = sorted(after - before for before, after in itertools.pairwise(sorted(places)))
    return steps[len(steps) // 2] if steps else 0.05
