"""Where captions stand in a video: tracks found from sparse samples, or inside a region a person drew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.model import Detection, FrameOcr, Layout, Track
from captionacc_dagster.captioning.layout.sampler import Sampler
from captionacc_dagster.captioning.layout.search import LayoutSearch
from captionacc_dagster.captioning.layout.tracks import FoundTrack, Line, box_of, overlap, weighted_median
from captionacc_dagster.captioning.ocr.base import LineBox, OcrEngine, line_box
from captionacc_dagster.captioning.video.reader import SampledFrame, VideoFacts

Progress = Callable[[str, int, int], None]

_MARGIN = 0.05  # of a line's height: room above and below the boxes that were found
_PITCH = 0.9  # of a line's height (1.25 of the letters'): from line to line, where one at a time was seen
_SURE_OF_ONE = 8  # texts of one line seen, from which on there are hardly any of two
_WHOLE = 0.6  # of the highest line, that a second line is high
_TIGHT = 1.1  # times the height of a tight box
_LOOSE = 1.1  # times its height, that the place of a line is high at most
_INSIDE = 0.5  # of a track or a box, that lies in a region which a person drew
_ONE_LINE = 0.12  # of the picture: a region that is no higher holds one line
_USUAL_LINE = 0.08  # of the picture: a line of captions of the usual size


def read_full_frames(
    facts: VideoFacts,
    engine: OcrEngine,
    frame_rate: float = 0.1,
    *,
    sampler: Sampler | None = None,
    on_frame: Progress | None = None,
) -> Iterator[tuple[SampledFrame, FrameOcr]]:
    """Sample whole pictures and read them; a picture whose OCR fails is kept with its error.

    With a ``sampler`` that `find_layout` is given too, the video is not decoded twice for both.

    Raises:
        VideoError: the video can no longer be opened.
    """
    total = max(1, int(facts.duration_s * frame_rate + 1e-9))
    with _sampling(facts, sampler) as looking:
        for frame in looking.pictures(frame_rate):
            yield frame, read_frame(frame, engine)
            if on_frame is not None:
                on_frame("full_frames", frame.index + 1, total)


def _sampling(facts: VideoFacts, sampler: Sampler | None) -> AbstractContextManager[Sampler]:
    """Open the video, or go on with one that is open and stays so."""
    return Sampler(facts) if sampler is None else nullcontext(sampler)


def read_frame(frame: SampledFrame, engine: OcrEngine) -> FrameOcr:
    """Read one picture; an engine that fails is noted in ``error``."""
    try:
        boxes = engine.read(frame.image)
    except Exception as error:  # noqa: BLE001 -- any failure of an engine costs one frame, not the video
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return FrameOcr(frame.index, frame.timestamp_s, (), reason)
    detections = tuple(
        Detection(frame.index, number, frame.timestamp_s, box.text, box.confidence, box.bbox)
        for number, box in enumerate(boxes)
    )
    return FrameOcr(frame.index, frame.timestamp_s, detections)


def find_layout(
    facts: VideoFacts,
    engine: OcrEngine,
    frames: Sequence[FrameOcr],
    *,
    sampler: Sampler | None = None,
    progress: Progress | None = None,
) -> Layout:
    """Find the caption tracks of a video from its full frames and from samples of its own.

    ``sampler`` is that which the full frames were read with.

    Raises:
        VideoError: the video can no longer be opened.
    """
    with _sampling(facts, sampler) as looking:
        search = LayoutSearch(looking, engine, _known_lines(frames), progress)
        found = search.run()
    size = search.size
    tracks = _named([_track(track, size, search.fixtures) for track in found])
    evidence = tuple(
        Detection(-1, number, detection.time_s, "", detection.score, detection.bbox)
        for number, detection in enumerate(search.detections)
    )
    return _assembled(facts, tracks, frames, evidence)


def _known_lines(frames: Sequence[FrameOcr]) -> dict[float, list[LineBox]]:
    """Give the lines that were read in full frames, by time; frames whose OCR failed are left out."""
    return {
        frame.timestamp_s: [line_box(detection.bbox, detection.confidence) for detection in frame.detections]
        for frame in frames
        if frame.error is None
    }


def _track(found: FoundTrack, size: tuple[int, int], avoid: Sequence[BBox]) -> Track:
    """Draw the region round a track's lines, with room for longer ones."""
    lines = [line for row in found.rows for line in row.lines]
    line_height = _line_height(found)
    along, across = (size[1], size[0]) if found.vertical else size
    places = _line_places(found, line_height)
    room = _room_for_a_line(found, places, line_height, across)
    low = min(place[0] for place in [*places, *room]) - _MARGIN * line_height
    high = max(place[1] for place in [*places, *room]) + _MARGIN * line_height
    texts = max(row.distinct for row in found.rows)
    usual = [line for line in lines if _is_anchored(line, lines, found.anchor)] or lines
    start = float(min(line.start for line in usual))
    end = float(max(line.end for line in usual))
    # The longest of a few texts is shorter than the longest of all.
    spare = 0.6 * line_height + 0.12 * (end - start) / max(1.0, (texts / 4) ** 0.5)
    if found.anchor == "center":
        lengths = np.array([line.end - line.start for line in usual])
        middle = weighted_median(np.array([line.middle for line in usual]), lengths)
        half = max(middle - start, end - middle) + spare
        start, end = middle - half, middle + half
    elif found.anchor == "left":
        start, end = start - 0.5 * line_height, end + 2 * spare
    else:
        start, end = start - 2 * spare, end + 0.5 * line_height
    region = box_of(found.vertical, max(0.01 * along, start), min(0.99 * along, end), low, high, size)
    return Track(
        name="",
        region=region,
        line_height=line_height / across,
        vertical=found.vertical,
        anchor=found.anchor,
        confidence=found.confidence,
        lines=tuple((low / across, high / across) for low, high in places),
        room=next(((low / across, high / across) for low, high in room), None),
        texts_seen=texts,
        avoid=tuple(box.as_tuple() for box in avoid if overlap(box, region) > 0),
    )


def _line_places(found: FoundTrack, line_height: float) -> list[tuple[float, float]]:
    """Give where a track's lines stand across the text, pixels, in order."""
    heights = [min(row.height, _LOOSE * line_height) for row in found.rows]
    middles = [(row.low + row.high) / 2 for row in found.rows]
    return sorted((middle - height / 2, middle + height / 2) for middle, height in zip(middles, heights, strict=True))


def _room_for_a_line(
    found: FoundTrack, places: Sequence[tuple[float, float]], line_height: float, across: int
) -> list[tuple[float, float]]:
    """Give the place of a second line, above at the bottom and below at the top, where few texts of one were seen."""
    texts = max(row.distinct for row in found.rows)
    height = max(high - low for low, high in places)
    whole = [(low + high) / 2 for low, high in places if high - low >= _WHOLE * height]
    if found.vertical or len(whole) != 1 or texts >= _SURE_OF_ONE:
        return []
    middle = whole[0] + _PITCH * line_height * (-1 if 2 * whole[0] > across else 1)
    return [(middle - height / 2, middle + height / 2)]


def _line_height(found: FoundTrack) -> float:
    """Give the height of a line of a track, pixels.

    Boxes grow with what stands round the text and with how small the searched picture was: the lower ones are right,
    and those found in large pictures more than others.
    """
    texts = max(row.distinct for row in found.rows)
    main = max((row for row in found.rows if 2 * row.distinct >= texts), key=lambda row: row.height)
    loose = [line.height for line in main.lines if not line.fine]
    fine = [_TIGHT * line.height for line in main.lines if line.fine and line.end - line.start >= 2 * line.height]
    return min((float(np.percentile(heights, 25)) for heights in (loose, fine) if heights), default=main.height)


def _is_anchored(line: Line, lines: Sequence[Line], anchor: str) -> bool:
    """Tell whether a line stands where the track's lines stand; one found in one with something else does not."""
    at = {"left": lambda entry: entry.start, "right": lambda entry: entry.end}.get(anchor, lambda entry: entry.middle)
    usual = weighted_median(
        np.array([at(other) for other in lines]), np.array([other.end - other.start for other in lines])
    )
    return abs(at(line) - usual) <= 1.2 * line.height


def _named(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Name tracks by their place, the surest first; a second one at the same place gets a number."""
    named: list[Track] = []
    for track in sorted(tracks, key=lambda entry: -entry.confidence):
        box = track.region
        if track.vertical:
            place = "left" if box.left + box.right < 1 else "right"
        else:
            middle = (box.top + box.bottom) / 2
            place = "bottom" if middle > 0.6 else "top" if middle < 0.4 else "middle"
        taken = sum(other.name.split("-")[0] == place for other in named)
        named.append(replace(track, name=f"{place}-{taken + 1}" if taken else place))
    return tuple(named)


def _assembled(
    facts: VideoFacts, tracks: tuple[Track, ...], frames: Sequence[FrameOcr], evidence: tuple[Detection, ...]
) -> Layout:
    region: BBox | None = None
    for track in tracks:
        region = track.region if region is None else region.union(track.region)
    main = tracks[0] if tracks else None
    position = {"left": "left", "right": "right"}.get(main.anchor if main else "center")
    return Layout(
        frame_width=facts.width,
        frame_height=facts.height,
        tracks=tracks,
        crop_region=CropRegion(*region.as_tuple()) if region else None,
        anchor_type=main.anchor if main else "center",
        anchor_position=0.5 if main is None else _anchor_position(main, position),
        vertical_center=_vertical_center(main) if main else 0.5,
        confidence=main.confidence if main else 0.9,
        labels=_labels(tracks, frames),
        evidence=evidence,
    )


def _vertical_center(track: Track) -> float:
    seen = track.lines if track.lines and not track.vertical else [(track.region.top, track.region.bottom)]
    return (min(low for low, _ in seen) + max(high for _, high in seen)) / 2


def _anchor_position(track: Track, side: str | None) -> float:
    if side is None:
        return (track.region.left + track.region.right) / 2
    return track.region.left if side == "left" else track.region.right


def _labels(tracks: Sequence[Track], frames: Sequence[FrameOcr]) -> dict[tuple[int, int], tuple[str, float]]:
    labels = {}
    for detection in (detection for frame in frames for detection in frame.detections):
        box = detection.bbox
        inside = max((overlap(box, track.region) for track in tracks), default=0.0)
        avoided = max((overlap(box, BBox(*edge)) for track in tracks for edge in track.avoid), default=0.0)
        sure = max((track.confidence for track in tracks), default=0.9)
        label = "in" if inside > 0.6 and avoided < 0.5 else "out"
        labels[(detection.frame_index, detection.box_index)] = (label, sure * (0.5 + abs(inside - 0.5)))
    return labels


def layout_from_region(facts: VideoFacts, region: CropRegion, found: Layout | None = None) -> Layout:
    """Take a region that a person drew; how high its lines are is known from what was found there before.

    One track, unless more than one of the tracks that were found lies in the region: then it only bounds those.

    Args:
        facts: the video.
        region: where captions stand.
        found: the layout that the search found; without it lines are as high as the region lets them be.
    """
    box = BBox(*region.as_tuple())
    inside = [track for track in found.tracks if overlap(track.region, box) > _INSIDE] if found else []
    if len(inside) > 1:
        bounded = tuple(replace(track, region=track.region.intersection(box), confidence=1.0) for track in inside)
        return replace(_assembled(facts, bounded, (), ()), crop_region=region)
    vertical = inside[0].vertical if inside else box.height * facts.height > 1.5 * box.width * facts.width
    track = Track(
        name="region",
        region=box,
        line_height=inside[0].line_height if inside else _height_in(box, vertical, found.evidence if found else ()),
        vertical=vertical,
        anchor=inside[0].anchor if inside else "center",
        confidence=1.0,
        avoid=inside[0].avoid if inside else (),
    )
    return _assembled(facts, (track,), (), ())


def _height_in(box: BBox, vertical: bool, evidence: Sequence[Detection]) -> float:
    """Give how high a line is in a region in which no track was found: as text seen there, or as it fits."""
    extent = box.width if vertical else box.height
    seen = [entry.bbox for entry in evidence if overlap(entry.bbox, box) > _INSIDE]
    if seen:
        heights = [entry.width if vertical else entry.height for entry in seen]
        return min(extent, float(np.percentile(heights, 25)))
    # A box drawn tightly holds one line or two; in a wide one the letters are of the usual size.
    return extent if extent <= _ONE_LINE else max(_USUAL_LINE, extent / 2) if extent <= 2 * _ONE_LINE else _USUAL_LINE
