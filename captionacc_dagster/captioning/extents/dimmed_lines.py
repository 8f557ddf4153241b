"""Lines that appear dimmed above and below the lit line, as in karaoke: context, not captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from captionacc_dagster.captioning.extents.merging import FoundCaption
from captionacc_dagster.captioning.extents.reading import Reading
from captionacc_dagster.captioning.extents.step_changes import alike
from captionacc_dagster.captioning.extents.strokes import Mask, StrokeModel
from captionacc_dagster.captioning.extents.tuning import TUNING
from captionacc_dagster.captioning.extents.words import ReadLine


def mark_dimmed(reading: Reading, model: StrokeModel, strokes: Mask) -> Reading:
    """Return a reading that says which of its lines are dimmed: another color, and far less contrast than the others.

    A line over a bright part of the picture has less contrast, too, but the color of the others.
    """
    if len(reading.lines) < 2:
        return reading
    looks = [_contrast_and_level(line, model, strokes) for line in reading.lines]
    brightest, level = max(looks)
    lines = tuple(
        replace(
            line,
            dimmed=contrast < TUNING.faded * brightest and abs(own - level) >= TUNING.same_style_levels,
        )
        for line, (contrast, own) in zip(reading.lines, looks, strict=True)
    )
    return replace(reading, lines=lines)


def _contrast_and_level(line: ReadLine, model: StrokeModel, strokes: Mask) -> tuple[float, float]:
    """Return the contrast of a line's strokes, and the level of those that contrast most."""
    x0, y0, x1, y1 = line.box
    inside = strokes[y0:y1, x0:x1]
    if not inside.any():
        return 0.0, 0.0
    contrast = np.abs(model.relief[y0:y1, x0:x1][inside])
    inner = contrast >= np.median(contrast)  # edges of strokes are blends with the background
    return float(np.percentile(contrast, 75)), float(np.median(model.level[y0:y1, x0:x1][inside][inner]))


def has_context(found: Sequence[FoundCaption]) -> bool:
    """Return whether the dimmed lines of a track are context: one of them is lit in the caption before or after.

    A second language in another color is dimmed as well, but is never lit.
    """
    lit = [["".join(line.text for line in caption.reading.lines if not line.dimmed)] for caption in found]
    for number, caption in enumerate(found):
        near = [text for texts in lit[max(0, number - 1) : number] + lit[number + 1 : number + 2] for text in texts]
        for line in caption.reading.lines:
            if line.dimmed and any(alike(line.text, text) >= TUNING.alike_text for text in near):
                return True
    return False


def part_context(found: FoundCaption) -> FoundCaption:
    """Return a caption whose dimmed lines are no part of its text; lines that wait for their script are left."""
    reading = found.reading
    dimmed = tuple(line for line in reading.lines if line.dimmed)
    if not dimmed or reading.waiting:
        return found
    lines = tuple(line for line in reading.lines if not line.dimmed)
    return replace(
        found, reading=replace(reading, lines=lines, text="\n".join(line.text for line in lines)), context=dimmed
    )
