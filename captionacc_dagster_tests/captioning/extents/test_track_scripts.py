"""The lines of a track say together in which scripts they are; an engine of a script confirms it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.track_scripts import (
    LineReading,
    SeenLine,
    TrackScripts,
    is_vietnamese_of,
    lacks_vowels,
    may_be_vietnamese,
    script_of_text,
    uncovered_share,
)
from captionacc_dagster.captioning.ocr.base import Line, LinePicture, Recognition
from captionacc_dagster.captioning.ocr.rapidocr import RapidOcrEngine
from captionacc_dagster.captioning.ocr.script_classifier import CLASSES, ScriptGuess

pytestmark = pytest.mark.unit


class Engine(RapidOcrEngine):
    """Reads a line in the scripts (or languages) that it knows, always the same."""

    def __init__(self, known: Mapping[str, Recognition] = {}) -> None:
        super().__init__(threads=1)
        self.known = known
        self.asked: list[str] = []

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        return (lang or script) in self.known or script in self.known

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        name = lang if lang is not None and lang in self.known else script or ""
        self.asked.append(name)
        return [self.known[name]] * len(lines)


def guess(**chances: float) -> ScriptGuess:
    """Return a guess with these chances (``vi`` for Vietnamese); what is left is spread over all classes."""
    spread = np.full(len(CLASSES), (1 - sum(chances.values())) / len(CLASSES))
    for at, (script, lang) in enumerate(CLASSES):
        spread[at] += chances.get("vi" if lang == "vi" else script, 0.0)
    return ScriptGuess("", 0.0, None, tuple(spread))


class Track:
    """The lines of a track, added one by one."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.scripts, self.engine = TrackScripts(), engine or Engine()
        self.lines: list[SeenLine] = []

    def add(self, text: str | None = None, *, whole: bool = True, read: bool | None = None, **chances: float) -> None:
        default = Recognition(text, 0.97) if text is not None else None
        is_read = text is not None and whole if read is None else read
        number = self.scripts.add(guess(**chances), (default or Recognition("", 0.97)) if is_read else None)
        self.lines.append(SeenLine(number, LinePicture(np.zeros((40, 300), np.uint8)), default, whole))

    def settled(self) -> list[LineReading]:
        return [self.scripts.resolve(line, self.engine, is_final=True) for line in self.lines]

    def said(self) -> list[tuple[str | None, str | None, bool]]:
        return [(line.read and line.read.text, line.script, line.is_unread) for line in self.settled()]


def test_letters_that_only_latin_has_tell_capitals_from_cyrillic_ones():
    scripts = TrackScripts()
    certain, unsure = (Recognition("AN HOUR", 0.98, (confidence,) * 7) for confidence in (1.0, 0.9))
    numbers = [scripts.add(guess(Latn=0.004, Cyrl=0.9), read) for read in (certain, unsure)]

    cyrillic = CLASSES.index(("Cyrl", None))
    assert scripts.chances(numbers[0])[cyrillic] < 0.5 < scripts.chances(numbers[1])[cyrillic]


def test_a_line_that_was_not_read_is_unread_in_its_script():
    track = Track()
    track.add(Arab=0.97)
    assert track.said() == [(None, "Arab", True)]


def test_a_sure_reading_outweighs_the_looks_of_one_line():
    track = Track()
    track.add("B MOCKBE", Cyrl=0.8, Latn=0.15)
    assert track.said() == [("B MOCKBE", "Latn", False)]


def test_a_track_outweighs_sure_readings_of_its_lines():
    greek = Recognition("ΣΤΑΜΑΤΗΣΤΕ", 0.95)
    track = Track(Engine({"Grek": greek}))
    for _ in range(4):
        track.add(Grek=0.95)
    track.add("STAMATHSTE", Grek=0.7, Latn=0.2)
    assert track.said()[-1] == ("ΣΤΑΜΑΤΗΣΤΕ", "Grek", False)


def test_letters_that_two_scripts_have_are_in_the_script_of_the_other_lines():
    """English capitals that look Greek were read by Greek's engine, too: "NOW" came out as "ΝΟΝΝ"."""
    track = Track(Engine({"Grek": Recognition("ΝΟΝΝ", 0.86)}))
    track.add("SAID", Latn=0.83, Cyrl=0.07)
    for _ in range(3):
        track.add("NOW", Grek=0.83, Latn=0.05)
    assert {script for _, script, _ in track.said()} == {"Latn"}


def test_the_engine_of_a_script_confirms_what_the_looks_leave_open():
    thai = Recognition("ปิดประตูด้วย", 0.88)
    track = Track(Engine({"Thai": thai, "Hebr": Recognition("טוטר", 0.1)}))
    track.add(Thai=0.77, Zzzz=0.16)
    track.add(Thai=0.03, Zzzz=0.91)
    track.add(Thai=0.09, Zzzz=0.75)
    track.add(Thai=0.34, Zzzz=0.38, Hebr=0.13)
    assert [script for _, script, _ in track.said()] == ["Thai"] * 4


def test_garbage_of_another_script_is_no_text():
    track = Track(Engine({"Arab": Recognition("اال", 0.2)}))
    for _ in range(6):
        track.add("Nobody saw the train leave", Latn=0.9)
    track.add(Arab=0.4, Zxxx=0.3, Latn=0.2)
    assert track.said()[-1] == (None, None, False)


def test_garbage_that_was_read_before_the_track_ended_counts_against_its_script():
    """Code behind captions looked like Hangul and was read as such once, so it was never held against Hangul."""
    track = Track(Engine({"Hang": Recognition("트1 0910 60850 징708", 0.15)}))
    for _ in range(4):
        track.add("Nobody saw the train leave", Latn=0.9)
    for _ in range(4):
        track.add(Hang=0.6, Latn=0.05)
    early = [track.scripts.resolve(line, track.engine, is_final=False) for line in track.lines]
    assert "Hang" in {line.script for line in early}
    assert {script for _, script, _ in track.said()} == {"Latn", None}


def test_latin_words_that_the_engine_of_another_script_reads_say_nothing_for_its_script():
    text = "estamos transcribiendo el archivo"
    track = Track(Engine({"Hang": Recognition(text, 0.98)}))
    track.add("Nobody saw the train leave", Latn=0.9)
    track.add(text, Hang=0.88, Latn=0.05)
    assert track.said()[-1] == (text, "Latn", False)


def test_texture_that_looks_like_an_unknown_script_is_no_text():
    track = Track()
    for _ in range(6):
        track.add("Nobody saw the train leave", Latn=0.9)
    track.add(Zzzz=0.45, Arab=0.3)
    track.add(Zzzz=0.6)
    assert track.said()[-2:] == [(None, None, False)] * 2


def test_a_track_in_an_unknown_script_is_unread():
    track = Track()
    for _ in range(4):
        track.add(Zzzz=0.7, Latn=0.1)
    assert track.said() == [(None, "Zzzz", True)] * 4


def test_every_line_of_two_scripts_is_in_its_own():
    track = Track(Engine({"Arab": Recognition("لم يره أحد", 0.9)}))
    for _ in range(4):
        track.add(Arab=0.9)
        track.add("Nobody saw him", Latn=0.7, Cyrl=0.2)
    assert track.said() == [("لم يره أحد", "Arab", False), ("Nobody saw him", "Latn", False)] * 4


def test_a_line_read_in_part_is_read_whole_where_the_track_has_another_script():
    track = Track(Engine({"Deva": Recognition("ये मत React करूँगा", 0.93)}))
    for _ in range(3):
        track.add(Deva=0.96)
    track.add("React", whole=False, Latn=0.6, Deva=0.1)
    track.add("React and", Latn=0.9)
    assert track.said()[-2:] == [("ये मत React करूँगा", "Deva", False), ("React and", "Latn", False)]


def test_a_line_read_in_part_is_unread_where_no_engine_reads_the_rest():
    track = Track()
    for _ in range(3):
        track.add(Deva=0.96)
    track.add("React", whole=False, Latn=0.6, Deva=0.1)
    assert track.said()[-1] == (None, "Deva", True)


def test_a_latin_line_beside_texture_stays_as_read():
    track = Track(Engine({"Deva": Recognition("ये", 0.9)}))
    for _ in range(4):
        track.add("Nobody saw him", whole=False, Latn=0.9)
    assert track.said() == [("Nobody saw him", "Latn", False)] * 4
    assert track.engine.asked == []


class TestVietnamese:
    READ = Recognition("Tôi không biết phải làm gì nữa", 0.85)

    def test_a_track_is_read_with_all_its_letters(self):
        track = Track(Engine({"vi": self.READ}))
        for chance in (0.82, 0.67):
            track.add("Tôi không bit phi làm gì na", vi=chance, Latn=0.9 - chance)
        assert [(line.read and line.read.text, line.lang) for line in track.settled()] == [(self.READ.text, "vi")] * 2

    def test_lines_that_are_not_vietnamese_stay_as_read(self):
        track = Track(Engine({"vi": Recognition("Não há ninguém aÍ, Irmão", 0.8)}))
        for _ in range(9):
            track.add("Não há ninguém aí, irmão", vi=0.89, Latn=0.1)
        assert track.said() == [("Não há ninguém aí, irmão", "Latn", False)] * 9
        assert len(track.engine.asked) == 4  # and then it is enough

    def test_where_nothing_reads_it_a_track_with_missing_letters_is_unread(self):
        track = Track()
        for _ in range(4):
            track.add("Tôi không bit phi làm s d dàng", vi=0.9, Latn=0.08)
        assert [(line.is_unread, line.lang) for line in track.settled()] == [(True, "vi")] * 4

    @pytest.mark.parametrize(
        ("read", "default", "is_right"),
        [
            ("Đừng bao giờ quay lại đây", "Đng bao gi quay li đây", True),
            ("Đừng bao giờ quay lại đây", "Never come back again", False),
            ("Não há ninguém aí", "Não há ninguém aí", False),
        ],
    )
    def test_a_reading_is_right_where_it_has_what_the_default_one_lacks(self, read: str, default: str, is_right: bool):
        assert is_vietnamese_of(Recognition(read, 0.9), Recognition(default, 0.95)) is is_right
        assert not is_vietnamese_of(Recognition(read, 0.4), Recognition(default, 0.95))

    @pytest.mark.parametrize(
        ("text", "may_be"),
        [
            ("Tôi không bit", True),
            ("Příliš kůň", False),
            ("Straße", False),
            ("çok güzel", False),
            ("Não", True),
            ("trě đã tùr lâu", True),
        ],
    )
    def test_letters_of_other_languages_rule_it_out(self, text: str, may_be: bool):
        assert may_be_vietnamese(text) is may_be

    def test_words_without_vowels(self):
        assert lacks_vowels("nói là s d dàng")
        assert not lacks_vowels("Não há ninguém, Sr. João")


class TestCoverage:
    STROKES = np.zeros((40, 400), bool)
    STROKES[10:30, 20:380] = True

    def read(self, text: str, start: float, end: float) -> Recognition:
        places = np.linspace(start, end, len(text))
        return Recognition(text, 0.95, (0.95,) * len(text), tuple(places.tolist()))

    def test_strokes_beside_the_characters_are_uncovered(self):
        assert uncovered_share(self.STROKES, self.read("a" * 14, 0.07, 0.93), 32) == 0
        assert 0.4 < uncovered_share(self.STROKES, self.read("a" * 7, 0.5, 0.93), 32) < 0.5

    def test_greek_letters_cover_nothing(self):
        assert uncovered_share(self.STROKES, self.read("π" * 14, 0.07, 0.93), 32) == 1

    def test_without_places_nothing_is_known(self):
        assert uncovered_share(self.STROKES, Recognition("abc", 0.9), 32) == 0
        assert uncovered_share(np.zeros((40, 400), bool), self.read("abc", 0.1, 0.9), 32) == 0


@pytest.mark.parametrize(
    ("text", "script"),
    [("Où?", "Latn"), ("明天见", "Hani"), ("また明日", "Jpan"), ("OK 明天", "Hani"), ("...", None)],
)
def test_the_script_of_a_text(text: str, script: str | None):
    assert script_of_text(text) == script
