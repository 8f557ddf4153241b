"""``python -m benchmarks.page``: how quick the review page is in Chromium, with the real server and Postgres.

Measures from the beginning of a navigation until the first list is drawn, of 1,000 videos and of 2,000 captions, and
from a key until its effect is drawn among 2,000 captions. Every load is a first visit: nothing is in the browser's
cache. Times are those of this machine, the browser and the server sharing it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster_tests.browser.page_server import PageServer, running_page_server
from captionacc_dagster_tests.catalog.many_videos import add_many_videos

RESULTS = Path(__file__).with_name("results.json")
CHROMIUM = "/usr/bin/chromium"
VIDEOS, CAPTIONS = 1000, 2000
LIST_GOAL_MS, KEY_GOAL_MS = 300, 50
# Their effect is drawn before the server answers.
KEYS = (
    ("next caption", "j"), ("previous caption", "k"), ("end a frame later", "f"), ("confirm", "c"),
    ("delete", "Delete"), ("next doubtful", "q"),
)  # fmt: skip

# Sets `drawn` once the first list is on the screen: after the frame that follows its coming into the page.
_WATCH_LIST = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('#captions li, ul.videos li')) return;
  observer.disconnect();
  const channel = new MessageChannel();
  channel.port1.onmessage = () => (window.drawn = performance.now());
  requestAnimationFrame(() => channel.port2.postMessage(null));
}).observe(document, { childList: true, subtree: true });
"""
# Adds to `effects` how long it took from a key to the end of the frame that shows its effect.
_WATCH_KEYS = """
window.effects = [];
addEventListener('keydown', (event) => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => window.effects.push(performance.now() - event.timeStamp);
  requestAnimationFrame(() => channel.port2.postMessage(null));
}, { capture: true });
"""


def main() -> None:
    """Start everything, measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="loads of each list, and presses of each key")
    parser.add_argument("--write", action="store_true", help="write results.json, from which docs/review.md is made")
    options = parser.parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="ca-pg-") as name:
        postgres = EmbeddedPostgres(Path(name), durable=False)
        open_catalog(postgres).close()
        try:
            (Path(name) / "pages").mkdir()
            with running_page_server(postgres, Path(name) / "pages") as server:
                rows = _measure(server, options.rounds)
        finally:
            postgres.stop()
    for row in rows:
        print(f"{row['what']:<42} {row['median_ms']:>5} ms   at most {row['most_ms']:>5} ms   goal {row['goal_ms']} ms")
    machine = f"{psutil.cpu_count()} cores ({platform.machine()})"
    print(f"{machine}; load average before {load:.1f}")
    if options.write:
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        results = {"machine": machine, "measured_at": when, "load_average": round(load, 1), "rows": rows}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _measure(server: PageServer, rounds: int) -> list[dict[str, Any]]:
    world, person = server.world, server.person
    texts = [f"Caption {number} says this." for number in range(CAPTIONS)]
    video = server.video(texts, duration_seconds=CAPTIONS + 10.0)
    add_many_videos(world.database_url, person.tenant_id, VIDEOS - 1)
    captions = f"{server.url}/review/videos/{video.id}/captions"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        lists = ((f"list of {VIDEOS:,} videos", f"{server.url}/review"), (f"list of {CAPTIONS:,} captions", captions))
        rows = []
        for what, address in lists:
            _drawn(server, browser, address)  # the server has read its templates then
            rows.append(_row(what, [_drawn(server, browser, address) for _ in range(rounds)], LIST_GOAL_MS))
        page = _open(server, browser, captions)
        page.locator("#captions li").nth(2).locator("button").click()
        for what, key in KEYS:
            rows.append(_row(f"key: {what}", [_pressed(page, key) for _ in range(rounds)], KEY_GOAL_MS))
        browser.close()
    return rows


def _open(server: PageServer, browser: Browser, address: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.add_init_script(_WATCH_LIST + _WATCH_KEYS)
    server.sign_in(page)
    page.goto(address)
    return page


def _drawn(server: PageServer, browser: Browser, address: str) -> float:
    page = _open(server, browser, address)
    while (drawn := page.evaluate("window.drawn ?? null")) is None:
        page.wait_for_timeout(20)
    page.context.close()
    return drawn


def _pressed(page: Page, key: str) -> float:
    count = page.evaluate("window.effects.length")
    page.keyboard.press(key)
    while page.evaluate("window.effects.length") == count:
        page.wait_for_timeout(5)
    page.wait_for_timeout(300)  # as a person looks before the next key
    return page.evaluate("window.effects.at(-1)")


def _row(what: str, times_ms: Sequence[float], goal_ms: int) -> dict[str, Any]:
    return {
        "what": what,
        "median_ms": round(statistics.median(times_ms)),
        "most_ms": round(max(times_ms)),
        "goal_ms": goal_ms,
    }


if __name__ == "__main__":
    main()
