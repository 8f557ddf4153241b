"""The interface of OCR engines: find the lines of text in a picture, and read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.languages import Language


class OcrError(Exception):
    """An engine cannot be used, or failed; ``str()`` is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class LineBox:
    """A line of text that a detector found.

    Attributes:
        bbox: the level box around it, relative to the picture.
        score: the detector's confidence, 0..1.
        quad: the four corners ``(x, y)`` of the rotated rectangle, relative, clockwise from the top left of the text.
    """

    bbox: BBox
    score: float
    quad: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class LinePicture:
    """One line of text to read: its picture and, where known, which pixels belong to the letters.

    An engine that reads binarized text (Tesseract) reads the mask, and may try the picture too; the others read the
    picture. A mask that comes from several frames is worth far more than one made from the picture: the strokes
    of a caption stay bright while the background moves.

    Attributes:
        image: the fused picture of the line, uint8, ``(height, width)`` in grays or ``(height, width, 3)`` in RGB.
        mask: bool, or float32 from 0 to 1 (the probability that a stroke covers the pixel), ``(height, width)`` at
            the same crop as ``image``; its resolution may differ. None: not known.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | NDArray[np.float32] | None = None


# What a caller hands an engine: a bare picture is a line without a known mask.
Line = LinePicture | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recognition:
    """The reading of a line.

    Attributes:
        text: what it says; empty when the engine read nothing.
        confidence: the mean over its characters, 0..1.
        characters: the confidence of each character of ``text``; empty where the engine does not report it.
        positions: the center of each character as a fraction of the line image's width; empty where the engine
            does not report it.
    """

    text: str
    confidence: float
    characters: tuple[float, ...] = ()
    positions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TextBox:
    """A line that an engine found and read."""

    bbox: BBox
    text: str
    confidence: float


class OcrEngine(Protocol):
    """An engine that finds and reads text.

    Pictures are uint8, ``(height, width, 3)`` in RGB or ``(height, width)`` in grays; boxes are relative to them.
    """

    @property
    def name(self) -> str:
        """The engine and its models, as recorded with results."""
        ...

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that were asked for; empty: any."""
        ...

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Return the lines of text in a picture, which is first scaled down to ``long_side`` pixels if it is larger."""
        ...

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        """Return whether the engine is ready to read a script, nothing left to install or fetch.

        Args:
            script: ISO 15924, such as ``"Cyrl"``.
            lang: BCP 47; the engine has to read all its letters, such as those of ``"vi"`` in Latin.
        """
        ...

    def confuses(self, lang: str) -> bool:
        """Return whether readings without ``lang`` often have other letters in place of some of a language (BCP 47)."""
        ...

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        """Return the reading of each line, in order; heights and widths may differ.

        A line in a script that the engine does not read comes back empty, with confidence 0.

        Args:
            lines: pictures of single lines.
            script: ISO 15924, the script of all these lines; None: the engine's default scripts.
            lang: BCP 47, their language where it is known.
        """
        ...

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Return the lines of a picture with their text; lines without text are left out."""
        ...


def picture_of(line: Line) -> NDArray[np.uint8]:
    """Return the picture of a line."""
    return line.image if isinstance(line, LinePicture) else line


def line_box(bbox: BBox, score: float) -> LineBox:
    """Return the line of a level box."""
    left, top, right, bottom = bbox.as_tuple()
    return LineBox(bbox, score, ((left, top), (right, top), (right, bottom), (left, bottom)))


def cut_line(image: NDArray[np.uint8], line: LineBox) -> NDArray[np.uint8]:
    """Return a line cut out of its picture and turned level, uint8 ``(height, width, 3)`` or ``(height, width)``."""
    import cv2

    height, width = image.shape[:2]
    corners = np.asarray(line.quad, np.float32) * (width, height)
    across = max(1, round(float(max(np.ptp(corners[:2], axis=0).max(), np.ptp(corners[2:], axis=0).max()))))
    down = max(1, round(float(max(np.ptp(corners[[0, 3]], axis=0).max(), np.ptp(corners[1:3], axis=0).max()))))
    slope = max(abs(corners[1, 1] - corners[0, 1]), abs(corners[2, 1] - corners[3, 1]))
    if slope <= 0.06 * across and slope <= 0.5 * down:  # level enough to cut exactly; warping would blur it
        x0, y0 = np.maximum(np.floor(corners.min(axis=0) + 1e-3), 0).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0) - 1e-3).astype(int)
        return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    target = np.asarray([(0, 0), (across, 0), (across, down), (0, down)], np.float32)
    turn = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    warped = cv2.warpPerspective(image, turn, (across, down), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
