"""Count time in ticks of constant length: a native frame is one tick, or several if it is displayed for long."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

_LEAST_RATE = 10.0  # ticks per second: a caption of a single frame in a slide show needs several
_LEAST_REPEATS = 3  # ticks: a frame that is displayed for less is jitter of the times
_MAX_REPEAT_S = 2.0  # longer than any stretch that is compared


@dataclass(slots=True)
class Ticks:
    """The ticks of the native frames so far.

    A native frame is several ticks if it is displayed for much longer than others, as in files that store a frame only
    when the picture changes.

    Attributes:
        rate: ticks per second.
    """

    rate: float
    _first: list[int] = field(default_factory=list)  # of each native frame
    _count: int = 0

    @classmethod
    def at(cls, frame_rate: float) -> Ticks:
        """Return the ticks of a video with so many frames per second."""
        return cls(max(_LEAST_RATE, frame_rate))

    def add(self, seconds: float) -> int:
        """Add a native frame that is displayed for so long; return its number of ticks."""
        repeats = round(min(seconds, _MAX_REPEAT_S) * self.rate)
        repeats = repeats if repeats >= _LEAST_REPEATS else 1
        self._first.append(self._count)
        self._count += repeats
        return repeats

    def native_frame(self, tick: int) -> int:
        """Return the native frame whose first tick is nearest."""
        number = bisect_right(self._first, tick) - 1
        following = self._first[number + 1] if number + 1 < len(self._first) else self._count
        return number + (2 * (tick - self._first[number]) > following - self._first[number])

    def within(self, seconds: float) -> int:
        """Return the number of ticks in so many seconds."""
        return round(seconds * self.rate)
