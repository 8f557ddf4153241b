"""The benchmark's clips followed in time segments: the joined result is that of the whole run, caption by caption.

Each segment sees 8 and 5 seconds beyond its own part here, not 30 and 15, so that clips of half a minute are cut hard.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.captions.__main__ import bench_folder
from benchmarks.captions.clips import clips_of
from benchmarks.captions.render import render_clip
from captionacc_dagster.captioning.captions import Timeline
from captionacc_dagster.captioning.extents import time_segments
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.time_segments import follow_time_segment, join_time_segments, segment_times
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

# Chunks of every level begin again every 512 cropped frames: the more there are in a second, the closer may cuts lie.
CROPPED_FRAME_RATE = 60.0
CLIPS = ("dev-en-box-fades", "dev-en-outlined-pan", "dev-en-watermark-vp9", "dev-zh-top-bottom-vfr")


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return create_engine("rapidocr", threads=1)


def seen(timeline: Timeline) -> list[tuple[int, int, float, float, str, str]]:
    return [(c.start_frame, c.end_frame, c.start_s, c.end_s, c.track, c.text) for c in timeline.captions]


def clip(name: str) -> Path:
    [spec] = [spec for spec in clips_of("dev") if spec.name == name]
    return render_clip(spec, bench_folder() / "clips").video


@pytest.mark.parametrize("name", CLIPS)
def test_segments_give_what_the_whole_gives(name: str, engine: OcrEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_segments, "LEAD_S", 8.0)
    monkeypatch.setattr(time_segments, "TAIL_S", 5.0)
    facts = probe(clip(name))
    layout = find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)])
    whole = find_captions(facts, layout, engine, CROPPED_FRAME_RATE)

    starts = [0.0, *segment_times(facts.duration_s, CROPPED_FRAME_RATE, 7.0)]
    parts = [
        follow_time_segment(facts, layout, engine, CROPPED_FRAME_RATE, own_start_s=start, own_end_s=end)
        for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]
    joined = join_time_segments(parts)

    assert len(parts) > 1
    assert len(whole.captions) >= 8
    assert seen(joined) == seen(whole)
    assert [pair.label for pair in joined.pairs] == [pair.label for pair in whole.pairs]
    # How sure a boundary is depends a little on what else was seen.
    sure = [caption.extent_confidence for caption in whole.captions]
    assert [caption.extent_confidence for caption in joined.captions] == pytest.approx(sure, abs=0.05)
    assert (joined.cropped_frame_count, joined.native_frame_count) == (
        whole.cropped_frame_count,
        whole.native_frame_count,
    )
