"""Tesseract reads every language that CI installs, from the stroke mask of a drawn line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from captionacc_dagster.captioning.ocr.base import LinePicture, OcrError
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.ocr.languages import LANGUAGES
from captionacc_dagster.captioning.ocr.tesseract import TesseractEngine, _clean, installed_data, is_installed
from captionacc_dagster_tests.captioning.ocr.script_lines import LINES, draw_line
from captionacc_dagster_tests.machine import missing

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def engine() -> TesseractEngine:
    if not is_installed():
        missing("tesserocr", "pip install 'captionacc-dagster[tesseract]'")
    return TesseractEngine()


@pytest.mark.parametrize(("code", "script", "font", "index", "captions"), LINES, ids=[line[0] for line in LINES])
def test_a_line_is_read(engine: TesseractEngine, code: str, script: str, font: str, index: int, captions: tuple[str]):
    data = LANGUAGES[code].tesseract
    if data not in installed_data():
        missing(f"tesseract-ocr-{data}")
    assert engine.reads(script, lang=code)
    read = engine.recognize([draw_line(text, font, index) for text in captions], script=script, lang=code)
    wrong = sum(Levenshtein.distance(line.text, text) for line, text in zip(read, captions, strict=True))
    # The measured error rates are in docs/languages.md; here one letter in ten may be wrong.
    assert wrong <= 0.1 * sum(map(len, captions)), [line.text for line in read]
    assert all(line.confidence > 0.6 for line in read)


def test_english_words_in_a_line_of_another_script_are_read(engine: TesseractEngine):
    if "rus" not in installed_data():
        missing("tesseract-ocr-rus")
    text = "Напиши мне в WhatsApp завтра"
    (read,) = create_engine(threads=1).recognize([draw_line(text, "NotoSans-Bold.ttf")], script="Cyrl")
    assert read.text == text


@pytest.mark.parametrize(
    ("script", "data", "font", "text"),
    [
        ("Cyrl", "rus", "NotoSans-Bold.ttf", "Закрой дверь"),
        ("Arab", "ara", "NotoNaskhArabic-Bold.ttf", "لا أحد يعرف"),
        ("Thai", "tha", "NotoSansThai-Bold.ttf", "ขอบคุณที่มา"),
    ],
)
def test_characters_have_their_places(engine: TesseractEngine, script: str, data: str, font: str, text: str):
    if data not in installed_data():
        missing(f"tesseract-ocr-{data}")
    (read,) = engine.recognize([draw_line(text, font)], script=script)
    assert len(read.positions) == len(read.characters) == len(read.text)
    assert all(0 <= place <= 1 for place in read.positions)
    first, last = read.positions[0], read.positions[-1]
    if script == "Arab":
        first, last = last, first
    assert first < 0.45 < 0.7 < last  # the characters of a word from right to left are in its place, in any order


def test_thai_has_one_letter_for_sara_am():
    assert _clean("ท\u0e4d\u0e32 น\u0e4d\u0e49\u0e32") == "ท\u0e33 น\u0e49\u0e33"


@pytest.mark.parametrize(
    ("read", "text"), [("Ἄλλη", "Άλλη"), ("αὐριο", "αύριο"), ("θᾳ", "θα"), ("ΐ", "ΐ"), ("µέρα", "μέρα")]
)
def test_greek_has_the_accents_of_today(read: str, text: str):
    assert _clean(read) == unicodedata.normalize("NFC", text)


def test_the_sides_of_a_box_are_no_letters(engine: TesseractEngine):
    if "ell" not in installed_data():
        missing("tesseract-ocr-ell")
    text = "Περίμενε, τι είπες τώρα"
    (read,) = engine.recognize([draw_line(text, "NotoSans-Bold.ttf", box=True)], script="Grek")
    assert read.text == text


@pytest.mark.parametrize(
    ("script", "lang", "data", "font", "text"),
    [
        ("Latn", "vi", "vie", "NotoSans-Bold.ttf", "Cái này giá mười lăm nghìn đồng"),
        ("Thai", "th", "tha", "NotoSansThai-Bold.ttf", "อธิบายให้ฟังอีกครั้งสิ"),
    ],
)
def test_marks_that_the_mask_lacks_are_read(
    engine: TesseractEngine, script: str, lang: str, data: str, font: str, text: str
):
    if data not in installed_data():
        missing(f"tesseract-ocr-{data}")
    line = draw_line(text, font)
    assert line.mask is not None
    _, labels, boxes, _ = cv2.connectedComponentsWithStats((line.mask > 0.5).astype(np.uint8))
    heights = boxes[:, cv2.CC_STAT_HEIGHT]
    small = heights < 0.5 * np.median(heights[1:])
    small[0] = False
    assert small.sum() >= 3, "the text has marks of their own"
    bare = np.where(cv2.dilate(small[labels].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, 0, line.mask)
    (read,) = engine.recognize([LinePicture(line.image, bare.astype(np.float32))], script=script, lang=lang)
    assert Levenshtein.distance(read.text, text) <= 1, read.text


def test_the_picture_behind_is_no_mark(engine: TesseractEngine):
    """A window as bright as the letters is cut off by the edge of the line's picture."""
    if "rus" not in installed_data():
        missing("tesseract-ocr-rus")
    text = "Мы уезжаем завтра"
    line = draw_line(text, "NotoSans-Bold.ttf")
    picture = line.image.copy()
    picture[:7, 30:90] = 245
    (read,) = engine.recognize([LinePicture(picture, line.mask)], script="Cyrl", lang="ru")
    assert read.text == text


def test_a_line_without_a_mask_is_read_from_its_picture(engine: TesseractEngine):
    if "rus" not in installed_data():
        missing("tesseract-ocr-rus")
    line = draw_line("Закрой дверь", "NotoSans-Bold.ttf")
    plain = np.where(np.asarray(line.mask) > 0.5, 240, 30).astype(np.uint8)
    light_on_dark, dark_on_light = engine.recognize([plain, 255 - plain], script="Cyrl")
    assert light_on_dark.text == dark_on_light.text == "Закрой дверь"


def test_without_its_data_a_script_is_not_read(engine: TesseractEngine):
    assert not engine.reads("Zzzz")
    assert not TesseractEngine(langs=["xxx"]).reads("Cyrl")
    line = LinePicture(np.zeros((40, 200), np.uint8))
    assert engine.recognize([line], script="Zzzz")[0].text == ""


def test_an_empty_line_has_no_text(engine: TesseractEngine):
    if "rus" not in installed_data():
        missing("tesseract-ocr-rus")
    empty, tiny = engine.recognize([np.zeros((40, 200), np.uint8), np.zeros((2, 2), np.uint8)], script="Cyrl")
    assert (empty.text, empty.confidence) == (tiny.text, tiny.confidence) == ("", 0.0)


def test_broken_data_is_named(engine: TesseractEngine, tmp_path: Path):
    (tmp_path / "rus.traineddata").write_bytes(b"not a model")
    with pytest.raises(OcrError, match="Tesseract failed on rus"):
        TesseractEngine(data=tmp_path, langs=["rus"]).recognize([draw_line("Нет", "NotoSans-Bold.ttf")])
