"""What moves and what does not, in pictures of every size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.samples import Sample, lines_in, stillness, strokes
from captionacc_dagster_tests.captioning.drawn_clips import texture, write_text

pytestmark = pytest.mark.unit

PLACE = BBox(0.2, 0.15, 0.8, 0.35)


def sample(height: int, width: int, moved: int) -> Sample:
    """Return a sample whose scene moves, and whose text moves by some pixels."""
    pictures: list[NDArray[np.uint8]] = []
    for step in (0, 1):
        picture = np.roll(texture(width, height, 3), 7 * step, axis=1).copy()
        write_text(picture, "Mind the gap", (0.5 + step * moved / width, 0.25), max(8, height // 8))
        pictures.append(strokes(picture[..., 0].copy()))
    return Sample(0.0, pictures[0], pictures[1], np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(360, 640), (120, 640), (70, 640), (60, 60), (71, 200), (64, 96)])
def test_text_that_moves_is_told_from_text_that_stays(size: tuple[int, int]):
    assert stillness(sample(*size, moved=0), PLACE) > stillness(sample(*size, moved=6), PLACE)


@pytest.mark.parametrize("size", [(5, 640), (4, 100), (2, 2)])
def test_a_picture_lower_than_a_cell_shows_no_lines(size: tuple[int, int]):
    assert lines_in(np.ones(size, bool)) == []
