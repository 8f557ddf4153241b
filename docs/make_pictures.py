"""Draw the pictures of docs/how-captions-are-found.md and docs/moving-captions.md (``make docs``)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from docs.motion_pictures import draw_motion_pictures

if TYPE_CHECKING:
    from captionacc_dagster.captioning.geometry import BBox
    from captionacc_dagster.captioning.video.reader import VideoFacts

IMAGES = Path(__file__).parent / "images"
_WIDTH = 960
_CHANGE = (190, 204, 206, 220)  # frames around the demo's change of captions without a gap
_NAMES = 150  # pixels beside the strips
_STROKE_PROBABILITY = 0.4  # from which the follower takes a pixel for a stroke

Plane = NDArray[np.uint8]


def main() -> None:
    """Draw ``found-region.png``, ``glyph-mask.png``, ``time-line.png`` from the demo's clip, and ``motion-*.png``."""
    from captionacc_dagster.assets.drawings import layout_picture, timeline_picture
    from captionacc_dagster.captioning.extents.find import find_captions
    from captionacc_dagster.captioning.geometry import BBox
    from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
    from captionacc_dagster.captioning.ocr.engines import create_engine
    from captionacc_dagster.captioning.video.reader import probe
    from captionacc_dagster.cli.demo_clip import make_demo_clip

    with tempfile.TemporaryDirectory() as folder:
        facts = probe(make_demo_clip(Path(folder) / "harbour.mp4").path)
        engine = create_engine()
        read = list(read_full_frames(facts, engine))
        layout = find_layout(facts, engine, [ocr for _, ocr in read])
        seen = [*layout.evidence, *(detection for _, ocr in read for detection in ocr.detections)]
        boxes = [(d.bbox, _inside(d.bbox, [track.region for track in layout.tracks])) for d in seen]
        region = layout.crop_region
        assert region is not None, "the demo's captions were not found"
        background = read[-1][0].image
        whole = BBox(region.left, region.top, region.right, region.bottom)
        _save(layout_picture(background, boxes, whole, _WIDTH), "found-region.png")
        _save(_masks(facts, layout.tracks[0].region, layout.tracks[0].line_height), "glyph-mask.png")
        timeline = find_captions(facts, layout, engine)
        _save(timeline_picture(timeline.captions, facts.duration_s, _WIDTH), "time-line.png")
    draw_motion_pictures(IMAGES)


def _inside(box: BBox, regions: list[BBox]) -> bool:
    middle = (box.top + box.bottom) / 2
    return any(region.top <= middle <= region.bottom for region in regions)


def _masks(facts: VideoFacts, region: BBox, line_height: float) -> Plane:
    """Draw the caption region as it is, and its strokes as the network sees them, before and after a change."""
    from captionacc_dagster.captioning.extents.glyph_mask import stroke_map
    from captionacc_dagster.captioning.video.reader import native_frames

    frames = {frame.index: frame.luma(region) for frame in native_frames(facts, end_s=max(_CHANGE) / 25 + 1)}
    before, after = (
        stroke_map([frames[index] for index in range(start, end, 2)], line_height * facts.height) >= _STROKE_PROBABILITY
        for start, end in (_CHANGE[:2], _CHANGE[2:])
    )
    rows = [
        (f"frame {_CHANGE[1]}", np.repeat(frames[_CHANGE[1]][..., None], 3, 2)),
        (f"frame {_CHANGE[2]}", np.repeat(frames[_CHANGE[2]][..., None], 3, 2)),
        ("strokes before", _painted(before, before, before)),
        ("strokes after", _painted(after, after, after)),
        ("gone, came, stayed", _painted(before, after, before & after)),
    ]
    height, width = frames[0].shape
    sheet = Image.new("RGB", (width + _NAMES, (height + 6) * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (name, row) in enumerate(rows):
        top = number * (height + 6)
        draw.text((6, top + height / 2 - 9), name, fill="black", font=font)
        sheet.paste(Image.fromarray(row), (_NAMES, top))
    return np.asarray(sheet)


def _painted(red: NDArray[np.bool_], green: NDArray[np.bool_], both: NDArray[np.bool_]) -> Plane:
    image = np.full((*red.shape, 3), 255, np.uint8)
    image[red] = (200, 60, 50)
    image[green] = (40, 120, 200)
    image[both] = (40, 40, 40)
    return image


def _save(image: Plane, name: str) -> None:
    Image.fromarray(image).quantize(256, Image.Quantize.MAXCOVERAGE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
