"""What the samples taken so far show: their lines, what stays, what is still, and the tracks that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.fixtures import APART_S, find_staying, is_mostly_in, merged_boxes
from captionacc_dagster.captioning.layout.kinds import FOLLOWED, judge_rows
from captionacc_dagster.captioning.layout.rows import Row, are_centered, box_of, find_rows, split_sides
from captionacc_dagster.captioning.layout.samples import (
    THUMBNAIL_SIDE,
    Sample,
    SampleDetection,
    detections_in,
    still_lines,
    still_share,
)
from captionacc_dagster.captioning.layout.still_scenes import SceneDifferences
from captionacc_dagster.captioning.layout.tracks import FoundTrack, find_tracks
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.video.reader import VideoFacts, scaled_size


class Evidence:
    """The samples of a video and what follows from them.

    Attributes:
        size: ``(width, height)`` of the thumbnails, pixels.
        samples: in the order in which they were taken.
        detections: lines of all samples, as of the last call of `tracks`.
        fixtures: boxes of text that stays, as of the last call of `tracks`.
        rows: rows of all text, as of the last call of `tracks`.
        other_rows: those of them that belong to no track.
        unclear_rows: those of them that may contain captions all the same.
        has_columns: vertical text, or what may be vertical text, was found.
    """

    def __init__(self, facts: VideoFacts) -> None:
        self._facts = facts
        self.size = scaled_size(facts, THUMBNAIL_SIDE)
        self.samples: list[Sample] = []
        self.detections: list[SampleDetection] = []
        self.fixtures: list[BBox] = []
        self.rows: list[Row] = []
        self.other_rows: list[Row] = []
        self.unclear_rows: list[Row] = []
        self.has_columns = False
        self._differences = SceneDifferences(())
        self._still_lines: dict[int, list[tuple[BBox, float]] | None] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Add samples."""
        self.samples += samples

    def compare_again(self) -> None:
        """Compare all samples again, after more were added."""
        self._still_lines.clear()
        self._differences = SceneDifferences([sample for sample in self.samples if sample.static_scene])

    def tracks(self) -> list[FoundTrack]:
        """Return the tracks that follow from the lines found so far."""
        self.detections = [self._tightened(detection) for detection in detections_in(self.samples)]
        staying = find_staying(self.samples, self.detections)
        self._judge(staying)
        captions = [row for row in self.rows if row.stays and row.kind in FOLLOWED] or self._lone_staying_rows()
        if captions:  # a caption that stays for most of a short video is a line like others
            lines = {(line.sample, box) for row in captions for line in row.lines for box in line.sources}
            staying = [entry for entry in staying if (entry.sample, entry.bbox) not in lines]
            self._judge(staying)
        tracks = find_tracks(self.rows, self.size)
        used = {id(row) for track in tracks for row in track.all_rows}
        self.other_rows = [row for row in self.rows if id(row) not in used]
        self.unclear_rows = [
            row
            for row in self.other_rows
            if self._may_be_captions(row) and not any(track.is_beside(row) for track in tracks)
        ]
        rows_of_interest = (*self.unclear_rows, *(row for track in tracks for row in track.all_rows))
        self.has_columns = any(row.vertical for row in rows_of_interest)
        return tracks

    def _lone_staying_rows(self) -> list[Row]:
        """Return the rows of the only text of a short video, which stays in its middle: rather a caption than not."""
        if self._facts.duration_s >= TUNING.short_video_s:
            return []
        rows = [row for row in self.rows if row.kind != "scene"]
        is_lone = all(row.stays and row.kind in ("interface", "title") for row in rows)
        return rows if is_lone and are_centered(rows, self.size) else []

    def _judge(self, staying: Sequence[SampleDetection]) -> None:
        """Group detections into rows, text that stays apart from other text, and say what each row is."""
        stays = {id(detection) for detection in staying}
        passing = [detection for detection in self.detections if id(detection) not in stays]
        self.fixtures = merged_boxes([detection.bbox for detection in staying])
        self.rows = find_rows(self.samples, passing, self.fixtures, self.size)
        for row in find_rows(self.samples, staying, [], self.size):
            row.stays = True
            self.rows.append(row)
        judge_rows(self.rows, self.samples, self.size, self._facts.duration_s)
        self.rows = [
            part
            for row in self.rows
            for part in (split_sides(row, self.samples, self.size) if row.kind == "caption" else [row])
        ]

    def _tightened(self, detection: SampleDetection) -> SampleDetection:
        """Cut a box to the letters that come and go in it, where the scene is static."""
        sample = self.samples[detection.sample]
        bbox = self._differences.tightened(sample, detection.bbox) if sample.static_scene else None
        return detection if bbox is None else replace(detection, bbox=bbox, fine=True)

    def _may_be_captions(self, row: Row) -> bool:
        """Return whether a row may contain a few captions: text that neither moves nor stays."""
        along = self.size[1] if row.vertical else self.size[0]
        is_centered = abs(2 * row.lines[0].middle - along) <= 2 * TUNING.centered * along
        return (
            self.is_possible(row)
            and (row.vertical or row.distinct > 1 or is_centered)
            and 0 < len(row.lines) <= 2 * row.distinct
            and all(line.still > 0 for line in row.lines)
            and max(line.score for line in row.lines) >= TUNING.certain_score
        )

    def still_lines(self, sample: Sample) -> list[tuple[BBox, float]] | None:
        """Return what looks like still lines in a sample, or like lines that come and go over a static scene.

        Each is a box and the share of the picture that its strokes fill. None where there is too little to compare.
        """
        if id(sample) not in self._still_lines:
            if sample.static_scene:
                found = self._differences.lines(sample)
            else:
                others = [other for other in self.samples if abs(other.time_s - sample.time_s) >= APART_S]
                step = max(1, len(others) // TUNING.comparisons)
                found = still_lines(sample, others[::step]) if others else []
            self._still_lines[id(sample)] = found
        return self._still_lines[id(sample)]

    def compared_with(self, sample: Sample) -> tuple[float, ...]:
        """Return the times of the samples that a sample of a static scene is compared with, seconds."""
        return self._differences.compared_with(sample)

    def difference_picture(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Return a picture of what comes and goes in a sample; None where its scene is not static."""
        return self._differences.picture(sample) if sample.static_scene else None

    def changing_part(self, sample: Sample, top: float, bottom: float) -> BBox | None:
        """Return the part of a band of a sample in which anything comes or goes; None where nothing does."""
        return self._differences.changing_part(sample, top, bottom)

    def is_mostly_static(self) -> bool:
        """Return whether the scene of at least half of the samples is static."""
        return 2 * sum(sample.static_scene for sample in self.samples) >= len(self.samples)

    def strokes_suffice(self, tracks: Sequence[FoundTrack]) -> bool:
        """Return whether enough captions were seen, and nearly all show as still strokes by themselves."""
        visible = []
        for row in (row for track in tracks for row in track.all_rows):
            for line in row.lines:
                sample = self.samples[line.sample]
                found = self.still_lines(sample) if sample.searched else None
                if found is not None:
                    box = box_of(row.vertical, line.start, line.end, line.low, line.high, self.size)
                    visible.append(any(is_mostly_in(box, still) for still, _ in found))
        return len(visible) >= TUNING.telling_texts and float(np.mean(visible)) >= TUNING.nearly_all

    def stroke_density(self, tracks: Sequence[FoundTrack]) -> float:
        """Return how much of a caption's box its still strokes fill (median over the tracks' lines)."""
        lines = [(row.vertical, line) for track in tracks for row in track.all_rows for line in row.lines if line.still]
        densities = [
            still_share(
                self.samples[line.sample], box_of(vertical, line.start, line.end, line.low, line.high, self.size)
            )
            for vertical, line in lines
        ]
        return float(np.median(densities)) if densities else 0.0

    def is_possible(self, row: Row) -> bool:
        """Return whether a row that belongs to no track may be captions, for all that is known."""
        return not row.stays and not row.is_moving and row.chances["caption"] >= TUNING.weak_chance

    def band(self, row: Row) -> tuple[float, float]:
        """Return the band of a row that is searched, as fractions of the height."""
        room = TUNING.track_reach * row.height
        return (row.low - room) / self.size[1], (row.high + room) / self.size[1]

    def reach(self, track: FoundTrack) -> tuple[float, float]:
        """Return the band around a track that is searched, as fractions of the height: wide enough for a second line
        where only one was seen."""
        line_height = median(row.height for row in track.rows)
        across = self.size[1]
        low, high = track.span
        near, far = TUNING.track_reach, TUNING.second_line_reach
        if len(track.rows) > 1:
            above = below = near
        else:  # lines are added above a caption at the bottom, and below one at the top
            above, below = (far, near) if low + high > across else (near, far)
        return (low - above * line_height) / across, (high + below * line_height) / across

    def is_outside(self, sample: Sample, tracks: Sequence[FoundTrack]) -> bool | None:
        """Return whether still strokes near a track reach, or may reach, farther out than any of its lines.

        None where there are none.
        """
        width, height = self.size
        found = self.still_lines(sample)
        if found is None:
            return True
        outside = None
        for track in tracks:
            low, high = self.reach(track)
            lines = [line for row in track.all_rows for line in row.lines]
            room = 0.7 * median(line.height for line in lines)
            start = (min(line.start for line in lines) - room) / width
            end = (max(line.end for line in lines) + room) / width
            top = (track.span[0] - 0.5 * room) / height
            bottom = (track.span[1] + 0.5 * room) / height
            for box, _ in found:
                if box.bottom <= low or box.top >= high:
                    continue
                if not (box.left > start and box.right < end and box.top > top and box.bottom < bottom):
                    return True
                outside = False
        return outside
