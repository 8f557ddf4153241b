"""Photograph the review page for docs/review.md in Chromium, with the demo's clip and the real system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from captionacc_dagster.api.local_access import sign_in_link
from captionacc_dagster.cli.demo_clip import make_demo_clip
from captionacc_dagster.settings import Settings

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
PORT = 8123
_COPIES = ("Harbour at night.mp4", "Market day.mp4", "The old lighthouse.mp4")


def main() -> None:
    """Draw ``review-*.png``."""
    with tempfile.TemporaryDirectory(prefix="ca-shots-") as name:
        folder = Path(name)
        environment = {**os.environ, "CAPTIONACC_HOME": str(folder / "home")}
        command = [sys.executable, "-m", "captionacc_dagster"]
        make_demo_clip(folder / _COPIES[0])
        for copy in _COPIES[1:]:
            # Equal content would be one video.
            (folder / copy).write_bytes((folder / _COPIES[0]).read_bytes() + b"\0" * (1 + _COPIES.index(copy)))
        clips = [str(folder / copy) for copy in _COPIES]
        subprocess.run([*command, "process", *clips, "--output-dir", str(folder / "out")], env=environment, check=True)
        server = subprocess.Popen([*command, "api", "--port", str(PORT)], env=environment)
        try:
            settings = Settings(_env_file=None, home=folder / "home")  # pyright: ignore[reportCallIssue]
            _wait(f"http://127.0.0.1:{PORT}/health")
            _photograph(sign_in_link(settings, f"http://127.0.0.1:{PORT}"))
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
            subprocess.run([*command, "db", "stop"], env=environment, check=False)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def _photograph(link: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def page(width: int = 1280, height: int = 800, **options: Any) -> Page:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                reduced_motion="reduce",
                **options,
            )
            opened = context.new_page()
            opened.goto(link)
            opened.wait_for_url("**/review")
            opened.wait_for_load_state("networkidle")
            return opened

        wide = page()
        _save(wide, "review-videos.png")
        address = wide.get_by_role("link", name=_COPIES[0]).get_attribute("href") or ""
        base = link.partition("/review")[0] + address
        wide.goto(base)
        wide.locator("#layout-frame").wait_for()
        wide.wait_for_timeout(1000)
        _save(wide, "review-layout.png", full_page=True)
        pictures: tuple[tuple[str, dict[str, Any]], ...] = (
            ("review-captions.png", {}),
            ("review-captions-dark.png", {"color_scheme": "dark"}),
            ("review-phone.png", {"width": 390, "height": 844, "device_scale_factor": 2, "is_mobile": True}),
        )
        for name, options in pictures:
            editor = page(**options)
            editor.goto(f"{base}/captions")
            editor.locator("#captions li").nth(1).locator("button").click()
            _wait_for_pictures(editor)
            _save(editor, name)
        browser.close()


def _wait_for_pictures(page: Page) -> None:
    """Wait until the close view is drawn, and every picture on the screen has arrived."""
    arrived = """() => document.getElementById('screen').dataset.drawn === 'true'
      && [...document.querySelectorAll('.cut img, #captions img')]
        .filter((image) => image.getBoundingClientRect().top < innerHeight && image.offsetParent !== null)
        .every((image) => image.complete && image.naturalWidth > 0)"""
    # Not `wait_for_function`: the page's policy forbids it to evaluate anything.
    for _ in range(600):
        if page.evaluate(arrived):
            return
        page.wait_for_timeout(200)
    raise SystemExit("the pictures do not arrive")


def _save(page: Page, name: str, *, full_page: bool = False) -> None:
    path = IMAGES / name
    page.screenshot(path=path, full_page=full_page)
    Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


if __name__ == "__main__":
    main()
