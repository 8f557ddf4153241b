"""Find the layout of a video: tracks from sparse samples, or inside a region that a person drew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from captionacc_dagster.captioning.captions import CaptionWarning, Kind, Progress
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.evidence import Evidence
from captionacc_dagster.captioning.layout.fixtures import is_mostly_in, overlap
from captionacc_dagster.captioning.layout.model import Detection, FrameOcr, Layout, LeftOut, Track
from captionacc_dagster.captioning.layout.regions import track_of
from captionacc_dagster.captioning.layout.sampler import Sampler
from captionacc_dagster.captioning.layout.search import LayoutSearch
from captionacc_dagster.captioning.layout.tracks import FoundTrack
from captionacc_dagster.captioning.layout.tuning import TUNING
from captionacc_dagster.captioning.ocr.base import LineBox, OcrEngine, line_box
from captionacc_dagster.captioning.video.reader import SampledFrame, VideoFacts

_NO_TEXT_CONFIDENCE = 0.9  # of a layout without tracks
_QUOTED_PLACES = 3  # in a warning, which stays one line
_QUOTED_LETTERS = 40


def read_full_frames(
    facts: VideoFacts,
    engine: OcrEngine,
    frame_rate: float = 0.1,
    *,
    sampler: Sampler | None = None,
    on_frame: Progress | None = None,
) -> Iterator[tuple[SampledFrame, FrameOcr]]:
    """Sample full frames and read them; a frame whose OCR fails is kept with its error.

    Pass the same ``sampler`` to `find_layout`, so that the video is not decoded twice.

    Raises:
        VideoError: the video can no longer be opened.
    """
    total = max(1, int(facts.duration_s * frame_rate + 1e-9))
    with _sampling(facts, sampler) as opened:
        for frame in opened.pictures(frame_rate):
            yield frame, read_frame(frame, engine)
            if on_frame is not None:
                on_frame("full_frames", frame.index + 1, total)


def _sampling(facts: VideoFacts, sampler: Sampler | None) -> AbstractContextManager[Sampler]:
    """Open the video, or continue with a sampler that stays open."""
    return Sampler(facts) if sampler is None else nullcontext(sampler)


def read_frame(frame: SampledFrame, engine: OcrEngine) -> FrameOcr:
    """Read one full frame; an engine's failure becomes its ``error``."""
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
    """Find the caption tracks of a video from its full frames and from samples.

    Pass the ``sampler`` that the full frames were read with; without it, the video is decoded again for its samples.

    Raises:
        VideoError: the video can no longer be opened.
    """
    with _sampling(facts, sampler) as opened:
        if sampler is None:
            opened.pass_over([frame.timestamp_s for frame in frames])
        search = LayoutSearch(opened, engine, _lines_read(frames), progress)
        found = search.run()
    evidence = search.evidence
    others = [(row, row.extent(evidence.size)) for row in evidence.other_rows]
    avoid = [box for row, box in others if row.stays]
    elsewhere = [box for row, box in others if not row.stays]
    places = [[row.extent(evidence.size) for row in track.all_rows if not row.vertical] for track in found]
    followed = [[box for other in places if other is not own for box in other] for own in places]
    tracks = _named(
        [track_of(track, evidence.size, avoid, elsewhere, taken) for track, taken in zip(found, followed, strict=True)]
    )
    left_out = _left_out(evidence, tracks, frames)
    detections = tuple(
        Detection(-1, number, detection.time_s, "", detection.score, detection.bbox)
        for number, detection in enumerate(evidence.detections)
    )
    warnings = (*_doubts(found), *_warnings(tracks, left_out, evidence, frames))
    return replace(_layout(facts, tracks, frames, detections), left_out=left_out, warnings=(*facts.warnings, *warnings))


def _left_out(evidence: Evidence, tracks: Sequence[Track], frames: Sequence[FrameOcr]) -> tuple[LeftOut, ...]:
    """Return the places with text that are not followed; rows of one kind that touch are one place."""
    places: list[LeftOut] = []
    for row in sorted(evidence.other_rows, key=lambda entry: -len(entry.lines)):
        box = row.extent(evidence.size)
        if row.score < TUNING.certain_score or any(is_mostly_in(box, track.region) for track in tracks):
            continue
        kind = row.kind if row.kind != "caption" else "scene"
        first_s, last_s = (f(line.time_s for line in row.lines) for f in (min, max))
        home = next((n for n, place in enumerate(places) if place.kind == kind and _touch(box, place.bbox)), None)
        if home is None:
            places.append(LeftOut(box, kind, "", first_s, last_s))
        else:
            place = places[home]
            start_s, end_s = min(first_s, place.start_s or 0.0), max(last_s, place.end_s or 0.0)
            places[home] = replace(place, bbox=place.bbox.union(box), start_s=start_s, end_s=end_s)
    return tuple(replace(place, text=_text_in(place.bbox, frames)) for place in places)


def _touch(box: BBox, other: BBox) -> bool:
    """Return whether two boxes overlap or are less than a line apart."""
    room = min(box.height, other.height)
    down = min(box.bottom, other.bottom) - max(box.top, other.top)
    return down > -room and min(box.right, other.right) > max(box.left, other.left)


def _text_in(box: BBox, frames: Sequence[FrameOcr]) -> str:
    """Return what was read in a box in one of the full frames, or nothing."""
    inside = [d for frame in frames for d in frame.detections if is_mostly_in(d.bbox, box)]
    return max(inside, key=lambda entry: entry.confidence).text if inside else ""


_CALLED: dict[Kind, str] = {
    "caption": "captions",
    "context": "context",
    "lower_third": "lower thirds",
    "title": "titles",
    "fixture": "logos or signs",
    "interface": "text of a screen or a slide",
    "scene": "text in the scene",
}


def _warnings(
    tracks: Sequence[Track], left_out: Sequence[LeftOut], evidence: Evidence, frames: Sequence[FrameOcr]
) -> tuple[CaptionWarning, ...]:
    """Return in plain sentences what was left out, or that no text was found."""
    if left_out:
        found = {place.kind for place in left_out}
        called = " or ".join(name for kind, name in _CALLED.items() if kind in found)
        places = "1 place with text was" if len(left_out) == 1 else f"{len(left_out)} places with text were"
        quoted = ", ".join(dict.fromkeys(f'"{_shortened(place.text)}"' for place in left_out if place.text.strip()))
        example = f" ({quoted})" if quoted and len(left_out) <= _QUOTED_PLACES else ""
        return (CaptionWarning("text_left_out", f"{places} taken for {called}{example}; see the layout."),)
    if not tracks:
        times = {round(sample.time_s, 2) for sample in evidence.samples}
        count = len(times | {round(frame.timestamp_s, 2) for frame in frames if frame.error is None})
        seen = "1 frame" if count == 1 else f"{count} frames"
        message = f"No text was found in {seen}; very small or faint letters may have been missed."
        return (CaptionWarning("no_text_seen", message),)
    return ()


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _QUOTED_LETTERS else f"{text[:_QUOTED_LETTERS].rstrip()} …"


def _doubts(found: Sequence[FoundTrack]) -> tuple[CaptionWarning, ...]:
    """Return that captions may be none, where that is more likely than not."""
    if not any(track.is_doubtful for track in found):
        return ()
    message = "What was followed as captions may be text of a screen or a slide; check the layout."
    return (CaptionWarning("low_confidence", message),)


def _lines_read(frames: Sequence[FrameOcr]) -> dict[float, list[LineBox]]:
    """Return the lines that were read in full frames, by time; frames whose OCR failed are left out."""
    return {
        frame.timestamp_s: [line_box(detection.bbox, detection.confidence) for detection in frame.detections]
        for frame in frames
        if frame.error is None
    }


def _named(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Name tracks by their place, the most certain first; a second one at the same place gets a number."""
    named: list[Track] = []
    for track in sorted(tracks, key=lambda entry: (entry.kind != "caption", -entry.confidence)):
        box = track.region
        if track.vertical:
            place = "left" if box.left + box.right < 1 else "right"
        else:
            middle = (box.top + box.bottom) / 2
            place = "bottom" if middle > 0.6 else "top" if middle < 0.4 else "middle"
        taken = sum(other.name.split("-")[0] == place for other in named)
        named.append(replace(track, name=f"{place}-{taken + 1}" if taken else place))
    return tuple(named)


def _layout(
    facts: VideoFacts, tracks: tuple[Track, ...], frames: Sequence[FrameOcr], evidence: tuple[Detection, ...]
) -> Layout:
    captions = [track for track in tracks if track.kind == "caption"] or tracks
    region: BBox | None = None
    for track in captions:
        region = track.region if region is None else region.union(track.region)
    main = captions[0] if captions else None
    return Layout(
        frame_width=facts.width,
        frame_height=facts.height,
        tracks=tracks,
        crop_region=CropRegion(*region.as_tuple()) if region else None,
        anchor_type=main.anchor if main and main.anchor != "mixed" else "center",
        anchor_position=_anchor_position(main) if main else 0.5,
        vertical_center=_vertical_center(main) if main else 0.5,
        confidence=main.confidence if main else _NO_TEXT_CONFIDENCE,
        labels=_labels(tracks, frames),
        evidence=evidence,
        warnings=facts.warnings,
    )


def _vertical_center(track: Track) -> float:
    seen = track.lines if track.lines and not track.vertical else [(track.region.top, track.region.bottom)]
    return (min(low for low, _ in seen) + max(high for _, high in seen)) / 2


def _anchor_position(track: Track) -> float:
    """Return where text is anchored between the left (0) and the right (1) of the picture."""
    region = track.region
    middle = (region.left + region.right) / 2
    return {"left": region.left, "right": region.right}.get(track.anchor, middle)


def _labels(tracks: Sequence[Track], frames: Sequence[FrameOcr]) -> dict[tuple[int, int], tuple[str, float]]:
    labels = {}
    for detection in (detection for frame in frames for detection in frame.detections):
        box = detection.bbox
        inside = max((overlap(box, track.region) for track in tracks), default=0.0)
        avoided = max((overlap(box, BBox(*edge)) for track in tracks for edge in track.avoid), default=0.0)
        confidence = max((track.confidence for track in tracks), default=_NO_TEXT_CONFIDENCE)
        label = "in" if inside > 0.6 and 2 * avoided < 1 else "out"
        labels[(detection.frame_index, detection.box_index)] = (label, confidence * (0.5 + abs(inside - 0.5)))
    return labels


def layout_from_region(facts: VideoFacts, region: CropRegion, found: Layout | None = None) -> Layout:
    """Return the layout of a region that a person drew.

    Whatever text is inside is read, logos and signs too. The layout has one track, unless more than one of the tracks
    in ``found`` is in the region: then it bounds those.

    Args:
        facts: the video.
        region: where captions appear.
        found: the layout that the search found, which tells the height of lines; without it, lines are as tall as the
            region allows.
    """
    box = BBox(*region.as_tuple())
    inside = [track for track in found.tracks if is_mostly_in(track.region, box)] if found else []
    if len(inside) > 1:
        bounded = tuple(
            replace(track, region=track.region.intersection(box), confidence=1.0, kind="caption", avoid=())
            for track in inside
        )
        return replace(_layout(facts, bounded, (), ()), crop_region=region)
    is_tall = box.height * facts.height > TUNING.column_shape * box.width * facts.width
    vertical = inside[0].vertical if inside else is_tall
    track = Track(
        name="region",
        region=box,
        line_height=inside[0].line_height if inside else _line_height(box, vertical, found.evidence if found else ()),
        vertical=vertical,
        anchor=inside[0].anchor if inside else "center",
        anchor_position=inside[0].anchor_position if inside else None,
        confidence=1.0,
    )
    return _layout(facts, (track,), (), ())


def _line_height(box: BBox, vertical: bool, evidence: Sequence[Detection]) -> float:
    """Return the height of a line in a region without a track: that of text seen there, or one that fits."""
    extent = box.width if vertical else box.height
    seen = [entry.bbox for entry in evidence if is_mostly_in(entry.bbox, box)]
    if seen:
        heights = [entry.width if vertical else entry.height for entry in seen]
        return min(extent, float(np.percentile(heights, 25)))
    # A tight region contains one line, or two of at least the usual height; lines of a tall one are of usual height.
    usual = TUNING.usual_line
    return extent if extent <= 1.5 * usual else max(usual, extent / 2) if extent <= 3 * usual else usual
