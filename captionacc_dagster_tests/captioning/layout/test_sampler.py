"""Whole pictures and samples of one video: nothing is decoded twice that costs much to decode."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionacc_dagster.captioning.layout import sampler as sampler_module
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.layout.model import FrameOcr
from captionacc_dagster.captioning.layout.sampler import Sampler, sampling_batches
from captionacc_dagster.captioning.layout.samples import Sample, sample_of
from captionacc_dagster.captioning.ocr.base import LineBox, Recognition, TextBox
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video import reader as video
from captionacc_dagster.captioning.video.reader import NativeFrame, VideoFacts, probe, sample_frames
from captionacc_dagster_tests.captioning.drawn_clips import flat, moving, write_clip, write_text

pytestmark = pytest.mark.integration

RATE = 10
FRAMES = 240  # 24 seconds


class Blind:
    """An engine that finds nothing, so that all samples are asked for."""

    name = "blind"
    languages = ()

    def read(self, image: object) -> list[TextBox]:
        return []

    def detect(self, image: object, *, long_side: int | None = None) -> list[LineBox]:
        return []

    def confuses(self, lang: str) -> bool:
        return False

    def reads(self, script: str, *, lang: str | None = None) -> bool:
        return True

    def recognize(self, lines: object, *, script: str | None = None, lang: str | None = None) -> list[Recognition]:
        return []


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect what is decoded from here on."""
    frames: list[object] = []
    decode = video.decode

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for frame in decode(*args, **options):
            frames.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "decode", counted)
    return frames


def facts_of(folder: Path, gop: int, codec: str = "libx264", frames: int = FRAMES) -> VideoFacts:
    # Without B-frames, so that samples, for which those are left out, show the very times that are asked for.
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {"bf": "0"}
    picture = moving(96, 64, speed=0.3)  # without a jump, for which an encoder would put a keyframe
    suffix = "webm" if codec == "libvpx-vp9" else "mp4"
    pictures = (picture(n) for n in range(frames))
    return probe(write_clip(folder / f"clip.{suffix}", pictures, RATE, codec=codec, options=options, gop=gop))


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_a_video_with_one_keyframe_is_decoded_once(tmp_path: Path, codec: str, decoded: list[object]):
    facts = facts_of(tmp_path, gop=1000, codec=codec)
    assert len(facts.keyframes_s) == 1
    decoded.clear()
    with Sampler(facts) as sampler:
        read = [ocr for _, ocr in read_full_frames(facts, Blind(), sampler=sampler)]
        assert len(decoded) == pytest.approx(150, abs=3)  # up to the last full frame, at 15 seconds
        find_layout(facts, Blind(), read, sampler=sampler)
    assert FRAMES - 10 < len(decoded) <= FRAMES
    assert len(set(decoded)) == len(decoded)


def test_a_sweep_leaves_out_frames_that_nobody_asks_for(
    tmp_path: Path, decoded: list[object], monkeypatch: pytest.MonkeyPatch
):
    picture = moving(96, 64, speed=0.3)
    options = {"bf": "3", "sc_threshold": "0"}
    facts = probe(write_clip(tmp_path / "clip.mp4", map(picture, range(600)), 25, options=options, gop=1000))

    def taken() -> list[Any]:
        decoded.clear()
        with Sampler(facts) as sampler:
            shown = list(sampler.pictures(0.1))
            (times,) = sampling_batches(facts, [frame.timestamp_s for frame in shown])
            samples = list(sampler.samples(times))
        pairs = [(sample.time_s, sample.luma, sample.strokes, sample.later) for sample in samples]
        return [(frame.timestamp_s, frame.image) for frame in shown] + pairs

    some = taken()
    count = len(decoded)
    monkeypatch.setattr(video, "_LEAVES_OUT", frozenset())
    for one, other in zip(some, taken(), strict=True):
        assert all(np.array_equal(part, same) for part, same in zip(one, other, strict=True))
    assert len(some) > 20
    assert count < 0.75 * len(decoded)


def test_full_frames_are_the_same_however_the_video_is_read(tmp_path: Path):
    facts = facts_of(tmp_path, gop=1000)
    with Sampler(facts) as sampler:
        swept = list(sampler.pictures(0.5))
    alone = list(sample_frames(facts, 0.5))
    assert [frame.timestamp_s for frame in swept] == [frame.timestamp_s for frame in alone]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(swept, alone, strict=True))


def test_samples_taken_on_the_way_are_those_that_are_asked_for(tmp_path: Path):
    facts = facts_of(tmp_path, gop=1000)
    with Sampler(facts) as sampler:
        known = [frame.timestamp_s for frame in sampler.pictures(0.1)]
        (times,) = sampling_batches(facts, known)
        samples = list(sampler.samples(times))
    assert len(samples) == len(times)
    assert [sample.time_s for sample in samples] == pytest.approx(times, abs=1 / RATE)
    assert set(known) <= {sample.time_s for sample in samples}
    assert [sample.later is None for sample in samples] == [*[False] * (len(times) - 1), samples[-1].later is None]
    with Sampler(facts) as sampler:  # without full frames nothing was swept
        sought = list(sampler.samples(times))
    assert [sample.time_s for sample in sought] == [sample.time_s for sample in samples]


def test_many_whole_pictures_make_no_more_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken: list[float] = []

    def counted(frame: NativeFrame, *rest: Any) -> Sample:
        taken.append(frame.time_s)
        return sample_of(frame, *rest)

    monkeypatch.setattr(sampler_module, "sample_of", counted)
    facts = facts_of(tmp_path, gop=1000)
    with Sampler(facts) as sampler:
        assert len(list(sampler.pictures(5.0))) == 120
    assert 20 < len(taken) <= 60


def test_where_keyframes_are_near_whole_pictures_cost_one_frame_each(tmp_path: Path, decoded: list[object]):
    facts = facts_of(tmp_path, gop=20)
    decoded.clear()
    with Sampler(facts) as sampler:
        known = [frame.timestamp_s for frame in sampler.pictures(0.1)]
        assert len(decoded) == len(known) == 2
        portions = sampling_batches(facts, known)
        times = sorted(itertools.chain(*portions))
        samples = [sample for portion in portions for sample in sampler.samples(portion)]
    assert sorted(sample.time_s for sample in samples) == pytest.approx(times, abs=2 / RATE)


def test_in_a_file_of_keyframes_alone_a_sample_costs_its_two_frames(tmp_path: Path, decoded: list[object]):
    facts = facts_of(tmp_path, gop=1)
    decoded.clear()
    with Sampler(facts) as sampler:
        samples = list(sampler.samples([1.0, 2.0, 3.0, 4.0]))
    assert [sample.time_s for sample in samples] == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert all(sample.later is not None for sample in samples)
    assert len(decoded) == 2 * len(samples)


@pytest.mark.parametrize("off_s", [-0.03, 0.03, 0.3])
def test_keyframes_that_a_file_lists_at_other_times_are_sought_once(tmp_path: Path, off_s: float):
    facts = facts_of(tmp_path, gop=4)
    listed = replace(facts, keyframes_s=tuple(max(0.0, time_s + off_s) for time_s in facts.keyframes_s))
    with Sampler(listed) as sampler:
        times = [number * 0.8 for number in range(25)]
        samples = list(sampler.samples(times))
    assert [sample.time_s for sample in samples] == pytest.approx(times, abs=0.5)


def test_a_frame_whose_ocr_failed_leaves_the_samples_as_they_are(tmp_path: Path):
    facts = facts_of(tmp_path, gop=1000)
    with Sampler(facts) as sampler:
        read = [ocr for _, ocr in read_full_frames(facts, Blind(), sampler=sampler)]
        failed = [FrameOcr(ocr.frame_index, ocr.timestamp_s, (), "out of memory") for ocr in read]
        assert find_layout(facts, Blind(), failed, sampler=sampler).tracks == ()


@pytest.mark.parametrize("kind", ["h264", "hevc", "no time stamps", "frames on change"])
def test_the_layout_is_the_same_with_and_without_the_sampler_of_the_full_frames(tmp_path: Path, kind: str):
    """One keyframe in the whole clip; x265 codes everything else as B frames."""
    words = ("The harbor lay silent", "until the ships came in", "and the bells began", "from one end to the other")

    def picture(number: int) -> Any:
        drawn = moving(320, 180, speed=1.0)(number)
        if number % 32 >= 8:
            write_text(drawn, words[number // 32], (0.5, 0.87), 18)
        return drawn

    x265 = {"x265-params": "log-level=none:keyint=999:bframes=4"}
    path = write_clip(
        tmp_path / {"hevc": "clip.mp4", "no time stamps": "clip.h264"}.get(kind, "clip.mkv"),
        [picture(number) for number in range(0, 128, 8 if kind == "frames on change" else 1)],
        12,
        codec="libx265" if kind == "hevc" else "libx264",
        options=x265 if kind == "hevc" else {"bf": "3", "sc_threshold": "0"},
        gop=999,
        pts=[667 * number for number in range(16)] if kind == "frames on change" else None,
    )
    facts, engine = probe(path), create_engine()
    with Sampler(facts) as sampler:
        together = find_layout(
            facts, engine, [f for _, f in read_full_frames(facts, engine, sampler=sampler)], sampler=sampler
        )
    apart = find_layout(facts, engine, [frame for _, frame in read_full_frames(facts, engine)])
    assert [track.name for track in together.tracks] == ["bottom"]
    assert apart.tracks == together.tracks


def test_a_broken_file_says_so_in_its_layout(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "clip.h264", [flat(99)] * 20, RATE))
    layout = find_layout(facts, Blind(), [])
    assert "timestamps_repaired" in [warning.code for warning in layout.warnings]
