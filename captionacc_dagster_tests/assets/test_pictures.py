"""The pictures and tables among the metadata: small, opaque, and showing what they should."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
from dagster import MarkdownMetadataValue
from numpy.typing import NDArray

from captionacc_dagster.assets import drawings
from captionacc_dagster.assets.metadata import MAX_PICTURE_BYTES, bullet_list, captions_table, picture, strips
from captionacc_dagster.captioning.captions import clock
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster_tests.assets.made_captions import BOTTOM, caption

pytestmark = pytest.mark.unit

LOGO = BBox(0.85, 0.04, 0.95, 0.1)
NOISE = np.random.default_rng(3).integers(0, 256, (1080, 1920, 3), np.uint8)


def decoded(value: MarkdownMetadataValue) -> NDArray[np.uint8]:
    """Return the picture as it is shown, with its alpha if it had one."""
    (uri,) = re.findall(r"base64,([^)]+)\)", value.value or "")
    image = cv2.imdecode(np.frombuffer(base64.b64decode(uri), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image, np.uint8)


def has(image: NDArray[np.uint8], color: drawings.Color) -> bool:
    return bool((image == np.array(color, np.uint8)).all(axis=2).any())


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_stays_below_100_kb_and_has_no_transparency(kind: str) -> None:
    shown = picture(NOISE, "noise", kind)  # pyright: ignore[reportArgumentType]
    assert len(shown.value or "") < MAX_PICTURE_BYTES
    image = decoded(shown)
    assert image.shape[2] == 3
    assert image.shape[1] / image.shape[0] == pytest.approx(16 / 9, abs=0.05)


@pytest.mark.parametrize(("count", "size"), [(1, (300, 192)), (3, (900, 192)), (9, (900, 532)), (50, (900, 532))])
def test_a_contact_sheet_has_at_most_nine_frames(count: int, size: tuple[int, int]) -> None:
    frame = np.full((90, 160, 3), 100, np.uint8)
    frames = [(10.0 * number, frame, [(BOTTOM, True), (LOGO, False)]) for number in range(count)]
    sheet = drawings.contact_sheet(frames, BOTTOM)
    assert (sheet.shape[1], sheet.shape[0]) == size
    assert all(has(sheet, color) for color in (drawings.CAPTION, drawings.OTHER, drawings.REGION))


def test_the_layout_picture_shows_region_anchor_and_boxes() -> None:
    frame = np.full((1080, 1920, 3), 200, np.uint8)
    notes = drawings.LayoutNotes("center", 0.5, 0.93, ["bottom"])
    image = drawings.layout_picture(frame, [(BOTTOM, True), (LOGO, False)], BBox(0.2, 0.8, 0.8, 0.95), notes=notes)
    assert image.shape == (360 + 44, 640, 3)
    assert all(has(image[:360], color) for color in (drawings.CAPTION, drawings.OTHER, drawings.REGION))
    assert (image[:360, 320] == np.array(drawings.ANCHOR)).all(axis=1).any()
    assert image[10, 10, 0] == 90  # outside of the region it is dimmed
    assert image[320, 150, 0] == 200
    without = drawings.layout_picture(frame, [(LOGO, False)], None, notes=notes)
    assert not has(without, drawings.REGION)
    assert not has(without, drawings.ANCHOR)


def test_boxes_over_time_are_at_their_time_and_height() -> None:
    image = drawings.boxes_over_time([(0.0, [(LOGO, False)]), (50.0, [(BOTTOM, True)])], [75.0], 100.0)
    ys, xs = np.nonzero((image[22:202, 46:] == np.array(drawings.CAPTION)).all(axis=2))
    assert 0.84 < ys.min() / 180 < ys.max() / 180 < 0.93
    assert 0.45 < xs.mean() / 846 < 0.55
    ys, xs = np.nonzero((image[22:202, 46:] == np.array(drawings.OTHER)).all(axis=2))
    assert ys.max() / 180 < 0.11
    assert xs.min() == 0


def test_the_time_line_marks_what_is_doubtful() -> None:
    red = (190, 20, 20)
    sure = drawings.timeline_picture([caption(1, 3), caption(3, 5)], 30.0)
    doubtful = drawings.timeline_picture([caption(1, 3), caption(3, 5, confidence=0.5)], 30.0)
    assert not has(sure[22:], red)
    assert has(doubtful[22:], red)


@pytest.mark.parametrize(("duration", "tracks", "height"), [(25, 1, 72), (60, 1, 122), (60, 2, 170), (7200, 1, 622)])
def test_the_time_line_takes_at_most_twelve_rows(duration: float, tracks: int, height: int) -> None:
    captions = [caption(1, 2, track=f"track {number}") for number in range(tracks)]
    captions.append(caption(duration - 0.5, duration + 0.04, track="track 0"))
    assert drawings.timeline_picture(captions, duration).shape == (height, 900, 3)
    assert drawings.timeline_picture([], duration).shape[1] == 900


def test_strips_take_less_than_100_kb_together() -> None:
    few = strips(dict.fromkeys((2, 1), NOISE[:60, :400]))
    assert list(few) == [1, 2]
    many = strips(dict.fromkeys(range(1, 100), NOISE[:60, :400]))
    assert 3 < len(many) < 50
    assert sum(map(len, many.values())) < MAX_PICTURE_BYTES


def test_the_table_shows_texts_as_they_are() -> None:
    table = captions_table([caption(0, 1.5, "a|b *c*\n<script>"), caption(3661, 3662)], {1: "![caption 1](data:x)"}, 5)
    lines = (table.value or "").splitlines()
    assert lines[2] == r"| 1 | 0:00.000 | 0:01.500 | ![caption 1](data:x) | a\|b \*c\* / &lt;script&gt; | 0.98 |"
    assert lines[3] == "| 2 | 1:01:01.000 | 1:01:02.000 |  | Good evening. | 0.98 |"
    cut = captions_table([caption(0, 1)] * 7, limit=5)
    assert (cut.value or "").endswith("… and 2 more")


def test_a_list_is_bounded_and_quotes_nothing_as_markdown() -> None:
    assert bullet_list(["caption 1: *x*\n<b>"]) == r"- caption 1: \*x\* &lt;b&gt;"
    assert bullet_list([str(number) for number in range(60)]).splitlines()[-1] == "- … and 10 more"
    assert clock(59.9996) == "1:00.000"
