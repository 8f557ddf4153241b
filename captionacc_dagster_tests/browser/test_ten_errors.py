"""A stranger corrects ten errors of the machine with keys and clicks alone; the subtitles then are the truth."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from captionacc_dagster_tests.api.world import publish_chunks
from captionacc_dagster_tests.browser.page_server import PageServer
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

FRAMES = 500
# Of the clip, 25 frames a second: first frame, frame after the last, text.
TRUTH = (
    (20, 50, "Good evening."),
    (60, 95, "This is the late news."),
    (100, 130, "Rain in the north."),
    (140, 170, "Wind at the coast."),
    (180, 205, "And now the sports."),
    (215, 250, "They won again."),
    (260, 300, "Nobody had expected it."),
    (310, 340, "Least of all the coach."),
    (343, 370, "More at eleven."),
    (380, 410, "Good night."),
    (430, 470, "See you tomorrow."),
)
# What the machine made of it.
FOUND = (
    (20, 47, "Good evening."),  # a boundary: three frames early
    (60, 95, "This is the lale news."),  # a letter
    (100, 130, "Rain in the north."),
    (112, 118, "||'."),  # a phantom
    (140, 170, "Wimd at the coast."),  # a letter
    (192, 205, "And now the sports."),  # a boundary: twelve frames late
    (215, 250, "They won agaim."),  # a letter
    # The seventh is missed.
    (310, 370, "Least of all the coach. More at eleven."),  # merged
    (380, 410, "Gocd night."),  # a letter
    (430, 452, "See you tomorrow."),  # doubled
    (452, 470, "See you tomorrow."),
)

# Seconds of a person by the keystroke-level model (Card, Moran, Newell): a key, a click with pointing, a thought before
# something new.
_KEY_S, _CLICK_S, _THOUGHT_S = 0.2, 1.3, 1.35


class Stranger:
    """Hands on the keyboard and the mouse; counts what they do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.keys = self.clicks = self.thoughts = 0

    def think(self) -> None:
        self.thoughts += 1

    def press(self, *keys: str) -> None:
        for key in keys:
            self.keys += 1 + key.count("+")
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.keys += len(text)
        self.page.keyboard.type(text)

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def choose(self, number: int) -> None:
        """Click on a caption in the list, beginning something new."""
        self.think()
        self.click(self.page.locator("#captions li button").nth(number))

    def replace_letter(self, letter: str, before: str) -> None:
        """In the text of the caption in hand, replace the letter before its last part."""
        self.press("e", "End", *["ArrowLeft"] * len(before), "Backspace")
        self.type(letter)
        self.press("Enter")

    def enter(self, field: str, value: str) -> None:
        """Type a time or a frame into a field, whose content is selected when it is clicked."""
        self.click(self.page.locator(field))
        self.type(value)
        self.press("Enter")

    @property
    def seconds(self) -> float:
        return _KEY_S * self.keys + _CLICK_S * self.clicks + _THOUGHT_S * self.thoughts


def srt_of(captions: tuple[tuple[int, int, str], ...]) -> str:
    def clock(frame: int) -> str:
        seconds, milliseconds = divmod(40 * frame, 1000)
        return f"00:00:{seconds:02},{milliseconds:03}"

    return "\n".join(
        f"{number}\n{clock(start)} --> {clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(captions, start=1)
    )


def test_a_stranger_corrects_ten_errors(page_server: PageServer, page: Page, tmp_path: Path) -> None:
    world, person = page_server.world, page_server.person
    video = world.processed_video(
        person.tenant_id,
        [text for _, _, text in FOUND],
        frames=[(start, end) for start, end, _ in FOUND],
        duration_seconds=FRAMES / 25,
    )
    world.publish_film(video, make_clip(tmp_path / "news.mp4", TRUTH, frames=FRAMES))
    publish_chunks(world, video, FRAMES * 10 // 25)
    page_server.sign_in(page)
    page.goto(f"{page_server.url}/review/videos/{video.id}/captions")
    rows = page.locator("#captions li")
    expect(rows).to_have_count(len(FOUND))
    expect(page.locator("#editor")).to_have_attribute("data-grid", "exact")
    hands, began = Stranger(page), time.monotonic()

    hands.choose(0)
    hands.press("f", "f", "f")
    expect(page.locator("#end-frame")).to_have_text("frame 50")
    hands.choose(1)
    hands.replace_letter("t", before="e news.")
    hands.choose(3)
    hands.press("Delete")
    expect(rows).to_have_count(len(FOUND) - 1)
    # The next one is in hand then.
    hands.think()
    hands.replace_letter("n", before="d at the coast.")
    hands.choose(4)
    hands.press("Shift+A", "a", "a")
    expect(page.locator("#start-frame")).to_have_text("frame 180")
    hands.choose(5)
    hands.replace_letter("n", before=".")

    # The missed one: seen while the film plays on from the caption before; its first frame is found frame by frame.
    hands.think()
    hands.press("v")
    expect(page.locator("#film")).to_have_js_property("readyState", 4)
    timeline = page.locator("#timeline")
    box = timeline.bounding_box()
    assert box
    hands.clicks += 1
    timeline.click(position={"x": box["width"] * 258 / FRAMES, "y": box["height"] / 2})
    shown = page.locator("#clock")
    expect(shown).to_have_text(re.compile(r"0:10\.[2-4]\d0"))
    while (before := shown.inner_text()) != "0:10.400":
        hands.press("," if before > "0:10.400" else ".")
        expect(shown).not_to_have_text(before)
    hands.press("n")
    expect(rows).to_have_count(len(FOUND))
    expect(page.locator("#text")).to_be_focused()
    hands.type("Nobody had expected it.")
    hands.press("Enter")
    hands.enter("#end", "#300")
    expect(page.locator("#start-frame")).to_have_text("frame 260")

    # The merged one: split after its fourth word, then each cut typed as the frame that is shown beside it.
    hands.choose(7)
    hands.press("e", "Home", *["Control+ArrowRight"] * 5)
    while page.locator("#text").evaluate("field => field.value.slice(field.selectionStart)") != "More at eleven.":
        hands.press("ArrowRight")
    hands.press("Control+Enter")
    expect(rows).to_have_count(len(FOUND) + 1)
    hands.enter("#end", "#340")
    hands.choose(8)
    hands.enter("#start", "#343")

    hands.choose(9)
    hands.replace_letter("o", before="d night.")
    hands.choose(10)
    hands.press("m")
    expect(rows).to_have_count(len(TRUTH))
    expect(page.locator("#saving")).to_be_empty()
    hands.think()
    hands.click(page.get_by_text("Download", exact=True))
    with page.expect_download() as download:
        hands.click(page.get_by_role("link", name="SRT"))
    seconds = time.monotonic() - began

    print(
        f"ten errors: {hands.keys} keys, {hands.clicks} clicks, {hands.thoughts} thoughts: about {hands.seconds:.0f} s "
        f"for a person; {seconds:.1f} s in the browser"
    )
    assert Path(download.value.path()).read_text(encoding="utf-8").strip() == srt_of(TRUTH).strip()
