"""Languages are named by BCP 47 codes; each goes to the best engine that is ready."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.ocr import tesseract
from captionacc_dagster.captioning.ocr.engines import create_engine, readiness, tesseract_advice
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, SCRIPTS, find_language, parse_languages
from captionacc_dagster.captioning.ocr.model_files import listed_model, model_name
from captionacc_dagster_tests.captioning.drawn_clips import flat, write_text
from captionacc_dagster_tests.captioning.ocr.script_lines import draw_line
from captionacc_dagster_tests.machine import missing

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "known"),
    [("ru", "ru"), ("RU", "ru"), ("pt-BR", "pt"), ("zh_TW", "zh-Hant"), ("zh-Hant-HK", "zh-Hant"), ("zh-CN", "zh-Hans"),
     ("nb", "no"), ("iw", "he"), ("sr-Cyrl", "sr"), (" ko ", "ko")],
)  # fmt: skip
def test_codes_are_understood(code: str, known: str):
    assert find_language(code).code == known


def test_several_languages_are_kept_in_their_order():
    assert [language.code for language in parse_languages("hi,en,hi")] == ["hi", "en"]


@pytest.mark.parametrize("codes", ["klingon", "hi,xx", "", ","])
def test_an_unknown_language_is_refused_in_one_line_that_lists_all(codes: str):
    with pytest.raises(ValueError, match="there are af, ar, az") as refused:
        parse_languages(codes)
    assert "\n" not in str(refused.value)
    assert "zh-Hant" in str(refused.value)


def test_every_language_has_a_known_script_and_every_fetched_model_is_listed():
    for language in LANGUAGES.values():
        assert language.script in SCRIPTS
        assert language.in_wheel or language.tesseract or language.pp_ocr
        if language.pp_ocr:
            model = listed_model(language.pp_ocr)
            assert model.name == model_name(language.pp_ocr)
            assert len(model.sha256) == 64


def test_the_wheel_reads_latin_chinese_and_japanese_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tesseract, "_FOLDERS", (str(tmp_path),))
    engine = create_engine(models=tmp_path)
    assert [script for script in SCRIPTS if engine.reads(script)] == ["Latn", "Hani", "Hans", "Hant", "Jpan"]
    assert not engine.reads("Latn", lang="vi")
    assert engine.reads("Latn", lang="fr")
    assert engine.confuses("tr")
    assert not engine.reads("Latn", lang="tr")
    assert readiness(LANGUAGES["en"], tmp_path).engine == "PP-OCRv6 (in the package)"
    assert readiness(LANGUAGES["ko"], tmp_path) == readiness(LANGUAGES["ko"])
    assert readiness(LANGUAGES["ko"], tmp_path).advice == "captionacc languages add ko"
    assert tesseract_advice(LANGUAGES["ko"]).startswith("apt-get install tesseract-ocr-kor")


def test_a_fetched_model_is_used_where_tesseract_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The wheel's own recognizer under the name of the fetched one: what matters is that it is the one that reads."""
    from captionacc_dagster.captioning.ocr import rapidocr

    monkeypatch.setattr(tesseract, "_FOLDERS", (str(tmp_path),))
    picture = flat(40, 200, 60)
    write_text(picture, "Hola", (0.5, 0.5), 34)
    engine = create_engine(threads=1, lang="ko", models=tmp_path)
    assert engine.recognize([picture])[0].text == ""
    content = (rapidocr._model_folder() / rapidocr._RECOGNIZER).read_bytes()
    (tmp_path / model_name("korean")).write_bytes(content)
    assert readiness(LANGUAGES["ko"], tmp_path).engine == "PP-OCRv5 (fetched)"
    assert engine.reads("Hang")
    assert engine.recognize([picture])[0].text == "Hola"


def test_each_line_is_read_in_the_language_of_its_script():
    if not tesseract.is_installed() or "rus" not in tesseract.installed_data():
        missing("tesserocr and tesseract-ocr-rus")
    russian = draw_line("Мы уезжаем завтра утром", "NotoSans-Bold.ttf")
    english = draw_line("We leave tomorrow morning", "NotoSans-Bold.ttf")
    engine = create_engine(threads=1, lang="ru,en")
    assert [line.text for line in engine.recognize([russian, english])] == [
        "Мы уезжаем завтра утром",
        "We leave tomorrow morning",
    ]
    assert engine.name.endswith("(ru,en)")


def test_without_a_language_or_script_a_line_is_read_by_the_wheel():
    (line,) = create_engine(threads=1).recognize([draw_line("We leave tomorrow", "NotoSans-Bold.ttf")])
    assert line.text == "We leave tomorrow"
    (nothing,) = create_engine(threads=1).recognize([np.zeros((40, 90), np.uint8)], script="Zzzz")
    assert (nothing.text, nothing.confidence) == ("", 0.0)
