"""A long video followed in overlapping stretches, side by side, and joined so that nothing shows where it was cut.

Every stretch sees more than its own part: what stands near its ends is decided by whichever neighbor sees all of it.
The parts meet where both neighbors see the same: at the end of a caption, or where none stands.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from captionacc_dagster.captioning.captions import Caption, Timeline, sort_cues
from captionacc_dagster.captioning.extents.find import Progress, Window, follow
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.files.chunks import FRAMES_PER_CHUNK, LEVELS
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.reader import VideoFacts

# What a stretch sees before and after its own part, seconds: several captions, and a moment without any.
LEAD_S = 30.0
TAIL_S = 15.0

# What lies this close to the end of what a stretch sees is not trusted: the engine looks that far to both sides.
_EDGE_S = 2.0

_PERIOD = FRAMES_PER_CHUNK * max(LEVELS)


@dataclass(frozen=True, slots=True)
class SegmentFindings:
    """What one stretch saw.

    Attributes:
        captions: frames count from the first frame it saw.
        times: of every native frame it saw, seconds.
        own_frames: which of these are its own, half-open.
        shown: the native frame (as in ``times``) that each of its own cropped frames shows.
        end_s: the moment at which what it saw ends.
        recognitions, seconds: see :class:`Timeline`.
    """

    captions: tuple[Caption, ...]
    times: tuple[float, ...]
    own_frames: tuple[int, int]
    shown: tuple[int, ...]
    end_s: float
    recognitions: int
    seconds: dict[str, float]

    @property
    def cropped_frame_count(self) -> int:
        """How many cropped frames are its own."""
        return len(self.shown)

    def to_json(self) -> bytes:
        """Write it as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> SegmentFindings:
        """Read it back.

        Raises:
            ValueError: the content is no part.
        """
        try:
            raw = json.loads(content)
            captions = tuple(Caption(**{**caption, "bbox": BBox(**caption["bbox"])}) for caption in raw["captions"])
            return cls(
                captions=captions,
                times=tuple(raw["times"]),
                own_frames=(raw["own_frames"][0], raw["own_frames"][1]),
                shown=tuple(raw["shown"]),
                end_s=raw["end_s"],
                recognitions=raw["recognitions"],
                seconds=raw["seconds"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not what a time segment leaves: {error}") from None


def segment_times(duration_s: float, frame_rate: float, about_s: float) -> list[float]:
    """Say where to cut a video, seconds: into equal parts of about ``about_s``, nowhere if it is shorter than two.

    Cuts lie where a chunk of every level begins, so that chunks are the same as without cuts.

    Args:
        frame_rate: of the cropped frames, per second.
    """
    if duration_s < 2 * about_s:
        return []
    count = round(duration_s / about_s)
    step = _PERIOD / frame_rate
    cuts = {round(duration_s * number / count / step) for number in range(1, count)}
    return [cut * step for cut in sorted(cuts) if 0 < cut * step < duration_s]


def follow_time_segment(
    facts: VideoFacts,
    layout: Layout,
    engine: OcrEngine,
    frame_rate: float,
    *,
    own_start_s: float,
    own_end_s: float | None,
    chunks_dir: Path | None = None,
    progress: Progress | None = None,
) -> SegmentFindings:
    """Follow one stretch of a video; see :func:`extents.find_captions`.

    Args:
        own_start_s, own_end_s: the cuts before and after its own part; 0 and None where there are none.

    Raises:
        VideoError: the file can no longer be opened.
    """
    window = Window(
        start_s=max(0.0, own_start_s - LEAD_S),
        end_s=None if own_end_s is None else own_end_s + TAIL_S,
        first_sample=round(own_start_s * frame_rate),
        end_sample=None if own_end_s is None else round(own_end_s * frame_rate),
    )
    seen = follow(facts, layout, engine, frame_rate, window=window, chunks_dir=chunks_dir, progress=progress)
    end = len(seen.times) if own_end_s is None else bisect_left(seen.times, own_end_s)
    return SegmentFindings(
        captions=tuple(seen.captions),
        times=tuple(seen.times),
        own_frames=(bisect_left(seen.times, own_start_s), end),
        shown=tuple(seen.shown),
        end_s=seen.end_s,
        recognitions=seen.recognitions,
        seconds=seen.seconds,
    )


def join_time_segments(parts: Sequence[SegmentFindings]) -> Timeline:
    """Make one timeline of all stretches, in their order.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("there are no parts to join")
    offsets = _offsets(parts)
    tracks = sorted({caption.track for part in parts for caption in part.captions})
    joined = {track: _joined_track(parts, offsets, track) for track in tracks}
    shown = [offset + frame for part, offset in zip(parts, offsets, strict=True) for frame in part.shown]
    spans = [[(c.start_frame, c.end_frame, c.extent_confidence) for c in joined[track]] for track in tracks]
    stages = sorted({stage for part in parts for stage in part.seconds})
    return Timeline(
        captions=tuple(sort_cues([caption for track in tracks for caption in joined[track]])),
        pairs=tuple(label_pairs(spans, shown)),
        cropped_frame_count=len(shown),
        native_frame_count=sum(part.own_frames[1] - part.own_frames[0] for part in parts),
        ocr_recognitions=sum(part.recognitions for part in parts),
        seconds={stage: sum(part.seconds.get(stage, 0.0) for part in parts) for stage in stages},
    )


def _offsets(parts: Sequence[SegmentFindings]) -> list[int]:
    """Give what makes each part's frame numbers those of the video."""
    offsets = []
    before = 0
    for part in parts:
        offsets.append(before - part.own_frames[0])
        before += part.own_frames[1] - part.own_frames[0]
    return offsets


def _joined_track(parts: Sequence[SegmentFindings], offsets: Sequence[int], track: str) -> list[Caption]:
    seen = [
        [
            replace(caption, start_frame=caption.start_frame + offset, end_frame=caption.end_frame + offset)
            for caption in part.captions
            if caption.track == track
        ]
        for part, offset in zip(parts, offsets, strict=True)
    ]
    joined = seen[0]
    for number in range(1, len(parts)):
        left, right = parts[number - 1], parts[number]
        low = right.times[0] if right.times else left.end_s
        cut = left.times[left.own_frames[1] - 1] if left.own_frames[1] else low
        joined = _met(joined, seen[number], low, left.end_s, cut)
    return joined


def _met(left: list[Caption], right: list[Caption], low: float, high: float, cut: float) -> list[Caption]:
    """Let two neighbors meet, who both saw ``low..high`` around ``cut``.

    They meet as near to the cut as possible at a moment at which neither sees a caption going on. A caption that goes
    on all the time that both saw is one: it begins where the left saw it begin, and ends where the right did.
    """
    low, high = min(low + _EDGE_S, cut), max(high - _EDGE_S, cut)
    edges = {edge for caption in (*left, *right) for edge in (caption.start_s, caption.end_s)}
    moments = sorted({cut, *(edge for edge in edges if low <= edge <= high)}, key=lambda moment: abs(moment - cut))
    for moment in moments:
        if not _going_on(left, moment) and not _going_on(right, moment):
            return [c for c in left if c.end_s <= moment] + [c for c in right if c.start_s >= moment]
    first, second = _going_on(left, cut), _going_on(right, cut)
    before = [c for c in left if c.end_s <= cut]
    after = [c for c in right if c.start_s >= cut]
    if first is not None and second is not None:
        surer = first if first.confidence >= second.confidence else second
        return [
            *before,
            replace(
                surer,
                start_s=first.start_s,
                start_frame=first.start_frame,
                end_s=second.end_s,
                end_frame=second.end_frame,
                bbox=first.bbox.union(second.bbox),
                extent_confidence=min(first.extent_confidence, second.extent_confidence),
            ),
            *after,
        ]
    going_on = first or second
    assert going_on is not None, "the cut itself would have been a moment to meet"
    return [
        *(c for c in before if c.end_s <= going_on.start_s),
        going_on,
        *(c for c in after if c.start_s >= going_on.end_s),
    ]


def _going_on(captions: Sequence[Caption], moment: float) -> Caption | None:
    """Give the caption that stands before and after a moment."""
    return next((caption for caption in captions if caption.start_s < moment < caption.end_s), None)
