"""When captions begin and end, and what they say: one pass over every native frame of a video."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from captionacc_dagster.captioning.captions import Caption, Timeline, sort_cues
from captionacc_dagster.captioning.extents.boundaries import (
    find_boundary,
    first_visible_frame,
    is_fade_of,
    join,
    standing,
    without_background,
)
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.extents.lines import Anchor, split_lines
from captionacc_dagster.captioning.extents.merging import Found, is_same_caption, join_found
from captionacc_dagster.captioning.extents.opening_marks import restore_opening_marks
from captionacc_dagster.captioning.extents.reading import NOTHING, calibrated, fold, read_caption
from captionacc_dagster.captioning.extents.segmentation import MIN_STROKE_AREA, Segment, TrackFollower
from captionacc_dagster.captioning.extents.strokes import Mask, Plane, StrokeModel, measure_styles, model_strokes
from captionacc_dagster.captioning.files.chunks import ChunkWriter
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Layout, Track
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.pictures import pixel_rectangle
from captionacc_dagster.captioning.video.reader import NativeFrame, VideoFacts, map_native_frames

Progress = Callable[[str, int, int], None]

_PROGRESS_FRAMES = 50
_GLIMPSE_FRAMES = 5
_SHORTEST_S = 0.2  # nobody can read less
_LETTER_S = 0.3  # a single letter that stands for less is an edge of the picture
_FADE_S = 0.6  # the longest fade that is read as a caption of its own
_PATIENCE_S = 8.0  # how long the first frames wait for a sight of the text


@dataclass(slots=True)
class _TrackReader:
    """Follows one track, places its boundaries and reads its captions."""

    track: Track
    region: BBox
    engine: OcrEngine
    follower: TrackFollower
    line_px: float  # height of a line in the picture
    found: list[Found] = field(default_factory=list)
    ocr_seconds: float = 0.0
    recognitions: int = 0
    _current: Segment | None = None
    _start: int = 0
    _start_share: float = 1.0
    _background: StrokeModel | None = None
    _before: Segment | None = None
    _born: Mask | None = None
    _detections: list[tuple[float, BBox]] = field(default_factory=list)
    _glimpse: tuple[BBox, list[Plane]] | None = None
    _waiting: list[Plane] | None = field(default_factory=list)
    patience: int = 0
    shortest: int = 1
    longest_fade: int = 0

    def push(self, time_s: float, picture: Plane) -> None:
        """Take the region's luma of the next frame; the first ones wait until it is known what the text looks like."""
        self._look(time_s, picture)
        if self._waiting is not None:
            self._waiting.append(picture)
            if not self.follower.styles and len(self._waiting) < self.patience:
                return
            self._release()
            return
        for segment in self.follower.push(picture):
            self._take(segment)

    def finish(self) -> None:
        self._release()
        for segment in self.follower.finish():
            self._take(segment)
        if self._current is not None:
            self._read(self._current, self._current.end, 1.0)

    def _release(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for picture in waiting:
            for segment in self.follower.push(picture):
                self._take(segment)

    def _look(self, time_s: float, picture: Plane) -> None:
        """Learn what the text looks like where the layout saw some."""
        if self._glimpse is not None:
            box, rois = self._glimpse
            rois.append(self.follower.shrink(picture))
            if len(rois) >= _GLIMPSE_FRAMES:
                self._glimpse = None
                inside = self._inside(box, rois[0].shape)
                for style in measure_styles(model_strokes(rois, self.follower.line_px), inside):
                    self.follower.add_style(style)
        while self._detections and self._detections[0][0] <= time_s + 1e-3:
            seen_s, box = self._detections.pop(0)
            if self._glimpse is None and seen_s >= time_s - 0.1:
                self._glimpse = (box, [self.follower.shrink(picture)])

    def _inside(self, box: BBox, shape: tuple[int, ...]) -> Mask:
        """Mark a box of the picture in a roi."""
        region = self.region
        inside = np.zeros(shape, bool)
        inside[
            max(0, int((box.top - region.top) / region.height * shape[0])) : max(
                0, int(np.ceil((box.bottom - region.top) / region.height * shape[0]))
            ),
            max(0, int((box.left - region.left) / region.width * shape[1])) : max(
                0, int(np.ceil((box.right - region.left) / region.width * shape[1]))
            ),
        ] = True
        return inside

    def _take(self, segment: Segment) -> None:
        if self._current is None:
            self._current = segment
            return
        boundary = find_boundary(self._current, segment, self.follower.line_px, self._born)
        if boundary.is_same:
            self._current = join(self._current, segment, self.follower.line_px)
            return
        self._read(self._current, boundary.end, boundary.share, segment)
        self._current, self._start, self._start_share = segment, boundary.start, boundary.share
        self._born = boundary.born

    def _read(self, segment: Segment, end: int, end_share: float, after: Segment | None = None) -> None:
        """Read a segment; one that says nothing shows what the picture is without a caption."""
        if end <= self._start:
            return
        line_px = self.follower.line_px
        segment = segment.within(self._start, end, line_px)
        before, self._before = self._before, segment
        stroke_mask = self._caption_strokes(without_background(segment.model, self._background))
        if any(is_fade_of(segment, stroke_mask, beside, line_px) for beside in (before, after) if beside is not None):
            return
        reading = NOTHING
        least = MIN_STROKE_AREA * line_px**2
        if stroke_mask.sum() >= least and end - self._start >= self.shortest:
            lines = split_lines(
                stroke_mask, line_px, vertical=self.track.vertical, seams=self._seams(stroke_mask.shape)
            )
            stroke_mask = standing(segment, stroke_mask, lines)
        if stroke_mask.sum() >= least and end - self._start >= self.shortest:
            began = time.thread_time()
            reading = read_caption(
                self.engine,
                [picture for _, picture in segment.pictures],
                stroke_mask,
                line_px,
                vertical=self.track.vertical,
                seams=self._seams(stroke_mask.shape),
                anchor=self._anchor(stroke_mask.shape),
            )
            self.ocr_seconds += time.thread_time() - began
            self.recognitions += reading.recognitions
            if len(fold(reading.text)) == 1 and end - self._start < self.shortest * _LETTER_S / _SHORTEST_S:
                reading = NOTHING
        if not reading.text:
            if end - self._start >= self.shortest:
                self._background = segment.model
            return
        limit = self.found[-1].end if self.found else 0
        start = first_visible_frame(segment, stroke_mask, self._start, limit)
        found = Found(
            start=start,
            end=end,
            reading=reading,
            bbox=self._bbox(stroke_mask),
            extent_confidence=min(self._start_share, end_share),
            stroke_mask=int(stroke_mask.sum()),
        )
        last = self.found[-1] if self.found else None
        if last and last.end == found.start and is_same_caption(last, found, self.longest_fade):
            self.found[-1] = join_found(last, found, self.longest_fade)
        else:
            self.found.append(found)

    def _seams(self, shape: tuple[int, ...]) -> list[float]:
        """Give where in a strip the track's lines meet, pixels."""
        vertical, region = self.track.vertical, self.region
        start, extent = (region.left, region.width) if vertical else (region.top, region.height)
        size = shape[1] if vertical else shape[0]
        places = itertools.pairwise(self.track.places)
        return [((upper[1] + lower[0]) / 2 - start) / extent * size for upper, lower in places]

    def _anchor(self, shape: tuple[int, ...]) -> Anchor | None:
        """Give where the track's text stands in its roi, pixels; unknown where a person drew the region."""
        if not self.track.lines:
            return None
        size = shape[0] if self.track.vertical else shape[1]
        # The layout leaves half a line beside the side that stays.
        room = 0.5 * self.follower.line_px
        position = {"left": room, "right": size - room}.get(self.track.anchor, size / 2)
        return Anchor(self.track.anchor, position)

    def _caption_strokes(self, stroke_mask: Mask) -> Mask:
        """Leave out boxes of other text inside the region."""
        if not self.track.avoid:
            return stroke_mask
        outside = np.ones(stroke_mask.shape, bool)
        for box in self.track.avoid:
            outside &= ~self._inside(BBox(*box), stroke_mask.shape)
        return stroke_mask & outside

    def _bbox(self, stroke_mask: Mask) -> BBox:
        """Give the box of some ink in the picture."""
        rows, columns = np.flatnonzero(stroke_mask.any(axis=1)), np.flatnonzero(stroke_mask.any(axis=0))
        height, width = stroke_mask.shape
        region = self.region
        return BBox(
            region.left + region.width * columns[0] / width,
            region.top + region.height * rows[0] / height,
            region.left + region.width * (columns[-1] + 1) / width,
            region.top + region.height * (rows[-1] + 1) / height,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a video that is followed on its own.

    Attributes:
        start_s, end_s: what is looked at, seconds; None: to the end.
        first_sample, end_sample: the cropped frames that are its own, half-open; None: to the end.
    """

    start_s: float = 0.0
    end_s: float | None = None
    first_sample: int = 0
    end_sample: int | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """What was seen in a window; frames count from its first.

    Attributes:
        captions: of every track, track by track.
        times: of every native frame, seconds.
        shown: the native frame that each of its own cropped frames shows.
        end_s: the moment at which its last frame ends.
        recognitions, seconds: see :class:`Timeline`.
    """

    captions: list[Caption]
    times: list[float]
    shown: list[int]
    end_s: float
    recognitions: int
    seconds: dict[str, float]


def find_captions(
    facts: VideoFacts,
    layout: Layout,
    engine: OcrEngine,
    frame_rate: float = 10.0,
    *,
    chunks_dir: Path | None = None,
    progress: Progress | None = None,
) -> Timeline:
    """Find every caption of a video in one pass over its native frames, with memory that does not grow.

    Args:
        facts: the video.
        layout: where captions stand; without tracks there are none.
        engine: reads lines.
        frame_rate: rate of the cropped frames and their labels, per second.
        chunks_dir: where WebM chunks of the crop region are written; None for none.
        progress: called with ``("captions", frames done, frames in all)``.

    Raises:
        VideoError: the file can no longer be opened.
        ValueError: ``frame_rate`` is not positive.
    """
    seen = follow(facts, layout, engine, frame_rate, chunks_dir=chunks_dir, progress=progress)
    spans = [
        [(c.start_frame, c.end_frame, c.extent_confidence) for c in seen.captions if c.track == track.name]
        for track in layout.tracks
    ]
    return Timeline(
        captions=tuple(sort_cues(seen.captions)),
        pairs=tuple(label_pairs(spans, seen.shown)),
        cropped_frame_count=len(seen.shown),
        native_frame_count=len(seen.times),
        ocr_recognitions=seen.recognitions,
        seconds=seen.seconds,
    )


def follow(
    facts: VideoFacts,
    layout: Layout,
    engine: OcrEngine,
    frame_rate: float,
    *,
    window: Window = Window(),
    chunks_dir: Path | None = None,
    progress: Progress | None = None,
) -> Followed:
    """Follow the tracks through a window of a video; arguments and errors as of :func:`find_captions`."""
    if not frame_rate > 0:
        raise ValueError(f"a frame rate must be positive, got {frame_rate}")
    if not layout.tracks and layout.crop_region is None:
        return _nothing_to_follow(facts, window, progress)
    readers = [_reader(facts, layout, track, engine) for track in layout.tracks]
    times: list[float] = []
    shown: list[int] = []
    began = time.process_time()
    main_began = time.thread_time()
    ends_s = min(window.end_s or facts.duration_s, facts.duration_s)
    expected = max(1, round((ends_s - window.start_s) * facts.frame_rate))
    with ExitStack() as stack:
        writer = None
        if chunks_dir is not None and layout.crop_region is not None:
            line_px = min((reader.line_px for reader in readers), default=0.0)
            writer = stack.enter_context(ChunkWriter(chunks_dir, frame_rate, line_px))
        sampler = _CroppedFrames(layout.crop_region, window, frame_rate, writer, shown)
        rois = _RoiCutter([reader.region for reader in readers], sampler)
        taken = map_native_frames(facts, rois.cut, start_s=window.start_s, end_s=window.end_s)
        stack.enter_context(closing(taken))  # whatever fails, the decoder ends before the encoder that it feeds
        for time_s, pictures in taken:
            if progress is not None and len(times) % _PROGRESS_FRAMES == 0:
                progress("captions", min(len(times), expected), expected)
            times.append(time_s)
            for reader, picture in zip(readers, pictures, strict=True):
                reader.push(time_s, picture)
        end_s = _end(times, facts, window)
        sampler.show(rois.last, until_s=end_s)
        for reader in readers:
            reader.finish()
    if progress is not None:
        progress("captions", len(times), len(times))
    ocr = sum(reader.ocr_seconds for reader in readers)
    encode = writer.seconds if writer is not None else 0.0
    analysis = time.thread_time() - main_began - ocr
    return Followed(
        captions=[caption for reader in readers for caption in _captions(reader, times, end_s)],
        times=times,
        shown=shown,
        end_s=end_s,
        recognitions=sum(reader.recognitions for reader in readers),
        seconds={
            "decode": max(0.0, time.process_time() - began - analysis - ocr - encode),
            "analysis": analysis,
            "ocr": ocr,
            "encode": encode,
        },
    )


def _nothing_to_follow(facts: VideoFacts, window: Window, progress: Progress | None) -> Followed:
    """Say that nothing was seen, without decoding: there is no track, and nothing to show."""
    if progress is not None:
        progress("captions", 1, 1)
    seconds = {"decode": 0.0, "analysis": 0.0, "ocr": 0.0, "encode": 0.0}
    return Followed([], [], [], _end([], facts, window), 0, seconds)


@dataclass(slots=True)
class _CroppedFrames:
    """Samples the crop region evenly: each cropped frame shows what stands there at its moment."""

    region: BBox | None
    window: Window
    frame_rate: float
    writer: ChunkWriter | None
    shown: list[int]

    def show(self, frame: NativeFrame | None, *, until_s: float) -> None:
        """Take ``frame`` for all cropped frames that are due before ``until_s``."""
        if self.region is None or frame is None:
            return
        while (number := self.window.first_sample + len(self.shown)) / self.frame_rate < until_s - 1e-6:
            if self.window.end_sample is not None and number >= self.window.end_sample:
                return
            if self.writer is not None:
                self.writer.write(number, frame.yuv420(self.region))
            self.shown.append(frame.index)


@dataclass(slots=True)
class _RoiCutter:
    """Cuts out of each frame what is looked at; called by the decoder, so that no decoded picture waits."""

    regions: list[BBox]
    sampler: _CroppedFrames
    last: NativeFrame | None = None

    def cut(self, frame: NativeFrame) -> tuple[float, list[Plane]]:
        """Give a frame's time and its luma in each region; show the frame before it until then."""
        self.sampler.show(self.last, until_s=frame.time_s)
        self.last = frame
        crops = [frame.luma(region) for region in self.regions]
        # A view would keep the whole decoded frame alive.
        return frame.time_s, [crop if crop.base is None else crop.copy() for crop in crops]


def _reader(facts: VideoFacts, layout: Layout, track: Track, engine: OcrEngine) -> _TrackReader:
    x0, y0, x1, y1 = pixel_rectangle(track.region, facts.width, facts.height)
    region = BBox(x0 / facts.width, y0 / facts.height, x1 / facts.width, y1 / facts.height)
    side = facts.width if track.vertical else facts.height
    line_px = max(8.0, track.line_height * side)
    follower = TrackFollower(line_px, facts.frame_rate)
    reader = _TrackReader(track, region, engine, follower, line_px)
    reader.patience = round(_PATIENCE_S * facts.frame_rate)
    reader.shortest = round(_SHORTEST_S * facts.frame_rate)
    reader.longest_fade = round(_FADE_S * facts.frame_rate)
    reader._detections = sorted(
        ((seen.timestamp_s, seen.bbox) for seen in layout.evidence if _share_inside(seen.bbox, region) > 0.8),
        key=lambda detection: detection[0],
    )
    return reader


def _share_inside(box: BBox, region: BBox) -> float:
    width = min(box.right, region.right) - max(box.left, region.left)
    height = min(box.bottom, region.bottom) - max(box.top, region.top)
    return max(0.0, width) * max(0.0, height) / max(1e-9, box.width * box.height)


def _end(times: list[float], facts: VideoFacts, window: Window) -> float:
    """Give the moment at which the last frame ends."""
    if not times:
        return facts.duration_s
    step = 1 / facts.frame_rate
    if len(times) > 1:
        step = max(times[-1] - times[-2], 1e-3)
    last = times[-1] + min(step, 1 / facts.frame_rate)
    return max(facts.duration_s, last) if window.end_s is None else last


def _captions(reader: _TrackReader, times: list[float], end_s: float) -> list[Caption]:
    texts = restore_opening_marks([item.reading.text for item in reader.found])
    return [
        Caption(
            start_s=times[item.start],
            end_s=times[item.end] if item.end < len(times) else end_s,
            start_frame=item.start,
            end_frame=item.end,
            text=text,
            confidence=calibrated(item.reading.confidence),
            bbox=item.bbox,
            track=reader.track.name,
            extent_confidence=item.extent_confidence,
        )
        for item, text in zip(reader.found, texts, strict=True)
    ]
