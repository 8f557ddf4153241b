"""Create an OCR engine, and choose for each script and language the best one that is ready.

Latin, Chinese, and Japanese are read by the models in the ``rapidocr`` wheel, as is all that nothing is known of.
Other scripts are read by Tesseract where its data is installed, else by a PP-OCRv5 model that was fetched.
Tesseract goes first because it is the one that was measured (docs/languages.md): it reads the stroke mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.ocr import tesseract
from captionacc_dagster.captioning.ocr.base import (
    Line,
    LineBox,
    LinePicture,
    OcrEngine,
    Recognition,
    TextBox,
    cut_line,
    picture_of,
)
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, SCRIPTS, Language, parse_languages
from captionacc_dagster.captioning.ocr.mixed_lines import read_mixed
from captionacc_dagster.captioning.ocr.model_files import model_name
from captionacc_dagster.captioning.ocr.rapidocr import WHEEL_SCRIPTS, RapidOcrEngine
from captionacc_dagster.captioning.ocr.script_classifier import classify_script

ENGINES = ("rapidocr", "google_vision")
_TESSERACT_PACKAGES = "tesseract-ocr-{}"  # Debian's names of Tesseract's data


def create_engine(
    name: str = "rapidocr", *, threads: int | None = None, lang: str | None = None, models: Path | None = None
) -> OcrEngine:
    """Return an engine. It loads its models at their first use, once per process.

    Args:
        name: ``"rapidocr"`` (offline, with Tesseract and fetched models beside it) or ``"google_vision"`` (an extra,
            needs credentials).
        threads: cores for one inference (default: all, but at most four).
        lang: the languages of the text, BCP 47, several with commas; ``None``: the script is found out line by line
            by who calls ``recognize``, and Latin, Chinese, and Japanese are read where it is not said.
        models: folder of fetched models and of Tesseract's data (``tessdata`` in it).

    Raises:
        ValueError: no engine has that name, or one of the languages is not known.
        OcrError: the engine's package is not installed.
    """
    languages = parse_languages(lang) if lang else ()
    if name == "rapidocr":
        return RoutingEngine(threads=threads, languages=languages, models=models)
    if name == "google_vision":
        from captionacc_dagster.captioning.ocr.google_vision import GoogleVisionEngine

        return GoogleVisionEngine(languages=tuple(language.code for language in languages))
    raise ValueError(f"no OCR engine named {name!r}; there are {', '.join(ENGINES)}")


class RoutingEngine:
    """An engine that hands each line to the best engine that is ready for its script and language.

    Args:
        threads: cores for one inference.
        languages: those of the text; empty: any.
        models: folder of fetched models and of Tesseract's data (``tessdata`` in it).
    """

    def __init__(
        self, *, threads: int | None = None, languages: Sequence[Language] = (), models: Path | None = None
    ) -> None:
        self._wheel = RapidOcrEngine(threads=threads)
        self._threads = threads
        self._languages = tuple(languages)
        self._models = models

    @property
    def name(self) -> str:
        """The engine and its models, and the languages that were asked for."""
        codes = ",".join(language.code for language in self._languages)
        return f"{self._wheel.name} ({codes})" if codes else self._wheel.name

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that were asked for; empty: any."""
        return self._languages

    def load(self) -> None:
        """Load the models of the wheel now rather than at their first use."""
        self._wheel.load()

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Return the lines of text in a picture, of any script."""
        return self._wheel.detect(image, long_side=long_side)

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        """Return whether an engine is ready for a script (ISO 15924) and all letters of a language (BCP 47)."""
        if lang is not None and self.confuses(lang):
            return self._tesseract_for(script, lang) is not None
        return self._reader(script, lang or self._language_in(script)) is not None

    def confuses(self, lang: str) -> bool:
        """Return whether the wheel's recognizer, which reads Latin lines without ``lang``, confuses letters of it."""
        return self._wheel.confuses(lang)

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        """Return the reading of each line, in order; empty where no engine is ready for its script.

        A language of which the wheel's recognizer confuses letters is read by Tesseract where ``lang`` names it.
        """
        if script is None and lang is None:
            return self._recognize_any(lines)
        if script is None:
            script = LANGUAGES[lang].script if lang in LANGUAGES else "Latn"
        if lang is not None and self.confuses(lang) and (second := self._tesseract_for(script, lang)) is not None:
            return second.recognize(lines, script=script, lang=lang)
        lang = lang or self._language_in(script)
        reader = self._reader(script, lang)
        if reader is None:
            return [Recognition("", 0.0)] * len(lines)
        read = reader.recognize(lines, script=script, lang=lang)
        return read if script in WHEEL_SCRIPTS else self._with_latin_words(lines, read, script, lang)

    def _with_latin_words(
        self, lines: Sequence[Line], read: Sequence[Recognition], script: str, lang: str | None
    ) -> list[Recognition]:
        """Return the readings of lines in another script, with their Latin words as the wheel reads them."""
        reader = self._reader(script, lang)
        assert reader is not None

        def read_native(part: LinePicture) -> Recognition:
            return reader.recognize([part], script=script, lang=lang)[0]

        def read_latin(part: LinePicture) -> Recognition:
            return self._wheel.recognize([part])[0]

        pictures = [line if isinstance(line, LinePicture) else LinePicture(line) for line in lines]
        return [
            read_mixed(picture, native, script, read_native, read_latin)
            for picture, native in zip(pictures, read, strict=True)
        ]

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Return the lines of a picture with their text, in the detector's order."""
        found = self.detect(image)
        read = self.recognize([cut_line(image, line) for line in found])
        return [
            TextBox(line.bbox, reading.text, reading.confidence)
            for line, reading in zip(found, read, strict=True)
            if reading.text.strip()
        ]

    def _recognize_any(self, lines: Sequence[Line]) -> list[Recognition]:
        """Return the readings of lines whose script was not said: in the languages asked for, by their looks."""
        asked = {language.script for language in self._languages}
        if asked <= WHEEL_SCRIPTS and all(language.in_wheel for language in self._languages):
            return self._wheel.recognize(lines)
        if len(asked) == 1:
            return self.recognize(lines, script=next(iter(asked)))
        guesses = classify_script([picture_of(line) for line in lines])
        readings = []
        for line, guess in zip(lines, guesses, strict=True):
            script = guess.script if guess.script in asked else self._languages[0].script
            readings += self.recognize([line], script=script)
        return readings

    def _language_in(self, script: str) -> str | None:
        """Return the first language asked for that is written in a script."""
        same = [language.code for language in self._languages if _alike(language.script, script)]
        return same[0] if same else None

    def _reader(self, script: str, lang: str | None) -> OcrEngine | None:
        language = LANGUAGES.get(lang) if lang else None
        if script in WHEEL_SCRIPTS and (language is None or language.in_wheel):
            return self._wheel
        if (reader := self._tesseract_for(script, lang)) is not None:
            return reader
        model = _fetched(script, language, self._models)
        return _pp_ocr(model, self._threads) if model is not None else None

    def _tesseract_for(self, script: str, lang: str | None) -> tesseract.TesseractEngine | None:
        """Return Tesseract if it is installed with the data of a script or language."""
        if not tesseract.is_installed():
            return None
        reader = _tesseract(tessdata_folder(self._models))
        return reader if reader.reads(script, lang=lang) else None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a language can be read.

    Attributes:
        engine: what reads it, None where nothing is ready.
        advice: the command that makes it ready, or all its letters readable; empty where it is.
    """

    engine: str | None
    advice: str = ""


def readiness(language: Language, models: Path | None = None) -> Readiness:
    """Return what reads a language on this machine, or what to run so that something does."""
    if language.in_wheel:
        wheel = "PP-OCRv6 (in the package)"
        if not language.confused:
            return Readiness(wheel)
        if not tesseract_advice(language, models):
            return Readiness(f"{wheel} and Tesseract")
        letters = " ".join(language.confused)
        return Readiness(f"{wheel}; {letters} are often wrong", f"captionacc languages add {language.code}")
    if tesseract.is_installed() and language.tesseract in tesseract.installed_data(tessdata_folder(models)):
        return Readiness("Tesseract")
    if _fetched(language.script, language, models) is not None:
        return Readiness("PP-OCRv5 (fetched)")
    return Readiness(None, f"captionacc languages add {language.code}")


def tesseract_advice(language: Language, models: Path | None = None) -> str:
    """Return the commands that make Tesseract read a language; empty where it does, or where it has no data for it."""
    if language.tesseract is None:
        return ""
    steps = []
    if language.tesseract not in tesseract.installed_data(tessdata_folder(models)):
        steps.append("apt-get install " + _TESSERACT_PACKAGES.format(language.tesseract.replace("_", "-")))
    if not tesseract.is_installed():
        steps.append(tesseract.INSTALL)
    return " && ".join(steps)


def tessdata_folder(models: Path | None) -> Path | None:
    """Return the folder of Tesseract's data among the fetched models."""
    return models / "tessdata" if models is not None else None


def _alike(one: str, other: str) -> bool:
    chinese = {"Hani", "Hans", "Hant"}
    return one == other or {one, other} <= chinese


def _fetched(script: str, language: Language | None, models: Path | None) -> Path | None:
    """Return the fetched recognizer of a language or, where none is said, of a script."""
    pp_ocr = language.pp_ocr if language is not None else SCRIPTS[script].pp_ocr if script in SCRIPTS else None
    if pp_ocr is None or models is None:
        return None
    path = models / model_name(pp_ocr)
    return path if path.is_file() else None


@cache
def _tesseract(data: Path | None) -> tesseract.TesseractEngine:
    return tesseract.TesseractEngine(data=data)


@cache
def _pp_ocr(model: Path, threads: int | None) -> RapidOcrEngine:
    return RapidOcrEngine(threads=threads, model=model)
