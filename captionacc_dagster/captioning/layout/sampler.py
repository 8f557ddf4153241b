"""Looking at a video here and there: whole pictures to read, and samples in which lines are searched."""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence

from captionacc_dagster.captioning.layout.sample_times import sampling_batches
from captionacc_dagster.captioning.layout.samples import PICTURE_SIDE, THUMB_SIDE, Sample, sample_of
from captionacc_dagster.captioning.video.reader import (
    NativeFrame,
    SampledFrame,
    SeekingReader,
    VideoFacts,
    VideoReader,
    frames_near,
    scaled_size,
    target_times,
)

_SHORT_S = 8.0
_LATER_S = 0.2  # how much later the second picture of a sample is, at least
_EARLY_S = 0.02  # that a frame may come before the time that is asked for
_ON_THE_WAY = 0.25  # of a video, that is decoded for whole pictures: from there on samples are taken from it, too


class Sampler:
    """Takes whole pictures and samples of one video, decoding as little as possible; a context manager.

    Whole pictures at keyframes cost little, and samples are decoded roughly. Where keyframes are rare most of a video
    is decoded for whole pictures alone: there everything is decoded once and in order, the samples on the way.
    """

    def __init__(self, facts: VideoFacts) -> None:
        self.facts = facts
        self._readers = contextlib.ExitStack()
        self._rough: VideoReader | None = None
        self._sweep: _Sweep | None = None

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *exc: object) -> None:
        self._readers.close()

    def pictures(self, rate: float) -> Iterator[SampledFrame]:
        """Sample whole pictures evenly, as `sample_frames` does.

        Raises:
            VideoError: the file can no longer be opened.
            ValueError: ``rate`` is not positive.
        """
        facts = self.facts
        goals = target_times(facts, rate)
        opened = self._readers.enter_context(VideoReader(facts))
        reader: SeekingReader = opened
        planned: list[float] = []
        if _stretch(facts, goals) >= _ON_THE_WAY * facts.duration_s:
            planned = sorted(itertools.chain(*sampling_batches(facts, goals)))
            reader = self._sweep = _Sweep(opened, planned)
        for index, (goal, frame) in enumerate(zip(goals, frames_near(reader, goals), strict=False)):
            if self._sweep is not None and goal in planned:
                self._sweep.take(frame)
            yield SampledFrame(index, frame.time_s, frame.scaled_rgb(facts.width, facts.height))

    def samples(self, times: Sequence[float]) -> Iterator[Sample]:
        """Take samples at rising times; of a video that was swept those that lie nearest, each once.

        Only what the sampled frames are built from is decoded, without the loop filter: a coarse picture is
        enough to find text.

        Raises:
            VideoError: the video can no longer be opened.
        """
        return self._roughly(times) if self._sweep is None else self._sweep.samples(times)

    def _roughly(self, times: Sequence[float]) -> Iterator[Sample]:
        facts = self.facts
        if self._rough is None:
            # In a short video the frames that could be left out are too few to count, and needed.
            skip = "BIDIR" if facts.duration_s >= _SHORT_S else "DEFAULT"
            self._rough = self._readers.enter_context(VideoReader(facts, skip=skip, skip_filter="all"))
        keyframes = facts.keyframes_s or (0.0,)
        taker = _Taker(facts, times)
        running: Iterator[NativeFrame] | None = None
        while (time_s := taker.awaited) is not None:
            before = bisect.bisect_right(keyframes, time_s + 1e-6)
            if running is None or (before and keyframes[before - 1] > taker.position):
                running = self._rough.frames_from(time_s)
            sample = next((made for frame in running if (made := taker.see(frame))), None) or taker.rest()
            if sample is None:
                return
            yield sample


class _Taker:
    """Makes samples of the frames that pass by, at the rising times that were asked for.

    ``position`` is the time of the last frame that a sample was made of.
    """

    def __init__(self, facts: VideoFacts, times: Sequence[float]) -> None:
        self._sizes = (scaled_size(facts, THUMB_SIDE), scaled_size(facts, PICTURE_SIDE))
        self._times = deque(times)
        self._begun: NativeFrame | None = None
        self.position = -1.0

    @property
    def awaited(self) -> float | None:
        """The time of the next sample, ``None`` at the end."""
        return self._times[0] if self._times else None

    def see(self, frame: NativeFrame) -> Sample | None:
        """Look at the next frame; gives the sample that is complete with it."""
        if self._begun is None:
            if self._times and frame.time_s >= self._times[0] - _EARLY_S:
                self.begin(frame)
        elif frame.time_s >= self._begun.time_s + _LATER_S:
            return self._sample(self._begun, frame)
        return None

    def begin(self, frame: NativeFrame) -> None:
        """Begin a sample with a frame that was seen, in place of one that is not complete."""
        self._begun = frame

    def rest(self) -> Sample | None:
        """Give the sample that the end of the video left without its second picture."""
        return None if self._begun is None else self._sample(self._begun, None)

    def _sample(self, frame: NativeFrame, later: NativeFrame | None) -> Sample:
        self._begun = None
        self.position = frame.time_s if later is None else later.time_s
        while self._times and self._times[0] <= max(self.position, frame.time_s + _EARLY_S):  # reached or passed over
            self._times.popleft()
        return sample_of(frame, later, *self._sizes)


class _Sweep:
    """Decodes a whole video in order, and takes samples of what passes by."""

    def __init__(self, reader: VideoReader, planned: Sequence[float]) -> None:
        self.facts = reader.facts
        self._frames = self._passing(reader.frames())
        self._taker = _Taker(reader.facts, planned)
        self._taken: list[Sample] = []
        self._position = -1.0

    def frames_from(self, time_s: float) -> Iterator[NativeFrame]:
        """Go on with the frames: where none is passed over, a later time is reached all the same."""
        del time_s
        return self._frames

    def take(self, frame: NativeFrame) -> None:
        """Take a sample of the frame that was given last."""
        self._taker.begin(frame)

    def samples(self, times: Sequence[float]) -> Iterator[Sample]:
        """Give the samples nearest to some rising times, each once; decodes on as far as need be."""
        for time_s in times:
            while self._position < time_s + _LATER_S and next(self._frames, None) is not None:
                pass
            nearest = min(self._taken, key=lambda sample: abs(sample.time_s - time_s), default=None)
            if nearest is not None:
                self._taken.remove(nearest)
                yield nearest

    def _passing(self, frames: Iterator[NativeFrame]) -> Iterator[NativeFrame]:
        for frame in frames:
            self._position = frame.time_s
            self._keep(self._taker.see(frame))
            yield frame
        self._position = self.facts.duration_s
        self._keep(self._taker.rest())

    def _keep(self, sample: Sample | None) -> None:
        if sample is not None:
            self._taken.append(sample)


def _stretch(facts: VideoFacts, goals: Sequence[float]) -> float:
    """Give how much of a video, in seconds, is decoded to reach some rising times from keyframes."""
    decoded, position = 0.0, 0.0
    for goal in goals:
        before = bisect.bisect_right(facts.keyframes_s, goal + 1e-6)
        if not before:
            continue
        decoded += goal - max(position, facts.keyframes_s[before - 1])
        position = goal
    return decoded
