"""Frames that nobody asks for and no other frame is built from are not decoded; all others come out the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video import reader as video
from captionacc_dagster.captioning.video.reader import NativeFrame, VideoFacts, VideoReader, frames_near, probe
from captionacc_dagster_tests.captioning.drawn_clips import Picture, flat, moving, write_clip

pytestmark = pytest.mark.integration

WHOLE = BBox(0, 0, 1, 1)
FRAMES, RATE = 90, 25
X264 = {"preset": "medium", "crf": "26"}
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "x264": ("libx264", "mp4", X264),
    "x264 without a pyramid": ("libx264", "mkv", X264 | {"bf": "5", "b-pyramid": "none"}),
    "x264 in a transport stream": ("libx264", "ts", X264 | {"bf": "2"}),
    "x264 with open GOPs": ("libx264", "mp4", X264 | {"x264-params": "open-gop=1:keyint=20"}),
    "x264 with interlaced fields": ("libx264", "mp4", X264 | {"x264-params": "interlaced=1"}),
    "x264 without B-frames": ("libx264", "mp4", X264 | {"bf": "0"}),
    "x265": ("libx265", "mkv", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=4"}),
    "x265 with open GOPs": ("libx265", "mkv", {"preset": "medium", "x265-params": "log-level=none:open-gop=1:pools=1"}),
    "vp9": ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", "mkv", {"preset": "12", "svtav1-params": "lp=1"}),
}
WITH_B_FRAMES = [name for name in CODECS if name.startswith("x26") and "without B" not in name]


def drawn(number: int) -> Picture:
    """Return a frame of a moving scene with a flash of one frame and a gap of two."""
    picture = moving(96, 64, speed=1.5)(number)
    if number % 17 == 5:
        picture[40:60] = 255
    if number % 23 not in (9, 10):
        picture[44:54, 20:76] = 235
    return picture


def clip(folder: Path, name: str, *, pts: Sequence[int] | None = None, gop: int = 60) -> VideoFacts:
    codec, suffix, options = CODECS[name]
    path = folder / f"{name.replace(' ', '-')}-{gop}.{suffix}"
    if not path.exists():
        write_clip(path, map(drawn, range(FRAMES)), RATE, codec=codec, options=options, gop=gop, pts=pts)
    return probe(path)


def frames_of(facts: VideoFacts, wanted_s: Callable[[], float] | None = None) -> Iterator[tuple[float, bytes]]:
    with VideoReader(facts) as opened:
        for frame in opened.frames(wanted_s):
            yield frame.time_s, pixels(frame)


def pixels(frame: NativeFrame) -> bytes:
    return b"".join(np.ascontiguousarray(plane).tobytes() for plane in frame.yuv420(WHOLE))


class InFull:
    """A reader that leaves no frame out."""

    def __init__(self, opened: VideoReader) -> None:
        self.facts = opened.facts
        self._opened = opened

    def frames_from(self, time_s: float, wanted_s: object = None) -> Iterator[NativeFrame]:
        return self._opened.frames_from(time_s)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize("name", CODECS)
def test_what_is_decoded_is_as_in_full_decoding(folder: Path, name: str):
    facts = clip(folder, name)
    full = dict(frames_of(facts))
    assert len(full) == FRAMES
    some = dict(frames_of(facts, lambda: float("inf")))
    assert some.items() <= full.items()
    assert (len(some) < 0.9 * len(full)) == (name in WITH_B_FRAMES)
    assert max(some) == max(full)  # the last frame is displayed for whatever comes later


@pytest.mark.parametrize("name", WITH_B_FRAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_frames_near_any_times_are_those_of_full_decoding(folder: Path, name: str, data: st.DataObject):
    facts = clip(folder, name, gop=data.draw(st.sampled_from([20, 60])))
    times = sorted(data.draw(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=8)))
    with VideoReader(facts) as opened:
        found = [(frame.time_s, pixels(frame)) for frame in frames_near(opened, times)]
        full = [(frame.time_s, pixels(frame)) for frame in frames_near(InFull(opened), times)]
    assert found == full


@pytest.mark.parametrize("name", WITH_B_FRAMES)
def test_a_far_frame_costs_few_of_those_before_it(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    facts = clip(folder, name, gop=200)
    decoded: list[object] = []
    decode = video.decode

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for frame in decode(*args, **options):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "decode", counted)
    with VideoReader(facts) as opened:
        (frame,) = frames_near(opened, [2.4])
    assert frame.time_s == pytest.approx(2.4, abs=0.01)
    assert len(decoded) < 0.9 * 61


@pytest.mark.parametrize(
    "pts",
    [
        [40 * n + (700 if n > 40 else 0) for n in range(FRAMES)],
        [0, *(30 + 40 * n + n % 2 * 9 for n in range(FRAMES - 1))],
    ],
)
def test_uneven_times_are_kept(tmp_path: Path, pts: list[int]):
    facts = clip(tmp_path, "x264 without a pyramid", pts=pts)
    full = dict(frames_of(facts))
    times = [0.35, 1.7, 2.0, 3.1]
    with VideoReader(facts) as opened:
        found = [frame.time_s for frame in frames_near(opened, times)]
    assert found == [min(at for at in full if at >= time_s - facts.step_s / 2) for time_s in times]


def test_files_without_time_stamps_are_decoded_in_full(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "clip.h264", map(drawn, range(FRAMES)), Fraction(RATE), options=X264))
    assert len(dict(frames_of(facts, lambda: float("inf")))) == len(dict(frames_of(facts)))


def test_a_still_clip_shows_its_last_frame(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "still.mp4", [flat(90)] * 50 + [flat(200)], RATE, options=X264))
    with VideoReader(facts) as opened:
        *_, last = frames_near(opened, [0.5, 9.0])
    assert int(last.luma(WHOLE).mean()) > 150
