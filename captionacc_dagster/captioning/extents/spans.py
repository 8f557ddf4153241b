"""Read the caption in a span of a video whose start and end a person chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.extents.find import Window, follow
from captionacc_dagster.captioning.layout.model import Layout
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.video.reader import VideoFacts

# Seconds before and after a span: frames without its caption tell its strokes from the background.
_MARGIN_S = 0.5
# Of the cropped frames, per second. They are not used here.
_FRAME_RATE = 1.0


@dataclass(frozen=True, slots=True)
class SpanReading:
    """What a span says.

    Attributes:
        text: of its caption, empty where there is none.
        confidence: of the text, 0..1.
        frame_count: native frames in the span.
        lang: of the text (BCP 47); None: not known.
        script: of the text (ISO 15924); None: not known.
        unread: no available engine reads the script of at least one of its lines.
    """

    text: str
    confidence: float
    frame_count: int
    lang: str | None = None
    script: str | None = None
    unread: bool = False


def read_spans(
    facts: VideoFacts, layout: Layout, spans: Sequence[tuple[float, float]], engine: OcrEngine
) -> Iterator[SpanReading]:
    """Yield what each span says: the text of the caption that covers most of it.

    Args:
        spans: ``(start, end)`` in seconds, half-open.

    Raises:
        VideoError: the file can no longer be opened.
    """
    for start_s, end_s in spans:
        window = Window(start_s=max(0.0, start_s - _MARGIN_S), end_s=end_s + _MARGIN_S)
        followed = follow(facts, layout, engine, _FRAME_RATE, window=window)
        frame_count = sum(start_s <= time_s < end_s for time_s in followed.times)

        def overlap_s(caption: Caption, start_s: float = start_s, end_s: float = end_s) -> float:
            return min(caption.end_s, end_s) - max(caption.start_s, start_s)

        inside = [caption for caption in followed.captions if overlap_s(caption) > 0]
        if inside:
            longest = max(inside, key=overlap_s)
            yield SpanReading(
                longest.text, longest.confidence, frame_count, longest.lang, longest.script, longest.unread
            )
        else:
            yield SpanReading("", 0.0, frame_count)
