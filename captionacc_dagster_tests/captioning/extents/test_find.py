"""Every hard property of finding captions, each on a small clip of its own that fails when the property breaks."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import Timeline
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.reading import fold
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.find import find_layout, layout_from_region, read_full_frames
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine, OcrError, Recognition
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.captioning.captioned_clips import HEIGHT, MIDDLE, RATE, SIZE, WIDTH, Event, captioned
from captionacc_dagster_tests.captioning.drawn_clips import Picture, moving, texture, write_text

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine()


def found(path: Path, layout: Layout, engine: OcrEngine) -> list[tuple[int, int, str]]:
    timeline = find_captions(probe(path), layout, engine)
    return [(caption.start_frame, caption.end_frame, caption.text) for caption in timeline.captions]


def assert_found(path: Path, layout: Layout, engine: OcrEngine, events: list[Event], *, within: int = 0) -> None:
    got = found(path, layout, engine)
    assert [fold(text) for _, _, text in got] == [fold(event.text) for event in events], got
    for (start, end, _), event in zip(got, events, strict=True):
        assert abs(start - event.start) <= within, (got, event)
        assert abs(end - event.end) <= within, (got, event)


def test_one_character_changes_without_a_gap(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(0, 30, "Bring me some milk"),
        Event(30, 62, "Bring me some silk"),
        Event(62, 96, "Bring me some silt"),
    ]
    layout = captioned(tmp_path / "clip.mp4", events, 96)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_short_captions_and_gaps_of_single_frames(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(10, 18, "Stop right there"),
        Event(19, 43, "What happened here?"),
        Event(45, 53, "Nobody knows"),
        Event(56, 80, "Then let us leave"),
    ]
    layout = captioned(tmp_path / "clip.mp4", events, 92)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_words_of_a_few_frames_are_captions_of_their_own(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(12, 16, "THIS"),
        Event(16, 20, "IS"),
        Event(21, 31, "SPOKEN"),
        Event(31, 34, "VERY"),
        Event(34, 38, "FAST"),
        Event(46, 50, "INDEED"),
    ]
    layout = captioned(tmp_path / "clip.mp4", events, 62)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_words_of_two_frames_are_captions_of_their_own(tmp_path: Path, engine: OcrEngine):
    lengths = [("TODAY", 2), ("WILL", 3), ("THEY", 2), ("SHOW", 2), ("YOU", 3), ("HOW", 2), ("THIS", 5), ("GOES", 2)]
    events, start = [], 12
    for text, length in lengths:
        events.append(Event(start, start + length, text))
        start += length
    layout = captioned(tmp_path / "clip.mp4", events, start + 12)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_captions_that_the_start_and_the_end_of_a_clip_cut_off_are_found(tmp_path: Path, engine: OcrEngine):
    events = [Event(0, 3, "WANT TO"), Event(14, 40, "KNOW MORE?"), Event(54, 57, "GO ON")]
    layout = captioned(tmp_path / "clip.mp4", events, 57)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_brief_word_that_looks_like_the_next_one_is_no_sign(tmp_path: Path, engine: OcrEngine):
    """A letter that differs leaves little of a difference when the others are laid on each other."""
    events, start = [], 12
    for text in ("yet", "let", "yet", "more", "move", "MONEY", "IN", "MAKE", "MAKES", "TAKE"):
        events.append(Event(start, start + 3, text))
        start += 3
    plain = np.full((HEIGHT, WIDTH, 3), (60, 80, 110), np.uint8)
    layout = captioned(tmp_path / "clip.mp4", events, start + 12, background=lambda _: plain.copy())
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_caption_that_slides_in_starts_when_it_is_seen(tmp_path: Path, engine: OcrEngine):
    """What slides is no caption of its own, and another one before it is cut in, at its frame."""
    at_rest = [Event(10, 40, "Nobody saw it"), Event(46, 80, "Now it slides in"), Event(88, 120, "Say it again")]

    def slide(picture: Picture, frame: int) -> None:
        if 40 <= frame < 46:
            write_text(picture, "Now it slides in", (0.5, MIDDLE - 0.008 * (46 - frame)), SIZE)
        if 120 <= frame < 125:
            write_text(picture, "Say it again", (0.5, MIDDLE + 0.01 * (frame - 119)), SIZE)

    layout = captioned(tmp_path / "clip.mp4", at_rest, 136, paint=slide)
    events = [at_rest[0], Event(40, 80, "Now it slides in"), Event(88, 125, "Say it again")]
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_repeat_after_a_gap_is_a_caption_of_its_own(tmp_path: Path, engine: OcrEngine):
    events = [Event(6, 40, "Say it again"), Event(42, 76, "Say it again"), Event(90, 120, "Say it again")]
    layout = captioned(tmp_path / "clip.mp4", events, 132)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_fades_begin_and_end_where_half_is_visible(tmp_path: Path, engine: OcrEngine):
    events = [Event(14, 70, "Slowly it comes", fade=7), Event(84, 140, "and slowly it goes", fade=7)]
    layout = captioned(tmp_path / "clip.mp4", events, 150)
    halves = [
        Event(
            min(f for f in range(150) if event.opacity(f) >= 0.5),
            max(f for f in range(150) if event.opacity(f) >= 0.5) + 1,
            event.text,
        )
        for event in events
    ]
    assert_found(tmp_path / "clip.mp4", layout, engine, halves, within=2)


def test_a_background_cut_inside_a_caption_is_no_cut(tmp_path: Path, engine: OcrEngine):
    events = [Event(8, 80, "The scene changes here"), Event(80, 110, "and here it goes on")]
    one, other = moving(WIDTH, HEIGHT, seed=1), moving(WIDTH, HEIGHT, speed=3.0, seed=5)
    layout = captioned(
        tmp_path / "clip.mp4",
        events,
        120,
        background=lambda frame: one(frame) if frame < 44 else other(frame),
    )
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


PAGES = (
    "from pathlib import Path\nimport numpy as np\n\ndef main(path):\n    return path.read_text()",
    "def split(text, limit):\n    parts = text.split()\n    return parts[:limit]\n\nprint(split(line, 4))",
    "class Window:\n    width = 640\n    height = 360\n    def draw(self, screen):\n        screen.fill(0)",
    "for number in range(10):\n    total += number\n    if total > 20:\n        break\nprint(total)",
)


def page(text: str, *, paper: int, fill: str, size: int) -> np.ndarray:
    """Return a screen full of lines of text."""
    picture = np.full((HEIGHT, WIDTH, 3), paper, np.uint8)
    for top in (0.32, 0.6, 0.88):
        write_text(picture, text, (0.5, top), size, fill=fill, outline=0)
    return picture


def test_text_behind_a_caption_does_not_split_it(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(0, 80, "This is where the code begins"),
        Event(80, 124, "Bring me some milk"),
        Event(124, 168, "Bring me some silk"),
    ]
    pages = [page(text, paper=30, fill="#8c8c8c", size=15) for text in PAGES]
    layout = captioned(tmp_path / "clip.mp4", events, 168, background=lambda frame: pages[frame // 17 % 4].copy())
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_letters_behind_a_caption_are_not_read_with_it(tmp_path: Path, engine: OcrEngine):
    events = [
        Event(0, 70, "It has been cold lately"),
        Event(70, 120, "When it gets cold"),
        Event(120, 168, "we stay at home"),
    ]
    pages = [page(text, paper=250, fill="#202020", size=13) for text in PAGES]
    layout = captioned(
        tmp_path / "clip.mp4", events, 168, background=lambda frame: boxed(pages[frame // 29 % 4].copy(), frame, events)
    )
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def boxed(picture: np.ndarray, frame: int, events: list[Event], level: int = 12) -> np.ndarray:
    """Draw the box of the caption that is visible on a frame."""
    for event in events:
        if event.start <= frame < event.end:
            left, top, right, bottom = write_text(picture.copy(), event.text, event.at, SIZE)
            columns = slice(int(left * WIDTH) - 8, int(right * WIDTH) + 8)
            picture[int(top * HEIGHT) - 4 : int(bottom * HEIGHT) + 4, columns] = level
    return picture


def test_what_is_left_out_because_it_is_on_no_box_is_said(tmp_path: Path, engine: OcrEngine):
    texts = (
        "Nobody has seen him",
        "We were here all day",
        "Bring me some milk",
        "The train was late",
        "It was so cold",
    )
    events = [Event(36 * n + 6, 36 * n + 30, text) for n, text in enumerate(texts)]
    odd = events.pop(2)
    scene = np.full((HEIGHT, WIDTH, 3), (60, 80, 110), np.uint8)
    layout = captioned(
        tmp_path / "clip.mp4", [*events, odd], 192, background=lambda frame: boxed(scene.copy(), frame, events)
    )
    timeline = find_captions(probe(tmp_path / "clip.mp4"), layout, engine)
    assert [caption.text for caption in timeline.captions] == [event.text for event in events]
    (warning,) = timeline.warnings
    assert (warning.code, warning.start_s) == ("text_left_out", pytest.approx(odd.start / RATE))
    assert warning.message.startswith("1 text without the box of the captions was left out, the first at ")
    person = layout_from_region(probe(tmp_path / "clip.mp4"), CropRegion(0.02, 0.7, 0.98, 0.98), layout)
    everything = find_captions(probe(tmp_path / "clip.mp4"), person, engine)
    assert odd.text in [caption.text for caption in everything.captions]
    assert everything.warnings == ()


@pytest.mark.parametrize("anchor", ["center", "mixed"])
def test_text_of_a_slide_beside_boxed_captions_is_no_caption(tmp_path: Path, engine: OcrEngine, anchor: str):
    """It is in the color of the captions, on their line, and alone between two of them.

    Where the layout took it for captions, it found no common anchor.
    """
    events = [
        Event(12, 60, "There are two ways to answer"),
        Event(76, 120, "So we open the folder"),
        Event(136, 180, "and it goes on"),
    ]
    slides = [np.full((HEIGHT, WIDTH, 3), 70, np.uint8) for _ in range(3)]
    for slide, text in zip(slides, ("market 623", "engine 544", "rocket 918"), strict=True):
        for left in (0.12, 0.5, 0.88):
            write_text(slide, text, (left, MIDDLE), 20, outline=0)
    layout = captioned(
        tmp_path / "clip.mp4", events, 192, background=lambda frame: boxed(slides[frame // 66].copy(), frame, events)
    )
    region = BBox(0.02, layout.tracks[0].region.top, 0.98, layout.tracks[0].region.bottom)
    layout = replace(layout, tracks=(replace(layout.tracks[0], region=region, anchor=anchor),))
    if anchor == "mixed":
        beside = [replace(seen, bbox=replace(seen.bbox, left=0.04, right=0.2)) for seen in layout.evidence]
        layout = replace(layout, evidence=tuple(beside))
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_letters_as_bright_as_the_page_end_with_their_box(tmp_path: Path, engine: OcrEngine):
    """The page takes over their level: they lasted until the next caption, or until the end of the video."""
    events = [Event(20, 60, "It has been cold lately"), Event(76, 110, "When it gets cold"), Event(128, 156, "we stay")]
    paper = np.full((HEIGHT, WIDTH, 3), 252, np.uint8)
    layout = captioned(
        tmp_path / "clip.mp4", events, 176, background=lambda frame: boxed(paper.copy(), frame, events, level=90)
    )
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_slides_that_do_not_move_are_no_captions(tmp_path: Path, engine: OcrEngine):
    events = [Event(20, 60, "Welcome to the lecture"), Event(90, 126, "Any questions so far?")]
    slides = [texture(WIDTH, HEIGHT, seed) for seed in (2, 3, 4)]
    layout = captioned(tmp_path / "clip.mp4", events, 144, background=lambda frame: slides[frame // 48].copy())
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_change_of_color_inside_a_caption_is_no_cut(tmp_path: Path, engine: OcrEngine):
    event = Event(10, 70, "Sing along with me")
    plain = moving(WIDTH, HEIGHT)

    def sung(frame: int) -> np.ndarray:
        """White at first, then yellow from the left as it is sung."""
        picture = plain(frame)
        if event.start <= frame < event.end:
            yellow = picture.copy()
            write_text(picture, event.text, event.at, SIZE)
            write_text(yellow, event.text, event.at, SIZE, fill="yellow")
            done = int(WIDTH * (0.3 + 0.4 * (frame - event.start) / (event.end - event.start)))
            picture[:, :done] = yellow[:, :done]
        return picture

    layout = captioned(tmp_path / "white.mp4", [event], 84)
    captioned(tmp_path / "clip.mp4", [], 84, background=sung)
    assert_found(tmp_path / "clip.mp4", layout, engine, [event])


def test_a_sweep_of_a_darker_color_does_not_end_the_caption(tmp_path: Path, engine: OcrEngine):
    events = [Event(10, 85, "Row your boat along"), Event(90, 165, "gently down the stream")]
    plain = moving(WIDTH, HEIGHT)

    def sung(frame: int) -> np.ndarray:
        """White at first, then blue from the left as it is sung."""
        picture = plain(frame)
        for event in events:
            if event.start <= frame < event.end:
                blue = picture.copy()
                write_text(picture, event.text, event.at, SIZE)
                write_text(blue, event.text, event.at, SIZE, fill="#4488ff")
                done = int(WIDTH * (0.25 + 0.5 * (frame - event.start) / (event.end - event.start)))
                picture[:, :done] = blue[:, :done]
        return picture

    layout = captioned(tmp_path / "white.mp4", events, 180)
    captioned(tmp_path / "clip.mp4", [], 180, background=sung)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_two_lines_come_from_top_to_bottom(tmp_path: Path, engine: OcrEngine):
    events = [Event(5, 50, "First the upper line\nthen the lower one"), Event(50, 90, "Only a single line")]
    layout = captioned(tmp_path / "clip.mp4", events, 96)
    got = found(tmp_path / "clip.mp4", layout, engine)
    assert [text.split("\n") for _, _, text in got] == [event.text.split("\n") for event in events]
    assert [(start, end) for start, end, _ in got] == [(5, 50), (50, 90)]


def test_the_first_frame_and_the_last_belong_to_captions(tmp_path: Path, engine: OcrEngine):
    events = [Event(0, 40, "It begins at once"), Event(52, 90, "and runs to the end")]
    path = tmp_path / "clip.mp4"
    layout = captioned(path, events, 90)
    timeline = find_captions(probe(path), layout, engine)
    first, last = timeline.captions
    assert (first.start_s, last.end_frame) == (0.0, 90)
    assert last.end_s == pytest.approx(90 / RATE, abs=0.005)


def test_variable_frame_rate_keeps_the_times_of_the_frames(tmp_path: Path, engine: OcrEngine):
    steps = [42 if number % 3 else 84 for number in range(96)]
    pts = [0, *itertools.accumulate(steps[:-1])]
    events = [Event(12, 40, "Times are uneven here"), Event(40, 80, "but they are exact")]
    path = tmp_path / "clip.mp4"
    layout = captioned(path, events, 96, pts=pts)
    timeline = find_captions(probe(path), layout, engine)
    assert [(c.start_frame, c.end_frame) for c in timeline.captions] == [(12, 40), (40, 80)]
    for caption, event in zip(timeline.captions, events, strict=True):
        assert caption.start_s == pytest.approx(pts[event.start] / 1000, abs=0.002)
        assert caption.end_s == pytest.approx(pts[event.end] / 1000, abs=0.002)


def test_frames_that_are_stored_only_on_change_last_until_the_next_one(tmp_path: Path, engine: OcrEngine):
    pts = [0, 1200, 4000, 5500, 8100, 8600, 11000]  # a second frame of the last caption, half a second later
    events = [Event(1, 2, "Welcome to the lesson"), Event(3, 4, "Open the settings"), Event(4, 6, "and save them")]
    slide = texture(WIDTH, HEIGHT, 3)
    path = tmp_path / "clip.mkv"
    layout = captioned(path, events, len(pts), pts=pts, background=lambda _: slide.copy())
    timeline = find_captions(probe(path), layout, engine)
    assert [(c.start_frame, c.end_frame) for c in timeline.captions] == [(1, 2), (3, 4), (4, 6)]
    assert [fold(c.text) for c in timeline.captions] == [fold(event.text) for event in events]
    assert [round(c.start_s, 2) for c in timeline.captions] == [1.2, 5.5, 8.1]


def test_punctuation_and_single_words_are_read(tmp_path: Path, engine: OcrEngine):
    events = [Event(8, 40, "What?!"), Event(52, 84, "No.")]
    layout = captioned(tmp_path / "clip.mp4", events, 96)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_logo_beside_the_captions_does_not_get_into_the_text(tmp_path: Path, engine: OcrEngine):
    events = [Event(10, 50, "Only this is said"), Event(60, 100, "and nothing else")]

    def logo(picture: np.ndarray, frame: int) -> None:
        write_text(picture, "NEWS 24", (0.82, 0.88), 20, outline=0)

    layout = captioned(tmp_path / "clip.mp4", events, 112, paint=logo)
    assert_found(tmp_path / "clip.mp4", layout, engine, events)


def test_a_moving_background_alone_gives_no_captions(tmp_path: Path, engine: OcrEngine):
    layout = captioned(tmp_path / "text.mp4", [Event(2, 20, "Seen once")], 24)
    path = tmp_path / "clip.mp4"
    captioned(path, [], 120, background=moving(WIDTH, HEIGHT, speed=2.0, seed=7))
    assert found(path, layout, engine) == []


def test_hard_compression_splits_no_caption(tmp_path: Path, engine: OcrEngine):
    events = [Event(10, 110, "This one stands for long"), Event(110, 140, "and this one does not")]
    layout = captioned(tmp_path / "clip.mp4", events, 150, crf=34)
    assert_found(tmp_path / "clip.mp4", layout, engine, events, within=1)


def test_a_video_without_tracks_has_no_captions_and_is_not_decoded(tmp_path: Path, engine: OcrEngine):
    path = tmp_path / "clip.mp4"
    captioned(path, [], 30)
    facts = probe(path)
    layout = find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)])
    assert layout.tracks == ()
    timeline = find_captions(facts, layout, engine, chunks_dir=tmp_path / "chunks")
    assert (timeline.captions, timeline.pairs, timeline.native_frame_count) == ((), (), 0)


def test_labels_follow_the_captions(tmp_path: Path, engine: OcrEngine):
    events = [Event(24, 60, "Here is the first"), Event(60, 96, "and here the second")]
    path = tmp_path / "clip.mp4"
    layout = captioned(path, events, 120)
    timeline: Timeline = find_captions(probe(path), layout, engine)
    assert timeline.cropped_frame_count == 50
    assert [pair.frame1_index for pair in timeline.pairs] == list(range(49))
    labels = [pair.label for pair in timeline.pairs]
    assert {name: labels.count(name) for name in set(labels)} == {
        "empty_empty": 18,
        "empty_valid": 1,
        "same": 28,
        "different": 1,
        "valid_empty": 1,
    }
    for pair in timeline.pairs:
        total = (
            pair.prob_same + pair.prob_different + pair.prob_empty_empty + pair.prob_empty_valid + pair.prob_valid_empty
        )
        assert total == pytest.approx(1.0)
        assert pair.confidence == getattr(pair, f"prob_{pair.label}")


def test_few_recognitions_are_enough(tmp_path: Path, engine: OcrEngine):
    events = [Event(24 * n, 24 * n + 20, f"Caption number {n}") for n in range(1, 6)]
    path = tmp_path / "clip.mp4"
    layout = captioned(path, events, 156)
    timeline = find_captions(probe(path), layout, engine)
    assert len(timeline.captions) == 5
    assert timeline.ocr_recognitions <= 10


class Failing:
    """An engine that has read nothing when it fails."""

    name = "failing"

    def recognize(self, line_images: list[NDArray[np.uint8]]) -> list[Recognition]:
        raise OcrError("out of order")


@pytest.mark.timeout(60)
def test_an_engine_that_fails_leaves_no_thread_behind(tmp_path: Path):
    words = ("First thing", "Second thing", "Third thing", "Last thing")
    path = tmp_path / "clip.mp4"
    layout = captioned(path, [Event(50 * n, 50 * n + 45, text) for n, text in enumerate(words * 4)], 800)
    with pytest.raises(OcrError, match="out of order") as failure:
        find_captions(probe(path), layout, cast("OcrEngine", Failing()), chunks_dir=tmp_path / "chunks")
    # As long as the failure is kept, so are the frames of the calls that it went through.
    assert failure.tb is not None
    assert not {"decode", "chunks"} & {thread.name for thread in threading.enumerate()}


def test_a_frame_rate_that_is_not_positive_is_refused(tmp_path: Path, engine: OcrEngine):
    path = tmp_path / "clip.mp4"
    layout = captioned(path, [], 5)
    with pytest.raises(ValueError, match="a frame rate must be positive, got 0"):
        find_captions(probe(path), layout, engine, 0)


def test_slow_fades_are_no_captions_of_their_own(tmp_path: Path, engine: OcrEngine):
    events = [Event(0, 66, "You could have told me", fade=15), Event(76, 150, "The house is empty now", fade=23)]
    still = texture(WIDTH, HEIGHT, 6)
    layout = captioned(tmp_path / "clip.mp4", events, 166, background=lambda _: still.copy())
    halves = []
    for event in events:
        half = [frame for frame in range(166) if event.opacity(frame) >= 0.5]
        halves.append(Event(half[0], half[-1] + 1, event.text))
    assert_found(tmp_path / "clip.mp4", layout, engine, halves, within=2)


def test_a_sign_that_drifts_through_the_roi_is_no_caption(tmp_path: Path, engine: OcrEngine):
    events = [Event(10, 50, "Only this is said"), Event(110, 150, "and nothing else")]
    scene = texture(2 * WIDTH, HEIGHT, 4).copy()
    write_text(scene, "MARKET", (0.3, 0.88), 28, outline=0)
    layout = captioned(
        tmp_path / "clip.mp4", events, 160, background=lambda frame: scene[:, frame // 2 : frame // 2 + WIDTH].copy()
    )
    assert_found(tmp_path / "clip.mp4", layout, engine, events)
