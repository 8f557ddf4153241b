"""Decide in which script each line of a track is, and whether what the default recognizer read in it can be right.

A recognizer returns letters of its own alphabet for a line in any script, often with confidence. One classified line
proves little, too; what the lines of a track have in common, and what an engine of the script reads in them, does.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from captionacc_dagster.captioning.captions import Caption, CaptionWarning
from captionacc_dagster.captioning.extents.reading_tuning import TUNING
from captionacc_dagster.captioning.extents.tuning import TUNING as EXTENTS
from captionacc_dagster.captioning.ocr.base import LinePicture, OcrEngine, Recognition
from captionacc_dagster.captioning.ocr.languages import LANGUAGES, SCRIPTS, script_name
from captionacc_dagster.captioning.ocr.mixed_lines import is_latin_letter
from captionacc_dagster.captioning.ocr.script_classifier import CLASSES, ScriptGuess
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

# What the default recognizer reads, and what is no text.
_DEFAULT_SCRIPTS = frozenset({"Latn", "Hani", "Hans", "Hant", "Jpan"})
_NO_TEXT = "Zxxx"
_VIETNAMESE = CLASSES.index(("Latn", "vi"))
_UNKNOWN = CLASSES.index(("Zzzz", None))
_IS_DEFAULT = np.array([script in _DEFAULT_SCRIPTS for script, _ in CLASSES])
_IS_OTHER = np.array([script not in _DEFAULT_SCRIPTS and script != _NO_TEXT for script, _ in CLASSES])
# How common each class is among the lines of captions, before any line of the track is known.
_USUAL = {"Latn": 0.4, "Hani": 0.1, "Jpan": 0.06, "Zzzz": 0.02, _NO_TEXT: 0.06}
_USUAL_VIETNAMESE, _USUAL_OTHER = 0.04, 0.05
_LIKELY = 0.5  # probability or share: more likely than not
_VIETNAMESE_TRIES = 4  # lines read as Vietnamese in vain, after which a track is Latin: each costs time
_ROUNDS = 10  # of estimating the shares of a track's scripts; further ones change nothing
# Ten to one: a line that the default recognizer reads surely is in its scripts, and so is each letter of which it is
# certain and that Cyrillic and Greek have nothing like. Of their letters it is unsure.
_READ_LOG_ODDS = float(np.log(10.0))
_LATIN_ONLY = frozenset("DFGJLQRSUVWdfghlqtz")
# Letters of Vietnamese that the default recognizer's alphabet lacks, and marks that Vietnamese has.
_TONES = frozenset("\u0300\u0301\u0303\u0309\u0323")
_FOREIGN = frozenset("ßøæœłıþðŋ")
_VIETNAMESE_MARKS = _TONES | frozenset("\u0302\u0306\u031b")


@dataclass(slots=True)
class SeenLine:
    """A line of a caption whose script may not be the default recognizer's.

    Attributes:
        number: of its evidence in the track.
        picture: to read it again.
        default: the default recognizer's reading, None where it is no text.
        is_whole: that reading covers all strokes of the line.
        readings: by the engines of other scripts so far: number of the class → reading.
    """

    number: int
    picture: LinePicture
    default: Recognition | None
    is_whole: bool
    readings: dict[int, Recognition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineReading:
    """What a line says.

    Attributes:
        read: the reading; None where there is no text, or none that an engine reads.
        script: ISO 15924; None: not known.
        lang: BCP 47; None: not known.
        is_unread: the line is text, but no engine reads its script.
    """

    read: Recognition | None
    script: str | None = None
    lang: str | None = None
    is_unread: bool = False


class TrackScripts:
    """What the lines of a track say about their scripts: a mixture of classes, and the chances of each line in it."""

    def __init__(self) -> None:
        self._lines: list[NDArray[np.float64]] = []  # log likelihood of each class
        self._shares: NDArray[np.float64] | None = None
        self._has_vietnamese = False
        self._vietnamese_tries = 0

    def add(self, guess: ScriptGuess, read: Recognition | None) -> int:
        """Use a line as evidence; return its number.

        Args:
            guess: of the line's picture.
            read: what the default recognizer surely read in the whole line; None: nothing.
        """
        doubt = TUNING.classifier_doubt
        chances = (1 - doubt) * np.asarray(guess.probabilities) + doubt / len(CLASSES)
        evidence = np.log(chances)
        if read is not None:
            evidence[_IS_DEFAULT] += _READ_LOG_ODDS * max(1, _certain_latin_letters(read))
        self._lines.append(evidence)
        self._shares = None
        return len(self._lines) - 1

    def weigh(self, number: int, at: int, confidence: float, default: float = 0.0) -> None:
        """Use as evidence how surely the engine of a class reads a line: garbage is read with little confidence.

        Letters that both scripts have, as in "NOW", say nothing: where the default recognizer reads the whole line as
        surely, with the confidence ``default``, the other lines of the track tell.
        """
        if confidence > default:
            self._lines[number][at] += TUNING.reading_log_odds * (confidence - TUNING.plausible)
        self._shares = None

    def shares(self) -> NDArray[np.float64]:
        """Return which share of the track's lines is in each class, by all lines so far."""
        if self._shares is not None:
            return self._shares
        usual = _usual_shares()
        shares = usual
        likelihoods = np.exp(np.array(self._lines))
        for _ in range(_ROUNDS):
            chances = likelihoods * shares
            chances /= chances.sum(axis=1, keepdims=True)
            strength = TUNING.usual_lines
            shares = (strength * usual + chances.sum(axis=0)) / (strength + len(self._lines))
        self._shares = shares
        return shares

    def chances(self, number: int) -> NDArray[np.float64]:
        """Return the probability of each class for a line, given the other lines of the track."""
        chances = np.exp(self._lines[number]) * self.shares()
        return chances / chances.sum()

    def is_settled(self, line: SeenLine) -> bool:
        """Return whether a line is certainly what the default recognizer read in it, or no text."""
        chances = self.chances(line.number)
        other = float(chances[_IS_OTHER].sum() + chances[_VIETNAMESE])
        return other < TUNING.classifier_doubt / 2 and (line.is_whole or line.default is None)

    def resolve(self, line: SeenLine, engine: OcrEngine, *, is_final: bool) -> LineReading:
        """Return what a line says in the script that it is in by all evidence so far.

        Args:
            engine: reads it again, where it is in another script.
            is_final: all lines of the track are known, so that rarer explanations are worth their cost.
        """
        chances = self._verified(line, engine) if is_final else self.chances(line.number)
        other = float(chances[_IS_OTHER].sum())
        best = int(np.argmax(np.where(_IS_OTHER, chances, 0.0)))
        if other >= (_LIKELY if line.default is not None else TUNING.likely_text):
            is_text = self._is_plausible(line, best, engine)
            return self._in_other_script(line, best, engine) if is_text else _default(line)
        if is_final and line.default is not None and not line.is_whole and self._is_mixed(line, best):
            return self._in_other_script(line, best, engine)
        if is_final and line.default is not None:
            return self._maybe_vietnamese(line, float(chances[_VIETNAMESE]), engine)
        return _default(line)

    def _verified(self, line: SeenLine, engine: OcrEngine) -> NDArray[np.float64]:
        """Return the chances of a line after the engines of the scripts that it may be in have read it."""
        chances = self.chances(line.number)
        if float(chances[_IS_OTHER].sum()) < TUNING.classifier_doubt / 2:
            return chances
        for at in np.argsort(-chances):
            if not _IS_OTHER[at] or chances[at] < TUNING.unlikely or at in line.readings:
                continue
            script, lang = CLASSES[at]
            if engine.reads(script, lang=lang):
                self._read(line, int(at), engine)
        return self.chances(line.number)

    def _read(self, line: SeenLine, at: int, engine: OcrEngine) -> Recognition:
        """Return the reading of a line by the engine of a class, which is evidence for or against that class."""
        if at not in line.readings:
            script, lang = CLASSES[at]
            (read,) = engine.recognize([line.picture], script=script, lang=lang)
            line.readings[at] = read
            # An engine of another script reads Latin words, too: they say nothing for its script.
            if _IS_OTHER[at] and (read.confidence < TUNING.plausible or not _is_mostly_latin(read.text)):
                default = line.default.confidence if line.default is not None and line.is_whole else 0.0
                self.weigh(line.number, at, read.confidence, default)
        return line.readings[at]

    def _in_other_script(self, line: SeenLine, at: int, engine: OcrEngine) -> LineReading:
        script, lang = CLASSES[at]
        read = self._read(line, at, engine) if engine.reads(script, lang=lang) else None
        if read is None or not read.text.strip():
            return LineReading(None, script, lang, is_unread=True)
        return LineReading(read, script, lang)

    def _is_plausible(self, line: SeenLine, at: int, engine: OcrEngine) -> bool:
        """Return whether a line looks like a class by itself, where no engine can confirm it.

        Texture looks a little like a rare script, and a track of texture would be in that script.
        """
        script, lang = CLASSES[at]
        if line.default is not None or engine.reads(script, lang=lang):
            return True
        if at != _UNKNOWN:
            least = TUNING.looks_like_script
        else:
            least = _LIKELY if self.shares()[at] >= _LIKELY else TUNING.likely_text
        return float(np.exp(self._lines[line.number][at])) >= least

    def _is_mixed(self, line: SeenLine, at: int) -> bool:
        """Return whether a line that the default recognizer read in part may have words of a script of its track."""
        odds = self._lines[line.number][at] - self._lines[line.number][_IS_DEFAULT].max()
        return bool(self.shares()[at] >= TUNING.classifier_doubt and odds >= np.log(TUNING.unlikely))

    def _maybe_vietnamese(self, line: SeenLine, chance: float, engine: OcrEngine) -> LineReading:
        """Return a Latin line in Vietnamese if an engine that has all its letters reads it so."""
        default = line.default
        assert default is not None
        least = TUNING.unlikely if self._has_vietnamese else _LIKELY
        tired = not self._has_vietnamese and self._vietnamese_tries >= _VIETNAMESE_TRIES
        if chance < least or tired or not may_be_vietnamese(default.text):
            return _default(line)
        if not engine.reads("Latn", lang="vi"):
            is_sure = self.shares()[_VIETNAMESE] >= _LIKELY and lacks_vowels(default.text)
            return LineReading(None, "Latn", "vi", is_unread=True) if is_sure else _default(line)
        self._vietnamese_tries += 1
        read = self._read(line, _VIETNAMESE, engine)
        if not is_vietnamese_of(read, default):
            return _default(line)
        self._has_vietnamese = True
        return LineReading(read, "Latn", "vi")

    @property
    def has_vietnamese(self) -> bool:
        """Whether a line turned out to be Vietnamese."""
        return self._has_vietnamese


def _usual_shares() -> NDArray[np.float64]:
    shares = np.array(
        [_USUAL_VIETNAMESE if lang == "vi" else _USUAL.get(script, _USUAL_OTHER) for script, lang in CLASSES]
    )
    return shares / shares.sum()


def _default(line: SeenLine) -> LineReading:
    script = script_of_text(line.default.text) if line.default is not None else None
    return LineReading(line.default, script)


def is_vietnamese_of(read: Recognition, default: Recognition) -> bool:
    """Return whether a Vietnamese reading of a line is the right one.

    It has letters that the default recognizer's alphabet lacks, and what that recognizer read is the same without them.
    """
    if read.confidence < TUNING.plausible:
        return False
    if not any(map(_is_missing, read.text)):
        return False
    known, bare = bare_letters(default.text), bare_letters(read.text)
    return LCSseq.similarity(known, bare) >= EXTENTS.alike_text * len(known) and len(known) > 0


def _certain_latin_letters(read: Recognition) -> int:
    """Return how many letters that only Latin has were read with certainty."""
    return sum(
        letter in _LATIN_ONLY and confidence >= OCR.certain
        for letter, confidence in zip(read.text, read.characters, strict=False)
    )


def _is_mostly_latin(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(is_latin_letter(letter) for letter in letters) > len(letters)


def _is_missing(letter: str) -> bool:
    """Return whether the default recognizer's alphabet lacks a Vietnamese letter: two marks, a dot below, or a hook."""
    marks = _marks(letter)
    return (bool(marks & _TONES) and len(marks) > 1) or bool(marks & {"\u0309", "\u0323"})


def may_be_vietnamese(text: str) -> bool:
    """Return whether few letters of a text have a mark that Vietnamese does not have; one may be misread."""
    marked = [letter for letter in text.lower() if letter in _FOREIGN or _marks(letter)]
    foreign = sum(letter in _FOREIGN or not _marks(letter) <= _VIETNAMESE_MARKS for letter in marked)
    return 3 * foreign <= len(marked)


def lacks_vowels(text: str) -> bool:
    """Return whether a text has words of small letters without a vowel, as where letters with tones are missing."""
    words = ["".join(filter(str.isalpha, word)) for word in text.split()]
    return any(word and word.islower() and not set(bare_letters(word)) & set("aeiouy") for word in words)


def _marks(letter: str) -> frozenset[str]:
    return frozenset(part for part in unicodedata.normalize("NFD", letter) if unicodedata.combining(part))


def bare_letters(text: str) -> str:
    """Return the letters of a text without their marks."""
    parts = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    return "".join(part for part in parts if part.isalnum())


def uncovered_share(strokes: NDArray[np.bool_], read: Recognition, line_px: float) -> float:
    """Return which share of a line's strokes is beside the characters that a recognizer read, 0..1.

    Greek letters, which the default recognizer reads for letters of many scripts, cover nothing.

    Args:
        strokes: of the line, bool ``(height, width)``.
        line_px: height of a line, pixels of ``strokes``.
    """
    columns = strokes.sum(axis=0)
    total = int(columns.sum())
    if not total or len(read.positions) != len(read.text):
        return 0.0
    is_covered = np.zeros(len(columns), bool)
    for character, place in zip(read.text, read.positions, strict=True):
        if character.isspace() or "\u0370" <= character <= "\u03ff":
            continue
        # A letter has its strokes within half a line of its center, an ideograph within half of the widest character.
        reach = (TUNING.widest_character if character >= "\u2e80" else 1.0) / 2 * line_px
        middle = place * len(columns)
        is_covered[max(0, round(middle - reach)) : max(0, round(middle + reach) + 1)] = True
    return float(columns[~is_covered].sum()) / total


def script_of_text(text: str) -> str | None:
    """Return the script of a text that the default recognizer read, ISO 15924; None where it has no letters."""
    if any("\u3041" <= character <= "\u30ff" for character in text):
        return "Jpan"
    if any("\u2e80" <= character <= "\u9fff" for character in text):
        return "Hani"
    return "Latn" if any(character.isalpha() for character in text) else None


def unread_warnings(captions: Iterable[Caption]) -> tuple[CaptionWarning, ...]:
    """Return one warning for each script in which captions could not be read, with what to do."""
    counts: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for caption in captions:
        if caption.unread:
            counts[caption.script or "Zzzz", caption.lang if caption.lang == "vi" else None] += 1
    warnings = []
    for (script, lang), count in sorted(counts.items(), key=lambda entry: entry[0][0]):
        language = lang or (SCRIPTS[script].language if script in SCRIPTS else None)
        step = f"run `captionacc languages add {language}`" if language else "see `captionacc languages`"
        captions_named = "1 caption" if count == 1 else f"{count} captions"
        name = LANGUAGES[lang].name if lang else script_name(script)
        message = f"{captions_named} in {name} could not be read; {step}, then process the video again."
        warnings.append(CaptionWarning("script_unread", message))
    return tuple(warnings)
