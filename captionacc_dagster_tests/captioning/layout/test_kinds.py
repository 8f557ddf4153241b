"""Captions are told from other text by what they are: drawn clips of each kind that is mistaken for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.find import find_layout, layout_from_region, read_full_frames
from captionacc_dagster.captioning.layout.fixtures import find_staying
from captionacc_dagster.captioning.layout.kinds import (
    FEATURES,
    KINDS,
    _is_found_around,
    _turns_over_with,
    blocks_of,
    judge_rows,
    row_features,
)
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.layout.regions import track_of
from captionacc_dagster.captioning.layout.rows import Line, Look, Row, RowText, find_rows
from captionacc_dagster.captioning.layout.samples import Sample, SampleDetection, sample_from
from captionacc_dagster.captioning.layout.tracks import find_tracks
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import VideoFacts, probe
from captionacc_dagster_tests.captioning.drawn_clips import moving, write_clip, write_text

pytestmark = pytest.mark.integration

RATE = 12
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def engine():
    return create_engine()


def layout_of(path: Path, engine) -> tuple[VideoFacts, Layout]:
    facts = probe(path)
    return facts, find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)])


def boxed(picture: NDArray[np.uint8], text: str, y: float, size: int = 24) -> Box:
    """Write white text on a black box, centered; return its box."""
    height, width = picture.shape[:2]
    left, top, right, bottom = write_text(picture.copy(), text, (0.5, y), size, outline=0)
    image = Image.fromarray(picture)
    area = (left * width - 6, top * height - 4, right * width + 6, bottom * height + 4)
    ImageDraw.Draw(image).rectangle(area, fill="black")
    picture[:] = np.asarray(image)
    return write_text(picture, text, (0.5, y), size, outline=0)


def covers(region: BBox, box: Box) -> bool:
    return region.left <= box[0] and region.top <= box[1] and region.right >= box[2] and region.bottom >= box[3]


@pytest.mark.parametrize("share", [0.75, 1.0])
def test_one_caption_that_stays_for_most_of_a_short_clip_is_found(tmp_path: Path, engine, share: float):
    """It was taken for a logo, and everything at its place was erased."""
    pictures = []
    box: Box = (0, 0, 0, 0)
    for at in range(7 * RATE):
        picture = moving(speed=6)(at)
        write_text(picture, "Nova", (0.94, 0.07), 15, outline=0)
        if at < share * 7 * RATE:
            box = boxed(picture, "I waited for the right moment to say it", 0.88)
        else:
            boxed(picture, "So here we go", 0.88)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert covers(track.region, box)
    texts = [caption.text for caption in find_captions(facts, layout, engine).captions]
    assert texts == ["I waited for the right moment to say it", *(["So here we go"] if share < 1 else [])]


def test_dark_letters_on_a_light_box_that_stay_in_the_middle_of_a_short_clip_are_found(tmp_path: Path, engine):
    """They were taken for text of a screen, which looks like that."""
    pictures = []
    for at in range(6 * RATE):
        picture = moving(speed=6)(at)
        height, width = picture.shape[:2]
        picture[round(0.36 * height) : round(0.5 * height), round(0.2 * width) : round(0.8 * width)] = 255
        write_text(picture, "Two of them came back", (0.5, 0.43), 24, fill="#141414", outline=0)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    assert [caption.text for caption in find_captions(facts, layout, engine).captions] == ["Two of them came back"]


def test_a_logo_of_a_short_clip_is_left_out_and_named(tmp_path: Path, engine):
    pictures = []
    for at in range(6 * RATE):
        picture = moving(speed=6)(at)
        write_text(picture, "KANAL 5", (0.88, 0.08), 22)
        pictures.append(picture)
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    assert layout.tracks == ()
    (place,) = layout.left_out
    assert (place.kind, place.text.replace(" ", "")) == ("fixture", "KANAL5")
    (warning,) = layout.warnings
    assert (warning.code, warning.message) == (
        "text_left_out",
        f'1 place with text was taken for logos or signs ("{place.text}"); see the layout.',
    )


def test_a_clip_without_text_says_so(tmp_path: Path, engine):
    pictures = [np.full((90, 160, 3), 90, np.uint8)] * RATE
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (warning,) = layout.warnings
    assert warning.code == "no_text_seen"
    assert warning.message.startswith("No text was found in ")
    assert layout.left_out == ()


def test_code_behind_captions_is_an_interface(tmp_path: Path, engine):
    code = ("import os", "", "def load(path):", "    with open(path) as f:", "        return f.read()", "", "load('a')")
    words = ("First we write a function", "It reads a whole file", "Then we call it", "And that is all", "Try it")
    pictures, boxes = [], []
    for at in range(10 * RATE):
        picture = np.full((360, 640, 3), 24, np.uint8)
        picture[:120] = moving(speed=6)(at)[:120]
        for number, line in enumerate(code[: 3 + at // RATE]):
            write_text(picture, line, (0.04, 0.38 + 0.07 * number), 15, anchor="lm", fill="#a0c0e0", outline=0)
        boxes.append(write_text(picture, words[at // (2 * RATE)], (0.5, 0.93), 24))
        pictures.append(picture)
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert track.kind == "caption"
    assert all(covers(track.region, box) for box in boxes)
    assert track.region.top > 0.75
    assert "interface" in {place.kind for place in layout.left_out}


SONG = (
    "Walking down the river road",
    "I was thinking of your name",
    "All the lights are low",
    "Nothing feels the same",
)


def test_a_lit_line_between_dimmed_ones_is_a_caption(tmp_path: Path, engine):
    """The lines of a song were one block, as the lines of a slide are, and all were left out."""
    pictures = []
    for at in range(10 * RATE):
        picture = np.full((360, 640, 3), 16, np.uint8)
        now = at * len(SONG) // (10 * RATE)
        for number, line in enumerate(SONG):
            if abs(number - now) <= 1:
                fill = "white" if number == now else "#68687a"
                write_text(picture, line, (0.5, 0.5 + 0.12 * (number - now)), 26, fill=fill, outline=0)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert track.kind == "caption"
    captions = [caption for caption in find_captions(facts, layout, engine).captions if caption.kind == "caption"]
    assert [caption.text for caption in captions] == list(SONG)


def test_captions_over_code_that_scrolls_behind_them_are_found(tmp_path: Path, engine):
    """The text behind changes with each step, and its lines have the size and the place of the captions' lines."""
    code = [f"{'    ' * (number % 3)}total_{number} = load_row({7 * number}, 'name')" for number in range(60)]
    words = ("First we write a function", "It reads a whole file", "Then we call it", "And that is all", "Now it runs")
    pictures, boxes = [], []
    for at in range(10 * RATE):
        picture = np.full((360, 640, 3), 24, np.uint8)
        for line in range(17):
            number = line + 2 * at // RATE
            write_text(picture, code[number], (0.04, 0.03 + 0.058 * line), 15, anchor="lm", fill="#a0c0e0", outline=0)
        boxes.append(write_text(picture, words[at // (2 * RATE)], (0.5, 0.9), 28))
        pictures.append(picture)
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert track.kind == "caption"
    assert all(covers(track.region, box) for box in boxes)
    assert track.region.top > 0.7


def test_text_that_turns_over_like_captions_is_rather_followed_than_lost():
    """It is more likely text of a screen; its track says how doubtful it is."""
    screen: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
    rows = [
        Row(
            False,
            [Line(n, 2.0 * n, 100, 540, low, low + 20, 0.9, 1.0) for n in range(5)],
            chances={**screen, "caption": chance, "interface": 1 - chance},
        )
        for low, chance in ((300, 0.3), (40, 0.05))
    ]
    for row in rows:
        row.texts = [RowText(2.0 * n, 2.0 * n, 100, 440) for n in range(5)]
    (track,) = find_tracks(rows, (640, 360))
    assert track.is_doubtful
    assert track.rows == rows[:1]
    assert track.confidence == pytest.approx(0.3)
    certain = Row(False, rows[0].lines, rows[0].texts, chances={**screen, "caption": 0.9})
    assert [track.is_doubtful for track in find_tracks([certain, rows[1]], (640, 360))] == [False]


@pytest.mark.parametrize(("chance", "is_followed"), [(0.35, True), (0.4, False)])
def test_a_few_texts_that_look_a_little_more_like_captions_do_not_decide(chance: float, is_followed: bool):
    """Of all rows of a screen, one of two texts was followed, and five texts in one place were left out."""

    def row_of(texts: int, low: float, likely: dict[Kind, float]) -> Row:
        lines = [Line(n, 2.0 * n, 100, 540, low, low + 20, 0.9, 1.0) for n in range(texts)]
        followed = [RowText(2.0 * n, 2.0 * n, 100, 440) for n in range(texts)]
        return Row(False, lines, followed, chances=dict.fromkeys(KINDS, 0.0) | likely)

    row = row_of(5, 300, {"caption": 0.3, "interface": 0.7})
    tracks = find_tracks([row, row_of(2, 150, {"caption": chance, "lower_third": 0.3})], (640, 360))
    assert [track.all_rows for track in tracks if track.is_doubtful] == [[row]] * is_followed


def look(bright: float, dark: float) -> Look:
    return Look(bright, dark, ring=0.1, step=0.1)


def level_row(low: float, high: float, begins: Sequence[float], count: int, kind: Kind, *, start: float = 100) -> Row:
    """Return a row of lines that begin at one place, with texts that begin at some times."""
    lines = [Line(n, 2.0 * n, start, start + 200 + 31 * (n % 3), low, high, 0.8, 1.0) for n in range(count)]
    texts = [RowText(begin, begin + 1.0, start, 200.0) for begin in begins]
    return Row(False, lines, texts, chances={other: 0.9 if other == kind else 0.02 for other in KINDS})


@pytest.mark.parametrize(("low", "count", "is_around"), [(296, 2, True), (296, 9, False), (200, 2, False)])
def test_what_was_found_around_a_row_is_that_row(low: float, count: int, is_around: bool):
    """In two samples, text of a page was found with what is around it, and that was followed as captions."""
    page = level_row(300, 324, (0.0, 4.0, 8.0), 8, "interface")
    assert _is_found_around(level_row(low, low + 40, (0.0, 4.0), count, "caption"), page) is is_around


@pytest.mark.parametrize("begins", [(0.0, 4.0, 8.0), (0.0, 4.0, 9.0), (0.0,)])
def test_the_title_of_each_page_turns_over_with_its_text(begins: tuple[float, ...]):
    page = level_row(120, 144, begins if len(begins) == 1 else (0.0, 4.0, 8.0), 6, "interface")
    assert _turns_over_with(level_row(40, 70, begins, 6, "caption"), page) is (begins == (0.0, 4.0, 8.0))


def test_rows_of_one_block_look_alike():
    """A caption and the code behind it change together by chance."""
    rows = [
        Row(False, [Line(n, 2.0 * n, 100, 540, low, low + 20, 0.9, 1.0) for n in range(4)], look=look(*contrasts))
        for low, contrasts in ((40, (0.5, 0.2)), (62, (0.55, 0.25)), (84, (0.95, 0.6)))
    ]
    for row in rows:
        row.texts = [RowText(2.0 * n, 2.0 * n, 100, 440) for n in range(4)]
    assert blocks_of(rows) == [rows[:2], rows[2:]]


def test_a_caption_over_the_edge_of_a_bar_keeps_its_upper_line(tmp_path: Path, engine):
    """The edge is the same in all samples; it is no text that stays."""
    words = ("Nobody told me about it", "I know that", "The train leaves at seven", "Wait for me", "Look at the house")
    pictures, boxes = [], []
    for at in range(10 * RATE):
        picture = moving(speed=6)(at)
        picture[:45] = 0
        picture[315:] = 0
        boxes.append(
            write_text(
                picture, f"{words[at // (2 * RATE)]}\n{words[at // (2 * RATE) - 2]}", (0.5, 0.955), 22, anchor="md"
            )
        )
        pictures.append(picture)
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert len(track.lines) == 2
    assert all(covers(track.region, box) for box in boxes)
    assert track.avoid == ()


def test_whatever_is_in_a_drawn_region_is_read(tmp_path: Path, engine):
    """A person's region is the truth: what the search took for a logo is read there, too."""
    pictures = []
    for at in range(4 * RATE):
        picture = moving(speed=6)(at)
        write_text(picture, "KANAL FIVE", (0.84, 0.1), 24)
        pictures.append(picture)
    facts, found = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    assert found.tracks == ()
    layout = layout_from_region(facts, CropRegion(0.6, 0.0, 1.0, 0.2), found)
    assert [caption.text for caption in find_captions(facts, layout, engine).captions] == ["KANAL FIVE"]


def test_a_line_off_the_center_is_inside_the_region(tmp_path: Path, engine):
    pictures, boxes = [], []
    words = ("Nobody told me about it", "I know that you do", "Look at the old house", "Wait for me now", "I never did")
    for at in range(10 * RATE):
        picture = moving(speed=6)(at)
        number = at // (2 * RATE)
        boxes.append(write_text(picture, words[number], (0.14 if number == 4 else 0.5, 0.9), 24))
        pictures.append(picture)
    _, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    (track,) = layout.tracks
    assert all(covers(track.region, box) for box in boxes)


def test_two_speakers_side_by_side_are_read_apart(tmp_path: Path, engine):
    """One region across both makes one caption of two that are visible at once."""
    background = moving(speed=6)
    left = {(0.5, 3.0): "I never said that", (4.0, 6.5): "Where are the keys", (8.0, 9.5): "Wait for me"}
    right = {(2.0, 4.5): "Look at the road", (5.5, 7.5): "That was long ago", (8.5, 9.9): "She works there"}
    pictures = []
    for at in range(10 * RATE):
        picture = background(at)
        for captions, x in ((left, 0.25), (right, 0.76)):
            for (start_s, end_s), text in captions.items():
                if start_s <= at / RATE < end_s:
                    write_text(picture, text, (x, 0.9), 22)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    found = find_captions(facts, layout, engine).captions
    assert [[c.text for c in found if (c.bbox.left < 0.5) == side] for side in (True, False)] == [
        list(left.values()),
        list(right.values()),
    ]


def test_two_speakers_close_together_in_the_place_of_other_captions_are_read_apart(tmp_path: Path, engine):
    """Their text was one line, and a text that came far beside another one began with that."""
    shown = [
        (0.5, 2.0, "Where were you last night", 0.5, "mm"),
        (2.5, 4.0, "Not now.", 0.44, "rm"),
        (2.5, 4.0, "Run ahead and knock", 0.55, "lm"),
        (4.5, 6.0, "Who is it?", 0.3, "rm"),
        (5.25, 6.0, "Sit down.", 0.65, "lm"),
        (6.5, 8.0, "Put your coat over there", 0.5, "mm"),
    ]
    pictures = []
    for at in range(8 * RATE):
        picture = moving(speed=6)(at)
        for start_s, end_s, text, x, anchor in shown:
            if start_s <= at / RATE < end_s:
                write_text(picture, text, (x, 0.9), 24, anchor=anchor)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    captions = find_captions(facts, layout, engine).captions
    assert [(round(c.start_s, 2), round(c.end_s, 2), c.text) for c in captions] == [cue[:3] for cue in shown]
    assert {c.track for c in captions} == {"bottom", "bottom-left", "bottom-right"}


def test_another_speaker_a_line_above_and_beside_is_read_apart(tmp_path: Path, engine):
    """The lines were one caption, and the room for a second line reached over the other speaker."""
    turns = [
        ("We used to live by the sea",),
        ("There was never the time",),
        ("Good morning.", "You never told me that."),
        ("As you like, but be quick",),
        ("Nobody knows the old road",),
        ("Sit down.", "I prefer to wait here."),
        ("The train leaves at seven",),
    ]
    background = moving(speed=6)
    pictures = []
    for at in range(2 * len(turns) * RATE):
        picture = background(at)
        *upper, lower = turns[at // (2 * RATE)]
        if at % (2 * RATE) >= RATE // 4:
            write_text(picture, lower, (0.7 if upper else 0.5, 0.93), 24)
            for text in upper:
                write_text(picture, text, (0.22, 0.84), 24)
        pictures.append(picture)
    facts, layout = layout_of(write_clip(tmp_path / "clip.mp4", pictures, RATE), engine)
    texts = {caption.text for caption in find_captions(facts, layout, engine).captions}
    assert texts == {text for turn in turns for text in turn}


def words_clip(path: Path, drift: int) -> Path:
    """Draw single words of a sixth of a second in a portrait picture, and move them by ``drift`` pixels a frame."""
    words = [
        "SO",
        "YOU",
        "WANT",
        "THE",
        "HOUSE",
        "ON",
        "A",
        "MOON",
        "BUT",
        "WHERE",
        "SHALL",
        "WE",
        "START",
        "FIRST",
        "THEN",
        "ROCKET",
        "AND",
        "MONEY",
    ]
    background = moving(width=360, height=640, speed=6)
    pictures = []
    for at in range(8 * RATE):
        picture = background(at)
        if at % 12 != 11:
            y = 0.4 + drift * (at % 19) / 640
            write_text(picture, words[at // 2 % len(words)], (0.5, y), 44)
        pictures.append(picture)
    return write_clip(path, pictures, RATE)


def test_words_that_replace_one_another_in_the_middle_are_captions(tmp_path: Path, engine):
    """Each word is gone in the second picture of its sample, as text that moves away is."""
    _, layout = layout_of(words_clip(tmp_path / "clip.mp4", drift=0), engine)
    (track,) = layout.tracks
    assert track.region.top < 0.38
    assert track.region.bottom > 0.42


def test_words_that_move_are_no_captions(tmp_path: Path, engine):
    _, layout = layout_of(words_clip(tmp_path / "clip.mp4", drift=16), engine)
    assert layout.tracks == ()


# Every amount of evidence

SIZE = (320, 180)


@st.composite
def evidence(draw: st.DrawFn) -> tuple[list[Sample], list[SampleDetection]]:
    """Samples with 0, 1, 2 ... lines each, anywhere, of any size."""
    noise = np.random.default_rng(draw(st.integers(0, 3)))
    samples, found = [], []
    for number in range(draw(st.integers(1, 7))):
        picture = noise.integers(40, 220, SIZE[::-1], np.uint8)
        later = draw(st.sampled_from([picture, np.roll(picture, 5, 1), None]))
        samples.append(sample_from(0.7 * number, picture, picture, later))
        for _ in range(draw(st.integers(0, 3))):
            left, top = draw(st.integers(0, 300)), draw(st.integers(0, 170))
            width, height = draw(st.integers(1, 320 - left)), draw(st.integers(1, min(60, 180 - top)))
            box = BBox(left / 320, top / 180, (left + width) / 320, (top + height) / 180)
            still = draw(st.sampled_from([0.0, 0.5, 1.0]))
            found.append(SampleDetection(number, 0.7 * number, box, draw(st.floats(0.1, 1.0)), still))
    return samples, found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(evidence(), st.floats(0.1, 60.0))
def test_any_amount_of_evidence_gives_tracks_inside_the_picture(
    seen: tuple[list[Sample], list[SampleDetection]], duration_s: float
):
    samples, found = seen
    staying = find_staying(samples, found)
    assert all(entry in found for entry in staying)
    rows = find_rows(samples, found, [entry.bbox for entry in staying], SIZE)
    judge_rows(rows, samples, SIZE, duration_s)
    features = row_features(rows, samples, SIZE, duration_s)
    assert features.shape == (len(rows), len(FEATURES))
    assert np.isfinite(features).all()
    assert sorted(id(row) for block in blocks_of(rows) for row in block) == sorted(id(row) for row in rows)
    for row in rows:
        assert set(row.chances) == set(KINDS)
        assert sum(row.chances.values()) == pytest.approx(1.0, abs=1e-4)
    for row in rows:  # whatever the classifier says, tracks must follow
        row.chances = {kind: float(kind == "caption") for kind in KINDS}
    for track in find_tracks(rows, SIZE):
        region = track_of(track, SIZE, [], []).region
        assert 0 <= region.left <= region.right <= 1
        assert 0 <= region.top <= region.bottom <= 1
        assert 0 <= track.confidence <= 1
