"""Draw the pictures that explain a video's stages, on an opaque background that suits light and dark themes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.geometry import BBox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from captionacc_dagster.captioning.captions import Caption

Color = tuple[int, int, int]
MarkedBoxes = Sequence[tuple[BBox, bool]]
"""Text boxes, each with whether it is a caption."""

SHEET_COLUMNS = 3
TILE_WIDTH = 296
CAPTION: Color = (40, 200, 90)
OTHER: Color = (235, 90, 70)
REGION: Color = (255, 190, 0)
ANCHOR: Color = (80, 200, 255)
PAPER: Color = (250, 250, 248)
TEXT_COLOR: Color = (45, 45, 50)
FAINT: Color = (222, 222, 218)
SURE: Color = (46, 160, 90)
DOUBT: Color = (225, 85, 20)
# The width of the dialog in Dagster's UI, pixels.
CHART_WIDTH = 900
_MARGIN = 46
# Captions whose text or extent confidence is below this are drawn as doubtful.
DOUBTFUL = 0.75


def contact_sheet(
    frames: Sequence[tuple[float, NDArray[np.uint8], MarkedBoxes]], region: BBox | None, limit: int = 9
) -> NDArray[np.uint8]:
    """Draw frames side by side, each with its time, its text boxes and the crop region.

    Args:
        frames: for each frame its time in seconds, picture ``(h, w, 3)`` RGB uint8, and boxes.
        region: where captions appear.
        limit: maximum number of frames shown, spread evenly.
    """
    import cv2
    import numpy as np

    chosen = [frames[i] for i in spread(len(frames), limit)]
    height = round(TILE_WIDTH * chosen[0][1].shape[0] / chosen[0][1].shape[1])
    rows = -(-len(chosen) // SHEET_COLUMNS)
    columns = min(SHEET_COLUMNS, len(chosen))
    sheet = np.full((rows * (height + 4) + 22, columns * (TILE_WIDTH + 4), 3), PAPER, np.uint8)
    for number, (seconds, image, boxes) in enumerate(chosen):
        tile = resized(image, TILE_WIDTH, height)
        for bbox, is_caption in boxes:
            draw_box(tile, bbox, CAPTION if is_caption else OTHER)
        if region is not None:
            draw_box(tile, region, REGION, thickness=2)
        label = _clock(seconds)
        cv2.rectangle(tile, (0, 0), (8 * len(label) + 8, 18), TEXT_COLOR, -1)
        _write(tile, label, (4, 13), PAPER)
        y, x = (number // SHEET_COLUMNS) * (height + 4) + 2, (number % SHEET_COLUMNS) * (TILE_WIDTH + 4) + 2
        sheet[y : y + height, x : x + TILE_WIDTH] = tile
    legend = [("caption", CAPTION), ("other text", OTHER), ("crop region", REGION)]
    _legend(sheet, legend[: 2 + (region is not None)], 6)
    return sheet


def spread(count: int, limit: int) -> list[int]:
    """Return at most ``limit`` of the numbers 0..count-1, spread evenly."""
    import numpy as np

    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int))]


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return an ``(h, w, 3)`` picture scaled to ``(height, width, 3)``."""
    import cv2
    import numpy as np

    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def draw_box(image: NDArray[np.uint8], bbox: BBox, color: Color, thickness: int = 1) -> None:
    """Draw a box, given in fractions of the picture, into an ``(h, w, 3)`` picture, in place."""
    import cv2

    height, width = image.shape[:2]
    start = (round(bbox.left * (width - 1)), round(bbox.top * (height - 1)))
    end = (round(bbox.right * (width - 1)), round(bbox.bottom * (height - 1)))
    cv2.rectangle(image, start, end, color, thickness)


@dataclass(frozen=True)
class LayoutNotes:
    """Text under the picture of a layout: anchor (0..1 of the width), confidence, tracks."""

    anchor_type: str
    anchor_position: float
    confidence: float
    tracks: Sequence[str]


def layout_picture(
    background: NDArray[np.uint8],
    boxes: Iterable[tuple[BBox, bool]],
    region: BBox | None,
    width: int = 640,
    notes: LayoutNotes | None = None,
) -> NDArray[np.uint8]:
    """Draw every box of the video onto one dimmed frame, with the crop region bright and its anchor as a line.

    Args:
        background: a frame, ``(h, w, 3)`` RGB uint8.
        boxes: all text boxes, each with whether it is a caption.
        region: where captions appear.
        width: width of the result, pixels.
        notes: text under the picture, beside the legend.
    """
    import cv2
    import numpy as np

    height = round(width * background.shape[0] / background.shape[1])
    bright = resized(background, width, height)
    image = (bright * 0.45).astype(np.uint8)
    if region is not None:
        y0, y1 = round(region.top * height), round(region.bottom * height)
        x0, x1 = round(region.left * width), round(region.right * width)
        image[y0:y1, x0:x1] = bright[y0:y1, x0:x1]
    for bbox, is_caption in boxes:
        draw_box(image, bbox, CAPTION if is_caption else OTHER)
    if region is not None:
        draw_box(image, region, REGION, thickness=2)
    if notes is None:
        return image
    legend = [("caption", CAPTION), ("other text", OTHER)]
    text = f"no captions found, confidence {notes.confidence:.2f}"
    if region is not None:
        x = round(notes.anchor_position * (width - 1))
        for y in range(0, height, 12):
            cv2.line(image, (x, y), (x, min(height - 1, y + 6)), ANCHOR, 1)
        legend += [("crop region", REGION), (f"anchor ({notes.anchor_type})", ANCHOR)]
        text = f"confidence {notes.confidence:.2f}, tracks: {', '.join(notes.tracks)}"
    foot = np.full((44, width, 3), PAPER, np.uint8)
    _write(foot, text, (6, 16), TEXT_COLOR)
    _legend(foot, legend, 6)
    return np.vstack([image, foot])


def boxes_over_time(
    frames: Sequence[tuple[float, MarkedBoxes]], failed: Sequence[float], duration_s: float
) -> NDArray[np.uint8]:
    """Draw where text appears over time: time to the right, height in the picture downward, one bar per box.

    Args:
        frames: for each frame its time in seconds and its boxes.
        failed: times of the frames whose OCR failed, seconds.
        duration_s: duration of the video.
    """
    import cv2
    import numpy as np

    height, head = 180, 22
    image = np.full((head + height + 24, CHART_WIDTH, 3), PAPER, np.uint8)
    inner = CHART_WIDTH - _MARGIN - 8
    for part, label in ((0.0, "top"), (0.5, "middle"), (1.0, "bottom")):
        y = head + round(part * height)
        cv2.line(image, (_MARGIN, y), (CHART_WIDTH - 8, y), FAINT, 1)
        _write(image, label, (2, y + 4), TEXT_COLOR)
    bar = max(2, min(14, inner // max(1, 2 * len(frames))))

    def at(seconds: float) -> int:
        return _MARGIN + round(min(1.0, seconds / duration_s) * (inner - bar))

    for seconds, boxes in frames:
        for bbox, is_caption in boxes:
            y0, y1 = head + round(bbox.top * height), head + round(bbox.bottom * height)
            color = CAPTION if is_caption else OTHER
            cv2.rectangle(image, (at(seconds), y0), (at(seconds) + bar, max(y1, y0 + 2)), color, -1)
    for seconds in failed:
        cv2.rectangle(image, (at(seconds), head), (at(seconds) + bar, head + height), TEXT_COLOR, 1)
    _axis(image, head + height, _MARGIN, inner, 0.0, duration_s)
    _legend(image, [("caption", CAPTION), ("other text", OTHER), ("not read", TEXT_COLOR)], _MARGIN, top=4)
    return image


def timeline_picture(captions: Sequence[Caption], duration_s: float, width: int = CHART_WIDTH) -> NDArray[np.uint8]:
    """Draw a video's timeline in rows of at least 30 seconds, each with one lane per track.

    A caption is green, shading to orange with lower confidence; a doubtful one has a red frame and its number. Gaps of
    more than five seconds show their length.

    Args:
        captions: in order of time.
        duration_s: duration of the video.
        width: width of the picture, pixels.
    """
    import cv2
    import numpy as np

    tracks = sorted({caption.track for caption in captions}) or [""]
    row_s = min(duration_s, max(30.0, duration_s / 12))
    lane, inner = 24, width - _MARGIN - 8
    row_height = lane * len(tracks) + 26
    rows = max(1, int(np.ceil(duration_s / row_s - 1e-6)))
    image = np.full((22 + rows * row_height, width, 3), PAPER, np.uint8)
    for row in range(rows):
        top, begin = 22 + row * row_height, row * row_s
        end = min(begin + row_s, duration_s)
        right = _MARGIN + round((end - begin) / row_s * inner)
        for number in range(len(tracks)):
            y = top + number * lane
            cv2.rectangle(image, (_MARGIN, y + 2), (right, y + lane - 3), FAINT, -1)
        _write(image, _clock(begin), (2, top + 15), TEXT_COLOR)
        _axis(image, top + lane * len(tracks), _MARGIN, inner, begin, begin + row_s, until=end)
    for lane_number, track in enumerate(tracks):
        for start_s, end_s in _gaps(captions, track, duration_s):
            x0, _, y = next(iter(_pieces(start_s, end_s, lane_number, row_s, row_height, lane, inner)))
            _write(image, f"{end_s - start_s:.0f} s", (x0 + 4, y + 15), (120, 120, 120))
    for number, caption in enumerate(captions, start=1):
        doubt = 1.0 - min(caption.confidence, caption.extent_confidence)
        mixed = [round(a + (b - a) * min(1.0, 2 * doubt)) for a, b in zip(SURE, DOUBT, strict=True)]
        lane_number = tracks.index(caption.track)
        for x0, x1, y in _pieces(caption.start_s, caption.end_s, lane_number, row_s, row_height, lane, inner):
            cv2.rectangle(image, (x0, y + 2), (x1, y + lane - 3), mixed, -1)
            if doubt > 1 - DOUBTFUL:
                cv2.rectangle(image, (x0, y + 2), (x1, y + lane - 3), (190, 20, 20), 2)
            if x1 - x0 >= 8 * len(str(number)) + 4:
                _write(image, str(number), (x0 + 3, y + 15), PAPER)
    _legend(
        image, [("caption", SURE), ("less sure", DOUBT), ("doubtful", (190, 20, 20)), ("gap", FAINT)], _MARGIN, top=4
    )
    if len(tracks) > 1:
        _write(image, "lanes: " + ", ".join(tracks), (560, 14), TEXT_COLOR)
    return image


def _pieces(
    start_s: float, end_s: float, lane_number: int, row_s: float, row_height: int, lane: int, inner: int
) -> Iterable[tuple[int, int, int]]:
    """Yield left, right, and top, in pixels, of the part of a span in each row that it touches."""
    row = int(start_s // row_s)
    while row * row_s < end_s:
        begin = row * row_s
        left = max(start_s, begin) - begin
        right = min(end_s, begin + row_s) - begin
        x0 = _MARGIN + round(left / row_s * inner)
        # One pixel stays free, so that adjacent captions appear as two.
        x1 = max(x0 + 1, _MARGIN + round(right / row_s * inner) - 2)
        if right > left:
            yield x0, x1, 22 + row * row_height + lane_number * lane
        row += 1


def _gaps(captions: Sequence[Caption], track: str, duration_s: float) -> Iterable[tuple[float, float]]:
    last = 0.0
    for start_s, end_s in [(c.start_s, c.end_s) for c in captions if c.track == track] + [(duration_s, duration_s)]:
        if start_s - last > 5.0:
            yield last, start_s
        last = max(last, end_s)


def _axis(
    image: NDArray[np.uint8], y: int, left: int, width: int, begin: float, end: float, until: float | None = None
) -> None:
    """Draw ticks at round times."""
    import cv2

    span = end - begin
    step = next((s for s in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if span / s <= 12), 7200.0)
    tick = -(-begin // step) * step
    while tick <= (end if until is None else until) + 1e-6:
        x = left + round((tick - begin) / span * width)
        cv2.line(image, (x, y), (x, y + 4), TEXT_COLOR, 1)
        label = _clock(tick) if step >= 1 else f"{tick:.1f}"
        _write(image, label, (min(max(0, x - 4 * len(label)), image.shape[1] - 8 * len(label)), y + 17), TEXT_COLOR)
        tick += step


def _legend(image: NDArray[np.uint8], entries: Sequence[tuple[str, Color]], left: int, top: int | None = None) -> None:
    """Draw the legend of colors, at the bottom unless ``top`` is given."""
    import cv2

    y = image.shape[0] - 16 if top is None else top
    for name, color in entries:
        cv2.rectangle(image, (left, y), (left + 10, y + 10), color, -1)
        cv2.rectangle(image, (left, y), (left + 10, y + 10), TEXT_COLOR, 1)
        _write(image, name, (left + 15, y + 10), TEXT_COLOR)
        left += 15 + 8 * len(name) + 14


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int], color: Color) -> None:
    import cv2

    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )
