"""What several people say at once, beside each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.lines import split_texts
from captionacc_dagster.captioning.extents.merging import FoundCaption
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.speakers import part_speakers
from captionacc_dagster.captioning.extents.words import Box, ReadLine
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import Recognition

LINE_PX = 20.0


def place(box: Box) -> BBox:
    return BBox(box[0] / 400, box[1] / 100, box[2] / 400, box[3] / 100)


def found(start: int, end: int, *lines: tuple[str, Box]) -> FoundCaption:
    read = tuple(ReadLine(text, box, ()) for text, box in lines)
    boxes = [box for _, box in lines]
    bbox = place((min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), boxes[-1][3]))
    return FoundCaption(start, end, Reading("\n".join(line.text for line in read), 0.9, 1, lines=read), bbox, 1.0, 500)


LEFT, RIGHT = ("Not now.", (20, 10, 90, 30)), ("Run ahead", (140, 10, 240, 30))


@pytest.mark.unit
def test_texts_beside_each_other_are_two_captions():
    parts = part_speakers([found(0, 10, LEFT, RIGHT)], LINE_PX, place)
    assert [(part.reading.text, part.side) for part in parts] == [("Not now.", "left"), ("Run ahead", "right")]
    assert [part.bbox for part in parts] == [place(LEFT[1]), place(RIGHT[1])]


@pytest.mark.unit
def test_marks_that_were_added_to_the_text_are_kept():
    caption = found(0, 10, ("Tak, prosze.", (20, 10, 90, 30)), RIGHT)
    marked = replace(caption, reading=replace(caption.reading, text="Tak, proszę.\nRun ahead"))
    assert [part.reading.text for part in part_speakers([marked], LINE_PX, place)] == ["Tak, proszę.", "Run ahead"]


@pytest.mark.unit
def test_each_speaker_keeps_both_lines():
    lines = [LEFT, RIGHT, ("I said", (30, 40, 80, 60)), ("and knock", (150, 40, 230, 60))]
    parts = part_speakers([found(0, 10, *lines)], LINE_PX, place)
    assert [part.reading.text for part in parts] == ["Not now.\nI said", "Run ahead\nand knock"]


@pytest.mark.unit
def test_lines_over_each_other_are_one_caption():
    """A short line is over part of a long one, however far its ends are from those of the long one."""
    caption = found(0, 10, ("Where were you when they", (20, 10, 260, 30)), ("came?", (100, 40, 160, 60)))
    assert part_speakers([caption], LINE_PX, place) == [caption]


@pytest.mark.unit
def test_what_one_says_is_one_caption_while_another_comes_and_goes():
    steps = [found(0, 10, RIGHT), found(10, 20, LEFT, RIGHT), found(20, 30, RIGHT)]
    parts = part_speakers(steps, LINE_PX, place)
    assert [(part.start, part.end, part.reading.text) for part in parts] == [
        (0, 30, "Run ahead"),
        (10, 20, "Not now."),
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("read", "count"),
    [
        ([0.1, 0.2, 0.7, 0.9], 2),
        ([0.1, 0.2, 0.45, 0.9], 1),  # a letter that the mask lacks
    ],
)
def test_a_gap_in_which_nothing_was_read_parts_two_texts(read: list[float], count: int):
    strokes = np.zeros((20, 200), bool)
    strokes[:, [*range(0, 60, 3), *range(130, 200, 3)]] = True
    line = Recognition("abcd", 0.9, positions=tuple(read))
    assert len(split_texts(strokes, line, (0.0, 200.0), LINE_PX)) == count


@pytest.mark.unit
def test_a_space_between_words_does_not_part_a_line():
    strokes = np.zeros((20, 200), bool)
    strokes[:, [*range(0, 90, 3), *range(115, 200, 3)]] = True
    line = Recognition("ab", 0.9, positions=(0.2, 0.8))
    assert split_texts(strokes, line, (0.0, 200.0), LINE_PX) == [(0, 200)]
