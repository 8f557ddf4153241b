"""Readings that belong to one caption, and captions that only look alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.merging import (
    FoundCaption,
    are_alike,
    explains_both,
    is_part_of_picture,
    is_rest_of,
    is_same_caption,
    join_readings,
)
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.track_scripts import SeenLine
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import LinePicture, Recognition

pytestmark = pytest.mark.unit

FADE = 15
BOX = BBox(0.2, 0.8, 0.8, 0.9)


def read(text: str, start: int, end: int, stroke_mask: int, confidence: float = 0.95) -> FoundCaption:
    return FoundCaption(start, end, Reading(text, confidence, 1), BOX, 0.9, stroke_mask)


def test_the_same_text_without_a_gap_is_one_caption():
    first, second = read("Mind the step", 0, 40, 900), read("mind the step", 40, 80, 950)
    assert is_same_caption(first, second, FADE)
    joined = join_readings(first, second, FADE)
    assert (joined.start, joined.end) == (0, 80)


@pytest.mark.parametrize("seen", ["the step", "Mnd tha stop", "Mind tha stop"])
def test_what_is_read_of_a_fade_is_its_caption_which_starts_where_half_is_seen(seen: str):
    glimpse, caption = read(seen, 0, 14, 60, 0.8), read("Mind the step", 14, 60, 900)
    assert is_same_caption(glimpse, caption, FADE)
    joined = join_readings(glimpse, caption, FADE)
    assert (joined.start, joined.end, joined.reading.text) == (14, 60, "Mind the step")
    caption, glimpse = read("Mind the step", 0, 46, 900), read(seen, 46, 60, 60, 0.8)
    assert is_same_caption(caption, glimpse, FADE)
    assert join_readings(caption, glimpse, FADE).end == 46


def test_a_glimpse_begins_with_the_last_cut_and_may_be_longer_than_a_fade():
    glimpse, caption = read("Mnd tha stop", 0, 28, 60, 0.8), read("Mind the step", 28, 60, 900)
    assert is_same_caption(glimpse, caption, FADE)
    assert join_readings(glimpse, caption, FADE).start == 28
    empty = read("Mind the step", 0, 28, 60)
    assert join_readings(empty, caption, FADE).start == 28


def test_what_the_end_of_a_video_left_of_a_caption_is_no_caption_of_its_own():
    """Noise in the last frames parted them from the rest, and a recognizer read them otherwise."""
    caption = read("Mind the step", 0, 60, 900)
    assert is_rest_of(read("Mind tha stop", 60, 65, 890, 0.8), caption, 6)
    assert not is_rest_of(read("Mind tha stop", 60, 66, 890, 0.8), caption, 6)  # long enough to be read
    assert not is_rest_of(read("Mind the stop", 60, 65, 890, 0.95), caption, 6)  # surely read
    assert not is_rest_of(read("Nobody saw it", 60, 65, 890, 0.8), caption, 6)


def test_a_line_that_ends_a_frame_or_two_after_the_other_is_no_caption_of_its_own():
    """The Chinese line stayed two frames longer than the English one below it, and became a caption of two frames."""
    caption = read("这件事跟你没有关系\nWell, that changes everything.", 0, 60, 900)
    assert is_rest_of(read("这件事跟你没有关系", 60, 62, 500), caption, 6)
    assert not is_rest_of(read("这件事跟你没有关系", 60, 66, 500), caption, 6)  # long enough to be read
    assert not is_rest_of(read("我从来没有见过他", 60, 62, 500), caption, 6)
    assert not is_rest_of(read("", 60, 62, 500), caption, 6)


@pytest.mark.parametrize(
    "other",
    [
        read("Mind the stop", 0, 40, 890),  # another character
        read("I", 0, 25, 70),  # a letter of it that is shown long enough to be read
        read("Nobody", 0, 10, 60),  # other letters
        read("Mnd tha stop", 0, 20, 700),  # with strokes of its own
        read("Mnd tha stop", 0, 45, 60),  # far longer than a fade
    ],
    ids=lambda found: f"{found.reading.text} {found.end} {found.stroke_px}",
)
def test_other_captions_stay_captions_of_their_own(other: FoundCaption):
    assert not is_same_caption(other, read("Mind the step", other.end, other.end + 50, 900), FADE)


@pytest.mark.parametrize(("confidence", "is_fade"), [(1.0, False), (0.7, True)])
def test_a_short_word_that_is_surely_read_is_no_fade_of_the_one_before(confidence: float, is_fade: bool):
    """One of the two letters of "to" is in "forget", by chance."""
    assert is_same_caption(read("forget", 0, 16, 865), read("to", 16, 28, 127, confidence), FADE) is is_fade


def test_a_word_whose_script_is_not_settled_is_no_fade_of_the_one_before():
    line = SeenLine(0, LinePicture(np.zeros((40, 100), np.uint8)), Recognition("IT", 0.97), is_whole=True)
    word = FoundCaption(6, 19, Reading("", 0.0, 1, waiting=(line,)), BOX, 0.9, 120)
    assert not is_same_caption(read("SAID", 0, 6, 587), word, FADE)
    part = replace(word, reading=Reading("", 0.0, 1, waiting=(replace(line, is_whole=False),)))
    assert is_same_caption(read("SAID", 0, 6, 587), part, FADE)


def test_readings_with_letters_behind_them_are_alike_and_others_are_not():
    clean = read("Mind the step", 0, 40, 900)
    assert are_alike(clean, read("BLE Mimd the step OUT", 40, 80, 1100))
    assert not are_alike(clean, read("Nobody said so", 40, 80, 900))


def test_all_frames_explain_two_readings_where_they_read_better_than_one_of_them():
    clean, blended = Reading("Mind the step", 0.99, 1), Reading("Mind the stp", 0.9, 1)
    assert explains_both(clean, Reading("BLE Mimd the step", 0.93, 1), clean)
    assert not explains_both(blended, clean, Reading("Mind the stop", 0.99, 1))
    assert not explains_both(Reading("", 1.0, 1), clean, clean)


@pytest.mark.parametrize(
    ("confidence", "bounded", "is_part"), [(0.6, 0.2, True), (0.6, 0.98, False), (0.98, 0.2, False)]
)
def test_what_reads_badly_and_runs_into_the_picture_is_part_of_it(confidence: float, bounded: float, is_part: bool):
    found = replace(read("c o d ately", 0, 16, 540, confidence), bounded=bounded)
    assert is_part_of_picture(found) == is_part
