"""Choosing among the readings of a caption: what is text, what is texture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.lines import Anchor, split_lines
from captionacc_dagster.captioning.extents.reading import NOTHING, calibrated, fold, read_caption
from captionacc_dagster.captioning.ocr.base import Line, LineBox, Recognition, TextBox, picture_of

pytestmark = pytest.mark.unit

LINE = 30.0


class ScriptedReader:
    """Gives prepared readings one after the other, and counts."""

    name = "scripted"
    languages = ()

    def __init__(self, *readings: Recognition) -> None:
        self.readings = list(readings)
        self.calls = 0
        self.pictures: list[NDArray[np.uint8]] = []

    def confuses(self, lang: str) -> bool:
        return False

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        return True

    def recognize(
        self, lines: Sequence[Line], *, script: str | None = None, lang: str | None = None
    ) -> list[Recognition]:
        assert lines
        self.calls += len(lines)
        self.pictures += map(picture_of, lines)
        return [self.readings.pop(0) for _ in lines]

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        raise AssertionError("located lines need no detection")

    def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
        raise AssertionError("located lines need no detection")


def stroke_mask(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (80, 400)) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1:2] = True
        mask[y0:y1, x1 - 1] = True
    return mask


def pictures(count: int = 5) -> list[NDArray[np.uint8]]:
    """Return frames of a scene that changes: none of them is like their mean."""
    return [np.full((80, 400), 10 * number**2, np.uint8) for number in range(count)]


def test_lines_come_from_top_to_bottom_and_columns_from_right_to_left():
    two = stroke_mask((50, 5, 350, 30), (100, 40, 300, 66))
    assert split_lines(two, LINE) == [(50, 5, 350, 30), (100, 40, 300, 66)]
    assert split_lines(two.T, LINE, vertical=True) == [(40, 100, 66, 300), (5, 50, 30, 350)]


def test_accents_and_dots_belong_to_their_line():
    assert split_lines(stroke_mask((60, 2, 70, 6), (50, 10, 350, 32)), LINE) == [(50, 2, 350, 32)]


def test_lines_that_touch_are_parted_at_their_seam():
    touching = stroke_mask((50, 5, 350, 38), (100, 38, 300, 70))
    touching[37] = False
    touching[37, 60:80] = True
    assert len(split_lines(touching, LINE, seams=[38.0])) == 2


def test_two_lines_lower_than_thought_are_parted_where_nothing_is_between_them():
    """A highlighted word in a box had made the lines seem higher, and two close ones were read as one."""
    assert split_lines(stroke_mask((50, 5, 350, 32), (100, 35, 300, 55)), LINE) == [
        (50, 5, 350, 32),
        (100, 35, 300, 55),
    ]
    assert len(split_lines(stroke_mask((50, 5, 350, 12), (50, 15, 350, 55)), LINE)) == 1
    crossed = stroke_mask((50, 5, 350, 25), (100, 29, 300, 49))
    crossed[25:29, 60:64] = True  # a descender, or a speck of the picture
    assert [box[1::2] for box in split_lines(crossed, LINE)] == [(5, 25), (25, 49)]


def test_a_line_that_begins_or_ends_with_another_one_is_text_wherever_the_track_is_anchored():
    """Lines that roll up begin at the left; the only one that the layout had seen was in the middle."""
    anchor = Anchor("center", 200.0)
    rolling = stroke_mask((50, 5, 350, 30), (52, 40, 130, 66))
    assert split_lines(rolling, LINE, anchor=anchor) == [(50, 5, 350, 30), (52, 40, 130, 66)]
    assert len(split_lines(stroke_mask((50, 5, 350, 30), (270, 40, 350, 66)), LINE, anchor=anchor)) == 2
    assert split_lines(stroke_mask((50, 5, 350, 30), (10, 40, 90, 66)), LINE, anchor=anchor) == [(50, 5, 350, 30)]
    cut_off = stroke_mask((0, 5, 400, 30), (0, 40, 90, 66))  # code, which goes on beside the picture
    assert split_lines(cut_off, LINE, anchor=anchor) == [(0, 5, 400, 30)]


def test_a_long_line_is_cut_out_where_it_is_though_the_sides_of_the_mask_are_whole_pixels():
    """The mask of a picture of 1150 by 134 pixels is 600 by 69: by its height, a line ended 15 pixels off."""
    mask = stroke_mask((20, 20, 580, 50), size=(69, 600))
    picture = np.zeros((134, 1150), np.uint8)
    picture[:, round(20 * 1150 / 600) : round(580 * 1150 / 600)] = 255
    reader = ScriptedReader(*[Recognition("A LONG LINE OF TEXT", 0.95)] * 3)
    read_caption(reader, [picture] * 3, mask, LINE)
    lit = np.flatnonzero(reader.pictures[0].any(axis=0))
    before, after = int(lit[0]), reader.pictures[0].shape[1] - 1 - int(lit[-1])
    assert abs(before - after) <= 1


def test_a_letter_that_the_mask_lacks_is_not_cut_through():
    """The first syllable of a Korean line was: half of it was in the margin of what was read."""
    picture = np.full((80, 400), 120, np.uint8)
    for left in range(100, 300, 30):
        picture[18:52, left - 2 : left + 26] = 10
        picture[20:50, left : left + 24] = 240
    mask = np.zeros(picture.shape, bool)
    mask[:, 125:] = picture[:, 125:] > 200
    reader = ScriptedReader(*[Recognition("LETTERS", 0.95)] * 3)
    read_caption(reader, [picture] * 3, mask, LINE)
    columns = reader.pictures[0].min(axis=0)
    assert (reader.pictures[0][:, :5] < 200).all(), "the first letter is cut through"
    assert columns.size >= 7 * 30


def test_what_is_far_from_the_text_is_left_out():
    with_logo = stroke_mask((120, 5, 280, 30), (370, 5, 395, 30))
    assert split_lines(with_logo, LINE, anchor=Anchor("center", 200.0)) == [(120, 5, 280, 30)]
    assert split_lines(with_logo, LINE, anchor=Anchor("left", 120.0))[0][0] == 120
    assert split_lines(stroke_mask((10, 5, 60, 30)), LINE, anchor=Anchor("center", 200.0)) == []


def test_a_sure_reading_is_taken_at_once():
    reader = ScriptedReader(Recognition("We left at noon", 0.98))
    reading = read_caption(reader, pictures(), stroke_mask((100, 20, 300, 50)), LINE)
    assert (reading.text, reading.recognitions, reader.calls) == ("We left at noon", 1, 1)
    assert reading.confidence == pytest.approx(0.98)


def test_a_doubtful_reading_is_read_again_and_the_surer_one_taken():
    reader = ScriptedReader(Recognition("We 1eft", 0.7), Recognition("We left", 0.96))
    reading = read_caption(reader, pictures(), stroke_mask((100, 20, 300, 50)), LINE)
    assert (reading.text, reading.recognitions) == ("We left", 2)


@pytest.mark.parametrize(("levels", "reads"), [(0, 1), (0.3, 1), (3, 2)])
def test_a_line_over_a_still_picture_is_read_once(levels: float, reads: int):
    """The mean of the frames and a single one of them differ by so many gray levels."""
    scene = np.random.default_rng(3).integers(40, 200, (80, 400)).astype(np.uint8)
    single = scene.copy()
    single.ravel()[:: round(3 / levels) if levels else scene.size] += 3 if levels else 0
    reader = ScriptedReader(Recognition("We 1eft", 0.7), Recognition("We left", 0.96))
    reading = read_caption(reader, [scene] * 20 + [single] + [scene] * 20, stroke_mask((100, 20, 300, 50)), LINE)
    assert (reading.text, reader.calls) == ("We left" if reads > 1 else "We 1eft", reads)
    assert reading.recognitions == reads


def test_few_characters_must_be_read_twice_alike():
    mask = stroke_mask((180, 20, 220, 50))
    alike = ScriptedReader(Recognition("?!", 0.8), Recognition("?!", 0.9))
    assert read_caption(alike, pictures(), mask, LINE).text == "?!"
    unlike = ScriptedReader(Recognition("V", 0.8), Recognition("7", 0.85), Recognition("L", 0.8))
    assert read_caption(unlike, pictures(), mask, LINE).text == ""


def test_a_word_in_condensed_type_is_read_again_twice_as_wide():
    """Two letters on one step of the recognizer: it was sure of neither, and the word was dropped."""
    mask = stroke_mask((180, 20, 220, 50))
    reader = ScriptedReader(Recognition("IT", 0.57), Recognition("IT", 0.58), Recognition("IT", 0.96))
    reading = read_caption(reader, pictures(), mask, LINE)
    assert (reading.text, reading.confidence, reading.recognitions) == ("IT", 0.96, 3)
    assert reader.pictures[2].shape[1] == 2 * reader.pictures[0].shape[1]
    other = ScriptedReader(Recognition("IT", 0.57), Recognition("IT", 0.58), Recognition("11I", 0.96))
    assert read_caption(other, pictures(), mask, LINE).text == ""


def test_a_line_with_far_too_much_room_for_its_characters_is_texture():
    reader = ScriptedReader(*[Recognition("ERVZ", 0.8)] * 3)
    assert read_caption(reader, pictures(), stroke_mask((20, 20, 380, 50)), LINE).text == ""


def dots(*columns: int) -> NDArray[np.bool_]:
    mask = np.zeros((80, 400), bool)
    for column in columns:
        mask[50:54, column : column + 4] = True
    return mask


@pytest.mark.parametrize(
    ("columns", "text"),
    [((180, 192, 204), "..."), ((150, 162, 174, 186, 198), "……"), ((150, 162, 174, 186, 198, 210), "……")],
)
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("said", [Recognition("", 0.0), Recognition("000", 0.5)])
def test_dots_in_a_row_are_an_ellipsis_whatever_the_recognizer_says(
    columns: tuple[int, ...], text: str, vertical: bool, said: Recognition
):
    row = dots(*columns)
    shown = [picture.T.copy() if vertical else picture for picture in pictures()]
    reading = read_caption(ScriptedReader(said, said, said), shown, row.T if vertical else row, LINE, vertical=vertical)
    assert reading.text == text


@pytest.mark.parametrize(
    "mask",
    [
        dots(180, 192),
        dots(180, 192, 216),
        dots(180, 184, 230, 234, 280),
        dots(180, 192, 204) | np.roll(dots(216), 5, axis=0),
        stroke_mask((180, 40, 200, 54), (210, 40, 230, 54), (240, 40, 260, 54)),
    ],
    ids=["two", "uneven", "in pairs", "one off the line", "blocks"],
)
def test_other_specks_are_no_ellipsis(mask: NDArray[np.bool_]):
    nothing = [Recognition("", 0.0)] * 4
    assert read_caption(ScriptedReader(*nothing), pictures(), mask, LINE).text == ""


@pytest.mark.parametrize(
    ("letters", "columns", "said", "text"),
    [
        ((100, 10, 108, 54), (120, 132, 144), "Iooo", "I..."),
        ((100, 10, 108, 54), (120, 132, 144), "I..", "I..."),
        ((100, 10, 108, 54), (120, 132, 144), "Io.", "Io."),
        ((100, 10, 108, 54), (120, 132, 144, 156, 168), "Iooo", "Iooo"),
        ((100, 10, 108, 54), (120, 132, 144), "I...", "I..."),
        ((100, 10, 108, 54), (120, 132), "Ioo", "Ioo"),
        ((100, 10, 108, 54), (120, 132, 156), "Ioo.", "Ioo."),
    ],
    ids=["zeros", "two of three", "a letter", "more dots than read", "right", "two dots", "uneven"],
)
def test_the_dots_at_the_end_of_a_line_are_an_ellipsis(
    letters: tuple[int, int, int, int], columns: tuple[int, ...], said: str, text: str
):
    mask = stroke_mask(letters) | dots(*columns)
    edges = np.linspace(0.15, 0.9, len(said)).tolist()
    recognition = Recognition(said, 0.95, (0.95,) * len(said), tuple(edges))
    assert read_caption(ScriptedReader(*[recognition] * 3), pictures(), mask, LINE).text == text


def test_letters_before_an_ellipsis_are_kept():
    columns = (150, 162, 174)
    mask = stroke_mask((60, 10, 80, 54), (90, 24, 110, 54), (120, 24, 140, 54)) | dots(*columns)
    places = [(x - 54) / 130 for x in (70, 100, 130, 152, 176)]
    recognition = Recognition("Too..", 0.95, (0.95,) * 5, tuple(places))
    assert read_caption(ScriptedReader(*[recognition] * 3), pictures(), mask, LINE).text == "Too..."


def test_a_row_of_specks_beside_a_line_of_text_is_no_line():
    mask = dots(180, 192, 204) | stroke_mask((100, 5, 300, 30))
    reader = ScriptedReader(Recognition("We left at noon", 0.98), Recognition("", 0.0))
    assert read_caption(reader, pictures(), mask, LINE).text == "We left at noon"


@pytest.mark.parametrize(("box", "text"), [((190, 60, 202, 72), "We left"), ((190, 45, 205, 72), "We left\nI")])
def test_a_speck_beside_a_line_of_text_is_no_letter(box: tuple[int, int, int, int], text: str):
    letter = "I" if text.endswith("I") else "E"
    mask = stroke_mask((100, 5, 300, 30), box)
    reader = ScriptedReader(Recognition("We left", 0.98), *[Recognition(letter, 0.97)] * 2)
    assert read_caption(reader, pictures(), mask, LINE).text == text


def test_letters_of_a_line_that_are_cut_out_with_a_speck_below_it_are_not_read():
    """Their script was guessed, and its engine read them as a second line, "nte"."""
    mask = stroke_mask((100, 5, 300, 30), (244, 40, 246, 42))
    reader = ScriptedReader(Recognition("Before the winter comes", 0.98))
    reading = read_caption(reader, pictures(), mask, LINE)
    assert (reading.text, reading.recognitions) == ("Before the winter comes", 1)


def test_texture_beside_a_short_word_is_left_out_where_the_rest_is_in_its_place():
    word, texture = (
        stroke_mask((180, 5, 220, 30)),
        stroke_mask((150, 8, 160, 14), (163, 15, 170, 21), (229, 20, 233, 26)),
    )
    assert split_lines(word | texture, LINE, anchor=Anchor("center", 200.0)) == [(180, 5, 220, 30)]
    off = (150, 5, 233, 30)
    assert split_lines(word | texture, LINE, anchor=Anchor("center", 192.0)) == [off]
    assert split_lines(word | texture, LINE, anchor=Anchor("center", 215.0)) == [off]


def test_no_dot_of_an_ellipsis_is_left_out():
    dots = stroke_mask(*((at, 20, at + 4, 24) for at in range(160, 240, 12)))
    assert split_lines(dots, LINE, anchor=Anchor("center", 204.0)) == [(160, 20, 236, 24)]


def test_a_word_is_not_taken_for_dots():
    reading = read_caption(ScriptedReader(Recognition("ill", 0.99)), pictures(), dots(180, 192, 204), LINE)
    assert reading.text == "ill"


def test_without_strokes_nothing_is_read():
    reader = ScriptedReader()
    assert read_caption(reader, pictures(), np.zeros((80, 400), bool), LINE) == NOTHING
    assert reader.calls == 0


@given(st.text(alphabet="OoIl|01 abcéñÑü，。：！决決净凈裡", max_size=30))
def test_folding_twice_changes_nothing_more(text: str):
    assert fold(fold(text)) == fold(text)


def test_folding_joins_what_recognizers_mix_up():
    assert fold("決定 O l，") == fold("决定0 1,")
    assert fold("Sunrise") != fold("Sunset")


def test_a_single_letter_must_be_certain():
    mask = stroke_mask((190, 20, 205, 50))
    edge = ScriptedReader(Recognition("N", 0.9), Recognition("N", 0.9))
    assert read_caption(edge, pictures(), mask, LINE).text == ""
    letter = ScriptedReader(Recognition("I", 0.97), Recognition("I", 0.98))
    assert read_caption(letter, pictures(), mask, LINE).text == "I"


@given(st.floats(0, 1), st.floats(0, 1))
def test_calibrated_confidence_rises_with_what_the_recognizer_says(one: float, other: float):
    low, high = sorted((one, other))
    assert 0 <= calibrated(low) <= calibrated(high) <= 1


def test_a_doubtful_reading_is_given_less_than_a_clean_one():
    assert calibrated(0.93) < 0.9 < calibrated(0.999)
    assert calibrated(0.7) < 0.5


@pytest.mark.parametrize(
    ("read", "text"), [("stopped growing？", "stopped growing?"), ("不，是你？", "不，是你？"), ("？！", "？！")]
)
def test_punctuation_of_a_latin_line_is_not_full_width(read: str, text: str):
    reader = ScriptedReader(*[Recognition(read, 0.98)] * 3)
    assert read_caption(reader, pictures(), stroke_mask((180, 20, 260, 50)), LINE).text == text


def test_a_text_with_fewer_strokes_than_its_letters_need_is_of_another_frame():
    text = "The doctor comes at eight"
    few, enough = stroke_mask((100, 20, 104, 24), (200, 20, 204, 24)), stroke_mask((100, 20, 200, 24))
    assert not read_caption(ScriptedReader(*[Recognition(text, 0.93)] * 3), pictures(), few, LINE).may_be_caption
    assert read_caption(ScriptedReader(Recognition(text, 0.93)), pictures(), enough, LINE).text == text


def test_a_pale_line_is_read_in_full_contrast_whatever_single_pixels_say():
    stroke_mask = np.zeros((40, 300), bool)
    stroke_mask[8:32, 20:280] = True
    pale = np.tile(np.linspace(100, 140, 300).round().astype(np.uint8), (40, 1))
    pale[20, 30:40], pale[20, 200:210] = 0, 255  # fewer than one in a hundred
    reader = ScriptedReader(Recognition("Where to?", 0.99))
    read_caption(reader, [pale] * 3, stroke_mask, LINE)
    (picture,) = reader.pictures
    assert picture.shape[0] < picture.shape[1]
    assert np.percentile(picture, [2, 20, 50, 80, 98]) == pytest.approx([5, 51, 127, 204, 250], abs=12)
