"""Metadata for Dagster's UI: pictures as data URIs, tables, and lists, in Markdown."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from dagster import MarkdownMetadataValue, MetadataValue

from captionacc_dagster.assets.drawings import resized
from captionacc_dagster.captioning.captions import clock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from captionacc_dagster.captioning.captions import Caption, CaptionWarning
    from captionacc_dagster.catalog.models import VideoWarning

# Dagster keeps metadata in its event log, so a picture stays small.
MAX_PICTURE_BYTES = 100_000
STRIP_WIDTH = 300
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|~"} | {"\n": " "})


def picture(image: NDArray[np.uint8], alt: str, kind: Literal["jpg", "png"] = "jpg") -> MarkdownMetadataValue:
    """Return an ``(h, w, 3)`` RGB uint8 picture as Markdown, scaled down until it takes less than 100 KB.

    ``png`` suits drawings: sharp, and small where there are few colors.
    """
    import cv2
    import numpy as np

    quality = 85
    bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    while True:
        uri = _data_uri(bgr, kind, quality)
        if len(uri) <= MAX_PICTURE_BYTES - 200:
            return MetadataValue.md(f"![{alt}]({uri})")
        if quality > 50 and kind == "jpg":
            quality -= 15
        else:
            bgr = resized(bgr, round(bgr.shape[1] * 0.8), round(bgr.shape[0] * 0.8))


def _data_uri(bgr: NDArray[np.uint8], kind: Literal["jpg", "png"], quality: int) -> str:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    data = base64.b64encode(cv2.imencode(f".{kind}", bgr, options)[1].tobytes()).decode()
    return f"data:image/{'jpeg' if kind == 'jpg' else kind};base64,{data}"


def strips(pictures: Mapping[int, NDArray[np.uint8]]) -> dict[int, str]:
    """Return pictures as Markdown images 300 pixels wide, by the same numbers; as many, in order, as fit in 90 KB.

    Args:
        pictures: ``(h, w, 3)`` BGR uint8.
    """
    shown: dict[int, str] = {}
    left = MAX_PICTURE_BYTES - 10_000
    for number, bgr in sorted(pictures.items()):
        height = max(1, round(STRIP_WIDTH * bgr.shape[0] / bgr.shape[1]))
        uri = _data_uri(resized(bgr, STRIP_WIDTH, height), "jpg", 70)
        left -= len(uri)
        if left < 0:
            break
        shown[number] = f"![caption {number}]({uri})"
    return shown


def captions_table(
    captions: Sequence[Caption], images: Mapping[int, str] | None = None, limit: int = 200
) -> MarkdownMetadataValue:
    """Return captions as a Markdown table: number, start, end, picture, text, confidence.

    Args:
        captions: in order of time.
        images: caption number (from 1) → image, from :func:`strips`.
        limit: maximum number of captions shown.
    """
    images = images or {}
    lines = ["| # | start | end | picture | text | confidence |", "| ---: | ---: | ---: | --- | --- | ---: |"]
    for number, caption in enumerate(captions[:limit], start=1):
        text = " / ".join(html.escape(line).translate(_MARKDOWN) for line in caption.text.split("\n"))
        lines.append(
            f"| {number} | {clock(caption.start_s)} | {clock(caption.end_s)} | {images.get(number, '')} | {text} "
            f"| {caption.confidence:.2f} |"
        )
    if len(captions) > limit:
        lines.append(f"\n… and {len(captions) - limit} more")
    return MetadataValue.md("\n".join(lines))


def bullet_list(lines: Sequence[str], limit: int = 50) -> str:
    """Return lines as a Markdown list, with Markdown and HTML in them escaped."""
    shown = [f"- {html.escape(line).translate(_MARKDOWN)}" for line in lines[:limit]]
    return "\n".join([*shown, f"- … and {len(lines) - limit} more"] if len(lines) > limit else shown)


def warning_metadata(warnings: Iterable[CaptionWarning | VideoWarning]) -> dict[str, MarkdownMetadataValue]:
    """Return ``warnings`` as a Markdown list of their sentences; nothing if there are none."""
    lines = [warning.message for warning in warnings]
    return {"warnings": MetadataValue.md(bullet_list(lines))} if lines else {}
