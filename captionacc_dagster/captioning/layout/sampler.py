"""When and how a video is sampled for its layout: often enough to see each caption, decoding as little as possible."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

from captionacc_dagster.captioning.layout.samples import PICTURE_SIDE, THUMBNAIL_SIDE, Sample, sample_of
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.video.reader import (
    NativeFrame,
    SampledFrame,
    VideoFacts,
    VideoReader,
    frames_near,
    scaled_size,
    target_times,
)

ROUNDS = 2  # in which every second GOP is sampled
_FEW_KEYFRAMES = 5  # with fewer there is one batch: each batch decodes again from the keyframes
_MOST_SAMPLES = 100  # of a long video: each sample takes a megabyte
_FEW_SAMPLES = 8  # a video too short for so many is sampled more densely,
_DENSEST_S = 0.3  # but no more than this, in seconds
_DENSE_RATE = 10.0  # frames per second, from which on leaving B frames out leaves enough of them
_EARLY_S = 0.02  # seconds: a frame may come this much before the time that was asked for


def sampling_batches(facts: VideoFacts, known: Collection[float]) -> list[list[float]]:
    """Return the times to sample, in batches of rising times: first the cheap ones that tell most.

    The first batch has what is reached soon after every second keyframe, the next one what follows the other
    keyframes, then the rest in the same order. With few keyframes there is one batch.

    Args:
        facts: the video.
        known: times that were sampled before, seconds.
    """
    near = _keyframe_times(facts, known)
    times = sorted([*near, *_times_between(facts, near)])
    if len(near) < _FEW_KEYFRAMES:
        return [times]
    ends = (0.0, *facts.keyframes_s, facts.duration_s)
    gops = [
        (ends[number], ends[number + 1], list(group))
        for number, group in itertools.groupby(
            times, key=lambda time_s: bisect.bisect(facts.keyframes_s, time_s + 1e-6)
        )
    ]
    early: list[list[float]] = []
    late: list[list[float]] = []
    for start, end, group in gops:
        # The late part is at most half of a GOP, and shorter than a caption.
        last = max((start + end) / 2, end - TUNING.far_spacing_s) + 0.1
        early.append([time_s for time_s in group if time_s <= last or time_s in known])
        late.append([time_s for time_s in group if not (time_s <= last or time_s in known)])
    return [
        [time_s for times in part[first::ROUNDS] for time_s in times]
        for part in (early, late)
        for first in range(ROUNDS)
    ]


def _keyframe_times(facts: VideoFacts, known: Collection[float]) -> list[float]:
    """Return times that cost little to sample: known ones first, then keyframes."""
    apart = 0.5 * _spacing(facts)
    times: list[float] = []
    for time_s in (*sorted(known), 0.0, *facts.keyframes_s):
        at = bisect.bisect(times, time_s)
        beside = times[max(0, at - 1) : at + 1]
        if time_s < facts.duration_s and all(abs(time_s - other) >= apart for other in beside):
            times.insert(at, time_s)
    return times


def _times_between(facts: VideoFacts, near: Sequence[float]) -> list[float]:
    """Return times that fill the gaps between others evenly."""
    times: list[float] = []
    for start, end in itertools.pairwise([*near, facts.duration_s]):
        parts = max(1, round((end - start) / _spacing(facts)))
        times += [start + part * (end - start) / parts for part in range(1, parts)]
    return times


def _spacing(facts: VideoFacts) -> float:
    spacing = max(TUNING.sample_spacing_s, facts.duration_s / _MOST_SAMPLES)
    if facts.duration_s < _FEW_SAMPLES * spacing:
        return max(_DENSEST_S, facts.duration_s / _FEW_SAMPLES)
    return spacing


class Sampler:
    """Takes full frames and samples of one video, decoding as little as possible; a context manager.

    Full frames at keyframes cost little, and samples are decoded coarsely. Where keyframes are rare, the full frames
    alone need most of the video: then everything is decoded once, in order, and samples are taken in the same pass.
    """

    def __init__(self, facts: VideoFacts) -> None:
        self.facts = facts
        self._readers = contextlib.ExitStack()
        self._coarse: VideoReader | None = None
        self._sweep: _Sweep | None = None

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *exc: object) -> None:
        self._readers.close()

    def pictures(self, rate: float) -> Iterator[SampledFrame]:
        """Yield full frames at an even rate (per second), as `sample_frames` does.

        Raises:
            VideoError: the file can no longer be opened.
            ValueError: ``rate`` is not positive.
        """
        facts = self.facts
        for index, frame in enumerate(self._frames_at(target_times(facts, rate))):
            yield SampledFrame(index, frame.time_s, frame.scaled_rgb(facts.width, facts.height))

    def pass_over(self, times: Sequence[float]) -> None:
        """Take the samples that `pictures` takes on its way, for full frames that another sampler took.

        Args:
            times: of the full frames, rising, seconds.

        Raises:
            VideoError: the file can no longer be opened.
        """
        if self._needs_sweep(times):
            for _ in self._frames_at(times):
                pass

    def _frames_at(self, goals: Sequence[float]) -> Iterator[NativeFrame]:
        opened = self._readers.enter_context(VideoReader(self.facts))
        if not self._needs_sweep(goals):
            yield from frames_near(opened, goals)
            return
        planned = sorted(itertools.chain(*sampling_batches(self.facts, goals)))
        self._sweep = _Sweep(opened, planned)
        for goal, frame in zip(goals, frames_near(self._sweep, goals), strict=False):
            if goal in planned:
                self._sweep.take(frame)
            yield frame
        self._sweep.only_samples()

    def _needs_sweep(self, goals: Sequence[float]) -> bool:
        """Return whether reaching these times needs so much of the video that all of it is decoded once."""
        return _decoding_s(self.facts, goals) >= TUNING.sweep_share * self.facts.duration_s

    def samples(self, times: Sequence[float]) -> Iterator[Sample]:
        """Yield samples at rising times (seconds); in a sweep, the nearest of the samples taken, each once.

        Otherwise only the frames that the sampled ones depend on are decoded, without the loop filter: a coarse
        picture is enough to find text.

        Raises:
            VideoError: the video can no longer be opened.
        """
        return self._coarse_samples(times) if self._sweep is None else self._sweep.samples(times)

    def _coarse_samples(self, times: Sequence[float]) -> Iterator[Sample]:
        facts = self.facts
        if self._coarse is None:
            skip = _frames_to_skip(facts)
            self._coarse = self._readers.enter_context(VideoReader(facts, skip=skip, skip_filter="all"))
        keyframes = facts.keyframes_s or (0.0,)
        taker = _SampleTaker(facts, times)
        running: Iterator[NativeFrame] | None = None
        while (time_s := taker.next_time) is not None:
            if running is None or _last_keyframe(keyframes, time_s) > taker.position:
                running = self._coarse.frames_from(time_s)
            sample: Sample | None = None
            sought_s = -math.inf  # the last keyframe that was sought: a file may list it somewhat later than it is
            while sample is None and (frame := next(running, None)) is not None:
                sample = taker.push(frame)
                later_s = taker.later_time
                keyframe_s = _last_keyframe(keyframes, later_s) if later_s is not None else -math.inf
                if sample is None and later_s is not None and keyframe_s > max(frame.time_s, sought_s):
                    running, sought_s = self._coarse.frames_from(later_s), keyframe_s
            sample = sample or taker.finish()
            if sample is None:
                return
            yield sample


def _last_keyframe(keyframes_s: Sequence[float], time_s: float) -> float:
    """Return the time of the last keyframe at or before a time; before all of them, one before any frame."""
    before = bisect.bisect_right(keyframes_s, time_s + 1e-6)
    return keyframes_s[before - 1] if before else -math.inf


class _SampleTaker:
    """Makes samples from passing frames at the rising times that were asked for.

    ``position`` is the time of the last frame that a sample was made of, seconds.
    """

    def __init__(self, facts: VideoFacts, times: Sequence[float]) -> None:
        self._sizes = (scaled_size(facts, THUMBNAIL_SIDE), scaled_size(facts, PICTURE_SIDE))
        self._times = deque(times)
        self._first: NativeFrame | None = None
        self.position = -1.0

    @property
    def next_time(self) -> float | None:
        """The time of the next sample, None at the end."""
        return self._times[0] if self._times else None

    @property
    def wanted_s(self) -> float:
        """The time, seconds, before which no frame is part of a sample."""
        if (later_s := self.later_time) is not None:
            return later_s
        return self._times[0] - _EARLY_S if self._times else math.inf

    @property
    def later_time(self) -> float | None:
        """The time of the second picture of the sample that was begun, None if none was."""
        return None if self._first is None else self._first.time_s + TUNING.sample_spacing_s / 4

    def push(self, frame: NativeFrame) -> Sample | None:
        """Take the next frame; return the sample that it completes."""
        if self._first is None:
            if self._times and frame.time_s >= self._times[0] - _EARLY_S:
                self.begin(frame)
        elif (later_s := self.later_time) is not None and frame.time_s >= later_s:
            return self._sample(self._first, frame)
        return None

    def begin(self, frame: NativeFrame) -> None:
        """Begin a sample with a frame that was pushed, in place of an incomplete one."""
        self._first = frame

    def finish(self) -> Sample | None:
        """Return the sample that the end of the video left without its second picture."""
        return None if self._first is None else self._sample(self._first, None)

    def _sample(self, frame: NativeFrame, later: NativeFrame | None) -> Sample:
        self._first = None
        self.position = frame.time_s if later is None else later.time_s
        while self._times and self._times[0] <= max(self.position, frame.time_s + _EARLY_S):  # reached or passed
            self._times.popleft()
        return sample_of(frame, later, *self._sizes)


class _Sweep:
    """Decodes a whole video in order, and takes samples of the passing frames."""

    def __init__(self, reader: VideoReader, planned: Sequence[float]) -> None:
        self.facts = reader.facts
        self._frames = self._passing(reader.frames(self._wanted_s))
        self._goal_s: Callable[[], float] | None = None  # before which no frame is asked for, seconds
        self._taker = _SampleTaker(reader.facts, planned)
        self._taken: list[Sample] = []
        self._position = -1.0

    def frames_from(self, time_s: float, wanted_s: Callable[[], float] | None = None) -> Iterator[NativeFrame]:
        """Return the frames that follow: a sweep never seeks, so a later time is reached in any case.

        Frames before ``wanted_s()``, seconds, may be left out unless a sample needs them.
        """
        del time_s
        self._goal_s = wanted_s or (lambda: -math.inf)
        return self._frames

    def only_samples(self) -> None:
        """Decode what follows for the samples alone."""
        self._goal_s = None

    def _wanted_s(self) -> float:
        return min(self._taker.wanted_s, self._goal_s() if self._goal_s is not None else math.inf)

    def take(self, frame: NativeFrame) -> None:
        """Take a sample of the frame that was returned last."""
        self._taker.begin(frame)

    def samples(self, times: Sequence[float]) -> Iterator[Sample]:
        """Yield the samples nearest to rising times, each once; decode further as needed."""
        for time_s in times:
            while self._position < time_s + TUNING.sample_spacing_s / 4 and next(self._frames, None) is not None:
                pass
            nearest = min(self._taken, key=lambda sample: abs(sample.time_s - time_s), default=None)
            if nearest is not None:
                self._taken.remove(nearest)
                yield nearest

    def _passing(self, frames: Iterator[NativeFrame]) -> Iterator[NativeFrame]:
        for frame in frames:
            self._position = frame.time_s
            self._keep(self._taker.push(frame))
            yield frame
        self._position = self.facts.duration_s
        self._keep(self._taker.finish())

    def _keep(self, sample: Sample | None) -> None:
        if sample is not None:
            self._taken.append(sample)


def _frames_to_skip(facts: VideoFacts) -> str:
    """Return FFmpeg's ``skip_frame`` for samples: leave frames out where enough are left.

    A short video, or one of few frames a second, needs them all. HEVC encoders code all frames but keyframes as B
    frames; there only those are left out that no other frame is built from.
    """
    if facts.duration_s < TUNING.shallow_decoding_s or facts.frame_rate < _DENSE_RATE:
        return "DEFAULT"
    return "NONREF" if facts.codec == "hevc" else "BIDIR"


def _decoding_s(facts: VideoFacts, goals: Sequence[float]) -> float:
    """Return how many seconds of a video must be decoded to reach some rising times from keyframes."""
    decoded, position = 0.0, 0.0
    for goal in goals:
        before = bisect.bisect_right(facts.keyframes_s, goal + 1e-6)
        if not before:
            continue
        decoded += goal - max(position, facts.keyframes_s[before - 1])
        position = goal
    return decoded
