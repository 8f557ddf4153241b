"""Captions over each other: lines of a track with times of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionacc_dagster.captioning.captions import Timeline
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.merging import FoundCaption, Shown, TimedWord
from captionacc_dagster.captioning.extents.overlapping import overlap_warnings, part_overlapping
from captionacc_dagster.captioning.extents.reading import Reading, fold
from captionacc_dagster.captioning.extents.words import Box, ReadLine
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.captioning.captioned_clips import HEIGHT, MIDDLE, SIZE, Event, captioned

BRIEF, FADE = 5, 15  # ticks

UPPER, LOWER = (40, 10, 160, 30), (20, 35, 180, 55)
HOUSE, WIND, DOOR = ("He sold the house", LOWER), ("It is only the wind", UPPER), ("Close the door", LOWER)


def place(box: Box) -> BBox:
    return BBox(box[0] / 200, box[1] / 60, box[2] / 200, box[3] / 60)


def stretch(start: int, end: int, *lines: tuple[str, Box]) -> Shown:
    return Shown(start, end, tuple(ReadLine(text, box, ()) for text, box in lines), 0.9)


def found(*stretches: Shown, words: tuple[TimedWord, ...] = (), rolls: bool = False) -> FoundCaption:
    last = stretches[-1]
    reading = Reading("\n".join(line.text for line in last.lines), 0.9, 1, lines=last.lines)
    bbox = place(UPPER).union(place(LOWER))
    return FoundCaption(
        stretches[0].start, last.end, reading, bbox, 1.0, 500, shown=stretches, words=words, rolls=rolls
    )


def parted(*captions: FoundCaption) -> list[tuple[int, int, str, str | None]]:
    result, unclear = part_overlapping(captions, BRIEF, FADE, place)
    assert not unclear
    return [(caption.start, caption.end, caption.reading.text, caption.side) for caption in result]


def as_they_were(*captions: FoundCaption) -> bool:
    result, unclear = part_overlapping(captions, BRIEF, FADE, place)
    return result == list(captions) and not unclear


@pytest.mark.unit
def test_lines_that_come_and_go_at_times_of_their_own_are_two_captions():
    """The first two stretches were joined like words that build up."""
    captions = [
        found(stretch(0, 20, HOUSE)),
        found(stretch(20, 40, WIND, HOUSE)),
        found(stretch(40, 45, WIND), stretch(45, 60, WIND, DOOR)),
        found(stretch(60, 90, DOOR)),
    ]
    assert parted(*captions) == [
        (0, 40, HOUSE[0], None),
        (20, 60, WIND[0], "upper"),
        (45, 90, DOOR[0], None),
    ]
    result, _ = part_overlapping(captions, BRIEF, FADE, place)
    assert [caption.bbox for caption in result] == [place(LOWER), place(UPPER), place(LOWER)]


@pytest.mark.unit
def test_what_one_says_is_one_caption_while_a_line_above_comes_and_goes():
    captions = [found(stretch(0, 20, HOUSE)), found(stretch(20, 40, WIND, HOUSE)), found(stretch(40, 60, HOUSE))]
    assert parted(*captions) == [(0, 60, HOUSE[0], None), (20, 40, WIND[0], "upper")]


@pytest.mark.unit
def test_lines_that_come_and_go_together_stay_one_caption():
    top = ("Where were you", (40, 0, 160, 20))
    lines = [top, ("last night?", (40, 25, 160, 45)), (HOUSE[0], (20, 50, 180, 70))]
    captions = [found(stretch(0, 20, *lines[:2])), found(stretch(20, 50, *lines)), found(stretch(50, 70, lines[2]))]
    assert parted(*captions) == [(0, 50, "Where were you\nlast night?", "upper"), (20, 70, HOUSE[0], None)]


@pytest.mark.unit
def test_lines_a_frame_apart_go_together():
    captions = [found(stretch(0, 20, WIND), stretch(20, 60, WIND, HOUSE)), found(stretch(60, 62, HOUSE))]
    assert as_they_were(*captions)


@pytest.mark.unit
def test_a_caption_that_builds_up_line_by_line_is_one():
    above = ("It was a", UPPER)
    assert as_they_were(found(stretch(0, 30, above), stretch(30, 90, above, HOUSE)))


@pytest.mark.unit
def test_a_line_that_is_written_below_another_one_is_part_of_its_caption():
    steps = [("It", 20, 25), ("It is only", 25, 40), ("It is only the wind", 40, 90)]
    lines = [stretch(start, end, (HOUSE[0], UPPER), (text, LOWER)) for text, start, end in steps]
    assert as_they_were(found(stretch(0, 20, (HOUSE[0], UPPER)), *lines))


@pytest.mark.unit
def test_a_line_that_is_misread_for_a_while_does_not_part_its_caption():
    """As while a word of it lights up, which the recognizer takes for another."""
    misread = ("It 1s 0nly", UPPER)
    stretches = [stretch(0, 30, WIND, HOUSE), stretch(30, 60, misread, HOUSE), stretch(60, 90, WIND, HOUSE)]
    assert as_they_were(found(*stretches))
    assert as_they_were(*(found(one) for one in [stretches[0], stretch(30, 60, HOUSE), stretches[2]]))


@pytest.mark.unit
def test_lines_of_which_one_is_replaced_stay_captions_of_two_lines():
    """The second of two captions may repeat a line of the first one."""
    other = ("Which house?", UPPER)
    assert as_they_were(found(stretch(0, 30, WIND, HOUSE)), found(stretch(30, 60, other, HOUSE)))


@pytest.mark.unit
def test_lines_that_roll_up_and_repeats_after_a_gap_are_left_as_they_are():
    rolling = [found(stretch(0, 30, HOUSE), rolls=True), found(stretch(20, 60, WIND), rolls=True)]
    assert as_they_were(*rolling)
    assert as_they_were(found(stretch(0, 30, HOUSE)), found(stretch(31, 60, WIND, HOUSE)))


@pytest.mark.unit
def test_one_line_that_goes_alone_is_said_and_several_are_captions_of_their_own():
    def caption_pair(start: int) -> list[FoundCaption]:
        both, one = stretch(start, start + 30, WIND, HOUSE), stretch(start + 30, start + 60, HOUSE)
        return [found(both), found(one)]

    assert part_overlapping(caption_pair(10), BRIEF, FADE, place) == (caption_pair(10), [10])
    assert parted(*caption_pair(10), *caption_pair(100)) == [
        (10, 40, WIND[0], "upper"),
        (10, 70, HOUSE[0], None),
        (100, 130, WIND[0], "upper"),
        (100, 160, HOUSE[0], None),
    ]


@pytest.mark.unit
def test_a_line_that_comes_above_another_one_does_not_build_it_up():
    captions = [found(stretch(0, 30, HOUSE)), found(stretch(30, 60, WIND, HOUSE))]
    assert part_overlapping(captions, BRIEF, FADE, place) == (captions, [0])


@pytest.mark.unit
def test_words_that_light_up_keep_their_times_in_a_caption_that_is_parted():
    words = tuple(
        TimedWord(text, place(box), 0, 30, (at, at + 10)) for text, box, at in (("He", LOWER, 0), ("wind", UPPER, 10))
    )
    captions = [found(stretch(0, 30, WIND, HOUSE), words=words), found(stretch(30, 60, WIND, DOOR))]
    captions.append(found(stretch(60, 90, DOOR)))
    result, _ = part_overlapping([found(stretch(-20, 0, HOUSE)), *captions], BRIEF, FADE, place)
    assert [[word.text for word in caption.words] for caption in result] == [[], [], []]
    alone = [found(stretch(0, 30, WIND, HOUSE), stretch(30, 60, HOUSE), words=words)]
    alone.append(found(stretch(60, 80, HOUSE), stretch(80, 100, HOUSE, (DOOR[0], UPPER)), stretch(100, 130, HOUSE)))
    result, _ = part_overlapping(alone, BRIEF, FADE, place)
    assert [word.text for word in result[0].words] == ["wind"]


@pytest.mark.unit
def test_the_warning_says_how_many_and_where():
    assert overlap_warnings([]) == ()
    [one], [two] = overlap_warnings([3.21]), overlap_warnings([8.0, 3.21])
    assert one.message.startswith("In the caption at 3.2 s, a line appears or disappears alone")
    assert two.message.startswith("In 2 captions, the first at 3.2 s, a line appears or disappears alone")
    assert (one.code, two.start_s) == ("lines_apart", 3.21)


LINE = 1.35 * SIZE / HEIGHT
ABOVE, BELOW = (0.5, MIDDLE - LINE / 2), (0.5, MIDDLE + LINE / 2)


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine()


def timeline_of(path: Path, events: list[Event], frames: int, engine: OcrEngine) -> Timeline:
    # An event of two lines tells the layout that the track has two.
    events = [Event(0, 40, "Where were you\nlast night?"), *events]
    layout = captioned(path, events, frames)
    return find_captions(probe(path), layout, engine)


def found_in(timeline: Timeline) -> list[tuple[int, int, str, str]]:
    return [(c.start_frame, c.end_frame, fold(c.text), c.track) for c in timeline.captions[1:]]


@pytest.mark.integration
def test_a_second_speaker_above_the_first_has_times_of_their_own(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(48, 90, "He sold the house", at=BELOW),
        Event(64, 110, "Which house?", at=ABOVE),
        Event(98, 140, "The one by the lake", at=BELOW),
        Event(150, 200, "I grew up there", at=BELOW),
        Event(165, 185, "So did I", at=ABOVE, fill="yellow"),
    ]
    timeline = timeline_of(tmp_path / "clip.mp4", events, 210, engine)
    assert found_in(timeline) == [
        (event.start, event.end, fold(event.text), "bottom-upper" if event.at == ABOVE else "bottom")
        for event in events
    ]
    assert not timeline.warnings


@pytest.mark.integration
def test_a_second_line_that_comes_later_and_goes_with_the_first_builds_up(tmp_path: Path, engine: OcrEngine):
    events = [Event(48, 110, "He sold the house", at=ABOVE), Event(70, 110, "by the lake", at=BELOW)]
    timeline = timeline_of(tmp_path / "clip.mp4", events, 120, engine)
    assert found_in(timeline) == [(48, 110, fold("He sold the house by the lake"), "bottom")]


@pytest.mark.integration
def test_one_line_that_goes_before_the_other_is_said(tmp_path: Path, engine: OcrEngine):
    events = [Event(48, 90, "He sold the house", at=ABOVE), Event(48, 120, "by the lake", at=BELOW)]
    timeline = timeline_of(tmp_path / "clip.mp4", events, 130, engine)
    assert found_in(timeline) == [
        (48, 90, fold("He sold the house by the lake"), "bottom"),
        (90, 120, fold("by the lake"), "bottom"),
    ]
    assert [(warning.code, warning.start_s) for warning in timeline.warnings] == [("lines_apart", 2.0)]
