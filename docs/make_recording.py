"""Record README's twenty seconds in Chromium, with the real system: drop a clip, watch, correct it, download."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page, expect, sync_playwright

from captionacc_dagster.cli.demo_clip import make_demo_clip

RECORDING = Path(__file__).parent / "images" / "review.gif"
CHROMIUM = "/usr/bin/chromium"
NAME = "Harbour at night.mp4"
_SIZE = (1000, 740)
_BAR = 40  # pixels below the page, for what is done
_COLORS = 224
_FLAT_COLORS = 96
_MOST_BYTES = 3_000_000
_START_S = 120.0

# A pointer that the screenshots show: the system's own is not in them.
_POINTER = """() => {
  const pointer = document.createElement('div');
  pointer.id = 'pointer';
  Object.assign(pointer.style, {
    position: 'fixed', width: '18px', height: '18px', borderRadius: '50%', background: 'rgb(255 170 0 / 75%)',
    border: '2px solid #7a4a00', zIndex: 999, pointerEvents: 'none', translate: '-50% -50%', left: '-50px', top: '0',
  });
  document.body.append(pointer);
}"""
_DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name, { type: 'video/mp4' }));
  const event = { bubbles: true, cancelable: true, dataTransfer: dropped };
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', event));
}"""


@dataclass
class Film:
    """Pictures of the page, each with how long it is shown, milliseconds."""

    page: Page
    text: str = ""
    at: tuple[float, float] = (500.0, 500.0)
    pictures: list[Image.Image] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    def take(self, milliseconds: int) -> None:
        """Add what the page shows; the same picture once more only lengthens the one before."""
        self.page.evaluate("([x, y]) => Object.assign(document.getElementById('pointer')?.style ?? {}, "
                           "{ left: `${x}px`, top: `${y}px` })", list(self.at))  # fmt: skip
        shown = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        picture = Image.new("RGB", (_SIZE[0], _SIZE[1] + _BAR), "#141a33")
        picture.paste(shown)
        font = ImageFont.load_default(size=20)
        ImageDraw.Draw(picture).text((_SIZE[0] // 2, _SIZE[1] + _BAR // 2), self.text, "white", font, anchor="mm")
        if self.pictures and picture.tobytes() == self.pictures[-1].tobytes():
            self.durations[-1] += milliseconds
        else:
            self.pictures.append(picture)
            self.durations.append(milliseconds)

    def go_to(self, target: Locator) -> None:
        """Move the pointer to the middle of an element."""
        box = target.bounding_box()
        assert box
        end = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        start = self.at
        for step in range(1, 6):
            self.at = (start[0] + (end[0] - start[0]) * step / 5, start[1] + (end[1] - start[1]) * step / 5)
            self.take(60)

    def click(self, target: Locator) -> None:
        """Move the pointer to an element and click it."""
        self.go_to(target)
        target.click()

    def opened(self) -> None:
        """Show the pointer on a page that was just opened."""
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate(_POINTER)

    def write(self, path: Path) -> None:
        """Write the pictures as a GIF with one palette, which is the smallest."""
        sampled = self.pictures[:: max(1, len(self.pictures) // 10)]
        whole = Image.new("RGB", (_SIZE[0], (_SIZE[1] + _BAR) * len(sampled)))
        for place, picture in enumerate(sampled):
            whole.paste(picture, (0, place * (_SIZE[1] + _BAR)))
        palette = _palette(whole)
        first, *others = (
            picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self.pictures
        )  # fmt: skip
        first.save(path, save_all=True, append_images=others, duration=self.durations, loop=0, optimize=False)


def _palette(picture: Image.Image) -> Image.Image:
    """Return an image with a palette: the flat colors of the page exactly, and the best others for the pictures."""
    counted = sorted(picture.getcolors(1 << 24) or [], key=lambda entry: -entry[0])
    flat = [color for _, color in counted[:_FLAT_COLORS]]
    others = picture.quantize(_COLORS - _FLAT_COLORS, Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in flat for value in color] + others)  # pyright: ignore
    return palette


def main() -> None:
    """Write ``images/review.gif``."""
    with tempfile.TemporaryDirectory(prefix="ca-film-") as name:
        folder = Path(name)
        clip = make_demo_clip(folder / NAME).path
        environment = {**os.environ, "CAPTIONACC_HOME": str(folder / "home"), "DAGSTER_DISABLE_TELEMETRY": "1"}
        ports = _free_port(), _free_port()
        command = [sys.executable, "-m", "captionacc_dagster", "up", "--port", str(ports[0]), "--api-port"]
        with (folder / "up.log").open("wb") as output:
            system = subprocess.Popen([*command, str(ports[1])], env=environment, stdout=output, stderr=output)
            try:
                film = _record(_link(folder / "up.log"), clip)
            finally:
                system.send_signal(signal.SIGINT)
                system.wait(120)
    film.write(RECORDING)
    size = RECORDING.stat().st_size
    sys.stdout.write(f"{RECORDING}: {sum(film.durations) / 1000:.1f} s, {len(film.pictures)} pictures, {size} bytes\n")
    if size > _MOST_BYTES:
        raise SystemExit(f"more than {_MOST_BYTES} bytes")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _link(log: Path) -> str:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if found := re.search(r"Review page +(\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.2)
    raise SystemExit(f"no link was printed:\n{log.read_text(errors='replace')[-2000:]}")


def _record(link: str, clip: Path) -> Film:
    expect.set_options(timeout=600_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]}, reduced_motion="reduce")
        for _ in range(300):
            try:
                page.goto(link)
                break
            except Exception:  # noqa: BLE001 - the page is not served yet
                time.sleep(0.2)
        page.wait_for_url("**/review")
        film = Film(page)
        film.opened()
        _drop_and_watch(film, clip)
        _correct(film)
        browser.close()
    return film


def _drop_and_watch(film: Film, clip: Path) -> None:
    page = film.page
    film.text = "Drop a video"
    film.take(900)
    film.go_to(page.locator("#drop"))
    page.evaluate(_DROP, [NAME, base64.b64encode(clip.read_bytes()).decode()])
    card = page.locator(".video", has_text=NAME)
    expect(card).to_be_visible()
    film.text = "It finds where captions are, when, and what they say"
    state, seen = card.locator(".state"), ""
    until = time.monotonic() + 600
    # Each new word on the card is shown for the same time, however long the machine took.
    while not re.search(r"captions to check", now := state.inner_text()):
        if now != seen:
            film.take(350)
            seen = now
        if time.monotonic() > until:
            raise SystemExit(f"the video is not done: {now}")
        page.wait_for_timeout(300)
        state = page.locator(".video", has_text=NAME).locator(".state")
    page.wait_for_timeout(1500)
    film.take(1200)
    film.click(page.locator(".video", has_text=NAME).get_by_role("link"))
    film.opened()
    film.take(900)
    film.click(page.get_by_role("link", name="Check captions"))
    expect(page.locator("#screen")).to_have_attribute("data-drawn", "true")
    expect(page.locator("#editor")).to_have_attribute("data-grid", "exact")
    film.opened()


def _correct(film: Film) -> None:
    page = film.page
    film.text = "Each caption beside its frames, and the film with its sound"
    film.take(1500)
    page.keyboard.press("v")
    expect(page.locator("#film")).to_have_js_property("readyState", 4)
    page.locator("#captions li button").nth(2).click()
    page.keyboard.press("Space")
    for _ in range(14):
        film.take(170)
    page.keyboard.press("Space")
    page.keyboard.press("v")
    page.locator("#captions li button").nth(1).click()
    _wait_for_cuts(page)
    film.text = "To the frame: last with, first without"
    film.take(1500)
    film.click(page.get_by_role("button", name="End a frame later"))
    _wait_for_cuts(page)
    film.text = "One frame later, the caption is gone: too late"
    film.take(1800)
    film.click(page.get_by_role("button", name="End a frame earlier"))
    _wait_for_cuts(page)
    film.text = "One frame earlier: right"
    film.take(1300)
    page.keyboard.press("c")
    expect(page.locator("#saving")).to_be_empty()
    _wait_for_cuts(page)
    film.take(900)
    film.text = "Download SRT, WebVTT, ASS, or JSON"
    film.click(page.get_by_text("Download", exact=True))
    film.take(900)
    with page.expect_download():
        film.click(page.get_by_role("link", name="SRT"))
    film.take(2200)


def _wait_for_cuts(page: Page) -> None:
    for picture in page.locator(".cut img").all():
        if picture.is_visible():
            picture.evaluate("image => image.decode()")
    page.wait_for_timeout(300)


if __name__ == "__main__":
    main()
