"""Text on a time line: what is drawn on a frame, and what the truth says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.wide.lettering import Block, Box, WordState
from captionacc_dagster.captioning.captions import Kind

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WordTruth:
    """A word of a caption whose words appear or light up one after another; frames are half-open, ``box`` in pixels."""

    text: str
    start: int
    end: int
    box: Box
    highlight: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TextTruth:
    """A text that is drawn.

    Attributes:
        kind: what it is; only ``caption`` is to be found.
        text: lines joined by a line break.
        start, end: frames on which it is at least half opaque, half-open.
        box: of its letters, pixels; of moving text the place that it moves through.
        mode: of captions, how they come and go, see `captions.MODES`.
        track: of captions, the name of the place.
        fade_in, fade_out: frames, centered on ``start`` and ``end``.
        moves: the text does not stay in its place.
        words: where they have times of their own.
    """

    kind: Kind
    text: str
    start: int
    end: int
    box: Box
    mode: str = ""
    track: str = ""
    fade_in: int = 0
    fade_out: int = 0
    moves: bool = False
    words: tuple[WordTruth, ...] = ()


class Drawable(Protocol):
    """Draws itself onto a frame (RGB, in place) by the frame's number."""

    def draw(self, frame: Image, at: int) -> None: ...


def _plain(at: int) -> Mapping[int, WordState]:
    del at
    return {}


@dataclass(slots=True)
class TimedBlock:
    """A block of words from one frame to another.

    Attributes:
        block: the words.
        start, end: frames on which it is at least half opaque, half-open.
        fade_in, fade_out: frames, centered on ``start`` and ``end``.
        entrance: ``cut``, ``pop`` (grows from 60 % to 110 % and settles), or ``slide`` (rises by half a line).
        states: of the words on a frame.
    """

    block: Block
    start: int
    end: int
    fade_in: int = 0
    fade_out: int = 0
    entrance: str = "cut"
    entrance_frames: int = 0
    states: Callable[[int], Mapping[int, WordState]] = field(default=_plain)

    def opacity(self, at: int) -> float:
        """Return the opacity on a frame: linear in the fades, one half at ``start`` and before ``end``."""
        opacity = 1.0
        if self.fade_in:
            opacity = min(opacity, (at - self.start) / self.fade_in + 0.5)
        if self.fade_out:
            opacity = min(opacity, (self.end - 1 - at) / self.fade_out + 0.5)
        return max(0.0, opacity)

    def draw(self, frame: Image, at: int) -> None:
        if not self.start - self.fade_in // 2 <= at < self.end + self.fade_out // 2:
            return
        scale, dy = 1.0, 0.0
        progress = (at - self.start + 1) / (self.entrance_frames + 1)
        if self.entrance == "pop" and progress < 1:
            scale = 0.6 + 0.5 * progress / 0.7 if progress < 0.7 else 1.1 - 0.1 * (progress - 0.7) / 0.3
        elif self.entrance == "slide" and progress < 1:
            dy = (1 - progress) * 0.5 * self.block.size
        self.block.stamp(self.states(at)).draw(frame, self.opacity(at), dy=dy, scale=scale)
