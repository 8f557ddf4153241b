"""Times are those of a player, whatever the container's time stamps look like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.reader import VideoFacts, VideoReader, native_frames, probe, sample_frames
from captionacc_dagster.captioning.video.timestamps import (
    MAX_PAUSE_S,
    MIN_PAUSE_S,
    Clock,
    FrameTimes,
    PacketTime,
    frame_times,
    without_repeats,
)
from captionacc_dagster_tests.captioning.drawn_clips import LOSSLESS, flat, moving, write_clip

MS = Fraction(1, 1000)
WHOLE = BBox(0, 0, 1, 1)
RATE = 25


def write_with_sound(
    path: Path, *, picture_late_s: float, base_s: float = 0.0, frames: int = 50, container: str | None = None
) -> Path:
    """Write a clip whose gray level tells the frame's number, with sound from ``base_s`` on, the picture later."""
    import av

    with av.open(str(path), "w", format=container) as output:
        video = cast("Any", output.add_stream("libx264", rate=RATE, options={"qp": "0", "bf": "2"}))
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = cast("Any", output.add_stream("mp2", rate=48000))
        sound.layout = "mono"
        packets = []
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(flat(20 + 4 * number), format="rgb24")
            frame.pts, frame.time_base = number + round((base_s + picture_late_s) * RATE), Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode()
        for number in range(int((frames / RATE + picture_late_s) * 48000 / 1152)):
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            noise.sample_rate, noise.time_base = 48000, Fraction(1, 48000)
            noise.pts = number * 1152 + int(base_s * 48000)
            packets += sound.encode(noise)
        packets += sound.encode()
        for packet in sorted(packets, key=lambda one: float((one.dts or 0) * one.time_base)):
            output.mux(packet)
    return path


def times_of(facts: VideoFacts) -> list[float]:
    return [frame.time_s for frame in native_frames(facts)]


@pytest.mark.integration
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("late_s", [0.0, 1.6])
def test_sound_that_begins_before_the_picture_counts(tmp_path: Path, suffix: str, late_s: float):
    facts = probe(write_with_sound(tmp_path / f"clip.{suffix}", picture_late_s=late_s))
    frames = list(native_frames(facts))
    assert [frame.index for frame in frames] == list(range(50))
    # A sample of MP2 is no multiple of FFmpeg's microsecond; TS delays the sound by its encoder's 10 ms.
    assert [frame.time_s for frame in frames] == pytest.approx([late_s + n / RATE for n in range(50)], abs=0.012)
    assert facts.first_s == frames[0].time_s
    assert facts.duration_s == pytest.approx(late_s + 2.0, abs=0.012)
    assert facts.frame_rate == pytest.approx(RATE, rel=0.001)
    assert facts.keyframes_s[0] == facts.first_s
    assert facts.warnings == ()


@pytest.mark.integration
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_seeking_and_sampling_use_the_same_clock(tmp_path: Path, suffix: str):
    facts = probe(write_with_sound(tmp_path / f"clip.{suffix}", picture_late_s=1.6))
    every = {round(frame.time_s, 3): float(frame.luma(WHOLE).mean()) for frame in native_frames(facts)}
    part = list(native_frames(facts, start_s=2.5, end_s=3.0))
    assert len(part) == pytest.approx(12, abs=1)
    assert all(2.5 <= frame.time_s < 3.0 for frame in part)
    for frame in part:
        assert float(frame.luma(WHOLE).mean()) == pytest.approx(every[round(frame.time_s, 3)], abs=0.1)
    samples = list(sample_frames(facts, 2.0))
    assert samples[0].timestamp_s == pytest.approx(facts.first_s, abs=1e-6)
    assert all(round(sample.timestamp_s, 3) in every for sample in samples)
    assert len({sample.timestamp_s for sample in samples}) == len(samples)


@pytest.mark.integration
def test_a_broadcast_that_begins_at_an_hour_counts_from_its_start(tmp_path: Path):
    facts = probe(write_with_sound(tmp_path / "clip.ts", picture_late_s=0.4, base_s=3600.0))
    assert times_of(facts) == pytest.approx([0.4 + n / RATE for n in range(50)], abs=0.012)


@pytest.mark.integration
@pytest.mark.parametrize(("suffix", "zero_s"), [("mp4", 5.0), ("mkv", 0.0), ("ts", 0.0)])
def test_an_empty_edit_before_the_picture_counts_in_mp4(tmp_path: Path, suffix: str, zero_s: float):
    """Browsers show the empty edit; a Matroska or TS file without anything earlier begins with its picture."""
    pts = [5000 + 100 * number for number in range(20)]
    pictures = [flat(40 + 5 * number) for number in range(20)]
    clip = write_clip(tmp_path / f"late.{suffix}", pictures, 10, options=LOSSLESS, pts=pts)
    facts = probe(clip)
    assert times_of(facts) == pytest.approx([zero_s + number / 10 for number in range(20)], abs=2e-3)
    assert facts.duration_s == pytest.approx(zero_s + 2.0, abs=0.11)
    wanted = [zero_s, *(zero_s + 0.5 + n for n in range(2))] if zero_s else [0.5, 1.5]
    assert [s.timestamp_s for s in sample_frames(facts, 1.0)] == pytest.approx(wanted, abs=0.41)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["clip.ts", "clip.mpg", "clip.flv", "clip.avi", "clip.mkv", "fragments.mp4"])
def test_reordered_frames_begin_at_zero(tmp_path: Path, name: str):
    codec, bf = ("mpeg2video", "2") if name.endswith("mpg") else ("libx264", "0" if name.endswith("avi") else "3")
    picture = moving(320, 180)  # an MPEG-PS stamps packs of 2 kB, which should not contain several frames
    clip = write_clip(
        tmp_path / name,
        [picture(n) for n in range(50)],
        RATE,
        codec=codec,
        options={"bf": bf},
        container={"movflags": "frag_keyframe+empty_moov"} if name == "fragments.mp4" else None,
    )
    facts = probe(clip)
    assert times_of(facts) == pytest.approx([n / RATE for n in range(50)], abs=2e-3)
    assert (facts.frame_count, facts.warnings) == (50, ())
    assert facts.duration_s == pytest.approx(2.0, abs=2e-3)


def packets(times: Sequence[int | None], *, gop: int = 10, duration: int = 40) -> list[PacketTime]:
    return [PacketTime(pts, duration, number % gop == 0) for number, pts in enumerate(times)]


def read(times: Sequence[int | None], zero: int = 0, **options: int) -> FrameTimes:
    found = frame_times(packets(times, **options), zero, MS, 25.0)
    assert found is not None
    return found


@pytest.mark.unit
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.integers(0, 10**9),
    st.integers(0, 5000),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_continuous_time_stamps_stay_as_they_are(steps: list[int], zero: int, first: int, gop: int, random: Any):
    stamps = [zero + first + at for at in itertools.accumulate(steps, initial=0)]
    coded: list[int] = []
    for start in range(0, len(stamps), gop):  # decoding order: the keyframe, then the rest of its GOP in any order
        rest = stamps[start + 1 : start + gop]
        random.shuffle(rest)
        coded += [stamps[start], *rest]
    found = read(coded, zero, gop=gop)
    assert (found.is_continuous, found.has_timestamps, found.warnings) == (True, True, ())
    assert found.count == len(stamps)
    assert found.first_s == pytest.approx(first / 1000)
    assert found.end_s == pytest.approx((stamps[-1] - zero) / 1000 + 0.04)
    assert found.keyframes_s == pytest.approx([(pts - zero) / 1000 for pts in stamps[::gop]])
    clock = Clock(zero, MS, found.step_s)
    assert [clock.time_of(pts) for pts in stamps] == pytest.approx([(pts - zero) / 1000 for pts in stamps])


@pytest.mark.unit
@given(st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), min_size=1, max_size=80), st.integers(1, 9))
def test_whatever_time_stamps_say_times_rise_and_are_bounded_by_the_frames(stamps: list[int | None], gop: int):
    found = read(stamps, gop=gop)
    assert found.count == len(stamps)
    # The first frame may be anywhere on the player's clock; from there on frames bound the time.
    assert 0 <= found.end_s - found.first_s <= len(stamps) * (MAX_PAUSE_S + 1)
    assert all(MIN_PAUSE_S < end - start <= MAX_PAUSE_S + 1e-6 * end for start, end in found.pauses_s)
    clock = Clock(0, MS, found.step_s, has_timestamps=found.has_timestamps, repairs=not found.is_continuous)
    times = [clock.time_of(pts) for pts in stamps]
    assert times[0] >= 0
    assert all(later >= earlier for earlier, later in itertools.pairwise(times))


@pytest.mark.unit
@given(st.integers(2, 40), st.integers(2, 40), st.integers(-(10**7), 10**10))
def test_after_a_jump_times_continue_one_frame_later(before: int, after: int, jump: int):
    first = [40 * n for n in range(before)]
    second = [first[-1] + 40 + jump + 40 * n for n in range(after)]
    clock = Clock(0, MS, 0.04, repairs=True)
    times = [clock.time_of(pts) for pts in [*first, *second]]
    if second[0] > first[-1] and jump <= 1000 * (MAX_PAUSE_S - 0.04):
        assert times == pytest.approx([pts / 1000 for pts in [*first, *second]])
    elif jump < -120 and second[0] >= 0:
        assert times == pytest.approx([0.04 * n for n in range(before + after)])


@pytest.mark.unit
@given(st.integers(3, 30), st.integers(1, 28), st.integers(-(10**6), 10**12).filter(lambda by: abs(by) > 4 * 10**6))
def test_one_damaged_time_stamp_moves_no_other_frame(count: int, at: int, by: int):
    stamps = [10**7 + 40 * n for n in range(count)]
    damaged = list(stamps)
    damaged[min(at, count - 1)] += by
    clock = Clock(10**7, MS, 0.04, repairs=True)
    assert [clock.time_of(pts) for pts in damaged] == pytest.approx([0.04 * n for n in range(count)], abs=1e-6)


@pytest.mark.unit
@given(st.lists(st.floats(0, 100), max_size=30).map(sorted), st.lists(st.integers(0, 100), max_size=12, unique=True))
def test_a_frame_is_sampled_once(times: list[float], edges: list[int]):
    pauses = tuple(itertools.pairwise(sorted(map(float, edges))))[::2]
    kept = without_repeats(times, 3.0, pauses)
    assert all(later > earlier for earlier, later in itertools.pairwise(kept))
    assert all(time_s >= 3.0 or any(start <= time_s < end for start, end in pauses) for time_s in kept)
    for start, end in pauses:
        assert sum(start <= time_s < end for time_s in kept) <= 1
    for time_s in times:
        inside = [start for start, end in pauses if start <= max(time_s, 3.0) < end]
        assert (inside[0] if inside else max(time_s, 3.0)) in kept


@pytest.mark.integration
def test_a_file_that_repeats_its_time_stamps_is_read_to_its_end(tmp_path: Path):
    """Two recordings one after the other, as `cat` joins TS files."""
    one = write_clip(tmp_path / "one.ts", [flat(40 + 3 * n) for n in range(40)], RATE, options=LOSSLESS)
    other = write_clip(tmp_path / "other.ts", [flat(160 + n) for n in range(40)], RATE, options=LOSSLESS)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    facts = probe(joined)
    assert times_of(facts) == pytest.approx([n / RATE for n in range(80)], abs=2e-3)
    assert facts.duration_s == pytest.approx(80 / RATE, abs=0.01)
    [warning] = facts.warnings
    assert warning.code == "timestamps_repaired"
    assert "jump at 1.60 s" in warning.message
    late = list(native_frames(facts, start_s=2.0))
    assert late[0].time_s == pytest.approx(2.0, abs=2e-3)
    assert late[0].luma(WHOLE).mean() == pytest.approx(16 + 170 * 219 / 255, abs=1.0)
    with VideoReader(facts) as reader:
        assert next(reader.frames_from(3.0)).time_s == 0.0


@pytest.mark.integration
@pytest.mark.parametrize(("name", "codec"), [("clip.h264", "libx264"), ("clip.hevc", "libx265")])
def test_a_stream_without_time_stamps_is_timed_by_its_frame_rate(tmp_path: Path, name: str, codec: str):
    options = {"bf": "2"} if codec == "libx264" else {"x265-params": "log-level=0"}
    picture = moving(96, 64)
    facts = probe(write_clip(tmp_path / name, [picture(n) for n in range(36)], 12, codec=codec, options=options))
    assert times_of(facts) == pytest.approx([n / 12 for n in range(36)], abs=1e-3)
    assert (facts.frame_count, facts.duration_s) == (36, pytest.approx(3.0, abs=1e-3))
    [warning] = facts.warnings
    assert warning.code == "timestamps_repaired"
    assert "has no timestamps" in warning.message
    assert "12 frames per second" in warning.message


@pytest.mark.integration
def test_equal_time_stamps_are_replaced(tmp_path: Path):
    import av

    clip = write_clip(tmp_path / "whole.mkv", [flat(40 + 5 * n) for n in range(30)], 10, options=LOSSLESS)
    broken = tmp_path / "broken.mkv"
    with av.open(str(clip)) as source, av.open(str(broken), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.pts = packet.dts = 7
                packet.stream = stream
                output.mux(packet)
    facts = probe(broken)
    assert [warning.code for warning in facts.warnings] == ["timestamps_repaired"]
    assert "has unusable timestamps" in facts.warnings[0].message
    times = times_of(facts)
    assert times == pytest.approx([n * facts.step_s for n in range(30)])
    assert facts.duration_s == pytest.approx(30 * facts.step_s)
    assert 0.01 < facts.step_s < 0.2


@pytest.mark.integration
@pytest.mark.parametrize("years", [1 / 365, 300.0])
@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_one_frame_far_away_costs_no_more_than_a_frame(tmp_path: Path, years: float, suffix: str):
    far = [83 * n for n in range(39)]
    # A TS counts 26.5 hours, and then begins again.
    far.append(round(years * 365 * 86_400_000) if suffix == "mkv" else 80_000_000)
    clip = write_clip(tmp_path / f"far.{suffix}", [flat(40 + 5 * n) for n in range(40)], 12, options=LOSSLESS, pts=far)
    facts = probe(clip)
    assert facts.frame_count == 40
    assert facts.duration_s == pytest.approx(40 * 0.083, abs=0.1)
    assert [warning.code for warning in facts.warnings] == ["timestamps_repaired"]
    assert len(times_of(facts)) == 40
    assert len(list(sample_frames(facts, 0.1))) == 1


@pytest.mark.integration
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_slide_show_is_sampled_once_a_slide(tmp_path: Path, suffix: str):
    pts = [0, 9_000, 10_000, 70_000, 1_300_000, 1_300_040, 1_300_080]
    clip = write_clip(
        tmp_path / f"slides.{suffix}", [flat(40 + 20 * n) for n in range(7)], options=LOSSLESS | {"bf": "0"}, pts=pts
    )
    facts = probe(clip)
    assert times_of(facts) == pytest.approx([at / 1000 for at in pts], abs=1e-3)
    assert facts.warnings == ()
    samples = list(sample_frames(facts, 0.1))
    assert [sample.timestamp_s for sample in samples] == pytest.approx([0, 10, 70], abs=1e-3)
    assert [float(sample.image.mean()) for sample in samples] == pytest.approx([40, 80, 100], abs=2)
