"""Boxes and regions in relative coordinates: 0..1, origin top left."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BBox:
    """A rectangle in relative coordinates: ``0 <= left < right <= 1`` and ``0 <= top < bottom <= 1``."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """The width as a fraction of the frame's width."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The height as a fraction of the frame's height."""
        return self.bottom - self.top

    def union(self, other: BBox) -> BBox:
        """Return the smallest rectangle that contains both."""
        return BBox(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: BBox) -> BBox:
        """Return the part that both rectangles share; they must overlap."""
        return BBox(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return ``(left, top, right, bottom)``."""
        return (self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class CropRegion(BBox):
    """The part of the picture in which captions appear.

    Raises:
        ValueError: a number is not finite, outside 0..1, or the region has no area.
    """

    def __post_init__(self) -> None:
        numbers = self.as_tuple()
        if not all(math.isfinite(number) and 0.0 <= number <= 1.0 for number in numbers):
            raise ValueError(f"a crop region's numbers must be between 0 and 1, got {numbers}")
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(f"a crop region needs left < right and top < bottom, got {numbers}")

    @classmethod
    def parse(cls, text: str) -> CropRegion:
        """Return the region that ``"left,top,right,bottom"`` describes.

        Raises:
            ValueError: the text is not four numbers, or they are not a region.
        """
        parts = text.split(",")
        try:
            left, top, right, bottom = (float(part) for part in parts)
        except ValueError:
            raise ValueError(f"a crop region is four numbers L,T,R,B between 0 and 1, got {text!r}") from None
        return cls(left, top, right, bottom)
