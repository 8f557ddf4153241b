"""The captions of one track: segments its frames, places the boundaries, and reads what each segment shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from captionacc_dagster.captioning.extents.boundaries import (
    comes_and_goes,
    drop_background,
    find_boundary,
    first_visible_frame,
    is_fade_of,
    join_segments,
)
from captionacc_dagster.captioning.extents.boxes import with_letters_on_boxes
from captionacc_dagster.captioning.extents.dimmed_lines import has_context, mark_dimmed, part_context
from captionacc_dagster.captioning.extents.entrances import Motion
from captionacc_dagster.captioning.extents.growth import Growth, follow_growth
from captionacc_dagster.captioning.extents.merging import (
    FoundCaption,
    Shown,
    are_alike,
    explains_both,
    is_part_of_picture,
    is_rest_of,
    is_same_caption,
    join_readings,
)
from captionacc_dagster.captioning.extents.overlapping import part_overlapping
from captionacc_dagster.captioning.extents.reading import NOTHING, Reading, fold
from captionacc_dagster.captioning.extents.segmentation import NumberedPlane, Segment, TrackSegmenter, joined_small_rois
from captionacc_dagster.captioning.extents.speakers import part_speakers
from captionacc_dagster.captioning.extents.step_changes import Step
from captionacc_dagster.captioning.extents.strokes import (
    LETTERS,
    Mask,
    Plane,
    StrokeModel,
    compare_styled_strokes,
    min_stroke_px,
    share_of_islands,
)
from captionacc_dagster.captioning.extents.ticks import Ticks
from captionacc_dagster.captioning.extents.track_reader import TrackReader
from captionacc_dagster.captioning.extents.track_roi import TrackRoi
from captionacc_dagster.captioning.extents.track_style import TrackStyle
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.word_timing import (
    is_begun,
    is_next_step,
    join_steps,
    scrolls_on,
    settled_steps,
    with_lines_of,
)
from captionacc_dagster.captioning.extents.words import Box
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Layout, Track
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR
from captionacc_dagster.captioning.video.pictures import pixel_rectangle
from captionacc_dagster.captioning.video.reader import VideoFacts

_STYLE_WAIT_S = 8.0  # how long the first frames wait, in memory, until the style of the text is known
_MOST_WAITING = 200  # captions whose lines wait for the script or language of others: about 50 KB of pictures each
_FIRST_SEGMENTS = 6  # that are kept, in memory, to be read again: a caption is detected twice or more


@dataclass(slots=True)
class TrackCaptions:
    """Finds the captions of one track, one native frame at a time.

    Attributes:
        roi: the region of the track.
        line_px: height of a line in the picture, pixels.
        ticks: in which time is counted.
        style: of the track's text.
        reader: reads what the segments show.
        found: the captions so far, in ticks.
        unboxed_starts: where texts begin that were left out because they are not on the box of the captions, in ticks.
        unparted_starts: where captions begin of which it cannot be told whether they are two over each other, in ticks.
    """

    roi: TrackRoi
    line_px: float
    ticks: Ticks
    style: TrackStyle
    reader: TrackReader
    found: list[FoundCaption] = field(default_factory=list)
    unboxed_starts: list[int] = field(default_factory=list)
    unparted_starts: list[int] = field(default_factory=list)
    _pending: list[Plane] | None = field(default_factory=list)  # frames that wait for a style; None: it is known
    _segment: Segment | None = None  # the last one, whose end is not yet placed
    _start: int = 0  # its exact start
    _start_share: float = 1.0
    _appeared: Mask | None = None  # the strokes that appeared with it
    _is_line: bool = False  # it begins where a line comes or goes beside lines that stay
    _is_word: bool = False  # it begins where a word is added to those that stay
    _previous: Segment | None = None
    _roi_shape: tuple[int, ...] = (1, 1)
    _background: StrokeModel | None = None  # the last segment without a caption
    _first_segments: list[Segment] | None = field(default_factory=list)  # until a box is known; None: too late
    _shown: Segment | None = None  # all frames of the last caption that was found
    _small_rois: list[NumberedPlane] = field(default_factory=list)  # of the last segments
    _rest_end: int = 0  # where the last caption ends or begins to move away

    @classmethod
    def of(cls, facts: VideoFacts, layout: Layout, track: Track, engine: OcrEngine) -> TrackCaptions:
        """Return the finder of a track of a video's layout."""
        x0, y0, x1, y1 = pixel_rectangle(track.region, facts.width, facts.height)
        region = BBox(x0 / facts.width, y0 / facts.height, x1 / facts.width, y1 / facts.height)
        line_px = max(8.0, track.line_height * (facts.width if track.vertical else facts.height))
        detections = [seen for seen in layout.evidence if _share_inside(seen.bbox, region) > TUNING.built_share]
        detections.sort(key=lambda seen: seen.timestamp_s)
        ticks = Ticks.at(facts.frame_rate)
        segmenter = TrackSegmenter(line_px, ticks.rate)
        roi = TrackRoi(track, region, segmenter.line_px)
        style = TrackStyle(roi, segmenter, detections)
        return cls(roi, line_px, ticks, style, TrackReader(engine, style, ticks.within(TUNING.brief_s)))

    @property
    def track(self) -> Track:
        """The track."""
        return self.roi.track

    @property
    def _segmenter(self) -> TrackSegmenter:
        return self.style.segmenter

    def push(self, picture: Plane, start_s: float, end_s: float) -> None:
        """Take the region's luma of the next native frame, displayed from ``start_s`` to ``end_s``.

        The first frames wait until the style of the text is known.
        """
        self.style.learn(picture, start_s, end_s)
        for _ in range(self.ticks.add(end_s - start_s)):
            self._push_tick(picture)

    def _push_tick(self, picture: Plane) -> None:
        if self._pending is None:
            for segment in self._segmenter.push(picture):
                self._add(segment)
            return
        self._pending.append(picture)
        if self.style.is_known or len(self._pending) >= self.ticks.within(_STYLE_WAIT_S):
            self._release_pending()

    def finish(self) -> None:
        """Find the captions that are left at the end of the video."""
        self._release_pending()
        for segment in self._segmenter.finish():
            self._add(segment)
        if self._segment is not None:
            self._read(self._segment, self._segment.end, 1.0)
        self._settle_last()
        if self.style.is_bounded:
            self.found = [found for found in self.found if not is_part_of_picture(found)]
        self._settle(len(self.found))
        if has_context(self.found):
            self.found = [part_context(found) for found in self.found]
        self._read_marked_letters(len(self.found))
        if not self.track.vertical:
            self.found = part_speakers(self.found, self.roi.line_px, self.place_in_picture)
            brief, fade = self.ticks.within(TUNING.brief_s), self.ticks.within(TUNING.fade_s)
            self.found, self.unparted_starts = part_overlapping(self.found, brief, fade, self.place_in_picture)

    def _settle(self, count: int) -> None:
        """Read the first captions in the scripts that the track turned out to have; drop those that are none."""
        fade_frames = self.ticks.within(TUNING.fade_s)
        readings = self.reader.settle([found.reading for found in self.found[:count]])
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

    def _read_marked_letters(self, count: int) -> None:
        """Read the letters of the track's language that the recognizer confuses in the first captions."""
        texts = [found.reading.text for found in self.found]
        readings = self.reader.read_marked_letters([found.reading for found in self.found[:count]], texts)
        self.found[:count] = [
            replace(found, reading=reading) for found, reading in zip(self.found[:count], readings, strict=True)
        ]

    def _release_pending(self) -> None:
        pending, self._pending = self._pending or [], None
        for picture in pending:
            for segment in self._segmenter.push(picture):
                self._add(segment)

    def _add(self, segment: Segment) -> None:
        """Place the boundary between the last segment and the next one; read the last one if there is a boundary.

        The first segments are read again once it is known that a box is behind the captions.
        """
        first, self._first_segments = self._first_segments, None
        if first is not None and self.style.boxes:
            self._start_over()
            for earlier in first:
                self._follow(earlier)
        elif first is not None and len(first) < _FIRST_SEGMENTS:
            self._first_segments = [*first, segment]
        self._follow(segment)

    def _start_over(self) -> None:
        """Forget what was found so far, but not how the text looks."""
        self.found = []
        self.reader.forget_scripts()
        self._segment, self._start, self._start_share, self._appeared = None, 0, 1.0, None
        self._is_line = self._is_word = False
        self._previous, self._background, self._shown, self._rest_end = None, None, None, 0

    def _follow(self, segment: Segment) -> None:
        """Place the boundary between the last segment and the next one; read the last one if there is a boundary."""
        segment = self._with_letters(segment)
        if self._segment is None:
            self._segment = segment
            return
        line_px = self.roi.line_px
        styles = self.style.bounded_styles(self._segment)
        boundary = find_boundary(
            self._segment, segment, line_px, self._appeared, styles, self.style.boxes, self._segmenter.styles
        )
        if boundary.is_same:
            joined = join_segments(self._segment, segment, line_px, is_background=boundary.is_background)
            self._segment = self._with_letters(joined)
            return
        self._read(self._segment, boundary.end, boundary.share, segment)
        self._segment, self._start, self._start_share = segment, boundary.start, boundary.share
        self._appeared, self._is_line, self._is_word = boundary.appeared, boundary.is_line, boundary.is_word

    def _with_letters(self, segment: Segment) -> Segment:
        """Return a segment of which the stroke mask has the letters on the track's boxes."""
        model = with_letters_on_boxes(segment.model, self.style.boxes)
        return segment if model is segment.model else replace(segment, model=model)

    def _read(self, segment: Segment, end: int, end_share: float, following: Segment | None = None) -> None:
        """Read a segment. One without text shows the picture without a caption."""
        if end <= self._start:
            return
        line_px = self.roi.line_px
        segment = self._with_letters(segment.within(self._start, end, line_px))
        previous, self._previous = self._previous, segment
        self._small_rois = joined_small_rois(self._small_rois, segment.small_rois)
        if self.found and end <= self.found[-1].end:
            return  # the last caption, which moves away
        strokes = self.style.own(segment, drop_background(segment.model, self._background))
        self._roi_shape = strokes.shape
        frames = end - self._start
        neighbors = [neighbor for neighbor in (previous, following) if neighbor is not None]
        is_short = frames <= 2 * self.ticks.within(TUNING.fade_s)
        if is_short and any(is_fade_of(segment, strokes, neighbor, line_px) for neighbor in neighbors):
            return
        reading, strokes = self.reader.read(segment, strokes, neighbors)
        reading = mark_dimmed(reading, segment.model, strokes)
        lone = None
        if not reading.is_unread and fold(reading.text) in ("", fold("I")):
            lone = self.reader.lone_i(segment, strokes, neighbors, [found.reading for found in self.found])
        if lone is not None:
            reading, strokes = lone
        is_letter = len(fold(reading.text)) == 1 and not (reading.is_unread or reading.waiting)
        brief_s = TUNING.brief_s * (1.5 if is_letter else 1.0)  # most short single characters are edges of the picture
        is_cut_off = self._start == 0 or following is None  # by the start or the end of the video: it lasted longer
        if frames < self.ticks.within(brief_s) and reading.confidence < OCR.sure and not is_cut_off:
            reading = NOTHING
        if not reading.may_be_caption:
            if self.style.boxes and self.style.shows_text_without_box(segment, strokes, neighbors):
                self.unboxed_starts.append(self._start)
            if frames >= self.ticks.within(TUNING.brief_s) and not comes_and_goes(
                segment, neighbors, self._segmenter.styles
            ):
                self._background = segment.model
            return
        start = first_visible_frame(segment, strokes, self._start, self._rest_end)
        growth = self._growth(segment, strokes, reading)
        motion = self._motion(segment, strokes, start, following)
        start, last = self._entrance(motion, start) if growth is None else self._grown(growth)
        appears = bool(motion.before) and (last is None or last.end <= self._rest_end)
        self._rest_end = end
        styles = self.style.bounded_styles(segment)
        found = FoundCaption(
            start=start,
            end=motion.end(end),
            reading=reading,
            bbox=self.roi.bbox(strokes),
            extent_confidence=min(self._start_share, end_share),
            stroke_px=int(strokes.sum()),
            bounded=share_of_islands(segment.model, strokes, styles) if styles else 1.0,
            steps=(Step.of(start, end, reading, segment.model.level, strokes, segment.model.stroke_mask),),
            shown=(Shown(start, end, reading.lines_as_read, reading.confidence),),
            small_rois=segment.small_rois
            if growth is None
            else [item for item in self._small_rois if item[0] >= start],
            growth=growth,
            is_apart=lone is not None,
        )
        fade_frames = self.ticks.within(TUNING.fade_s)
        follows = last is not None and last.end == found.start
        shown, self._shown = self._shown if follows else None, segment
        small_rois = joined_small_rois(last.small_rois, found.small_rois) if last else found.small_rois
        if last and follows and not appears and is_same_caption(last, found, fade_frames):
            self.found[-1] = join_readings(last, found, fade_frames)
            if shown is not None:
                self._shown = join_segments(shown, segment, line_px, is_background=True)
        elif last and follows and is_rest_of(found, last, self.ticks.within(TUNING.brief_s)):
            self.found[-1] = replace(last, end=found.end, small_rois=small_rois)
        elif last and follows and is_rest_of(last, found, self.ticks.within(TUNING.brief_s)):
            self.found[-1] = replace(found, start=last.start, small_rois=small_rois)
        elif last and shown and (whole := self._read_whole(last, shown, found, segment)) is not None:
            self.found[-1], self._shown = whole
        elif last and (joined := self._next_step(last, found, follows=follows)) is not None:
            self.found[-1] = joined
        else:
            self._settle_last()
            self.found.append(found)
            self._forget_old_pictures()

    def _next_step(self, last: FoundCaption, found: FoundCaption, *, follows: bool) -> FoundCaption | None:
        """Return the last caption with its next step: it follows at once, or its lines scroll up for some frames."""
        line_px = self.roi.line_px
        if follows:
            found = with_lines_of(last, found, line_px)
        elif not 0 < found.start - last.end <= self.ticks.within(TUNING.fade_s):
            return None
        if not is_next_step(last, found, line_px):
            return None
        is_joined = follows or scrolls_on(last, found, self._small_rois, line_px)
        return join_steps(last, found, line_px) if is_joined else None

    def _motion(self, segment: Segment, strokes: Mask, start: int, following: Segment | None) -> Motion:
        """Return how a caption moves before it rests, from ``start`` to the end of its segment, and after that."""
        before = [item for item in reversed(segment.around_start) if item[0] < start]
        after = [item for item in following.around_start if item[0] >= segment.end] if following is not None else []
        return Motion.of(
            segment.model, strokes, before, after, self.roi.picture(strokes.shape), self.ticks.within(TUNING.hold_s)
        )

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

    def _growth(self, segment: Segment, strokes: Mask, reading: Reading) -> Growth | None:
        """Return how a caption was typed or built up; None if it was not, or as a part of what rolls up."""
        if self.found and self.found[-1].rolls and self.found[-1].end >= segment.start:
            return None
        line_px = self.roi.line_px
        growth = follow_growth(self._small_rois, segment.start, segment.end, reading.lines, strokes, line_px)
        if growth is None:
            return None
        before = [found for found in self.found if found.end > growth.start]
        parts = [found for found in before if is_begun(found, growth, reading, strokes)]
        if any(found.start < growth.start - 1 for found in parts):
            return None
        others = [found.end for found in before if found not in parts]
        return growth.since(max(others)) if others else growth

    def _grown(self, growth: Growth) -> tuple[int, FoundCaption | None]:
        """Return where a caption that grew appears, and the caption before it; what was read while it grew is
        dropped."""
        while self.found and self.found[-1].start >= growth.start - 1:
            self.found.pop()
            self._shown, self._rest_end = None, self.found[-1].end if self.found else 0
        return growth.start, self.found[-1] if self.found else None

    def _forget_old_pictures(self) -> None:
        """Settle the older half of the captions whose lines wait for others if there are many: each keeps pictures."""
        waiting = [number for number, found in enumerate(self.found) if found.reading.waiting]
        if len(waiting) > _MOST_WAITING:
            self._settle(waiting[len(waiting) // 2])
        read = [number for number, found in enumerate(self.found) if found.reading.seen]
        if len(read) > _MOST_WAITING:
            self._read_marked_letters(read[len(read) // 2])

    def _read_whole(
        self, last: FoundCaption, shown: Segment, found: FoundCaption, segment: Segment
    ) -> tuple[FoundCaption, Segment] | None:
        """Return two neighbors read as one caption if only letters behind it changed; None if they are two."""
        line_px, styles, parts = self.roi.line_px, self.style.bounded_styles(shown), (shown, segment)
        is_line = self._is_line and len(last.reading.lines) != len(found.reading.lines)
        if not styles or is_line or self._is_word or not are_alike(last, found):
            return None
        change = compare_styled_strokes(
            shown.model, segment.model, styles, line_px, self.style.places_of(shown, segment)
        )
        if change is None or change.total > TUNING.changed_share:
            return None
        behind = max(
            int((part.model.stroke_mask & ~self.style.own(part, part.model.stroke_mask)).sum()) for part in parts
        )
        if change.replacements(line_px).is_change and behind < LETTERS * min_stroke_px(line_px):
            return None  # a character changed, not letters behind the text
        whole = join_segments(*parts, line_px, is_background=True)
        reading, strokes = self.reader.read(whole, self.style.own(whole, whole.model.stroke_mask), [])
        if not explains_both(reading, last.reading, found.reading):
            return None
        joined = replace(
            last,
            end=found.end,
            reading=reading,
            bbox=self.roi.bbox(strokes),
            stroke_px=int(strokes.sum()),
            small_rois=joined_small_rois(last.small_rois, segment.small_rois),
            shown=(Shown(last.start, found.end, reading.lines_as_read, reading.confidence),),
        )
        return joined, whole

    def _settle_last(self) -> None:
        """Time the words of the last caption, which is complete, or part the lines that rolled up in it."""
        if self.found and self.found[-1].steps:
            last = self.found.pop()
            self.found += settled_steps(last, self.roi.line_px, self.place_in_picture)

    def place_in_picture(self, box: Box) -> BBox:
        """Return the place of a box of a ROI, pixels, in the picture."""
        return self.roi.place_in_picture(box, self._roi_shape)


def _share_inside(box: BBox, region: BBox) -> float:
    width = min(box.right, region.right) - max(box.left, region.left)
    height = min(box.bottom, region.bottom) - max(box.top, region.top)
    return max(0.0, width) * max(0.0, height) / max(1e-9, box.width * box.height)
