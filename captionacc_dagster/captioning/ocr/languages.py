"""The languages that captions are read in: their scripts, and what each engine calls them.

A language is named by its BCP 47 code (``ru``, ``zh-Hant``), a script by its ISO 15924 code (``Cyrl``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class UnknownLanguageError(ValueError):
    """A language that is no language here; ``str()`` is one line that lists those that exist."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language that some engine reads.

    Attributes:
        code: BCP 47.
        name: in English.
        script: ISO 15924, as the script classifier says it.
        tesseract: Tesseract's name of its data, None where Tesseract has none.
        pp_ocr: RapidOCR's name of a PP-OCRv5 model to fetch, None where there is none.
        in_wheel: the recognizer of the ``rapidocr`` wheel reads it.
        confused: letters that this recognizer often takes for others: in three fonts, at least a quarter of the
            drawn words with such a letter. Tesseract reads them.
    """

    code: str
    name: str
    script: str
    tesseract: str | None = None
    pp_ocr: str | None = None
    in_wheel: bool = False
    confused: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its name, and what reads it where the language is not known."""

    code: str
    name: str
    tesseract: tuple[str, ...] = ()
    pp_ocr: str | None = None
    language: str | None = None  # BCP 47, the one to suggest where only the script is known


def _wheel(code: str, name: str, tesseract: str | None, script: str = "Latn", *, confused: str = "") -> Language:
    return Language(code, name, script, tesseract, in_wheel=True, confused=confused)


_ALL = (
    _wheel("af", "Afrikaans", "afr"),
    Language("ar", "Arabic", "Arab", "ara", "arabic"),
    _wheel("az", "Azerbaijani", "aze", confused="əƏıİĞ"),
    Language("be", "Belarusian", "Cyrl", "bel", "eslav"),
    Language("bg", "Bulgarian", "Cyrl", "bul", "cyrillic"),
    _wheel("ca", "Catalan", "cat", confused="ŀ·"),
    _wheel("cs", "Czech", "ces", confused="ďťůĎŤ„"),
    _wheel("da", "Danish", "dan", confused="Æ"),
    _wheel("de", "German", "deu", confused="ẞ„"),
    Language("el", "Greek", "Grek", "ell", "el"),
    _wheel("en", "English", "eng"),
    _wheel("es", "Spanish", "spa"),
    _wheel("et", "Estonian", "est"),
    _wheel("eu", "Basque", "eus"),
    Language("fa", "Persian", "Arab", "fas", "arabic"),
    _wheel("fi", "Finnish", "fin"),
    _wheel("fr", "French", "fra"),
    _wheel("ga", "Irish", "gle"),
    _wheel("gl", "Galician", "glg"),
    Language("he", "Hebrew", "Hebr", "heb"),
    Language("hi", "Hindi", "Deva", "hin", "devanagari"),
    _wheel("hr", "Croatian", "hrv", confused="Đ„"),
    _wheel("hu", "Hungarian", "hun", confused="ŐŰ„"),
    _wheel("id", "Indonesian", "ind"),
    _wheel("is", "Icelandic", "isl", confused="þÐÞ„"),
    _wheel("it", "Italian", "ita"),
    _wheel("ja", "Japanese", "jpn", "Jpan"),
    Language("kk", "Kazakh", "Cyrl", "kaz", "cyrillic"),
    Language("ko", "Korean", "Hang", "kor", "korean"),
    _wheel("lt", "Lithuanian", "lit", confused="ęėįĖĮŲ„"),
    _wheel("lv", "Latvian", "lav", confused="ģĢĶĻŅ"),
    Language("mk", "Macedonian", "Cyrl", "mkd", "cyrillic"),
    Language("mr", "Marathi", "Deva", "mar", "devanagari"),
    _wheel("ms", "Malay", "msa"),
    Language("ne", "Nepali", "Deva", "nep", "devanagari"),
    _wheel("nl", "Dutch", "nld"),
    _wheel("no", "Norwegian", "nor", confused="Æ"),
    _wheel("pl", "Polish", "pol", confused="Ź„"),
    _wheel("pt", "Portuguese", "por"),
    _wheel("ro", "Romanian", "ron", confused="ȘȚĂ„"),
    Language("ru", "Russian", "Cyrl", "rus", "eslav"),
    _wheel("sk", "Slovak", "slk", confused="ďťľĺŕĎŤĽĹŔ„"),
    _wheel("sl", "Slovenian", "slv"),
    _wheel("sq", "Albanian", "sqi"),
    Language("sr", "Serbian", "Cyrl", "srp", "cyrillic"),
    _wheel("sv", "Swedish", "swe"),
    _wheel("sw", "Swahili", "swa"),
    Language("th", "Thai", "Thai", "tha", "th"),
    _wheel("tr", "Turkish", "tur", confused="ıİĞ"),
    Language("uk", "Ukrainian", "Cyrl", "ukr", "eslav"),
    Language("ur", "Urdu", "Arab", "urd", "arabic"),
    Language("vi", "Vietnamese", "Latn", "vie"),
    _wheel("zh", "Chinese", "chi_sim", "Hani"),
    _wheel("zh-Hans", "Chinese, simplified", "chi_sim", "Hani"),
    _wheel("zh-Hant", "Chinese, traditional", "chi_tra", "Hani"),
)
LANGUAGES = {language.code: language for language in _ALL}

# Codes that people use for one of these, lower case.
_ALIASES = {
    "ch": "zh",
    "cmn": "zh",
    "zh-cn": "zh-Hans",
    "zh-sg": "zh-Hans",
    "zh-tw": "zh-Hant",
    "zh-hk": "zh-Hant",
    "zh-mo": "zh-Hant",
    "yue": "zh-Hant",
    "nb": "no",
    "nn": "no",
    "iw": "he",
    "in": "id",
    "jp": "ja",
}

SCRIPTS = {
    script.code: script
    for script in (
        Script("Latn", "Latin", language="en"),
        Script("Cyrl", "Cyrillic", ("rus", "ukr"), "eslav", "ru"),
        Script("Grek", "Greek", ("ell",), "el", "el"),
        Script("Hani", "Chinese", language="zh"),
        Script("Hans", "Chinese, simplified", language="zh-Hans"),
        Script("Hant", "Chinese, traditional", language="zh-Hant"),
        Script("Jpan", "Japanese", language="ja"),
        Script("Hang", "Korean", ("kor",), "korean", "ko"),
        Script("Arab", "Arabic", ("ara",), "arabic", "ar"),
        Script("Hebr", "Hebrew", ("heb",), None, "he"),
        Script("Deva", "Devanagari", ("hin",), "devanagari", "hi"),
        Script("Thai", "Thai", ("tha",), "th", "th"),
        Script("Zzzz", "another script"),
    )
}


def find_language(code: str) -> Language:
    """Return the language of a BCP 47 code; a region or variant that nothing here depends on is left out.

    Raises:
        UnknownLanguageError: no engine here reads it.
    """
    parts = code.strip().replace("_", "-").lower().split("-")
    for length in range(len(parts), 0, -1):
        known = "-".join(parts[:length])
        known = _ALIASES.get(known, known)
        for language in _ALL:
            if language.code.lower() == known.lower():
                return language
    raise UnknownLanguageError(f"no language {code.strip()!r}; there are {', '.join(LANGUAGES)}")


def parse_languages(codes: str) -> tuple[Language, ...]:
    """Return the languages of a list such as ``"hi,en"``, in its order, each once.

    Raises:
        UnknownLanguageError: one of them is not known, or the list is empty.
    """
    found: Sequence[Language] = [find_language(code) for code in codes.split(",") if code.strip()]
    if not found:
        raise UnknownLanguageError(f"no language is named; there are {', '.join(LANGUAGES)}")
    return tuple(dict.fromkeys(found))


def language_codes(codes: str) -> str:
    """Return a list of languages such as ``"HI, en-US"`` with each under its usual code: ``"hi,en"``.

    Raises:
        UnknownLanguageError: one of them is not known, or the list is empty.
    """
    return ",".join(language.code for language in parse_languages(codes))


def script_name(script: str) -> str:
    """Return the English name of a script, such as "Korean" for Hang."""
    return SCRIPTS[script].name if script in SCRIPTS else script
