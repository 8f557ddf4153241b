"""Positions of captions in words."""

from __future__ import annotations

import pytest

from captionacc_dagster.captioning.files.positions import POSITIONS, Position, moved_to, position_of
from captionacc_dagster.captioning.geometry import BBox

pytestmark = pytest.mark.unit

ALL: list[Position] = [position for row in POSITIONS for position in row]


@pytest.mark.parametrize("box", [BBox(0.3, 0.85, 0.7, 0.92), BBox(0.0, 0.0, 1.0, 1.0), BBox(0.02, 0.4, 0.05, 0.9)])
@pytest.mark.parametrize("position", ALL)
def test_a_box_is_where_it_was_moved(box: BBox, position: Position) -> None:
    moved = moved_to(box, position)

    assert position_of(moved) == position
    assert 0 <= moved.left < moved.right <= 1
    assert 0 <= moved.top < moved.bottom <= 1


def test_only_what_changes_is_moved() -> None:
    box = BBox(0.3, 0.85, 0.7, 0.92)

    assert moved_to(box, "bottom") == box
    top = moved_to(box, "top")
    assert (top.left, top.right, top.top) == (0.3, 0.7, 0.05)
    assert top.height == pytest.approx(box.height)
