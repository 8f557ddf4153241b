"""Tesseract reads every language that CI installs, from the stroke mask of a drawn line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from captionacc_dagster.captioning.ocr.base import LinePicture, OcrError
from captionacc_dagster.captioning.ocr.languages import LANGUAGES
from captionacc_dagster.captioning.ocr.tesseract import TesseractEngine, installed_data, is_installed
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
    if not {"rus", "eng"} <= installed_data():
        missing("tesseract-ocr-rus tesseract-ocr-eng")
    text = "Напиши мне в WhatsApp завтра"
    (read,) = engine.recognize([draw_line(text, "NotoSans-Bold.ttf")], script="Cyrl")
    assert read.text == text


def test_the_sides_of_a_box_are_no_letters(engine: TesseractEngine):
    if "ell" not in installed_data():
        missing("tesseract-ocr-ell")
    text = "Περίμενε, τι είπες τώρα"
    (read,) = engine.recognize([draw_line(text, "NotoSans-Bold.ttf", box=True)], script="Grek")
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
