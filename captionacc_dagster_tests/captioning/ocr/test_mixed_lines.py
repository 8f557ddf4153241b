"""Lines with Latin words among words of another script are read whole, each word by the engine that reads it."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.ocr.base import LinePicture, Recognition
from captionacc_dagster.captioning.ocr.mixed_lines import placed_words, read_mixed

pytestmark = pytest.mark.unit

WIDTH, HEIGHT = 400, 40

Word = tuple[str, int, int, float]


def line(*words: tuple[int, int]) -> LinePicture:
    """Return a line with strokes from each start to each end, pixels."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for start, end in words:
        mask[8:32, start:end] = True
    return LinePicture(np.zeros((HEIGHT, WIDTH), np.uint8), mask)


def read(*words: Word, width: int = WIDTH) -> Recognition:
    """Return the reading of words with their start and end, pixels, and confidence."""
    text, sure, places = "", [], []
    for word, start, end, confidence in words:
        if text:
            text, sure, places = text + " ", [*sure, confidence], [*places, start / width]
        text += word
        step = (end - start) / len(word)
        sure += [confidence] * len(word)
        places += [(start + step * (number + 0.5)) / width for number in range(len(word))]
    return Recognition(text, float(np.mean(sure)), tuple(sure), tuple(places))


class Parts:
    """Reads parts of a line, one after the other: words with their places in the whole line."""

    def __init__(self, *parts: tuple[int, list[Word]]) -> None:
        self.parts = list(parts)
        self.widths: list[int] = []

    def __call__(self, part: LinePicture) -> Recognition:
        left, words = self.parts.pop(0)
        width = part.image.shape[1]
        self.widths.append(width)
        return read(*((text, start - left, end - left, sure) for text, start, end, sure in words), width=width)


def test_what_the_engine_of_the_script_is_unsure_of_is_read_as_latin():
    native = read(("ये", 20, 60, 0.9), ("२७४८", 80, 200, 0.4), ("करूँगा", 220, 320, 0.9))
    latin = Parts((70, [("React", 80, 200, 0.98)]))
    mixed = read_mixed(line((20, 60), (80, 200), (220, 320)), native, "Deva", Parts(), latin)
    assert mixed.text == "ये React करूँगा"
    assert 120 < latin.widths[0] < 160  # from the gap before it to the gap behind it
    assert mixed.confidence > 0.9


def test_what_the_engine_of_the_script_drew_into_one_word_is_read_again():
    native = read(("ये", 20, 60, 0.9), ("सी॥80909", 80, 320, 0.5))
    latin = Parts((70, [("language", 160, 320, 0.99)]))
    again = Parts((0, [("ये", 20, 60, 0.9), ("कौन", 80, 140, 0.8)]))
    mixed = read_mixed(line((20, 60), (80, 140), (160, 320)), native, "Deva", again, latin)
    assert mixed.text == "ये कौन language"


def test_a_line_of_latin_words_only_is_what_the_default_recognizer_reads():
    native = read(("8890,", 20, 140, 0.93), ("5000", 160, 260, 0.95))
    latin = Parts((0, [("Basic,", 20, 140, 0.97), ("Good", 160, 260, 0.97)]))
    assert read_mixed(line((20, 140), (160, 260)), native, "Deva", Parts(), latin).text == "Basic, Good"


def test_digits_and_single_letters_say_nothing_against_the_script():
    native = read(("आता", 20, 100, 0.7), ("7:45", 120, 200, 0.9))
    latin = Parts((0, [("3", 20, 100, 0.95), ("7:45", 120, 200, 0.99)]))
    assert read_mixed(line((20, 100), (120, 200)), native, "Deva", Parts(), latin) is native


def test_a_line_that_its_engine_is_sure_of_is_not_read_again():
    native = read(("В", 20, 40, 0.9), ("МОСКВЕ", 60, 200, 0.9))
    assert read_mixed(line((20, 40), (60, 200)), native, "Cyrl", Parts(), Parts()) is native


def test_letters_that_look_latin_stay_in_their_script():
    native = read(("МОСКВЕ", 60, 200, 0.75))
    latin = Parts((0, [("MOCKBE", 60, 200, 0.99)]))
    assert read_mixed(line((60, 200)), native, "Cyrl", Parts(), latin) is native


def test_an_unsure_latin_word_does_not_count():
    native = read(("आगे", 20, 100, 0.6))
    latin = Parts((0, [("6M", 20, 100, 0.8)]))
    assert read_mixed(line((20, 100)), native, "Deva", Parts(), latin) is native


def test_from_right_to_left_runs_of_latin_words_keep_their_order():
    native = read(("اسمها", 260, 380, 0.9), ("اا", 140, 240, 0.3), ("اب", 20, 120, 0.3))
    latin = Parts((0, [("New", 20, 120, 0.98), ("York", 140, 240, 0.98)]))
    mixed = read_mixed(line((20, 120), (140, 240), (260, 380)), native, "Arab", Parts(), latin)
    assert mixed.text == "اسمها New York"


def test_specks_between_words_are_no_words():
    native = read(("80909", 20, 200, 0.3))
    latin = Parts((0, [("React", 20, 200, 0.98)]))
    assert read_mixed(line((20, 200), (230, 236)), native, "Deva", Parts(), latin).text == "React"


def test_words_without_places_are_none():
    assert placed_words(Recognition("two words", 0.9)) == []
    assert [word.text for word in placed_words(read(("two", 0, 90, 0.9), ("words", 100, 200, 0.8)))] == ["two", "words"]
