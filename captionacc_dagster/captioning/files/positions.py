"""Where a caption is in the picture, in words: nine places, as subtitle files know them."""

from __future__ import annotations

from typing import Final, Literal

from captionacc_dagster.captioning.geometry import BBox

Position = Literal[
    "top-left", "top", "top-right", "left", "middle", "right", "bottom-left", "bottom", "bottom-right"
]  # fmt: skip
POSITIONS: Final[tuple[tuple[Position, Position, Position], ...]] = (
    ("top-left", "top", "top-right"),
    ("left", "middle", "right"),
    ("bottom-left", "bottom", "bottom-right"),
)
# Centers before and after these fractions of the picture are at its first and last third, as in the files.
_FIRST, _LAST = 0.4, 0.6
# Room between a moved caption and the picture's edge, which televisions may cut off.
_MARGIN = 0.05


def position_of(bbox: BBox) -> Position:
    """Return the position of a box."""
    return POSITIONS[_third(bbox.top, bbox.bottom)][_third(bbox.left, bbox.right)]


def moved_to(bbox: BBox, position: Position) -> BBox:
    """Return a box of the same size at a position; a box that is there stays."""
    row, column = next((row, names.index(position)) for row, names in enumerate(POSITIONS) if position in names)
    left, right = _moved(bbox.left, bbox.right, column)
    top, bottom = _moved(bbox.top, bbox.bottom, row)
    return BBox(left, top, right, bottom)


def _third(low: float, high: float) -> int:
    center = (low + high) / 2
    return 0 if center < _FIRST else 2 if center > _LAST else 1


def _moved(low: float, high: float, third: int) -> tuple[float, float]:
    if _third(low, high) == third:
        return low, high
    # A wide box is cut, so that its center comes to lie there.
    size = high - low if third == 1 else min(high - low, 2 * (_FIRST - 2 * _MARGIN))
    start = (_MARGIN, 0.5 - size / 2, 1 - _MARGIN - size)[third]
    return start, start + size
