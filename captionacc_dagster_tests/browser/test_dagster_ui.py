"""Dagster's own pages, as a person uses them: materialize an asset of a video, see the run, its pictures and checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from captionacc_dagster_tests.browser.conftest import RunningSystem
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.observability, pytest.mark.slow, pytest.mark.timeout(900)]

# The daemon takes a run from the queue and starts a process for it.
RUN_MS = 150_000


def materialize(page: Page, system: RunningSystem, asset: str, partition: str) -> None:
    """Click through from the asset's page to the page of its run."""
    page.goto(f"{system.dagster_url}/assets/{asset}")
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=partition).click()
    page.get_by_role("button", name="Launch 1 run").click()
    # The notice goes away by itself, maybe before a click would reach it.
    run = page.get_by_role("link", name="View", exact=True).get_attribute("href")
    assert run
    page.goto(f"{system.dagster_url}{run}")


def see_picture(page: Page, system: RunningSystem, asset: str, name: str, width: int) -> None:
    """Open a picture among an asset's metadata; it has been drawn, this many pixels wide."""
    page.goto(f"{system.dagster_url}/assets/{asset}")
    row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))
    row.get_by_text("Show Markdown").click()
    image = page.get_by_role("dialog").locator("img")
    expect(image).to_be_visible()
    expect(image).to_have_js_property("naturalWidth", width)


def test_materialize_an_asset_and_see_its_run_pictures_and_checks(
    running_system: RunningSystem, page: Page, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "evening.mp4", frames=60, captions=[(10, 50, "Good evening.")], seed=11)
    video = running_system.upload(clip)
    running_system.wait_for_video(video.id, lambda row: row.status == "active", "its layout", seconds=240)

    page.set_default_timeout(60_000)
    materialize(page, running_system, "raw_video", str(video.id))
    expect(page.get_by_text("raw_video", exact=True).first).to_be_visible()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_MS)
    # Looking at one asset anew takes nothing back of what the others found.
    assert running_system.catalog.get_video_metadata(video.id).status == "active"

    see_picture(page, running_system, "raw_video", "poster", 480)
    see_picture(page, running_system, "full_frames", "contact_sheet", 300)
    see_picture(page, running_system, "ocr_db", "boxes_over_time", 900)
    see_picture(page, running_system, "layout_db", "layout", 640)

    page.goto(f"{running_system.dagster_url}/assets/layout_db?view=checks")
    expect(page.get_by_text("Checks (5)")).to_be_visible()
    for name in (
        "boxes_agree",
        "keys_belong_to_tenant",
        "object_as_recorded",
        "layout_is_confident",
        "nothing_to_report",
    ):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    page.get_by_text("boxes_agree", exact=True).first.click()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
