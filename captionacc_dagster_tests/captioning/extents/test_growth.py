"""Captions that are typed or built up, followed back in frames that the test draws over a moving picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.growth import Growth, _shown_cells, follow_growth
from captionacc_dagster.captioning.extents.words import ReadLine, ReadWord

LINE_PX = 33.0
SIZE = (420, 110)
TEXT = "When I was little"
LEFT, TOP, PITCH = 60, 26, 34


def font() -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(24)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


def write(picture: Image.Image, lines: Sequence[str], outline: int = 2) -> None:
    for number, line in enumerate(lines):
        place = LEFT, TOP - 4 + PITCH * number
        ImageDraw.Draw(picture).text(place, line, 255, font(), stroke_width=outline, stroke_fill=0)


def read(lines: Sequence[str]) -> list[ReadLine]:
    """Return lines as they are read, with the boxes of their words."""
    found = []
    for number, line in enumerate(lines):
        words, top = [], TOP + PITCH * number
        for at, word in enumerate(line.split()):
            left = LEFT + round(font().getlength(" ".join([*line.split()[:at], ""])))
            words.append(ReadWord(word, (left, top, left + round(font().getlength(word)), top + 22)))
        found.append(ReadLine(line, (LEFT, top, words[-1].box[2], top + 22), tuple(words)))
    return found


def grown(
    shown: Sequence[Sequence[str]],
    rest: int,
    whole: Sequence[str] = (TEXT,),
    words: Sequence[ReadWord] = (),
) -> Growth | None:
    """Return the growth of a caption of which each frame shows some lines; it is read from a frame on.

    ``words`` are read instead of those of ``whole``.
    """
    rng = np.random.default_rng(3)
    scene = Image.fromarray(rng.integers(20, 200, (12, 60), np.uint8)).resize((900, 160))
    small_rois: list[tuple[int, NDArray[np.uint8]]] = []
    for at, lines in enumerate(shown):
        roi = scene.crop((2 * at, 20, 2 * at + SIZE[0], 20 + SIZE[1]))
        write(roi, lines)
        small_rois.append((at, np.asarray(roi.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.BOX))))
    mask = Image.new("L", SIZE)
    write(mask, whole, 0)
    lines = [ReadLine(TEXT, words[0].box, tuple(words))] if words else read(whole)
    return follow_growth(small_rois, rest, len(shown), lines, np.asarray(mask) > 128, LINE_PX)


def onsets(growth: Growth | None, lines: Sequence[str] = (TEXT,)) -> list[int | None]:
    assert growth is not None
    return [growth.onset(word) for line in read(lines) for word in line.words]


def test_a_caption_that_is_typed_starts_with_its_first_letter():
    shown = [[]] * 5 + [[TEXT[: 1 + at // 2]] for at in range(2 * len(TEXT))] + [[TEXT]] * 10
    growth = grown(shown, rest=30)
    assert growth is not None
    assert growth.start == 5
    assert growth.complete <= 5 + 2 * (len(TEXT) - 1)
    for onset, at in zip(onsets(growth), (0, 5, 7, 11), strict=True):
        assert onset is not None
        assert abs(onset - (5 + 2 * at)) <= 2


def test_words_that_build_up_are_timed_to_the_frame():
    times, words = (4, 9, 12, 20), TEXT.split()
    shown = [[" ".join(words[: sum(at >= time for time in times)])] for at in range(36)]
    growth = grown(shown, rest=20)
    assert growth is not None
    assert (growth.start, growth.complete) == (4, 20)
    assert onsets(growth) == list(times)


def test_what_precedes_a_caption_that_builds_up_is_none_of_it():
    times, words = (10, 14, 17, 20), TEXT.split()
    shown = [["Nobody knows why"]] * 10
    shown += [[" ".join(words[: sum(at >= time for time in times)])] for at in range(10, 36)]
    assert onsets(grown(shown, rest=20)) == list(times)


@pytest.mark.parametrize("before", [[], ["Nobody knows why"], ["When I was young"]])
def test_a_caption_that_is_there_at_once_has_not_grown(before: list[str]):
    assert grown([before] * 10 + [[TEXT]] * 20, rest=10) is None


def test_one_word_that_is_added_is_no_growth():
    assert grown([["When I was"]] * 10 + [[TEXT]] * 20, rest=10) is None


def test_words_that_build_up_below_a_line_that_rolled_up_are_no_growth_of_both():
    lower, times = ("used to run", (10, 14, 18))
    words = lower.split()
    shown = [["", TEXT]] * 10
    shown += [[TEXT, " ".join(words[: sum(at >= time for time in times)])] for at in range(10, 36)]
    assert grown(shown, 18, (TEXT, lower)) is None


def test_both_lines_of_a_caption_may_build_up():
    lines, times = (TEXT, "used to run"), (4, 7, 10, 13, 16, 19, 22)
    shown = []
    for at in range(40):
        count = sum(at >= time for time in times)
        shown.append([" ".join(line.split()[: max(0, count - skip)]) for line, skip in zip(lines, (0, 4), strict=True)])
    assert onsets(grown(shown, 22, lines), lines) == list(times)


def test_a_word_whose_letters_are_typed_does_not_appear_at_once():
    word = ReadWord("When", (0, 0, 18, 9))
    assert Growth(3, (((0, 0, 9, 9), 3), ((9, 0, 18, 9), 3), ((18, 0, 27, 9), 8))).is_at_once(word)
    assert not Growth(3, (((0, 0, 9, 9), 3), ((9, 0, 18, 9), 5))).is_at_once(word)


def test_what_another_caption_showed_is_left_out():
    growth = Growth(3, (((0, 0, 9, 9), 3), ((9, 0, 18, 9), 12)))
    assert growth.since(8) == Growth(8, (((0, 0, 9, 9), 8), ((9, 0, 18, 9), 12)))


def test_a_cell_may_look_wrong_where_most_look_right():
    seen = np.array([True] * 8 + [False] * 4)
    assert _shown_cells(seen) == 8
    seen[3] = False
    assert _shown_cells(seen) == 8
    assert _shown_cells(np.arange(12) % 4 < 2) is None


def test_a_part_of_a_word_without_strokes_is_no_cell():
    shown = [[TEXT[: 1 + at // 2]] for at in range(2 * len(TEXT))] + [[TEXT]] * 10
    wide = [replace(read([TEXT])[0].words[-1], box=(LEFT, TOP, SIZE[0], TOP + 22))]
    growth = grown(shown, rest=30, words=wide)
    assert growth is not None
    assert max(cell[0] for cell, _ in growth.onsets) < LEFT + font().getlength(TEXT)
