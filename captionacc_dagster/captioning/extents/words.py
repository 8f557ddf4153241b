"""The lines and words of a reading: where each word is in the ROI."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.strokes import Mask

Box = tuple[int, int, int, int]

_BEARINGS = 0.8  # characters: the room beside the strokes of the first and the last one, or a box around one of them
_GRIDS = 48  # pitches, and places of each, that are tried
_MOST_SHIFT = 0.6  # characters: how far the places that a recognizer tells are off, on average
_CUT_BLUR = 0.12  # characters: the gap between two
_CROSSED = 0.9  # of the strokes in a column of the line: a grid that crosses more fits no characters
_FIRST_UNSPACED, _LAST_UNSPACED = "\u3041", "\u9fff"  # kana and ideographs


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word as it was read, and its box ``(x0, y0, x1, y1)`` in pixels of the ROI, half-open."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line as it was read.

    Attributes:
        text: what it says.
        box: as of `ReadWord`.
        words: in order.
        dimmed: whether another line beside it is lit.
    """

    text: str
    box: Box
    words: tuple[ReadWord, ...]
    dimmed: bool = False


def locate_read_words(text: str, positions: Sequence[float], box: Box, strokes: Mask) -> tuple[ReadWord, ...]:
    """Return the words of a line with their boxes; characters of scripts without spaces are words of their own.

    Args:
        text: of the line.
        positions: the center of each character, pixels of the ROI; without them, characters are equally wide.
        box: of the line.
        strokes: bool ``(height, width)``, of the ROI.
    """
    spans = word_spans(text)
    x0, y0, x1, y1 = box
    if len(positions) != len(text):
        step = (x1 - x0) / max(1, len(text))
        positions = [x0 + (number + 0.5) * step for number in range(len(text))]
        if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text):
            positions = [x0 + x1 - place for place in positions]
    if len(spans) > 1 and positions[spans[0][0]] > positions[spans[-1][0]]:  # from right to left
        mirrored = [x0 + x1 - place for place in positions]
        words = _words_between(text, spans, mirrored, box, np.flip(strokes[y0:y1, x0:x1], axis=1))
        return tuple(ReadWord(word.text, (x0 + x1 - word.box[2], y0, x0 + x1 - word.box[0], y1)) for word in words)
    return _words_between(text, spans, positions, box, strokes[y0:y1, x0:x1])


def _words_between(
    text: str, spans: Sequence[tuple[int, int]], positions: Sequence[float], box: Box, strokes: Mask
) -> tuple[ReadWord, ...]:
    """Return the words of a line from left to right, parted where it has no strokes (those in its box)."""
    x0, y0, x1, y1 = box
    columns = np.flatnonzero(strokes.any(axis=0)) + x0
    between = None
    if is_unspaced(text):
        between = _cuts_of_grid(strokes.sum(axis=0), np.array(positions) - x0)
    if between is None:
        between = [
            _cut_between(positions[a[1] - 1], positions[b[0]], columns) - x0 for a, b in itertools.pairwise(spans)
        ]
    cuts = [x0, *(x0 + cut for cut in between), x1]
    words = []
    for (first, last), left, right in zip(spans, cuts[:-1], cuts[1:], strict=True):
        inside = columns[(columns >= left) & (columns < right)]
        left, right = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (left, max(left + 1, right))
        words.append(ReadWord(text[first:last], (left, y0, right, y1)))
    return tuple(words)


def _cuts_of_grid(heights: NDArray[np.intp], centers: NDArray[np.float64]) -> list[int] | None:
    """Return where the characters of a line are parted that are all equally wide; None if they are not.

    A recognizer says only roughly where it saw a character. The pitch of ideographs is the same in the whole line, so
    all cuts together tell it: the grid that crosses the fewest strokes.

    Args:
        heights: of the strokes in each column.
        centers: of the characters, as the recognizer says.
    """
    count, inked = len(centers), np.flatnonzero(heights)
    if count < 2 or inked.size < count:
        return None
    wide = int(inked[-1]) + 1 - int(inked[0])
    pitches = np.linspace(wide / (count + _BEARINGS), wide / (count - _BEARINGS), _GRIDS)[:, None, None]
    shifts = np.linspace(-_MOST_SHIFT, _MOST_SHIFT, _GRIDS)[None, :, None] * pitches
    cells = centers.mean() + shifts + pitches * (np.arange(count) - (count - 1) / 2)
    smooth = np.convolve(heights, _hat(wide / count * _CUT_BLUR), mode="same") / heights[heights > 0].mean()
    crossed = np.interp(cells[..., 1:] - pitches / 2, np.arange(smooth.size) + 0.5, smooth).mean(axis=-1)
    misplaced = np.abs((cells - centers) / pitches).mean(axis=-1)
    best = np.unravel_index(np.argmin(crossed + misplaced), crossed.shape)
    if crossed[best] > _CROSSED:
        return None
    return np.rint(cells[best][1:] - pitches[best[0], 0] / 2).astype(int).tolist()


def _hat(radius: float) -> NDArray[np.float64]:
    """Return a triangular kernel that sums to 1."""
    reach = max(1, round(radius))
    weights = reach + 1.0 - np.abs(np.arange(-reach, reach + 1))
    return weights / weights.sum()


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text start and end, in characters."""
    spans: list[tuple[int, int]] = []
    is_open = False  # whether the next character continues the last word
    for number, character in enumerate(text):
        if character.isspace():
            is_open = False
            continue
        is_letter_after = character.isalnum() and is_open and is_unspaced(text[spans[-1][0]])
        if is_open and not is_unspaced(character) and not is_letter_after:
            spans[-1] = (spans[-1][0], number + 1)
        else:
            spans.append((number, number + 1))
        is_open = True
    return spans


def is_unspaced(text: str) -> bool:
    """Return whether a text is of a script without spaces: each character is a word of its own here."""
    return bool(text) and all(_FIRST_UNSPACED <= character <= _LAST_UNSPACED for character in text)


def _cut_between(before: float, after: float, columns: NDArray[np.intp]) -> int:
    """Return the middle of the widest gap without strokes between the centers of two characters."""
    places = [before, *columns[(columns > before) & (columns < after)].tolist(), after]
    gaps = [(right - left, (left + right) / 2) for left, right in itertools.pairwise(places)]
    return round(max(gaps)[1])
