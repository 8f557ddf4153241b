"""When each word of a caption is highlighted, from every frame of it: by its color or size, a box, or a line below it.

Whatever a highlight looks like, it leaves one word and reaches the next at once: in a frame in which it moves on, two
neighbors jump to another look and all other words keep theirs. In a color sweep, words keep the color that they get.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.segmentation import NumberedPlane
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.extents.words import ReadWord, is_unspaced

Span = tuple[int, int]

_BANDS = 10  # across a line: a line below the words fills one
_BELOW = 0.3  # line heights: what is measured below the box of a line
_CORE = 0.7  # of a pixel of a small ROI: covered by strokes
_AROUND = 4  # frames on each side that tell how much a look changes by itself, as the picture behind moves
_JUMP = 14.0  # gray levels: a change this much larger than these is one of the word
_LONGEST_RUN = 6  # characters that are highlighted together
_SEEN = 0.5  # of a jump
_OPPOSITE = 0.3  # correlation of two changes of which one undoes the other
_BRIEFEST = 2  # frames that a highlight lasts
_LEAST_SHARE = 0.6  # of a jump in those of the path, of all jumps in the path, and of the words in it
_LEAST_SWEEP = 8.0  # gray levels between the two colors of a sweep
_SWEPT = 0.02  # of the text: the sweep has reached a word


@dataclass(frozen=True, slots=True)
class WordLooks:
    """The looks of a caption's words in every frame.

    Attributes:
        numbers: of the frames.
        strokes: gray levels of the strokes, float32 ``(words, frames)``, NaN where they are too thin.
        bands: gray levels of each word in bands across it, float32 ``(bands, words, frames)``.
        beside: the same on both sides of the text, ``(bands, 2, frames)``, 0 without room.
        widths: of the words, pixels.
        is_unspaced: the words are characters.
    """

    numbers: list[int]
    strokes: NDArray[np.float32]
    bands: NDArray[np.float32]
    beside: NDArray[np.float32]
    widths: NDArray[np.float64]
    is_unspaced: bool

    @classmethod
    def of(
        cls, words: Sequence[ReadWord], small_rois: Sequence[NumberedPlane], strokes: Mask, line_px: float
    ) -> WordLooks:
        """Return the looks of words in every frame of a caption.

        Args:
            words: with their boxes, pixels of the ROI.
            small_rois: of the caption.
            strokes: of the caption, bool ``(height, width)`` of the ROI.
            line_px: height of a line, pixels of the ROI.
        """
        import cv2

        height, width = small_rois[0][1].shape
        covered = cv2.resize(strokes.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        down, across = height / strokes.shape[0], width / strokes.shape[1]
        frames = np.stack([frame for _, frame in small_rois])
        inner = np.full((len(words), len(small_rois)), np.nan, np.float32)
        for number, word in enumerate(words):
            x0, y0, x1, y1 = word.box
            rows, columns = slice(int(y0 * down), round(y1 * down)), slice(int(x0 * across), round(x1 * across))
            core = covered[rows, columns] >= _CORE
            if core.any():
                inner[number] = frames[:, rows, columns][:, core].mean(axis=1)

        def banded(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float32]:
            """Return the levels of a part of the ROI in bands, ``(bands, frames)``; 0 where it is outside.

            What is between two lines belongs to the upper one, which it may underline.
            """
            left, right = max(0, round(x0 * across)), max(0, round(x1 * across))
            following = (word.box[1] for word in words if (y0 + y1) / 2 < word.box[1])
            high = min(y1 + _BELOW * line_px, max(y1, min(following, default=np.inf)))
            edges = np.linspace(y0 * down, high * down, _BANDS + 1)
            levels = np.zeros((_BANDS, len(frames)), np.float32)
            for band, (low, high) in enumerate(itertools.pairwise(edges)):
                part = frames[:, max(0, round(low)) : max(0, round(high)), left:right]
                if part.size:
                    levels[band] = part.mean(axis=(1, 2))
            return levels

        bands = np.stack([banded(*word.box) for word in words], axis=1)
        lefts, tops, rights, bottoms = zip(*(word.box for word in words), strict=True)
        top, bottom = min(tops), max(bottoms)
        beside = np.stack(
            [
                banded(min(lefts) - 3 * line_px, top, min(lefts) - line_px / 2, bottom),
                banded(max(rights) + line_px / 2, top, max(rights) + 3 * line_px, bottom),
            ],
            axis=1,
        )
        widths = np.array([max(1, word.box[2] - word.box[0]) for word in words], float)
        return cls([number for number, _ in small_rois], inner, bands, beside, widths, is_unspaced(words[0].text))


def highlighted_spans(looks: WordLooks, end: int) -> list[Span | None] | None:
    """Return when each word is highlighted, from one frame number to another; None if none is seen to be.

    Args:
        looks: of the words.
        end: of the caption.
    """
    ends = [*looks.numbers[1:], end]
    spans = _sweep(looks)
    if spans is None:
        jumps = Jumps.of(looks)
        spans = _best_path(jumps.sizes, _LONGEST_RUN if looks.is_unspaced else 1)
        if not _is_clear(jumps, spans):
            return None
        spans = _completed(spans)
    return [span and (looks.numbers[span[0]], ends[span[1] - 1]) for span in spans]


@dataclass(frozen=True, slots=True)
class Jumps:
    """How the looks of words jump from one frame to the next.

    Attributes:
        sizes: ``(words, frames)``, 0..1.
        changes: of each gray level, ``(levels, words, frames)``.
    """

    sizes: NDArray[np.float64]
    changes: NDArray[np.float32]

    @classmethod
    def of(cls, looks: WordLooks) -> Jumps:
        """Return the jumps of words. What changes as much around a frame, or beside the text, is the picture behind."""
        levels = np.concatenate([np.nan_to_num(looks.strokes)[None], looks.bands])
        changes = np.diff(levels, axis=2, prepend=levels[..., :1])
        beside = np.abs(np.diff(looks.beside, axis=2, prepend=looks.beside[..., :1])).max(axis=1)
        beside = np.concatenate([np.zeros((1, beside.shape[1])), beside])  # the picture does not show through strokes
        padded = np.pad(np.abs(changes), ((0, 0), (0, 0), (_AROUND, _AROUND)), mode="reflect")
        usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1, axis=2), axis=-1)
        own = np.abs(changes) - 2 * usual - beside[:, None]
        sizes = np.clip(own / _JUMP, 0.0, 1.0).max(axis=0).astype(float)
        together = 2 * _LONGEST_RUN if looks.is_unspaced else 2
        sizes[:, (sizes >= _SEEN).sum(axis=0) > max(together + 1, 0.5 * len(sizes))] = 0.0  # a cut of the camera
        return cls(sizes, changes)

    def are_opposite(self, one: Span, other: Span) -> bool:
        """Return whether two jumps, each a word and a frame, undo each other, as where a highlight comes and goes."""
        first, second = self.changes[:, *one], self.changes[:, *other]
        return float(first @ second) < -_OPPOSITE * float(np.linalg.norm(first) * np.linalg.norm(second))


def _best_path(jumps: NDArray[np.float64], longest: int) -> list[Span | None]:
    """Return the frames in which each word is highlighted, in order, by how far they jump.

    Words that are highlighted together are a run; the best path through the runs is found by dynamic programming. A
    run counts for more the more its words jump where it begins and ends.
    """
    count, frames = jumps.shape
    runs = [(first, last) for first in range(count) for last in range(first, min(count, first + longest))]
    firsts, lasts = (np.array(places) for places in zip(*runs, strict=True))
    total = np.vstack([np.zeros(frames), np.cumsum(jumps - _LEAST_SHARE / 2, axis=0)])
    gains = total[lasts + 1] - total[firsts]  # (runs, frames), where a run begins or ends
    places = np.arange(count + 1)  # how many words were highlighted before, or left out
    idle = np.where(places == 0, 0.0, -np.inf)
    scores = np.where(firsts == 0, 0.0, -np.inf)  # the first words may be highlighted from the first frame on
    run_from = np.zeros((frames, len(runs)), int)  # the state in the frame before: a run, or below 0 none
    idle_from = np.zeros((frames, count + 1), int)
    for frame in range(1, frames):
        after = np.full(count + 1, -np.inf)
        left = scores + gains[:, frame]
        np.maximum.at(after, lasts + 1, left)
        source = np.full(count + 1, -1)
        best = np.flatnonzero(left == after[lasts + 1])
        source[lasts[best] + 1] = best
        ends_here = after > idle
        ready, origin = np.where(ends_here, after, idle), np.where(ends_here, source, -1 - places)
        idle, idle_from[frame] = ready.copy(), origin
        for place in range(1, count + 1):  # words may be left out
            if ready[place - 1] > ready[place]:
                ready[place], origin[place] = ready[place - 1], origin[place - 1]
        fresh = ready[firsts] + gains[:, frame]
        stays = scores >= fresh
        run_from[frame] = np.where(stays, np.arange(len(runs)), origin[firsts])
        scores = np.maximum(scores, fresh)
    state = int(np.argmax(scores)) if scores.max() >= idle.max() else -1 - int(np.argmax(idle))
    spans: list[Span | None] = [None] * count
    for frame in reversed(range(frames)):
        for word in range(firsts[state], lasts[state] + 1) if state >= 0 else ():
            known = spans[word]
            spans[word] = (frame, frame + 1 if known is None else known[1])
        state = int(run_from[frame, state] if state >= 0 else idle_from[frame, -1 - state])
    return spans


def _completed(spans: Sequence[Span | None]) -> list[Span | None]:
    """Return the spans with the frames between two highlighted words given to the word between them, if it is one."""
    completed = list(spans)
    for word in range(1, len(spans) - 1):
        before, here, after = spans[word - 1 : word + 2]
        if here is None and before and after and before[1] < after[0]:
            completed[word] = before[1], after[0]
    return completed


def _is_clear(jumps: Jumps, spans: Sequence[Span | None]) -> bool:
    """Return whether most words are highlighted, jump there and back where they are to, and hardly anywhere else."""
    sizes, (count, frames) = jumps.sizes, jumps.sizes.shape
    lit = [(word, span) for word, span in enumerate(spans) if span is not None]
    if len(lit) < max(2, _LEAST_SHARE * count) or len({span for _, span in lit}) < 2:
        return False
    edges = [(word, edge) for word, span in lit for edge in span if 0 < edge < frames]
    pairs = [(one, other) for one, other in itertools.pairwise(edges) if one[0] == other[0] or one[1] == other[1]]
    undone = sum(jumps.are_opposite(one, other) for one, other in pairs)
    runs = [span for span, _ in itertools.groupby(span for _, span in lit)]  # of words that are highlighted together
    moves_on = sum(one[1] == other[0] for one, other in itertools.pairwise(runs))
    seen = sum(float(sizes[edge]) for edge in edges)
    strong = np.where(sizes >= _SEEN, sizes, 0.0)
    near = sum(float(strong[word, max(0, edge - 1) : edge + 2].sum()) for word, edge in edges)
    return (
        min(last - first for _, (first, last) in lit) >= _BRIEFEST
        and 2 * moves_on >= len(runs) - 1
        and 2 * undone >= len(pairs) > 0
        and seen >= _LEAST_SHARE * len(edges)
        and near >= _LEAST_SHARE * float(strong.sum())
    )


def _sweep(looks: WordLooks) -> list[Span | None] | None:
    """Return in which frames a color sweeps through each word, half-open; None if none does."""
    levels = looks.strokes
    count, frames = levels.shape
    if np.isnan(levels[:, 0]).any() or frames < 2 * count:
        return None
    few = max(1, frames // (4 * count))
    first, last = np.median(levels[:, :few], axis=1), np.median(levels[:, -few:], axis=1)
    step = float(np.median((last - first)[count // 2 :]))
    if abs(step) < _LEAST_SWEEP:
        return None
    # The levels of each word differ from those of the others, as their strokes are more or less thick.
    change = (last - first) / step
    is_swept = change >= 0.5
    if change.min() <= -0.5 or 2 * is_swept.sum() < count:
        return None  # a highlight moves on
    before, after = first, np.where(is_swept, last, first + step)
    at_first = np.arange(count) < np.argmax(is_swept)  # they have the new color from the first frame on
    before, after = np.where(at_first, last - step, before)[:, None], np.where(at_first, last, after)[:, None]
    share = np.clip((levels - before) / (after - before), 0.0, 1.0)
    passed = (share * looks.widths[:, None]).sum(axis=0)
    starts = np.append(0.0, np.cumsum(looks.widths))
    expected = np.clip((passed[None, :] - starts[:-1, None]) / looks.widths[:, None], 0.0, 1.0)
    if float(np.abs(share - expected).mean()) > 0.1 or float(np.diff(passed).min(initial=0.0)) < -0.1 * starts[-1]:
        return None
    if share[-1, : frames // 4].max() > 0.4 or passed[-1] < 0.75 * starts[-1]:
        return None
    begins = [0, *(int(np.argmax(passed >= start + _SWEPT * starts[-1])) for start in starts[1:-1])]
    done = int(np.argmax(passed >= 0.97 * passed.max())) + 1
    return [(begin, max(end, begin + 1)) for begin, end in zip(begins, [*begins[1:], done], strict=True)]
