"""What several people say at once: texts beside each other are captions of their own.

A gap wider than any space between words parts them. Two lines of one caption are over each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from captionacc_dagster.captioning.captions import Side
from captionacc_dagster.captioning.extents.merging import FoundCaption
from captionacc_dagster.captioning.extents.step_changes import alike, union_box
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import Box, ReadLine
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.rows import SIDE_GAP


def part_speakers(found: Sequence[FoundCaption], line_px: float, place: Callable[[Box], BBox]) -> list[FoundCaption]:
    """Return the captions of a track with what several people say at once parted, in order of time.

    What one of them says while the other comes or goes is one caption.

    Args:
        found: the captions, whose words have their times.
        line_px: height of a line, pixels of the boxes of their lines.
        place: returns the place of such a box in the picture.
    """
    parted: list[FoundCaption] = []
    ending: dict[int, list[int]] = {}  # which of them end at a frame
    for caption in found:
        for part in _parts(caption, line_px, place):
            before = next((n for n in ending.get(part.start, ()) if _continues(parted[n], part)), None)
            if before is None:
                parted.append(part)
            else:
                parted[before] = _joined(parted[before], part)
            ending.setdefault(part.end, []).append(len(parted) - 1 if before is None else before)
    return sorted(parted, key=lambda part: part.start)


def _parts(caption: FoundCaption, line_px: float, place: Callable[[Box], BBox]) -> list[FoundCaption]:
    """Return a caption as the captions of the speakers that it consists of, or as it is."""
    texts = _texts(caption.reading.lines_as_read, line_px)
    if len(texts) < 2 or caption.reading.is_unread:
        return [caption]
    last = len(texts) - 1
    return [
        _part(caption, lines, "left" if number == 0 else "right" if number == last else "middle", place)
        for number, lines in enumerate(texts)
    ]


def _texts(lines: Sequence[ReadLine], line_px: float) -> list[list[ReadLine]]:
    """Return lines grouped by text, from left to right; those of one text are less than the gap apart."""
    texts: list[list[ReadLine]] = []
    end = 0.0
    for line in sorted(lines, key=lambda line: line.box[0]):
        if texts and line.box[0] - end <= SIDE_GAP * line_px:
            texts[-1].append(line)
        else:
            texts.append([line])
        end = max(end, line.box[2])
    return [sorted(text, key=lambda line: line.box[1]) for text in texts]


def _part(caption: FoundCaption, lines: Sequence[ReadLine], side: Side, place: Callable[[Box], BBox]) -> FoundCaption:
    """Return what one of the speakers says."""
    bbox = place(union_box(line.box for line in lines))
    words = tuple(word for word in caption.words if bbox.left <= (word.bbox.left + word.bbox.right) / 2 <= bbox.right)
    start = min((word.start for word in words), default=caption.start)
    is_timed = any(word.highlight for word in words) or len({word.start for word in words}) > 1
    text = "\n".join(line.text for line in lines)
    return replace(
        caption,
        start=start,
        reading=replace(caption.reading, text=text, lines=tuple(lines)),
        bbox=bbox,
        words=words if is_timed else (),
        context=(),
        side=side,
    )


def _continues(last: FoundCaption, part: FoundCaption) -> bool:
    """Return whether a part of a caption is what was visible at the same place right before, or the other way round."""
    if last.end != part.start or (last.side is None and part.side is None):
        return False
    shared = min(last.bbox.right, part.bbox.right) - max(last.bbox.left, part.bbox.left)
    is_here = shared >= TUNING.built_share * max(last.bbox.width, part.bbox.width)
    return is_here and alike(last.reading.text, part.reading.text) >= TUNING.alike_text


def _joined(first: FoundCaption, second: FoundCaption) -> FoundCaption:
    surer = first if first.reading.confidence >= second.reading.confidence else second
    return replace(
        surer,
        start=first.start,
        end=second.end,
        bbox=first.bbox.union(second.bbox),
        extent_confidence=min(first.extent_confidence, second.extent_confidence),
        words=(*first.words, *second.words) if first.words and second.words else (),
        side=second.side or first.side,
    )
