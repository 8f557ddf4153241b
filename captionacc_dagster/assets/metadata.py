"""Metadata worth looking at: pictures and tables of a video's stages, as data URIs in Markdown."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dagster import MarkdownMetadataValue, MetadataValue

from captionacc_dagster.captioning.geometry import BBox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from captionacc_dagster.captioning.subtitles import Caption

# Dagster keeps metadata in its event log, so a picture stays small.
MAX_PICTURE_BYTES = 100_000
SHEET_COLUMNS = 3
TILE_WIDTH = 300
IN_COLOUR = (40, 200, 90)
OUT_COLOUR = (235, 90, 70)
REGION_COLOUR = (255, 190, 0)
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|~"} | {"\n": " "})


def picture(image: NDArray[np.uint8], alt: str) -> MarkdownMetadataValue:
    """Show an ``(h, w, 3)`` RGB uint8 picture; it is made smaller until it takes less than 100 KB."""
    import cv2

    quality = 80
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    while True:
        data = base64.b64encode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()).decode()
        if len(data) <= MAX_PICTURE_BYTES - 200:
            return MetadataValue.md(f"![{alt}](data:image/jpeg;base64,{data})")
        if quality > 50:
            quality -= 15
        else:
            bgr = cv2.resize(bgr, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)


def contact_sheet(
    frames: Sequence[tuple[NDArray[np.uint8], Sequence[tuple[BBox, bool]]]], region: BBox | None, limit: int = 9
) -> NDArray[np.uint8]:
    """Draw frames side by side, with their text boxes (captions green, others red) and the crop region (yellow).

    Args:
        frames: pictures ``(h, w, 3)`` RGB uint8, each with its boxes and whether each box is a caption.
        region: where captions stand.
        limit: most frames shown, spread evenly.
    """
    import cv2
    import numpy as np

    chosen = [
        frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(limit, len(frames))).round().astype(int))
    ]
    height = round(TILE_WIDTH * chosen[0][0].shape[0] / chosen[0][0].shape[1])
    rows = -(-len(chosen) // SHEET_COLUMNS)
    columns = min(SHEET_COLUMNS, len(chosen))
    sheet = np.full((rows * (height + 4), columns * (TILE_WIDTH + 4), 3), 128, np.uint8)
    for number, (image, boxes) in enumerate(chosen):
        tile = cv2.resize(image, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
        for bbox, is_caption in boxes:
            draw_box(tile, bbox, IN_COLOUR if is_caption else OUT_COLOUR)
        if region is not None:
            draw_box(tile, region, REGION_COLOUR, thickness=2)
        y, x = (number // SHEET_COLUMNS) * (height + 4) + 2, (number % SHEET_COLUMNS) * (TILE_WIDTH + 4) + 2
        sheet[y : y + height, x : x + TILE_WIDTH] = tile
    return sheet


def draw_box(image: NDArray[np.uint8], bbox: BBox, colour: tuple[int, int, int], thickness: int = 1) -> None:
    """Draw a relative box into an ``(h, w, 3)`` picture, in place."""
    import cv2

    height, width = image.shape[:2]
    start = (round(bbox.left * (width - 1)), round(bbox.top * (height - 1)))
    end = (round(bbox.right * (width - 1)), round(bbox.bottom * (height - 1)))
    cv2.rectangle(image, start, end, colour, thickness)


def layout_picture(
    background: NDArray[np.uint8], boxes: Iterable[tuple[BBox, bool]], region: BBox | None, width: int = 640
) -> NDArray[np.uint8]:
    """Draw every box of the video into one dimmed frame, with the crop region left bright.

    Args:
        background: a frame, ``(h, w, 3)`` RGB uint8.
        boxes: all text boxes and whether each is a caption.
        region: where captions stand.
        width: of the picture, pixels.
    """
    import cv2
    import numpy as np

    height = round(width * background.shape[0] / background.shape[1])
    bright = cv2.resize(background, (width, height), interpolation=cv2.INTER_AREA)
    image = (bright * 0.45).astype(np.uint8)
    if region is not None:
        y0, y1 = round(region.top * height), round(region.bottom * height)
        x0, x1 = round(region.left * width), round(region.right * width)
        image[y0:y1, x0:x1] = bright[y0:y1, x0:x1]
    for bbox, is_caption in boxes:
        draw_box(image, bbox, IN_COLOUR if is_caption else OUT_COLOUR)
    if region is not None:
        draw_box(image, region, REGION_COLOUR, thickness=2)
    return image


def timeline_picture(captions: Sequence[Caption], duration_s: float, width: int = 960) -> NDArray[np.uint8]:
    """Draw a video's time line: a lane for each track, captions green, the less sure the more orange.

    Args:
        captions: in order of time.
        duration_s: of the video.
        width: of the picture, pixels.
    """
    import cv2
    import numpy as np

    tracks = sorted({caption.track for caption in captions}) or [""]
    lane, axis = 28, 22
    image = np.full((lane * len(tracks) + axis, width, 3), 245, np.uint8)
    for caption in captions:
        y = tracks.index(caption.track) * lane
        x0 = int(caption.start_s / duration_s * (width - 1))
        x1 = max(x0 + 1, int(caption.end_s / duration_s * (width - 1)) - 3)
        doubt = 1.0 - min(caption.confidence, caption.extent_confidence)
        colour = tuple(round(a + (b - a) * doubt) for a, b in zip((46, 160, 90), (240, 120, 20), strict=True))
        cv2.rectangle(image, (x0, y + 4), (x1, y + lane - 4), colour, -1)
    for tick in range(11):
        x = round(tick / 10 * (width - 1))
        cv2.line(image, (x, image.shape[0] - axis), (x, image.shape[0] - axis + 5), (90, 90, 90), 1)
        label = f"{duration_s * tick / 10:.1f}s"
        left = min(max(0, x - 16), width - 44)
        cv2.putText(
            image, label, (left, image.shape[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (60, 60, 60), 1, cv2.LINE_AA
        )
    return image


def captions_table(captions: Sequence[Caption], limit: int = 200) -> MarkdownMetadataValue:
    """Show captions as a table: number, start, end, text, confidence."""
    lines = ["| # | start | end | text | confidence |", "| ---: | ---: | ---: | --- | ---: |"]
    for number, caption in enumerate(captions[:limit], start=1):
        text = html.escape(caption.text).replace("|", "&#124;").replace("\n", "<br>")
        lines.append(
            f"| {number} | {clock(caption.start_s)} | {clock(caption.end_s)} | {text} | {caption.confidence:.2f} |"
        )
    if len(captions) > limit:
        lines.append(f"\n… and {len(captions) - limit} more")
    return MetadataValue.md("\n".join(lines))


def bullet_list(lines: Sequence[str], limit: int = 50) -> str:
    """Give lines as a Markdown list, what they quote kept from being read as Markdown or HTML."""
    shown = [f"- {html.escape(line).translate(_MARKDOWN)}" for line in lines[:limit]]
    return "\n".join([*shown, f"- … and {len(lines) - limit} more"] if len(lines) > limit else shown)


def clock(seconds: float) -> str:
    """Give ``m:ss.mmm``, or ``h:mm:ss.mmm`` from one hour on."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
