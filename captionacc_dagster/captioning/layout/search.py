"""The search for caption tracks: few samples are searched as a whole, the others only near the tracks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.evidence import Evidence
from captionacc_dagster.captioning.layout.fixtures import is_mostly_in
from captionacc_dagster.captioning.layout.mosaics import Cutout, mosaics
from captionacc_dagster.captioning.layout.sampler import ROUNDS, Sampler, sampling_batches
from captionacc_dagster.captioning.layout.samples import Sample, shrunk
from captionacc_dagster.captioning.layout.tracks import FoundTrack
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.ocr.base import LineBox, OcrEngine
from captionacc_dagster.captioning.video.reader import VideoFacts

_DEFAULT_SIDE = 512  # pixels: longer side of a searched picture while the text's height is unknown
_COARSEST_SIDE, _FINEST_SIDE = 384, 960  # pixels: the same for large and for small text
_SIDE_STEP = 32  # pixels: the detector works on multiples of 32
_UPPER_END = 3.0  # times the gap between the two longest: the upper end of a distribution, 75 % sure
_AROUND = 1.0  # heights of a suspected line that are searched above and below it

Band = tuple[float, float]  # its top and its bottom, as fractions of the height
Place = tuple[Sample, float, float]  # a sample, and the top and bottom of a band of it as fractions


class LineFinder:
    """Finds lines of text in samples with an OCR engine, at a size at which the detector is reliable.

    Args:
        engine: finds the lines.
        evidence: the samples; lines are added to these.
        facts: the video.
        lines_read: lines that were read in full frames, by time (seconds): these are not searched again.
    """

    def __init__(
        self, engine: OcrEngine, evidence: Evidence, facts: VideoFacts, lines_read: Mapping[float, Sequence[LineBox]]
    ) -> None:
        self._engine = engine
        self._evidence = evidence
        self._facts = facts
        self._lines_read = lines_read
        self.side = self._side_for_text()

    def _side_for_text(self) -> int:
        """Return how large to search so that the smaller of the lines that were read are found."""
        heights = [line.bbox.height for lines in self._lines_read.values() for line in lines if line.score > 0.8]
        return self.side_for(float(np.percentile(heights, 25))) if heights else _DEFAULT_SIDE

    def side_for(self, line_height: float) -> int:
        """Return how large to search so that lines of a height (fraction of the picture's) are found, pixels."""
        relative = line_height * self._facts.height / max(self._facts.width, self._facts.height)
        side = float(np.clip(TUNING.detector_line_px / relative, _COARSEST_SIDE, _FINEST_SIDE))
        return round(side / _SIDE_STEP) * _SIDE_STEP

    def use_lines_read(self) -> None:
        """Add to samples the lines that were read in full frames at the same time."""
        for sample in self._evidence.samples:
            for time_s, lines in self._lines_read.items():
                if abs(time_s - sample.time_s) < 0.5 / self._facts.frame_rate:
                    sample.lines, sample.searched, sample.fine = list(lines), True, True

    def search_whole(self, samples: Sequence[Sample]) -> None:
        """Search whole samples."""
        for sample in samples:
            picture = shrunk(sample.luma, self.side / max(sample.luma.shape))
            sample.lines = self._engine.detect(picture, long_side=self.side)
            sample.searched = True

    def search_places(self, places: Sequence[Place], side: int) -> None:
        """Search bands of samples scaled to ``side`` pixels, many in one picture.

        Over a static scene, what comes and goes is searched instead of the picture.
        """
        pictures = [(place, self._evidence.difference_picture(place[0])) for place in places]
        changing = [
            Cutout(sample, picture, box)
            for (sample, low, high), picture in pictures
            if picture is not None and (box := self._evidence.changing_part(sample, low, high))
        ]
        others = [
            Cutout(sample, sample.luma, BBox(0.0, low, 1.0, high))
            for (sample, low, high), picture in pictures
            if picture is None
        ]
        for mosaic in itertools.chain(mosaics(changing, max(side, _DEFAULT_SIDE)), mosaics(others, side)):
            image = mosaic.image()
            for found in self._engine.detect(image, long_side=max(image.shape)):
                located = mosaic.locate(found, image.shape)
                if located is not None:
                    sample, line = located
                    sample.lines = [known for known in sample.lines if not is_mostly_in(known.bbox, line.bbox)]
                    sample.lines.append(line)


class LayoutSearch:
    """Plans one search: which samples are taken and what of them is searched, until the tracks are certain.

    `run` returns the tracks; ``evidence`` is what they were found from.
    """

    def __init__(
        self,
        sampler: Sampler,
        engine: OcrEngine,
        lines_read: Mapping[float, Sequence[LineBox]],
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self._sampler = sampler
        self._facts = sampler.facts
        self._known_times = list(lines_read)
        self._progress = progress
        self._steps = 0
        self.evidence = Evidence(self._facts)
        self._finder = LineFinder(engine, self.evidence, self._facts, lines_read)
        self._is_spread = False  # samples cover the time between keyframes: what is rare would have been seen
        self._unsearched_texts = 0  # samples not searched, in which something is still where the tracks are
        self._suspected: set[int] = set()  # samples searched away from the tracks
        self._banded: dict[int, list[Band]] = {}  # bands searched, by sample
        self._empty: dict[int, tuple[float, ...]] = {}  # samples without lines, by what they were compared with

    def run(self) -> list[FoundTrack]:
        """Search until the tracks are certain or every sample was searched.

        Raises:
            VideoError: the video can no longer be opened.
        """
        batches = sampling_batches(self._facts, self._known_times)
        self._steps = sum(len(times) for times in batches) + 1
        tracks: list[FoundTrack] = []
        for samples in self._batches(batches):
            self.evidence.add(samples)
            self._finder.use_lines_read()
            tracks = self._search_more()
            if not tracks or self._is_settled(tracks):
                tracks = self._search_elsewhere(tracks)
                if self._is_settled(tracks):
                    break
        else:
            tracks = self._search_elsewhere(tracks) or self._search_rest()
        self._report(self._steps)
        return tracks

    def _batches(self, batches: Sequence[Sequence[float]]) -> Iterator[list[Sample]]:
        """Yield samples in batches."""
        if len(batches) > 1:
            for number, times in enumerate(batches):
                self._is_spread = number + 1 >= ROUNDS
                if times:
                    yield self._take(self._sampler.samples(times), len(times))
            return
        (times,) = batches
        samples = self._sampler.samples(times)
        half, quarter = -(-len(times) // 2), -(-len(times) // 4)
        for count in (half, quarter, quarter):
            yield self._take(samples, count)

    def _take(self, samples: Iterator[Sample], count: int) -> list[Sample]:
        taken = []
        for sample in itertools.islice(samples, count):
            taken.append(sample)
            self._report(len(self.evidence.samples) + len(taken))
        return taken

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress("layout", done, self._steps)

    def _search_more(self) -> list[FoundTrack]:
        """Search new samples: some as a whole, the others near the tracks and near what may be captions."""
        self.evidence.compare_again()
        self._finder.search_whole(self._spread(2 * TUNING.far_spacing_s))
        tracks = self.evidence.tracks()
        if not tracks and not self.evidence.unclear_rows:
            return tracks
        self._search_bands(tracks)
        return self.evidence.tracks()

    def _search_elsewhere(self, tracks: list[FoundTrack]) -> list[FoundTrack]:
        """Search where no track is, but something is still, or comes and goes, like a line."""
        places = self._suspects(tracks)
        if not places:
            return tracks
        self._suspected.update(id(sample) for sample, _, _ in places)
        lowest = min(high - low for _, low, high in places) / (2 * _AROUND + 1)
        self._finder.search_places(places, max(self._finder.side, self._finder.side_for(lowest)))
        tracks = self.evidence.tracks()
        return self.evidence.tracks() if tracks and self._search_bands(tracks) else tracks

    def _search_rest(self) -> list[FoundTrack]:
        """Search all samples of a short video in which nothing was found: a single letter shows in few of them."""
        if self._facts.duration_s >= TUNING.short_video_s:
            return []
        self._finder.search_whole([sample for sample in self.evidence.samples if not sample.searched])
        return self.evidence.tracks()

    def _is_settled(self, tracks: Sequence[FoundTrack]) -> bool:
        """Return whether the samples suffice: enough texts, no longer ones to expect, and no text elsewhere."""
        if self._facts.duration_s < TUNING.short_video_s or not tracks or self.evidence.unclear_rows:
            return False
        # Over static scenes, decoding the rest costs little.
        is_spread = self._is_spread and not self.evidence.is_mostly_static()
        return all((len(track.rows) > 1 or is_spread) and self._is_known(track) for track in tracks)

    def _is_known(self, track: FoundTrack) -> bool:
        """Return whether enough texts of a track were seen, and longer ones fit in the room left for them.

        The upper end of a distribution is estimated from the two largest of a sample (Robson and Whitlock,
        Biometrika 51, 1964).
        """
        row = max(track.rows, key=lambda entry: entry.distinct)
        if row.distinct + self._unsearched_texts / 2 >= 2 * TUNING.settled_texts:
            return True
        if row.distinct < TUNING.settled_texts:
            return False
        lengths = sorted(max(track.rows, key=lambda entry: max(entry.lengths, default=0.0)).lengths)
        if len(lengths) < 2:  # the row with the longest text was seen once: nothing tells how long the next one gets
            return False
        second, longest = lengths[-2:]
        return _UPPER_END * (longest - second) <= TUNING.region_reserve * longest + row.height

    def _spread(self, spacing_s: float) -> list[Sample]:
        """Return samples not searched yet, so that no part of the video is far from a searched one."""
        samples = self.evidence.samples
        searched = [sample.time_s for sample in samples if sample.searched]
        spacing_s = min(spacing_s, self._facts.duration_s / 5)
        chosen = []
        for sample in sorted(samples, key=lambda entry: entry.time_s):
            if all(abs(sample.time_s - time_s) >= 0.75 * spacing_s for time_s in searched):
                chosen.append(sample)
                searched.append(sample.time_s)
        return chosen

    def _search_bands(self, tracks: Sequence[FoundTrack]) -> bool:
        """Search the remaining samples near the tracks, and those in which a whole picture may show too little; return
        whether there were any.

        Where captions show by their strokes alone, only samples are searched in which strokes reach farther out than
        any line found so far. A place that becomes known later is searched in all samples.
        """
        reaches = self._reaches(tracks)
        rest = [
            sample
            for sample in self.evidence.samples
            if (not sample.searched or (sample.static_scene and not sample.fine))
            and (not reaches or self._not_searched(sample, reaches))
        ]
        if self.evidence.has_columns:
            self._finder.search_whole([sample for sample in rest if not sample.searched])
            return bool(rest)
        if self.evidence.strokes_suffice(tracks):
            outside = [self.evidence.is_outside(sample, tracks) for sample in rest]
            unsearched = [out for sample, out in zip(rest, outside, strict=True) if not sample.searched]
            self._unsearched_texts = sum(out is False for out in unsearched)
            rest = [sample for sample, out in zip(rest, outside, strict=True) if out]
        # With more samples to compare with, more comes and goes; with the same ones, nothing new.
        compared = {id(sample): self.evidence.compared_with(sample) for sample in rest if sample.static_scene}
        rest = [s for s in rest if id(s) not in compared or self._empty.get(id(s)) != compared[id(s)]]
        bands = {id(sample): _zones(self._not_searched(sample, reaches)) for sample in rest}
        self._finder.search_places(
            [(sample, *zone) for sample in rest for zone in bands[id(sample)]], self._finder.side
        )
        for sample in rest:
            if sample.lines or not sample.static_scene:
                self._banded.setdefault(id(sample), []).extend(bands[id(sample)])
            else:
                self._empty[id(sample)] = compared[id(sample)]
        return bool(rest)

    def _reaches(self, tracks: Sequence[FoundTrack]) -> list[Band]:
        """Return the bands around the tracks, and around rows that may contain captions."""
        rows = (row for row in self.evidence.other_rows if self.evidence.is_possible(row) and not row.vertical)
        return [*map(self.evidence.reach, tracks), *map(self.evidence.band, rows)]

    def _not_searched(self, sample: Sample, bands: Sequence[Band]) -> list[Band]:
        """Return those of some bands whose middle no band contains that was searched in a sample."""
        known = self._banded.get(id(sample), [])
        return [
            (low, high) for low, high in bands if not any(top <= (low + high) / 2 <= bottom for top, bottom in known)
        ]

    def _suspects(self, tracks: Sequence[FoundTrack]) -> list[Place]:
        """Return places where something is still, or comes and goes, like a line of the tracks where no track is."""
        evidence = self.evidence
        reaches = [evidence.reach(track) for track in tracks if not track.vertical]
        heights = [row.height / evidence.size[1] for track in tracks for row in track.all_rows if not track.vertical]
        # The still strokes of a block are one box: of as many lines as a track has, and of two at least.
        most = max((len(track.rows) for track in tracks if not track.vertical), default=0)
        tallest = 1.6 * max(2, most) * max(heights, default=0.0)
        density = evidence.stroke_density(tracks)
        still: list[tuple[float, Place]] = []
        changing: list[tuple[float, Place]] = []
        for sample in evidence.samples:
            if sample.fine or (sample.searched and not sample.static_scene) or id(sample) in self._suspected:
                continue
            for box, weight in evidence.still_lines(sample) or ():
                if (
                    any(low < (box.top + box.bottom) / 2 < high for low, high in reaches)
                    or any(is_mostly_in(box, fixed) for fixed in evidence.fixtures)
                    or any(is_mostly_in(box, line.bbox) for line in sample.lines)
                    or weight / (box.width * box.height) < 0.6 * density
                    or (heights and not 0.4 * min(heights) <= box.height <= tallest)
                ):
                    continue
                room = _AROUND * box.height
                place = (sample, max(0.0, box.top - room), min(1.0, box.bottom + room))
                (changing if sample.static_scene else still).append((weight, place))
        return [*_heaviest(still, TUNING.suspects), *_heaviest(changing, 2 * TUNING.suspects)]


def _zones(bands: Sequence[Band]) -> list[Band]:
    """Return bands inside the picture; those that touch are one."""
    zones: list[Band] = []
    for low, high in sorted(bands):
        top, bottom = max(0.0, low), min(1.0, high)
        if zones and top <= zones[-1][1]:
            zones[-1] = (zones[-1][0], max(bottom, zones[-1][1]))
        else:
            zones.append((top, bottom))
    return zones


def _heaviest(places: Sequence[tuple[float, Place]], most: int) -> list[Place]:
    """Return the places with the most strokes, one of each sample."""
    chosen: dict[int, Place] = {}
    for _, place in sorted(places, key=lambda entry: -entry[0]):
        chosen.setdefault(id(place[0]), place)
    return list(chosen.values())[:most]
