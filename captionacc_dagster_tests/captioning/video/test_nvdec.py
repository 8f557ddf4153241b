"""Decoding on the GPU: whatever it does, every native frame comes once, with the pixels that its standard sets.

On a machine with an NVIDIA GPU the first test compares NVDEC itself with the CPU. The CPU leaves the loop filter out
of B frames, which test_reader measures; the GPU cannot.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video import nvdec
from captionacc_dagster.captioning.video import reader as video
from captionacc_dagster.captioning.video.containers import open_video
from captionacc_dagster.captioning.video.nvdec import NvdecUnavailable, open_on_nvdec
from captionacc_dagster.captioning.video.reader import VideoFacts, VideoReader, native_frames, probe
from captionacc_dagster_tests.captioning.drawn_clips import moving, write_clip

pytestmark = pytest.mark.integration

WHOLE = BBox(0, 0, 1, 1)
FRAMES = 60
GIVES_UP = 30  # frames decoded, after which the GPU fails
Frame = tuple[int, float, str]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> VideoFacts:
    """Sixty frames of H.264 with B frames, 320 x 240: NVDEC takes nothing much smaller."""
    path = tmp_path_factory.mktemp("clip") / "moving.mp4"
    scenery = moving(320, 240)
    pictures = [scenery(number) for number in range(FRAMES)]
    return probe(write_clip(path, pictures, Fraction(25), options={"crf": "23", "bf": "2"}))


def seen(frames: Iterator[video.NativeFrame]) -> list[Frame]:
    return [
        (frame.index, frame.time_s, hashlib.sha256(b"".join(p.tobytes() for p in frame.yuv420(WHOLE))).hexdigest())
        for frame in frames
    ]


@pytest.fixture(scope="module")
def by_gpu(facts: VideoFacts) -> list[Frame]:
    with VideoReader(facts) as reader:
        return seen(reader.frames())


@pytest.fixture(scope="module")
def by_cpu(facts: VideoFacts) -> list[Frame]:
    with VideoReader(facts, skip_filter="bidir") as reader:
        return seen(reader.frames())


def on_software(path: Path, codec: str, pixel_format: str) -> Any:
    """A GPU that works: FFmpeg's own decoder behind the same door."""
    return open_video(path)


def test_native_frames_are_those_of_the_gpu_if_there_is_one(
    facts: VideoFacts, by_cpu: list[Frame], by_gpu: list[Frame]
) -> None:
    assert len(by_cpu) == FRAMES
    assert by_cpu != by_gpu
    assert seen(native_frames(facts)) == (by_gpu if nvdec.cuda_devices() else by_cpu)


def test_without_a_device_the_cpu_decodes(facts: VideoFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "cuda_devices", lambda: 0)
    with pytest.raises(NvdecUnavailable, match="no CUDA device"):
        open_on_nvdec(facts.path, facts.codec, facts.pixel_format)


@pytest.mark.parametrize(("codec", "pixel_format"), [("mpeg4", "yuv420p"), ("h264", "yuv420p10le"), ("gif", "bgra")])
def test_what_it_would_decode_otherwise_is_left_to_the_cpu(
    facts: VideoFacts, codec: str, pixel_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvdec, "cuda_devices", lambda: 1)
    with pytest.raises(NvdecUnavailable, match="does not decode"):
        open_on_nvdec(facts.path, codec, pixel_format)


def test_a_device_that_cannot_be_opened_is_said_and_the_cpu_decodes(
    facts: VideoFacts, by_cpu: list[Frame], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver that shows a device and then refuses it: here FFmpeg itself finds no driver to load."""
    if nvdec.cuda_devices():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(nvdec, "cuda_devices", lambda: 1)
    with caplog.at_level(logging.INFO, logger=nvdec.__name__):
        assert seen(native_frames(facts)) == by_cpu
    [line] = caplog.messages
    assert line.startswith("moving.mp4: decoded on the CPU: ")


def test_a_gpu_that_works_decodes_all_of_it(
    facts: VideoFacts, by_gpu: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def used_the_cpu(*arguments: object) -> None:
        pytest.fail(f"the CPU was taken: {arguments}")

    monkeypatch.setattr(video, "open_on_nvdec", on_software)
    monkeypatch.setattr(video, "log_cpu_fallback", used_the_cpu)
    assert seen(native_frames(facts)) == by_gpu
    stretch = seen(native_frames(facts, start_s=0.8, end_s=1.6))
    assert [frame[1:] for frame in stretch] == [frame[1:] for frame in by_gpu if 0.8 <= frame[1] < 1.6]


@pytest.mark.parametrize("start_s", [0.0, 0.8])
def test_the_cpu_goes_on_where_the_gpu_gives_up(
    facts: VideoFacts,
    by_cpu: list[Frame],
    by_gpu: list[Frame],
    start_s: float,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from av.error import InvalidDataError

    real = video.decode

    def gives_up(container: Any, stream: Any, *, strict: bool = False, **options: Any) -> Iterator[Any]:
        for number, picture in enumerate(real(container, stream, **options)):
            if strict and number == GIVES_UP:
                raise InvalidDataError(1094995529, "no free surfaces")
            yield picture

    monkeypatch.setattr(nvdec, "cuda_devices", lambda: 1)
    monkeypatch.setattr(video, "open_on_nvdec", on_software)
    monkeypatch.setattr(video, "decode", gives_up)
    frames = seen(native_frames(facts, start_s=start_s))

    decoded = [*by_gpu[:GIVES_UP], *by_cpu[GIVES_UP:]]
    assert [frame[1:] for frame in frames] == [frame[1:] for frame in decoded if frame[1] >= start_s]
    assert [frame[0] for frame in frames] == list(range(len(frames)))
    [line] = caplog.messages
    assert "the CPU continues" in line
    assert "no free surfaces" in line
