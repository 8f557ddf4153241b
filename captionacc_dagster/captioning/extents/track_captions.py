"""The captions of one track: segments its frames, places the boundaries, and reads what each segment shows."""

from __future__ import annotations

import itertools
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from captionacc_dagster.captioning.extents.boundaries import (
    comes_and_goes,
    drop_background,
    drop_moving_lines,
    drop_signs,
    find_boundary,
    first_visible_frame,
    is_fade_of,
    join_segments,
)
from captionacc_dagster.captioning.extents.boxes import (
    CaptionBox,
    common_boxes,
    find_boxes,
    mark_boxes,
    on_boxes_alone,
    styles_on,
)
from captionacc_dagster.captioning.extents.context import has_context, mark_dimmed, part_context
from captionacc_dagster.captioning.extents.entrances import Motion
from captionacc_dagster.captioning.extents.lines import Anchor, split_lines
from captionacc_dagster.captioning.extents.lone_letters import upright_bar
from captionacc_dagster.captioning.extents.marked_letters import confused_language, with_marked_letters
from captionacc_dagster.captioning.extents.merging import (
    FoundCaption,
    are_alike,
    explains_both,
    is_part_of_picture,
    is_same_caption,
    join_readings,
)
from captionacc_dagster.captioning.extents.moving import is_next_step, join_steps, settled_steps
from captionacc_dagster.captioning.extents.reading import NOTHING, Reading, fold, read_caption, settled
from captionacc_dagster.captioning.extents.segmentation import Segment, TrackSegmenter
from captionacc_dagster.captioning.extents.speakers import part_speakers
from captionacc_dagster.captioning.extents.steps import Step
from captionacc_dagster.captioning.extents.strokes import (
    LETTERS,
    Mask,
    Plane,
    StrokeModel,
    StrokeStyle,
    compare_styled_strokes,
    in_style,
    measure_styles,
    min_stroke_px,
    model_strokes,
    own_strokes,
    share_of_islands,
)
from captionacc_dagster.captioning.extents.track_scripts import TrackScripts
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine, ReadWord
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Detection, Layout, Track
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR
from captionacc_dagster.captioning.video.pictures import pixel_rectangle
from captionacc_dagster.captioning.video.reader import VideoFacts

_LEAST_RATE = 10.0  # ticks per second: a caption of a single frame in a slide show needs several
_LEAST_REPEATS = 3  # ticks: a frame that is displayed for less is jitter of the times
_MAX_REPEAT_S = 2.0  # longer than any stretch that is compared
_STYLE_WAIT_S = 8.0  # how long the first frames wait, in memory, until the style of the text is known
_STYLE_FRAMES = 5  # from which a style is measured
_DETECTION_LAG_S = 0.1  # a frame may be this much later than a detection made in it
_SAME_TIME_S = 1e-3
_MOST_WAITING = 200  # captions whose lines wait for the script or language of others: about 50 KB of pictures each
_RECENT = 5  # captions that tell the script of the next one
_FIRST_SEGMENTS = 6  # that are kept, in memory, to be read again: a caption is detected twice or more
_MIN_INSIDE = 0.8  # of a detection's area, for a detection of this track


@dataclass(slots=True)
class TrackCaptions:
    """Finds the captions of one track, one native frame at a time.

    It counts time in ticks of constant length. A native frame is one tick, but several if it is displayed for much
    longer than others, as in files that store a frame only when the picture changes.

    Attributes:
        track: the track.
        region: its region, in whole pixels of the picture.
        engine: reads lines.
        line_px: height of a line in the picture, pixels.
        tick_rate: ticks per second.
        detections: the lines of text that the layout detected in this track, in order of time.
        found: the captions so far, in ticks.
        ocr_seconds: CPU time of the readings.
        recognitions: recognized lines.
        unboxed_starts: where texts begin that were left out because they are not on the box of the captions, in ticks.
        confused_languages: of the captions (BCP 47), of which some letters are often read as others.
    """

    track: Track
    region: BBox
    engine: OcrEngine
    line_px: float
    tick_rate: float
    detections: list[Detection]
    found: list[FoundCaption] = field(default_factory=list)
    ocr_seconds: float = 0.0
    recognitions: int = 0
    unboxed_starts: list[int] = field(default_factory=list)
    confused_languages: set[str] = field(default_factory=set)
    _first_ticks: list[int] = field(default_factory=list)  # of each native frame
    _ticks: int = 0
    _segmenter: TrackSegmenter = field(init=False)
    _pending: list[Plane] | None = field(default_factory=list)  # frames that wait for a style; None: it is known
    _style_frames: tuple[BBox, list[Plane]] | None = None
    _segment: Segment | None = None  # the last one, whose end is not yet placed
    _start: int = 0  # its exact start
    _start_share: float = 1.0
    _appeared: Mask | None = None  # the strokes that appeared with it
    _previous: Segment | None = None
    _scripts: TrackScripts = field(default_factory=TrackScripts)
    _roi_shape: tuple[int, ...] = (1, 1)
    _background: StrokeModel | None = None  # the last segment without a caption
    _bounded_shares: list[float] = field(default_factory=list)  # of detected lines: of strokes that touch no area
    _measured_boxes: list[list[CaptionBox]] = field(default_factory=list)  # behind detected lines, by frames
    _unboxed_styles: list[StrokeStyle] = field(default_factory=list)  # of detected lines of letters without a box
    _boxes: tuple[CaptionBox, ...] = ()  # behind the captions
    _first_segments: list[Segment] | None = field(default_factory=list)  # until a box is known; None: too late
    _shown: Segment | None = None  # all frames of the last caption that was found
    _rest_end: int = 0  # where the last caption ends or begins to move away

    def __post_init__(self) -> None:
        self._segmenter = TrackSegmenter(self.line_px, self.tick_rate)

    @classmethod
    def of(cls, facts: VideoFacts, layout: Layout, track: Track, engine: OcrEngine) -> TrackCaptions:
        """Return the finder of a track of a video's layout."""
        x0, y0, x1, y1 = pixel_rectangle(track.region, facts.width, facts.height)
        region = BBox(x0 / facts.width, y0 / facts.height, x1 / facts.width, y1 / facts.height)
        line_px = max(8.0, track.line_height * (facts.width if track.vertical else facts.height))
        detections = [seen for seen in layout.evidence if _share_inside(seen.bbox, region) > _MIN_INSIDE]
        detections.sort(key=lambda seen: seen.timestamp_s)
        return cls(track, region, engine, line_px, max(_LEAST_RATE, facts.frame_rate), detections)

    def push(self, picture: Plane, start_s: float, end_s: float) -> None:
        """Take the region's luma of the next native frame, displayed from ``start_s`` to ``end_s``.

        The first frames wait until the style of the text is known.
        """
        self._learn_style(picture, start_s, end_s)
        repeats = round(min(end_s - start_s, _MAX_REPEAT_S) * self.tick_rate)
        repeats = repeats if repeats >= _LEAST_REPEATS else 1
        self._first_ticks.append(self._ticks)
        self._ticks += repeats
        for _ in range(repeats):
            self._push_tick(picture)

    def native_frame(self, tick: int) -> int:
        """Return the native frame whose first tick is nearest."""
        number = bisect_right(self._first_ticks, tick) - 1
        following = self._first_ticks[number + 1] if number + 1 < len(self._first_ticks) else self._ticks
        return number + (2 * (tick - self._first_ticks[number]) > following - self._first_ticks[number])

    def _push_tick(self, picture: Plane) -> None:
        if self._pending is None:
            for segment in self._segmenter.push(picture):
                self._add(segment)
            return
        self._pending.append(picture)
        if self._segmenter.styles or len(self._pending) >= self._frames(_STYLE_WAIT_S):
            self._release_pending()

    def finish(self) -> None:
        """Find the captions that are left at the end of the video."""
        self._release_pending()
        for segment in self._segmenter.finish():
            self._add(segment)
        if self._segment is not None:
            self._read(self._segment, self._segment.end, 1.0)
        self._settle_last()
        if has_context(self.found):
            self.found = [part_context(found) for found in self.found]
        if self._is_bounded:
            self.found = [found for found in self.found if not is_part_of_picture(found)]
        self._settle(len(self.found))
        self._read_marked_letters(len(self.found))
        if not self.track.vertical:
            self.found = part_speakers(self.found, self._segmenter.line_px, self.place_in_picture)

    def _settle(self, count: int) -> None:
        """Read the first captions in the scripts that the track turned out to have; drop those that are none."""
        began = time.thread_time()
        fade_frames = self._frames(TUNING.fade_s)
        readings = [settled(found.reading, self._scripts, self.engine) for found in self.found[:count]]
        if self._scripts.has_vietnamese:  # what was tried before the first line of it was found
            readings = [settled(found.reading, self._scripts, self.engine) for found in self.found[:count]]
        kept: list[FoundCaption] = []
        for found, reading in zip(self.found[:count], readings, strict=True):
            if not (reading.text or reading.is_unread):
                continue
            caption, last = replace(found, reading=reading), kept[-1] if kept else None
            is_open = bool(found.reading.waiting)
            if last and is_open and last.end == caption.start and is_same_caption(last, caption, fade_frames):
                kept[-1] = join_readings(last, caption, fade_frames)
            else:
                kept.append(caption)
        self.found[:count] = kept
        self.ocr_seconds += time.thread_time() - began

    def _read_marked_letters(self, count: int) -> None:
        """Read the letters of the track's language that the recognizer confuses in the first captions, if an engine
        has them, and forget the pictures of their lines."""
        began = time.thread_time()
        language = confused_language([found.reading.text for found in self.found], self.engine)
        is_ready = language is not None and self.engine.reads("Latn", lang=language)
        if language is not None and not is_ready:
            self.confused_languages.add(language)
        for number, found in enumerate(self.found[:count]):
            reading = found.reading
            if language is not None and is_ready:
                reading = with_marked_letters(reading, language, self.engine)
            self.found[number] = replace(found, reading=replace(reading, pictures=()))
        self.ocr_seconds += time.thread_time() - began

    def _frames(self, seconds: float) -> int:
        return round(seconds * self.tick_rate)

    def _release_pending(self) -> None:
        pending, self._pending = self._pending or [], None
        for picture in pending:
            for segment in self._segmenter.push(picture):
                self._add(segment)

    def _learn_style(self, picture: Plane, start_s: float, end_s: float) -> None:
        """Measure the style of the text where the layout detected some."""
        if self._style_frames is not None:
            box, rois = self._style_frames
            rois.append(self._segmenter.shrink(picture))
            if len(rois) >= _STYLE_FRAMES:
                self._style_frames = None
                inside = self._mark(box, rois[0].shape)
                model = model_strokes(rois, self._segmenter.line_px)
                styles = measure_styles(model, inside)
                for style in styles:
                    self._segmenter.add_style(style)
                if styles:
                    self._bounded_shares.append(share_of_islands(model, model.stroke_mask & inside, styles))
                    self._learn_boxes(model, inside, styles)
        while self.detections and self.detections[0].timestamp_s < end_s - _SAME_TIME_S:
            detection = self.detections.pop(0)
            if self._style_frames is None and detection.timestamp_s >= start_s - _DETECTION_LAG_S:
                self._style_frames = (detection.bbox, [self._segmenter.shrink(picture)])

    def _learn_boxes(self, model: StrokeModel, inside: Mask, styles: Sequence[StrokeStyle]) -> None:
        """Find the box behind the captions in frames in which a line was detected, or learn that it has none."""
        strokes = model.stroke_mask & inside
        found = [box for box, area in find_boxes(model) if self._may_contain_captions(area, strokes)]
        if found:
            self._measured_boxes.append(found)
        elif self._may_contain_captions(strokes, strokes) and self._bounded_shares[-1] >= TUNING.bounded_share:
            self._unboxed_styles.append(styles[0])
        self._boxes = common_boxes(self._measured_boxes, self._unboxed_styles, self._boxes)

    def _may_contain_captions(self, area: Mask, detected: Mask) -> bool:
        """Return whether an area is where the track has its text: at its anchor, or else around a detected line or
        exactly in the middle of the picture."""
        anchor, columns = self._anchor(area.shape), np.flatnonzero(area.any(axis=0))
        place = int(columns[0]), int(columns[-1]) + 1
        if anchor is not None:
            return anchor.fits(*place, self._segmenter.line_px)
        middle = Anchor("center", (0.5 - self.region.left) / self.region.width * area.shape[1])
        is_central = middle.distance(*place) <= TUNING.word_gap * self._segmenter.line_px
        return is_central or bool(2 * (detected & area).sum() > detected.sum())

    def _add(self, segment: Segment) -> None:
        """Place the boundary between the last segment and the next one; read the last one if there is a boundary.

        The first segments are read again once it is known that a box is behind the captions.
        """
        first, self._first_segments = self._first_segments, None
        if first is not None and self._boxes:
            self._start_over()
            for earlier in first:
                self._follow(earlier)
        elif first is not None and len(first) < _FIRST_SEGMENTS:
            self._first_segments = [*first, segment]
        self._follow(segment)

    def _start_over(self) -> None:
        """Forget what was found so far, but not how the text looks."""
        self.found, self._scripts = [], TrackScripts()
        self._segment, self._start, self._start_share, self._appeared = None, 0, 1.0, None
        self._previous, self._background, self._shown, self._rest_end = None, None, None, 0

    def _follow(self, segment: Segment) -> None:
        """Place the boundary between the last segment and the next one; read the last one if there is a boundary."""
        if self._segment is None:
            self._segment = segment
            return
        line_px = self._segmenter.line_px
        styles = self._bounded_styles(self._segment)
        boundary = find_boundary(self._segment, segment, line_px, self._appeared, styles, self._boxes)
        if boundary.is_same:
            self._segment = join_segments(self._segment, segment, line_px, is_background=boundary.is_background)
            return
        self._read(self._segment, boundary.end, boundary.share, segment)
        self._segment, self._start, self._start_share = segment, boundary.start, boundary.share
        self._appeared = boundary.appeared

    def _read(self, segment: Segment, end: int, end_share: float, following: Segment | None = None) -> None:
        """Read a segment. One without text shows the picture without a caption."""
        if end <= self._start:
            return
        line_px = self._segmenter.line_px
        segment = segment.within(self._start, end, line_px)
        previous, self._previous = self._previous, segment
        if self.found and end <= self.found[-1].end:
            return  # the last caption, which moves away
        strokes = self._own(segment, drop_background(segment.model, self._background))
        frames = end - self._start
        neighbors = [neighbor for neighbor in (previous, following) if neighbor is not None]
        is_short = frames <= 2 * self._frames(TUNING.fade_s)
        if is_short and any(is_fade_of(segment, strokes, neighbor, line_px) for neighbor in neighbors):
            return
        reading, strokes = self._read_strokes(segment, strokes, neighbors)
        reading = mark_dimmed(reading, segment.model, strokes)
        lone = None
        if not reading.is_unread and fold(reading.text) in ("", fold("I")):
            lone = self._lone_i(segment, strokes, neighbors)
        if lone is not None:
            reading, strokes = lone
        is_letter = len(fold(reading.text)) == 1 and not (reading.is_unread or reading.waiting)
        brief_s = TUNING.brief_s * (1.5 if is_letter else 1.0)  # most short single characters are edges of the picture
        if frames < self._frames(brief_s) and reading.confidence < OCR.sure:
            reading = NOTHING
        if not reading.may_be_caption:
            if self._boxes and self._shows_text_without_box(segment, strokes, neighbors):
                self.unboxed_starts.append(self._start)
            if frames >= self._frames(TUNING.brief_s) and not comes_and_goes(
                segment, neighbors, self._segmenter.styles
            ):
                self._background = segment.model
            return
        start = first_visible_frame(segment, strokes, self._start, self._rest_end)
        motion = self._motion(segment, strokes, start, following)
        start, last = self._entrance(motion, start)
        appears = bool(motion.before) and (last is None or last.end <= self._rest_end)
        self._rest_end = end
        styles = self._bounded_styles(segment)
        found = FoundCaption(
            start=start,
            end=motion.end(end),
            reading=reading,
            bbox=self._bbox(strokes),
            extent_confidence=min(self._start_share, end_share),
            stroke_px=int(strokes.sum()),
            bounded=share_of_islands(segment.model, strokes, styles) if styles else 1.0,
            steps=(Step.of(start, end, reading, segment.model, strokes),),
            film=segment.film,
            is_apart=lone is not None,
        )
        fade_frames = self._frames(TUNING.fade_s)
        follows = last is not None and last.end == found.start
        shown, self._shown = self._shown if follows else None, segment
        if last and follows and not appears and is_same_caption(last, found, fade_frames):
            self.found[-1] = join_readings(last, found, fade_frames)
            if shown is not None:
                self._shown = join_segments(shown, segment, line_px, is_background=True)
        elif last and shown and (whole := self._read_whole(last, shown, found, segment)) is not None:
            self.found[-1], self._shown = whole
        elif last and follows and is_next_step(last, found, line_px):
            self.found[-1] = join_steps(last, found)
        else:
            self._settle_last()
            self.found.append(found)
            self._forget_old_pictures()

    def _shows_text_without_box(self, segment: Segment, own: Mask, neighbors: list[Segment]) -> bool:
        """Return whether letters like the captions', but on no box, come and go: another text, or an odd caption."""
        styles, model = (*self._bounded_styles(segment), *self._unboxed_styles), segment.model
        letters = model.stroke_mask & ~own & in_style(model.level, styles)
        is_text = letters.sum() >= LETTERS * min_stroke_px(model.line_px)
        return bool(is_text) and comes_and_goes(segment, neighbors, styles)

    def _lone_i(self, segment: Segment, strokes: Mask, neighbors: list[Segment]) -> tuple[Reading, Mask] | None:
        """Return an "I" in Latin captions and its strokes: a bar in their style and place, which comes and goes."""
        box, anchor = upright_bar(strokes, self._segmenter.line_px), self._anchor(strokes.shape)
        if box is None or not self.found or self.track.vertical:
            return None
        is_latin = all(found.reading.script in (None, "Latn") for found in self.found[-_RECENT:])
        is_in_place = anchor is None or anchor.distance(box[0], box[2]) <= self._segmenter.line_px / 2
        if not (is_latin and is_in_place and comes_and_goes(segment, neighbors, self._segmenter.styles)):
            return None
        bar = np.zeros_like(strokes)
        bar[box[1] : box[3], box[0] : box[2]] = strokes[box[1] : box[3], box[0] : box[2]]
        return Reading("I", OCR.sure, 0, "Latn", lines=(ReadLine("I", box, (ReadWord("I", box),)),)), bar

    def _motion(self, segment: Segment, strokes: Mask, start: int, following: Segment | None) -> Motion:
        """Return how a caption moves before it rests, from ``start`` to the end of its segment, and after that."""
        before = [item for item in reversed(segment.around_start) if item[0] < start]
        after = [item for item in following.around_start if item[0] >= segment.end] if following is not None else []
        region, (height, width) = self.region, strokes.shape
        left, top = -region.left / region.width * width, -region.top / region.height * height
        picture = left, top, left + width / region.width, top + height / region.height
        return Motion.of(segment.model, strokes, before, after, picture, self._frames(TUNING.hold_s))

    def _entrance(self, motion: Motion, start: int) -> tuple[int, FoundCaption | None]:
        """Return where a caption that rests from ``start`` on appears, and the caption before it.

        What was read while it moved is dropped; the caption before it ends at the latest where this one appears.
        """
        while self.found and motion.enters_through(self.found[-1].start, self._rest_end):
            self.found.pop()
            self._shown, self._rest_end = None, self.found[-1].end if self.found else 0
        start = max(motion.start(start), min(start, self._rest_end))
        if self.found and self.found[-1].end > start:
            self.found[-1] = replace(self.found[-1], end=start)
        return start, self.found[-1] if self.found else None

    def _forget_old_pictures(self) -> None:
        """Settle the older half of the captions whose lines wait for others if there are many: each keeps pictures."""
        waiting = [number for number, found in enumerate(self.found) if found.reading.waiting]
        if len(waiting) > _MOST_WAITING:
            self._settle(waiting[len(waiting) // 2])
        read = [number for number, found in enumerate(self.found) if found.reading.pictures]
        if len(read) > _MOST_WAITING:
            self._read_marked_letters(read[len(read) // 2])

    def _read_whole(
        self, last: FoundCaption, shown: Segment, found: FoundCaption, segment: Segment
    ) -> tuple[FoundCaption, Segment] | None:
        """Return two neighbors read as one caption if only letters behind it changed; None if they are two."""
        line_px, styles, parts = self._segmenter.line_px, self._bounded_styles(shown), (shown, segment)
        if not styles or not are_alike(last, found):
            return None
        change = compare_styled_strokes(shown.model, segment.model, styles, line_px, self._places_of(shown, segment))
        if change is None or change.total > TUNING.changed_share:
            return None
        behind = max(int((part.model.stroke_mask & ~self._own(part, part.model.stroke_mask)).sum()) for part in parts)
        if change.replacements(line_px).is_change and behind < LETTERS * min_stroke_px(line_px):
            return None  # a character changed, not letters behind the text
        whole = join_segments(*parts, line_px, is_background=True)
        reading, strokes = self._read_strokes(whole, self._own(whole, whole.model.stroke_mask), [])
        if not explains_both(reading, last.reading, found.reading):
            return None
        joined = replace(
            last,
            end=found.end,
            reading=reading,
            bbox=self._bbox(strokes),
            stroke_px=int(strokes.sum()),
            film=whole.film,
        )
        return joined, whole

    def _places_of(self, *segments: Segment) -> tuple[Mask, ...] | None:
        """Return where the captions' letters may be in each of some segments; None: everywhere."""
        boxes = self._boxes
        return tuple(mark_boxes(segment.model, boxes) for segment in segments) if boxes else None

    def _own(self, segment: Segment, strokes: Mask) -> Mask:
        """Return those of a segment's strokes that are of the track's text."""
        strokes, styles = self._drop_avoided(strokes), self._bounded_styles(segment)
        if self._boxes:
            strokes = strokes & mark_boxes(segment.model, self._boxes)
        return own_strokes(segment.model, strokes, styles, self._places(strokes.shape)) if styles else strokes

    @property
    def _is_bounded(self) -> bool:
        """Whether a box or an outline bounds the letters of the track, by those that the layout detected."""
        return bool(self._boxes) or median(self._bounded_shares or [0.0]) >= TUNING.bounded_share

    def _bounded_styles(self, segment: Segment) -> tuple[StrokeStyle, ...]:
        """Return the styles of the track's text in a segment if a box or an outline bounds its letters."""
        if self._boxes:
            return styles_on(segment.model, self._boxes)
        # The level of uneven strokes, as of thin ones, tells them from nothing.
        return tuple(style for style in self._segmenter.styles if not style.is_uneven) if self._is_bounded else ()

    def _settle_last(self) -> None:
        """Time the words of the last caption, which is complete, or part the lines that rolled up in it."""
        if self.found and self.found[-1].steps:
            last = self.found.pop()
            self.found += settled_steps(last, self._segmenter.line_px, self.place_in_picture)

    def _read_strokes(self, segment: Segment, strokes: Mask, neighbors: list[Segment]) -> tuple[Reading, Mask]:
        """Return what a segment's strokes say, and those of them that do not move.

        A sign hardly moves within a few frames: then its places in the neighbors count as well.
        """
        line_px = self._segmenter.line_px
        seams, vertical = self._seams(strokes.shape), self.track.vertical
        if strokes.sum() < min_stroke_px(line_px):
            return NOTHING, strokes
        lines = split_lines(strokes, line_px, vertical=vertical, seams=seams)
        strokes = drop_moving_lines(segment, strokes, lines, TUNING.motion_residual)
        if segment.end - segment.start < self._frames(TUNING.brief_s):
            for neighbor in neighbors:
                strokes = self._without_signs(segment, neighbor, strokes, lines)
        if strokes.sum() < min_stroke_px(line_px):
            return NOTHING, strokes
        pictures = [picture for _, picture in segment.pictures]
        if self._boxes:
            area = mark_boxes(segment.model, self._boxes)
            pictures = [on_boxes_alone(picture, area, strokes) for picture in pictures]
        return self._recognize(pictures, strokes), strokes

    def _without_signs(self, segment: Segment, neighbor: Segment, strokes: Mask, lines: Sequence[Box]) -> Mask:
        """Return the strokes of a brief segment without signs that its neighbor shows at another place.

        A word with letters of the one before it ("let", "yet") looks as if that had moved, but says something else.
        """
        kept = drop_signs(segment, neighbor, strokes, lines)
        if kept.sum() == strokes.sum():
            return strokes
        readings = [
            self._recognize([picture for _, picture in part.pictures], mask)
            for part, mask in ((segment, strokes & ~kept), (neighbor, self._own(neighbor, neighbor.model.stroke_mask)))
        ]
        is_read = min(reading.confidence for reading in readings) >= OCR.sure
        return strokes if is_read and len({fold(reading.text) for reading in readings}) > 1 else kept

    def _recognize(self, pictures: list[Plane], strokes: Mask) -> Reading:
        """Return what the strokes that some pictures share say."""
        began = time.thread_time()
        reading = read_caption(
            self.engine,
            pictures,
            strokes,
            self._segmenter.line_px,
            vertical=self.track.vertical,
            seams=self._seams(strokes.shape),
            anchor=self._anchor(strokes.shape),
            scripts=self._scripts,
        )
        self.ocr_seconds += time.thread_time() - began
        self.recognitions += reading.recognitions
        return reading

    def _places(self, shape: tuple[int, ...]) -> list[tuple[float, float]]:
        """Return top and bottom of the track's lines in a ROI (vertical: left and right), pixels."""
        vertical, region = self.track.vertical, self.region
        start, extent = (region.left, region.width) if vertical else (region.top, region.height)
        size = shape[1] if vertical else shape[0]
        return [((low - start) / extent * size, (high - start) / extent * size) for low, high in self.track.places]

    def _seams(self, shape: tuple[int, ...]) -> list[float]:
        """Return where the track's lines meet in a ROI, pixels."""
        return [(upper[1] + lower[0]) / 2 for upper, lower in itertools.pairwise(self._places(shape))]

    def _anchor(self, shape: tuple[int, ...]) -> Anchor | None:
        """Return where the track's text is anchored in a ROI, pixels; None where a person drew the region."""
        if not self.track.lines or self.track.anchor == "mixed":
            return None
        size = shape[0] if self.track.vertical else shape[1]
        if self.track.anchor_position is not None:
            start, extent = (
                (self.region.top, self.region.height) if self.track.vertical else (self.region.left, self.region.width)
            )
            return Anchor(self.track.anchor, (self.track.anchor_position - start) / extent * size)
        margin = 0.5 * self._segmenter.line_px  # that the layout leaves beside the anchored side
        position = {"left": margin, "right": size - margin}.get(self.track.anchor, size / 2)
        return Anchor(self.track.anchor, position)

    def _drop_avoided(self, strokes: Mask) -> Mask:
        """Drop strokes in boxes of other text inside the region."""
        if not self.track.avoid:
            return strokes
        avoided = np.zeros(strokes.shape, bool)
        for box in self.track.avoid:
            avoided |= self._mark(BBox(*box), strokes.shape)
        return strokes & ~avoided

    def _mark(self, box: BBox, shape: tuple[int, ...]) -> Mask:
        """Mark a box of the picture in a ROI."""
        region, (height, width) = self.region, shape
        top, bottom = (box.top - region.top) / region.height, (box.bottom - region.top) / region.height
        left, right = (box.left - region.left) / region.width, (box.right - region.left) / region.width
        inside = np.zeros(shape, bool)
        inside[
            max(0, int(top * height)) : max(0, int(np.ceil(bottom * height))),
            max(0, int(left * width)) : max(0, int(np.ceil(right * width))),
        ] = True
        return inside

    def _bbox(self, strokes: Mask) -> BBox:
        """Return the bounding box of strokes in the picture."""
        rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
        self._roi_shape = strokes.shape
        return self.place_in_picture((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))

    def place_in_picture(self, box: Box) -> BBox:
        """Return the place of a box of a ROI, pixels, in the picture."""
        region, (height, width) = self.region, self._roi_shape
        x0, y0, x1, y1 = box
        return BBox(
            region.left + region.width * x0 / width,
            region.top + region.height * y0 / height,
            region.left + region.width * x1 / width,
            region.top + region.height * y1 / height,
        )


def _share_inside(box: BBox, region: BBox) -> float:
    width = min(box.right, region.right) - max(box.left, region.left)
    height = min(box.bottom, region.bottom) - max(box.top, region.top)
    return max(0.0, width) * max(0.0, height) / max(1e-9, box.width * box.height)
