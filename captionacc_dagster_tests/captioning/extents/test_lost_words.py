"""A word that the recognizer leaves out of a line is read from its own strokes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.lost_words import with_lost_words
from captionacc_dagster.captioning.ocr.base import LinePicture, OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine

pytestmark = pytest.mark.integration

FONT = "/usr/share/fonts/truetype/open-sans/OpenSans-Regular.ttf"
MARGIN = 20  # pixels on both sides


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine()


def line_image(text: str, size: int, room: int) -> NDArray[np.uint8]:
    """Draw light letters on a dark box; spaces are ``room`` pixels wider than the font's."""
    font = ImageFont.truetype(FONT, size)
    steps = [font.getlength(character) + room * character.isspace() for character in text]
    places = [MARGIN + sum(steps[:number]) for number in range(len(text))]
    image = Image.new("L", (int(sum(steps)) + 2 * MARGIN, size + MARGIN), 12)
    for place, character in zip(places, text, strict=True):
        ImageDraw.Draw(image).text((place, size * 0.86 + 10), character, font=font, fill=250, anchor="ls")
    return np.asarray(image)


@pytest.mark.parametrize(("size", "room"), [(24, 4), (32, 4)])
def test_a_thin_letter_between_two_words_is_not_lost(engine: OcrEngine, size: int, room: int) -> None:
    image = line_image("HERE I AM", size, room)
    strokes = image > 110
    [line] = engine.recognize([LinePicture(image, strokes)])
    assert line.text == "HERE AM", "the recognizer no longer loses it: look for another line"
    whole, tries = with_lost_words(engine, image, strokes, line, 0.8 * size)
    assert (whole.text, tries) == ("HERE I AM", 1)
    assert len(whole.positions) == len(whole.text)
    assert list(whole.positions) == sorted(whole.positions)


@pytest.mark.parametrize("text", ["YOU AND I", "I am not sure I can", "A I B"])
def test_a_whole_line_is_not_read_again(engine: OcrEngine, text: str) -> None:
    image = line_image(text, 28, 4)
    strokes = image > 110
    [line] = engine.recognize([LinePicture(image, strokes)])
    assert with_lost_words(engine, image, strokes, line, 22.0) == (line, 0)
