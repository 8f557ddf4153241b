"""Contact sheets: frames of a clip with the regions found, and the extents along a timeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.captions.fonts import load_font
from benchmarks.captions.render import Clip
from benchmarks.captions.report import Judged

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

_WIDTH = 1500
_COLUMNS = 5
_ROW = 26
_GREEN, _RED, _GRAY, _AMBER = (46, 160, 67), (218, 54, 51), (120, 128, 138), (210, 153, 34)


def draw_sheet(clip: Clip, row: Judged, path: Path) -> None:
    """Draw a clip's sheet as PNG: green regions are the engine's tracks, white boxes the truth.

    Below, for each track of the truth, its captions are gray, over the predicted ones: green if both ends and the text
    are right, amber if it matches otherwise, red if it is no caption.
    """
    from PIL import Image, ImageDraw

    truth = json.loads(clip.truth.read_text(encoding="utf-8"))
    frames = _frames(clip, truth)
    tiles = [_tile(image, at, truth, row) for at, image in frames]
    tile_height = max(tile.height for tile in tiles)
    tracks = sorted({caption["track"] for caption in truth["captions"]})
    timeline = _ROW * (2 * max(1, len(tracks)) + 2)
    sheet = Image.new("RGB", (_WIDTH, tile_height * -(-len(tiles) // _COLUMNS) + timeline + 40), (13, 17, 23))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % _COLUMNS * (_WIDTH // _COLUMNS), 34 + number // _COLUMNS * tile_height))
    draw = ImageDraw.Draw(sheet)
    scores = row.report.scores
    title = (
        f"{clip.name}: {scores.matches} of {scores.truths} captions found, strict F1 {scores.strict_f1:.3f}, "
        f"{scores.phantoms} phantoms"
    )
    draw.text((8, 8), title, font=load_font("dejavu-bold", 16), fill="white")
    _draw_timeline(draw, sheet.height - timeline, truth, row, tracks)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)


def _frames(clip: Clip, truth: dict[str, Any]) -> list[tuple[int, Image.Image]]:
    """Return the middle frames of up to ten captions spread over the clip."""
    import av

    middles = sorted({(row["start_frame"] + row["end_frame"]) // 2 for row in truth["captions"]})
    middles = middles or list(range(0, truth["video"]["frame_count"], max(1, truth["video"]["frame_count"] // 10)))
    count = min(2 * _COLUMNS, len(middles))
    wanted = {middles[at * len(middles) // count] for at in range(count)}
    with av.open(str(clip.video)) as container:
        return [(at, frame.to_image()) for at, frame in enumerate(container.decode(video=0)) if at in wanted]


def _tile(image: Image.Image, at: int, truth: dict[str, Any], row: Judged) -> Image.Image:
    from PIL import ImageDraw

    width = _WIDTH // _COLUMNS - 4
    small = image.resize((width, round(image.height * width / image.width)))
    draw = ImageDraw.Draw(small)
    boxes = [(box, _GREEN, 2) for box in row.measured.regions.values()]
    for caption in truth["captions"]:
        if caption["start_frame"] <= at < caption["end_frame"]:
            box = caption["bbox"]
            boxes.append(((box["left"], box["top"], box["right"], box["bottom"]), (255, 255, 255), 1))
    for (left, top, right, bottom), color, stroke in boxes:
        corners = (left * small.width, top * small.height, right * small.width, bottom * small.height)
        draw.rectangle(corners, outline=color, width=stroke)
    draw.text((4, 3), f"frame {at}", font=load_font("dejavu", 11), fill="white", stroke_width=1, stroke_fill="black")
    return small


def _draw_timeline(draw: ImageDraw.ImageDraw, top: int, truth: dict[str, Any], row: Judged, tracks: list[str]) -> None:
    length = truth["video"]["frame_count"]
    scale = (_WIDTH - 90) / length
    small = load_font("dejavu", 11)
    verdicts = {id(match.predicted): (_GREEN if match.strict else _AMBER, match.truth) for match in row.report.matches}
    for number, track in enumerate(tracks or [""]):
        y = top + 2 * number * _ROW
        draw.text((6, y + 5), f"{track} true", font=small, fill="white")
        draw.text((6, y + _ROW + 5), f"{track} found", font=small, fill="white")
        for caption in truth["captions"]:
            if caption["track"] == track:
                _bar(draw, y, caption["start_frame"], caption["end_frame"], _GRAY, caption["text"], scale)
        for guess in row.measured.captions:
            color, match = verdicts.get(id(guess), (_RED, None))
            if match.track == track if match is not None else number == 0:
                _bar(draw, y + _ROW, guess.start_frame, guess.end_frame, color, guess.text, scale)
    y = top + 2 * max(1, len(tracks)) * _ROW
    for second in range(int(truth["video"]["duration_s"]) + 1):
        at = next((i for i, time in enumerate(truth["frame_times_s"]) if time >= second - 1e-6), length)
        x = 80 + at * scale
        draw.line((x, y, x, y + (8 if second % 5 else 14)), fill="white")
        if second % 5 == 0:
            draw.text((x + 3, y + 6), f"{second} s", font=small, fill="white")


def _bar(
    draw: ImageDraw.ImageDraw, y: int, start: int, end: int, color: tuple[int, int, int], text: str, scale: float
) -> None:
    left, right = 80 + start * scale, 80 + end * scale
    draw.rectangle((left, y + 2, max(left + 1, right - 2), y + _ROW - 3), fill=color)
    chinese = any(ord(letter) > 0x2E80 for letter in text)
    font = load_font("noto-sc" if chinese else "dejavu", 11)
    line = text.replace("\n", " / ")
    while line and font.getlength(line) > right - left - 6:
        line = line[:-1]
    draw.text((left + 3, y + 5), line, font=font, fill="white")
