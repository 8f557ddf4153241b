"""WebVTT files play in Chromium's <track> as they promise: place, time, words, and order of letters."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page

from captionacc_dagster.captioning.captions import Caption, Word
from captionacc_dagster.captioning.files.subtitles import write_subtitles
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster_tests.browser.conftest import MakePage
from captionacc_dagster_tests.captioning.files.rendered import extent, outer_widths

pytestmark = pytest.mark.e2e

WIDTH, HEIGHT, RATE = 640, 360, 25
ARABIC = "مرحبا يا صديقي!"

PAGE = """<!doctype html><meta charset="utf-8">
<style>body { margin: 0; background: black } ::cue { background: none }</style>
<video width="640" height="360" muted></video>
<script>
async function show(seconds) {
  const video = document.querySelector("video"), element = document.createElement("track");
  if (!video.src) {  // a blob, because the server does not answer the range requests of a seek
    video.src = URL.createObjectURL(await (await fetch("video.webm")).blob());
    await new Promise(resolve => { video.onloadeddata = resolve });
  }
  element.src = "subtitles.vtt?" + Math.random();
  video.replaceChildren(element);
  element.track.mode = "showing";
  await new Promise((resolve, reject) => { element.onload = resolve; element.onerror = reject });
  video.currentTime = seconds;
  await new Promise(resolve => { video.onseeked = resolve });
  // The browser updates the cues a moment after the seek; there is no event where they stay the same.
  await new Promise(resolve => setTimeout(resolve, 300));
  return [...element.track.activeCues].map(cue => cue.text);
}
function timestamps() {
  const nodes = document.querySelector("track").track.activeCues[0].getCueAsHTML().childNodes;
  return [...nodes].map(node => [node.nodeName, node.textContent]);
}
</script>"""


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Player:
    """A page that plays a black video of two seconds with a subtitle track."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page, self.folder = page, folder

    def show(self, captions: list[Caption], seconds: float) -> tuple[list[str], NDArray[np.bool_]]:
        """Return the texts of the cues at a time, and where the page shows them."""
        write_subtitles(self.folder / "subtitles.vtt", captions, {"width": WIDTH, "height": HEIGHT})
        texts = self.page.evaluate("seconds => show(seconds)", seconds)
        picture = cv2.imdecode(np.frombuffer(self.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return texts, np.asarray(picture.min(axis=2) > 128)

    def timestamps(self) -> list[Any]:
        """Return name and text of the nodes of the first cue that is visible."""
        return self.page.evaluate("timestamps()")


@pytest.fixture
def player(make_page: MakePage, tmp_path: Path) -> Iterator[Player]:
    with av.open(str(tmp_path / "video.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=RATE, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for index in range(2 * RATE):
            frame = av.VideoFrame.from_ndarray(black, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    handler = functools.partial(_Files, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = make_page(width=WIDTH, height=HEIGHT)
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        yield Player(page, tmp_path)
        server.shutdown()


def caption(text: str, bbox: BBox, start_s: float = 0.0, end_s: float = 2.0, track: str = "a", **facts: Any) -> Caption:
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * RATE),
        end_frame=round(end_s * RATE),
        text=text,
        confidence=0.9,
        bbox=bbox,
        track=track,
        **facts,
    )


def box(x: float, top: float, column: int) -> BBox:
    left = x - (0.0, 0.1, 0.2)[column]
    return BBox(left, top, left + 0.2, top + 0.06)


def test_text_appears_where_it_is_in_the_video(player: Player) -> None:
    for top in (0.05, 0.3, 0.5, 0.65):
        for x, column in ((0.06, 0), (0.5, 1), (0.94, 2)):
            _, mask = player.show([caption("HAHA", box(x, top, column))], 1.0)
            left, upper, right, _ = extent(mask)
            assert (left, (left + right) / 2, right)[column] == pytest.approx(x, abs=0.02), (x, top)
            assert upper == pytest.approx(top, abs=0.03), (x, top)


def test_two_speakers_at_once_keep_apart(player: Player) -> None:
    captions = [
        caption("Are you there?", box(0.06, 0.86, 0), track="left"),
        caption("Here I am.", box(0.94, 0.86, 2), track="right"),
    ]
    texts, mask = player.show(captions, 1.0)
    assert sorted(texts) == ["Are you there?", "Here I am."]
    left, right = mask[:, : WIDTH // 2], mask[:, WIDTH // 2 :]
    assert not mask[:, int(0.45 * WIDTH) : int(0.55 * WIDTH)].any()
    assert extent(left)[0] / 2 == pytest.approx(0.06, abs=0.02)
    assert 0.5 + extent(right)[2] / 2 == pytest.approx(0.94, abs=0.02)
    assert extent(left)[1] == pytest.approx(extent(right)[1], abs=0.02)


def test_cues_that_touch_are_shown_one_after_another(player: Player) -> None:
    captions = [
        caption("one two three four", box(0.5, 0.86, 1), 0.2, 0.48),
        caption("five six seven eight", box(0.5, 0.86, 1), 0.48, 1.0),
    ]
    shown = [player.show(captions, frame / RATE + 0.001)[0] for frame in (4, 5, 11, 12, 24, 25)]
    assert shown == [[], ["one two three four"], ["one two three four"], *[["five six seven eight"]] * 2, []]


def test_words_have_timestamps(player: Player) -> None:
    words = tuple(
        Word(text=text, start_s=start_s, end_s=2.0, bbox=BBox(0.3, 0.8, 0.4, 0.9))
        for text, start_s in (("R&B", 0.2), ("goes", 0.6), ("on", 1.2))
    )
    player.show([caption("R&B goes\non", box(0.5, 0.8, 1), 0.2, words=words)], 0.8)
    assert player.timestamps() == [
        ["#text", "R&B "],
        ["timestamp", "00:00:00.600"],
        ["#text", "goes\n"],
        ["timestamp", "00:00:01.200"],
        ["#text", "on"],
    ]


@pytest.mark.parametrize("text", [ARABIC, f"Hello, all!\n{ARABIC}", f"{ARABIC}\nHello, all!"])
def test_punctuation_of_each_line_is_at_its_end(player: Player, text: str) -> None:
    _, mask = player.show([caption(text, box(0.5, 0.86, 1))], 1.0)
    rows = np.flatnonzero(mask.any(axis=1))
    cut = rows[np.argmax(np.diff(rows)) + 1] if "\n" in text else 0
    lines = [mask[:cut], mask[cut:]] if cut else [mask]
    for line, pixels in zip(text.split("\n"), lines, strict=True):
        leftmost, rightmost = outer_widths(pixels)
        exclamation, letter = (leftmost, rightmost) if line == ARABIC else (rightmost, leftmost)
        assert exclamation < 0.5 * letter, line


def test_right_to_left_text_keeps_its_side(player: Player) -> None:
    for x, column in ((0.06, 0), (0.94, 2)):
        _, mask = player.show([caption(ARABIC, box(x, 0.86, column))], 1.0)
        left, _, right, _ = extent(mask)
        assert (left, 0, right)[column] == pytest.approx(x, abs=0.02)
