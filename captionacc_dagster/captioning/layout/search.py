"""Searches a video for its caption tracks: few samples are searched whole, the others only near the tracks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.mosaics import Cutout, mosaics
from captionacc_dagster.captioning.layout.sample_times import PARTS, sampling_batches
from captionacc_dagster.captioning.layout.sampler import Sampler
from captionacc_dagster.captioning.layout.samples import (
    THUMB_SIDE,
    Sample,
    SampleDetection,
    detections_in,
    shrunk,
    standing_lines,
    standing_share,
)
from captionacc_dagster.captioning.layout.still_scenes import Changes
from captionacc_dagster.captioning.layout.tracks import (
    CENTERED,
    FoundTrack,
    Row,
    box_of,
    find_fixtures,
    find_rows,
    find_tracks,
    is_beside,
    merged_boxes,
    overlap,
)
from captionacc_dagster.captioning.ocr.base import LineBox, OcrEngine
from captionacc_dagster.captioning.video.pictures import use_single_threaded_opencv
from captionacc_dagster.captioning.video.reader import scaled_size

_SIDE = 512  # pixels of the longer side in which lines are searched when their height is not known
_COARSE_SIDE, _FINE_SIDE = 384, 960  # the same for large and for small text
_STEP = 32  # pixels: odd sizes take twice as long to scale to
_LINE_PIXELS = 18  # height of a line's box at which the detector is sure of it
_WHOLE_S = 4.8  # between samples that are searched whole
_SHORT_S = 12.0  # a video so short is sampled throughout
_SETTLED_TEXTS = 4  # different captions seen after which keyframes are enough,
_MANY_TEXTS = 8  # and after which they are even if one was much longer than all others
_UPPER_END = 3.0  # times the longest differs from the second, longer ones are looked for (75 % sure)
_ROOM = 0.24  # of the longest line, that the track's region is longer than it
_SURE = 0.6  # score from which on a line elsewhere is looked into,
_FILLS = 0.95  # unless it runs across the whole picture as a ticker does
_TELLING, _TELLING_SHARE = 3, 0.8  # captions seen, and share of them that show as standing strokes
_COMPARED = 6  # other samples with which the strokes of one are compared
_AROUND = 1.0  # heights of such lines, that are searched above and below them
_SUSPECTS = 2  # samples searched after a portion because of lines that stand where no track is
_SAME_LINE = 0.5  # of a line, that lies in another one found later at the same place
_ON_FIXTURE = 0.3  # of something, that lies on what is known already
_SECOND_LINE = 1.3  # line heights beside a track of one line in which a second one is searched
_SAME_LINES = 0.6  # line heights in which it is looked round otherwise


_Place = tuple[Sample, float, float]  # a sample, and the top and bottom of a band of it as fractions


class LayoutSearch:
    """One search; ``run`` gives the tracks, the attributes what they were found from.

    ``known`` are lines found before, by the time of their frame: these frames are not searched again.
    """

    def __init__(
        self,
        sampler: Sampler,
        engine: OcrEngine,
        known: Mapping[float, Sequence[LineBox]],
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self._sampler = sampler
        self._facts = sampler.facts
        self._engine = engine
        self._known = known
        self._progress = progress
        self._side = self._side_for_text()
        self.size = scaled_size(self._facts, THUMB_SIDE)
        self._steps = 0
        self.samples: list[Sample] = []
        self.detections: list[SampleDetection] = []
        self.fixtures: list[BBox] = []
        self._is_spread = False  # samples between keyframes, too: what is rare would have been seen
        self._others = 0  # rows that may hold captions, but are no track
        self._has_columns = False  # text, or what may be text, that runs from top to bottom
        self._changes = Changes(())
        self._stood: dict[int, list[tuple[BBox, float]] | None] = {}
        self._inside = 0  # samples not searched, in which something stands where the tracks are
        self._suspected: set[int] = set()  # samples searched where no track is,
        self._banded: set[int] = set()  # samples searched near the tracks,
        self._in_vain: dict[int, tuple[float, ...]] = {}  # and still ones that showed nothing, by what they showed

    def run(self) -> list[FoundTrack]:
        """Search until the tracks are sure, or everything was looked at.

        Raises:
            VideoError: the video can no longer be opened.
        """
        use_single_threaded_opencv()
        portions = sampling_batches(self._facts, list(self._known))
        self._steps = sum(len(times) for times in portions) + 1
        tracks: list[FoundTrack] = []
        for batch in self._batches(portions):
            self._add(batch)
            tracks = self._searched_further(tracks)
            if not tracks or self._is_settled(tracks):
                tracks = self._searched_elsewhere(tracks)
                if self._is_settled(tracks):
                    break
        else:
            tracks = self._searched_elsewhere(tracks)
        self._report(self._steps)
        return tracks

    def _batches(self, portions: Sequence[Sequence[float]]) -> Iterator[list[Sample]]:
        """Take samples in portions."""
        if len(portions) > 1:
            for number, times in enumerate(portions):
                self._is_spread = number + 1 >= PARTS
                if times:
                    yield self._take(self._sampler.samples(times), len(times))
            return
        (times,) = portions
        samples = self._sampler.samples(times)
        half, quarter = -(-len(times) // 2), -(-len(times) // 4)
        for count in (half, quarter, quarter):
            yield self._take(samples, count)

    def _searched_further(self, tracks: list[FoundTrack]) -> list[FoundTrack]:
        """Search new samples: some whole, the others near the tracks."""
        self._stood.clear()  # there is more now to compare with
        self._changes = Changes([sample for sample in self.samples if sample.scene_stands])
        self._search_whole(self._spread(_WHOLE_S))
        tracks = tracks or self._tracks()
        if not tracks:
            return tracks
        self._search_bands(tracks)
        return self._tracks()

    def _searched_elsewhere(self, tracks: list[FoundTrack]) -> list[FoundTrack]:
        """Search where no track is, but something stands or comes and goes like a line."""
        places = self._suspects(tracks)
        if not places:
            return tracks
        self._suspected.update(id(sample) for sample, _, _ in places)
        lowest = min(high - low for _, low, high in places) / (2 * _AROUND + 1)
        self._search_places(places, max(self._side, self._side_for(lowest)))
        known, tracks = tracks, self._tracks()
        if tracks and not known:
            self._search_bands(tracks)
            tracks = self._tracks()
        return tracks

    def _take(self, samples: Iterator[Sample], count: int) -> list[Sample]:
        taken = []
        for sample in itertools.islice(samples, count):
            taken.append(sample)
            self._report(len(self.samples) + len(taken))
        return taken

    def _add(self, samples: Sequence[Sample]) -> None:
        self.samples += samples
        self._use_known()

    def _is_settled(self, tracks: Sequence[FoundTrack]) -> bool:
        """Tell whether the samples are enough: many texts were seen, how long they get, and no text elsewhere."""
        if self._facts.duration_s < _SHORT_S or not tracks or self._others:
            return False
        # Over pictures that stand still, decoding the rest costs little.
        is_spread = self._is_spread and 2 * sum(sample.scene_stands for sample in self.samples) < len(self.samples)
        return all((len(track.rows) > 1 or is_spread) and self._is_known(track) for track in tracks)

    def _is_known(self, track: FoundTrack) -> bool:
        """Tell whether enough texts of a track were seen, and whether longer ones fit in the room left for them.

        The upper end of a distribution is estimated from the two largest of a sample (Robson and Whitlock,
        Biometrika 51, 1964).
        """
        row = max(track.rows, key=lambda entry: entry.distinct)
        if row.distinct + self._inside / 2 >= _MANY_TEXTS:
            return True
        if row.distinct < _SETTLED_TEXTS:
            return False
        lengths = sorted(max(track.rows, key=lambda entry: max(entry.lengths, default=0.0)).lengths)
        if len(lengths) < 2:  # the row with the longest text was seen once: nothing tells how long the next one gets
            return False
        second, longest = lengths[-2:]
        return _UPPER_END * (longest - second) <= _ROOM * longest + row.height

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress("layout", done, self._steps)

    def _side_for_text(self) -> int:
        """Choose how large to search: so that the smaller lines read before are high enough to be found."""
        heights = [line.bbox.height for lines in self._known.values() for line in lines if line.score > 0.8]
        if not heights:
            return _SIDE
        return self._side_for(float(np.percentile(heights, 25)))

    def _side_for(self, height: float) -> int:
        """Choose how large to search so that lines of a height (fraction of the picture's) are found."""
        tall = height * self._facts.height / max(self._facts.width, self._facts.height)
        return round(float(np.clip(_LINE_PIXELS / tall, _COARSE_SIDE, _FINE_SIDE)) / _STEP) * _STEP

    def _use_known(self) -> None:
        for sample in self.samples:
            for time_s, lines in self._known.items():
                if abs(time_s - sample.time_s) < 0.5 / self._facts.frame_rate:
                    sample.lines, sample.searched, sample.fine = list(lines), True, True

    def _spread(self, spacing_s: float) -> list[Sample]:
        """Choose samples not searched yet, so that none of the video is far from a searched one."""
        searched = [sample.time_s for sample in self.samples if sample.searched]
        spacing_s = min(spacing_s, self._facts.duration_s / 5)
        chosen = []
        for sample in sorted(self.samples, key=lambda entry: entry.time_s):
            if all(abs(sample.time_s - time_s) >= 0.75 * spacing_s for time_s in searched):
                chosen.append(sample)
                searched.append(sample.time_s)
        return chosen

    def _search_whole(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            picture = shrunk(sample.luma, self._side / max(sample.luma.shape))
            sample.lines = self._engine.detect(picture, long_side=self._side)
            sample.searched = True

    def _tracks(self) -> list[FoundTrack]:
        self.detections = [self._tightened(detection) for detection in detections_in(self.samples)]
        fixtures = find_fixtures(self.samples, self.detections)
        fixed = {id(detection) for detection in fixtures}
        free = [detection for detection in self.detections if id(detection) not in fixed]
        self.fixtures = merged_boxes([detection.bbox for detection in fixtures])
        rows = find_rows(self.samples, free, self.fixtures, self.size)
        tracks = find_tracks(rows, self.size, self._facts.duration_s)
        taken = {id(row) for track in tracks for row in track.rows}
        others = [
            row
            for row in rows
            if id(row) not in taken
            and self._may_be_captions(row)
            and not any(is_beside(row, track) for track in tracks)
        ]
        self._others = len(others)
        self._has_columns = any(row.vertical for row in (*others, *(row for track in tracks for row in track.rows)))
        return tracks

    def _tightened(self, detection: SampleDetection) -> SampleDetection:
        """Cut a box down to the letters that come and go in it, where the scene behind it stands still."""
        sample = self.samples[detection.sample]
        bbox = self._changes.tightened(sample, detection.bbox) if sample.scene_stands else None
        return detection if bbox is None else replace(detection, bbox=bbox, fine=True)

    def _may_be_captions(self, row: Row) -> bool:
        """Tell whether a few captions may stand in a row: text that neither moves nor stays nor fills the picture."""
        along = self.size[1] if row.vertical else self.size[0]
        in_place = row.vertical or row.distinct > 1 or abs(2 * row.lines[0].middle - along) <= 2 * CENTERED * along
        return (
            in_place
            and 0 < len(row.lines) <= 2 * row.distinct
            and all(line.still > 0 and line.end - line.start < _FILLS * along for line in row.lines)
            and max(line.score for line in row.lines) >= _SURE
        )

    def _search_bands(self, tracks: Sequence[FoundTrack]) -> None:
        """Search the samples left over near the tracks only, and those in which a whole picture may tell too little.

        Where the strokes of captions show by themselves, only samples are searched in which they stand farther
        out than was seen before.
        """
        rest = [
            sample
            for sample in self.samples
            if id(sample) not in self._banded and (not sample.searched or (sample.scene_stands and not sample.fine))
        ]
        if self._has_columns:
            self._search_whole([sample for sample in rest if not sample.searched])
            return
        if self._strokes_tell(tracks):
            outside = [self._stands_out(sample, tracks) for sample in rest]
            unsearched = [out for sample, out in zip(rest, outside, strict=True) if not sample.searched]
            self._inside = sum(out is False for out in unsearched)
            rest = [sample for sample, out in zip(rest, outside, strict=True) if out]
        # With more samples to compare with, more comes and goes; with the same ones, nothing new.
        compared = {id(sample): self._changes.compared_with(sample) for sample in rest if sample.scene_stands}
        rest = [s for s in rest if id(s) not in compared or self._in_vain.get(id(s)) != compared[id(s)]]
        zones = self._zones(tracks)
        self._search_places([(sample, *zone) for sample in rest for zone in zones], self._side)
        for sample in rest:
            if sample.lines or not sample.scene_stands:
                self._banded.add(id(sample))
            else:
                self._in_vain[id(sample)] = compared[id(sample)]

    def _search_places(self, places: Sequence[_Place], side: int) -> None:
        """Search bands of samples scaled to ``side``, many stacked into one picture.

        Over a scene that stands still, what comes and goes is searched instead of the picture.
        """
        shown = [(place, self._shown(place[0])) for place in places]
        changing = [
            Cutout(sample, picture, box)
            for (sample, low, high), picture in shown
            if picture is not None and (box := self._changes.part(sample, low, high))
        ]
        others = [
            Cutout(sample, sample.luma, BBox(0.0, low, 1.0, high))
            for (sample, low, high), picture in shown
            if picture is None
        ]
        for mosaic in itertools.chain(mosaics(changing, max(side, _SIDE)), mosaics(others, side)):
            image = mosaic.image()
            for found in self._engine.detect(image, long_side=max(image.shape)):
                home = mosaic.home(found, image.shape)
                if home is not None:
                    sample, line = home
                    sample.lines = [known for known in sample.lines if overlap(known.bbox, line.bbox) <= _SAME_LINE]
                    sample.lines.append(line)

    def _zones(self, tracks: Sequence[FoundTrack]) -> list[tuple[float, float]]:
        """Give the bands round the tracks as fractions of the height; bands that meet are one."""
        zones: list[tuple[float, float]] = []
        for low, high in sorted(self._reach(track) for track in tracks):
            top, bottom = max(0.0, low), min(1.0, high)
            if zones and top <= zones[-1][1]:
                zones[-1] = (zones[-1][0], max(bottom, zones[-1][1]))
            else:
                zones.append((top, bottom))
        return zones

    def _reach(self, track: FoundTrack) -> tuple[float, float]:
        """Give how far to look round a track (fractions): for a second line where only one was seen."""
        line_height = median(row.height for row in track.rows)
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
                standing = self._standing(sample) if sample.searched else None
                if standing is not None:
                    box = box_of(row.vertical, line.start, line.end, line.low, line.high, self.size)
                    shown.append(any(overlap(box, stands) > 0.5 for stands, _ in standing))
        return len(shown) >= _TELLING and float(np.mean(shown)) >= _TELLING_SHARE

    def _stands_out(self, sample: Sample, tracks: Sequence[FoundTrack]) -> bool | None:
        """Tell whether strokes stand, or may stand, near a track farther out than any of its lines.

        ``None`` where none stand near.
        """
        width, height = self.size
        standing = self._standing(sample)
        if standing is None:
            return True
        stands = None
        for track in tracks:
            low, high = self._reach(track)
            lines = [line for row in track.rows for line in row.lines]
            room = 0.7 * median(line.height for line in lines)
            start = (min(line.start for line in lines) - room) / width
            end = (max(line.end for line in lines) + room) / width
            top = (track.rows[0].low - 0.5 * room) / height
            bottom = (max(row.high for row in track.rows) + 0.5 * room) / height
            for box, _ in standing:
                if box.bottom <= low or box.top >= high:
                    continue
                if not (box.left > start and box.right < end and box.top > top and box.bottom < bottom):
                    return True
                stands = False
        return stands

    def _standing(self, sample: Sample) -> list[tuple[BBox, float]] | None:
        """Give the lines of a sample that stand, or over a scene that stands itself come and go, found once.

        ``None`` where that cannot be told.
        """
        if id(sample) not in self._stood:
            if sample.scene_stands:
                found = self._changes.lines(sample)
            else:
                others = [other for other in self.samples if abs(other.time_s - sample.time_s) >= 1.0]
                found = standing_lines(sample, others[:: max(1, len(others) // _COMPARED)]) if others else []
            self._stood[id(sample)] = found
        return self._stood[id(sample)]

    def _shown(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Give a picture of what comes and goes, ``None`` where the scene does not stand still."""
        return self._changes.picture(sample) if sample.scene_stands else None

    def _suspects(self, tracks: Sequence[FoundTrack]) -> list[_Place]:
        """Choose places where something stands, or comes and goes, like a line of the tracks where no track is."""
        reaches = [self._reach(track) for track in tracks if not track.vertical]
        heights = [row.height / self.size[1] for track in tracks for row in track.rows if not track.vertical]
        density = self._stroke_density(tracks)
        standing: list[tuple[float, _Place]] = []
        changing: list[tuple[float, _Place]] = []
        for sample in self.samples:
            if sample.fine or (sample.searched and not sample.scene_stands) or id(sample) in self._suspected:
                continue
            for box, weight in self._standing(sample) or ():
                if (
                    any(low < (box.top + box.bottom) / 2 < high for low, high in reaches)
                    or any(overlap(box, fixed) > _ON_FIXTURE for fixed in self.fixtures)
                    or any(overlap(box, line.bbox) > _ON_FIXTURE for line in sample.lines)
                    or weight / (box.width * box.height) < 0.6 * density
                    or (heights and not 0.4 * min(heights) <= box.height <= 1.6 * max(heights))
                ):
                    continue
                room = _AROUND * box.height
                place = (sample, max(0.0, box.top - room), min(1.0, box.bottom + room))
                (changing if sample.scene_stands else standing).append((weight, place))
        most = _SUSPECTS
        return [*_heaviest(standing, most), *_heaviest(changing, 2 * most)]

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


def _heaviest(places: Sequence[tuple[float, _Place]], most: int) -> list[_Place]:
    """Choose the places that weigh most, one of a sample."""
    chosen: dict[int, _Place] = {}
    for _, place in sorted(places, key=lambda entry: -entry[0]):
        chosen.setdefault(id(place[0]), place)
    return list(chosen.values())[:most]
