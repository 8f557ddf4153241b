"""Captions whose words move: highlighted or added one after another, rolled up, with dimmed lines around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.captions import Caption, Kind, Timeline
from captionacc_dagster.captioning.extents.dimmed_lines import has_context, mark_dimmed
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.growth import Growth
from captionacc_dagster.captioning.extents.merging import FoundCaption, TimedWord
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.step_changes import Step, step_change, with_unread_lines
from captionacc_dagster.captioning.extents.strokes import StrokeModel
from captionacc_dagster.captioning.extents.track_scripts import LineReading
from captionacc_dagster.captioning.extents.word_timing import _evidence, are_spoken, is_begun, is_next_step
from captionacc_dagster.captioning.extents.words import ReadLine, ReadWord, locate_read_words, word_spans
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.captioning.captioned_clips import MIDDLE, RATE, SIZE, Event, captioned
from captionacc_dagster_tests.captioning.drawn_clips import Picture, write_text

LINE_PX = 30.0
WORDS = (("Bring", 0.3), ("me", 0.42), ("some", 0.53), ("milk", 0.65))


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine()


def followed(path: Path, layout: Layout, engine: OcrEngine) -> Timeline:
    return find_captions(probe(path), layout, engine)


def only(timeline: Timeline) -> Caption:
    (caption,) = timeline.captions
    return caption


@pytest.mark.integration
def test_words_that_build_up_are_one_caption(tmp_path: Path, engine: OcrEngine):
    onsets = (10, 22, 34, 46)
    events = [Event(onset, 66, text, at=(x, MIDDLE)) for (text, x), onset in zip(WORDS, onsets, strict=True)]
    layout = captioned(tmp_path / "clip.mp4", events, 80)
    layout = replace(layout, tracks=(replace(layout.tracks[0], anchor="mixed"),))
    caption = only(followed(tmp_path / "clip.mp4", layout, engine))
    assert (caption.start_frame, caption.end_frame, caption.text) == (10, 66, "Bring me some milk")
    assert [(word.text, round(word.start_s * RATE)) for word in caption.words] == [
        (text, onset) for (text, _), onset in zip(WORDS, onsets, strict=True)
    ]
    assert all(word.end_s == caption.end_s and word.highlight_start_s is None for word in caption.words)
    lefts = [word.bbox.left for word in caption.words]
    assert lefts == sorted(lefts)
    assert caption.bbox.left <= lefts[0] < caption.words[-1].bbox.right <= caption.bbox.right + 0.01


@pytest.mark.integration
@pytest.mark.parametrize(("onsets", "kind"), [((10, 22, 34, 46), "caption"), ((10, 10, 10, 34), "lower_third")])
def test_what_comes_word_by_word_is_no_name_plate(
    tmp_path: Path, engine: OcrEngine, onsets: tuple[int, ...], kind: Kind
):
    """The only caption of a short clip, at the bottom left, was left out. A name plate may come in two steps."""
    events = [Event(onset, 66, text, at=(x, MIDDLE)) for (text, x), onset in zip(WORDS, onsets, strict=True)]
    layout = captioned(tmp_path / "clip.mp4", events, 80)
    plate = replace(layout.tracks[0], anchor="mixed", kind="lower_third")
    assert only(followed(tmp_path / "clip.mp4", replace(layout, tracks=(plate,)), engine)).kind == kind


@pytest.mark.unit
@pytest.mark.parametrize("are_lit", [True, False])
def test_words_that_light_up_one_by_one_are_no_name_plate(are_lit: bool):
    """Karaoke at the bottom left, the only text of a clip, was left out."""
    place = BBox(0.05, 0.8, 0.5, 0.9)
    words = tuple(
        TimedWord(text, place, 10, 60, (10 + 10 * number, 20 + 10 * number) if are_lit else None)
        for number, text in enumerate(("Bring", "me", "some"))
    )
    found = FoundCaption(10, 60, Reading("Bring me some", 0.99, 1), place, 0.9, 900, words=words)
    assert are_spoken([found]) == are_lit


@pytest.mark.unit
@pytest.mark.parametrize(
    ("start", "text", "begun"), [(10, "Bring me", True), (2, "Bring me", False), (10, "No", False)]
)
def test_the_beginning_of_a_caption_is_known_by_its_text_where_the_picture_adds_strokes(
    start: int, text: str, begun: bool
):
    """Code behind a caption that builds up was read with its first word, whose start was lost then."""
    place, strokes = BBox(0.2, 0.8, 0.8, 0.9), np.zeros((20, 100), bool)
    first = FoundCaption(start, 22, Reading(text, 0.99, 1), place, 0.9, 900)
    growth = Growth(10, (((0, 0, 50, 20), 10), ((50, 0, 99, 20), 22)))
    assert is_begun(first, growth, Reading(")> Bring me some", 0.9, 1), strokes) == begun


@pytest.mark.integration
def test_a_highlight_runs_through_the_words_of_one_caption(tmp_path: Path, engine: OcrEngine):
    onsets = (10, 22, 34, 46, 58)
    events = []
    for number, (text, x) in enumerate(WORDS):
        lit = onsets[number : number + 2]
        events.append(Event(lit[0], lit[1], text, fill="#3050e0", at=(x, MIDDLE)))
        events += [
            Event(start, end, text, at=(x, MIDDLE)) for start, end in ((10, lit[0]), (lit[1], 70)) if start < end
        ]
    layout = captioned(tmp_path / "clip.mp4", events, 80)
    caption = only(followed(tmp_path / "clip.mp4", layout, engine))
    assert (caption.start_frame, caption.end_frame, caption.text) == (10, 70, "Bring me some milk")
    assert [
        (word.text, round((word.highlight_start_s or 0) * RATE), round((word.highlight_end_s or 0) * RATE))
        for word in caption.words
    ] == [(text, onsets[number], onsets[number + 1]) for number, (text, _) in enumerate(WORDS)]


@pytest.mark.integration
def test_each_line_that_rolls_up_is_a_caption(tmp_path: Path, engine: OcrEngine):
    texts = ("Bring me some milk", "Nobody has seen him", "The train was late", "We wait for news")
    low, high = MIDDLE + 0.04, MIDDLE - 0.04
    events = []
    for number, text in enumerate(texts):
        start = 10 + 30 * number
        events.append(Event(start, start + 30, text, at=(0.5, low)))
        events.append(Event(start + 30, start + 60, text, at=(0.5, high)))
    layout = captioned(tmp_path / "clip.mp4", events, 180)
    found = followed(tmp_path / "clip.mp4", layout, engine).captions
    assert [(caption.start_frame, caption.end_frame, caption.text) for caption in found] == [
        (10 + 30 * number, 70 + 30 * number, text) for number, text in enumerate(texts)
    ]


@pytest.mark.integration
def test_lines_that_scroll_up_for_some_frames_are_captions_once(tmp_path: Path, engine: OcrEngine):
    """Each step of a roll-up that scrolls smoothly was a caption of all its lines."""
    texts = ("Bring me some milk", "Nobody has seen him", "The train was late", "We wait for news")
    low, high, scroll = MIDDLE + 0.04, MIDDLE - 0.04, 5
    events = []
    for number, text in enumerate(texts):
        start = 10 + 30 * number
        for row in range(2):
            came = start + 30 * row
            to = (low, high)[row]
            for frame in range(scroll):
                at = (0.5, to + (low - high) * (1 - (frame + 1) / (scroll + 1)))
                events.append(Event(came + frame, came + frame + 1, text, at=at))
            events.append(Event(came + scroll, came + 30, text, at=(0.5, to)))
    layout = captioned(tmp_path / "clip.mp4", events, 180)
    found = followed(tmp_path / "clip.mp4", layout, engine).captions
    assert [caption.text for caption in found] == list(texts)
    for number, caption in enumerate(found):
        assert abs(caption.start_frame - (10 + 30 * number)) <= scroll
        assert abs(caption.end_frame - (70 + 30 * number)) <= scroll


@pytest.mark.integration
def test_a_dimmed_line_below_a_highlighted_one_is_text_of_another_kind(tmp_path: Path, engine: OcrEngine):
    onsets, high, low = (10, 22, 34, 46, 58), MIDDLE - 0.04, MIDDLE + 0.04

    def paint(picture: Picture, number: int) -> None:
        if 10 <= number < 58:
            dimmed = picture.copy()
            write_text(dimmed, "Nobody has seen him", (0.5, low), SIZE)
            picture[:] = np.rint(picture * 0.65 + dimmed * 0.35).astype(np.uint8)

    events = []
    for number, (text, x) in enumerate(WORDS):
        lit = onsets[number : number + 2]
        events.append(Event(lit[0], lit[1], text, fill="#3050e0", at=(x, high)))
        events += [Event(a, b, text, at=(x, high)) for a, b in ((10, lit[0]), (lit[1], 58)) if a < b]
    layout = captioned(tmp_path / "clip.mp4", events, 70, paint=paint)
    found = followed(tmp_path / "clip.mp4", layout, engine).captions
    assert [(c.kind, c.text, c.start_frame, c.end_frame) for c in found] == [
        ("caption", "Bring me some milk", 10, 58),
        ("context", "Nobody has seen him", 10, 58),
    ]
    assert found[1].bbox.top > found[0].bbox.top
    assert found[1].words == ()


def step(
    words: Sequence[tuple[str, int, int]],
    levels: Sequence[int] = (),
    top: int = 10,
    *,
    start: int = 0,
    boxed: int | None = None,
) -> Step:
    """Return a step with one line of words ``(text, left, right)`` whose strokes have some levels."""
    level = np.full((60, 400), 40, np.float32)
    strokes = np.zeros(level.shape, bool)
    read = []
    for number, (text, left, right) in enumerate(words):
        if number == boxed:
            level[top - 2 : top + 22, left - 3 : right + 3] = 220
        strokes[top : top + 20, left:right:3] = True
        level[top : top + 20, left:right:3] = levels[number] if levels else 235
        read.append(ReadWord(text, (left, top, right, top + 20)))
    text = " ".join(word.text for word in read)
    line = ReadLine(text, (words[0][1], top, words[-1][2], top + 20), tuple(read))
    reading = Reading(text, 0.9, 1, lines=(line,))
    return Step.of(start, start + 10, reading, level, strokes, strokes)


PLAIN = [("This", 20, 60), ("is", 80, 100), ("line", 120, 150), ("one", 170, 200)]


@pytest.mark.unit
def test_what_another_speaker_said_beside_a_caption_is_no_highlighted_word():
    """The two captions of a dialog were one, with both texts, as long as both."""
    beside = [*PLAIN, ("Never", 260, 310)]
    assert step_change(step(beside), step(PLAIN), LINE_PX) is None
    near = [*PLAIN, ("more", 215, 250)]
    assert step_change(step(near), step(PLAIN), LINE_PX) == "highlight"


@pytest.mark.unit
def test_a_highlighted_word_that_is_misread_is_no_new_caption():
    misread = [("This", 20, 60), ("is", 80, 100), ("ine", 124, 150), ("one", 170, 200)]
    lost = [("This", 20, 60), ("is", 80, 100), ("one", 170, 200)]
    before = step(PLAIN)
    assert step_change(before, step(misread, boxed=2), LINE_PX) == "highlight"
    assert step_change(before, step(misread, [235, 235, 120, 235]), LINE_PX) == "highlight"
    assert step_change(before, step(lost), LINE_PX) == "highlight"
    assert step_change(before, step(misread), LINE_PX) is None  # a letter less, and nothing looks otherwise
    moved = [("This", 45, 85), ("is", 105, 125), ("one", 145, 175)]
    assert step_change(before, step(moved), LINE_PX) is None  # a centered caption with a word less


@pytest.mark.unit
def test_a_word_that_was_not_read_but_is_still_there_is_no_change():
    """An "I" in the box of a highlight was not read: the rest of its caption was one of its own."""
    before, again = step(PLAIN), step(PLAIN)
    lines = (replace(again.lines[0], text="This line one", words=(again.words[0], *again.words[2:])),)
    unread = replace(again, reading=replace(again.reading, text="This line one", lines=lines))
    assert step_change(before, unread, LINE_PX) == "highlight"


@pytest.mark.unit
def test_two_words_that_were_read_as_one_are_where_they_were():
    """Beside a box that was read as a bar, "this map" was read as "thismap", and its caption was parted."""
    bar = [("look", 20, 60), ("|", 75, 80), ("this", 100, 140), ("map", 150, 190)]
    joined = [("look", 20, 60), ("thismap", 100, 190)]
    assert step_change(step(bar, boxed=1), step(joined), LINE_PX) == "highlight"


def stacked(upper: Step, lower: Step, *, read: Sequence[int]) -> Step:
    """Return a step with the strokes of two lines, of which some were read."""
    level = np.maximum(upper.level, lower.level).astype(np.float32)
    lines = tuple(line for number in read for line in (upper, lower)[number].lines)
    reading = replace(upper.reading, text="\n".join(line.text for line in lines), lines=lines)
    strokes = upper.strokes | lower.strokes
    return Step.of(0, 10, reading, level, strokes, strokes)


@pytest.mark.unit
def test_a_line_that_was_not_read_but_is_still_there_is_no_change():
    """Of two lines, one with its last word in a color like the picture's was not read."""
    upper, lower = step(PLAIN), step([("Nobody", 30, 90), ("knows", 110, 160)], top=36)
    both = stacked(upper, lower, read=(0, 1))
    assert step_change(both, stacked(step(PLAIN[:3]), lower, read=(1,)), LINE_PX) == "highlight"
    assert step_change(both, lower, LINE_PX) is None
    assert step_change(both, stacked(step(PLAIN[:1]), lower, read=(1,)), LINE_PX) is None


@pytest.mark.unit
@pytest.mark.parametrize("is_there", [True, False])
def test_a_line_that_rolled_up_over_letters_is_there_though_it_was_not_read(is_there: bool):
    """Over code, a line was read in one of its two places: it ended there, and a second roll-up started."""
    line, other = [("Nobody", 30, 90), ("knows", 110, 160)], [("The", 30, 60), ("train", 80, 130)]
    before = stacked(step(PLAIN, top=4), step(line, top=34), read=(0, 1))
    upper = step(line if is_there else PLAIN, top=4)
    after = stacked(upper, step(other, top=34), read=(1,))
    assert step_change(before, after, LINE_PX) is None
    complete = with_unread_lines(before, after, 30, LINE_PX)
    assert [line.text for line in complete.lines] == (["Nobody knows"] if is_there else []) + ["The train"]
    assert step_change(before, complete, LINE_PX) == ("roll" if is_there else None)


@pytest.mark.unit
def test_a_name_plate_above_lines_that_roll_up_is_another_text():
    """It began another caption of all lines that were there."""
    plate, upper, lower = step([("Anna", 30, 80)], top=0), step(PLAIN, top=20), step([("and", 20, 60)], top=40)
    place, reading = BBox(0.2, 0.8, 0.8, 0.9), Reading("", 0.9, 1)
    after = replace(upper.reading, lines=(*plate.lines, *upper.lines, *lower.lines))
    before = replace(upper.reading, lines=(*upper.lines, *lower.lines))
    last = FoundCaption(
        0, 10, reading, place, 0.9, 900, steps=(replace(stacked(upper, lower, read=()), reading=before),)
    )
    found = replace(last, start=10, end=20, steps=(replace(stacked(upper, lower, read=()), reading=after),))
    assert is_next_step(replace(last, rolls=True), found, LINE_PX)
    assert not is_next_step(last, found, LINE_PX)
    rolled = replace(
        after,
        lines=(*plate.lines, replace(lower.lines[0], box=upper.lines[0].box), *step([("all", 20, 70)], top=40).lines),
    )
    assert step_change(found.steps[0], replace(found.steps[0], reading=rolled), LINE_PX) == "roll"


@pytest.mark.unit
def test_words_are_added_to_one_that_was_there_but_not_read():
    """A lone "I" below a line that had rolled up was not read: the words after it began another caption."""
    upper, lower = step(PLAIN), step([("I", 30, 36), ("used", 50, 90)], top=36)
    lone = stacked(upper, step([("I", 30, 36)], top=36), read=(0,))
    assert step_change(lone, stacked(upper, lower, read=(0, 1)), LINE_PX) == "build"


@pytest.mark.unit
@pytest.mark.parametrize(("confidences", "is_same"), [((0.8, 0.99), True), ((0.99, 0.8), False), ((0.8, 0.8), False)])
def test_a_caption_grows_from_a_word_whose_script_was_not_sure(confidences: tuple[float, float], is_same: bool):
    """ "Im", which is short, was a caption of its own before "Im Jahr", which is surely read."""
    found = []
    for number, confidence in enumerate(confidences):
        shown = step(PLAIN[: number + 1], start=10 * number)
        reading = replace(shown.reading, confidence=confidence, waiting=(LineReading(None),))
        place = BBox(0.2, 0.8, 0.8, 0.9)
        found.append(FoundCaption(shown.start, shown.end, reading, place, 0.9, 900, steps=(shown,)))
    assert is_next_step(found[0], found[1], LINE_PX) == is_same


@pytest.mark.unit
def test_a_larger_highlighted_word_that_is_not_read_leaves_its_room():
    """The words beside it make room for it: of a line of karaoke with "is" lit, only "This  line two" was read."""
    before = step([("This", 16, 76), ("is", 96, 116), ("line", 136, 166), ("one", 186, 216)], boxed=0)
    after = step([("This", 27, 67), ("line", 125, 155), ("one", 175, 205)], levels=[235, 235, 235])
    assert step_change(before, after, LINE_PX) == "highlight"


@pytest.mark.unit
def test_a_letter_more_in_an_outlined_word_is_no_highlight():
    """Its outline, which is longer, was taken for a box that lights up: "Esa mesa" and "Esta mesa" were one caption."""
    first = step([("Esa", 80, 100), ("mesa", 120, 160), ("es", 180, 200)])
    second = step([("Esta", 40, 100), ("mesa", 120, 160), ("es", 180, 200)])
    for one, left in ((first, 80), (second, 40)):
        one.level[10:30, left:205][~one.strokes[10:30, left:205]] = 60  # the outline
    first.level[10:30, 40:80] = 230  # the picture, where the longer word is going to be
    assert step_change(first, second, LINE_PX) is None


@pytest.mark.unit
def test_another_character_that_is_surely_read_is_no_highlight():
    first, second = ([("这", 20, 40), ("是", 44, 64), ("第", 68, 88), (last, 92, 112)] for last in "一二")
    before, after = step(first, [235, 235, 235, 160]), step(second)
    assert step_change(before, after, LINE_PX) == "highlight"  # it may be misread: the readings are not sure
    before, after = (replace(one, reading=replace(one.reading, confidence=1.0)) for one in (before, after))
    assert step_change(before, after, LINE_PX) is None


@pytest.mark.unit
def test_another_word_with_a_highlight_is_another_caption():
    other = [*PLAIN[:3], ("two", 170, 200)]
    assert step_change(step(PLAIN, boxed=3), step(other, boxed=0), LINE_PX) is None


@pytest.mark.unit
def test_a_space_that_was_not_read_hides_no_other_word():
    """ "lineone" is half like "line two": twelve seconds of three lines of karaoke were one caption."""
    unparted = [*PLAIN[:2], ("lineone", 120, 200)]
    other = [*PLAIN[:3], ("two", 170, 200)]
    assert step_change(step(unparted, boxed=2), step(other, boxed=0), LINE_PX) is None
    assert step_change(step(unparted, boxed=2), step(PLAIN, boxed=0), LINE_PX) == "highlight"


@pytest.mark.unit
def test_two_words_misread_side_by_side_are_compared_one_by_one():
    """Where a highlight goes from one to the next, both together look the same before and after."""
    before = step([PLAIN[0], ("i", 80, 100), PLAIN[2], PLAIN[3]], boxed=1)
    after = step([PLAIN[0], PLAIN[1], ("ine", 120, 150), PLAIN[3]], boxed=2)
    assert step_change(before, after, LINE_PX) == "highlight"
    unparted = step([("Thisis", 20, 100), *PLAIN[2:]], boxed=0)
    assert step_change(unparted, after, LINE_PX) == "highlight"
    lost = step([PLAIN[0], PLAIN[2], PLAIN[3]])
    lost.level[8:32, 77:103] = 220  # where "is" is highlighted
    misread = step([PLAIN[0], PLAIN[1], ("in", 120, 150), PLAIN[3]], boxed=2)
    assert step_change(lost, misread, LINE_PX) == "highlight"
    assert step_change(misread, lost, LINE_PX) == "highlight"


@pytest.mark.unit
def test_the_box_of_a_word_may_reach_over_a_highlighted_one_that_was_not_read():
    before = step([("This", 16, 76), ("is", 80, 88), ("line", 92, 122), ("one", 132, 162)], boxed=0)
    after = step([("This", 20, 60), ("line", 62, 120), ("one", 130, 160)])
    assert step_change(before, after, LINE_PX) == "highlight"


@pytest.mark.unit
def test_lines_that_differ_little_do_not_roll_up():
    upper, lower = step(PLAIN), step([*PLAIN[:3], ("two", 170, 200)])
    assert step_change(upper, lower, LINE_PX) is None
    assert step_change(step(PLAIN, top=34), step(PLAIN, top=6), LINE_PX) == "roll"


@pytest.mark.unit
def test_dimmed_lines_around_a_highlighted_one_are_context():
    def found(lit: str, dimmed: str, start: int) -> FoundCaption:
        lines = (
            ReadLine(lit, (20, 10, 200, 30), ()),
            ReadLine(dimmed, (20, 40, 200, 60), (), dimmed=True),
        )
        reading = Reading(f"{lit}\n{dimmed}", 0.9, 1, lines=lines)
        return FoundCaption(start, start + 30, reading, BBox(0.2, 0.8, 0.8, 0.9), 0.9, 900)

    song = [found("We walked all night", "Down to the river", 0), found("Down to the river", "And sang", 30)]
    assert has_context(song)
    translated = [found("We walked all night", "Wir liefen", 0), found("Down to the river", "Zum Fluss", 30)]
    assert not has_context(translated)


@pytest.mark.unit
@pytest.mark.parametrize(("contrast", "level", "dimmed"), [(80, 120, True), (80, 235, False), (190, 120, False)])
def test_a_dimmed_line_has_less_contrast_and_another_color(contrast: int, level: int, dimmed: bool):
    strokes = np.zeros((60, 200), bool)
    picture = np.full(strokes.shape, 30, np.float32)
    picture[32:] = level - contrast
    for top, own in ((5, 235), (35, level)):
        strokes[top : top + 20, 10:190:12] = strokes[top : top + 20, 11:190:12] = True
        picture[top : top + 20][strokes[top : top + 20]] = own
    lines = tuple(ReadLine(text, (10, top, 190, top + 20), ()) for text, top in (("lit", 5), ("next", 35)))
    reading = Reading("lit\nnext", 0.9, 1, lines=lines)
    marked = mark_dimmed(reading, StrokeModel(picture, (), LINE_PX), strokes)
    assert [line.dimmed for line in marked.lines] == [False, dimmed]


@pytest.mark.unit
def test_words_are_parted_at_spaces_and_between_ideographs():
    assert [text[a:b] for text in ["No, 你好。Yes"] for a, b in word_spans(text)] == ["No,", "你", "好。", "Yes"]
    strokes = np.zeros((20, 100), bool)
    strokes[:, 5:30] = strokes[:, 40:90] = True
    words = locate_read_words("ab cde", [10, 24, 35, 50, 65, 85], (5, 0, 90, 20), strokes)
    assert [(word.text, word.box) for word in words] == [("ab", (5, 0, 30, 20)), ("cde", (40, 0, 90, 20))]
    words = locate_read_words("שלום לך", (), (5, 0, 90, 20), strokes)
    assert words[0].box[0] > words[1].box[2] - 1


@pytest.mark.unit
@pytest.mark.parametrize("first_px", [20, 32])  # of the first character, in whose place a box may be
def test_ideographs_are_parted_on_a_grid_however_roughly_they_were_placed(first_px: int):
    """The recognizer placed a character over half of the next one, whose highlight then counted for both."""
    strokes = np.zeros((20, 260), bool)
    for number in range(8):
        left = 40 + 24 * number
        strokes[2:18, left : left + 20 : 2] = True
        strokes[2:18, left + 8 : left + 11] = number % 2 == 0  # a gap within a character
    strokes[:, 60 - first_px : 60] = True
    centers = [50 + 24 * number + (-9, 7, 9, -6, 8, -8, 9, -9)[number] for number in range(8)]
    words = locate_read_words("离边境还有六十公", centers, (60 - first_px, 0, 228, 20), strokes)
    assert [word.box[0] for word in words[1:]] == pytest.approx([64 + 24 * number for number in range(7)], abs=2)


@pytest.mark.unit
def test_words_that_are_not_equally_wide_are_parted_where_they_were_seen():
    strokes = np.zeros((20, 100), bool)
    strokes[:, 2:22] = strokes[:, 26:90] = True
    assert [word.box[0] for word in locate_read_words("一王川", [12, 24, 58], (2, 0, 90, 20), strokes)][1] == 26


@pytest.mark.unit
@pytest.mark.filterwarnings("error")
def test_a_word_without_strokes_in_any_step_warns_of_nothing():
    """NumPy's warning about it went to the terminal of whoever processed such a video."""
    steps = [step(PLAIN, boxed=number, start=10 * number) for number in (0, 1, 2)]
    faint = ReadWord("more", (260, 10, 300, 30))
    evidence = _evidence([*steps[0].words, faint], steps)
    assert evidence.shape == (5, 3)
    assert np.isfinite(evidence).all()
    assert evidence[:3].argmax(axis=0).tolist() == [0, 1, 2]


@pytest.mark.unit
def test_a_mark_that_is_read_beside_a_line_is_no_change_of_it():
    """A note read in the picture at the left of a line shifted its characters: karaoke was cut in two."""
    words = [("桜", 60, 85), ("が", 90, 115), ("舞", 120, 145), ("い", 150, 175)]
    shifted = [("♪", 20, 22), ("桜", 25, 65), ("が", 70, 105), ("舞", 110, 140), ("い", 145, 175)]
    before, after = step(words), step(words, [235, 160, 235, 235])
    with_mark = replace(before, reading=replace(step(shifted).reading, confidence=1.0))
    assert (
        step_change(with_mark, replace(after, reading=replace(after.reading, confidence=1.0)), LINE_PX) == "highlight"
    )


@pytest.mark.unit
@pytest.mark.parametrize("is_there", [True, False])
def test_the_rest_of_a_word_that_was_not_read_is_still_there(is_there: bool):
    """Of "BEFORE", lit in a dark color, only "B" was read. "cat" after "cats" is another caption."""
    rng = np.random.default_rng(4)
    before = step([*PLAIN[:3], ("before", 170, 230)])
    after = step([*PLAIN[:3], ("b", 170, 180)])
    letters = rng.integers(0, 2, (20, 25)).repeat(2, axis=1) * 100
    before.level[10:30, 180:230] = 100 + letters
    after.level[10:30, 180:230] = 100 + letters // 3 if is_there else rng.integers(90, 110, (20, 50))
    assert (step_change(before, after, LINE_PX) == "highlight") == is_there


@pytest.mark.unit
@pytest.mark.parametrize(("lit", "last", "is_same"), [(1, "one", True), (1, "two", False)])
def test_a_highlight_is_followed_before_the_script_of_a_line_is_known(lit: int, last: str, is_same: bool):
    """Each word of Arabic that lit up began another caption."""
    found = []
    for number, word in enumerate((PLAIN[3], (last, 170, 200 if is_same else 260))):
        levels = [160 if number and place == lit else 235 for place in range(4)]
        shown = step([*PLAIN[:3], word], levels, start=10 * number)
        reading = replace(shown.reading, confidence=0.85, waiting=(LineReading(None),))
        place = BBox(0.2, 0.8, 0.8, 0.9)
        found.append(
            FoundCaption(shown.start, shown.end, reading, place, 0.9, 900, steps=(replace(shown, reading=reading),))
        )
    assert is_next_step(found[0], found[1], LINE_PX) == is_same
