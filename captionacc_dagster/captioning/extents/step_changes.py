"""The steps of a caption whose words move: stretches of frames between which one word lights up or is added.

A step is read like a caption. Two steps that follow each other without a gap are of one caption if only the look of a
word changed (highlight), if words were added to words that stay (build-up), or if lines moved up by a row (roll-up).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from captionacc_dagster.captioning.extents.reading import Reading, fold
from captionacc_dagster.captioning.extents.strokes import Mask, Plane, high_pass
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine, ReadWord, is_unspaced
from captionacc_dagster.captioning.layout.tuning import TUNING as LAYOUT
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

StepChange = Literal["highlight", "build", "roll"]


@dataclass(frozen=True, slots=True)
class WordLook:
    """How a word looks in a step: gray levels of its strokes and of what is between them, and its height, pixels."""

    strokes: float
    surroundings: float
    height: float

    def color_distance(self, other: WordLook) -> float:
        """Return how much two looks differ in color, from 1 on visibly, whatever the letters are.

        The picture behind changes what is between the strokes, too, but rarely as much as a box does.
        """
        return max(
            abs(self.strokes - other.strokes) / TUNING.same_style_levels,
            abs(self.surroundings - other.surroundings) / (4 * TUNING.steady_levels),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of frames in which nothing of a caption changes.

    Attributes:
        start, end: in ticks, half-open.
        reading: of its frames.
        level: mean luma of the ROI, uint8 ``(height, width)``.
        packed: its strokes, eight pixels a byte.
        packed_all: the same with strokes of other text.
    """

    start: int
    end: int
    reading: Reading
    level: Plane
    packed: NDArray[np.uint8]
    packed_all: NDArray[np.uint8]

    @classmethod
    def of(
        cls, start: int, end: int, reading: Reading, level: NDArray[np.float32], strokes: Mask, all_strokes: Mask
    ) -> Step:
        """Return the step that shows a reading."""
        packed = np.packbits(strokes), np.packbits(all_strokes)
        return cls(start, end, reading, np.rint(level).astype(np.uint8), *packed)

    @property
    def strokes(self) -> Mask:
        """Its strokes, bool ``(height, width)``."""
        return self._unpacked(self.packed)

    @property
    def all_strokes(self) -> Mask:
        """Its strokes and those of other text, bool ``(height, width)``."""
        return self._unpacked(self.packed_all)

    def _unpacked(self, packed: NDArray[np.uint8]) -> Mask:
        return np.unpackbits(packed, count=self.level.size).reshape(self.level.shape).astype(bool)

    def is_part_of(self, strokes: Mask) -> bool:
        """Return whether its strokes are among others, bool ``(height, width)``."""
        import cv2

        if strokes.shape != self.level.shape:
            return False
        near = cv2.dilate(strokes.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        own = self.strokes
        return bool((own & near).sum() >= TUNING.built_share * own.sum())

    @property
    def lines(self) -> tuple[ReadLine, ...]:
        """Its lines, from top to bottom, without those that are dimmed."""
        return tuple(line for line in self.reading.lines if not line.dimmed)

    @property
    def words(self) -> list[ReadWord]:
        """The words of its lines in reading order."""
        return [word for line in self.lines for word in line.words]

    def look(self, box: Box) -> WordLook | None:
        """Return the look of what is in a box; None without strokes."""
        x0, y0, x1, y1 = box
        inside, level = self.strokes[y0:y1, x0:x1], self.level[y0:y1, x0:x1]
        if not inside.any():
            return None
        rows = np.flatnonzero(inside.any(axis=1))
        around = level[~inside]
        return WordLook(
            strokes=float(np.median(level[inside])),
            surroundings=float(np.median(around)) if around.size else 0.0,
            height=float(rows[-1] + 1 - rows[0]),
        )


def step_change(before: Step, after: Step, line_px: float) -> StepChange | None:
    """Return how a caption went from one step to the next; None if they are of two captions."""
    first, second = before.lines, after.lines
    if not first or not second:
        return None
    if rolled_lines(first, second, line_px) is not None:
        return "roll"
    if _is_built_on(before, after, line_px):
        return "build"
    return "highlight" if _is_highlight(before, after, line_px) else None


def rolled_lines(first: Sequence[ReadLine], second: Sequence[ReadLine], line_px: float) -> list[tuple[int, int]] | None:
    """Return which lines of a step are which of the next one, by number, if they moved up by a row; else None.

    Lines that stay are text beside them, such as a name plate; others may come at any side.
    """
    staying = [
        (number, place)
        for number, line in enumerate(first)
        for place, other in enumerate(second)
        if _is_same_line(line, other) and 2 * abs(line.box[1] - other.box[1]) < line_px
    ]
    stays, taken = {number for number, _ in staying}, {place for _, place in staying}
    rest = [number for number in range(len(first)) if number not in stays]
    for gone in range(len(rest)):
        moved = _moved_up(first, second, rest[gone:], taken, line_px)
        # Lines that differ little, as of a song, are not taken for each other.
        if moved and sum(_alike_in_place(first[number], second) for number, _ in moved) < sum(
            alike(first[number].text, second[place].text) for number, place in moved
        ):
            return sorted([*staying, *moved])
    return None


def all_strokes_stay(before: Step, after: Step) -> bool:
    """Return whether the strokes of each line of two steps are the same in both, whatever was read."""
    return before.level.shape == after.level.shape and all(
        _stays_inside(before, after, line.box, TUNING.built_share) for line in (*before.lines, *after.lines)
    )


def all_stay(before: Step, after: Step) -> bool:
    """Return whether all lines of a step are in the next one, in their places."""
    return all(_stays(line, after.lines) for line in before.lines)


def _stays(line: ReadLine, lines: Sequence[ReadLine]) -> bool:
    """Return whether a line is one of some lines, in its place."""
    return any(_is_same_line(line, other) and overlap_across(line.box, other.box) > 0.5 for other in lines)


def _moved_up(
    first: Sequence[ReadLine], second: Sequence[ReadLine], numbers: Sequence[int], taken: set[int], line_px: float
) -> list[tuple[int, int]]:
    """Return which lines of the next step some lines of a step are, in order; none if one of them did not move up."""
    moved: list[tuple[int, int]] = []
    for number in numbers:
        line = first[number]
        place = next(
            (
                place
                for place, other in enumerate(second)
                if place not in taken
                and (not moved or place > moved[-1][1])
                and 2 * (line.box[1] - other.box[1]) >= line_px
                and _is_same_line(line, other)
            ),
            None,
        )
        if place is None:
            return []
        moved.append((number, place))
    return moved


def with_unread_lines(before: Step, after: Step, pitch: int, line_px: float) -> Step:
    """Return a step of a roll-up with the lines of the one before that were not read in it, though they are there.

    They moved up with the others, or by a row where none was read; where the others stayed, they did, too.

    Args:
        pitch: how far lines move up, pixels.
    """
    if before.level.shape != after.level.shape:
        return after
    first, second = before.lines, after.lines
    pairs = rolled_lines(first, second, line_px)
    lift = pitch
    if pairs is not None:
        lift = max(first[number].box[1] - second[place].box[1] for number, place in pairs)
    elif any(_stays(line, second) for line in first):
        lift = 0
    known = {number for number, _ in pairs or ()}
    unread = []
    for number, line in enumerate(first):
        x0, y0, x1, y1 = line.box
        moved = replace(
            line,
            box=(x0, y0 - lift, x1, y1 - lift),
            words=tuple(
                replace(word, box=(word.box[0], word.box[1] - lift, word.box[2], word.box[3] - lift))
                for word in line.words
            ),
        )
        is_read = any(overlap_across(moved.box, other.box) > 0.5 for other in second)
        if number not in known and not is_read and moved.box[1] >= 0 and _is_moved(before, after, line.box, lift):
            unread.append(moved)
    lines = tuple(sorted((*after.reading.lines, *unread), key=lambda line: line.box[1]))
    return replace(after, reading=replace(after.reading, lines=lines)) if unread else after


def _is_moved(before: Step, after: Step, box: Box, lift: int) -> bool:
    """Return whether the strokes that a step has in a box are higher up in the next one."""
    import cv2

    x0, y0, x1, y1 = box
    own = before.strokes[y0:y1, x0:x1]
    near = cv2.dilate(after.all_strokes.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return bool((own & near[y0 - lift : y1 - lift, x0:x1]).sum() >= TUNING.built_share * own.sum() > 0)


def _alike_in_place(line: ReadLine, lines: Sequence[ReadLine]) -> float:
    """Return the similarity of a line to the one of some lines that is in its place, 0 without one."""
    here = [other for other in lines if overlap_across(line.box, other.box) > 0.5]
    return max((alike(line.text, other.text) for other in here), default=0.0)


def _is_same_line(line: ReadLine, other: ReadLine) -> bool:
    return alike(line.text, other.text) >= TUNING.alike_text and overlap_along(line.box, other.box) > 0.5


def alike(text: str, other: str) -> float:
    """Return the similarity of two texts without what recognizers confuse, 0..1."""
    return Levenshtein.normalized_similarity(fold(text), fold(other))


def _are_half_alike(text: str, other: str) -> bool:
    """Return whether two readings have half of their letters in common: a highlight makes a recognizer misread."""
    return 2 * alike(text, other) >= 1


def overlap_along(box: Box, other: Box) -> float:
    """Return the shared part of the narrower of two boxes along the line."""
    shared = min(box[2], other[2]) - max(box[0], other[0])
    return shared / max(1, min(box[2] - box[0], other[2] - other[0]))


def _gap_along(box: Box, other: Box) -> int:
    """Return how far two boxes are apart along the line; 0 if they overlap."""
    return max(0, box[0] - other[2], other[0] - box[2])


def overlap_across(box: Box, other: Box) -> float:
    """Return the shared part of the lower of two boxes across the line."""
    shared = min(box[3], other[3]) - max(box[1], other[1])
    return shared / max(1, min(box[3] - box[1], other[3] - other[1]))


def _is_built_on(before: Step, after: Step, line_px: float) -> bool:
    """Return whether words were added after those that stay."""
    first, second = before.words, after.words
    text = _joined(first)
    stay = [alike(text, _joined(second[:count])) for count in range(len(second) + 1)]
    count = max(range(len(stay)), key=lambda count: (stay[count], count))
    if count == len(second) or stay[count] < TUNING.alike_text:
        return False
    is_new = [is_new_word(word, after, [before]) for word in second[count:]]
    if _stay(before, after):
        return any(is_new)  # the others were there but not read, as an "I" alone
    shift = 0.5 * line_px
    stays = all(abs(word.box[0] - other.box[0]) <= shift for word, other in zip(first, second, strict=False))
    return fold(text) == fold(_joined(second[:count])) and (all(is_new) if stays else count >= _RECENTERED_WORDS)


def _joined(words: Sequence[ReadWord]) -> str:
    return "".join(word.text for word in words)


_RECENTERED_WORDS = 2  # that stay when a line moves to make room: one word begins other captions as well


def _stay(before: Step, after: Step) -> bool:
    """Return whether the strokes of one step are strokes of the next one, too."""
    return before.is_part_of(after.strokes)


def is_new_word(word: ReadWord, step: Step, earlier: Sequence[Step]) -> bool:
    """Return whether most strokes of a word of a step are in none of the earlier steps.

    A mask may lack faint strokes: where the picture is as bright already, the word was there.
    """
    alike_in_size = [before for before in earlier if before.level.shape == step.level.shape]
    if not alike_in_size:
        return True
    x0, y0, x1, y1 = word.box
    own, level = step.strokes[y0:y1, x0:x1], step.level[y0:y1, x0:x1].astype(np.int16)
    seen = np.any([before.strokes[y0:y1, x0:x1] for before in alike_in_size], axis=0)
    changes = [np.abs(before.level[y0:y1, x0:x1].astype(np.int16) - level)[own] for before in alike_in_size]
    is_unlike = all(float(np.median(change)) >= TUNING.same_style_levels for change in changes if change.size)
    return bool((own & seen).sum() < 0.5 * own.sum()) and is_unlike


def _is_highlight(before: Step, after: Step, line_px: float) -> bool:
    """Return whether two steps have the same words, misread only where the look of a word changed."""
    if before.level.shape != after.level.shape:
        return False
    differing: list[tuple[list[ReadWord], list[ReadWord]]] = []
    kept: list[tuple[Box, Box]] = []
    for line, other in _lines_in_place(before, after):
        if other is None:
            if not _stays_inside(before, after, line.box, _LINE_STAYS):
                return False
            continue  # a line that was not read, as of a highlight that hardly contrasts, is still there
        if overlap_along(line.box, other.box) < 0.5:
            return False
        if not _are_half_alike(line.text, other.text):
            return False
        differ, same = _compared_words(line, other)
        differing += differ
        if _stays_inside(before, after, union_box((line.box, other.box)), TUNING.built_share):
            same = [(box, box) for box, _ in same]  # a mark that one reading has more shifts its words, not the strokes
        kept += same
    if kept and not differing:  # except for spaces, or dimmed lines
        return True
    if not kept or any(abs(box[0] - other[0]) > line_px for box, other in kept):
        return False
    stays = all(abs(box[0] - other[0]) <= TUNING.word_gap * line_px for box, other in kept)
    # A character is a word of its own where no spaces are written: one that is misread has nothing of the other.
    is_surely_read = min(before.reading.confidence, after.reading.confidence) >= OCR.certain
    usual = min(_look_change(before, after, *boxes) for boxes in kept)
    for words, others in differing:
        is_lost = not (words and others) and (stays or _leaves_room(words, others, kept))
        is_misread = _are_half_alike(*_without_shared_words(words, others))
        if stays and _is_rest_unread(before, after, words, others, line_px):
            continue
        box = union_box(word.box for word in (*words, *others))
        if not is_lost and not is_misread and (not is_unspaced(_joined(words)) or is_surely_read):
            return False
        is_still_there = not (words and others) and (
            _stays_inside(before, after, box, TUNING.built_share) or before.look(box) is after.look(box) is None
        )
        if is_still_there and not any(map(str.isalnum, _joined([*words, *others]))):
            continue  # a mark that was read in the picture
        if not any(_gap_along(box, near) <= line_px for near, _ in kept):
            return False  # more than a space away: what another person says, or another text
        if is_still_there:
            continue  # only its reading was lost, as of an "I" in a highlight
        own, later = (union_box(word.box for word in part) if part else box for part in (words, others))
        if _look_change(before, after, own, later) < max(1.0, 2 * usual):
            return False
    return True


def _is_rest_unread(
    before: Step, after: Step, words: Sequence[ReadWord], others: Sequence[ReadWord], line_px: float
) -> bool:
    """Return whether one of two readings of some words is the beginning or the end of the other, and the rest is there.

    Letters in the color of a highlight may not be read.
    """
    text, other = fold(_joined(words)), fold(_joined(others))
    if len(text) > len(other):
        return _is_rest_unread(after, before, others, words, line_px)
    if not text or len(text) == len(other):
        return False
    part, (left, top, right, bottom) = (union_box(word.box for word in read) for read in (words, others))
    if other.startswith(text):
        left = max(left, part[2])
    elif other.endswith(text):
        right = min(right, part[0])
    else:
        return False
    rest = left, top, right, bottom
    is_read = any(overlap_across(word.box, rest) > 0.5 and overlap_along(word.box, rest) > 0.5 for word in before.words)
    return not is_read and _letters_stay(before, after, rest, line_px)


def _letters_stay(before: Step, after: Step, box: Box, line_px: float) -> bool:
    """Return whether two steps show the same letters in a box, in whatever color."""
    x0, y0, x1, y1 = box
    if x0 >= x1:
        return False
    one, other = (high_pass(step.level, line_px / 2)[y0:y1, x0:x1] for step in (before, after))
    energy = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return abs(float((one * other).sum())) >= LAYOUT.same_strokes_correlation * energy > 0


_LINE_STAYS = 0.57  # of the strokes of a line in two steps: two fifths of one are in the other as well


def _lines_in_place(before: Step, after: Step) -> list[tuple[ReadLine, ReadLine | None]]:
    """Return the lines of two steps, each with that of the other step in its place; None: only one of them has it."""
    rest = list(after.lines)
    pairs: list[tuple[ReadLine, ReadLine | None]] = []
    for line in before.lines:
        other = next((other for other in rest if overlap_across(line.box, other.box) >= 0.5), None)
        pairs.append((line, other))
        if other is not None:
            rest.remove(other)
    return [*pairs, *((line, None) for line in rest)]


def _stays_inside(before: Step, after: Step, box: Box, share: float) -> bool:
    """Return whether at least a share of the strokes that two steps have in a box is the same in both."""
    import cv2

    x0, y0, x1, y1 = box
    one, other = (step.strokes[y0:y1, x0:x1] for step in (before, after))
    near = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 for mask in (one, other)]
    kept = (one & near[1]).sum() + (other & near[0]).sum()
    return bool(kept >= share * (one.sum() + other.sum()) > 0)


def _without_shared_words(words: Sequence[ReadWord], others: Sequence[ReadWord]) -> tuple[str, str]:
    """Return two readings of some words without the words at their ends that both have.

    A recognizer may leave out a space: ``lineone`` is like ``line two`` only for the word that they share.
    """
    text, other = fold(_joined(words)), fold(_joined(others))
    for shared in (fold(word.text) for word in (*words, *others)):
        if 0 < len(shared) < min(len(text), len(other)) and text.startswith(shared) and other.startswith(shared):
            text, other = text[len(shared) :], other[len(shared) :]
    for shared in (fold(word.text) for word in (*reversed(words), *reversed(others))):
        if 0 < len(shared) < min(len(text), len(other)) and text.endswith(shared) and other.endswith(shared):
            text, other = text[: -len(shared)], other[: -len(shared)]
    return text, other


def _leaves_room(words: Sequence[ReadWord], others: Sequence[ReadWord], kept: Sequence[tuple[Box, Box]]) -> bool:
    """Return whether words that one of two readings of a line lacks have room in it, between those that it shares.

    A highlight that makes a word larger moves the others, and a recognizer may not read it.
    """
    own, other = (0, 1) if words else (1, 0)
    x0, _, x1, _ = union_box(word.box for word in words or others)
    # The box of a word beside one that was not read may reach over that, so its far edge and its own width tell.
    before = [boxes[other][0] + _width(boxes[own]) for boxes in kept if boxes[own][2] <= x0]
    after = [boxes[other][2] - _width(boxes[own]) for boxes in kept if boxes[own][0] >= x1]
    return bool(before and after) and 2 * (min(after) - max(before)) >= x1 - x0


def _width(box: Box) -> int:
    return box[2] - box[0]


def _compared_words(
    line: ReadLine, other: ReadLine
) -> tuple[list[tuple[list[ReadWord], list[ReadWord]]], list[tuple[Box, Box]]]:
    """Return the words in which two readings of a line differ, and the boxes of those that they share."""
    owners = [_word_of_each_character(read) for read in (line, other)]
    texts = ["".join(fold(word.text) for word in read.words) for read in (line, other)]
    differing: list[tuple[set[int], set[int]]] = []
    pairs: list[tuple[int, int]] = []
    for name, a0, a1, b0, b1 in _opcodes(*texts):
        if name == "equal":
            pairs += zip(owners[0][a0:a1], owners[1][b0:b1], strict=True)
        else:
            differing.append((set(owners[0][a0:a1]), set(owners[1][b0:b1])))
    # A word of which a character differs is in question as a whole, with all that was read in its place.
    blocks: list[tuple[set[int], set[int]]] = []
    for own, others in differing:
        own |= {one for one, two in pairs if two in others}
        others |= {two for one, two in pairs if one in own}
        if blocks and (own & blocks[-1][0] or others & blocks[-1][1]):
            blocks[-1] = (blocks[-1][0] | own, blocks[-1][1] | others)
        else:
            blocks.append((own, others))
    for own, others in blocks:  # which of two equal characters was lost, as in "is" before "line", is a guess
        for end in (max, min):
            while own and others and fold(line.words[end(own)].text) == fold(other.words[end(others)].text):
                pairs.append((end(own), end(others)))
                own.remove(end(own))
                others.remove(end(others))
    used = set().union(*(own for own, _ in blocks)), set().union(*(others for _, others in blocks))
    kept = {(one, two) for one, two in pairs if one not in used[0] and two not in used[1]}
    words = [
        pair
        for own, others in blocks
        for pair in _word_pairs([line.words[n] for n in sorted(own)], [other.words[n] for n in sorted(others)])
    ]
    # Where a reading lacks a space, the places of its words say nothing of those of the other.
    alike_words = [pair for pair in kept if fold(line.words[pair[0]].text) == fold(other.words[pair[1]].text)]
    boxes = [(line.words[one].box, other.words[two].box) for one, two in sorted(alike_words or kept)]
    return words, boxes


def _word_pairs(words: Sequence[ReadWord], others: Sequence[ReadWord]) -> list[tuple[list[ReadWord], list[ReadWord]]]:
    """Return differing words one by one where each resembles its counterpart, or all of them together.

    A letter lost in one word and another in the next look like one that was replaced, across both. Where one reading
    has a word more, that one has no counterpart.
    """
    is_first_longer = len(words) > len(others)
    fewer, more = (others, words) if is_first_longer else (words, others)
    for extra in range(len(more)) if len(more) == len(fewer) + 1 else [len(more)]:
        rest = [*more[:extra], *more[extra + 1 :]]
        if not fewer or len(rest) != len(fewer) or not all(map(_are_alike_words, fewer, rest)):
            continue
        pairs = [([one], [two]) for one, two in zip(fewer, rest, strict=True) if fold(one.text) != fold(two.text)]
        pairs += [([], [word]) for word in more[extra : extra + 1]]
        return [(two, one) for one, two in pairs] if is_first_longer else pairs
    return [(list(words), list(others))]


def _are_alike_words(word: ReadWord, other: ReadWord) -> bool:
    return _are_half_alike(word.text, other.text)


def _word_of_each_character(line: ReadLine) -> list[int]:
    return [number for number, word in enumerate(line.words) for _ in fold(word.text)]


def _look_change(before: Step, after: Step, box: Box, later: Box) -> float:
    """Return how much the look of what is in a box, and later in another one, changed between two steps."""
    old, new = before.look(box), after.look(later)
    return old.color_distance(new) if old is not None and new is not None else float(old is not new)


def union_box(boxes: Iterable[Box]) -> Box:
    """Return the box around boxes."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def boxes_in(words: Sequence[ReadWord], step: Step) -> list[Box]:
    """Return where words are in a step: a highlight that makes a word larger moves those beside it."""
    seen = step.words
    boxes = [word.box for word in words]
    texts = [fold(word.text) for word in words], [fold(word.text) for word in seen]
    for _, a0, a1, b0, b1 in _opcodes(*texts):
        for number, word in zip(range(a0, a1), seen[b0:b1], strict=False):
            if alike(words[number].text, word.text) >= TUNING.alike_text:
                boxes[number] = word.box
    return boxes


def _opcodes(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """Return how one sequence becomes the other: operation, and from where to where in both."""
    return [
        (code.tag, code.src_start, code.src_end, code.dest_start, code.dest_end)
        for code in Levenshtein.opcodes(one, other)
    ]
