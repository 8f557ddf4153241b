"""An I that is alone is told by its shape, in captions that show words one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.lone_letters import upright_bar
from captionacc_dagster.captioning.extents.strokes import Mask
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.captioning.captioned_clips import Event, captioned

LINE_PX = 30.0


def drawn(*lines: tuple[int, int, int, int], width: int = 4) -> Mask:
    picture = Image.new("L", (120, 40))
    for line in lines:
        ImageDraw.Draw(picture).line(line, fill=255, width=width)
    return np.asarray(picture) > 0


@pytest.mark.unit
def test_a_bar_as_high_as_a_capital_is_found():
    box = upright_bar(drawn((60, 10, 60, 28)), LINE_PX)
    assert box is not None
    assert (box[1], box[3]) == (10, 29)
    assert box[0] <= 60 < box[2] <= box[0] + 5
    assert upright_bar(drawn((60, 10, 60, 28)) | drawn((20, 30, 21, 31), width=1), LINE_PX) == box  # and a speck


@pytest.mark.unit
@pytest.mark.parametrize(
    "strokes",
    [
        drawn(),
        drawn((60, 10, 60, 28), (54, 16, 60, 10)),  # a 1
        drawn((52, 28, 68, 10)),  # /
        drawn((40, 20, 80, 20)),  # a dash
        drawn((60, 0, 60, 39)),  # higher than a line
        drawn((60, 10, 60, 28), (80, 10, 80, 28)),  # ||
        drawn((60, 26, 60, 29)),  # a dot
        drawn((60, 10, 60, 28), (60, 10, 65, 10), (60, 28, 65, 28), width=1),  # [
        drawn((60, 10, 60, 28), width=14),  # a block
    ],
    ids=["nothing", "one", "slash", "dash", "edge", "two", "dot", "bracket", "block"],
)
def test_what_is_not_an_i_is_no_bar(strokes: Mask):
    assert upright_bar(strokes, LINE_PX) is None


@pytest.mark.integration
def test_an_i_between_words_is_a_caption(tmp_path: Path):
    events, start = [], 12
    for text, frames in (("NOW", 6), ("I", 6), ("SAID", 6), ("WHAT", 4), ("I", 4), ("KNOW", 6)):
        events.append(Event(start, start + frames, text))
        start += frames
    layout = captioned(tmp_path / "clip.mp4", events, start + 12)
    found = find_captions(probe(tmp_path / "clip.mp4"), layout, create_engine()).captions
    assert [(c.start_frame, c.end_frame, c.text) for c in found] == [(e.start, e.end, e.text) for e in events]
