"""Cuts the native frames of one track into segments where its strokes change.

A changed stroke is only a candidate. It becomes a cut when the frames on both sides of it differ in at least one
character. A segment between two cuts shows one caption, or none.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from captionacc_dagster.captioning.extents.stroke_meter import StrokeMeter
from captionacc_dagster.captioning.extents.strokes import (
    LETTERS,
    Plane,
    StrokeChange,
    StrokeModel,
    StrokeStyle,
    common_styles,
    find_change,
    in_style,
    is_isolated_change,
    min_stroke_px,
    model_strokes,
    synchrony,
    visibility,
)
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.video.pictures import scaled_down

NumberedPlane = tuple[int, Plane]

# Sizes of samples, frames
_ROI_SAMPLES = 10
_PICTURE_SAMPLES = 8
MODEL_FRAMES = 9
_STYLE_SAMPLES = 15
BRIEFEST = 2  # frames that a text or a highlight lasts
_SMALL_ROI_BYTES = 8 << 20  # of the small ROIs of a segment: at least ten seconds
_EDGE_FRAMES = 6  # dropped at each end of a long segment's samples, where it may be fading


@dataclass(frozen=True, slots=True)
class FrameWindows:
    """The durations of `ExtentTuning` as numbers of frames of a video."""

    hold: int
    near: int
    far: int
    skipped: int
    fade_search: int
    around_cut: int

    @classmethod
    def at(cls, frame_rate: float) -> FrameWindows:
        """Return the windows at a frame rate, per second; none is shorter than its comparison needs."""
        hold = max(3, round(TUNING.hold_s * frame_rate))
        near = max(hold + 1, round(TUNING.fade_search_s * frame_rate))
        return cls(
            hold=hold,
            near=near,
            far=max(near + 2, round(TUNING.far_s * frame_rate)),
            skipped=max(2, round(TUNING.fade_s / 3 * frame_rate)),
            fade_search=max(3, round(TUNING.fade_search_s * frame_rate)),
            around_cut=max(4, round(TUNING.far_s * frame_rate)),
        )


@dataclass(slots=True)
class StreamSample:
    """Keeps a bounded, even sample of a stream of frames by doubling its step whenever it is full."""

    capacity: int
    step: int = 1
    items: list[NumberedPlane] = field(default_factory=list)

    def offer(self, index: int, frame: Plane) -> None:
        """Keep this frame if it falls on the step."""
        if index % self.step:
            return
        self.items.append((index, frame))
        if len(self.items) > self.capacity:
            self.step *= 2
            self.items = [item for item in self.items if item[0] % self.step == 0]

    def cut(self, start: int, end: int, recent: Sequence[NumberedPlane]) -> list[NumberedPlane]:
        """Remove and return up to `capacity` frames of ``start`` to ``end``; restart with the frames after them."""
        before = {number: frame for number, frame in self.items if number < end}
        before |= {number: frame for number, frame in recent if start <= number < end}
        self.items, self.step = [], 1
        for number, frame in recent:
            if number >= end:
                self.offer(number, frame)
        return _inner_samples(sorted(before.items(), key=lambda item: item[0]), start, end, self.capacity)


def _inner_samples(items: Sequence[NumberedPlane], start: int, end: int, count: int) -> list[NumberedPlane]:
    """Return up to ``count`` even samples, away from both ends, where a caption may be fading."""
    margin = min((end - start) // 4, _EDGE_FRAMES)
    inner = [item for item in items if start + margin <= item[0] < end - margin]
    frames = inner or list(items)
    if len(frames) > count:
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        frames = [frames[number] for number in chosen]
    return frames


def most_small_rois(frame: Plane) -> int:
    """Return how many small ROIs like one are kept at most."""
    return max(2, _SMALL_ROI_BYTES // frame.nbytes)


def joined_small_rois(first: Sequence[NumberedPlane], second: Sequence[NumberedPlane]) -> list[NumberedPlane]:
    """Return the small ROIs of two stretches that follow each other, or the last ones of many."""
    frames = [*first, *second]
    return frames[-most_small_rois(frames[0][1]) :] if frames else frames


@dataclass(slots=True)
class Segment:
    """The frames between two cuts.

    Attributes:
        start, end: native frame numbers, half-open.
        model: its strokes, at the size of the ROIs.
        rois: the frames the model was made from, with their numbers.
        pictures: some of its frames at full size with their numbers, luma uint8.
        around_start: the ROIs around its first cut, with their numbers.
        small_rois: all of its frames, or the last ones of many, as ROIs of half the size with their numbers.
    """

    start: int
    end: int
    model: StrokeModel
    rois: list[NumberedPlane]
    pictures: list[NumberedPlane]
    around_start: list[NumberedPlane]
    small_rois: list[NumberedPlane] = field(default_factory=list)

    def within(self, start: int, end: int, line_px: float) -> Segment:
        """Return the segment without the frames outside its exact boundaries, which show its neighbors fading."""
        rois = [(number, roi) for number, roi in self.rois if start <= number < end]
        pictures = [(number, picture) for number, picture in self.pictures if start <= number < end]
        small_rois = [item for item in self.small_rois if start <= item[0] < end]
        if len(rois) < 2 or not pictures or len(rois) == len(self.rois):
            return replace(self, start=start, end=end, pictures=pictures or self.pictures, small_rois=small_rois)
        model = model_strokes([roi for _, roi in rois], line_px)
        return Segment(start, end, model, rois, pictures, self.around_start, small_rois)


class FrameHistory:
    """Keeps the frames that a decision may need: all recent ones, and samples of the current segment.

    Args:
        line_px: height of a line of text in the full-size pictures, pixels.
        windows: the windows of the comparisons.
    """

    def __init__(self, line_px: float, windows: FrameWindows) -> None:
        self._scale = min(1.0, TUNING.roi_line_px / line_px)
        self.line_px = line_px * self._scale
        self.count = 0
        self.start = 0  # first frame of the current segment
        self._windows = windows
        delay = windows.far + windows.hold + 4
        self._recent: deque[NumberedPlane] = deque(maxlen=windows.far + delay)
        self._recent_pictures: deque[NumberedPlane] = deque(maxlen=delay + windows.near)
        self._rois = StreamSample(_ROI_SAMPLES)
        self._pictures = StreamSample(_PICTURE_SAMPLES)
        self._around_start: list[NumberedPlane] = []
        self._small_rois: deque[NumberedPlane] = deque()
        self._models: dict[tuple[int, int], StrokeModel] = {}

    def shrink(self, picture: Plane) -> Plane:
        """Scale a full-size picture of the region to the size of the ROIs."""
        if self._scale == 1:
            return picture
        block = max(1, int(1 / self._scale))
        height, width = (side // block * block for side in picture.shape)
        return scaled_down(picture, (max(1, round(width * self._scale)), max(1, round(height * self._scale))))

    def append(self, picture: Plane) -> Plane:
        """Take the next frame's full-size picture; return its ROI."""
        index, roi = self.count, self.shrink(picture)
        self.count += 1
        self._recent.append((index, roi))
        self._recent_pictures.append((index, picture))
        self._rois.offer(index, roi)
        self._pictures.offer(index, picture)
        self._small_rois.append((index, scaled_down(roi, (max(1, roi.shape[1] // 2), max(1, roi.shape[0] // 2)))))
        if len(self._small_rois) > most_small_rois(self._small_rois[-1][1]):
            self._small_rois.popleft()
        return roi

    def frames(self, start: int, end: int) -> list[NumberedPlane]:
        """Return the recent ROIs from ``start`` to ``end`` with their numbers."""
        return [item for item in self._recent if start <= item[0] < end]

    def model(self, start: int, end: int, min_frames: int = 2) -> StrokeModel | None:
        """Model the strokes of the current segment's frames from ``start`` to ``end``, None if they are too few."""
        stretch = max(start, self.start), end
        if stretch not in self._models:
            frames = [roi for _, roi in self.frames(*stretch)]
            if len(frames) < min_frames:
                return None
            if len(frames) > MODEL_FRAMES:
                frames = [frames[n] for n in np.linspace(0, len(frames) - 1, MODEL_FRAMES).round().astype(int)]
            self._models[stretch] = model_strokes(frames, self.line_px)
        return self._models[stretch]

    def forget_models(self) -> None:
        """Drop the cached models: they serve the comparisons at one frame."""
        self._models.clear()

    def cut(self, end: int) -> Segment:
        """End the current segment before a frame and return it; the next one starts there."""
        rois = self._rois.cut(self.start, end, self._recent)
        pictures = self._pictures.cut(self.start, end, self._recent_pictures)
        model = model_strokes([roi for _, roi in rois], self.line_px)
        small_rois = []
        while self._small_rois and self._small_rois[0][0] < end:
            small_rois.append(self._small_rois.popleft())
        segment = Segment(self.start, end, model, rois, pictures, self._around_start, small_rois)
        self.start = end
        around = self._windows.around_cut
        self._around_start = self.frames(end - around, end + around + 1)
        return segment


def _is_peak(changes: dict[int, float], index: int) -> bool:
    """Return whether more changes at a frame than at those beside it; of equal ones the last counts."""
    here = changes.get(index, 0.0)
    return here >= changes.get(index - 1, 0.0) and here > changes.get(index + 1, 0.0)


class TrackSegmenter:
    """Cuts the pictures of one track into segments, one native frame at a time, with bounded memory.

    Args:
        line_px: height of a line of text in the pictures, pixels.
        frame_rate: frames of the video per second.
    """

    def __init__(self, line_px: float, frame_rate: float) -> None:
        self._windows = FrameWindows.at(frame_rate)
        self._history = FrameHistory(line_px, self._windows)
        self.line_px = self._history.line_px
        self._meter = StrokeMeter(self.line_px, self._windows.hold)
        self._changes: dict[int, float] = {}  # by frame, as the meter measures them
        self._brief_changes: dict[int, float] = {}
        self._next = 0  # the first frame that is not yet examined
        self._peak = 0  # the last frame at which brief text may have changed
        self._compared = 0  # the last frame at which two stretches were compared
        self._measured: list[StrokeStyle] = []

    @property
    def styles(self) -> tuple[StrokeStyle, ...]:
        """The styles of the track's text, empty while they are unknown."""
        return self._meter.styles

    @property
    def has_shared_style(self) -> bool:
        """Whether two texts that were seen have the same style."""
        return any(
            one.sign == other.sign and abs(one.level - other.level) <= TUNING.same_style_levels
            for one, other in itertools.combinations(self._measured, 2)
        )

    def add_style(self, style: StrokeStyle) -> None:
        """Learn the style of a text that was seen."""
        self._measured = [*self._measured, style][-_STYLE_SAMPLES:]
        self._meter.styles = common_styles(self._measured)

    def shrink(self, picture: Plane) -> Plane:
        """Scale a full-size picture of the region to the size of the ROIs."""
        return self._history.shrink(picture)

    def push(self, picture: Plane) -> list[Segment]:
        """Take the next frame's picture at full size; return the segments that ended."""
        change = self._meter.update(self._history.append(picture))
        if change is not None:
            measured = self._history.count - self._windows.hold
            self._changes[measured], self._brief_changes[measured] = change, self._meter.brief_change
        return self._examine(self._history.count - self._windows.far - self._windows.hold)

    def finish(self) -> list[Segment]:
        """Return the segments that are left at the end of the video."""
        count = self._history.count
        last = list(self._meter.flush())
        for index, (change, brief) in enumerate(last, start=count - len(last)):
            self._changes[index], self._brief_changes[index] = change, brief
        segments = self._examine(count)
        if count > self._history.start:
            segments.append(self._history.cut(count))
        return segments

    def _examine(self, end: int) -> list[Segment]:
        """Examine the frames before ``end`` that are left; return the segments that end at them."""
        segments = []
        while self._next < end:
            cut = self._find_cut(self._next)
            if cut is not None:
                segments.append(self._history.cut(cut))
            self._next += 1
        return segments

    def _find_cut(self, index: int) -> int | None:
        """Return where to cut at a frame: the strokes before and after it differ, or are absent for a moment."""
        changes = self._changes
        changes.pop(index - 2, None)
        self._brief_changes.pop(index - 2, None)
        if index - self._history.start < 2:
            return None
        self._history.forget_models()
        here = changes.get(index, 0.0)
        if _is_peak(changes, index) and (here >= self._candidate_share or self._is_quiet_candidate(index)):
            self._compared = index
            if self._changes_at_once(index) or self._is_brief_text_replaced(index):
                return index
            left = self._history.model(index - self._windows.far, index - 1)
            return self._absence_near(left, index) if left is not None else None
        if self._is_brief_text_replaced(index):
            self._compared = index
            return index
        if index - self._compared >= self._windows.fade_search and not self._is_sharp_soon(index):
            self._compared = index
            if self._changes_slowly(index):
                return index
        return None

    @property
    def _candidate_share(self) -> float:
        return TUNING.candidate_share * (
            1.0 if self.styles else TUNING.quiet_ratio
        )  # less is noise while the style is unknown

    def _is_quiet_candidate(self, index: int) -> bool:
        """Return whether pixels of the text's level change, if only a few, while little else does."""
        here = self._changes.get(index, 0.0)
        near = (share for i, share in self._changes.items() if 0 < abs(i - index) <= self._windows.hold)
        least = max(TUNING.candidate_share / TUNING.quiet_ratio, TUNING.quiet_ratio * max(near, default=here))
        return bool(self.styles) and here >= least

    def _is_sharp_soon(self, index: int) -> bool:
        """Return whether strokes change at once within the frames that a search for a fade would use."""
        frames = range(index + 1, index + self._windows.skipped + 1)
        return any(self._changes.get(i, 0.0) >= 2 * self._candidate_share for i in frames)

    def _calm_end(self, index: int) -> int:
        """Return the end of the stretch after a frame in which no other event happens."""
        frames = range(index + 2, index + self._windows.far)
        strong = (i for i in frames if self._changes.get(i, 0.0) >= TUNING.strong_share)
        return next(strong, index + self._windows.far)

    def _changes_at_once(self, index: int) -> bool:
        """Return whether a character changed as a whole at a frame, compared over a long or a short stretch."""
        windows, end = self._windows, self._calm_end(index)
        around = [roi for _, roi in self._history.frames(index - 2, index + 2)]
        for reach in (windows.far, windows.near):
            left = self._history.model(index - reach, index - 1)
            right = self._history.model(index + 1, min(end, index + reach)) if left is not None else None
            if left is None or right is None:
                continue
            change = find_change(left, right, self.line_px, around, TUNING.nearly_all)
            if change and synchrony(around, left, right, change, self.line_px, at_once=True) >= TUNING.nearly_all:
                return True
            if is_isolated_change(left, right, around, self.line_px):
                return True
        return False

    def _is_brief_text_replaced(self, index: int) -> bool:
        """Return whether most strokes are others from a frame on, compared only up to the changes before and after it.

        Of words that follow each other at once, each is seen between two changes alone. Those of the frames beside a
        change, which blend both sides, count as well: a brief text has no others. What drifts by a pixel changes less.
        """
        changes, windows = self._brief_changes, self._windows
        here = changes.get(index, 0.0)
        if here < TUNING.quiet_ratio * TUNING.candidate_share or not _is_peak(
            changes, index
        ):  # less is noise, or drifts
            return False
        start, self._peak = max(self._peak, index - windows.near), index
        after = range(index + BRIEFEST, min(self._calm_end(index), index + windows.near))
        end = next((i for i in after if changes.get(i, 0.0) >= 0.5 * here), after.stop)
        around = [roi for _, roi in self._history.frames(index - 2, index + 2)]
        left = self._history.model(start, index - 1) or self._history.model(start, index)
        right = self._history.model(index + 1, end) or self._history.model(index, end)
        beside = self._history.model(index - BRIEFEST, index), self._history.model(index, index + BRIEFEST)
        return self._is_text_replaced(left, right, around) or self._is_text_replaced(*beside, around)

    def _is_text_replaced(self, left: StrokeModel | None, right: StrokeModel | None, around: Sequence[Plane]) -> bool:
        """Return whether most strokes of the text change at once between two stretches."""
        if left is None or right is None:
            return False
        change = find_change(left, right, self.line_px, around, TUNING.nearly_all)
        if change is None or self._share_of_text(left, right, change) < TUNING.different_share:
            return False
        return synchrony(around, left, right, change, self.line_px, at_once=True) >= TUNING.nearly_all

    def _share_of_text(self, left: StrokeModel, right: StrokeModel, change: StrokeChange) -> float:
        """Return the share of changed strokes in those of the text's level; of all strokes where that is unknown.

        Over a picture with letters of another color, as of code, most strokes stay when the text is replaced.
        """
        if not self.styles:
            return change.total
        in_left, in_right = (in_style(model.level, self.styles) for model in (left, right))
        text = np.count_nonzero((left.stroke_mask & in_left) | (right.stroke_mask & in_right))
        changed = np.count_nonzero((change.lost & in_left) | (change.gained & in_right))
        return changed / text if text >= LETTERS * min_stroke_px(self.line_px) else change.total

    def _changes_slowly(self, index: int) -> bool:
        """Return whether characters, and much of all strokes, changed together around a frame, in a fade."""
        windows, history = self._windows, self._history
        # The first frames of a segment may still be fading, or empty.
        left_start = max(index - windows.far, history.start + 3)
        left = history.model(left_start, index - windows.skipped, min_frames=windows.hold)
        right = history.model(index + windows.skipped, self._calm_end(index)) if left is not None else None
        if left is None or right is None:
            return False
        change = find_change(left, right, self.line_px)
        if change is None or change.total < TUNING.fading_share:
            return False
        reach = 2 * windows.skipped
        frames = [roi for _, roi in history.frames(index - reach, index + reach)]
        return synchrony(frames, left, right, change, self.line_px, at_once=False) >= TUNING.nearly_all

    def _absence_near(self, left: StrokeModel, index: int) -> int | None:
        """Return the first frame near this one at which the strokes of the frames before are absent."""
        if left.stroke_mask.sum() < min_stroke_px(self.line_px):
            return None
        near = self._history.frames(max(index - 2, self._history.start + 2), index + 4)
        seen = visibility([roi for _, roi in near], left, left.stroke_mask)
        return next((i for (i, _), share in zip(near, seen, strict=True) if share < TUNING.absent), None)
