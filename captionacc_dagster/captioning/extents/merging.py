"""Merges readings of the same caption: those separated by a doubtful cut, and those of its fades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rapidfuzz.distance import LCSseq

from captionacc_dagster.captioning.captions import Side
from captionacc_dagster.captioning.extents.growth import Growth
from captionacc_dagster.captioning.extents.reading import Reading, fold
from captionacc_dagster.captioning.extents.segmentation import NumberedPlane, joined_small_rois
from captionacc_dagster.captioning.extents.step_changes import Step
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import ReadLine
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr.tuning import TUNING as OCR

MOST_STEPS = 120  # that are kept of a caption; more are no words


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of a caption: its place in the picture, and when it is visible and highlighted, in ticks, half-open."""

    text: str
    bbox: BBox
    start: int
    end: int
    highlight: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a stretch of a caption's frames shows, in which no line comes or goes: its lines, and how surely read."""

    start: int
    end: int
    lines: tuple[ReadLine, ...]
    confidence: float


@dataclass(slots=True)
class FoundCaption:
    """A segment that was read as a caption.

    Attributes:
        start, end: native frame numbers, half-open.
        reading: its text.
        bbox: the box of its strokes.
        extent_confidence: of its boundaries, 0..1.
        stroke_px: number of its stroke pixels, at the size of the ROIs.
        bounded: the share of its strokes that touch no area of their color.
        steps: in which its words change, while it is followed.
        small_rois: as of its segments, while it is followed.
        growth: how it appeared, if part after part.
        rolls: its lines roll up.
        words: those with times of their own.
        is_typed: letters appeared one by one.
        context: dimmed lines around it, which are not part of its text.
        is_apart: its neighbors are known to show nothing of it, so that it is no fade of theirs.
        side: of the picture, where it is what one of several people says at once, or of the track, where it is above
            another caption; None: nothing else is said.
        shown: what its stretches show, in order of time; empty where its lines have no times of their own.
    """

    start: int
    end: int
    reading: Reading
    bbox: BBox
    extent_confidence: float
    stroke_px: int
    bounded: float = 1.0
    steps: tuple[Step, ...] = ()
    small_rois: Sequence[NumberedPlane] = ()
    growth: Growth | None = None
    rolls: bool = False
    words: tuple[TimedWord, ...] = ()
    is_typed: bool = False
    context: tuple[ReadLine, ...] = ()
    is_apart: bool = False
    side: Side | None = None
    shown: tuple[Shown, ...] = ()


def is_same_caption(first: FoundCaption, second: FoundCaption, fade_frames: int) -> bool:
    """Return whether two readings without a gap are of one caption: the same text, or letters of it in its fade.

    Half-faded letters are misread: only half of them have to be the other's, in order, but most of those that were
    surely read. A reading with as many strokes as its letters need is a caption of its own unless it is as brief as a
    fade. Where a line could not be read, only a fade is the same caption.
    """
    if any(found.reading.is_unread or not found.reading.likely_text for found in (first, second)):
        return _is_fade(first, second, fade_frames) or _is_fade(second, first, fade_frames)
    texts = fold(first.reading.likely_text), fold(second.reading.likely_text)
    if texts[0] == texts[1]:
        return True
    if first.is_apart or second.is_apart:
        return False
    for brief, lasting, part, whole in ((first, second, *texts), (second, first, *reversed(texts))):
        frames = brief.end - brief.start
        is_faint = frames <= 2 * fade_frames and 2 * len(whole) * brief.stroke_px < len(part) * lasting.stroke_px
        is_trace = frames <= fade_frames and brief.stroke_px < TUNING.trace_area * lasting.stroke_px
        is_sure = brief.reading.confidence >= OCR.sure or bool(brief.reading.waiting)
        least = (TUNING.alike_text if is_sure else 0.5) * len(part)
        if 0 < len(part) <= len(whole) and (is_faint or is_trace) and LCSseq.similarity(part, whole) >= least:
            return True
    return False


def is_rest_of(rest: FoundCaption, whole: FoundCaption, brief_frames: int) -> bool:
    """Return whether a brief text is what is left of the one beside it: some of its lines, as where those of two
    languages end a frame or two apart; or, not surely read, what the start or end of a video or noise left."""
    if rest.end - rest.start >= brief_frames:
        return False
    if rest.reading.confidence < OCR.sure and are_alike(rest, whole):
        return True
    left, lines = ({fold(line) for line in found.reading.text.split("\n")} for found in (rest, whole))
    return left < lines and bool(fold(rest.reading.text))


def is_part_of_picture(found: FoundCaption) -> bool:
    """Return whether what was read, in a track whose letters are bounded, mostly is not, and reads badly."""
    return 2 * found.bounded < 1 and found.reading.confidence < OCR.sure


def are_alike(first: FoundCaption, second: FoundCaption) -> bool:
    """Return whether two readings may be of one text, one of them or both with letters behind it."""
    texts = fold(first.reading.text), fold(second.reading.text)
    return 2 * LCSseq.similarity(*texts) >= TUNING.alike_text * sum(map(len, texts)) > 0


def explains_both(whole: Reading, first: Reading, second: Reading) -> bool:
    """Return whether the reading of all frames of two neighbors, which read alike, is of one caption.

    The mean of two texts blends the letters in which they differ, which reads worse than each of them. Letters behind
    one text fade in the mean, which reads better than at least one of its parts.
    """
    return bool(whole.text) and whole.confidence >= min(first.confidence, second.confidence)


def join_readings(first: FoundCaption, second: FoundCaption, fade_frames: int) -> FoundCaption:
    """Join two readings of one caption. The longer text counts, or of two equally long ones the more confident.

    A brief reading with far fewer strokes is a fade of the other. The boundary between them, at half visibility, then
    remains the caption's.
    """
    worth = [
        (found.reading.is_unread, len(fold(found.reading.text)), found.reading.confidence) for found in (first, second)
    ]
    better = first if worth[0] >= worth[1] else second
    start, end, steps, small_rois, shown = (
        first.start,
        second.end,
        first.steps + second.steps,
        joined_small_rois(first.small_rois, second.small_rois),
        _joined_stretches(first, second, better),
    )
    if _is_fade(first, second, fade_frames):
        start, steps, small_rois, shown = second.start, second.steps, second.small_rois, second.shown
    elif _is_fade(second, first, fade_frames):
        end, steps, small_rois, shown = first.end, first.steps, first.small_rois, first.shown
    return replace(
        better,
        start=start,
        end=end,
        steps=steps if len(steps) <= MOST_STEPS else (),
        small_rois=small_rois,
        shown=shown,
        growth=first.growth,
        bbox=first.bbox.union(second.bbox),
        extent_confidence=min(first.extent_confidence, second.extent_confidence),
        stroke_px=max(first.stroke_px, second.stroke_px),
    )


def _joined_stretches(first: FoundCaption, second: FoundCaption, better: FoundCaption) -> tuple[Shown, ...]:
    """Return what the stretches of two readings of one caption show: the last of the first one is that of the next."""
    if not (first.shown and second.shown):
        return ()
    shown = better.shown[0 if better is second else -1]
    joined = replace(shown, start=first.shown[-1].start, end=second.shown[0].end)
    return (*first.shown[:-1], joined, *second.shown[1:])


def _is_fade(brief: FoundCaption, lasting: FoundCaption, fade_frames: int) -> bool:
    """Return whether a reading is of a fade: brief and faint, or less brief and fainter."""
    frames, share = brief.end - brief.start, brief.stroke_px / max(1, lasting.stroke_px)
    return (frames <= fade_frames and share < TUNING.faded) or (frames <= 2 * fade_frames and share < TUNING.faint_area)
