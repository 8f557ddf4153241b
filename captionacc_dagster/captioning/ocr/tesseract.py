"""Tesseract as an engine that reads lines in a hundred languages offline; an extra (``captionacc-dagster[tesseract]``).

Tesseract is made for print: it reads a stroke mask, black on white, nearly without errors where it makes nothing of
the picture the mask came from. What it makes of a line also depends on the size and sharpness it is given, by chance
more than by rule, so each line is read in several renderings and the reading that the others are closest to wins.
"""

from __future__ import annotations

import importlib.util
import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from captionacc_dagster.captioning.ocr.base import Line, LineBox, LinePicture, OcrError, Recognition, TextBox
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, SCRIPTS, Language
from captionacc_dagster.captioning.ocr.letters import Gray, cut_out, letters_of
from captionacc_dagster.captioning.ocr.tuning import TUNING

INSTALL = "pip install 'captionacc-dagster[tesseract]'"
_MARGIN_PX = 20  # white around the letters, as Tesseract's documentation advises (10 or more)
_SARA_AM = re.compile("\u0e4d([\u0e48-\u0e4b]?)\u0e32")  # its two halves, with a tone mark between them or not
_SHORTEST_PX = 4  # pictures of less height or width are not read
_INVISIBLE = dict.fromkeys(map(ord, "\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
_FOLDERS = (
    "/usr/share/tesseract-ocr/*/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


class TesseractEngine:
    """An engine that reads lines; it does not find them.

    Args:
        data: further folder with ``*.traineddata`` files, searched before the system's.
        langs: Tesseract's names of the languages to read whatever the script, such as ``("hin", "eng")``; empty: the
            languages of the script that is asked for.

    Raises:
        OcrError: the extra is not installed.
    """

    def __init__(self, *, data: Path | None = None, langs: Sequence[str] = ()) -> None:
        if not is_installed():
            raise OcrError(f"Tesseract is not installed: {INSTALL}")
        self._folders = data_folders(data)
        self._langs = tuple(langs)

    @property
    def name(self) -> str:
        """The engine."""
        return "tesseract"

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        """Raise NotImplementedError: Tesseract's own search does not find captions over pictures."""
        raise NotImplementedError("Tesseract reads lines, it does not find them")

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        """Raise NotImplementedError: Tesseract's own search does not find captions over pictures."""
        raise NotImplementedError("Tesseract reads lines, it does not find them")

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        """Return whether the data of a script (ISO 15924), or of a language (BCP 47) in it, is there."""
        return bool(self._wanted(script, lang))

    @property
    def languages(self) -> tuple[Language, ...]:
        """Those whose data reads every line; empty: any."""
        return tuple(language for language in LANGUAGES.values() if language.tesseract in self._langs)

    def confuses(self, lang: str) -> bool:
        """Return False: the data of a language has its letters."""
        return False

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        """Return the reading of each line, in logical order and NFC; empty without data for the script."""
        wanted = self._wanted(script, lang)
        if not wanted:
            return [Recognition("", 0.0)] * len(lines)
        return [self._recognize(line, wanted) for line in lines]

    def _wanted(self, script: str | None, lang: str | None) -> tuple[str, ...]:
        """Return the languages to read with, as Tesseract names them: those whose data is there."""
        language = LANGUAGES.get(lang) if lang else None
        if self._langs:
            names: tuple[str, ...] = self._langs
        elif language is not None and language.tesseract:
            return (language.tesseract,) if self._folder_of(language.tesseract) else ()
        else:
            names = SCRIPTS[script].tesseract if script in SCRIPTS else ()
        return tuple(name for name in names if self._folder_of(name) is not None)

    def _folder_of(self, name: str) -> Path | None:
        return next((folder for folder in self._folders if (folder / f"{name}.traineddata").is_file()), None)

    def _recognize(self, line: Line, names: tuple[str, ...]) -> Recognition:
        read: list[Recognition] = []
        for rendering in _renderings(line):
            read.append(self._read(rendering, names))
            if _is_settled(read):
                break
        return _consensus(read)

    def _read(self, rendering: NDArray[np.uint8], names: tuple[str, ...]) -> Recognition:
        from PIL import Image

        # All data of one call comes from one folder; a language found elsewhere is left out.
        folder = self._folder_of(names[0])
        assert folder is not None
        together = tuple(name for name in names if (folder / f"{name}.traineddata").is_file())
        with _lock:
            try:
                api = _api(str(folder), "+".join(together))
                api.SetImage(Image.fromarray(rendering))
                api.Recognize()
                text, confidence = str(api.GetUTF8Text()), float(api.MeanTextConf()) / 100
                words = [_Word(*word) for word in _words(api)]
            except RuntimeError as error:
                raise OcrError(f"Tesseract failed on {'+'.join(together)}: {error}") from error
        return _placed(_clean(text), confidence, words, rendering.shape[1] - 2 * _MARGIN_PX)


def is_installed() -> bool:
    """Return whether the Python package ``tesserocr`` is there."""
    return importlib.util.find_spec("tesserocr") is not None


def data_folders(data: Path | None = None) -> tuple[Path, ...]:
    """Return the folders with Tesseract's data, those to prefer first."""
    named = os.environ.get("TESSDATA_PREFIX")
    first = [folder for folder in (data, Path(named) if named else None) if folder is not None]
    system = [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)]
    return tuple(folder for folder in (*first, *system) if folder.is_dir())


def installed_data(data: Path | None = None) -> frozenset[str]:
    """Return Tesseract's names of the languages whose data is on this machine."""
    return frozenset(path.stem for folder in data_folders(data) for path in folder.glob("*.traineddata"))


_lock = threading.Lock()  # one instance of Tesseract's API reads one line at a time
_apis: dict[tuple[str, str], Any] = {}


def _api(folder: str, names: str) -> Any:
    import tesserocr

    if (folder, names) not in _apis:
        _apis[folder, names] = tesserocr.PyTessBaseAPI(
            path=folder, lang=names, psm=tesserocr.PSM.SINGLE_LINE, oem=tesserocr.OEM.LSTM_ONLY
        )
    return _apis[folder, names]


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    confidence: float
    left: float  # pixels of the rendering
    right: float


def _words(api: Any) -> Iterator[tuple[str, float, float, float]]:
    """Yield the words of the line that was recognized, in logical order: text, confidence, left, and right."""
    import tesserocr

    found = api.GetIterator()
    if found is None:
        return
    for word in tesserocr.iterate_level(found, tesserocr.RIL.WORD):
        if word.Empty(tesserocr.RIL.WORD):
            continue
        left, _, right, _ = word.BoundingBox(tesserocr.RIL.WORD)
        yield word.GetUTF8Text(tesserocr.RIL.WORD), word.Confidence(tesserocr.RIL.WORD) / 100, left, right


def _clean(text: str) -> str:
    """Return text in NFC without marks of direction, with single spaces, the Greek mu, and the Thai sara am."""
    spaced = " ".join(text.translate(_INVISIBLE).split()).replace("\u00b5", "\u03bc")
    spaced = _SARA_AM.sub("\\1\u0e33", spaced)
    return "".join(map(_monotonic, unicodedata.normalize("NFC", spaced)))


def _monotonic(letter: str) -> str:
    """Return a Greek letter with at most one accent: Tesseract reads ancient accents in modern captions."""
    if not "\u1f00" <= letter <= "\u1fff":
        return letter
    base, *marks = unicodedata.normalize("NFD", letter)
    has_accent = any(mark in "\u0300\u0301\u0313\u0314\u0342" for mark in marks)
    kept = [mark for mark in marks if mark == "\u0308"]
    return unicodedata.normalize("NFC", "".join([base, *kept, *(["\u0301"] if has_accent else [])]))


def _placed(text: str, confidence: float, words: Sequence[_Word], width: int) -> Recognition:
    """Return the reading of a line with the places of its characters, which share their word's confidence and width.

    Tesseract calls each syllable of Thai a word; its text has the spaces that the line has.
    """
    if not text:
        return Recognition("", 0.0)
    letters, placed = text.replace(" ", ""), []
    for word in words:
        clean = _clean(word.text).replace(" ", "")
        expected = letters[len(placed) : len(placed) + len(clean)]
        if expected not in (clean, clean[::-1]):  # Tesseract writes a word from right to left as it looks
            return Recognition(text, confidence)
        start, step = word.left - _MARGIN_PX, (word.right - word.left) / max(1, len(clean))
        placed += [(word.confidence, (start + step * (number + 0.5)) / width) for number in range(len(clean))]
    if len(placed) != len(letters):
        return Recognition(text, confidence)
    characters, positions, following = [], [], iter(placed)
    for character in text:
        if character != " ":
            sure, place = next(following)
            characters.append(sure)
            positions.append(place)
        else:
            characters.append(characters[-1])
            positions.append(positions[-1])
    return Recognition(text, confidence, tuple(characters), tuple(positions))


def _renderings(line: Line) -> Iterator[NDArray[np.uint8]]:
    """Yield the line in the forms that Tesseract reads best, dark on light, uint8 ``(height, width)``."""
    image, mask = (line.image, line.mask) if isinstance(line, LinePicture) else (line, None)
    if min(image.shape[:2]) < _SHORTEST_PX:
        return
    levels = _levels(image)
    strokes = np.asarray(mask, np.float32) if mask is not None else _strokes_of(levels)
    if not strokes.any():
        return
    letters = letters_of(levels, strokes)
    yield _rendered(letters, TUNING.small_px, TUNING.smooth_px)
    yield _rendered(letters, TUNING.large_px, TUNING.smooth_px)
    yield _rendered(cut_out(levels, strokes), (TUNING.small_px + TUNING.large_px) / 2, TUNING.smooth_px)
    yield _rendered(strokes, TUNING.small_px, TUNING.soft_px)


def _levels(image: NDArray[np.uint8]) -> Gray:
    import cv2

    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(gray, np.float32)


def _strokes_of(levels: Gray) -> Gray:
    """Return the strokes of a line without a mask: the smaller of the two classes of its levels (Otsu), soft."""
    import cv2

    threshold, _ = cv2.threshold(levels.astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = levels > threshold
    if not bright.any() or bright.all():
        return np.zeros_like(levels)
    low, high = float(levels[~bright].mean()), float(levels[bright].mean())
    lit = np.clip((levels - low) / max(1.0, high - low), 0, 1)
    return np.asarray(lit if bright.mean() <= 0.5 else 1 - lit, np.float32)


def _rendered(strokes: Gray, height_px: float, blur_px: float) -> NDArray[np.uint8]:
    """Return strokes (0..1) black on white, so high, blurred, with a margin."""
    import cv2

    scale = height_px / strokes.shape[0]
    size = max(1, round(strokes.shape[1] * scale)), max(1, round(height_px))
    drawn = cv2.resize(strokes, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    if blur_px:
        drawn = cv2.GaussianBlur(drawn, (0, 0), blur_px)
    dark = (255 * (1 - np.clip(drawn, 0, 1))).astype(np.uint8)
    return np.pad(dark, _MARGIN_PX, constant_values=255)


def _is_settled(read: Sequence[Recognition]) -> bool:
    """Return whether two sure readings are equal."""
    sure = [reading.text for reading in read if reading.text and reading.confidence >= TUNING.sure]
    return len(sure) != len(set(sure))


def _consensus(read: Sequence[Recognition]) -> Recognition:
    """Return the reading with the least distance to the others, weighted by their confidence."""
    told = [reading for reading in read if reading.text]
    if not told:
        return Recognition("", 0.0)

    def cost(reading: Recognition) -> float:
        apart = sum(other.confidence * Levenshtein.normalized_distance(reading.text, other.text) for other in told)
        return apart - reading.confidence

    best = min(told, key=cost)
    # A reading that the other renderings contradict is less sure than Tesseract says of it.
    agreement = 1 - sum(Levenshtein.normalized_distance(best.text, other.text) for other in told) / len(told)
    return replace(best, confidence=best.confidence * max(0.0, agreement))
