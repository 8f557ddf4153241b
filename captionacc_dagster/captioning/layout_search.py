"""Searches a video for its caption tracks: few samples are searched whole, the others only near the tracks."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr import LineBox, OcrEngine, line_box
from captionacc_dagster.captioning.sightings import (
    THUMB_SIDE,
    Sample,
    Sighting,
    sightings_of,
    standing_lines,
    standing_share,
    take_samples,
)
from captionacc_dagster.captioning.tracks import (
    FoundTrack,
    Row,
    anchor_of,
    box_of,
    find_fixtures,
    find_rows,
    find_tracks,
    is_beside,
    merged_boxes,
    overlap,
)
from captionacc_dagster.captioning.video import VideoFacts, scaled_size

_SIDE = 512  # pixels of the longer side in which lines are searched when their height is not known
_COARSE_SIDE, _FINE_SIDE = 384, 960  # the same for large and for small text
_STEP = 32  # pixels: odd sizes take twice as long to scale to
_LINE_PIXELS = 18  # height of a line's box at which the detector is sure of it
_MOST_SAMPLES = 100  # in a long video; at keyframes up to twice as many, each takes a megabyte
_SPACING_S = 0.8  # between samples, unless the video is long or very short
_WHOLE_S = 3.6  # between samples that are searched whole
_SHORT_S = 12.0  # a video so short is sampled throughout
_SETTLED_TEXTS = 4  # different captions seen after which keyframes are enough,
_MANY_TEXTS = 8  # and after which they are even if one was much longer than all others
_UPPER_END = 3.0  # times the longest differs from the second, longer ones are looked for (75 % sure)
_ROOM = 0.24  # of the longest line, that the track's region is longer than it
_SURE = 0.6  # score from which on a line elsewhere is looked into,
_FILLS = 0.95  # unless it runs across the whole picture as a ticker does
_PARTS = 4  # in which the times between keyframes are looked at
_TELLING, _TELLING_SHARE = 3, 0.8  # captions seen, and share of them that show as standing strokes
_COMPARED = 6  # other samples with which the strokes of one are compared
_FEW_KEYFRAMES = 5  # with fewer samples at keyframes all are taken in one go: each time costs decoding anew
_SUSPECTS = 2  # samples searched whole because of lines that stand where no track is
_MOSAIC_HEIGHT = 640  # pixels of bands that are searched at once
_RULE = 8  # black pixels between the bands of a mosaic
_SECOND_LINE = 1.3  # line heights beside a track of one line in which a second one is searched
_SAME_LINES = 0.6  # line heights in which it is looked round otherwise


@dataclass(frozen=True, slots=True)
class _Band:
    """A band of a sample's picture (pixels ``top..bottom``) and where it stands in the mosaic."""

    sample: Sample
    top: int
    bottom: int
    offset: int


class LayoutSearch:
    """One search; ``run`` gives the tracks, the attributes what they were found from.

    ``known`` are lines found before, by the time of their frame: these frames are not searched again.
    """

    def __init__(
        self,
        facts: VideoFacts,
        engine: OcrEngine,
        known: Mapping[float, Sequence[LineBox]],
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self._facts = facts
        self._engine = engine
        self._known = known
        self._progress = progress
        self._side = self._side_for_text()
        self.size = scaled_size(facts, THUMB_SIDE)
        self._steps = 0
        self.samples: list[Sample] = []
        self.sightings: list[Sighting] = []
        self.fixtures: list[BBox] = []
        self._others = 0  # rows that may hold captions, but are no track
        self._stood: dict[int, list[tuple[BBox, float]]] = {}
        self._banded: set[int] = set()  # samples searched near the tracks

    def run(self) -> list[FoundTrack]:
        """Search until the tracks are sure, or everything was looked at.

        Raises:
            VideoError: the video can no longer be opened.
        """
        near = keyframe_times(self._facts, list(self._known))
        between = times_between(self._facts, near)
        self._steps = len(near) + len(between) + 1
        batches = self._batches(near, between)
        self._add(next(batches))
        self._search_whole(self._spread(_WHOLE_S))
        tracks = self._tracks()
        while not self._is_settled(tracks):
            batch = next(batches, None)
            if batch is None:
                self._search_whole(self._suspects(tracks))
                tracks = self._tracks()
                break
            self._add(batch)
            tracks = self._searched_further(tracks)
        self._report(self._steps)
        return tracks

    def _batches(self, near: Sequence[float], between: Sequence[float]) -> Iterator[list[Sample]]:
        """Take samples in portions, the cheap and telling ones first."""
        if len(near) >= _FEW_KEYFRAMES:
            for times in (near, *in_parts(near, between)):
                yield self._take(take_samples(self._facts, times, self._side), len(times))
            return
        times = sorted([*near, *between])
        samples = take_samples(self._facts, times, self._side)
        half, quarter = -(-len(times) // 2), -(-len(times) // 4)
        for count in (half, quarter, quarter):
            yield self._take(samples, count)

    def _searched_further(self, tracks: list[FoundTrack]) -> list[FoundTrack]:
        """Search new samples: some whole, the others near the tracks."""
        self._stood.clear()  # there is more now to compare with
        self._search_whole(self._spread(_WHOLE_S if tracks else _WHOLE_S / 2))
        tracks = self._tracks()
        if not tracks:
            return tracks
        self._search_bands(tracks)
        return self._tracks()

    def _take(self, samples: Iterator[Sample], count: int) -> list[Sample]:
        taken = []
        for sample in itertools.islice(samples, count):
            taken.append(sample)
            self._report(len(self.samples) + len(taken))
        return taken

    def _add(self, samples: Sequence[Sample]) -> None:
        self.samples = sorted([*self.samples, *samples], key=lambda sample: sample.time_s)
        self._use_known()

    def _is_settled(self, tracks: Sequence[FoundTrack]) -> bool:
        """Tell whether the samples are enough: many texts were seen, how long they get, and no text elsewhere."""
        if self._facts.duration_s < _SHORT_S or not tracks or self._others:
            return False
        return all(len(track.rows) > 1 and self._is_known(track) for track in tracks)

    def _is_known(self, track: FoundTrack) -> bool:
        """Tell whether enough texts of a track were seen, and whether longer ones fit in the room left for them.

        The upper end of a distribution is estimated from the two largest of a sample (Robson and Whitlock,
        Biometrika 51, 1964).
        """
        row = max(track.rows, key=lambda entry: entry.distinct)
        if row.distinct < _SETTLED_TEXTS:
            return False
        second, longest = sorted(max(track.rows, key=lambda entry: max(entry.lengths, default=0.0)).lengths)[-2:]
        return row.distinct >= _MANY_TEXTS or _UPPER_END * (longest - second) <= _ROOM * longest + row.height

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress("layout", done, self._steps)

    def _side_for_text(self) -> int:
        """Choose how large to search: so that the smaller lines read before are high enough to be found."""
        heights = [line.bbox.height for lines in self._known.values() for line in lines if line.score > 0.8]
        if not heights:
            return _SIDE
        tall = float(np.percentile(heights, 25)) * self._facts.height / max(self._facts.width, self._facts.height)
        return round(float(np.clip(_LINE_PIXELS / tall, _COARSE_SIDE, _FINE_SIDE)) / _STEP) * _STEP

    def _use_known(self) -> None:
        for sample in self.samples:
            for time_s, lines in self._known.items():
                if abs(time_s - sample.time_s) < 0.5 / self._facts.frame_rate:
                    sample.lines, sample.searched, sample.fine = list(lines), True, True

    def _spread(self, spacing_s: float) -> list[Sample]:
        """Choose samples not searched yet, so that none of the video is far from a searched one."""
        searched = [sample.time_s for sample in self.samples if sample.searched]
        spacing_s = min(spacing_s, self._facts.duration_s / 6)
        chosen = []
        for sample in self.samples:
            if all(abs(sample.time_s - time_s) >= 0.75 * spacing_s for time_s in searched):
                chosen.append(sample)
                searched.append(sample.time_s)
        return chosen

    def _search_whole(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            sample.lines = self._engine.detect(sample.image, long_side=self._side)
            sample.searched = True

    def _tracks(self) -> list[FoundTrack]:
        self.sightings = sightings_of(self.samples)
        fixtures = find_fixtures(self.samples, self.sightings)
        fixed = {id(sighting) for sighting in fixtures}
        free = [sighting for sighting in self.sightings if id(sighting) not in fixed]
        self.fixtures = merged_boxes([sighting.bbox for sighting in fixtures])
        rows = find_rows(self.samples, free, self.fixtures, self.size)
        tracks = find_tracks(rows, self.size, self._facts.duration_s)
        taken = {id(row) for track in tracks for row in track.rows}
        self._others = sum(
            id(row) not in taken and self._may_be_captions(row) and not any(is_beside(row, track) for track in tracks)
            for row in rows
        )
        return tracks

    def _may_be_captions(self, row: Row) -> bool:
        """Tell whether a few captions may stand in a row: text that neither moves nor stays nor fills the picture."""
        along = self.size[1] if row.vertical else self.size[0]
        in_place = row.vertical or row.distinct > 1 or anchor_of([row], along) == "center"
        return (
            in_place
            and 0 < len(row.lines) <= 2 * row.distinct
            and all(line.still > 0 and line.end - line.start < _FILLS * along for line in row.lines)
            and max(line.score for line in row.lines) >= _SURE
        )

    def _search_bands(self, tracks: Sequence[FoundTrack]) -> None:
        """Search the samples left over near the tracks only, many bands stacked into one picture.

        Where the strokes of captions show by themselves, only samples are searched in which they stand farther
        out than was seen before.
        """
        rest = [sample for sample in self.samples if not sample.searched and id(sample) not in self._banded]
        if any(track.vertical for track in tracks):
            self._search_whole(rest)
            return
        if self._strokes_tell(tracks):
            rest = [sample for sample in rest if sample.scene_stands or self._stands_out(sample, tracks)]
        self._banded.update(id(sample) for sample in rest)
        for mosaic, bands in self._mosaics(rest, tracks):
            height, width = mosaic.shape[:2]
            for line in self._engine.detect(mosaic, long_side=max(height, width)):
                middle = (line.bbox.top + line.bbox.bottom) / 2 * height
                band = next((b for b in bands if b.offset <= middle < b.offset + b.bottom - b.top), None)
                if band is not None:
                    band.sample.lines.append(_moved(line, band, height))

    def _mosaics(
        self, samples: Sequence[Sample], tracks: Sequence[FoundTrack]
    ) -> Iterator[tuple[NDArray[np.uint8], list[_Band]]]:
        pieces: list[NDArray[np.uint8]] = []
        bands: list[_Band] = []
        offset = 0
        for sample in samples:
            for top, bottom in self._zones(tracks, sample.image.shape[0]):
                if offset and offset + bottom - top > _MOSAIC_HEIGHT:
                    yield np.concatenate(pieces), bands
                    pieces, bands, offset = [], [], 0
                rule = np.zeros((_RULE, *sample.image.shape[1:]), np.uint8)
                pieces += [sample.image[top:bottom], rule]
                bands.append(_Band(sample, top, bottom, offset))
                offset += bottom - top + _RULE
        if pieces:
            yield np.concatenate(pieces), bands

    def _zones(self, tracks: Sequence[FoundTrack], height: int) -> list[tuple[int, int]]:
        """Give the bands round the tracks in pixels of a searched picture; bands that meet are one."""
        zones: list[tuple[int, int]] = []
        for low, high in sorted(self._reach(track) for track in tracks):
            top, bottom = max(0, int(low * height)), min(height, int(np.ceil(high * height)))
            if zones and top <= zones[-1][1]:
                zones[-1] = (zones[-1][0], max(bottom, zones[-1][1]))
            else:
                zones.append((top, bottom))
        return zones

    def _reach(self, track: FoundTrack) -> tuple[float, float]:
        """Give how far to look round a track (fractions): for a second line where only one was seen."""
        line_height = float(np.median([row.height for row in track.rows]))
        across = self.size[1]
        low, high = track.rows[0].low, max(row.high for row in track.rows)
        if len(track.rows) > 1:
            above = below = _SAME_LINES
        else:  # lines are added above a caption at the bottom, and below one at the top
            above, below = (_SECOND_LINE, _SAME_LINES) if low + high > across else (_SAME_LINES, _SECOND_LINE)
        return (low - above * line_height) / across, (high + below * line_height) / across

    def _strokes_tell(self, tracks: Sequence[FoundTrack]) -> bool:
        """Tell whether the captions seen so far, and enough of them, show as standing strokes."""
        shown = []
        for row in (row for track in tracks for row in track.rows):
            for line in row.lines:
                sample = self.samples[line.sample]
                if sample.searched and not sample.scene_stands:
                    box = box_of(row.vertical, line.start, line.end, line.low, line.high, self.size)
                    shown.append(any(overlap(box, stands) > 0.5 for stands, _ in self._standing(sample)))
        return len(shown) >= _TELLING and float(np.mean(shown)) >= _TELLING_SHARE

    def _stands_out(self, sample: Sample, tracks: Sequence[FoundTrack]) -> bool:
        """Tell whether strokes stand near a track, but farther out than any of its lines."""
        width, height = self.size
        for track in tracks:
            low, high = self._reach(track)
            lines = [line for row in track.rows for line in row.lines]
            room = 0.7 * float(np.median([line.height for line in lines]))
            start = (min(line.start for line in lines) - room) / width
            end = (max(line.end for line in lines) + room) / width
            top = (track.rows[0].low - 0.5 * room) / height
            bottom = (max(row.high for row in track.rows) + 0.5 * room) / height
            for box, _ in self._standing(sample):
                near = low < box.bottom and box.top < high
                inside = box.left > start and box.right < end and box.top > top and box.bottom < bottom
                if near and not inside:
                    return True
        return False

    def _standing(self, sample: Sample) -> list[tuple[BBox, float]]:
        """Give the standing lines of a sample, found once."""
        found = self._stood.get(id(sample))
        if found is None:
            others = [other for other in self.samples if abs(other.time_s - sample.time_s) >= 1.0]
            found = standing_lines(sample, others[:: max(1, len(others) // _COMPARED)]) if others else []
            self._stood[id(sample)] = found
        return found

    def _suspects(self, tracks: Sequence[FoundTrack]) -> list[Sample]:
        """Choose samples in which something stands like a line of the tracks where no track is."""
        reaches = [self._reach(track) for track in tracks if not track.vertical]
        heights = [row.height / self.size[1] for track in tracks for row in track.rows if not track.vertical]
        density = self._stroke_density(tracks)
        ranked = []
        for sample in self.samples:
            if sample.searched or sample.scene_stands:
                continue
            weights = [
                weight
                for box, weight in self._standing(sample)
                if not any(low < (box.top + box.bottom) / 2 < high for low, high in reaches)
                and not any(overlap(box, fixed) > 0.3 for fixed in self.fixtures)
                and weight / (box.width * box.height) >= 0.6 * density
                and (not heights or 0.4 * min(heights) <= box.height <= 1.6 * max(heights))
            ]
            if weights:
                ranked.append((max(weights), sample))
        ranked.sort(key=lambda entry: -entry[0])
        return [sample for _, sample in ranked[: _SUSPECTS if tracks else 2 * _SUSPECTS]]

    def _stroke_density(self, tracks: Sequence[FoundTrack]) -> float:
        """Give how much of a caption's box its standing strokes fill (median over the tracks' lines)."""
        lines = [(row.vertical, line) for track in tracks for row in track.rows for line in row.lines if line.still]
        densities = [
            standing_share(
                self.samples[line.sample], box_of(vertical, line.start, line.end, line.low, line.high, self.size)
            )
            for vertical, line in lines
        ]
        return float(np.median(densities)) if densities else 0.0


def keyframe_times(facts: VideoFacts, known: Sequence[float]) -> list[float]:
    """Choose times that cost little to sample: keyframes, and frames that are known already, which come first."""
    apart = 0.5 * _spacing(facts)
    times: list[float] = []
    for time_s in (*sorted(known), 0.0, *facts.keyframes_s):
        at = bisect.bisect(times, time_s)
        beside = times[max(0, at - 1) : at + 1]
        if time_s < facts.duration_s and all(abs(time_s - other) >= apart for other in beside):
            times.insert(at, time_s)
    return times


def times_between(facts: VideoFacts, near: Sequence[float]) -> list[float]:
    """Fill the gaps between some times evenly."""
    times: list[float] = []
    for start, end in itertools.pairwise([*near, facts.duration_s]):
        parts = max(1, round((end - start) / _spacing(facts)))
        times += [start + part * (end - start) / parts for part in range(1, parts)]
    return times


def in_parts(near: Sequence[float], between: Sequence[float]) -> list[list[float]]:
    """Part the times between some others so that each part is spread over the video, and costs about the same.

    What lies between two keyframes stays together, as reaching its end means decoding all of it.
    """
    parts: list[list[float]] = [[] for _ in range(_PARTS)]
    for time_s in between:
        parts[(bisect.bisect(near, time_s) - 1) % _PARTS].append(time_s)
    return [part for part in parts if part]


def _spacing(facts: VideoFacts) -> float:
    spacing = max(_SPACING_S, facts.duration_s / _MOST_SAMPLES)
    return max(0.3, facts.duration_s / 8) if facts.duration_s < 8 * spacing else spacing


def _moved(line: LineBox, band: _Band, mosaic_height: int) -> LineBox:
    """Bring a line from the mosaic back to its sample."""
    height = band.sample.image.shape[0]
    shift = band.top - band.offset
    top = np.clip((line.bbox.top * mosaic_height + shift) / height, band.top / height, band.bottom / height)
    bottom = np.clip((line.bbox.bottom * mosaic_height + shift) / height, band.top / height, band.bottom / height)
    bbox = BBox(line.bbox.left, float(top), line.bbox.right, float(max(bottom, top + 1e-6)))
    return line_box(bbox, line.score)
