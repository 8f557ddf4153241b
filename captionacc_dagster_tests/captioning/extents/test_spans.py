"""Spans that a person chose are read on the video itself."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import pytest

from captionacc_dagster.captioning.extents.spans import read_spans
from captionacc_dagster.captioning.geometry import CropRegion
from captionacc_dagster.captioning.layout.find import layout_from_region
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe
from captionacc_dagster_tests.small_clips import CAPTIONS, RATE, make_clip

pytestmark = pytest.mark.integration


def test_a_span_has_the_text_that_is_shown_longest_in_it(tmp_path: Path) -> None:
    facts = probe(make_clip(tmp_path / "news.mp4"))
    layout = layout_from_region(facts, CropRegion(0.1, 0.8, 0.9, 0.96))
    (first_start, first_end, first), (second_start, second_end, second) = CAPTIONS
    spans = [
        (first_start / RATE, (first_end - 4) / RATE),
        ((second_start + 5) / RATE, (second_end + 3) / RATE),
        ((first_end - 3) / RATE, second_end / RATE),
        (0.0, (first_start - 1) / RATE),
    ]

    readings = list(read_spans(facts, layout, spans, create_engine("rapidocr")))

    for reading, text in zip(readings, (first, second, second), strict=False):
        assert SequenceMatcher(None, reading.text, text).ratio() > 0.8
        assert reading.confidence > 0.5
    assert [reading.frame_count for reading in readings] == [26, 38, 53, 9]
    assert (readings[3].text, readings[3].confidence) == ("", 0.0)
