"""What an OCR engine is, and which engines there are: find text lines in a picture, and read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox


class OcrError(Exception):
    """An engine that cannot be used, or failed; ``str()`` is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class LineBox:
    """A line of text that was found: its box, how sure the detector is (0..1), and the turned rectangle.

    ``quad`` holds four ``(x, y)`` corners, relative, clockwise from the top left of the text.
    """

    bbox: BBox
    score: float
    quad: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """A line that was read: ``confidence`` is the mean over its characters (0..1).

    ``characters`` holds a confidence for each character of ``text``, and ``positions`` each character's
    center as a fraction of the line image's width; both are empty where the engine does not give them.
    """

    text: str
    confidence: float
    characters: tuple[float, ...] = ()
    positions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TextBox:
    """A line that was found and read."""

    bbox: BBox
    text: str
    confidence: float


class OcrEngine(Protocol):
    """Finds and reads text.

    Pictures are uint8, ``(height, width, 3)`` in RGB or ``(height, width)`` in grays; boxes are relative to them.
    """

    @property
    def name(self) -> str:
        """Name the engine and its models, as it is written beside results."""
        ...

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Find lines of text. ``long_side`` bounds the picture that is searched (pixels)."""
        ...

    def recognize(self, line_images: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Read lines that were already located, one picture each, any heights and widths."""
        ...

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Find and read; lines that turn out empty are left out."""
        ...


def line_box(bbox: BBox, score: float) -> LineBox:
    """Make the line of a level box."""
    left, top, right, bottom = bbox.as_tuple()
    return LineBox(bbox, score, ((left, top), (right, top), (right, bottom), (left, bottom)))


def cut_line(image: NDArray[np.uint8], line: LineBox) -> NDArray[np.uint8]:
    """Cut a line out of the picture it was found in, upright, ``(height, width, 3)`` uint8."""
    import cv2

    height, width = image.shape[:2]
    corners = np.asarray(line.quad, np.float32) * (width, height)
    across = max(1, round(float(max(np.ptp(corners[:2], axis=0).max(), np.ptp(corners[2:], axis=0).max()))))
    down = max(1, round(float(max(np.ptp(corners[[0, 3]], axis=0).max(), np.ptp(corners[1:3], axis=0).max()))))
    slope = max(abs(corners[1, 1] - corners[0, 1]), abs(corners[2, 1] - corners[3, 1]))
    if slope <= 0.06 * across and slope <= 0.5 * down:  # level enough: cutting is exact, warping blurs
        x0, y0 = np.maximum(np.floor(corners.min(axis=0) + 1e-3), 0).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0) - 1e-3).astype(int)
        return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    target = np.asarray([(0, 0), (across, 0), (across, down), (0, down)], np.float32)
    turn = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    warped = cv2.warpPerspective(image, turn, (across, down), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
