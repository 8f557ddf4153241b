"""Probe videos, sample their pictures, and read every native frame.

Every unusable file raises one VideoError. Times are seconds on the player's clock (see `timestamps`); frame numbers
count from the first picture.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import CaptionWarning
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.containers import (
    SampleTable,
    VideoError,
    decode,
    end_pts,
    first_frame,
    has_sample_table,
    headers_suffice,
    nominal_rate,
    open_video,
    packets,
    sample_table,
    video_stream,
)
from captionacc_dagster.captioning.video.nvdec import NvdecUnavailable, log_cpu_fallback, open_on_nvdec
from captionacc_dagster.captioning.video.pictures import Picture
from captionacc_dagster.captioning.video.timestamps import (
    MAX_FRAME_RATE,
    MIN_PAUSE_S,
    Clock,
    FrameTimes,
    PacketTime,
    frame_times,
    without_repeats,
    zero_pts,
)
from captionacc_dagster.captioning.video.tuning import TUNING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "NativeFrame",
    "SampledFrame",
    "SeekingReader",
    "VideoError",
    "VideoFacts",
    "VideoReader",
    "frames_near",
    "map_native_frames",
    "native_frames",
    "probe",
    "sample_frames",
    "scaled_size",
    "target_times",
]

T = TypeVar("T")

# Items of native frames that the decoder's thread passes on at once, and batches that may wait: few enough to bound
# memory, enough to make passing them on cheap.
_BATCH = 8
_QUEUED_BATCHES = 2
_JOIN_S = 0.01  # seconds between looks at a decoder thread that is told to stop
_SEEK_BACK_S = 5.0  # seconds before the wanted time at which a second seek is tried
# Seconds, and share of the frames' duration, by which a header may exceed the frames: rounding, a dropped last frame.
_MISMATCH_S = 1.0
_MISMATCH_SHARE = 0.02
# Pixels. Letters need about eight rows to be read; a picture with a shorter side has no room for a caption.
_SHORTEST_SIDE = 8
# Codecs whose decoder can leave out single frames that no other frame is built from; all others come out the same.
_LEAVES_OUT = frozenset({"h264", "hevc"})
_SLACK_STEPS = 1.5  # frames before a wanted time that are decoded, too: times are rounded
_END_S = 1.0  # seconds before the end in which all frames are decoded: the last one is used for any later time
_TIME_SLACK_S = 1e-6  # seconds; times that are equal but for rounding


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known about a video before all of it is decoded.

    Attributes:
        path: the file.
        width, height: of the picture as displayed, pixels.
        duration_s: time at which the last frame ends, seconds.
        frame_rate: average, frames per second.
        frame_count: frames that the file contains, of its packets.
        codec: FFmpeg's name.
        bitrate: of the whole file, bits per second.
        rotation: clockwise rotation for display, degrees: 0, 90, 180, or 270.
        pixel_format: FFmpeg's name.
        zero_pts: presentation time stamp of the player's zero, in ``time_base``.
        time_base: seconds per tick.
        first_s: time of the first frame, seconds.
        step_s: usual time from frame to frame, seconds.
        keyframes_s: times of the keyframes, rising, seconds.
        pauses_s: start and end of the frames that are displayed for seconds on end.
        stream_index: of the video stream among the file's streams.
        can_skip_probing: whether the file's `headers_suffice`.
        has_timestamps: whether the file's time stamps are usable.
        is_continuous: whether a frame's time is a function of its time stamp. Otherwise frames are decoded from the
            first one on, without seeking.
        warnings: what the user should know about the file.
    """

    path: Path
    width: int
    height: int
    duration_s: float
    frame_rate: float
    frame_count: int
    codec: str
    bitrate: int
    rotation: int
    pixel_format: str
    zero_pts: int = 0
    time_base: Fraction = Fraction(1, 90000)
    first_s: float = 0.0
    step_s: float = 0.04
    keyframes_s: tuple[float, ...] = field(default=(), repr=False)
    pauses_s: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    stream_index: int | None = field(default=None, repr=False)
    can_skip_probing: bool = field(default=False, repr=False)
    has_timestamps: bool = field(default=True, repr=False)
    is_continuous: bool = field(default=True, repr=False)
    warnings: tuple[CaptionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One picture of a sparse sample: its number in the sample, its time in seconds, ``(h, w, 3)`` RGB uint8."""

    index: int
    timestamp_s: float
    image: NDArray[np.uint8]


def probe(path: Path) -> VideoFacts:
    """Return the facts of a video, from its headers and its first decoded picture.

    Raises:
        VideoError: the file is missing, unreadable, no video, damaged beyond use, or without a picture.
    """
    path = Path(path)
    container = open_video(path)
    try:
        stream = video_stream(container, path)
        frame = first_frame(container, stream, path)
        if min(frame.width, frame.height) < _SHORTEST_SIDE:
            size = f"{frame.width} x {frame.height}"
            raise VideoError(path, f"its picture of {size} pixels is too small for captions")
        first_pts = frame.pts if frame.pts is not None else frame.dts or 0
        suffices = headers_suffice(path, stream)
        times = _listed_times(container, stream, path, first_pts) or _read_times(container, stream, path, first_pts)
        if times is None:
            raise VideoError(path, "no frame can be read")
        sideways = frame.rotation % 180 not in range(-45, 46) and frame.rotation % 180 <= 135
        return VideoFacts(
            path=path,
            width=frame.height if sideways else frame.width,
            height=frame.width if sideways else frame.height,
            duration_s=times.end_s,
            frame_rate=times.count / (times.end_s - times.first_s),
            frame_count=times.count,
            codec=stream.codec_context.codec.canonical_name,
            bitrate=round(path.stat().st_size * 8 / times.end_s),
            rotation=round(-frame.rotation / 90) % 4 * 90,
            pixel_format=frame.format.name,
            zero_pts=times.zero_pts,
            time_base=_time_base(stream),
            first_s=times.first_s,
            step_s=times.step_s,
            keyframes_s=times.keyframes_s,
            pauses_s=times.pauses_s,
            stream_index=stream.index,
            can_skip_probing=suffices,
            has_timestamps=times.has_timestamps,
            is_continuous=times.is_continuous,
            warnings=times.warnings or _duration_mismatch(container, stream, times),
        )
    finally:
        container.close()


def _duration_mismatch(container: InputContainer, stream: VideoStream, times: FrameTimes) -> tuple[CaptionWarning, ...]:
    """Return a warning where the header claims a much longer picture than the frames that the file contains.

    A container's duration covers all streams; it says something about the picture where there is no other stream.
    """
    if stream.duration:
        claimed_s = float(stream.duration * _time_base(stream))
    elif container.duration and len(container.streams) == 1:
        claimed_s = container.duration / 1_000_000 - times.first_s
    else:
        return ()
    found_s = times.end_s - times.first_s
    if claimed_s - found_s <= max(_MISMATCH_S, _MISMATCH_SHARE * found_s):
        return ()
    message = (
        f"The file's header says {claimed_s:.0f} s, but its frames end after {found_s:.0f} s. "
        "If something is missing, get the whole file."
    )
    return (CaptionWarning("duration_mismatch", message),)


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 90000)


def _listed_times(container: InputContainer, stream: VideoStream, path: Path, first_pts: int) -> FrameTimes | None:
    """Return the frame times by an mp4's sample table; None where there is none, or where it is irregular.

    The table lists decoding times. For steady frames they differ from display times by a constant.
    """
    table = sample_table(container, stream, path)
    time_base = _time_base(stream)
    if table is None or table.longest_step * time_base > MIN_PAUSE_S:
        return None
    zero = zero_pts(container, first_pts, time_base, has_sample_table=True)
    end = end_pts(container, stream, table.last_keyframe)
    step_s = float(1 / nominal_rate(stream))
    first_s = max(0.0, float((first_pts - zero) * time_base))
    end_s = max(float((end - zero) * time_base) if end is not None else 0.0, first_s + step_s)
    if table.frame_count > (end_s - first_s) * MAX_FRAME_RATE + 1:
        return None
    return FrameTimes(
        zero_pts=zero,
        count=table.frame_count,
        first_s=first_s,
        end_s=end_s,
        step_s=(end_s - first_s) / table.frame_count,
        keyframes_s=tuple(first_s + float(ticks * time_base) for ticks in table.keyframes),
        warnings=_missing_frames(table),
    )


def _missing_frames(table: SampleTable) -> tuple[CaptionWarning, ...]:
    if not table.missing:
        return ()
    listed = table.frame_count + table.missing
    message = f"The file is cut off: {table.missing} of {listed} frames are missing. Get the whole file."
    return (CaptionWarning("frames_missing", message),)


def _read_times(container: InputContainer, stream: VideoStream, path: Path, first_pts: int) -> FrameTimes | None:
    """Return the frame times by reading, not decoding, every packet of the file.

    That takes about 5 µs a frame. Headers cannot replace it: live recordings have none, and damaged ones lie.
    """
    time_base = _time_base(stream)
    # Without probing, FFmpeg would not know how frames are reordered where a file has decoding times only.
    with open_video(path) as again:
        read = [
            PacketTime(packet.pts if packet.pts is not None else packet.dts, packet.duration or 0, packet.is_keyframe)
            for packet in packets(again, video_stream(again, path, stream.index))
            if not packet.is_discard
        ]
    rate = float(nominal_rate(stream))
    zero = zero_pts(container, first_pts, time_base, has_sample_table=has_sample_table(container, stream))
    return frame_times(read, zero, time_base, rate)


class NativeFrame:
    """One displayed frame: its number from 0, its exact time in seconds, and its pixels on demand.

    Keep few of these objects: each keeps a whole decoded picture in memory.
    """

    __slots__ = ("_picture", "index", "time_s")

    def __init__(self, index: int, time_s: float, picture: Picture) -> None:
        self.index = index
        self.time_s = time_s
        self._picture = picture

    def luma(self, bbox: BBox) -> NDArray[np.uint8]:
        """Return the luma of a rectangle, ``(height, width)`` uint8, as coded."""
        return self._picture.luma(bbox)

    def scanlines(self, count: int) -> NDArray[np.uint8]:
        """See `Picture.scanlines`."""
        return self._picture.scanlines(count)

    def rgb(self, bbox: BBox) -> NDArray[np.uint8]:
        """Return the colors of a rectangle, ``(height, width, 3)`` RGB uint8."""
        return self._picture.rgb(bbox)

    def yuv420(self, bbox: BBox) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return a rectangle as Y, Cb, and Cr in 4:2:0, uint8, as coded; the luma's sides are made even."""
        return self._picture.yuv420(bbox)

    def scaled_luma(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the whole picture's luma scaled down, ``(height, width)`` uint8, as coded."""
        return self._picture.scaled_luma(width, height)

    def scaled_rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the whole picture scaled, ``(height, width, 3)`` RGB uint8."""
        return self._picture.scaled_rgb(width, height)


class VideoReader:
    """An open video that seeks and decodes; a context manager. Damaged packets are skipped.

    Args:
        facts: the video.
        skip: FFmpeg's ``skip_frame``; ``"NONREF"`` leaves out frames that no other frame is built from.
        skip_filter: FFmpeg's ``skip_loop_filter``: frames that are decoded faster, without the loop filter. ``"all"``
            is good enough to find text, not to measure when it appears.
        threads: of the decoder.
        on_gpu: decode on NVDEC. Decoding then raises FFmpeg's errors where the GPU fails or the file is damaged.
        file: the video's content, where ``facts.path`` is not a file of this machine.

    Raises:
        VideoError: the file can no longer be opened.
        NvdecUnavailable: ``on_gpu``, and NVDEC cannot decode this video.
    """

    def __init__(
        self,
        facts: VideoFacts,
        *,
        skip: str = "DEFAULT",
        skip_filter: str = "default",
        threads: int = 1,
        on_gpu: bool = False,
        file: BinaryIO | None = None,
    ) -> None:
        self.facts = facts
        self._file = file
        from av.video.reformatter import VideoReformatter

        self._decoder = (skip, skip_filter, threads)
        self._on_gpu = on_gpu
        self._scaler = VideoReformatter()
        self._open()

    def _open(self) -> None:
        facts = self.facts
        if self._on_gpu:
            self._container = open_on_nvdec(facts.path, facts.codec, facts.pixel_format)
            self._stream = video_stream(self._container, facts.path, facts.stream_index)
            return
        if self._file is not None:
            self._file.seek(0)
        self._container = open_video(facts.path, skip_probing=facts.can_skip_probing, file=self._file)
        self._stream = video_stream(self._container, facts.path, facts.stream_index)
        context = self._stream.codec_context
        skip, skip_filter, threads = self._decoder
        context.thread_count = threads
        context.thread_type = "AUTO" if threads > 1 else "NONE"
        context.skip_frame = skip  # pyright: ignore[reportAttributeAccessIssue]
        context.options = {"skip_loop_filter": skip_filter}

    @property
    def _can_leave_out(self) -> bool:
        """Return whether frames can be left out one by one: what a time stamp means is known, and all is decoded."""
        facts, (skip, _, threads) = self.facts, self._decoder
        is_steady = facts.is_continuous and facts.has_timestamps and not facts.pauses_s
        return facts.codec in _LEAVES_OUT and is_steady and skip == "DEFAULT" and threads == 1 and not self._on_gpu

    def _is_wanted_from(self, wanted_s: Callable[[], float]) -> Callable[[int], bool]:
        """Return whether the frame of a time stamp is needed for itself, from what `frames` is told."""
        facts = self.facts
        slack_s, last_s = _SLACK_STEPS * facts.step_s, facts.duration_s - _END_S

        def is_wanted(pts: int) -> bool:
            return float((pts - facts.zero_pts) * facts.time_base) >= min(wanted_s(), last_s) - slack_s

        return is_wanted

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._container.close()

    def frames_from(self, time_s: float, wanted_s: Callable[[], float] | None = None) -> Iterator[NativeFrame]:
        """Decode from the last keyframe at or before a time, or from earlier where the file seeks badly.

        ``wanted_s`` is that of `frames`.
        """
        latest_s = max(time_s, self.facts.first_s) + 1.5 * self.facts.step_s
        for start in (time_s, time_s - _SEEK_BACK_S, None) if self.facts.is_continuous else (None,):
            if start is None:
                self._reopen()
            elif not self._seek(start):
                continue
            frames = self.frames(wanted_s)
            first = next(frames, None)
            if first is not None and (start is None or first.time_s <= latest_s):
                return itertools.chain((first,), frames)
        return iter(())

    def _seek(self, time_s: float) -> bool:
        from av.error import FFmpegError

        pts = self.facts.zero_pts + max(0, round(time_s / self.facts.time_base))
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
        except FFmpegError:
            return False
        return True

    def frames(self, wanted_s: Callable[[], float] | None = None) -> Iterator[NativeFrame]:
        """Decode from the current position to the end. ``index`` counts from 0 at this call; times rise strictly.

        Args:
            wanted_s: tells before which time, seconds, no frame is needed for itself: there, frames that no other frame
                is built from may be left out. It is asked again and again, and must not fall. The others are the
                same, pixel for pixel.
        """
        facts = self.facts
        clock = Clock(
            facts.zero_pts,
            facts.time_base,
            facts.step_s,
            has_timestamps=facts.has_timestamps,
            repairs=not facts.is_continuous,
        )
        is_wanted = self._is_wanted_from(wanted_s) if wanted_s is not None and self._can_leave_out else None
        decoded = decode(self._container, self._stream, strict=self._on_gpu, is_wanted=is_wanted)
        for index, frame in enumerate(decoded):
            time_s = clock.time_of(frame.pts if frame.pts is not None else frame.dts)
            yield NativeFrame(index, time_s, Picture(frame, facts.rotation, (facts.width, facts.height), self._scaler))


def sample_frames(facts: VideoFacts, rate: float, *, long_side: int | None = None) -> Iterator[SampledFrame]:
    """Return an even sample of a video: at most ``int(duration * rate)`` pictures, at least one.

    Args:
        facts: the video.
        rate: pictures per second. Picture ``i`` is at about ``(i + 0.5) / rate``, see `target_times`.
        long_side: upper bound of the picture's longer side, pixels.

    Raises:
        VideoError: the file can no longer be opened.
        ValueError: ``rate`` is not positive.
    """
    goals = target_times(facts, rate)
    width, height = scaled_size(facts, long_side)
    with VideoReader(facts) as reader:
        for index, frame in enumerate(frames_near(reader, goals)):
            yield SampledFrame(index, frame.time_s, frame.scaled_rgb(width, height))


def target_times(facts: VideoFacts, rate: float) -> list[float]:
    """Return the times of an even sample of a video, rising, seconds.

    Sample ``i`` is at ``(i + 0.5) / rate``, or at the nearest keyframe within `VideoTuning.keyframe_reach`: keyframes
    cost the least to decode. A frame that is displayed for several samples is sampled once.

    Raises:
        ValueError: ``rate`` is not positive.
    """
    if not rate > 0:
        raise ValueError(f"a sampling rate must be positive, got {rate}")
    count = max(1, int(facts.duration_s * rate + _TIME_SLACK_S))
    spacing = min(1 / rate, facts.duration_s / count)
    times = [(index + 0.5) * (1 / rate if count > 1 else spacing) for index in range(count)]
    near = [_nearest(facts.keyframes_s, time_s, TUNING.keyframe_reach * spacing) for time_s in times]
    moved = [time_s if keyframe is None else keyframe for time_s, keyframe in zip(times, near, strict=True)]
    return without_repeats(moved, facts.first_s, facts.pauses_s)


def scaled_size(facts: VideoFacts, long_side: int | None) -> tuple[int, int]:
    """Return the picture's ``(width, height)`` with its longer side bounded by ``long_side`` pixels."""
    longest = max(facts.width, facts.height)
    if long_side is None or longest <= long_side:
        return facts.width, facts.height
    scale = long_side / longest
    return max(1, round(facts.width * scale)), max(1, round(facts.height * scale))


class SeekingReader(Protocol):
    """What `frames_near` needs of a reader."""

    facts: VideoFacts

    def frames_from(self, time_s: float, wanted_s: Callable[[], float] | None = None) -> Iterator[NativeFrame]:
        """Return the frames from a time, or from somewhat earlier; ``wanted_s`` as for `VideoReader.frames`."""
        ...


def frames_near(reader: SeekingReader, times: Sequence[float]) -> Iterator[NativeFrame]:
    """Return the frame on display at each of some rising times, decoding as little as possible.

    At times after the last frame that is the last frame; where nothing can be decoded, the frames end.
    """
    previous: NativeFrame | None = None
    running: Iterator[NativeFrame] | None = None
    time_s = 0.0

    def wanted_s() -> float:
        return time_s - 0.5 * reader.facts.step_s

    for time_s in times:
        start = _last_at_or_before(reader.facts.keyframes_s, time_s)
        if running is None or previous is None or start is None or start > previous.time_s:
            running, previous = reader.frames_from(time_s, wanted_s), None
        previous = _advance(running, time_s, previous, reader.facts)
        if previous is None:
            return
        yield previous


def native_frames(
    facts: VideoFacts, *, start_s: float = 0.0, end_s: float | None = None, threads: int | None = None
) -> Iterator[NativeFrame]:
    """Decode every frame once, ahead of the caller; arguments and errors as of `map_native_frames`."""
    return map_native_frames(facts, lambda frame: frame, start_s=start_s, end_s=end_s, threads=threads)


def map_native_frames(
    facts: VideoFacts,
    take: Callable[[NativeFrame], T],
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    threads: int | None = None,
) -> Generator[T, None, None]:
    """Decode every frame once, in a thread of its own, and return what ``take`` returns for each.

    Memory is bounded by a few results of ``take``, however long the video is. Under `video_process_settings` the
    thread waits the least.

    Args:
        facts: the video.
        take: called with each frame in the decoder's thread. A frame that it does not keep leaves its memory to the
            next one.
        start_s, end_s: only frames with ``start_s <= time < end_s``; ``index`` counts from the first of them.
        threads: of the decoder. Default: one, the cheapest in CPU time, up to two cores; more on larger machines.

    Raises:
        VideoError: the file can no longer be opened.
    """
    batches: queue.Queue[list[T] | BaseException | None] = queue.Queue(_QUEUED_BATCHES)
    stopped = threading.Event()
    frames = _decoded(facts, (start_s, end_s), threads or _decoder_threads())
    worker = threading.Thread(
        target=_decode_ahead, args=(map(take, frames), batches, stopped), name="decode", daemon=True
    )
    worker.start()
    try:
        while (batch := batches.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield from batch
    finally:
        stopped.set()
        while worker.is_alive():
            with contextlib.suppress(queue.Empty):
                batches.get_nowait()
            worker.join(_JOIN_S)


def _decode_ahead(
    items: Iterator[T], batches: queue.Queue[list[T] | BaseException | None], stopped: threading.Event
) -> None:
    try:
        batch: list[T] = []
        for item in items:
            batch.append(item)
            if len(batch) == _BATCH:
                batches.put(batch)
                batch = []
            if stopped.is_set():
                return
        batches.put(batch)
        batches.put(None)
    except BaseException as error:  # noqa: BLE001 -- passed on: the caller's thread raises it
        batches.put(error)


def _decoded(facts: VideoFacts, span: tuple[float, float | None], threads: int) -> Iterator[NativeFrame]:
    """Decode a time span on the GPU where that works, and on the CPU from the frame at which it fails."""
    from av.error import FFmpegError

    decoded = 0
    try:
        with VideoReader(facts, on_gpu=True) as reader:
            for frame in _frames_of(reader, *span):
                yield frame
                decoded += 1
        return
    except (NvdecUnavailable, FFmpegError) as error:
        log_cpu_fallback(facts.path, error, decoded)
    with VideoReader(facts, skip_filter=_loop_filter_skip(facts), threads=threads) as reader:
        yield from itertools.islice(_frames_of(reader, *span), decoded, None)


def _loop_filter_skip(facts: VideoFacts) -> str:
    """Return which frames are decoded without the loop filter, which saves a tenth of decoding.

    The filter smooths the edges of blocks; without it a picture differs by hardly a gray level. Frames that no other
    frame is built from never need it. Other B frames pass their error on up to the next keyframe.
    """
    gops = itertools.pairwise((0.0, *facts.keyframes_s, facts.duration_s))
    return "bidir" if max(end - start for start, end in gops) <= TUNING.unfiltered_gop_s else "noref"


def _frames_of(reader: VideoReader, start_s: float, end_s: float | None) -> Iterator[NativeFrame]:
    """Decode a time span; ``index`` counts from its first frame."""
    frames = reader.frames() if start_s <= 0 else reader.frames_from(start_s)
    index = 0
    for frame in frames:
        if end_s is not None and frame.time_s >= end_s:
            return
        if frame.time_s >= start_s or start_s <= 0:
            frame.index = index
            yield frame
            index += 1


def _decoder_threads() -> int:
    import os

    cores = os.cpu_count() or 1
    return 1 if cores <= 2 else min(4, cores // 2)


def _advance(
    frames: Iterator[NativeFrame], time_s: float, previous: NativeFrame | None, facts: VideoFacts
) -> NativeFrame | None:
    """Decode up to the frame on display at a time, and return it."""
    half_frame = 0.5 * facts.step_s
    while previous is None or previous.time_s < time_s - half_frame:
        frame = next(frames, None)
        if frame is None:
            return previous
        previous = frame
    return previous


def _nearest(sorted_times: Sequence[float], time_s: float, tolerance_s: float) -> float | None:
    near = [time for time in sorted_times if abs(time - time_s) <= tolerance_s]
    return min(near, key=lambda time: abs(time - time_s)) if near else None


def _last_at_or_before(sorted_times: Sequence[float], time_s: float) -> float | None:
    before = [time for time in sorted_times if time <= time_s + _TIME_SLACK_S]
    return before[-1] if before else None
