"""Small clips with captions at known frames, and the layout they have: for tests of what is found in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.model import Detection, Layout, Track
from captionacc_dagster_tests.captioning.drawn_clips import Picture, moving, write_clip, write_text

WIDTH, HEIGHT, RATE = 640, 360, 24
MIDDLE = 0.88  # of the height: where the lines are
SIZE = 24


@dataclass(frozen=True)
class Event:
    """A caption on frames ``start`` to ``end`` (half-open), fading over ``fade`` frames at both ends."""

    start: int
    end: int
    text: str
    fade: int = 0
    fill: str = "white"
    at: tuple[float, float] = (0.5, MIDDLE)

    def opacity(self, frame: int) -> float:
        """How much of it a frame shows."""
        if not self.start <= frame < self.end:
            return 0.0
        ramp = self.fade + 1
        return min(1.0, (frame - self.start + 1) / ramp, (self.end - frame) / ramp)


Painter = Callable[[Picture, int], None]


def captioned(
    path: Path,
    events: Sequence[Event],
    frames: int,
    *,
    background: Callable[[int], Picture] | None = None,
    paint: Painter | None = None,
    pts: Sequence[int] | None = None,
    crf: int = 23,
) -> Layout:
    """Write a clip; gives its layout: one track, seen in the middle of every caption.

    Args:
        path: of the clip.
        events: its captions.
        frames: its length.
        background: gives the picture of each frame.
        paint: draws something else into each frame, before the captions.
        pts: times of the frames in ms.
        crf: of the encoding.
    """
    background = background or moving(WIDTH, HEIGHT)
    boxes: dict[Event, tuple[float, float, float, float]] = {}

    def pictures():
        for number in range(frames):
            picture = background(number)
            if paint is not None:
                paint(picture, number)
            for event in events:
                opacity = event.opacity(number)
                if opacity > 0:
                    lettered = picture.copy()
                    boxes[event] = write_text(lettered, event.text, event.at, SIZE, fill=event.fill)
                    mixed = picture * (1.0 - opacity) + lettered * opacity
                    picture[:] = np.rint(mixed).astype(np.uint8)
            yield picture

    write_clip(path, pictures(), RATE, options={"preset": "veryfast", "crf": str(crf)}, pts=pts, gop=48)
    return _layout([(event, BBox(*boxes[event])) for event in events], pts)


def _layout(seen: Sequence[tuple[Event, BBox]], pts: Sequence[int] | None) -> Layout:
    region = BBox(0.1, MIDDLE - 0.11, 0.9, min(1.0, MIDDLE + 0.11))
    line = 1.35 * SIZE / HEIGHT
    two_lines = any("\n" in event.text for event, _ in seen)
    lines = (
        ((MIDDLE - line, MIDDLE), (MIDDLE, MIDDLE + line)) if two_lines else ((MIDDLE - line / 2, MIDDLE + line / 2),)
    )
    evidence = tuple(
        Detection(-1, number, _time((event.start + event.end) // 2, pts), "", 0.9, box)
        for number, (event, box) in enumerate(seen)
    )
    track = Track("bottom", region, line, vertical=False, anchor="center", confidence=0.9, lines=lines)
    return Layout(
        frame_width=WIDTH,
        frame_height=HEIGHT,
        tracks=(track,),
        crop_region=CropRegion(*region.as_tuple()),
        anchor_type="center",
        anchor_position=0.5,
        vertical_center=MIDDLE,
        confidence=0.9,
        evidence=evidence,
    )


def _time(frame: int, pts: Sequence[int] | None) -> float:
    return frame / RATE if pts is None else (pts[frame] - pts[0]) / 1000
