"""Facts, samples and native frames of clips whose every pixel and time is known."""

from __future__ import annotations

import pickle
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from av.video.frame import PictureType

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video import nvdec
from captionacc_dagster.captioning.video.containers import open_video
from captionacc_dagster.captioning.video.reader import (
    NativeFrame,
    VideoError,
    VideoReader,
    map_native_frames,
    native_frames,
    probe,
    sample_frames,
)
from captionacc_dagster_tests.captioning.drawn_clips import LOSSLESS, flat, moving, write_clip

pytestmark = pytest.mark.integration

WHOLE = BBox(0, 0, 1, 1)


def levels(count: int, **size: int):
    return [flat(40 + 5 * number, **size) for number in range(count)]


def marked(width: int = 96, height: int = 64):
    """A dark picture with a bright block in its left upper corner, a quarter wide and a quarter high."""
    picture = flat(30, width, height)
    picture[: height // 4, : width // 4] = 220
    return picture


def test_facts_of_a_plain_clip(tmp_path: Path):
    clip = write_clip(tmp_path / "plain.mp4", levels(24), Fraction(24000, 1001), options=LOSSLESS)
    facts = probe(clip)
    assert (facts.width, facts.height, facts.rotation, facts.codec) == (64, 48, 0, "h264")
    assert facts.frame_count == 24
    assert facts.frame_rate == pytest.approx(24000 / 1001, rel=1e-4)
    assert facts.duration_s == pytest.approx(24 * 1001 / 24000, abs=1e-3)
    assert facts.bitrate == pytest.approx(clip.stat().st_size * 8 / facts.duration_s, rel=0.01)
    assert facts.pixel_format == "yuv420p"
    assert pickle.loads(pickle.dumps(facts)) == facts


def test_every_native_frame_comes_once_with_its_time_and_luma(tmp_path: Path):
    clip = write_clip(tmp_path / "gray.mp4", levels(30), Fraction(24000, 1001), options=LOSSLESS)
    frames = list(native_frames(probe(clip)))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time_s for frame in frames] == pytest.approx([n * 1001 / 24000 for n in range(30)], abs=1e-4)
    luma = [float(frame.luma(WHOLE).mean()) for frame in frames]
    assert luma == pytest.approx([16 + (40 + 5 * n) * 219 / 255 for n in range(30)], abs=1.0)


def test_a_crop_is_the_rectangle_and_nothing_else(tmp_path: Path):
    clip = write_clip(tmp_path / "marked.mp4", [marked()] * 3, options=LOSSLESS)
    frame = next(native_frames(probe(clip)))
    inside = frame.luma(BBox(0, 0, 0.25, 0.25))
    assert inside.shape == (16, 24)
    assert inside.min() > 190
    beside = frame.luma(BBox(0.25, 0, 1, 0.25))
    assert beside.shape == (16, 72)
    assert beside.max() < 60
    colors = frame.rgb(BBox(0, 0, 0.25, 0.25))
    assert colors.shape == (16, 24, 3)
    assert np.abs(colors.astype(int) - 220).max() <= 4


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_to_the_crop(tmp_path: Path, rotation: int):
    coded = np.ascontiguousarray(np.rot90(marked(), rotation // 90))
    clip = write_clip(tmp_path / "turned.mp4", [coded] * 3, options=LOSSLESS, rotation=rotation)
    facts = probe(clip)
    assert (facts.width, facts.height, facts.rotation) == (96, 64, rotation)
    frame = next(native_frames(facts))
    assert frame.luma(BBox(0, 0, 0.25, 0.25)).shape == (16, 24)
    assert frame.luma(BBox(0, 0, 0.25, 0.25)).min() > 190
    assert frame.luma(BBox(0, 0.3, 1, 1)).max() < 60
    assert frame.rgb(BBox(0, 0, 0.25, 0.25)).min() > 200
    assert frame.scaled_rgb(48, 32)[:7, :11].min() > 190
    assert frame.scaled_luma(48, 32)[:7, :11].min() > 180
    assert next(sample_frames(facts, 1.0)).image.shape == (64, 96, 3)


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "nv12", "gray", "bgr0"],
)
@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
def test_luma_and_colors_of_pixel_formats(tmp_path: Path, pixel_format: str, full_range: bool):
    codec, suffix = ("rawvideo", "nut") if pixel_format == "nv12" else ("ffv1", "mkv")
    picture = marked()
    picture[32:, :] = (200, 60, 40)
    clip = write_clip(
        tmp_path / f"clip.{suffix}",
        [picture] * 2,
        codec=codec,
        pixel_format=pixel_format,
        options={},
        full_range=full_range and pixel_format not in ("bgr0", "nv12"),
    )
    frame = next(native_frames(probe(clip)))
    luma = frame.luma(BBox(0, 0, 0.25, 0.25))
    assert luma.dtype == np.uint8
    assert luma.shape == (16, 24)
    assert int(luma[8, 8]) in range(200, 224)
    red = frame.rgb(BBox(0.25, 0.75, 0.75, 1))[8, 24].astype(int)
    expected = (200, 60, 40) if pixel_format != "gray" else (int(red[0]),) * 3
    assert np.abs(red - expected).max() <= 6


def test_odd_sizes(tmp_path: Path):
    clip = write_clip(tmp_path / "odd.mkv", [flat(90, 61, 37)] * 2, codec="ffv1", options={})
    facts = probe(clip)
    assert (facts.width, facts.height) == (61, 37)
    frame = next(native_frames(facts))
    assert frame.luma(WHOLE).shape == (37, 61)
    assert frame.rgb(BBox(0.5, 0.5, 1, 1)).shape == (19, 31, 3)


def test_variable_frame_rate_keeps_its_own_times(tmp_path: Path):
    pts = [0, 40, 140, 160, 500, 520, 900]
    clip = write_clip(tmp_path / "vfr.mp4", levels(7), options=LOSSLESS | {"bf": "0"}, pts=pts)
    facts = probe(clip)
    assert [frame.time_s for frame in native_frames(facts)] == pytest.approx([p / 1000 for p in pts], abs=1e-4)
    assert facts.frame_count == 7
    assert facts.duration_s >= 0.9


def test_a_duration_that_the_header_does_not_say_is_found(tmp_path: Path):
    clip = write_clip(
        tmp_path / "live.webm",
        [moving(64, 48)(n) for n in range(30)],
        10,
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8"},
        container={"live": "1"},
    )
    facts = probe(clip)
    assert facts.codec == "vp9"
    assert facts.duration_s == pytest.approx(3.0, abs=0.15)
    assert facts.frame_count == pytest.approx(30, abs=2)
    assert len(list(sample_frames(facts, 1.0))) == 3


def test_a_sparse_sample_is_even_and_taken_from_keyframes(tmp_path: Path):
    picture = moving(64, 48)
    clip = write_clip(tmp_path / "long.mp4", (picture(n) for n in range(400)), 10, gop=20)
    facts = probe(clip)
    samples = list(sample_frames(facts, 0.1))
    assert [sample.index for sample in samples] == [0, 1, 2, 3]
    assert [sample.timestamp_s for sample in samples] == pytest.approx([5, 15, 25, 35], abs=4.01)
    assert all(min(abs(sample.timestamp_s - key) for key in facts.keyframes_s) < 1e-3 for sample in samples)
    assert all(sample.image.shape == (48, 64, 3) for sample in samples)
    assert next(sample_frames(facts, 0.1, long_side=32)).image.shape == (24, 32, 3)


def test_the_keyframes_of_a_webm_file_are_known_though_its_index_is_at_its_end(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.webm", levels(40), 10, codec="libvpx-vp9", options={"cpu-used": "8"}, gop=10)
    assert probe(clip).keyframes_s == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "options", "suffices"),
    [
        ("clip.mp4", "libx264", {"bf": "3"}, True),
        ("clip.mkv", "libx264", {"bf": "3"}, True),
        ("clip.webm", "libvpx-vp9", {"cpu-used": "8"}, True),
        ("clip.ts", "libx264", {"bf": "3"}, True),
        ("clip.mp4", "mpeg4", {"bf": "2"}, False),  # its headers do not say that the order of its pictures changes
    ],
)
def test_a_file_is_opened_without_decoding_where_its_headers_tell_enough(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], suffices: bool
):
    picture = moving(96, 64)
    facts = probe(write_clip(tmp_path / name, (picture(n) for n in range(40)), codec=codec, options=options, gop=10))
    assert facts.can_skip_probing is suffices
    seen = []
    for told in (facts, replace(facts, can_skip_probing=False)):
        with VideoReader(told) as reader:
            seen.append([(frame.time_s, frame.luma(WHOLE).tobytes()) for frame in reader.frames()])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 40
    with open_video(facts.path, skip_probing=True) as container:
        assert container.streams.video[0].codec_context.pix_fmt is None  # known from the first decoded picture on


def test_a_dense_sample_shows_the_frames_of_its_times(tmp_path: Path):
    clip = write_clip(tmp_path / "gray.mp4", levels(40), 10, options=LOSSLESS, gop=40)
    samples = list(sample_frames(probe(clip), 2.0))
    assert len(samples) == 8
    for sample in samples:
        assert float(sample.image.mean()) == pytest.approx(40 + 5 * round(sample.timestamp_s * 10), abs=3)
        assert sample.timestamp_s == pytest.approx((sample.index + 0.5) / 2, abs=0.21)


def test_a_rate_must_be_positive(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "a.mp4", levels(2)))
    with pytest.raises(ValueError, match="positive"):
        next(sample_frames(facts, 0))


def test_a_change_of_resolution_keeps_the_shape_of_the_crop(tmp_path: Path):
    small = write_clip(tmp_path / "small.ts", [marked(96, 64)] * 12, options=LOSSLESS)
    large = write_clip(tmp_path / "large.ts", [marked(192, 128)] * 12, options=LOSSLESS)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = list(native_frames(probe(both)))
    assert len(frames) >= 20
    for frame in frames:
        assert frame.luma(BBox(0, 0, 0.25, 0.25)).shape == (16, 24)
        assert frame.luma(BBox(0, 0, 0.2, 0.2)).min() > 180
        assert frame.rgb(BBox(0.5, 0.5, 1, 1)).shape == (32, 48, 3)


def test_decoding_stays_in_bounded_memory_however_far_behind_the_reader_is(tmp_path: Path):
    picture = moving(640, 360)(0)
    clip = write_clip(tmp_path / "long.mp4", (picture for _ in range(1200)), 25, options={"preset": "ultrafast"})
    process = psutil.Process()
    before = process.memory_info().rss
    frames = native_frames(probe(clip))
    next(frames)
    time.sleep(0.5)  # a reader that is slow: all 1200 frames, 415 MB, could be decoded meanwhile
    ahead = process.memory_info().rss - before
    count = 1 + sum(1 for _ in frames)
    assert count == 1200
    assert ahead < 120e6
    assert process.memory_info().rss - before < 160e6


def test_what_is_taken_of_a_frame_is_taken_where_it_is_decoded(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "clip.mp4", (moving(64, 48)(n) for n in range(50)), 25))

    def take(frame: NativeFrame) -> tuple[str, int, float]:
        return threading.current_thread().name, frame.index, frame.time_s

    taken = list(map_native_frames(facts, take, start_s=0.4, end_s=1.6))
    assert taken == [("decode", number, pytest.approx(0.4 + number / 25)) for number in range(30)]


def test_what_fails_while_a_frame_is_processed_fails_where_the_result_is_used(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "clip.mp4", (moving(64, 48)(n) for n in range(50)), 25))

    def take(frame: NativeFrame) -> int:
        if frame.index == 20:
            raise OSError("no room")
        return frame.index

    taken = map_native_frames(facts, take)
    with pytest.raises(OSError, match="no room"):
        list(taken)
    assert not [thread for thread in threading.enumerate() if thread.name == "decode"]


@pytest.mark.parametrize(("gop", "exact"), [(24, "I"), (999, "IP")])
def test_the_loop_filter_is_left_out_where_that_hardly_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gop: int, exact: str
):
    """Where keyframes are rare, nothing is passed on from frame to frame."""
    monkeypatch.setattr(nvdec, "cuda_devices", lambda: 0)
    scenery = moving(320, 240)
    options = {"crf": "30", "bf": "3", "preset": "medium", "sc_threshold": "0"}
    clip = write_clip(tmp_path / "clip.mp4", [scenery(at) for at in range(144)], 12, options=options, gop=gop)
    facts = probe(clip)
    with open_video(clip) as container:
        types = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    with VideoReader(facts) as reader:
        filtered = [frame.luma(WHOLE).astype(int) for frame in reader.frames()]
    native = [frame.luma(WHOLE).astype(int) for frame in native_frames(facts)]
    apart = [float(np.abs(one - other).mean()) for one, other in zip(filtered, native, strict=True)]
    assert types.count("B") > 72
    assert {types[at] for at, levels in enumerate(apart) if levels == 0} >= set(exact)
    assert not [at for at, levels in enumerate(apart) if levels and types[at] in exact]
    assert 0 < max(apart) < 0.5


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path):
    clip = write_clip(tmp_path / "long.mp4", (moving(64, 48)(n) for n in range(300)), 25)
    frames = native_frames(probe(clip))
    next(frames)
    frames.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not [thread for thread in threading.enumerate() if thread.name == "decode"]


def test_a_file_that_goes_away_is_an_error_of_the_reader(tmp_path: Path):
    clip = write_clip(tmp_path / "gone.mp4", levels(5))
    facts = probe(clip)
    clip.unlink()
    with pytest.raises(VideoError, match=r"^gone\.mp4: no such file$"):
        list(native_frames(facts))
