"""The frame grid: when each native frame of a video is displayed, and its picture by number.

The grid is read once, from the file's packets. With it, a frame is found without reading the file again: its time gives
the keyframe, and one group of pictures is decoded.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from captionacc_dagster.captioning.video.containers import open_video, packets, video_stream
from captionacc_dagster.captioning.video.reader import NativeFrame, VideoFacts, VideoReader
from captionacc_dagster.captioning.video.timestamps import Clock, PacketTime, display_times

_MICROSECONDS = 1_000_000
# Milliseconds; a frame's time computed in floats can be this much below the millisecond it belongs to.
_SLACK_MS = 1e-3


@dataclass(frozen=True)
class FrameGrid:
    """The frames of a video: what is needed to decode them, and when each is displayed.

    Attributes:
        facts: the video.
        times_us: microseconds on the player's clock at which each frame begins, rising strictly.
    """

    facts: VideoFacts
    times_us: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.times_us)

    @cached_property
    def times_ms(self) -> list[int]:
        """Time of each frame in whole milliseconds, rounded down as in the files."""
        return [time // 1000 for time in self.times_us]

    @cached_property
    def steady_step_ms(self) -> float | None:
        """Milliseconds from frame to frame, if the times in whole milliseconds follow from it; otherwise None."""
        if self.count < 2:
            return None
        first = self.times_us[0]
        step = (self.times_us[-1] - first) / (self.count - 1) / 1000
        expected = (int(first / 1000 + number * step + _SLACK_MS) for number in range(self.count))
        return step if all(time == given for time, given in zip(expected, self.times_ms, strict=True)) else None

    def frame_from(self, milliseconds: int) -> int:
        """Return the number of the first frame at or after a time; the count of frames if there is none."""
        return bisect_left(self.times_ms, milliseconds)

    def frames_around(self, number: int, reach: int, file: BinaryIO | None = None) -> Iterator[tuple[int, NativeFrame]]:
        """Yield frames and their numbers: ``number``, and those within ``reach`` that share its decoding.

        Args:
            number: of the frame.
            reach: frames before and after it.
            file: the video's content; None: ``facts.path`` is the file.

        Raises:
            IndexError: there is no such frame.
            VideoError: the file can no longer be opened.
        """
        if not 0 <= number < self.count:
            raise IndexError(f"the video has frames 0 to {self.count - 1}, not {number}")
        last = min(self.count - 1, number + reach)
        # Seeking goes by time; half a frame of slack leads to the keyframe that is the frame itself.
        time_s = self.times_us[number] / _MICROSECONDS + min(0.25 * self.facts.step_s, 0.001)
        with VideoReader(self.facts, file=file) as reader:
            for frame in reader.frames_from(time_s):
                at = self._number_of(frame.time_s)
                if at > last:
                    return
                if abs(at - number) <= reach:
                    yield at, frame

    def _number_of(self, time_s: float) -> int:
        """Return the number of the frame nearest to a time."""
        microseconds = round(time_s * _MICROSECONDS)
        after = bisect_right(self.times_us, microseconds)
        near = [number for number in (after - 1, after) if 0 <= number < self.count]
        return min(near, key=lambda number: abs(self.times_us[number] - microseconds))

    def pack(self) -> bytes:
        """Return the grid as compressed JSON."""
        facts = {name: value for name, value in asdict(self.facts).items() if name not in ("path", "warnings")}
        facts["time_base"] = [self.facts.time_base.numerator, self.facts.time_base.denominator]
        steps = [after - before for before, after in zip((0, *self.times_us), self.times_us, strict=False)]
        return gzip.compress(json.dumps({"facts": facts, "steps_us": steps}).encode(), 6, mtime=0)

    @classmethod
    def unpack(cls, data: bytes, path: Path) -> FrameGrid:
        """Return the grid that `pack` wrote.

        Args:
            data: the bytes.
            path: of the video.

        Raises:
            ValueError: the bytes are not a grid.
        """
        try:
            read = json.loads(gzip.decompress(data))
            given: dict[str, Any] = read["facts"]
            known = {field.name for field in fields(VideoFacts)}
            given = {name: value for name, value in given.items() if name in known}
            given["time_base"] = Fraction(*given["time_base"])
            for name in ("keyframes_s", "pauses_s"):
                given[name] = tuple(tuple(item) if isinstance(item, list) else item for item in given[name])
            times, at = [], 0
            for step in read["steps_us"]:
                at += step
                times.append(at)
            return cls(VideoFacts(path=path, **given), tuple(times))
        except (OSError, EOFError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}: not a frame grid ({error})") from error


def read_frame_grid(facts: VideoFacts) -> FrameGrid:
    """Return the grid of a video by reading, not decoding, its packets.

    Raises:
        VideoError: the file can no longer be opened.
    """
    with open_video(facts.path) as container:
        read = [
            PacketTime(packet.pts if packet.pts is not None else packet.dts, packet.duration or 0, packet.is_keyframe)
            for packet in packets(container, video_stream(container, facts.path, facts.stream_index))
            if not packet.is_discard
        ]
    clock = Clock(
        facts.zero_pts,
        facts.time_base,
        facts.step_s,
        has_timestamps=facts.has_timestamps,
        repairs=not facts.is_continuous,
    )
    return FrameGrid(facts, tuple(round(time_s * _MICROSECONDS) for time_s in display_times(read, clock)))
