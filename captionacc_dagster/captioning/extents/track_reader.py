"""Read what the segments of a track show, in the script and the language of all of them together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from captionacc_dagster.captioning.extents.boundaries import comes_and_goes, drop_moving_lines, drop_signs, only_in
from captionacc_dagster.captioning.extents.boxes import mark_boxes, on_boxes_alone
from captionacc_dagster.captioning.extents.lines import split_lines
from captionacc_dagster.captioning.extents.lone_letters import upright_bar
from captionacc_dagster.captioning.extents.marked_letters import confused_language, with_marked_letters
from captionacc_dagster.captioning.extents.reading import NOTHING, Reading, fold, read_caption, settled
from captionacc_dagster.captioning.extents.segmentation import Segment
from captionacc_dagster.captioning.extents.strokes import Mask, Plane, min_stroke_px
from captionacc_dagster.captioning.extents.track_scripts import TrackScripts
from captionacc_dagster.captioning.extents.track_style import TrackStyle
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine, ReadWord
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

_RECENT = 5  # captions that tell the script of the next one


@dataclass(slots=True)
class TrackReader:
    """Reads the segments of a track.

    Attributes:
        engine: reads lines.
        style: of the track's text.
        brief: the ticks of a brief segment, which may be a sign that moved.
        ocr_seconds: CPU time of the readings.
        recognitions: recognized lines.
        confused_languages: of the captions (BCP 47), of which some letters are often read as others.
    """

    engine: OcrEngine
    style: TrackStyle
    brief: int
    ocr_seconds: float = 0.0
    recognitions: int = 0
    confused_languages: set[str] = field(default_factory=set)
    _scripts: TrackScripts = field(default_factory=TrackScripts)

    def forget_scripts(self) -> None:
        """Start over with the scripts of the track."""
        self._scripts = TrackScripts()

    def read(self, segment: Segment, strokes: Mask, neighbors: Sequence[Segment]) -> tuple[Reading, Mask]:
        """Return what a segment's strokes say, and those of them that do not move.

        A sign hardly moves within a few frames: then its places in the neighbors count as well.
        """
        roi = self.style.roi
        if strokes.sum() < min_stroke_px(roi.line_px):
            return NOTHING, strokes
        lines = split_lines(strokes, roi.line_px, vertical=roi.track.vertical, seams=roi.seams(strokes.shape))
        strokes = drop_moving_lines(segment, strokes, lines, TUNING.motion_residual)
        if segment.end - segment.start < self.brief:
            for neighbor in neighbors:
                strokes = self._without_signs(segment, neighbor, strokes, lines)
        if strokes.sum() < min_stroke_px(roi.line_px):
            return NOTHING, strokes
        pictures = [picture for _, picture in segment.pictures]
        if self.style.boxes:
            area = mark_boxes(segment.model, self.style.boxes)
            pictures = [on_boxes_alone(picture, area, strokes) for picture in pictures]
        return self._recognize(pictures, strokes), strokes

    def _without_signs(self, segment: Segment, neighbor: Segment, strokes: Mask, lines: Sequence[Box]) -> Mask:
        """Return the strokes of a brief segment without signs that its neighbor shows at another place.

        A word with letters of the one before it ("let", "yet") looks as if that had moved, but says something else.
        """
        kept = drop_signs(segment, neighbor, strokes, lines)
        if kept.sum() == strokes.sum():
            return strokes
        own = self.style.own(neighbor, neighbor.model.stroke_mask)
        readings = [
            self._recognize([picture for _, picture in part.pictures], mask)
            for part, mask in ((segment, strokes & ~kept), (neighbor, own))
        ]
        is_read = min(reading.confidence for reading in readings) >= OCR.sure
        return strokes if is_read and len({fold(reading.text) for reading in readings}) > 1 else kept

    def _recognize(self, pictures: list[Plane], strokes: Mask) -> Reading:
        """Return what the strokes that some pictures share say."""
        roi = self.style.roi
        with self._timed():
            reading = read_caption(
                self.engine,
                pictures,
                strokes,
                roi.line_px,
                vertical=roi.track.vertical,
                seams=roi.seams(strokes.shape),
                anchor=roi.anchor(strokes.shape),
                scripts=self._scripts,
            )
        self.recognitions += reading.recognitions
        return reading

    def lone_i(
        self, segment: Segment, strokes: Mask, neighbors: list[Segment], before: Sequence[Reading]
    ) -> tuple[Reading, Mask] | None:
        """Return an "I" in Latin captions and its strokes: a bar in their style and place, which comes and goes.

        Where the glyph mask takes a heavy bar for an area, what is in their style there and not before or after counts.

        Args:
            segment: of the caption.
            strokes: of the track's text in it.
            neighbors: the segments beside it.
            before: the readings of the captions before it.
        """
        roi, line_px = self.style.roi, self.style.roi.line_px
        if not before or roi.track.vertical:
            return None
        styles, anchor = self.style.segmenter.styles, roi.anchor(strokes.shape)
        box, is_masked = upright_bar(strokes, line_px), True
        if box is None and strokes.sum() < min_stroke_px(line_px):
            strokes, is_masked = only_in(segment, neighbors, styles), False
            box = upright_bar(strokes, line_px)
        if box is None:
            return None
        is_latin = all(reading.script in (None, "Latn") for reading in before[-_RECENT:])
        is_in_place = anchor is None or anchor.distance(box[0], box[2]) <= line_px / 2
        if not (is_latin and is_in_place and (not is_masked or comes_and_goes(segment, neighbors, styles))):
            return None
        bar = np.zeros_like(strokes)
        bar[box[1] : box[3], box[0] : box[2]] = strokes[box[1] : box[3], box[0] : box[2]]
        return Reading("I", OCR.sure, 0, "Latn", lines=(ReadLine("I", box, (ReadWord("I", box),)),)), bar

    def settle(self, readings: Sequence[Reading]) -> list[Reading]:
        """Return the readings with their lines in the scripts that the track turned out to have."""
        with self._timed():
            final = [settled(reading, self._scripts, self.engine) for reading in readings]
            if self._scripts.has_vietnamese:  # what was tried before the first line of it was found
                final = [settled(reading, self._scripts, self.engine) for reading in readings]
        return final

    def read_marked_letters(self, readings: Sequence[Reading], texts: Sequence[str]) -> list[Reading]:
        """Return the readings, without the pictures of their lines, with the letters that the recognizer confuses.

        Args:
            readings: those to complete.
            texts: all of the track so far, which show its language. Where no engine has its letters, it is noted.
        """
        with self._timed():
            language = confused_language(texts, self.engine)
            if language is not None and not self.engine.reads("Latn", lang=language):
                self.confused_languages.add(language)
                language = None
            if language is not None:
                readings = [with_marked_letters(reading, language, self.engine) for reading in readings]
        return [replace(reading, seen=()) for reading in readings]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.ocr_seconds += time.thread_time() - began
