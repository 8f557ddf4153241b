"""What the steps of a caption say: when each word appears or is highlighted, and which lines roll up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.growth import Growth
from captionacc_dagster.captioning.extents.highlights import Span, WordLooks, highlighted_spans
from captionacc_dagster.captioning.extents.merging import MOST_STEPS, FoundCaption, TimedWord
from captionacc_dagster.captioning.extents.reading import Reading, fold
from captionacc_dagster.captioning.extents.reading_tuning import TUNING as READING
from captionacc_dagster.captioning.extents.segmentation import NumberedPlane, joined_small_rois
from captionacc_dagster.captioning.extents.step_changes import (
    Step,
    all_stay,
    all_strokes_stay,
    boxes_in,
    is_new_word,
    overlap_across,
    rolled_lines,
    step_change,
    with_unread_lines,
)
from captionacc_dagster.captioning.extents.strokes import Mask, high_pass
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine, ReadWord, word_spans
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

_LONGEST_DISTANCE = 4.0  # between looks that counts
_SPOKEN_STEPS = 3  # in which a text appears: a name plate may come line by line, in two
_LEAST_FRAMES = 6  # in which two words are highlighted
_SCROLLING = 0.5  # correlation of a line that moves with itself at rest
_LEAST_EVIDENCE = 0.2  # of a highlight: how much more a word looks unlike itself than others do


def are_spoken(captions: Sequence[FoundCaption]) -> bool:
    """Return whether the words of all captions come, or light up, one by one, as those that follow a voice do."""
    steps = [0 if found.is_typed else max(map(len, _moments(found))) for found in captions]
    return bool(steps) and min(steps) > 1 and max(steps) >= _SPOKEN_STEPS


def _moments(found: FoundCaption) -> tuple[set[int], set[Span]]:
    """Return when words of a caption appear, and when they are highlighted."""
    lit = {word.highlight for word in found.words if word.highlight is not None}
    return {word.start for word in found.words}, lit


def is_begun(found: FoundCaption, growth: Growth, reading: Reading, strokes: Mask) -> bool:
    """Return whether what was found is the beginning of a caption that grew: its strokes are part of it, or its text
    is, where the picture behind adds strokes.

    Args:
        found: before the caption was complete.
        growth: of the caption.
        reading: of the complete caption.
        strokes: of the complete caption, bool ``(height, width)`` of the ROI.
    """
    if found.steps and found.steps[-1].is_part_of(strokes):
        return True
    text = fold(found.reading.text)
    return bool(text) and abs(found.start - growth.start) <= 1 and text in fold(reading.text)


def is_next_step(last: FoundCaption, found: FoundCaption, line_px: float) -> bool:
    """Return whether what was read next is the same caption with another word highlighted, more words, or rolled up."""
    if not last.steps or not found.steps or len(last.steps) >= MOST_STEPS:
        return False
    first, second = _is_unsure(last.reading), _is_unsure(found.reading)
    before, after = last.steps[-1], found.steps[0]
    change = step_change(before, after, line_px)
    if second or (first and change == "highlight"):  # its script is not known yet: what was read may be of no use
        return change == "highlight" and all_strokes_stay(before, after)
    if change is None and last.rolls:
        return all_stay(before, after)  # beside what rolls up, another text may appear
    return change == "build" if first else change is not None


def _is_unsure(reading: Reading) -> bool:
    """Return whether the script of a line is not known yet, and what was read in it may be wrong."""
    return bool(reading.waiting) and reading.confidence < OCR.sure


def with_lines_of(last: FoundCaption, found: FoundCaption, line_px: float) -> FoundCaption:
    """Return what was read after lines that roll up, with those of them that were not read, though they are there."""
    lifts = [
        before.lines[number].box[1] - after.lines[place].box[1]
        for before, after in itertools.pairwise(last.steps)
        for number, place in rolled_lines(before.lines, after.lines, line_px) or ()
    ]
    if not lifts or not found.steps:
        return found
    return replace(found, steps=(with_unread_lines(last.steps[-1], found.steps[0], max(lifts), line_px),))


def scrolls_on(last: FoundCaption, found: FoundCaption, small_rois: Sequence[NumberedPlane], line_px: float) -> bool:
    """Return whether lines that were read before and after some frames scroll up a row in these.

    Args:
        small_rois: with those of the frames between the two, at half the size of the ROI.
    """
    import cv2

    if not last.steps or not found.steps:
        return False
    before, after = last.steps[-1], found.steps[0]
    pairs = rolled_lines(before.lines, after.lines, line_px) or ()
    moved = [(before.lines[a].box, after.lines[b].box) for a, b in pairs]
    moved = [(box, other) for box, other in moved if other[1] < box[1]]
    start = next((frame for number, frame in small_rois if number == last.end - 1), None)
    between = [frame for number, frame in small_rois if last.end <= number < found.start]
    if (
        not moved
        or start is None
        or 2 * len(between) < found.start - last.end
        or before.level.shape != after.level.shape
    ):
        return False
    down, across = start.shape[0] / before.level.shape[0], start.shape[1] / before.level.shape[1]
    (x0, y0, x1, y1), (_, top, _, _) = max(moved, key=lambda pair: pair[0][2] - pair[0][0])
    rows, columns = slice(int(y0 * down), round(y1 * down)), slice(int(x0 * across), round(x1 * across))
    within = slice(max(0, int(top * down) - 1), round(y1 * down) + 1)
    text = high_pass(start, line_px / 2)[rows, columns]
    likeness = [
        float(cv2.matchTemplate(high_pass(frame, line_px / 2)[within, columns], text, cv2.TM_CCOEFF_NORMED).max())
        for frame in between
    ]
    return min(likeness) >= _SCROLLING


def join_steps(last: FoundCaption, found: FoundCaption, line_px: float) -> FoundCaption:
    """Return one caption made of two successive steps."""
    change = step_change(last.steps[-1], found.steps[0], line_px)
    return replace(
        found,
        start=last.start,
        bbox=last.bbox.union(found.bbox),
        extent_confidence=min(last.extent_confidence, found.extent_confidence),
        stroke_px=max(last.stroke_px, found.stroke_px),
        steps=last.steps + found.steps,
        shown=last.shown + found.shown,
        small_rois=joined_small_rois(last.small_rois, found.small_rois),
        growth=last.growth,
        rolls=last.rolls or change == "roll",
    )


def settled_steps(found: FoundCaption, line_px: float, place: Callable[[Box], BBox]) -> list[FoundCaption]:
    """Return a caption with the times of its words, or the lines that roll up as captions; without its steps.

    Args:
        found: with its steps.
        line_px: height of a line, pixels.
        place: returns the place of a box of the ROI in the picture.
    """
    steps, growth = found.steps, found.growth
    changes = [step_change(one, other, line_px) for one, other in itertools.pairwise(steps)]
    if "roll" in changes:
        complete = replace(found, start=growth.complete if growth else found.start)
        return [
            replace(
                found,
                start=line.start,
                end=line.end,
                reading=replace(found.reading, text=line.text, lines=(), waiting=()),
                bbox=place(line.box),
                steps=(),
                shown=(),
                small_rois=(),
                growth=None,
            )
            for line in _rolled_lines(complete, line_px)
        ]
    small_rois, found = found.small_rois, replace(found, steps=(), small_rois=(), growth=None)
    if any(not step.lines for step in steps):
        return [found]
    built = [
        number
        for number, change in enumerate(changes, start=1)
        if change == "build" and any(is_new_word(word, steps[number], steps[:number]) for word in steps[number].words)
    ]
    complete = steps[built[-1] if built else 0 :]
    lines = _agreed_lines(complete)
    words = [word for line in lines for word in line.words]
    if growth is not None:
        starts = [growth.onset(word) or found.start for word in words]
    else:
        starts = _starts(words, steps, found.start) if built else [found.start] * len(words)
    since = growth.complete if growth else complete[0].start
    lit = _spans_in_small_rois(words, complete, small_rois, (since, found.end), line_px) or _highlights(words, complete)
    if not built and growth is None and not any(lit) and len({fold(step.reading.text) for step in steps}) == 1:
        return [found]
    text = "\n".join(line.text for line in lines)
    dimmed = tuple(line for line in found.reading.lines if line.dimmed)
    timed = [
        TimedWord(word.text, place(word.box), start, found.end, span)
        for word, start, span in zip(words, starts, lit, strict=True)
    ]
    if not any(lit) and len(set(starts)) == 1:
        timed = []
    if dimmed and not any(lit):  # it may be a second language
        lines, dimmed, timed = sorted((*lines, *dimmed), key=lambda line: line.box[1]), (), []
        text = "\n".join(line.text for line in lines)
    reading = replace(found.reading, text=text, lines=tuple(lines), waiting=())
    if not built and growth is None and _is_unsure(found.reading):  # it is read again once the script is known
        reading = max((step.reading for step in steps), key=lambda reading: (reading.text == text, reading.confidence))
    is_typed = growth is not None and not all(map(growth.is_at_once, words))
    timed = _joined_characters(timed, text)
    return [replace(found, reading=reading, context=dimmed, words=tuple(timed), is_typed=is_typed)]


def _spans_in_small_rois(
    words: Sequence[ReadWord],
    steps: Sequence[Step],
    small_rois: Sequence[NumberedPlane],
    stretch: tuple[int, int],
    line_px: float,
) -> list[tuple[int, int] | None] | None:
    """Return when each word is highlighted, from every frame of a stretch; None if it is not seen in these."""
    start, end = stretch
    small_rois = [frame for frame in small_rois if frame[0] >= start]
    alike = [step.strokes for step in steps if step.level.shape == steps[0].level.shape]
    if len(words) < 2 or len(small_rois) < _LEAST_FRAMES or small_rois[0][0] > start + 2:
        return None
    return highlighted_spans(WordLooks.of(words, small_rois, np.logical_or.reduce(alike), line_px), end)


def _agreed_lines(steps: Sequence[Step]) -> list[ReadLine]:
    """Return each line as most steps read it; of equally frequent readings the one with the most characters.

    Its words are where most of these steps show them: where one is highlighted, it may reach over its neighbors.
    """
    count = Counter(len(step.lines) for step in steps).most_common(1)[0][0]
    alike = [step.lines for step in steps if len(step.lines) == count]
    agreed = []
    for lines in zip(*alike, strict=True):
        texts = Counter(line.text for line in lines)
        text = max(texts, key=lambda text: (texts[text], len(text)))
        same = [line for line in lines if line.text == text]
        boxes = np.median([[word.box for word in line.words] for line in same], axis=0).round().astype(int).tolist()
        words = [
            ReadWord(word.text, (box[0], box[1], box[2], box[3]))
            for word, box in zip(same[0].words, boxes, strict=True)
        ]
        agreed.append(replace(same[0], words=tuple(words)))
    return agreed


def _starts(words: Sequence[ReadWord], steps: Sequence[Step], start: int) -> list[int]:
    """Return when each word of a caption that builds up appears: with half of its strokes, or in its order."""
    import cv2

    last = steps[-1].strokes
    starts: list[int | None] = [None] * len(words)
    for step in steps:
        seen = step.strokes
        if seen.shape != last.shape:
            continue
        near = cv2.dilate(seen.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        stays = (near & last).sum() >= TUNING.built_share * seen.sum()
        for number, word in enumerate(words):
            x0, y0, x1, y1 = word.box
            own = last[y0:y1, x0:x1]
            is_seen = (near[y0:y1, x0:x1] & own).sum() >= 0.5 * own.sum() if stays else number < len(step.words)
            if starts[number] is None and is_seen:
                starts[number] = step.start
    known = [start]
    for found in starts:
        known.append(known[-1] if found is None else max(known[-1], found))
    return known[1:]


def _highlights(words: Sequence[ReadWord], steps: Sequence[Step]) -> list[tuple[int, int] | None]:
    """Return when each word is highlighted, in ticks; None for words that never are.

    The highlight runs through the words in order: in each step some successive words, most often one, look unlike
    themselves in the other steps. The best such path is found by dynamic programming.
    """
    nothing: list[tuple[int, int] | None] = [None] * len(words)
    if len(steps) < 2 or len(words) < 2:
        return nothing
    evidence = _evidence(words, steps)
    others = np.sort(evidence, axis=0)[:-1]  # in most steps one word is lit
    evidence -= max(_LEAST_EVIDENCE, 1.5 * float(np.percentile(others, 75)))
    path = _completed(_best_path(evidence))
    lit = [run for run in path if run is not None]
    if len(set(lit)) < 2 or 2 * len(lit) < len(path):
        return nothing
    spans = nothing
    for run, step in zip(path, steps, strict=True):
        for number in range(*run) if run else ():
            span = spans[number]
            spans[number] = (step.start if span is None else span[0], step.end)
    return spans


Run = tuple[int, int]  # words that are highlighted together, half-open


def _best_path(evidence: NDArray[np.float64]) -> list[Run | None]:
    """Return the words that are highlighted in each step, in order, from the evidence ``(words, steps)`` for each."""
    count, steps = evidence.shape
    best: dict[int, tuple[float, tuple[Run | None, ...]]] = {0: (0.0, ())}  # by the last word that was highlighted
    for step in range(steps):
        total = np.append(0.0, np.cumsum(evidence[:, step]))
        found: dict[int, tuple[float, tuple[Run | None, ...]]] = {
            last: (score, (*path, None)) for last, (score, path) in best.items()
        }
        for last, (score, path) in best.items():
            for first in range(last, count):
                for end in range(first + 1, count + 1):
                    value = score + float(total[end] - total[first])
                    if value > found.get(end - 1, (-np.inf,))[0]:
                        found[end - 1] = value, (*path, (first, end))
        best = found
    return list(max(best.values(), key=lambda entry: entry[0])[1])


def _completed(path: Sequence[Run | None]) -> list[Run | None]:
    """Return the path with the steps between two highlighted words given to the word between them, if it is one."""
    completed = list(path)
    last, since = 0, 0
    for step, run in enumerate(path):
        if run is None:
            continue
        if run[0] == last + 1:
            completed[since:step] = [(last, last + 1)] * (step - since)
        last, since = run[1], step + 1
    return completed


def _evidence(words: Sequence[ReadWord], steps: Sequence[Step]) -> NDArray[np.float64]:
    """Return how much each word looks unlike itself in each step, more than other words do: ``(words, steps)``."""
    looks = np.full((len(words), len(steps), 3), np.nan)
    for column, step in enumerate(steps):
        for number, box in enumerate(boxes_in(words, step)):
            look = step.look(box)
            if look is not None:
                looks[number, column] = look.strokes, look.surroundings, look.height
    is_unseen = np.isnan(looks[..., 0])
    if is_unseen.all():
        return np.zeros(is_unseen.shape)
    shared = np.nanmedian(looks[..., :2], axis=(0, 1))
    looks[is_unseen.all(axis=1)] = 1.0  # any value: a word that is never seen is alike nowhere
    scale = np.array([TUNING.same_style_levels, 2 * TUNING.steady_levels, 1.0])
    heights = np.nanmedian(looks[..., 2], axis=1, keepdims=True) * READING.accent
    divisor = np.concatenate([np.broadcast_to(scale[:2], (len(words), 2)), heights], axis=1)[:, None, :]
    usual = np.nanmedian(looks, axis=1, keepdims=True)
    if len(steps) == 2:  # each of two may be the usual look: that of the other words is
        usual[..., :2] = shared
    distance = np.nanmax(np.abs(looks - usual) / divisor, axis=2, initial=0.0)
    distance[is_unseen] = 1.0
    distance = np.minimum(distance, _LONGEST_DISTANCE)
    return np.asarray(distance - np.median(distance, axis=0, keepdims=True))


def _joined_characters(words: Iterable[TimedWord], text: str) -> list[TimedWord]:
    """Return words with those joined that are written without a space between them and have the same times."""
    joined: list[TimedWord] = []
    at = 0
    for word in words:
        begins = text.index(word.text, at)
        last = joined[-1] if joined else None
        if last and begins == at and (last.start, last.highlight) == (word.start, word.highlight):
            joined[-1] = replace(last, text=last.text + word.text, bbox=last.bbox.union(word.bbox))
        else:
            joined.append(word)
        at = begins + len(word.text)
    return joined


@dataclass(slots=True, eq=False)
class _RollingLine:
    """A line of a roll-up while it is followed."""

    start: int
    end: int
    box: Box
    texts: list[str]

    @property
    def text(self) -> str:
        counts = Counter(self.texts)
        return max(counts, key=lambda text: (counts[text], len(text)))


def _rolled_lines(found: FoundCaption, line_px: float) -> list[_RollingLine]:
    """Return the lines of a roll-up, each from when it is complete until it leaves.

    Lines may scroll for some frames from one step to the next: a new one is visible, and another leaves, from there on.
    """
    steps = found.steps
    live = [_RollingLine(found.start, steps[0].end, line.box, [line.text]) for line in steps[0].lines]
    done: list[_RollingLine] = []
    for before, step in itertools.pairwise(steps):
        owners = {place: live[number] for number, place in _same_lines(before, step, line_px)}
        done += [line for line in live if line not in owners.values()]
        is_built = step_change(before, step, line_px) == "build"
        live = []
        for place, seen in enumerate(step.lines):
            line = owners.get(place) or _RollingLine(before.end, step.end, seen.box, [])
            line.end = step.end
            if line.texts and is_built and len(word_spans(seen.text)) > len(word_spans(line.text)):
                line.start, line.texts = step.start, []
            line.texts.append(seen.text)
            live.append(line)
    for line in live:
        line.end = found.end
    return sorted((*done, *live), key=lambda line: (line.start, line.box[1]))


def _same_lines(before: Step, step: Step, line_px: float) -> list[tuple[int, int]]:
    """Return which lines of a step are which of the next one, by number."""
    rolled = rolled_lines(before.lines, step.lines, line_px)
    if rolled is not None:
        return rolled
    return [
        (number, place)
        for number, line in enumerate(before.lines)
        for place, other in enumerate(step.lines)
        if overlap_across(line.box, other.box) > 0.5
    ]
