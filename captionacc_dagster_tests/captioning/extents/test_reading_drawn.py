"""Drawn captions read with the real recognizer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.reading import read_caption
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine

pytestmark = pytest.mark.integration

LINE = 34.0
WIDTH = 520


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine("rapidocr", threads=1)


def drawn(*lines: tuple[str, int], dimmed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a picture of centered lines ``(text, size)`` with a dark outline, and its strokes.

    The last ``dimmed`` characters of the last line are missing in the strokes.
    """
    canvas, missing = Image.new("L", (WIDTH, 42 * len(lines)), 0), Image.new("L", (WIDTH, 42 * len(lines)), 0)
    for row, (text, size) in enumerate(lines):
        font = ImageFont.load_default(size)
        left = (WIDTH - font.getlength(text)) / 2
        ImageDraw.Draw(canvas).text((left, 42 * row + 6), text, font=font, fill=255)
        if dimmed and row == len(lines) - 1:
            at = left + font.getlength(text[:-dimmed])
            ImageDraw.Draw(missing).rectangle((at, 42 * row, WIDTH, 42 * row + 42), fill=255)
    letters = np.asarray(canvas, float) / 255
    outline = cv2.dilate(letters, np.ones((3, 3)))
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, letters.shape), (0, 0), 9)
    background = 90 + (noise - noise.mean()) * 6
    picture = background * (1 - outline) + 15 * (outline - letters) + 235 * letters
    return picture.clip(0, 255).astype(np.uint8), (letters > 0.5) & (np.asarray(missing) == 0)


@pytest.mark.parametrize(
    "text",
    ["Turn off the light", "I have never seen this", "We have to leave before dark", "I don't believe a word"],
)
@pytest.mark.parametrize("size", [12, 14])
def test_a_small_second_line_is_read_at_its_own_height(engine: OcrEngine, text: str, size: int):
    picture, strokes = drawn(("MORNING NEWS", 30), (text, size))
    assert read_caption(engine, [picture] * 3, strokes, LINE).text == f"MORNING NEWS\n{text}"


@pytest.mark.parametrize("text", ["The band will play until all.", "I know that they will call."])
def test_the_end_of_a_line_that_the_strokes_lack_is_read(engine: OcrEngine, text: str):
    picture, strokes = drawn((text, 28), dimmed=2)
    assert read_caption(engine, [picture] * 3, strokes, LINE).text == text
