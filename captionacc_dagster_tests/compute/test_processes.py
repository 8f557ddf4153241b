"""A long video on several cores: time segments in processes of their own give what one process gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.geometry import CropRegion
from captionacc_dagster.captioning.layout.find import layout_from_region
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import VideoError, probe
from captionacc_dagster.compute.processes import find_captions_in_processes
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.integration

WORDS = ("One", "Two", "Three", "Four", "Five")
CAPTIONS = [(20 + 60 * n, 65 + 60 * n, f"{word} and more.") for n, word in enumerate(WORDS)]
ENGINE = partial(create_engine, "rapidocr", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", CAPTIONS, frames=330, seed=2)


def test_two_processes_give_what_one_gives(clip: Path, tmp_path: Path) -> None:
    facts = probe(clip)
    layout = layout_from_region(facts, CropRegion(0.1, 0.78, 0.9, 0.97))
    whole = find_captions(facts, layout, ENGINE(), 100.0, chunks_dir=tmp_path / "whole")
    told: list[tuple[str, int, int]] = []
    pieces = find_captions_in_processes(
        facts,
        layout,
        ENGINE,
        100.0,
        processes=2,
        shortest_s=5.0,
        chunks_dir=tmp_path / "pieces",
        progress=lambda *stage: told.append(stage),
    )
    assert pieces is not None
    assert [(c.start_frame, c.end_frame, c.text) for c in pieces.captions] == [
        (c.start_frame, c.end_frame, c.text) for c in whole.captions
    ]
    assert [c.text for c in whole.captions] == [text for _, _, text in CAPTIONS]
    assert pieces.cropped_frame_count == whole.cropped_frame_count
    assert told == [("captions", 1, 2), ("captions", 2, 2)]
    names = [sorted(p.name for p in (tmp_path / kind).rglob("*.webm")) for kind in ("whole", "pieces")]
    assert names[0] == names[1]


def test_a_short_video_is_left_to_one_process(clip: Path) -> None:
    facts = probe(clip)
    layout = layout_from_region(facts, CropRegion(0.1, 0.78, 0.9, 0.97))
    assert find_captions_in_processes(facts, layout, ENGINE, 10.0, processes=4) is None
    assert find_captions_in_processes(facts, layout, ENGINE, 100.0, processes=1, shortest_s=5.0) is None


def test_an_error_in_a_process_is_the_error_of_the_whole(clip: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    gone.write_bytes(clip.read_bytes())
    facts = probe(gone)
    layout = layout_from_region(facts, CropRegion(0.1, 0.78, 0.9, 0.97))
    gone.unlink()
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        find_captions_in_processes(facts, layout, ENGINE, 100.0, processes=2, shortest_s=5.0)
