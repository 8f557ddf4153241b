"""What a stretch of a video says whose beginning and end a person chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.extents.find import Window, follow
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.reader import VideoFacts

# What stands before and after a caption tells its ink from the picture's own.
_MARGIN_S = 0.5
# Its cropped frames are not used; any rate does.
_FRAME_RATE = 1.0


@dataclass(frozen=True, slots=True)
class SpanReading:
    """What stands in a span: its text (empty when there is none), confidence 0..1, and native frames looked at."""

    text: str
    confidence: float
    frame_count: int


def read_spans(
    facts: VideoFacts, layout: Layout, spans: Sequence[tuple[float, float]], engine: OcrEngine
) -> Iterator[SpanReading]:
    """Read each span, ``(start, end)`` in seconds, half-open: the caption that stands in it longest.

    Raises:
        VideoError: the file can no longer be opened.
    """
    for start_s, end_s in spans:
        window = Window(start_s=max(0.0, start_s - _MARGIN_S), end_s=end_s + _MARGIN_S)
        seen = follow(facts, layout, engine, _FRAME_RATE, window=window)
        frame_count = sum(start_s <= time_s < end_s for time_s in seen.times)

        def common_s(caption: Caption, start_s: float = start_s, end_s: float = end_s) -> float:
            return min(caption.end_s, end_s) - max(caption.start_s, start_s)

        inside = [caption for caption in seen.captions if common_s(caption) > 0]
        if inside:
            longest = max(inside, key=common_s)
            yield SpanReading(longest.text, longest.confidence, frame_count)
        else:
            yield SpanReading("", 0.0, frame_count)
