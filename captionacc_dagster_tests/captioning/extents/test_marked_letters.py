"""Letters that the default recognizer confuses come from a second reading, in the languages that have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.captioning.extents.marked_letters import (
    confused_language,
    confused_letters_warnings,
    with_letters_of,
    with_marked_letters,
)
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.track_scripts import SeenLine
from captionacc_dagster.captioning.ocr import tesseract
from captionacc_dagster.captioning.ocr.base import LinePicture, Recognition
from captionacc_dagster.captioning.ocr.engines import create_engine, readiness
from captionacc_dagster.captioning.ocr.languages import LANGUAGES
from captionacc_dagster_tests.machine import missing

pytestmark = pytest.mark.unit

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


@pytest.mark.parametrize(
    ("read", "second", "text"),
    [
        ("Ted už je to tady, t ukej.", "Teď už je to tady, ťukej.", "Ted už je to tady, t ukej."),
        ("Ted už je to tady, tukej.", "Teď už je to tady, ťukej.", "Teď už je to tady, ťukej."),
        ("chut, zed', lod\"", "chuť, zeď, loď", "chuť, zeď, loď"),
        ("Er rief: Komm her!“", "Er rief: „Komm her!“", "Er rief: „Komm her!“"),
        ("AKUJEM VÁM VŠETKÝM.", "ĎAKUJEM VÁM VŠETKÝM.", "ĎAKUJEM VÁM VŠETKÝM."),
        # What the first reading has in ASCII, and its other letters with marks, are more often right.
        ("Kde jsi byl, Karle?", "Kde jsi bvl, Karle?", "Kde jsi byl, Karle?"),
        ("Řekni to.", "Rekni to.", "Řekni to."),
        ("İSTANBUL'A", "İSTANBUL’A", "İSTANBUL'A"),
        ("Kde jsi?", "Kďe xsi?", "Kďe jsi?"),
    ],
)
def test_letters_beyond_ascii_come_from_the_second_reading(read: str, second: str, text: str):
    assert with_letters_of(read, Recognition(second, 0.9)) == text


def test_a_second_reading_that_is_unsure_or_of_something_else_changes_nothing():
    assert with_letters_of("Ted uz je to tady.", Recognition("Teď už je to tady.", 0.3)) == "Ted uz je to tady."
    assert with_letters_of("Ted uz je to tady.", Recognition("ěšč řžý áíé", 0.9)) == "Ted uz je to tady."


def test_a_dot_that_the_recognizer_is_certain_of_stays():
    second = Recognition("Kardeşım yanıma otur.", 0.9)
    text = "Kardeşim yanima otur."
    assert with_letters_of(text, second, certain={6}) == "Kardeşim yanıma otur."
    assert with_letters_of(text, second) == "Kardeşım yanıma otur."
    assert with_letters_of("mot", Recognition("moť", 0.9), certain={0, 1, 2}) == "moť"


def test_the_language_is_the_one_asked_for_or_that_of_the_texts():
    czech = ["Ted už je to tady.", "Kde jsi byl celou dobu?"]
    assert confused_language(czech, create_engine()) == "cs"
    assert confused_language(["Nothing lasts forever."], create_engine()) is None
    assert confused_language(["Nothing lasts forever."], create_engine(lang="cs")) == "cs"
    assert confused_language(czech, create_engine(lang="en")) is None
    assert confused_language(czech, create_engine(lang="ru,cs")) == "cs"
    assert confused_language(["Je ne sais pas où il est allé."], create_engine()) is None


def picture_of(text: str) -> LinePicture:
    font = ImageFont.truetype(FONT, 36)
    size = round(font.getlength(text)) + 30, 64
    image, letters = Image.new("L", size, 70), Image.new("L", size, 0)
    ImageDraw.Draw(image).text((15, 8), text, font=font, fill=245, stroke_width=2, stroke_fill=10)
    ImageDraw.Draw(letters).text((15, 8), text, font=font, fill=255)
    return LinePicture(np.asarray(image), np.asarray(letters) > 127)


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("cs", ["Teď už je to tady, ťukej.", "Loď odplula včera večer."]),
        ("is", ["Þú veist það ekki alveg."]),
        ("tr", ["IŞIĞI AÇ, SAKİN OL!"]),
    ],
)
def test_tesseract_reads_what_the_recognizer_confuses(language: str, lines: Sequence[str]):
    if not (tesseract.is_installed() and LANGUAGES[language].tesseract in tesseract.installed_data()):
        missing(f"Tesseract's data of {LANGUAGES[language].name}")
    engine = create_engine(threads=1)
    pictures = list(map(picture_of, lines))
    defaults = engine.recognize(pictures)
    seen = [SeenLine(0, picture, read, True) for picture, read in zip(pictures, defaults, strict=True)]
    default = "\n".join(read.text for read in defaults)
    assert default != "\n".join(lines)
    reading = Reading(default, 0.9, 0, "Latn", seen=tuple(seen))
    assert with_marked_letters(reading, language, engine).text == "\n".join(lines)
    assert readiness(LANGUAGES[language]).engine == "PP-OCRv6 (in the package) and Tesseract"


def test_a_caption_that_was_read_in_another_language_stays():
    line = SeenLine(0, picture_of("mot"), Recognition("mot", 0.9), True)
    reading = Reading("một mot", 0.9, 0, "Latn", "vi", seen=(line,))
    assert with_marked_letters(reading, "cs", create_engine(threads=1)) is reading


def test_without_tesseract_a_warning_names_the_letters_and_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tesseract, "is_installed", lambda: False)
    engine = create_engine()
    assert engine.confuses("cs")
    assert not engine.reads("Latn", lang="cs")
    assert engine.reads("Latn", lang="fr")
    (warning,) = confused_letters_warnings(["cs", "cs"])
    assert warning.code == "letters_confused"
    assert warning.message == (
        "The captions are in Czech, whose ď ť ů Ď Ť „ are often misread; "
        "run `captionacc languages add cs`, then process the video again."
    )
