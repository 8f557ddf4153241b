"""A part of a video is cut out at its frames, and what is found in it moves back to the whole video's times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.containers import VideoError
from captionacc_dagster.captioning.video.parts import cut_part
from captionacc_dagster.captioning.video.reader import native_frames, probe

pytestmark = pytest.mark.unit

RATE, FRAMES = 25, 200


def numbered(path: Path, **options: str) -> Path:
    """Write a video whose frames show their number as a gray level."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(FRAMES):
            picture = np.full((64, 64, 3), 20 + number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def gray(path: Path) -> list[tuple[float, int]]:
    """The time of each frame, and the number that it shows."""
    everywhere = BBox(0.0, 0.0, 1.0, 1.0)
    return [(frame.time_s, round(float(np.mean(frame.rgb(everywhere))) - 20)) for frame in native_frames(probe(path))]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("every.mp4", {"g": "20", "bf": "2"}),
        ("open.mkv", {"g": "25", "bf": "3", "x264-params": "open-gop=1"}),
        ("stream.ts", {"g": "30"}),
        ("none.mov", {"g": "20", "bf": "0"}),
    ],
)
def test_times_and_frames_of_a_part_are_those_of_the_whole(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    whole = numbered(tmp_path / name, **options)
    first, last = 62, 117
    part = cut_part(whole, first / RATE, last / RATE, tmp_path)
    assert (part.start_frame, part.end_frame) == (first, last)
    shown = gray(part.path)
    # It begins at the last keyframe before the part, and is not the whole video.
    assert len(shown) < 100
    # A few frames after the part belong to what its last pictures need.
    within = shown[: last - part.offset_frames]
    for number, (time_s, level) in enumerate(within, start=part.offset_frames):
        assert abs(level - number) <= 1
        assert time_s + part.offset_s == pytest.approx(number / RATE, abs=0.002)
    assert part.offset_frames <= first
    assert part.offset_frames + len(shown) >= last


def test_the_same_part_is_the_same_content(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "a.mkv", g="20")
    contents = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        contents.add(cut_part(whole, 2.0, None, tmp_path / folder).path.read_bytes())
    assert len(contents) == 1


def test_captions_are_moved_and_cut_at_the_ends(tmp_path: Path) -> None:
    part = replace(cut_part(numbered(tmp_path / "a.mp4", g="20"), 3.0, 5.0, tmp_path), offset_s=2.4, offset_frames=60)
    caption = Caption(
        start_s=0.2, end_s=1.0, start_frame=5, end_frame=25, text="a", confidence=1.0, bbox=BBox(0.1, 0.8, 0.9, 0.9)
    )
    before = replace(caption, start_s=0.0, end_s=0.6, start_frame=0, end_frame=15)
    late = replace(caption, start_s=2.0, end_s=2.8, start_frame=50, end_frame=70)
    after = replace(caption, start_s=2.6, end_s=2.8, start_frame=65, end_frame=70)
    moved = [(c.start_s, c.end_s, c.start_frame, c.end_frame) for c in part.in_whole([caption, before, late, after])]
    assert moved == [(3.0, 3.4, 75, 85), (4.4, 5.0, 110, 125)]

    def timed(text: str, start_s: float, *lit: float) -> Word:
        highlight = dict(zip(("highlight_start_s", "highlight_end_s"), lit, strict=False))
        return Word(text=text, start_s=start_s, end_s=1.0, bbox=caption.bbox, **highlight)

    words = (timed("a", 0.2, 0.2, 0.5), timed("b", 0.2, 0.5, 1.0), timed("c", 0.8))
    (spoken,) = part.in_whole([replace(caption, words=words)])
    times = [(w.start_s, w.end_s, w.highlight_start_s, w.highlight_end_s) for w in spoken.words]
    assert times == [(3.0, 3.4, None, None), (3.0, 3.4, 3.0, 3.4), (3.2, 3.4, None, None)]


def test_a_part_behind_the_end_is_refused(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"a\.mp4: has only 8\.0 s; the part would begin at 60 s"):
        cut_part(whole, 60.0, None, tmp_path)
