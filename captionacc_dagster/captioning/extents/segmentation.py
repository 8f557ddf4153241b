"""Follows one track of captions through the native frames: cuts time where its ink changes.

A change of some ink is only a candidate; it becomes a cut when the frames on both sides of it differ in at
least one character. What lies between two cuts is one segment: a caption, or nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from captionacc_dagster.captioning.extents.stroke_meter import StrokeMeter
from captionacc_dagster.captioning.extents.strokes import (
    LINE_PX,
    MIN_STROKE_AREA,
    Plane,
    StrokeModel,
    StrokeStyle,
    changes_alone,
    common_styles,
    find_change,
    model_strokes,
    synchrony,
    visibility,
)
from captionacc_dagster.captioning.video.pictures import scaled_down

CANDIDATE_SHARE = 0.12  # of a character cell's pixels,
STYLED_CANDIDATE_SHARE = 0.05  # and of those that have the level of the text, where that is known
_HOLD_S = 0.15  # ink stands at least this long
_NEAR_S = 0.27  # how far to look to both sides of a sharp change: the shortest caption takes 0.3 s
_FAR_S = 0.8  # how far to look where the change is not sharp
_SKIPPED_S = 0.2  # and what to leave out there, for it may be fading
_ROUND_S = 0.25  # how often to look where nothing sharp happens
_FADE_S = 0.8  # half of the longest fade followed
_KEPT_ROIS = 10  # samples of a segment, small
_KEPT_PICTURES = 8  # samples of a segment at full size, to read it from
_FADING = 24  # frames of a segment at whose ends it may be fading, counted together
_SEEN_FRAMES = 9
SYNCHRONOUS = 0.75
_LEAST_OF_ALL = 0.25  # of the ink has to change in a fade
_STRONG = 0.45
_QUIET_SHARE = 0.02  # a candidate too where nothing else changes,
_STANDING_OUT = 3  # times less
_KEPT_STYLES = 15
AWAY = 0.4  # a caption shows less of itself than this only when it is gone


@dataclass(slots=True)
class StreamSample:
    """Keeps a bounded, even sample of a stream of frames by doubling its step whenever it is full."""

    capacity: int
    step: int = 1
    items: list[tuple[int, Plane]] = field(default_factory=list)

    def offer(self, index: int, frame: Plane) -> None:
        """Keep this frame if its turn has come."""
        if index % self.step:
            return
        self.items.append((index, frame))
        if len(self.items) > self.capacity:
            self.step *= 2
            self.items = [item for item in self.items if item[0] % self.step == 0]

    def cut(self, start: int, end: int, recent: Sequence[tuple[int, Plane]]) -> list[tuple[int, Plane]]:
        """Give up to `capacity` frames of ``start`` to ``end`` away, and start again with the frames after them."""
        before = {number: frame for number, frame in self.items if number < end}
        before |= {number: frame for number, frame in recent if start <= number < end}
        self.items, self.step = [], 1
        for number, frame in recent:
            if number >= end:
                self.offer(number, frame)
        return _middle(sorted(before.items(), key=lambda item: item[0]), start, end, self.capacity)


@dataclass(slots=True)
class Segment:
    """A stretch of frames between two cuts.

    Attributes:
        start, end: native frame numbers, half-open.
        model: its ink at the small scale.
        rois: the frames the model was made from, with their numbers.
        pictures: some of its frames at full size with their numbers, luma uint8.
        around_start: the frames around its first cut with their numbers, at the small scale.
    """

    start: int
    end: int
    model: StrokeModel
    rois: list[tuple[int, Plane]]
    pictures: list[tuple[int, Plane]]
    around_start: list[tuple[int, Plane]]

    def within(self, start: int, end: int, line_px: float) -> Segment:
        """Give what is left of it between its exact boundaries: frames beyond them show its neighbors come or go."""
        rois = [(number, roi) for number, roi in self.rois if start <= number < end]
        pictures = [(number, picture) for number, picture in self.pictures if start <= number < end]
        if len(rois) < 2 or not pictures or len(rois) == len(self.rois):
            return replace(self, start=start, end=end, pictures=pictures or self.pictures)
        model = model_strokes([roi for _, roi in rois], line_px)
        return Segment(start, end, model, rois, pictures, self.around_start)


class TrackFollower:
    """Cuts one track's strip into segments, one native frame at a time, with bounded memory.

    Args:
        line_px: height of one line of text in the frames handed over, pixels.
        frame_rate: frames per second of the video.
    """

    def __init__(self, line_px: float, frame_rate: float) -> None:
        self._scale = min(1.0, LINE_PX / line_px)
        self.line_px = line_px * self._scale
        self._hold = max(3, round(_HOLD_S * frame_rate))
        self._near = max(self._hold + 1, round(_NEAR_S * frame_rate))
        self._far = max(self._near + 2, round(_FAR_S * frame_rate))
        self._skipped = max(2, round(_SKIPPED_S * frame_rate))
        self._round = max(3, round(_ROUND_S * frame_rate))
        self._fade = max(4, round(_FADE_S * frame_rate))
        self._meter = StrokeMeter(self.line_px, self._hold)
        delay = self._far + self._hold + 4
        self._recent: deque[tuple[int, Plane]] = deque(maxlen=self._far + delay)
        self._recent_pictures: deque[tuple[int, Plane]] = deque(maxlen=delay + self._near)
        self._judged = 0
        self._models: dict[tuple[int, int], StrokeModel] = {}  # of the frame that is judged
        self._changes: dict[int, float] = {}
        self._next = 0  # the first frame not yet judged
        self._count = 0
        self._rois = StreamSample(_KEPT_ROIS)
        self._pictures = StreamSample(_KEPT_PICTURES)
        self._start = 0
        self._around_start: list[tuple[int, Plane]] = []
        self.styles: tuple[StrokeStyle, ...] = ()
        self._measured: list[StrokeStyle] = []

    def add_style(self, style: StrokeStyle) -> None:
        """Learn from text that was seen what ink looks like."""
        self._measured = [*self._measured, style][-_KEPT_STYLES:]
        self.styles = self._meter.styles = common_styles(self._measured)

    def shrink(self, picture: Plane) -> Plane:
        """Scale a picture of the strip to the size at which its ink is looked at."""
        if self._scale == 1:
            return picture
        block = max(1, int(1 / self._scale))
        height, width = (side // block * block for side in picture.shape)
        return scaled_down(picture, (max(1, round(width * self._scale)), max(1, round(height * self._scale))))

    def push(self, picture: Plane) -> list[Segment]:
        """Take the next frame's strip at full size; give the segments that ended."""
        index = self._count
        self._count += 1
        roi = self.shrink(picture)
        self._recent.append((index, roi))
        self._recent_pictures.append((index, picture))
        self._rois.offer(index, roi)
        self._pictures.offer(index, picture)
        change = self._meter.update(roi)
        if change is not None:
            self._changes[index - self._hold + 1] = change
        done: list[Segment] = []
        while self._next + self._far + self._hold < self._count:
            done.extend(self._judge(self._next))
            self._next += 1
        return done

    def finish(self) -> list[Segment]:
        """Give the segments that are left at the end of the video."""
        for offset, change in enumerate(reversed(self._meter.flush())):
            self._changes[self._count - 1 - offset] = change
        done: list[Segment] = []
        while self._next < self._count:
            done.extend(self._judge(self._next))
            self._next += 1
        if self._count > self._start:
            done.append(self._close(self._count))
        return done

    def _judge(self, index: int) -> list[Segment]:
        """Cut before a frame if the ink differs on its two sides, or is away for a moment."""
        changes = self._changes
        changes.pop(index - 2, None)
        here = changes.get(index, 0.0)
        is_peak = here >= changes.get(index - 1, 0.0) and here > changes.get(index + 1, 0.0)
        if index - self._start < 2:
            return []
        self._models.clear()
        if is_peak and (
            here >= (STYLED_CANDIDATE_SHARE if self.styles else CANDIDATE_SHARE) or self._stands_out(index)
        ):
            self._judged = index
            if self._changes_at_once(index):
                return [self._close(index)]
            left = self._model(index - self._far, index - 1)
            away = self._away_from(left, index) if left is not None else None
            if away is not None:
                return [self._close(away)]
        elif index - self._judged >= self._round and not self._is_sharp_soon(index):
            self._judged = index
            if self._changes_slowly(index):
                return [self._close(index)]
        return []

    def _stands_out(self, index: int) -> bool:
        """Say whether ink of the text's level changes, if only a little, while nothing else does."""
        here = self._changes.get(index, 0.0)
        beside = (share for i, share in self._changes.items() if 0 < abs(i - index) <= self._hold)
        return bool(self.styles) and here >= max(_QUIET_SHARE, _STANDING_OUT * max(beside, default=here))

    def _is_sharp_soon(self, index: int) -> bool:
        """Say whether ink changes at once within the frames that a slow change would be looked for in."""
        least = STYLED_CANDIDATE_SHARE if self.styles else CANDIDATE_SHARE
        frames = range(index + 1, index + self._skipped + 1)
        return any(self._changes.get(i, 0.0) >= 2 * least for i in frames)

    def _until(self, index: int) -> int:
        """Give the end of the stretch after a frame in which nothing else changes at once."""
        frames = range(index + 2, index + self._far)
        return next((i for i in frames if self._changes.get(i, 0.0) >= _STRONG), index + self._far)

    def _changes_at_once(self, index: int) -> bool:
        """Say whether a character changed as a whole at a frame, seen over a longer or a shorter stretch."""
        until = self._until(index)
        beside = [roi for i, roi in self._recent if index - 2 <= i < index + 2]
        for first, end in (
            (index - self._far, until),
            (index - self._near, min(until, index + self._near)),
        ):
            left = self._model(first, index - 1)
            right = self._model(index + 1, end) if left is not None else None
            if left is None or right is None:
                continue
            change = find_change(left, right, self.line_px, beside, SYNCHRONOUS)
            if change and synchrony(beside, left, right, change, self.line_px, at_once=True) >= SYNCHRONOUS:
                return True
            if changes_alone(left, right, beside, self.line_px):
                return True
        return False

    def _changes_slowly(self, index: int) -> bool:
        """Say whether some characters, and much of the stroke_mask, changed together around a frame, in a fade."""
        # the first frames of a segment may still be fading, or empty
        left = self._model(max(index - self._far, self._start + 3), index - self._skipped, least=self._hold)
        right = self._model(index + self._skipped, self._until(index)) if left is not None else None
        if left is None or right is None:
            return False
        change = find_change(left, right, self.line_px)
        if change is None or change.total < _LEAST_OF_ALL:
            return False
        reach = 2 * self._skipped
        frames = [roi for i, roi in self._recent if index - reach <= i < index + reach]
        return synchrony(frames, left, right, change, self.line_px, at_once=False) >= SYNCHRONOUS

    def _model(self, start: int, end: int, least: int = 2) -> StrokeModel | None:
        """Model the ink of the frames ``start`` to ``end``, None when there are too few."""
        stretch = max(start, self._start), end
        if stretch not in self._models:
            frames = [roi for i, roi in self._recent if stretch[0] <= i < end]
            if len(frames) < least:
                return None
            if len(frames) > _SEEN_FRAMES:
                frames = [frames[n] for n in np.linspace(0, len(frames) - 1, _SEEN_FRAMES).round().astype(int)]
            self._models[stretch] = model_strokes(frames, self.line_px)
        return self._models[stretch]

    def _away_from(self, left: StrokeModel, index: int) -> int | None:
        """Give the first frame near this one from which on the ink of the frames before is gone for a moment."""
        if left.stroke_mask.sum() < MIN_STROKE_AREA * self.line_px**2:
            return None
        near = [(i, roi) for i, roi in self._recent if max(index - 2, self._start + 2) <= i <= index + 3]
        seen = visibility([roi for _, roi in near], left, left.stroke_mask)
        return next((i for (i, _), share in zip(near, seen, strict=True) if share < AWAY), None)

    def _close(self, end: int) -> Segment:
        rois = self._rois.cut(self._start, end, self._recent)
        pictures = self._pictures.cut(self._start, end, self._recent_pictures)
        segment = Segment(
            start=self._start,
            end=end,
            model=model_strokes([roi for _, roi in rois], self.line_px),
            rois=rois,
            pictures=pictures,
            around_start=self._around_start,
        )
        self._start = end
        self._around_start = [item for item in self._recent if end - self._fade <= item[0] <= end + self._fade]
        return segment


def _middle(items: Sequence[tuple[int, Plane]], start: int, end: int, most: int) -> list[tuple[int, Plane]]:
    """Give up to ``most`` even samples, away from the ends, where a caption may fade."""
    margin = (end - start) // 4 if end - start < _FADING else _FADING // 4
    inner = [item for item in items if start + margin <= item[0] < end - margin]
    frames = inner or list(items)
    if len(frames) > most:
        chosen = np.linspace(0, len(frames) - 1, most).round().astype(int)
        frames = [frames[number] for number in chosen]
    return frames
