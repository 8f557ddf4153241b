"""Merges readings of one caption: those parted by a doubtful cut, and those of its fades."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rapidfuzz.distance import LCSseq

from captionacc_dagster.captioning.extents.reading import Reading, fold
from captionacc_dagster.captioning.geometry import BBox

_FAINT = 0.6  # of the caption's ink: a brief reading with less is its fade
_FAINTER = 0.25  # and one half as brief with less than this
_GLIMPSED = 0.1  # with less than this, some of its letters that were seen in its fade


@dataclass(slots=True)
class Found:
    """A segment that was read as a caption; frames are half-open, ``ink`` is the number of its pixels."""

    start: int
    end: int
    reading: Reading
    bbox: BBox
    extent_confidence: float
    stroke_mask: int


def is_same_caption(first: Found, second: Found, longest_fade: int) -> bool:
    """Say whether two readings without a gap are of one caption: the same text, or a few letters of it in its fade.

    Half-faded letters are read as others: half of them have to be the other's, in their order. A reading with as much
    ink as its letters need is a caption of its own unless it is as brief as a fade.
    """
    texts = fold(first.reading.text), fold(second.reading.text)
    if texts[0] == texts[1]:
        return True
    for brief, lasting, part, whole in ((first, second, *texts), (second, first, *reversed(texts))):
        frames = brief.end - brief.start
        is_faded = frames <= 2 * longest_fade and 2 * len(whole) * brief.stroke_mask < len(part) * lasting.stroke_mask
        is_glimpse = frames <= longest_fade and brief.stroke_mask < _GLIMPSED * lasting.stroke_mask
        if 0 < len(part) < len(whole) and (is_faded or is_glimpse) and 2 * LCSseq.similarity(part, whole) >= len(part):
            return True
    return False


def join_found(first: Found, second: Found, longest_fade: int) -> Found:
    """Join two readings of one caption; the longer one, of two alike the surer one, says what it reads.

    A brief one with far less ink is a fade of the other: the boundary between them, where half of the caption is to be
    seen, then stays its end.
    """
    worth = [(len(fold(found.reading.text)), found.reading.confidence) for found in (first, second)]
    surer = first if worth[0] >= worth[1] else second
    start, end = first.start, second.end
    if _is_glimpse(first, second, longest_fade):
        start = second.start
    elif _is_glimpse(second, first, longest_fade):
        end = first.end
    return replace(
        surer,
        start=start,
        end=end,
        bbox=first.bbox.union(second.bbox),
        extent_confidence=min(first.extent_confidence, second.extent_confidence),
        stroke_mask=max(first.stroke_mask, second.stroke_mask),
    )


def _is_glimpse(brief: Found, lasting: Found, longest_fade: int) -> bool:
    """Say whether a reading is of a fade: brief and faint, or less brief and fainter."""
    frames = brief.end - brief.start
    return (frames <= longest_fade and brief.stroke_mask < _FAINT * lasting.stroke_mask) or (
        frames <= 2 * longest_fade and brief.stroke_mask < _FAINTER * lasting.stroke_mask
    )
