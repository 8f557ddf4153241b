"""The clock of a video: when a player displays each frame, from the time stamps of its packets.

The clock's zero is the player's:

- mp4 and mov with sample tables: time 0 of the presentation, after edit lists (ISO/IEC 14496-12, 8.6.6). Browsers,
  QuickTime, and VLC count from there, so an empty edit before the picture counts.
- AVI: the first picture. AVI stores no presentation times; FFmpeg derives them and delays all by the reordering.
- Everything else (Matroska, MPEG-TS, MPEG-PS, fragmented mp4, ...): the container's start, the earliest time stamp of
  all audio and video streams, as in mpv and FFmpeg; at least 0. Recordings of broadcasts begin at any time stamp.

Frame numbers count from the first picture in all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from captionacc_dagster.captioning.captions import CaptionWarning

if TYPE_CHECKING:
    from av.container import InputContainer

# Seconds. A longer time without a new frame is a broken time stamp: slides change more often, and recorders and
# broadcasters send unchanged pictures again.
MAX_PAUSE_S = 3600.0
# Seconds. Frames that are displayed longer are listed as pauses, in which sampling would find the same frame again.
MIN_PAUSE_S = 0.5
# Frames per second. No file is meant to be played faster; time stamps that are closer together are broken.
MAX_FRAME_RATE = 1000


class PacketTime(NamedTuple):
    """What one packet says: its presentation time stamp and duration in ticks, and whether it is a keyframe."""

    pts: int | None
    duration: int
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When the frames of a stream are displayed, in seconds on the player's clock.

    Attributes:
        zero_pts: time stamp of the player's zero, in ticks.
        count: number of frames.
        first_s: time of the first frame.
        end_s: time at which the last frame ends.
        step_s: usual time from frame to frame.
        keyframes_s: times of the keyframes, rising.
        pauses_s: start and end of the frames that are displayed longer than `MIN_PAUSE_S`.
        has_timestamps: whether the time stamps are usable; otherwise frames follow each other at ``step_s``.
        is_continuous: whether time is a function of the time stamp; otherwise times follow from all frames before.
        warnings: what is wrong with the file's frames and time stamps.
    """

    zero_pts: int
    count: int
    first_s: float
    end_s: float
    step_s: float
    keyframes_s: tuple[float, ...]
    pauses_s: tuple[tuple[float, float], ...] = ()
    has_timestamps: bool = True
    is_continuous: bool = True
    warnings: tuple[CaptionWarning, ...] = ()


class Clock:
    """Return the time of each frame of a stream in display order; times rise strictly and are at least 0.

    Args:
        zero_pts: time stamp of the player's zero.
        time_base: seconds per tick.
        step_s: nominal duration of a frame, seconds.
        has_timestamps: False: ignore time stamps, a frame follows every ``step_s``.
        repairs: where time stamps jump back, or forward by more than `MAX_PAUSE_S`, continue one ``step_s`` after the
            last frame and count from there. Frames must then come from the stream's first one on, without a gap.
    """

    def __init__(
        self, zero_pts: int, time_base: Fraction, step_s: float, *, has_timestamps: bool = True, repairs: bool = False
    ) -> None:
        self._zero_pts = zero_pts
        self._time_base = time_base
        self._step_s = step_s
        self._has_timestamps = has_timestamps
        self._repairs = repairs
        self._last_s: float | None = None
        # What the current and the previous part of the stream add to their time stamps, seconds.
        self._shifts_s = (0.0, 0.0)
        self.jumps: list[float] = []

    def time_of(self, pts: int | None) -> float:
        """Return the time of the next frame from its time stamp, None where it has none."""
        last_s = self._last_s
        if pts is None or not self._has_timestamps:
            time_s = 0.0 if last_s is None else last_s + self._step_s
        else:
            time_s = max(0.0, float((pts - self._zero_pts) * self._time_base))
            if self._repairs and last_s is not None:
                time_s = self._continued(time_s, last_s)
            if last_s is not None and time_s <= last_s:  # a damaged time stamp; frames come in display order
                time_s = last_s + min(self._step_s, float(self._time_base))
        self._last_s = time_s
        return time_s

    def _continued(self, stamp_s: float, last_s: float) -> float:
        """Return the time of a frame in a stream whose time stamps may jump."""
        for shift_s in dict.fromkeys(self._shifts_s):
            if -2 * self._step_s <= stamp_s + shift_s - last_s <= MAX_PAUSE_S:
                self._shifts_s = (shift_s, self._shifts_s[shift_s == self._shifts_s[0]])
                return stamp_s + shift_s
        time_s = last_s + self._step_s
        self._shifts_s = (time_s - stamp_s, self._shifts_s[0])
        self.jumps.append(time_s)
        return time_s


def zero_pts(container: InputContainer, first_pts: int, time_base: Fraction, *, has_sample_table: bool) -> int:
    """Return the time stamp of the player's zero, in ticks of the video stream.

    Args:
        container: an open video.
        first_pts: time stamp of the first displayed frame.
        time_base: seconds per tick.
        has_sample_table: an mp4 or mov that lists its frames in a sample table, not in fragments.
    """
    name = container.format.name
    if has_sample_table:
        return 0
    if name == "avi" or container.start_time is None:
        return first_pts
    microseconds = max(0, container.start_time)
    # FFmpeg rounds the start to microseconds.
    if abs(float(first_pts * time_base) * 1e6 - microseconds) <= 1:
        return first_pts
    return round(Fraction(microseconds, 1_000_000) / time_base)


def frame_times(
    packets: Iterable[PacketTime], zero: int, time_base: Fraction, nominal_rate: float
) -> FrameTimes | None:
    """Return when the frames of a whole stream are displayed; None where it has no packet.

    Args:
        packets: of the stream, in decoding order.
        zero: time stamp of the player's zero.
        time_base: seconds per tick.
        nominal_rate: frames per second that the headers claim, for packets without a duration.
    """
    stamps = list(packets)
    if not stamps:
        return None
    step_s = _usual_step(stamps, time_base, nominal_rate)
    known = [stamp.pts for stamp in stamps if stamp.pts is not None]
    span_s = float((max(known) - min(known)) * time_base) if known else 0.0
    too_close = len(stamps) > 1 and span_s * MAX_FRAME_RATE < len(stamps) - 1
    if 2 * len(known) <= len(stamps) or too_close:
        return _untimed(zero, len(stamps), step_s, "has no timestamps" if not known else "has unusable timestamps")
    order = _in_display_order(stamps)
    clock = Clock(zero, time_base, step_s, repairs=True)
    times = [clock.time_of(stamp.pts) for stamp in order]
    is_continuous = not clock.jumps
    last_s = float(order[-1].duration * time_base) or step_s
    return FrameTimes(
        zero_pts=zero,
        count=len(order),
        first_s=times[0],
        end_s=times[-1] + min(last_s, MAX_PAUSE_S),
        step_s=step_s,
        keyframes_s=_keyframes(order, times) if is_continuous else (0.0,),
        pauses_s=pauses(times),
        is_continuous=is_continuous,
        warnings=_jump_warnings(clock.jumps),
    )


def pauses(times: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return start and end of the frames that are displayed longer than `MIN_PAUSE_S`."""
    return tuple((start, end) for start, end in itertools.pairwise(times) if end - start > MIN_PAUSE_S)


def without_repeats(times: Sequence[float], first_s: float, pauses_s: Sequence[tuple[float, float]]) -> list[float]:
    """Return rising times such that no two of them fall before the first frame, or into one pause.

    A time before the first frame becomes the first frame's, a time in a pause becomes the pause's start.
    """
    kept: list[float] = []
    number = 0
    for time_s in times:
        shown_s = max(time_s, first_s)
        while number < len(pauses_s) and pauses_s[number][1] <= shown_s:
            number += 1
        if number < len(pauses_s) and pauses_s[number][0] <= shown_s:
            shown_s = pauses_s[number][0]
        if not kept or shown_s > kept[-1]:
            kept.append(shown_s)
    return kept


def _usual_step(stamps: Sequence[PacketTime], time_base: Fraction, nominal_rate: float) -> float:
    """Return the median duration of the packets, or what the headers say, or 1/25 s, whichever is plausible first."""
    durations = sorted(stamp.duration for stamp in stamps if stamp.duration > 0)
    steps = [float(durations[len(durations) // 2] * time_base)] if durations else []
    plausible = [step for step in (*steps, 1 / nominal_rate) if 1 / MAX_FRAME_RATE < step <= MAX_PAUSE_S]
    return plausible[0] if plausible else 0.04


def _untimed(zero: int, count: int, step_s: float, problem: str) -> FrameTimes:
    rate = f"{1 / step_s:.3f}".rstrip("0").rstrip(".")
    message = (
        f"The file {problem}; times are derived from {rate} frames per second. If captions come too early or too late, "
        "convert the file to mp4 or Matroska with its true frame rate."
    )
    warning = CaptionWarning("timestamps_repaired", message)
    return FrameTimes(
        zero_pts=zero,
        count=count,
        first_s=0.0,
        end_s=count * step_s,
        step_s=step_s,
        keyframes_s=(0.0,),
        has_timestamps=False,
        is_continuous=False,
        warnings=(warning,),
    )


def display_times(packets: Iterable[PacketTime], clock: Clock) -> list[float]:
    """Return when each frame of a whole stream is displayed, rising, in seconds.

    Args:
        packets: of the stream, in decoding order.
        clock: of the stream, unused so far.
    """
    return [clock.time_of(stamp.pts) for stamp in _in_display_order(list(packets))]


def _in_display_order(stamps: Sequence[PacketTime]) -> list[PacketTime]:
    return [stamp for gop in _gops(stamps) for stamp in sorted(gop, key=_display_order)]


def _gops(stamps: Sequence[PacketTime]) -> list[list[PacketTime]]:
    """Return the packets in groups, each of which begins with a keyframe."""
    gops: list[list[PacketTime]] = []
    for stamp in stamps:
        if stamp.is_keyframe or not gops:
            gops.append([])
        gops[-1].append(stamp)
    return gops


def _display_order(stamp: PacketTime) -> float:
    return float("inf") if stamp.pts is None else stamp.pts


def _keyframes(order: Sequence[PacketTime], times: Sequence[float]) -> tuple[float, ...]:
    return tuple(time_s for stamp, time_s in zip(order, times, strict=True) if stamp.is_keyframe)


def _jump_warnings(jumps: Sequence[float]) -> tuple[CaptionWarning, ...]:
    if not jumps:
        return ()
    where = f"{jumps[0]:.2f} s" if len(jumps) == 1 else f"{len(jumps)} places, first at {jumps[0]:.2f} s"
    message = (
        f"The timestamps jump at {where}; the times after a jump continue from the frame before it. "
        "Players may show another time there."
    )
    return (CaptionWarning("timestamps_repaired", message, start_s=jumps[0]),)
