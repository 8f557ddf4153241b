"""When each word of a caption is highlighted, from every frame of it: by its color or size, a box, or a line below it.

Whatever a highlight looks like, it leaves one word and reaches the next at once: in a frame in which it moves on, two
neighbors jump to another look and all other words keep theirs. In a color sweep, words keep the color that they get.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.segmentation import BRIEFEST, NumberedPlane
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import ReadWord, is_unspaced
from captionacc_dagster.captioning.layout.tuning import TUNING as LAYOUT

Span = tuple[int, int]

_MOST_LINES = 4  # whose words may each jump in a way of their own
_ROUNDING = 1e-6  # slack of a bound of sums of shares
_SWEEP_SAMPLES = 128  # frames, evenly spaced, in which a sweep is searched


@dataclass(frozen=True, slots=True)
class WordLooks:
    """The looks of a caption's words in every frame.

    Attributes:
        numbers: of the frames.
        strokes: gray levels of the strokes, float32 ``(words, frames)``, NaN where they are too thin.
        bands: gray levels of each word in bands across it, float32 ``(bands, words, frames)``.
        beside: the same on both sides of the text, ``(bands, 2, frames)``, 0 without room.
        lines: the number of the line of each word.
        is_unspaced: the words are characters.
    """

    numbers: list[int]
    strokes: NDArray[np.float32]
    bands: NDArray[np.float32]
    beside: NDArray[np.float32]
    lines: NDArray[np.intp]
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
            part = covered[rows, columns]
            # A letter as thin as an "I" may cover no pixel of a small ROI: what it covers most tells its color, too.
            core = part >= TUNING.nearly_all * min(1.0, float(part.max(initial=0.0)))
            if part.max(initial=0.0) >= TUNING.fading_share:
                inner[number] = frames[:, rows, columns][:, core].mean(axis=1)

        def banded(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float32]:
            """Return the levels of a part of the ROI in bands, ``(bands, frames)``; 0 where it is outside.

            What is between two lines belongs to the upper one, which it may underline.
            """
            left, right = max(0, round(x0 * across)), max(0, round(x1 * across))
            following = (word.box[1] for word in words if (y0 + y1) / 2 < word.box[1])
            high = min(y1 + TUNING.word_gap * line_px, max(y1, min(following, default=np.inf)))
            edges = np.linspace(y0 * down, high * down, TUNING.highlight_bands + 1)
            levels = np.zeros((TUNING.highlight_bands, len(frames)), np.float32)
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
        lines = np.unique(tops, return_inverse=True)[1]
        numbers = [number for number, _ in small_rois]
        return cls(numbers, inner, bands, beside, lines, is_unspaced(words[0].text))


def highlighted_spans(looks: WordLooks, end: int) -> list[Span | None] | None:
    """Return when each word is highlighted, from one frame number to another; None if none is seen to be.

    Args:
        looks: of the words.
        end: of the caption.
    """
    ends = [*looks.numbers[1:], end]
    longest = TUNING.longest_run if looks.is_unspaced else 1
    strokes = looks.strokes[None]
    spans = _sweep(looks) or _jumping(Jumps.of(looks, np.concatenate([strokes, looks.bands])), longest)
    spans = spans or _jumping(Jumps.of(looks, strokes), longest)  # through which the picture behind does not show
    if spans is None:
        return None
    return [span and (looks.numbers[span[0]], ends[span[1] - 1]) for span in spans]


def _jumping(jumps: Jumps, longest: int) -> list[Span | None] | None:
    """Return in which frames each word looks unlike itself in the others, half-open; None if none clearly does."""
    if not _may_be_clear(jumps, longest):
        return None
    spans = max((_best_path(*there_and_back, longest) for there_and_back in jumps.directed()), key=itemgetter(0))[1]
    if not _is_clear(jumps, spans):  # a box over a picture is brighter here and darker there
        spans = _best_path(jumps.sizes, jumps.sizes, longest)[1]
    return _completed(spans) if _is_clear(jumps, spans) else None


@dataclass(frozen=True, slots=True)
class Jumps:
    """How the looks of words jump from one frame to the next.

    Attributes:
        sizes: ``(words, frames)``, 0..1.
        changes: of each gray level, ``(levels, words, frames)``.
        lines: the number of the line of each word.
    """

    sizes: NDArray[np.float64]
    changes: NDArray[np.float32]
    lines: NDArray[np.intp]

    @classmethod
    def of(cls, looks: WordLooks, levels: NDArray[np.float32]) -> Jumps:
        """Return the jumps of words. What changes as much around a frame, or beside the text, is the picture behind.

        Args:
            looks: of the words.
            levels: of their strokes, ``(1, words, frames)``, and of their bands after that, or without these.
        """
        levels = np.nan_to_num(levels)
        changes = np.diff(levels, axis=2, prepend=levels[..., :1])
        beside = np.abs(np.diff(looks.beside, axis=2, prepend=looks.beside[..., :1])).max(axis=1)
        beside = np.concatenate([np.zeros((1, beside.shape[1])), beside])[: len(levels)]
        padded = np.pad(
            np.abs(changes), ((0, 0), (0, 0), (TUNING.highlight_frames, TUNING.highlight_frames)), mode="reflect"
        )
        usual = np.median(
            np.lib.stride_tricks.sliding_window_view(padded, 2 * TUNING.highlight_frames + 1, axis=2), axis=-1
        )
        own = np.abs(changes) - 2 * usual - beside[:, None]
        own = own.max(axis=0).astype(float)
        together = 2 * TUNING.longest_run if looks.is_unspaced else 2
        is_cut = (own >= LAYOUT.changed_contrast / 2).sum(axis=0) > max(together + 1, 0.5 * len(own))  # of the camera
        own[:, is_cut] = 0.0
        least = np.full(own.shape, float(LAYOUT.changed_contrast))
        if looks.is_unspaced:  # what reaches over a neighbor, as a box does, makes that one jump less
            beyond = np.pad(own, ((1, 1), (0, 0)))
            least = np.maximum(LAYOUT.changed_contrast, TUNING.fading_share * np.maximum(beyond[:-2], beyond[2:]))
        return cls(np.clip(own / least, 0.0, 1.0), changes, looks.lines)

    def directed(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return the jumps to a highlight and back from it, each ``(words, frames)``, for each way that it may be.

        The words of a line jump to the same look and back, so that most of their jumps are along one line: those one
        way are to it, those the other way are back, and those across it may be either.
        """
        lengths = np.maximum(np.linalg.norm(self.changes, axis=0), 1e-6)
        ways = np.zeros(self.sizes.shape)
        for line in np.unique(self.lines):
            is_strong = (self.sizes >= 0.5) & (self.lines == line)[:, None]
            strong = self.changes[:, is_strong] / lengths[is_strong]
            along = np.linalg.eigh(strong @ strong.T)[1][:, -1]
            ways += (self.lines == line)[:, None] * np.tensordot(along, self.changes, axes=1) / lengths
        signs = itertools.product((1, -1), repeat=min(int(self.lines[-1]) + 1, _MOST_LINES))
        ways = [ways * np.array(sign)[np.minimum(self.lines, _MOST_LINES - 1), None] for sign in signs]
        return [(self.sizes * np.clip(0.5 + way, 0.0, 1.0), self.sizes * np.clip(0.5 - way, 0.0, 1.0)) for way in ways]

    def are_opposite(self, one: Span, other: Span) -> bool:
        """Return whether two jumps, each a word and a frame, undo each other, as where a highlight comes and goes."""
        first, second = self.changes[:, *one], self.changes[:, *other]
        return 2 * float(first @ second) < -float(np.linalg.norm(first) * np.linalg.norm(second))


def _best_path(there: NDArray[np.float64], back: NDArray[np.float64], longest: int) -> tuple[float, list[Span | None]]:
    """Return the frames in which each word is highlighted, in order, by how far they jump, and how much they do.

    Words that are highlighted together are a run; the best path through the runs is found by dynamic programming. A
    run counts for more the more its words jump where it begins and ends.
    """
    count, frames = there.shape
    runs = [(first, last) for first in range(count) for last in range(first, min(count, first + longest))]
    firsts, lasts = (np.array(places) for places in zip(*runs, strict=True))
    totals = (np.vstack([np.zeros(frames), np.cumsum(jumps - TUNING.faded / 2, axis=0)]) for jumps in (there, back))
    begins, ends = (total[lasts + 1] - total[firsts] for total in totals)  # (runs, frames): what is gained there
    places = np.arange(count + 1)  # how many words were highlighted before, or left out
    idle = np.where(places == 0, 0.0, -np.inf)
    scores = np.where(firsts == 0, 0.0, -np.inf)  # the first words may be highlighted from the first frame on
    run_from = np.zeros((frames, len(runs)), int)  # the state in the frame before: a run, or below 0 none
    idle_from = np.zeros((frames, count + 1), int)
    for frame in range(1, frames):
        after = np.full(count + 1, -np.inf)
        left = scores + ends[:, frame]
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
        fresh = ready[firsts] + begins[:, frame]
        stays = scores >= fresh
        run_from[frame] = np.where(stays, np.arange(len(runs)), origin[firsts])
        scores = np.maximum(scores, fresh)
    score = float(max(scores.max(), idle.max()))
    state = int(np.argmax(scores)) if scores.max() >= idle.max() else -1 - int(np.argmax(idle))
    spans: list[Span | None] = [None] * count
    for frame in reversed(range(frames)):
        for word in range(firsts[state], lasts[state] + 1) if state >= 0 else ():
            known = spans[word]
            spans[word] = (frame, frame + 1 if known is None else known[1])
        state = int(run_from[frame, state] if state >= 0 else idle_from[frame, -1 - state])
    return score, spans


def _completed(spans: Sequence[Span | None]) -> list[Span | None]:
    """Return the spans with the frames between two highlighted words given to the word between them, if it is one."""
    completed = list(spans)
    for word in range(1, len(spans) - 1):
        before, here, after = spans[word - 1 : word + 2]
        if here is None and before and after and before[1] < after[0]:
            completed[word] = before[1], after[0]
    return completed


def _may_be_clear(jumps: Jumps, longest: int) -> bool:
    """Return whether words jump enough for any path to be clear, which is cheaper than finding the best one.

    Each word that is highlighted jumps twice, but for the first run at its start and the last one at its end.
    """
    lit = max(2, math.ceil(TUNING.faded * len(jumps.sizes)))
    edges = max(2, 2 * (lit - longest))
    farthest = np.sort(np.sort(jumps.sizes, axis=1)[:, -2:], axis=None)[-edges:]
    return float(farthest.sum()) >= TUNING.faded * edges - _ROUNDING


def _is_clear(jumps: Jumps, spans: Sequence[Span | None]) -> bool:
    """Return whether most words are highlighted, jump there and back where they are to, and hardly anywhere else."""
    sizes, (count, frames) = jumps.sizes, jumps.sizes.shape
    lit = [(word, span) for word, span in enumerate(spans) if span is not None]
    if len(lit) < max(2, TUNING.faded * count) or len({span for _, span in lit}) < 2:
        return False
    edges = [(word, edge) for word, span in lit for edge in span if 0 < edge < frames]
    pairs = [(one, other) for one, other in itertools.pairwise(edges) if one[0] == other[0] or one[1] == other[1]]
    undone = sum(jumps.are_opposite(one, other) for one, other in pairs)
    runs = [span for span, _ in itertools.groupby(span for _, span in lit)]  # of words that are highlighted together
    moves_on = sum(one[1] == other[0] for one, other in itertools.pairwise(runs))
    seen = sum(float(sizes[edge]) for edge in edges)
    strong = np.where(sizes >= 0.5, sizes, 0.0)
    near = sum(float(strong[word, max(0, edge - 1) : edge + 2].sum()) for word, edge in edges)
    return (
        min(last - first for _, (first, last) in lit) >= BRIEFEST
        and 2 * moves_on >= len(runs) - 1
        and 2 * undone >= len(pairs) > 0
        and seen >= TUNING.faded * len(edges)
        and near >= TUNING.faded * float(strong.sum())
    )


def _sweep(looks: WordLooks) -> list[Span | None] | None:
    """Return in which frames a color sweeps through each word, half-open; None if none does.

    A word has one color before, another one after, and more and more of the latter while it is swept, after the word
    before it. The frames are those that fit all words best.
    """
    levels = looks.strokes.astype(float)
    count, frames = levels.shape
    if np.isnan(levels[:, 0]).any() or frames < 4:
        return None
    levels = _without_fades(levels)
    if np.sort(np.ptp(levels, axis=1))[-2:].min() < TUNING.steady_levels / 2:
        return None
    stride = -(-frames // _SWEEP_SAMPLES)
    spans = [(first * stride, min(last * stride, frames)) for first, last in _best_ramps(levels[:, ::stride])]
    if stride > 1:
        spans = [_refined(level, span, stride) for level, span in zip(levels, spans, strict=True)]
    fits = [
        _fit_ramp(level, span) if span[0] < span[1] else (0.0, 0.0) for level, span in zip(levels, spans, strict=True)
    ]
    farthest = max(abs(own) for own, _ in fits)  # of words that keep their color, noise is fitted
    step = float(np.median([own for own, _ in fits if abs(own) >= TUNING.relative_contrast * farthest]))
    if abs(step) < TUNING.steady_levels / 2:
        return None
    moved = ((levels - levels.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    swept = [  # thin strokes change less, but as clearly
        number
        for number, (own, left) in enumerate(fits)
        if own / step >= TUNING.relative_contrast
        or (own / step > 0 and abs(own) >= TUNING.steady_levels / 2 and left <= TUNING.ramp_foot * moved[number])
    ]
    if len(swept) < max(2, TUNING.fading_share * count):
        return None
    # The caption may begin and end while a word is swept.
    before, after = swept[0] - 1, swept[-1] + 1
    if before >= 0 and fits[before][0] / step > 0 and spans[before][0] == 0:
        swept.insert(0, before)
    if after < count and fits[after][0] / step > 0 and spans[after][1] == frames:
        swept.append(after)
    spans = _with_unswept(levels, spans, swept)
    left = sum(fits[number][1] for number in swept)
    if (
        spans is None
        or left > TUNING.ramp_foot * float(moved[swept].sum())
        or spans[swept[-1]][1] - spans[swept[0]][0] < 2 * len(swept)
    ):
        return None
    # What begins in the first frame shows no frame before it.
    begun = [(0 if first <= 1 else first, last) for first, last in _until_next(spans, swept)]
    return [(first, max(last, 1)) if first < last or last == 0 else None for first, last in begun]


def _without_fades(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the levels of words ``(words, frames)`` with those of the first and last frames, while all words change,
    as beside these: a sweep changes one word at a time, or two."""
    least = np.abs(np.diff(levels, axis=1)).min(axis=0)  # that any word changes by
    steady = np.flatnonzero(np.rint(least) == 0)
    if not steady.size:
        return levels
    first, last = int(steady[0]), int(steady[-1]) + 1
    return levels[:, np.clip(np.arange(levels.shape[1]), first, last)]


def _with_unswept(levels: NDArray[np.float64], spans: Sequence[Span], swept: Sequence[int]) -> list[Span] | None:
    """Return the spans of words with empty ones for those that keep their color; None if another one gets a third.

    A word before the first one that is swept, in the later color, was so from the start: its empty span is there.

    Args:
        levels: of the words, ``(words, frames)``.
        spans: in which frames each word is swept.
        swept: the numbers of the words that are.
    """
    frames = levels.shape[1]
    former, later = (float(np.median(levels[swept, frame])) for frame in (0, -1))
    found = list(spans)
    for number in set(range(len(spans))) - set(swept):
        own = float(levels[number].mean())
        if np.ptp(levels[number]) > abs(later - former) / 2:
            return None
        is_begun = number < swept[0] and abs(own - later) < abs(own - former)
        found[number] = (0, 0) if is_begun else (frames, frames)
    return found


def _until_next(spans: Sequence[Span], swept: Sequence[int]) -> list[Span]:
    """Return the spans of words that are swept; what jumps to another color has it until the next word."""
    found = list(spans)
    for number, following in itertools.pairwise(swept):
        first, last = spans[number]
        if last - first <= 1:
            found[number] = (first, max(last, spans[following][0]))
    return found


def _ramps(firsts: NDArray[np.intp], lasts: NDArray[np.intp], frames: int) -> NDArray[np.float64]:
    """Return which share of a word is swept in each frame if it is from one frame to another, ``(spans, frames)``."""
    at = np.arange(1, frames + 1)
    return np.clip((at - firsts[:, None]) / np.maximum(lasts - firsts, 1)[:, None], 0.0, 1.0)


def _best_ramps(levels: NDArray[np.float64]) -> list[Span]:
    """Return the frames in which each word is swept, one after the other; an empty span at an end for one that is not.

    Args:
        levels: of the strokes of each word, ``(words, frames)``.
    """
    frames = levels.shape[1]
    firsts, lasts = np.triu_indices(frames, 1)
    lasts = np.minimum(lasts, frames)
    firsts, lasts = np.concatenate([firsts, np.arange(frames)]), np.concatenate([lasts, np.full(frames, frames)])
    ramps = _ramps(firsts, lasts, frames)
    ramps -= ramps.mean(axis=1, keepdims=True)
    ramps /= np.maximum(np.linalg.norm(ramps, axis=1, keepdims=True), 1e-9)
    explained = ((levels - levels.mean(axis=1, keepdims=True)) @ ramps.T) ** 2
    best = np.zeros(frames + 1)  # explained by the words so far, by the frame up to which the last one is swept
    origins: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
    for own in explained:
        ready = np.maximum.accumulate(best)
        score = np.full(frames + 1, -np.inf)
        np.maximum.at(score, lasts, own + ready[firsts])
        score[0], score[frames] = best[0], max(score[frames], ready[frames])
        origins.append((own + ready[firsts], best))
        best = score
    place = int(np.argmax(best))
    spans: list[Span] = []
    for scores, before in reversed(origins):
        here = np.flatnonzero(lasts == place)
        number = int(here[np.argmax(scores[here])]) if here.size else -1
        is_swept = number >= 0 and place > 0 and scores[number] >= before[: place + 1].max()
        spans.append((int(firsts[number]), place) if is_swept else (place, place))
        place = int(np.argmax(before[: spans[-1][0] + 1]))
    return spans[::-1]


def _refined(levels: NDArray[np.float64], span: Span, by: int) -> Span:
    """Return the span near another one that fits the levels of a word best."""
    (first, last), frames = span, len(levels)
    if first >= last:
        return span
    near = [
        (one, other)
        for one in range(max(0, first - by), min(frames - 1, first + by) + 1)
        for other in range(max(one + 1, last - by), min(frames, last + by) + 1)
    ]
    return min(near, key=lambda span: _fit_ramp(levels, span)[1]) if near else span


def _fit_ramp(levels: NDArray[np.float64], span: Span) -> tuple[float, float]:
    """Return how far the levels of a word that is swept in a span go, and the squares of what that leaves, summed."""
    first, last = (np.array([frame]) for frame in span)
    ramp = _ramps(first, last, len(levels))[0]
    ramp, levels = ramp - ramp.mean(), levels - levels.mean()
    step = float(ramp @ levels) / max(float(ramp @ ramp), 1e-9)
    return step, float(((levels - step * ramp) ** 2).sum())
