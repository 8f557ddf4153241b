"""The review page in a real browser: from an uploaded video to corrected subtitles, by mouse, keys and touch."""

from __future__ import annotations

import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from captionacc_dagster.captioning.files.captions_database import StoredCaption, read_captions
from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import download_captions
from captionacc_dagster_tests.browser.conftest import MakePage, RunningSystem
from captionacc_dagster_tests.browser.page_checks import (
    controls_without_name,
    outline,
    overflow,
    small_targets,
    texts_of_poor_contrast,
)
from captionacc_dagster_tests.small_clips import make_clip

# A machine that does much else at the same time takes its time.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
WAIT_MS = 300_000

CAPTIONS = (
    (10, 45, "Good evening."),
    (60, 95, "This is the news."),
    (105, 140, "Rain in the north."),
    (150, 185, "That is all."),
)
_SIDES = ("left", "top", "right", "bottom")
PHONE = {"width": 390, "height": 844, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def video(running_system: RunningSystem, tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A video that was just uploaded; the machine begins to look at it."""
    clip = make_clip(tmp_path_factory.mktemp("clips") / "evening.mp4", CAPTIONS, frames=200)
    return running_system.upload(clip, "Evening news.mp4")


@pytest.fixture(scope="module")
def found(running_system: RunningSystem, video: Video) -> Video:
    """The same video once its captions were found, whoever approved its layout."""
    if running_system.catalog.get_video_metadata(video.id).layout_approved_at is None:
        seen = running_system.wait_for_video(video.id, lambda video: video.layout_status == "annotate", "its layout")
        _approve(running_system, seen)
    return running_system.wait_for_video(video.id, lambda video: video.boundaries_status == "annotate", "its captions")


def _approve(system: RunningSystem, video: Video) -> None:
    """Approve a layout as soon as the run that found it has ended, some seconds after the layout is there."""
    for _ in range(240):
        try:
            system.catalog.approve_layout(video.id, video.crop_region)
            return
        except Conflict:
            time.sleep(0.25)
    raise AssertionError(f"the run that found the layout does not end\n{system.log()[-3000:]}")


def stored(system: RunningSystem, video: Video) -> dict[int, StoredCaption]:
    with TemporaryDirectory() as name:
        return {row.id: row for row in read_captions(download_captions(system.store, video, Path(name)))}


def numbers(page: Page) -> dict[str, float]:
    for side in _SIDES:
        expect(page.locator(f"#crop-{side}")).not_to_have_value("")
    return {side: float(page.locator(f"#crop-{side}").input_value()) for side in _SIDES}


def drag(page: Page, handle: Locator, across: float, down: float) -> None:
    """Drag by fractions of the picture."""
    handle.evaluate("element => element.scrollIntoView({ block: 'center' })")
    picture, box = page.locator(".picture").bounding_box(), handle.bounding_box()
    assert picture
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across * picture["width"] / 2, y + down * picture["height"] / 2)
    page.mouse.move(x + across * picture["width"], y + down * picture["height"])
    page.mouse.up()


def bright_pixels(page: Page) -> int:
    """Return how many pixels of the player's picture are nearly white, as captions are."""
    return page.evaluate(
        """() => {
          const canvas = document.getElementById('screen');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let i = 0; i < data.length; i += 4) count += data[i] > 200 && data[i + 1] > 200 && data[i + 2] > 200;
          return count;
        }"""
    )


def show(page: Page, frame: int) -> None:
    """Drag the slider to a frame and wait until it is drawn."""
    page.locator("#seek").fill(str(frame))
    expect(page.locator(f"#screen[data-frame='{frame}']")).to_have_attribute("data-drawn", "true")


def shown_frame(page: Page) -> int:
    return int(page.locator("#screen").get_attribute("data-frame") or -1)


def saved(page: Page) -> None:
    """Wait until every change has reached the server."""
    expect(page.locator("#saving")).to_be_empty()


def visit(page: Page, address: str) -> None:
    """Open a page; the first visit leads there through signing in."""
    page.goto(address)
    expect(page.locator("body > header")).to_be_visible()
    page.wait_for_load_state("networkidle")


def open_editor(page: Page, system: RunningSystem, video: Video) -> Locator:
    """Open the editor, stop the player and give the rows."""
    page.goto(f"{system.api_url}/review/videos/{video.id}/captions")
    rows = page.locator("#captions li")
    expect(rows.first).to_be_visible()
    expect(page.locator("#screen")).to_have_attribute("data-drawn", "true")
    if page.locator("#play").get_attribute("aria-pressed") == "true":
        page.locator("#play").click()
    rows.first.locator("button").focus()
    return rows


def test_a_layout_is_dragged_and_approved(running_system: RunningSystem, video: Video, page: Page) -> None:
    page.goto(running_system.api_url)
    assert "Review page" in running_system.log()
    card = page.locator(".video", has_text="Evening news.mp4")
    # The list keeps itself fresh: nobody reloads it.
    expect(card).to_contain_text("Layout needs your approval", timeout=WAIT_MS)
    card.get_by_role("link").click()

    expect(page.locator("#layout-frame")).to_have_js_property("complete", value=True)
    before = numbers(page)
    drag(page, page.locator("#crop"), 0.03, -0.05)
    after = numbers(page)
    assert after["left"] == pytest.approx(before["left"] + 3, abs=0.7)
    assert after["top"] == pytest.approx(before["top"] - 5, abs=0.9)
    assert after["right"] - after["left"] == pytest.approx(before["right"] - before["left"], abs=0.2)

    drag(page, page.locator(".handle.nw"), -0.05, 0.02)
    sized = numbers(page)
    assert sized["left"] == pytest.approx(after["left"] - 5, abs=0.7)
    assert (sized["right"], sized["bottom"]) == (after["right"], after["bottom"])
    page.locator("#crop").press("ArrowDown")
    page.locator("#crop").press("Shift+ArrowRight")
    keyed = numbers(page)
    assert keyed["top"] == pytest.approx(sized["top"] + 0.5)
    assert keyed["right"] == pytest.approx(sized["right"] + 0.5)

    page.get_by_role("button", name="Back to what was found").click()
    assert numbers(page) == before
    page.locator("#crop-top").fill("70")
    page.locator("#crop-bottom").fill("99.5")
    page.get_by_role("button", name="Approve and find captions").click()
    expect(page.locator(".state.big")).to_have_text(re.compile("Finding captions|captions to check"), timeout=WAIT_MS)
    approved = running_system.catalog.get_video_metadata(video.id)
    assert approved.layout_approval == "person"
    assert approved.crop_region is not None
    assert approved.crop_region[1::2] == pytest.approx((0.7, 0.995))

    expect(page.get_by_role("link", name="Check captions")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".history")).to_contain_text("approved by a person")


def test_the_player_shows_the_captions_own_frames(running_system: RunningSystem, found: Video, page: Page) -> None:
    rows = open_editor(page, running_system, found)
    expect(rows).to_have_count(len(CAPTIONS))
    # It loads once it is scrolled into view; an image without an address is complete as well.
    page.wait_for_function("picture => picture.naturalWidth > 100", arg=rows.nth(1).locator("img").element_handle())

    # Frames of the second caption: 2.4 s to 3.8 s at 10 per second.
    page.keyboard.press("j")
    expect(page.locator("#screen")).to_have_attribute("data-frame", "24")
    inside = bright_pixels(page)
    page.keyboard.press(",")
    expect(page.locator("#outside")).to_be_visible()
    outside = bright_pixels(page)
    assert inside > 300
    assert outside < inside / 5
    show(page, 37)
    assert bright_pixels(page) > 300
    page.keyboard.press(".")
    assert shown_frame(page) == 38
    assert bright_pixels(page) < inside / 5

    page.keyboard.press("Space")
    seen = set()
    for _ in range(40):
        seen.add(shown_frame(page))
        page.wait_for_timeout(60)
        if len(seen) > 8:
            break
    assert len(seen) > 8
    assert seen <= set(range(19, 44))


def test_captions_are_corrected_with_the_keyboard(
    running_system: RunningSystem, found: Video, page: Page, tmp_path: Path
) -> None:
    rows = open_editor(page, running_system, found)

    page.keyboard.press("c")
    expect(rows.first).to_contain_text("confirmed")
    saved(page)
    first, second, *_ = stored(running_system, found).values()
    assert first.caption_frame_extents_state == "confirmed"
    page.keyboard.press("u")
    expect(rows.first).not_to_contain_text("confirmed")
    saved(page)
    assert stored(running_system, found)[first.id].caption_frame_extents_state == "predicted"

    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("This is the <b>late</b> news & more.")
    page.keyboard.press("Enter")
    expect(rows.nth(1).locator(".text")).to_have_text("This is the <b>late</b> news & more.")
    page.keyboard.press("d")
    page.keyboard.press("d")
    page.keyboard.press("a")
    expect(page.locator("#end")).to_have_value("0:03.720")
    expect(page.locator("#start")).to_have_value("0:02.360")
    page.keyboard.press("j")
    saved(page)
    changed = stored(running_system, found)[second.id]
    assert (changed.start_ms, changed.end_ms) == (2360, 3720)
    assert changed.text == "This is the <b>late</b> news & more."

    page.keyboard.press("Delete")
    expect(rows).to_have_count(len(CAPTIONS) - 1)
    page.keyboard.press("u")
    expect(rows).to_have_count(len(CAPTIONS))
    saved(page)
    assert [row.caption_frame_extents_state for row in stored(running_system, found).values()].count("gap") == 0

    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="SRT").click()
    assert download.value.suggested_filename == "Evening news.srt"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "This is the <b>late</b> news & more." in text.replace("&lt;", "<").replace("&gt;", ">").replace(
        "&amp;", "&"
    )
    assert "00:00:02,360 --> 00:00:03,720" in text

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_somebody_elses_change_is_not_overwritten(running_system: RunningSystem, found: Video, page: Page) -> None:
    rows = open_editor(page, running_system, found)
    last = list(stored(running_system, found).values())[-1]

    def overtaken(route: Route) -> None:
        token = page.locator('meta[name="csrf-token"]').get_attribute("content") or ""
        address = f"{running_system.api_url}/videos/{found.id}/captions/{last.id}"
        answer = page.context.request.patch(address, data={"text": "Theirs."}, headers={"X-CSRF-Token": token})
        assert answer.ok
        route.continue_()

    page.route(f"**/captions/{last.id}", overtaken, times=1)
    button = rows.last.locator("button")
    button.click()
    if button.get_attribute("aria-current") != "true":
        button.click()  # the list moved under the pointer while its pictures arrived
    expect(button).to_have_attribute("aria-current", "true")
    page.locator("#text").fill("Mine.")
    page.locator("#text").press("Enter")

    expect(page.locator("#problem")).to_contain_text("Somebody else changed this caption meanwhile")
    expect(page.locator("#problem")).to_contain_text("Mine.")
    expect(rows.last.locator(".text")).to_have_text("Theirs.")
    assert stored(running_system, found)[last.id].text == "Theirs."


def test_captions_are_merged_and_split(running_system: RunningSystem, found: Video, page: Page) -> None:
    rows = open_editor(page, running_system, found)
    rows.nth(2).locator("button").click()
    third, fourth = (rows.nth(number).locator(".text").inner_text() for number in (2, 3))

    page.keyboard.press("m")
    expect(rows).to_have_count(len(CAPTIONS) - 1)
    expect(rows.nth(2).locator(".text")).to_have_text(f"{third} {fourth}")
    saved(page)
    page.keyboard.press("x")
    expect(page.locator("#said")).to_contain_text("first frame")
    show(page, 60)
    page.keyboard.press("x")
    expect(rows).to_have_count(len(CAPTIONS))
    saved(page)

    *_, before, after = (row for row in stored(running_system, found).values())
    assert (before.start_ms, before.end_ms, after.start_ms) == (4200, 6000, 6000)
    # What was merged was typed: it is divided, not read again.
    expect(rows.nth(2).locator(".text")).to_have_text(third)
    expect(rows.nth(3).locator(".text")).to_have_text(fourth)


def test_a_link_of_another_home_says_so_and_ends_no_session(running_system: RunningSystem, page: Page) -> None:
    videos = page.get_by_role("heading", name="Videos", exact=True)
    old = f"{running_system.api_url}/review/sign-in?key={'0' * 64}"
    page.goto(running_system.link)
    expect(videos).to_be_visible()
    for address in (old, f"{running_system.api_url}/review/invitation"):
        page.goto(address)
        expect(videos).to_be_visible()
    page.context.clear_cookies()
    page.goto(old)
    expect(page.get_by_role("alert")).to_contain_text("This link does not sign you in here.")
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


def test_a_phone_shows_everything_without_scrolling_sideways(
    running_system: RunningSystem, found: Video, make_page: MakePage
) -> None:
    page = make_page(**PHONE)
    base = f"{running_system.api_url}/review"

    for path in ("", f"/videos/{found.id}"):
        visit(page, base + path)
        assert (path, overflow(page), small_targets(page)) == (path, 0, [])

    box = page.locator("#crop").bounding_box()
    assert box
    before = numbers(page)
    touch = page.context.new_cdp_session(page)
    page.locator("#crop").scroll_into_view_if_needed()
    box = page.locator("#crop").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, dx in (("touchStart", 0), ("touchMove", 10), ("touchMove", 30), ("touchEnd", 30)):
        points = [] if kind == "touchEnd" else [{"x": x + dx, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    after = numbers(page)
    assert after["left"] > before["left"]
    assert after["right"] - after["left"] == pytest.approx(before["right"] - before["left"], abs=0.2)

    rows = open_editor(page, running_system, found)
    assert (overflow(page), small_targets(page)) == (0, [])
    rows.nth(1).locator("button").tap()
    expect(rows.nth(1).locator("button")).to_have_attribute("aria-current", "true")
    # The player stays in view above the list.
    expect(page.locator("#screen")).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_and_use_the_pages(
    running_system: RunningSystem, found: Video, make_page: MakePage, scheme: str
) -> None:
    page = make_page(color_scheme=scheme, reduced_motion="reduce")
    base = f"{running_system.api_url}/review"

    for path in ("", "?text=nothing+like+it", f"/videos/{found.id}", f"/videos/{found.id}/captions", "/videos/none"):
        visit(page, base + path)
        seen = outline(page)
        assert (seen["lang"], seen["h1"], seen["main"], seen["header"], seen["status"]) == ("en", 1, 1, 1, 1)
        assert "captionacc" in seen["title"]
        assert (path, controls_without_name(page)) == (path, [])
        assert (path, texts_of_poor_contrast(page)) == (path, [])
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        focused = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert focused == "solid"

    # Nothing moves by itself for who asked for less motion.
    page.goto(f"{base}/videos/{found.id}/captions")
    expect(page.locator("#screen")).to_have_attribute("data-drawn", "true")
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "false")
