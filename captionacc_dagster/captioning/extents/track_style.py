"""Learn how the text of a track looks, where the layout detected some: its colors, and the boxes behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from captionacc_dagster.captioning.extents.boundaries import comes_and_goes
from captionacc_dagster.captioning.extents.boxes import (
    CaptionBox,
    common_boxes,
    find_boxes,
    mark_boxes,
    styles_on,
)
from captionacc_dagster.captioning.extents.segmentation import Segment, TrackSegmenter
from captionacc_dagster.captioning.extents.strokes import (
    LETTERS,
    Mask,
    Plane,
    StrokeModel,
    StrokeStyle,
    in_style,
    measure_styles,
    min_stroke_px,
    model_strokes,
    own_strokes,
    share_of_islands,
)
from captionacc_dagster.captioning.extents.track_roi import TrackRoi
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Detection

_STYLE_FRAMES = 5  # from which a style is measured
_DETECTION_LAG_S = 0.1  # a frame may be this much later than a detection made in it
_SAME_TIME_S = 1e-3


@dataclass(slots=True)
class TrackStyle:
    """The style of a track's text.

    Attributes:
        roi: of the track.
        segmenter: learns the colors.
        detections: the lines of text that the layout detected in this track and that are still to come, in order of
            time.
        boxes: those behind the captions, while they are known to be on boxes.
    """

    roi: TrackRoi
    segmenter: TrackSegmenter
    detections: list[Detection]
    boxes: tuple[CaptionBox, ...] = ()
    _frames: tuple[BBox, list[Plane]] | None = None  # of a detected line, while they are too few
    _bounded_shares: list[float] = field(default_factory=list)  # of detected lines: of strokes that touch no area
    _measured_boxes: list[list[CaptionBox]] = field(default_factory=list)  # behind detected lines, by frames
    _unboxed: list[StrokeStyle] = field(default_factory=list)  # of detected lines of letters without a box

    def learn(self, picture: Plane, start_s: float, end_s: float) -> None:
        """Take the region's luma of the next native frame, displayed from ``start_s`` to ``end_s``."""
        if self._frames is not None:
            box, rois = self._frames
            rois.append(self.segmenter.shrink(picture))
            if len(rois) >= _STYLE_FRAMES:
                self._frames = None
                self._measure(model_strokes(rois, self.roi.line_px), self.roi.mark(box, rois[0].shape))
        while self.detections and self.detections[0].timestamp_s < end_s - _SAME_TIME_S:
            detection = self.detections.pop(0)
            if self._frames is None and detection.timestamp_s >= start_s - _DETECTION_LAG_S:
                self._frames = (detection.bbox, [self.segmenter.shrink(picture)])

    def _measure(self, model: StrokeModel, inside: Mask) -> None:
        """Measure the colors of a detected line, and the box behind it."""
        styles = measure_styles(model, inside)
        for style in styles:
            self.segmenter.add_style(style)
        if styles:
            self._bounded_shares.append(share_of_islands(model, model.stroke_mask & inside, styles))
            self._learn_boxes(model, inside, styles)

    def _learn_boxes(self, model: StrokeModel, inside: Mask, styles: Sequence[StrokeStyle]) -> None:
        """Find the box behind the captions in frames in which a line was detected, or learn that it has none."""
        strokes = model.stroke_mask & inside
        found = [box for box, area in find_boxes(model) if self._may_contain_captions(area, strokes)]
        if found:
            self._measured_boxes.append(found)
        elif self._may_contain_captions(strokes, strokes) and self._bounded_shares[-1] >= TUNING.bounded_share:
            self._unboxed.append(styles[0])
        self.boxes = common_boxes(self._measured_boxes, self._unboxed, self.boxes)

    def _may_contain_captions(self, area: Mask, detected: Mask) -> bool:
        """Return whether an area is where the track has its text: at its anchor, or else around a detected line or
        exactly in the middle of the picture."""
        anchor, columns = self.roi.anchor(area.shape), np.flatnonzero(area.any(axis=0))
        place = int(columns[0]), int(columns[-1]) + 1
        if anchor is not None:
            return anchor.fits(*place, self.roi.line_px)
        is_central = self.roi.middle(area.shape).distance(*place) <= TUNING.word_gap * self.roi.line_px
        return is_central or bool(2 * (detected & area).sum() > detected.sum())

    @property
    def is_known(self) -> bool:
        """Whether two lines look alike, or the only one that the layout detected was measured.

        The first one may be text of the picture, as a line of code that a caption covers in part.
        """
        is_last = not self.detections and self._frames is None
        return self.segmenter.has_shared_style or (is_last and bool(self.segmenter.styles))

    @property
    def is_bounded(self) -> bool:
        """Whether a box or an outline bounds the letters of the track, by those that the layout detected."""
        return bool(self.boxes) or median(self._bounded_shares or [0.0]) >= TUNING.bounded_share

    def bounded_styles(self, segment: Segment) -> tuple[StrokeStyle, ...]:
        """Return the styles of the track's text in a segment if a box or an outline bounds its letters."""
        if self.boxes:
            return styles_on(segment.model, self.boxes)
        # The level of uneven strokes, as of thin ones, tells them from nothing.
        return tuple(style for style in self.segmenter.styles if not style.is_uneven) if self.is_bounded else ()

    def own(self, segment: Segment, strokes: Mask) -> Mask:
        """Return those of a segment's strokes that are of the track's text."""
        strokes, styles = self.roi.drop_avoided(strokes), self.bounded_styles(segment)
        if self.boxes:
            strokes = strokes & mark_boxes(segment.model, self.boxes)
        return own_strokes(segment.model, strokes, styles, self.roi.places(strokes.shape)) if styles else strokes

    def places_of(self, *segments: Segment) -> tuple[Mask, ...] | None:
        """Return where the captions' letters may be in each of some segments; None: everywhere."""
        boxes = self.boxes
        return tuple(mark_boxes(segment.model, boxes) for segment in segments) if boxes else None

    def shows_text_without_box(self, segment: Segment, own: Mask, neighbors: list[Segment]) -> bool:
        """Return whether letters like the captions', but on no box, come and go: another text, or an odd caption."""
        styles, model = (*self.bounded_styles(segment), *self._unboxed), segment.model
        letters = model.stroke_mask & ~own & in_style(model.level, styles)
        is_text = letters.sum() >= LETTERS * min_stroke_px(model.line_px)
        return bool(is_text) and comes_and_goes(segment, neighbors, styles)
