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
        """Width as a fraction of the frame's width."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height as a fraction of the frame's height."""
        return self.bottom - self.top

    def union(self, other: BBox) -> BBox:
        """Give the smallest rectangle that holds both."""
        return BBox(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: BBox) -> BBox:
        """Give the box that lies in both, which must overlap."""
        return BBox(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Give ``(left, top, right, bottom)``."""
        return (self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class CropRegion(BBox):
    """The part of the picture in which captions stand.

    Raises:
        ValueError: a number is not finite, outside 0..1, or the region has no area.
    """

    def __post_init__(self) -> None:
        numbers = self.as_tuple()
        if not all(math.isfinite(number) and 0.0 <= number <= 1.0 for number in numbers):
            raise ValueError(f"a crop region's numbers must lie in 0..1, got {numbers}")
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(f"a crop region needs left < right and top < bottom, got {numbers}")

    @classmethod
    def parse(cls, text: str) -> CropRegion:
        """Read ``"left,top,right,bottom"``.

        Raises:
            ValueError: not four numbers, or not a region.
        """
        parts = text.split(",")
        try:
            left, top, right, bottom = (float(part) for part in parts)
        except ValueError:
            raise ValueError(f"a crop region is four numbers L,T,R,B between 0 and 1, got {text!r}") from None
        return cls(left, top, right, bottom)

    def to_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Give ``(x0, y0, x1, y1)`` in whole pixels, half-open, at least one pixel each way."""
        x0 = min(math.floor(self.left * width), width - 1)
        y0 = min(math.floor(self.top * height), height - 1)
        x1 = max(x0 + 1, min(width, math.ceil(self.right * width)))
        y1 = max(y0 + 1, min(height, math.ceil(self.bottom * height)))
        return x0, y0, x1, y1
