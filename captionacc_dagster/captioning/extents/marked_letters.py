"""Read the letters with marks of a track's language, which the default recognizer confuses.

That recognizer reads Czech "ť" as "t", Icelandic "þ" as "b", and no low quotation mark at all. Tesseract knows the
language's letters and words, but needs a good stroke mask. So the default reading stays, and where a reading by
Tesseract differs in such a letter, that letter counts.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from rapidfuzz.distance import Indel, Levenshtein

from captionacc_dagster.captioning.captions import CaptionWarning
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.track_scripts import bare_letters, script_of_text
from captionacc_dagster.captioning.extents.tuning import TUNING as EXTENTS
from captionacc_dagster.captioning.ocr.base import OcrEngine, Recognition
from captionacc_dagster.captioning.ocr.languages import LANGUAGES
from captionacc_dagster.captioning.ocr.text_language import identify_language
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

# Unicode's advice: Romanian has a comma below these letters; older fonts and texts have a cedilla.
_ROMANIAN = str.maketrans("ŞşŢţ", "ȘșȚț")
_LOW_MARKS = "„‚"


def confused_language(texts: Sequence[str], engine: OcrEngine) -> str | None:
    """Return the language of a track's texts if the engine's default readings confuse letters of it (BCP 47).

    Texts in ASCII alone are in none, unless it was asked for: of those languages, all have other letters.
    """
    asked = [language.code for language in engine.languages if language.script == "Latn"]
    latin = [text for text in texts if script_of_text(text) == "Latn"]
    if len(asked) == 1:
        language: str | None = asked[0]
    else:
        language = None if all(map(str.isascii, latin)) else identify_language(latin)
    if language is None or (asked and language not in asked):
        return None
    return language if engine.confuses(language) else None


def with_marked_letters(reading: Reading, language: str, engine: OcrEngine) -> Reading:
    """Return the reading of a caption with the letters of its language, if an engine reads all of them.

    Its number of words stays the same. A caption that was read in a language of its own stays as it is.
    """
    lines = reading.text.split("\n")
    if len(reading.seen) != len(lines) or reading.lang is not None:
        return reading
    latin = [number for number, line in enumerate(lines) if script_of_text(line) == "Latn"]
    read = engine.recognize([reading.seen[number].picture for number in latin], script="Latn", lang=language)
    for number, second in zip(latin, read, strict=True):
        line = with_letters_of(lines[number], second, _certain(lines[number], reading.seen[number].default))
        lines[number] = line.translate(_ROMANIAN) if language == "ro" else line
    text = "\n".join(lines)
    return replace(reading, text=text, lang=language, recognitions=reading.recognitions + len(latin))


def with_letters_of(text: str, second: Recognition, certain: Container[int] = ()) -> str:
    """Return a text with the letters beyond ASCII and the low quotation marks that a second reading has in it.

    Args:
        text: of a line, as the default recognizer reads it.
        second: the other reading.
        certain: the places in ``text`` of the characters that the default recognizer is certain of. It takes ť for t
            with certainty, but not Turkish ı for i: the dot that it sees is there.
    """
    alike = Indel.normalized_similarity(bare_letters(text), bare_letters(second.text))
    if second.confidence < TUNING.plausible or alike < EXTENTS.alike_text:
        return text
    corrected, at = "", 0
    for old, new in _differences(text, second.text):
        sees_dots = "ı" in new and any(text[place] == "i" and place in certain for place in range(at, at + len(old)))
        corrected += new if _is_correction(old, new) and not sees_dots else old
        at += len(old)
    return corrected if len(corrected.split()) == len(text.split()) else text


def _certain(text: str, default: Recognition | None) -> frozenset[int]:
    """Return the places in a text of the characters that the recognizer is certain of."""
    if default is None or len(default.characters) != len(default.text):
        return frozenset()
    start = len(default.text) - len(default.text.lstrip())
    confidences = default.characters[start : start + len(text)]
    return frozenset(place for place, confidence in enumerate(confidences) if confidence >= OCR.certain)


def _differences(text: str, second: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of two texts that are equal, and between them those that are not."""
    old = new = ""
    for part in Levenshtein.opcodes(text, second):
        if part.tag == "equal":
            yield old, new
            yield text[part.src_start : part.src_end], second[part.dest_start : part.dest_end]
            old = new = ""
        else:
            old += text[part.src_start : part.src_end]
            new += second[part.dest_start : part.dest_end]
    yield old, new


def _is_correction(old: str, new: str) -> bool:
    """Return whether a part of a second reading says what the first one confused: letters beyond ASCII, low marks.

    Other letters in it have to be the first reading's: of those, it is more often right.
    """
    confused = [letter for letter in new if letter in _LOW_MARKS or (letter.isalpha() and not letter.isascii())]
    return bool(confused) and all(letter in confused or letter in old or not letter.isalnum() for letter in new)


def confused_letters_warnings(languages: Iterable[str]) -> tuple[CaptionWarning, ...]:
    """Return one warning for each language (BCP 47) of which letters are often wrong in the texts, with what to do."""
    return tuple(
        CaptionWarning(
            "letters_confused",
            f"The captions are in {LANGUAGES[language].name}, whose {' '.join(LANGUAGES[language].confused)} are often "
            f"misread; run `captionacc languages add {language}`, then process the video again.",
        )
        for language in sorted(set(languages))
    )
