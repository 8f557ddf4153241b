"""Letters are cut out of the picture of a line where the mask has only some of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr.letters import letters_of, span_of_letters

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 40, 400


def line(*, ground: int = 120) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the luma of ten outlined letters, 20 pixels wide, 30 apart, and a mask that lacks the first and last."""
    levels = np.full((HEIGHT, WIDTH), ground, np.float32)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    for number in range(10):
        left = 50 + 30 * number
        levels[6:34, left - 2 : left + 22] = 10
        levels[8:32, left : left + 20] = 240
        levels[14:26, left + 6 : left + 14] = 10
        if 0 < number < 9:
            mask[8:32, left : left + 20] = levels[8:32, left : left + 20] > 200
    return levels, mask


def span(levels: NDArray[np.float32], mask: NDArray[np.float32]) -> tuple[int, int]:
    return span_of_letters(levels, mask, 65, 335, margin_px=12, least_px=12)


@pytest.mark.parametrize("ground", [0, 120, 190])
def test_a_line_is_cut_out_with_the_letters_that_the_mask_lacks(ground: int):
    start, end = span(*line(ground=ground))
    assert 30 <= start <= 40
    assert 350 <= end <= 362


def test_a_part_of_the_picture_as_bright_as_the_letters_is_no_letter():
    levels, mask = line()
    levels[:, 60:67] = 240  # a pole behind the line, from above to below
    assert span(levels, mask)[0] == 65


def test_a_line_whose_ends_are_whole_is_cut_out_as_it_was():
    levels, mask = line()
    assert span_of_letters(levels, mask, 75, 315, margin_px=12, least_px=12) == (75, 315)


def test_letters_have_the_marks_that_the_mask_lacks_and_no_picture_in_their_bowls():
    levels, mask = line()
    levels[2:5, 140:150] = 240  # an accent
    levels[16:24, 208:212] = 240  # what is behind shows in a bowl
    levels[:3, 300:330] = 240  # and beyond the edge of the line's picture
    letters = letters_of(levels, mask) > 0.5
    assert letters[3, 145]
    assert letters[10, 145]
    assert not letters[20, 210]
    assert not letters[1, 315]


def test_without_a_mask_that_tells_letters_there_are_its_strokes_alone():
    levels, mask = line()
    assert np.array_equal(letters_of(levels, np.zeros_like(mask)), np.zeros_like(mask))
