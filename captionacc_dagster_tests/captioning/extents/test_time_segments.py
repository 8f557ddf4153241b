"""A video followed in time segments gives what following it as a whole gives; captions over a cut stay one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.captioning.captions import Caption, Timeline, Word
from captionacc_dagster.captioning.extents import time_segments
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.time_segments import (
    SegmentFindings,
    follow_time_segment,
    join_time_segments,
    segment_times,
)
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.find import layout_from_region
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import VideoFacts, probe
from captionacc_dagster_tests.small_clips import make_clip

WORDS = ["North", "South", "East", "West", "River", "Stone", "Cloud", "Field", "House", "Garden", "Window", "Bridge"]
WORDS += ["Market", "Harbour", "Castle", "Lantern"]
CUT_FRAME = 512  # 20.48 s: where chunks of 25 cropped frames a second begin again


def caption(start_s: float, end_s: float, text: str, confidence: float = 0.9) -> Caption:
    box = BBox(0.3, 0.8, 0.7, 0.9)
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 10),
        end_frame=round(end_s * 10),
        text=text,
        confidence=confidence,
        bbox=box,
    )


def part(start_s: float, end_s: float, own: tuple[float, float], captions: Sequence[Caption]) -> SegmentFindings:
    """Return a segment at ten frames a second that covers ``start_s`` to ``end_s``; captions in the video's time."""
    first = round(start_s * 10)
    return SegmentFindings(
        captions=tuple(replace(c, start_frame=c.start_frame - first, end_frame=c.end_frame - first) for c in captions),
        times=tuple(number / 10 for number in range(first, round(end_s * 10))),
        own_frames=(round(own[0] * 10) - first, round(own[1] * 10) - first),
        shown=tuple(range(round(own[0] * 10) - first, round(own[1] * 10) - first)),
        end_s=end_s,
        recognitions=1,
        seconds={"ocr": 1.0},
    )


def joined(left: Sequence[Caption], right: Sequence[Caption]) -> list[Caption]:
    """Join two segments that are cut at 50 s and both cover 20 s to 65 s."""
    parts = [part(0, 65, (0, 50), left), part(20, 100, (50, 100), right)]
    return list(join_time_segments([SegmentFindings.from_json(p.to_json()) for p in parts]).captions)


@pytest.mark.unit
class TestJoining:
    def test_what_both_saw_is_there_once(self) -> None:
        both = [caption(40, 44, "a"), caption(52, 55, "b")]
        assert joined([caption(3, 5, "first"), *both], [*both, caption(90, 95, "last")]) == [
            caption(3, 5, "first"),
            *both,
            caption(90, 95, "last"),
        ]

    def test_a_caption_over_the_cut_is_one(self) -> None:
        over = caption(48, 53, "over")
        assert joined([over], [over, caption(60, 62, "next")]) == [over, caption(60, 62, "next")]

    def test_everything_about_a_caption_is_kept(self) -> None:
        word = Word(text="word", start_s=40.0, end_s=42.0, bbox=BBox(0.3, 0.8, 0.4, 0.9), highlight_start_s=41.0)
        full = replace(caption(40, 44, "word"), lang="en", script="Latn", unread=True, kind="title", words=(word,))
        assert joined([full], []) == [full]

    def test_the_language_of_all_segments_decides_where_opening_marks_are_missing(self) -> None:
        first, second = joined([caption(3, 5, "No hay nadie en la calle.")], [caption(90, 95, "Vamos!")])
        assert (first.text, second.text) == ("No hay nadie en la calle.", "¡Vamos!")

    def test_back_to_back_captions_meet_at_an_end(self) -> None:
        run = [caption(start, start + 6, f"{start}") for start in range(2, 98, 6)]
        assert joined([c for c in run if c.end_s <= 65], [c for c in run if c.start_s >= 20]) == run

    def test_a_caption_longer_than_what_both_saw_is_one(self) -> None:
        whole = joined([caption(5, 65, "sign", 0.8)], [caption(20, 90, "sign!", 0.9)])
        assert whole == [caption(5, 90, "sign!", 0.9)]

    def test_lines_that_roll_up_over_the_cut_are_there_once(self) -> None:
        lines = [caption(start, start + 8, f"line {start}") for start in range(22, 64, 4)]
        assert joined([c for c in lines if c.end_s <= 65], [c for c in lines if c.start_s >= 22]) == lines

    def test_what_is_cut_off_at_the_end_of_the_view_is_left_to_the_other(self) -> None:
        assert joined([caption(63, 65, "cut o")], [caption(63, 68, "cut off")]) == [caption(63, 68, "cut off")]
        assert joined([caption(15, 24, "early")], [caption(20, 24, "rly")]) == [caption(15, 24, "early")]

    def test_what_only_one_saw_is_kept(self) -> None:
        assert joined([caption(45, 47, "seen")], []) == [caption(45, 47, "seen")]
        assert joined([], [caption(53, 55, "seen")]) == [caption(53, 55, "seen")]

    def test_the_cuts_of_the_camera_are_there_once(self) -> None:
        parts = [
            replace(part(0, 65, (0, 50), []), cuts_s=(3.0, 40.0, 52.0)),
            replace(part(20, 100, (50, 100), []), cuts_s=(40.0, 50.0, 52.0, 90.0)),
        ]
        timeline = join_time_segments([SegmentFindings.from_json(p.to_json()) for p in parts])
        assert timeline.cuts_ms == [3000, 40_000, 50_000, 52_000, 90_000]

    def test_no_parts(self) -> None:
        with pytest.raises(ValueError, match="no time segments"):
            join_time_segments([])

    def test_a_part_that_is_none(self) -> None:
        with pytest.raises(ValueError, match="time segment"):
            SegmentFindings.from_json(b'{"captions": []}')


@pytest.mark.unit
class TestCutting:
    def test_a_short_video_is_not_cut(self) -> None:
        assert segment_times(599, 10, 300) == []

    def test_an_hour_is_cut_into_twelve_where_chunks_begin(self) -> None:
        cuts = segment_times(3600, 10, 300)
        assert len(cuts) == 11
        assert all(round(cut * 10, 6) % 512 == 0 for cut in cuts)
        lengths = [end - start for start, end in zip([0.0, *cuts], [*cuts, 3600.0], strict=True)]
        assert max(lengths) - min(lengths) < 2 * 51.2

    def test_cuts_rise_and_lie_inside(self) -> None:
        for duration in (60.0, 61.3, 130.0, 1000.0):
            cuts = segment_times(duration, 25, 20)
            assert cuts == sorted(set(cuts))
            assert all(0 < cut < duration for cut in cuts)


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine("rapidocr", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty seconds: captions back to back and with gaps, one of them over the cut at 20.48 s."""
    first = next(
        start for start in range(12, 100) if any(a + 5 < CUT_FRAME < b - 5 for a, b, _ in captions_from(start))
    )
    captions = captions_from(first)
    return make_clip(tmp_path_factory.mktemp("long") / "long.mp4", captions, frames=captions[-1][1] + 20, seed=2)


def captions_from(start: int) -> list[tuple[int, int, str]]:
    captions = []
    for number, word in enumerate(WORDS):
        end = start + 40 + number * 7 % 35
        captions.append((start, end, f"{word} and {WORDS[number - 3].lower()}."))
        start = end + (0 if number % 3 == 0 else 18)
    return captions


@pytest.fixture(scope="module")
def facts(clip: Path) -> VideoFacts:
    return probe(clip)


@pytest.fixture(scope="module")
def layout(facts: VideoFacts) -> Layout:
    return layout_from_region(facts, CropRegion(0.1, 0.78, 0.9, 0.97))


def chunks(folder: Path) -> dict[str, list[tuple[int | None, str]]]:
    """The coded frames of every chunk; the container around them has a random id."""
    import av

    found = {}
    for path in folder.rglob("*.webm"):
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux() if packet.size]
            found[path.relative_to(folder).as_posix()] = [
                (packet.pts, hashlib.sha256(bytes(packet)).hexdigest()) for packet in packets
            ]
    return found


@pytest.mark.integration
def test_the_joined_result_equals_that_of_the_whole_run(
    facts: VideoFacts, layout: Layout, engine: OcrEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_segments, "LEAD_S", 6.0)
    monkeypatch.setattr(time_segments, "TAIL_S", 5.0)
    whole = find_captions(facts, layout, engine, 25.0, chunks_dir=tmp_path / "whole")
    cuts = segment_times(facts.duration_s, 25.0, 20.0)
    assert cuts
    starts, ends = [0.0, *cuts], [*cuts, None]
    parts = [
        follow_time_segment(
            facts, layout, engine, 25.0, own_start_s=start, own_end_s=end, chunks_dir=tmp_path / "parts"
        )
        for start, end in zip(starts, ends, strict=True)
    ]
    pieces = join_time_segments(parts)
    assert seen(pieces) == seen(whole)
    assert len(whole.captions) >= len(WORDS) - 1
    assert [pair.label for pair in pieces.pairs] == [pair.label for pair in whole.pairs]
    assert (pieces.cropped_frame_count, pieces.native_frame_count) == (
        whole.cropped_frame_count,
        whole.native_frame_count,
    )
    assert chunks(tmp_path / "parts") == chunks(tmp_path / "whole")


def seen(timeline: Timeline) -> list[tuple[int, int, float, float, str]]:
    return [(c.start_frame, c.end_frame, c.start_s, c.end_s, c.text) for c in timeline.captions]
