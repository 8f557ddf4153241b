"""Marks told by their shape: the inverted exclamation mark, which the recognizer's alphabet lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.marks import with_inverted_marks
from captionacc_dagster.captioning.extents.reading import read_caption, split_lines
from captionacc_dagster.captioning.ocr.base import Recognition
from captionacc_dagster.captioning.ocr.engines import create_engine

LINE = 33.0
FONT: Any = ImageFont.load_default(size=25)
LEFT, TOP = 12, 8


def width_of(text: str) -> float:
    return FONT.getlength(text.replace("¡", "!"))


def drawn(text: str) -> NDArray[np.uint8]:
    """Draw a line; Pillow's own font lacks the mark, which is the other one upside down, as high as small letters."""
    canvas = Image.new("L", (LEFT + round(width_of(text)) + 14, 48), 40)
    draw = ImageDraw.Draw(canvas)
    x = float(LEFT)
    for character in text:
        if character == "¡":
            left, top, right, bottom = map(round, draw.textbbox((x, TOP), "!", font=FONT))
            box = left, top, right, bottom
            draw.text((x, TOP), "!", fill=245, font=FONT)
            upright = canvas.crop(box)
            canvas.paste(40, box)
            canvas.paste(upright.rotate(180), (left, round(draw.textbbox((0, TOP), "x", font=FONT)[1])))
        else:
            draw.text((x, TOP), character, fill=245, font=FONT)
        x += width_of(character)
    return np.asarray(canvas).copy()


def ink_of(text: str) -> NDArray[np.bool_]:
    return drawn(text) > 140


def restored(shown: str, read: str, *, lost: str = "", stroke_mask: NDArray[np.bool_] | None = None) -> str:
    """Read a line that shows ``shown`` as ``read``, each character in its place; ``lost`` is what has none in it."""
    stroke_mask = ink_of(shown) if stroke_mask is None else stroke_mask
    width = stroke_mask.shape[1]
    places, at = [], 0
    for character in read:
        while shown[at] in lost and shown[at] != character:
            at += 1
        middle = (width_of(shown[:at]) + width_of(shown[: at + 1])) / 2
        places.append((LEFT + middle) / width)
        at += 1
    (box,) = split_lines(stroke_mask, LINE)
    line = Recognition(read, 0.99, (0.99,) * len(read), tuple(places))
    found = with_inverted_marks(line, stroke_mask, box, (0.0, float(width)), LINE)
    assert len(found.characters) == len(found.positions) == len(found.text)
    assert list(found.positions) == sorted(found.positions)
    return found.text


@pytest.mark.unit
@pytest.mark.parametrize("shown", ["¡Que me caigo!", "¡Ah!", "¡ay, no!", "¡Feliz viaje!", "¡Vaya, ya falta poco!"])
def test_a_mark_that_was_left_out_is_put_back(shown: str):
    assert restored(shown, shown[1:], lost="¡") == shown


@pytest.mark.unit
@pytest.mark.parametrize("taken_for", ["i", "I", "j", "l", "!"])
def test_a_mark_that_was_taken_for_a_letter_takes_its_place(taken_for: str):
    assert restored("¡Vamos, Ramona!", taken_for + "Vamos, Ramona!") == "¡Vamos, Ramona!"


@pytest.mark.unit
def test_marks_within_a_line_stand_before_their_word():
    assert restored("Ven, ¡corre, ya!", "Ven, corre, ya!", lost="¡") == "Ven, ¡corre, ya!"
    assert restored("¡No! ¡Eso no!", "No! Eso no!", lost="¡") == "¡No! ¡Eso no!"


@pytest.mark.unit
@pytest.mark.parametrize(
    "text", ["jamones!", "voy ; luego vuelvo!", "no, jefe!", "(eso es) 1 | 2!", "¡Ya voy!", "poco!"]
)
def test_other_thin_strokes_are_left_alone(text: str):
    assert restored(text, text) == text


@pytest.mark.unit
def test_the_stem_of_a_letter_whose_bowl_is_lost_is_no_mark():
    text = "muy poco!"
    stroke_mask = ink_of(text)
    stem = LEFT + round(width_of("muy ")) + 6
    stroke_mask[:, stem : LEFT + round(width_of("muy p"))] = False
    assert restored(text, text, stroke_mask=stroke_mask) == text


@pytest.mark.unit
def test_a_mark_stands_at_the_word_that_follows_it():
    text = "Stop the clock!"
    stroke_mask = ink_of(text)
    stroke_mask[:, LEFT + round(width_of("Sto")) + 6 : LEFT + round(width_of("Stop"))] = False
    assert restored(text, "Sto the clock!", lost="p", stroke_mask=stroke_mask) == "Sto the clock!"


@pytest.mark.unit
def test_no_mark_stands_within_a_word():
    assert restored("no ¡va!", "nova!", lost=" ¡") == "nova!"


@pytest.mark.unit
def test_an_engine_without_places_is_taken_at_its_word():
    stroke_mask = ink_of("¡Ah!")
    line = Recognition("Ah!", 0.9)
    assert (
        with_inverted_marks(
            line, stroke_mask, split_lines(stroke_mask, LINE)[0], (0.0, float(stroke_mask.shape[1])), LINE
        )
        is line
    )


@pytest.mark.integration
@pytest.mark.parametrize("text", ["¡Vaya sorpresa verte hoy!", "¡Corre, que perdemos el tren!", "Hoy llueve mucho."])
def test_the_real_recognizer_and_the_ink_together_read_spanish(text: str):
    picture = drawn(text)
    assert read_caption(create_engine(), [picture] * 3, ink_of(text), LINE).text == text
