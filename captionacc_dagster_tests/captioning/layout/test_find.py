"""Tracks are found on clips whose captions, logos, clocks, tickers and signs were drawn by the test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout import search as layout_search
from captionacc_dagster.captioning.layout.evidence import Evidence
from captionacc_dagster.captioning.layout.find import find_layout, layout_from_region, read_frame, read_full_frames
from captionacc_dagster.captioning.layout.model import Detection, FrameOcr, Layout, Track
from captionacc_dagster.captioning.layout.mosaics import Cutout, Mosaic, mosaics
from captionacc_dagster.captioning.ocr.base import LineBox, Recognition, TextBox
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.ocr.rapidocr import RapidOcrEngine
from captionacc_dagster.captioning.video.reader import SampledFrame, probe
from captionacc_dagster_tests.captioning.drawn_clips import moving, texture, tight_height, write_clip, write_text

pytestmark = pytest.mark.integration

RATE = 12
WORDS = (
    "Nobody told me about it",
    "I know",
    "The train leaves at seven in the morning",
    "Wait for me",
    "That is not what I meant to say",
    "Look at the old house",
)

Box = tuple[float, float, float, float]
Painter = Callable[[NDArray[np.uint8], int], Box | None]


@pytest.fixture(scope="module")
def engine():
    return create_engine()


def captions(
    y: float = 0.9,
    x: float = 0.5,
    anchor: str = "mm",
    words: tuple[str, ...] = WORDS,
    every: int = 24,
    shown: int = 20,
    size: int = 24,
) -> Painter:
    """Paint one text after another, each ``shown`` of ``every`` frames."""

    def paint(picture: NDArray[np.uint8], at: int) -> Box | None:
        if at % every >= shown or at // every >= len(words) or not words[at // every]:
            return None
        return write_text(picture, words[at // every], (x, y), size, anchor=anchor)

    return paint


def clip(
    folder: Path,
    *painters: Painter,
    frames: int = 144,
    background: Callable[[int], NDArray[np.uint8]] | None = None,
    extras: tuple[Painter, ...] = (),
) -> tuple[Path, list[list[Box]]]:
    """Write a clip; gives the boxes that each of ``painters`` drew. ``extras`` are drawn too, but not listed."""
    behind = background or moving(speed=6)
    boxes: list[list[Box]] = [[] for _ in painters]
    pictures = []
    for at in range(frames):
        picture = behind(at)
        for extra in extras:
            extra(picture, at)
        for number, paint in enumerate(painters):
            box = paint(picture, at)
            if box is not None:
                boxes[number].append(box)
        pictures.append(picture)
    return write_clip(folder / "clip.mp4", pictures, RATE, gop=36), boxes


def layout_of(path: Path, engine) -> Layout:
    facts = probe(path)
    return find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)])


def assert_covers(track: Track, boxes: list[Box]) -> None:
    """Every box lies in the region, which is tight around them across the text but for the room for a second line."""
    left, top, right, bottom = np.array(boxes).T
    region = track.region
    assert region.left <= left.min()
    assert region.right >= right.max()
    assert region.top <= top.min()
    assert region.bottom >= bottom.max()
    if not track.vertical:
        assert tight_height(track) < (bottom.max() - top.min()) + 1.0 * track.line_height


def logo(picture: NDArray[np.uint8], at: int) -> None:
    del at
    write_text(picture, "KANAL 5", (0.88, 0.08), 22)


def clock(picture: NDArray[np.uint8], at: int) -> None:
    write_text(picture, f"12:30:{10 + at // RATE:02d}", (0.1, 0.08), 20)


def ticker(picture: NDArray[np.uint8], at: int) -> None:
    text = "Markets close higher after a quiet session +++ Heavy rain in the north +++ " * 2
    write_text(picture, text, (0.02 - at * 0.012, 0.95), 20, anchor="lm", outline=1)


def sign(picture: NDArray[np.uint8], at: int) -> None:
    write_text(picture, "HOTEL", (0.1 + (at * 0.008) % 0.8, 0.85 - (at * 0.003) % 0.4), 30)


def test_one_track_at_the_bottom_and_no_logo_or_clock(tmp_path: Path, engine):
    path, (boxes,) = clip(tmp_path, captions(), extras=(logo, clock))
    layout = layout_of(path, engine)
    assert [track.name for track in layout.tracks] == ["bottom"]
    (track,) = layout.tracks
    assert_covers(track, boxes)
    assert (track.anchor, track.vertical, len(track.lines)) == ("center", False, 1)
    assert track.texts_seen >= 3
    assert track.confidence > 0.8
    size = 24 / 360  # of the letters: what is asked for below is a line's distance for a second line
    assert track.region.top < min(top for _, top, _, _ in boxes) - 1.15 * size
    assert size < track.line_height < 1.7 * size
    assert layout.crop_region == CropRegion(*track.region.as_tuple())
    assert layout.vertical_center == pytest.approx(0.9, abs=0.02)
    assert (layout.anchor_type, layout.anchor_position) == ("center", pytest.approx(0.5, abs=0.02))
    assert layout.confidence == track.confidence


@pytest.mark.parametrize("intruder", [logo, clock, ticker, sign])
def test_what_is_no_caption_makes_no_track(tmp_path: Path, engine, intruder: Painter):
    path, _ = clip(tmp_path, extras=(intruder,))
    layout = layout_of(path, engine)
    assert layout.tracks == ()
    assert layout.crop_region is None
    assert {label for label, _ in layout.labels.values()} <= {"out"}


@pytest.mark.parametrize("intruder", [ticker, sign])
def test_captions_are_told_from_what_moves(tmp_path: Path, engine, intruder: Painter):
    path, (boxes,) = clip(tmp_path, captions(y=0.8), extras=(intruder,))
    layout = layout_of(path, engine)
    assert len(layout.tracks) == 1
    assert_covers(layout.tracks[0], boxes)


def test_top_and_bottom_are_two_tracks(tmp_path: Path, engine):
    path, (low, high) = clip(tmp_path, captions(), captions(y=0.08, words=WORDS[::-1], every=30, shown=22))
    layout = layout_of(path, engine)
    tracks = {track.name: track for track in layout.tracks}
    assert set(tracks) == {"bottom", "top"}
    assert_covers(tracks["bottom"], low)
    assert_covers(tracks["top"], high)


def test_captions_from_the_left_are_anchored_there(tmp_path: Path, engine):
    path, (boxes,) = clip(tmp_path, captions(x=0.06, anchor="lm"))
    (track,) = layout_of(path, engine).tracks
    assert track.anchor == "left"
    assert_covers(track, boxes)


def test_second_lines_belong_to_the_track(tmp_path: Path, engine):
    words = ("Only one line", "This caption is\nbroken into two", "One again", "And here\nare two more", "The end")
    path, (boxes,) = clip(tmp_path, captions(y=0.93, anchor="md", words=words))
    (track,) = layout_of(path, engine).tracks
    assert len(track.lines) == 2
    assert_covers(track, boxes)


def test_a_single_caption_of_two_lines_among_many_of_one_is_covered(tmp_path: Path, engine):
    words = tuple("I say\nit twice" if number == 4 else f"Line number {number}" for number in range(12))
    path, (boxes,) = clip(tmp_path, captions(y=0.93, anchor="md", words=words), frames=12 * 24)
    (track,) = layout_of(path, engine).tracks
    assert_covers(track, boxes)


class OnlyBands(RapidOcrEngine):
    """Finds no line in a whole picture, as if each of those had come at a bad moment."""

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        return [] if image.shape[0] * 16 == image.shape[1] * 9 else super().detect(image, long_side=long_side)


def test_what_stays_like_captions_is_read_before_all_is_decoded(tmp_path: Path):
    path, (boxes,) = clip(tmp_path, captions(words=WORDS * 4), frames=24 * 24)
    seen: list[tuple[int, int]] = []
    layout = find_layout(probe(path), OnlyBands(), [], progress=lambda _, done, total: seen.append((done, total)))
    assert_covers(layout.tracks[0], boxes)
    *sampled, (last, total) = seen
    assert last == total
    assert max(done for done, _ in sampled) < 0.8 * (total - 1)


def test_what_stays_but_is_no_text_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Blind(RapidOcrEngine):
        def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
            return []

    searched: list[float] = []

    def noted(parts: list[Cutout], side: int) -> Iterator[Mosaic]:
        searched.extend(part.sample.time_s for part in parts)
        return mosaics(parts, side)

    monkeypatch.setattr(layout_search, "mosaics", noted)
    path, _ = clip(tmp_path, captions(words=WORDS * 4), frames=24 * 24)
    assert find_layout(probe(path), Blind(), []).tracks == ()
    assert len(searched) > 2  # after each portion some more
    assert len(set(searched)) == len(searched)


class SeesNothingAtFirst(RapidOcrEngine):
    """Finds no line in the first whole pictures, as if each of those showed a single letter."""

    unseen = 5

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        if image.shape[0] * 16 != image.shape[1] * 9 or self.unseen == 0:
            return super().detect(image, long_side=long_side)
        self.unseen -= 1
        return []


def test_all_of_a_short_clip_is_searched_before_it_has_no_captions(tmp_path: Path):
    words = ("before", "tomorrow", "nobody", "letters", "morning", "station", "garden", "silence")
    path, (boxes,) = clip(tmp_path, captions(words=words * 4, every=3, shown=3, size=30), frames=96)
    (track,) = find_layout(probe(path), SeesNothingAtFirst(), []).tracks
    middles = [(low + high) / 2 for _, low, _, high in boxes]
    assert track.region.top < min(middles) < max(middles) < track.region.bottom


class SeesOneColumn(RapidOcrEngine):
    """Finds one column of text in the first whole pictures, as if the others had come at bad moments."""

    first, columns = 5, 1

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        lines = super().detect(image, long_side=long_side)
        if image.shape[0] * 16 != image.shape[1] * 9 or self.first == 0:
            return lines
        self.first -= 1
        upright = [line for line in lines if line.bbox.height * 9 > line.bbox.width * 16]
        kept = upright[: self.columns]
        self.columns -= len(kept)
        return [line for line in lines if line not in upright or line in kept]


def test_a_column_that_was_seen_once_is_looked_for_again(tmp_path: Path):
    words = ("HARBOR", "STATION", "GARDEN", "MARKET", "BRIDGE", "MUSEUM", "CASTLE", "SCHOOL")

    def columns(picture: NDArray[np.uint8], at: int) -> Box | None:
        word = words[at // 24 % len(words)]
        boxes = [write_text(picture, letter, (0.93, 0.15 + 0.07 * n), 30) for n, letter in enumerate(word)]
        left, top, right, bottom = np.array(boxes).T
        return float(left.min()), float(top.min()), float(right.max()), float(bottom.max())

    path, (low, side) = clip(tmp_path, captions(words=WORDS * 2), columns, frames=288)
    tracks = find_layout(probe(path), SeesOneColumn(), []).tracks
    assert_covers(next(track for track in tracks if track.name == "bottom"), low)
    assert_covers(next(track for track in tracks if track.vertical), side)


def test_a_rare_track_is_found_beside_a_busy_one(tmp_path: Path, engine):
    rare = captions(y=0.08, words=("", "", "", "", "", "Meanwhile in town"))
    path, (low, high) = clip(tmp_path, captions(words=WORDS * 2), rare, frames=288)
    tracks = {track.name: track for track in layout_of(path, engine).tracks}
    assert set(tracks) == {"bottom", "top"}
    assert_covers(tracks["bottom"], low)
    assert_covers(tracks["top"], high)


class SeesTheTopAtFirst(RapidOcrEngine):
    """Finds nothing in the lower half of the first whole pictures, as if they had come at bad moments."""

    first = 6

    def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
        lines = super().detect(image, long_side=long_side)
        if image.shape[0] * 16 != image.shape[1] * 9 or self.first == 0:
            return lines
        self.first -= 1
        return [line for line in lines if line.bbox.bottom < 0.5]


def test_a_place_that_becomes_known_later_is_searched_in_all_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of captions that changed between top and bottom, those at the bottom were seen once and taken for a name plate,
    since most samples had been searched at the top alone."""
    monkeypatch.setattr(Evidence, "strokes_suffice", lambda *_: False)  # as over a busy picture
    high = captions(y=0.08, every=22, shown=11)
    low = captions(every=22, shown=22)

    def lower(picture: NDArray[np.uint8], at: int) -> Box | None:
        return low(picture, at) if at % 22 >= 11 else None

    path, (_, below) = clip(tmp_path, high, lower, frames=132)
    tracks = {track.name: track for track in find_layout(probe(path), SeesTheTopAtFirst(), []).tracks}
    assert {name: track.kind for name, track in tracks.items()} == {"top": "caption", "bottom": "caption"}
    assert_covers(tracks["bottom"], below)
    assert tracks["bottom"].texts_seen >= 5


def test_a_watermark_beside_the_captions_is_outside_or_avoided(tmp_path: Path, engine):
    mark: Box = (0, 0, 0, 0)

    def watermark(picture: NDArray[np.uint8], at: int) -> None:
        nonlocal mark
        mark = write_text(picture, "@nightowl", (0.9, 0.9), 18, outline=1)

    path, (boxes,) = clip(tmp_path, captions(), extras=(watermark,))
    (track,) = layout_of(path, engine).tracks
    assert_covers(track, boxes)
    clear = track.region.right <= mark[0] + 0.01
    covered = any(box[0] <= mark[0] + 0.02 and box[2] >= mark[2] - 0.02 for box in track.avoid)
    assert clear or covered


@pytest.mark.parametrize("scene", ["still", "slides"])
def test_captions_over_pictures_that_do_not_move(tmp_path: Path, engine, scene: str):
    slides = [texture(640, 360, seed) for seed in range(4)]

    def background(at: int) -> NDArray[np.uint8]:
        return slides[at // 40 % 4 if scene == "slides" else 0].copy()

    path, (boxes,) = clip(tmp_path, captions(), background=background, extras=(logo,))
    (track,) = layout_of(path, engine).tracks
    assert track.name == "bottom"
    assert_covers(track, boxes)


def test_a_clip_of_two_seconds_with_one_caption(tmp_path: Path, engine):
    path, (boxes,) = clip(tmp_path, captions(words=("Too short to miss",), shown=18), frames=24)
    (track,) = layout_of(path, engine).tracks
    assert_covers(track, boxes)
    assert track.confidence < 0.8


def test_captions_in_a_small_part_of_a_long_video(tmp_path: Path, engine):
    sparse = captions(size=13, words=tuple(WORDS[n % 6] if 20 <= n < 23 else "" for n in range(40)))
    path, (boxes,) = clip(tmp_path, sparse, frames=40 * 24, background=moving(320, 180))
    (track,) = layout_of(path, engine).tracks
    assert track.name == "bottom"
    assert_covers(track, boxes)


def test_detections_of_full_frames_are_labeled(tmp_path: Path, engine):
    path, _ = clip(tmp_path, captions(words=WORDS * 2, shown=24), frames=288, extras=(logo,))
    facts = probe(path)
    frames = [read for _, read in read_full_frames(facts, engine)]
    layout = find_layout(facts, engine, frames)
    detections = [detection for frame in frames for detection in frame.detections]
    assert len(detections) >= 4
    for detection in detections:
        label, confidence = layout.label(detection)
        assert label == ("out" if detection.text.replace(" ", "") == "KANAL5" else "in")
        assert 0.5 < confidence <= 1.0
    assert all(evidence.bbox.width > 0 for evidence in layout.evidence)


def test_progress_ends_at_its_total(tmp_path: Path, engine):
    path, _ = clip(tmp_path, captions(), frames=60)
    facts = probe(path)
    steps: list[tuple[str, int, int]] = []
    frames = [read for _, read in read_full_frames(facts, engine, on_frame=lambda *step: steps.append(step))]
    find_layout(facts, engine, frames, progress=lambda *step: steps.append(step))
    for stage in ("full_frames", "layout"):
        done = [(number, total) for name, number, total in steps if name == stage]
        assert done[-1][0] == done[-1][1]
        assert done == sorted(done)
        assert len({total for _, total in done}) == 1


def test_a_frame_whose_ocr_fails_is_kept_with_its_error(tmp_path: Path):
    class Failing:
        name = "failing"
        languages = ()

        def read(self, image: NDArray[np.uint8]) -> list[TextBox]:
            raise RuntimeError("out of memory\nsecond line")

        def detect(self, image: NDArray[np.uint8], *, long_side: int | None = None) -> list[LineBox]:
            return []

        def confuses(self, lang: str) -> bool:
            return False

        def reads(self, script: str, *, lang: str | None = None) -> bool:
            return True

        def recognize(self, lines: object, *, script: str | None = None, lang: str | None = None) -> list[Recognition]:
            return []

    path, _ = clip(tmp_path, captions(), frames=36)
    facts = probe(path)
    frames = [read for _, read in read_full_frames(facts, Failing(), 1.0)]
    assert [frame.error for frame in frames] == ["out of memory"] * 3
    assert all(frame.detections == () for frame in frames)
    assert find_layout(facts, Failing(), frames).tracks == ()


def test_a_frame_is_read_into_numbered_detections(engine):
    picture = moving(640, 360)(0)
    write_text(picture, "First", (0.5, 0.2), 30)
    write_text(picture, "Second", (0.5, 0.8), 30)
    read = read_frame(SampledFrame(7, 3.5, picture), engine)
    assert isinstance(read, FrameOcr)
    assert [(d.frame_index, d.box_index, d.timestamp_s, d.text) for d in read.detections] == [
        (7, 0, 3.5, "First"),
        (7, 1, 3.5, "Second"),
    ]


def test_a_drawn_region_is_taken_as_it_is(tmp_path: Path):
    path, _ = clip(tmp_path, frames=3)
    layout = layout_from_region(probe(path), CropRegion(0.1, 0.8, 0.9, 0.95))
    (track,) = layout.tracks
    assert layout.crop_region == CropRegion(0.1, 0.8, 0.9, 0.95)
    assert track.region == BBox(0.1, 0.8, 0.9, 0.95)
    assert (track.vertical, track.confidence, layout.confidence) == (False, 1.0, 1.0)
    assert track.line_height <= 0.15
    assert layout_from_region(probe(path), CropRegion(0.9, 0.1, 0.96, 0.9)).tracks[0].vertical


def test_lines_in_a_drawn_region_are_as_high_as_those_found_there(tmp_path: Path):
    path, _ = clip(tmp_path, frames=3)
    facts = probe(path)
    upper = Track("top", BBox(0.2, 0.05, 0.8, 0.15), 0.06, vertical=False, anchor="left", confidence=0.8)
    lower = Track("bottom", BBox(0.2, 0.8, 0.8, 0.95), 0.07, vertical=False, anchor="center", confidence=0.8)
    found = replace(layout_from_region(facts, CropRegion(0, 0, 1, 1)), tracks=(lower, upper))

    (one,) = layout_from_region(facts, CropRegion(0, 0.6, 1, 1), found).tracks
    assert (one.region, one.line_height, one.anchor) == (BBox(0, 0.6, 1, 1), 0.07, "center")

    both = layout_from_region(facts, CropRegion(0.3, 0, 1, 0.9), found)
    assert both.crop_region == CropRegion(0.3, 0, 1, 0.9)
    assert [track.region for track in both.tracks] == [BBox(0.3, 0.8, 0.8, 0.9), BBox(0.3, 0.05, 0.8, 0.15)]

    seen = replace(found, tracks=(), evidence=(Detection(0, 0, 0.0, "", 0.9, BBox(0.4, 0.4, 0.6, 0.45)),))
    (elsewhere,) = layout_from_region(facts, CropRegion(0.1, 0.3, 0.9, 0.6), seen).tracks
    assert elsewhere.line_height == pytest.approx(0.05)


def test_captions_in_a_drawn_region_that_is_not_tight_are_read(tmp_path: Path, engine):
    path, _ = clip(tmp_path, captions())
    facts = probe(path)
    timeline = find_captions(facts, layout_from_region(facts, CropRegion(0.0, 0.55, 1.0, 1.0)), engine)
    assert [caption.text for caption in timeline.captions] == list(WORDS)
