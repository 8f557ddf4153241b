"""Process a long video in overlapping time segments, in parallel, and join what was found in them.

Every time segment covers more of the video than its own part, so that a caption near a cut is complete in at least
one of the two. Two neighbors are joined at a moment at which neither has a caption, as close to the cut as possible.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from captionacc_dagster.captioning.captions import Caption, Progress, Timeline, sort_cues
from captionacc_dagster.captioning.extents.boxes import unboxed_warnings
from captionacc_dagster.captioning.extents.capital_i import restore_capital_i
from captionacc_dagster.captioning.extents.find import Window, follow
from captionacc_dagster.captioning.extents.labels import label_pairs
from captionacc_dagster.captioning.extents.marked_letters import confused_letters_warnings
from captionacc_dagster.captioning.extents.opening_marks import restore_opening_marks
from captionacc_dagster.captioning.extents.overlapping import overlap_warnings
from captionacc_dagster.captioning.extents.track_scripts import unread_warnings
from captionacc_dagster.captioning.files.chunks import FRAMES_PER_CHUNK, LEVELS
from captionacc_dagster.captioning.files.word_json import fit_words
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.reader import VideoFacts

# How much a time segment covers before and after its own part, seconds: several captions, and a moment without any.
LEAD_S = 30.0
TAIL_S = 15.0

# Captions this close to the ends of a time segment are not trusted: the engine uses frames that far to both sides.
_EDGE_S = 2.0

# Cropped frames after which chunks of every level begin.
_PERIOD = FRAMES_PER_CHUNK * max(LEVELS)


@dataclass(frozen=True, slots=True)
class SegmentFindings:
    """What was found in one time segment.

    Attributes:
        captions: their frames count from the first frame that the segment covers.
        times: of every native frame that it covers, seconds.
        own_frames: which of these are in its own part, half-open.
        shown: the native frame, an index of ``times``, that each cropped frame of its own part shows.
        end_s: when the last frame that it covers ends.
        recognitions, seconds, cuts_s: see :class:`Timeline`; the cuts in all that it covers.
        unboxed_s, unparted_s, confused_languages: see :class:`WindowResult`; in all that it covers.
    """

    captions: tuple[Caption, ...]
    times: tuple[float, ...]
    own_frames: tuple[int, int]
    shown: tuple[int, ...]
    end_s: float
    recognitions: int
    seconds: dict[str, float]
    cuts_s: tuple[float, ...] = ()
    unboxed_s: tuple[float, ...] = ()
    unparted_s: tuple[float, ...] = ()
    confused_languages: tuple[str, ...] = ()

    @property
    def cropped_frame_count(self) -> int:
        """The number of cropped frames in its own part."""
        return len(self.shown)

    def to_json(self) -> bytes:
        """Return the findings as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> SegmentFindings:
        """Return the findings that :meth:`to_json` wrote.

        Raises:
            ValueError: ``content`` is something else.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(content)
        except ValidationError as error:
            raise ValueError(f"not the findings of a time segment: {error.errors()[0]['msg']}") from None


def segment_times(duration_s: float, frame_rate: float, about_s: float) -> list[float]:
    """Return where to cut a video into equal parts of about ``about_s``, seconds; a shorter one than two is not cut.

    Cuts are where a chunk of every level begins, so that chunks are the same as without cuts.

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
    """Find the captions of one time segment of a video; further arguments as of :func:`find_captions`.

    Args:
        own_start_s, own_end_s: the cuts before and after its own part, seconds; 0 and None at the video's ends.

    Raises:
        VideoError: the file can no longer be opened.
    """
    window = Window(
        start_s=max(0.0, own_start_s - LEAD_S),
        end_s=None if own_end_s is None else own_end_s + TAIL_S,
        first_sample=round(own_start_s * frame_rate),
        end_sample=None if own_end_s is None else round(own_end_s * frame_rate),
    )
    followed = follow(facts, layout, engine, frame_rate, window=window, chunks_dir=chunks_dir, progress=progress)
    end = len(followed.times) if own_end_s is None else bisect_left(followed.times, own_end_s)
    return SegmentFindings(
        captions=tuple(followed.captions),
        times=tuple(followed.times),
        own_frames=(bisect_left(followed.times, own_start_s), end),
        shown=tuple(followed.shown),
        end_s=followed.end_s,
        recognitions=followed.recognitions,
        seconds=followed.seconds,
        cuts_s=tuple(followed.cuts_s),
        unboxed_s=tuple(followed.unboxed_s),
        unparted_s=tuple(followed.unparted_s),
        confused_languages=tuple(followed.confused_languages),
    )


def join_time_segments(parts: Sequence[SegmentFindings]) -> Timeline:
    """Return the timeline of a video from the findings of its time segments, in their order.

    Raises:
        ValueError: ``parts`` is empty.
    """
    if not parts:
        raise ValueError("no time segments to join")
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
        warnings=(
            *unread_warnings(caption for track in tracks for caption in joined[track]),
            *confused_letters_warnings(language for part in parts for language in part.confused_languages),
            *unboxed_warnings([time_s for part in parts for time_s in _own_times(part, part.unboxed_s)]),
            *overlap_warnings([time_s for part in parts for time_s in _own_times(part, part.unparted_s)]),
        ),
        cuts_s=tuple(cut for part in parts for cut in _own_times(part, part.cuts_s)),
    )


def _own_times(part: SegmentFindings, times_s: Sequence[float]) -> list[float]:
    """Return those of some times that are in a segment's own part."""
    first, end = part.own_frames
    own = part.times[first:end]
    return [time_s for time_s in times_s if own and own[0] <= time_s <= own[-1]]


def _offsets(parts: Sequence[SegmentFindings]) -> list[int]:
    """Return what to add to each segment's frame numbers to get the video's."""
    offsets = []
    before = 0
    for part in parts:
        offsets.append(before - part.own_frames[0])
        before += part.own_frames[1] - part.own_frames[0]
    return offsets


def _joined_track(parts: Sequence[SegmentFindings], offsets: Sequence[int], track: str) -> list[Caption]:
    """Return the captions of one track in all time segments."""
    found = [
        [
            replace(caption, start_frame=caption.start_frame + offset, end_frame=caption.end_frame + offset)
            for caption in part.captions
            if caption.track == track
        ]
        for part, offset in zip(parts, offsets, strict=True)
    ]
    joined = found[0]
    for number in range(1, len(parts)):
        left, right = parts[number - 1], parts[number]
        low = right.times[0] if right.times else left.end_s
        cut = left.times[left.own_frames[1] - 1] if left.own_frames[1] else low
        joined = _joined_at(joined, found[number], low, left.end_s, cut)
    # The language shows best in all of them.
    texts = restore_capital_i(restore_opening_marks([caption.text for caption in joined]))
    return [
        replace(caption, text=text, words=fit_words(text, caption.words))
        for caption, text in zip(joined, texts, strict=True)
    ]


def _joined_at(left: list[Caption], right: list[Caption], low: float, high: float, cut: float) -> list[Caption]:
    """Return the captions of two neighboring segments that both cover ``low`` to ``high`` around ``cut``, seconds.

    They are joined at the moment closest to the cut at which neither has a caption. If there is none, one caption
    lasts for all of the time that both cover: it starts where the left segment has its start, and ends where the right
    one has its end.
    """
    low, high = min(low + _EDGE_S, cut), max(high - _EDGE_S, cut)
    edges = {edge for caption in (*left, *right) for edge in (caption.start_s, caption.end_s)}
    moments = sorted({cut, *(edge for edge in edges if low <= edge <= high)}, key=lambda moment: abs(moment - cut))
    for moment in moments:
        if not _captions_at(left, moment) and not _captions_at(right, moment):
            return [c for c in left if c.end_s <= moment] + [c for c in right if c.start_s >= moment]
    first, second = _captions_at(left, cut), _captions_at(right, cut)
    before = [c for c in left if c.end_s <= cut]
    after = [c for c in right if c.start_s >= cut]
    if len(first) + len(second) == 1:
        (only,) = (*first, *second)
        return [
            *(c for c in before if c.end_s <= only.start_s),
            only,
            *(c for c in after if c.start_s >= only.end_s),
        ]
    # Lines that roll up are visible together: each is joined with the one that overlaps it most.
    crossing = []
    for caption in first:
        other = max(second, key=lambda c: min(c.end_s, caption.end_s) - max(c.start_s, caption.start_s), default=None)
        second = [c for c in second if c is not other]
        crossing.append(caption if other is None else _joined_over_cut(caption, other))
    return sort_cues([*before, *crossing, *second, *after])


def _joined_over_cut(first: Caption, second: Caption) -> Caption:
    """Return the caption that two neighboring segments found in part."""
    surer = first if first.confidence >= second.confidence else second
    return replace(
        surer,
        start_s=first.start_s,
        start_frame=first.start_frame,
        end_s=second.end_s,
        end_frame=second.end_frame,
        bbox=first.bbox.union(second.bbox),
        extent_confidence=min(first.extent_confidence, second.extent_confidence),
    )


def _captions_at(captions: Sequence[Caption], moment: float) -> list[Caption]:
    """Return the captions that are in the picture before and after a moment."""
    return [caption for caption in captions if caption.start_s < moment < caption.end_s]
