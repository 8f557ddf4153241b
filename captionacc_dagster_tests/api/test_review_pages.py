"""The review pages over HTTP: whose videos they show, what a page holds, and its pictures."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import cv2
import numpy as np
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from captionacc_dagster.api import services as api_services
from captionacc_dagster.api import sources
from captionacc_dagster.api.services import Services
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import Video, error_details
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.progress import StoredProgress
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.tags import PARTITION_TAG
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.page_browser import PageBrowser
from captionacc_dagster_tests.api.world import JWT_SECRET, TEXTS, Person, World, publish_chunks, publish_layout
from captionacc_dagster_tests.catalog.many_videos import add_many_videos
from captionacc_dagster_tests.orchestration.queue_harness import queue_opener

pytestmark = [pytest.mark.integration, pytest.mark.security]

EVIL = '"><script>alert(1)</script>'


# --- whose pages


def pages_of(video_id: UUID, version: int | None = 1) -> list[str]:
    base = f"/review/videos/{video_id}"
    pictures = ["/full-frames/0.jpg", f"/cropped-frames/{version}/12.jpg", f"/reels/{version}/0.jpg"]
    return [base, *(base + path for path in ("/state", "/captions", *pictures))]


def test_another_tenants_pages_are_not_there(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(world.tenant(), filename="secret plans.mp4")
    publish_layout(world, video)
    publish_chunks(world, video, 40)

    foreign = {path: browser.get(path) for path in pages_of(video.id, video.cropped_frames_version)}
    missing = {path: browser.get(path) for path in pages_of(uuid4())}

    assert {answer.status_code for answer in (*foreign.values(), *missing.values())} == {404}
    for theirs, nobodys in zip(foreign.values(), missing.values(), strict=True):
        assert "secret plans" not in theirs.text
        without_ids = [re.sub(r"[0-9a-f-]{32,36}", "", answer.text) for answer in (theirs, nobodys)]
        assert without_ids[0] == without_ids[1]
    assert "secret plans" not in browser.get("/review").text
    assert set(world.events("no_such_video")) == {"no_such_video"}


def test_own_pages_are_there(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_layout(world, video)
    publish_chunks(world, video, 40)

    answers = [browser.get(path) for path in pages_of(video.id, video.cropped_frames_version)]

    assert [answer.status_code for answer in answers] == [200] * len(answers)


# --- what a page holds


def test_what_people_typed_is_text_and_never_markup(browser: PageBrowser, world: World) -> None:
    tenant = browser.person.tenant_id
    done = world.processed_video(tenant, [EVIL], filename=f"done {EVIL}.mp4")
    publish_layout(world, done, EVIL)
    failed = world.video(tenant, f"failed {EVIL}.mp4")
    details = error_details(f"cannot read {EVIL}") | {"step": EVIL, "time": EVIL}
    world.catalog.update_video_status(failed.id, "error", error_details=details)

    pages = [
        browser.get(path)
        for path in (
            f"/review?{urlencode({'text': EVIL})}",
            f"/review/videos/{done.id}",
            f"/review/videos/{done.id}/captions",
            f"/review/videos/{failed.id}",
            f"/review/sign-in?{urlencode({'next': '/review/' + EVIL})}",
        )
    ]

    for page in pages:
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "alert(1)" in html.unescape(page.text) or "captions" in page.request.url.path
    data = browser.get(f"/videos/{done.id}/captions")
    assert data.headers["Content-Type"] == "application/json"
    assert data.headers["X-Content-Type-Options"] == "nosniff"


def test_pages_allow_no_inline_script_or_style_and_nothing_from_elsewhere(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_layout(world, video)

    for path in ("/review", f"/review/videos/{video.id}", f"/review/videos/{video.id}/captions", "/review/nothing"):
        page = browser.get(path)
        if path == "/review/nothing":
            continue
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text)
        assert not re.findall(r'(?:src|href|action)="(?!/|#)', page.text)
        assert page.headers["Cache-Control"] == "no-store"


def test_pages_hold_no_secrets(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_layout(world, video)

    text = "".join(
        browser.get(path).text
        for path in ("/review", f"/review/videos/{video.id}", f"/review/videos/{video.id}/captions")
    )

    assert browser.person.token not in text
    assert JWT_SECRET not in text
    assert str(video.tenant_id) not in text
    assert "/server/" not in text


def test_videos_are_searched_filtered_and_paged(browser: PageBrowser, world: World) -> None:
    tenant = browser.person.tenant_id
    for number in range(26):
        world.video(tenant, f"Evening {number:02}.mp4")
    failed = world.video(tenant, "Morning.mp4", status="error", error_details=error_details("no video in it"))

    first = browser.get("/review?text=evening").text
    older = re.search(r'href="([^"]*cursor=[^"]*)" rel="next"', first)
    assert older
    second = browser.get(html.unescape(older.group(1))).text
    only_failed = browser.get("/review?stage=failed").text
    part = browser.get("/review?stage=failed&part=1").text

    assert (first.count('<li class="video"'), second.count('<li class="video"')) == (24, 2)
    assert "Morning" not in first + second
    assert str(failed.id) in only_failed
    assert "Evening" not in only_failed
    assert part in only_failed
    assert "<html" not in part
    assert browser.get("/review?text=nothing+like+it").text.count("No video fits") == 1
    assert browser.get("/review?stage=other").status_code == 422


def test_a_list_of_a_thousand_videos_asks_as_little_as_one_of_one(
    browser: PageBrowser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    send = PostgresCatalog._send  # pyright: ignore[reportPrivateUsage]

    def counted(catalog: PostgresCatalog, function: str, parameters: Mapping[str, Any]) -> Any:
        calls.append(function)
        return send(catalog, function, parameters)

    def asked(address: str) -> tuple[list[str], int]:
        calls.clear()
        shown = browser.get(address).text.count('<li class="video"')
        return sorted(calls), shown

    monkeypatch.setattr(PostgresCatalog, "_send", counted)
    world.video(browser.person.tenant_id, "Episode 0.mp4")
    alone, _ = asked("/review")
    add_many_videos(world.database_url, browser.person.tenant_id, 1000)

    assert asked("/review") == (alone, 24)
    assert asked("/review?text=episode+99&stage=working") == (alone, 11)
    refreshed, shown = asked("/review?part=1")
    assert (refreshed.count("search_videos"), shown) == (1, 24)
    assert set(refreshed) <= set(alone)
    assert alone.count("search_videos") == 1


def test_an_error_is_explained_and_tried_again(browser: PageBrowser, world: World) -> None:
    video = world.video(browser.person.tenant_id)
    for request in world.catalog.list_processing_requests(video_id=video.id).items:
        world.catalog.finish_processing_request(request.id, "failed")
    details = error_details("cannot be opened: invalid data") | {"step": "raw_video"}
    world.catalog.update_video_status(video.id, "error", error_details=details)

    page = html.unescape(browser.get(f"/review/videos/{video.id}").text)
    action = re.search(r'data-action="([^"]+)"', page)
    assert action
    answer = browser.call("POST", action.group(1))
    after = browser.get(f"/review/videos/{video.id}/state").text

    assert "cannot be opened: invalid data" in page
    assert "upload a good copy" in page
    assert "raw_video" in page
    assert answer.status_code == 200
    assert "In the queue" in after
    assert "Try again" not in after


def test_a_card_says_what_to_do_about_an_error(browser: PageBrowser, world: World) -> None:
    world.video(browser.person.tenant_id, status="error", error_details=error_details("No space left on device"))
    page = html.unescape(browser.get("/review").text)
    assert "Free some, then try again" in page
    assert "No space left on device" in page


def test_cards_say_what_is_true(browser: PageBrowser, world: World) -> None:
    tenant = browser.person.tenant_id
    video = world.processed_video(tenant, ["A.", "B.", "C."])
    none = world.processed_video(tenant, [])
    nowhere = world.processed_video(
        tenant, [], layout_status="annotate", crop_left=None, crop_top=None, crop_right=None, crop_bottom=None
    )

    def state(number: UUID) -> str:
        page = html.unescape(browser.get(f"/review/videos/{number}/state").text)
        found = re.search(r'class="state big[^>]*><span[^>]*></span>([^<]*)</p>(?:\s*<p>([^<]*)</p>)?', page)
        assert found
        label, advice = found.groups("")
        listed = html.unescape(browser.get("/review").text)
        assert label in listed
        assert advice in listed
        return f"{label}. {advice}".strip()

    assert state(video.id) == "3 captions to check."
    numbers = [row.id for row in world.captions(video) if row.caption_frame_extents_state != "gap"]
    browser.call("POST", f"/videos/{video.id}/captions/confirm", {"caption_ids": numbers[:2]})
    assert state(video.id) == "2 of 3 confirmed."
    browser.call("DELETE", f"/videos/{video.id}/captions/{numbers[0]}")
    assert state(video.id) == "1 of 2 confirmed."
    browser.call("POST", f"/videos/{video.id}/captions:undo")
    assert state(video.id) == "2 of 3 confirmed."
    assert browser.get(f"/videos/{video.id}").json()["confirmed_count"] == 2
    assert state(none.id).startswith("No captions found. If the video has captions, move the box")
    assert state(nowhere.id).startswith("No place with captions found. If the video has captions, draw a box")


def test_captions_from_before_are_offered_where_they_are_kept(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    page = f"/review/videos/{video.id}"
    offer = f'data-action="/videos/{video.id}/captions:restore"'
    assert offer not in browser.get(page).text
    world.process_again(video, ["Found later."])
    assert offer in browser.get(page).text
    assert browser.call("POST", f"/videos/{video.id}/captions:restore").status_code == 200
    assert [row.shown_text for row in world.captions(video)] == list(TEXTS)


def test_a_layout_that_is_approved_by_itself_needs_nobody(browser: PageBrowser, world: World) -> None:
    tenant = browser.person.tenant_id
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("update captionacc.tenants set auto_approve_layout = true where id = %s", (tenant,))
    found: dict[str, Any] = {"layout_status": "annotate", "boundaries_status": "wait", "text_status": "wait"}
    sure = world.processed_video(tenant, [], layout_confidence=1.0, **found)
    unsure = world.processed_video(tenant, [], layout_confidence=0.0, **found)

    def state(video: Video) -> str:
        return browser.get(f"/review/videos/{video.id}/state").text

    assert "Layout found" in state(sure)
    assert "Layout needs your approval" in state(unsure)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("alter table captionacc.videos disable trigger user")
        connection.execute("update captionacc.videos set updated_at = now() - interval '2 minutes'")
        connection.execute("alter table captionacc.videos enable trigger user")
    assert "Layout needs your approval" in state(sure)


def test_a_waiting_video_shows_its_place_in_the_queue(
    browser: PageBrowser, world: World, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(api_services, "PLACES_WAIT_S", 60.0)
    video = world.video(browser.person.tenant_id)
    page = f"/review/videos/{video.id}/state"
    # Where Dagster's storage cannot be read, the page says what it knows.
    assert "In the queue<" in browser.get(page).text
    with queue_opener(postgres_server)() as queue:
        monkeypatch.setattr(Services, "instance", queue.instance)
        for partition in (str(uuid4()), str(uuid4()), str(video.id)):
            queue.submit(tags={PARTITION_TAG: partition})
        assert "In the queue: 2 videos are before it" in browser.get(page).text
        assert "In the queue: 2 videos are before it" in browser.get("/review").text
        [request] = world.catalog.list_processing_requests(video_id=video.id).items
        world.catalog.claim_processing_request(request.id, "sensor")
        world.catalog.launch_processing_request(request.id, "sensor", str(uuid4()))
        assert "Waiting in the queue since" in browser.get(page).text
        for run in queue.instance.get_runs(ascending=True)[:2]:
            queue.instance.run_storage.delete_run(run.run_id)
            assert re.search(r"In the queue: (1 video is before it|it is next)", browser.get(page).text)
        assert "it is next" in browser.get(page).text


def test_nothing_counts_as_in_progress_beside_captions_that_are_there(browser: PageBrowser, world: World) -> None:
    catalog = world.catalog
    video = world.processed_video(browser.person.tenant_id, ["one", "two"])

    def state() -> str:
        return browser.get(f"/review/videos/{video.id}/state").text

    # Twelve readings that have ended, as after as many splits.
    for number in range(12):
        ended = catalog.request_caption_ocr(video.id, [1], request_key=f"reading {number}")
        catalog.finish_processing_request(ended.id, "succeeded")
    assert "in the queue" not in state()
    reading = catalog.request_caption_ocr(video.id, [1], request_key="the last reading")
    assert "Waiting in the queue since" in state()
    catalog.claim_processing_request(reading.id, "sensor")
    catalog.release_processing_request(reading.id, "sensor", error_details=error_details("Dagster is away"))
    assert "could not be started yet and is retried automatically" in state()
    catalog.claim_processing_request(reading.id, "sensor")
    catalog.launch_processing_request(reading.id, "sensor", "run-2")
    assert "Captions are being read again" in state()
    catalog.finish_processing_request(reading.id, "succeeded")

    # The request of a search stays open until its run has ended, some seconds after its captions are there.
    search = catalog.approve_layout(video.id, (0.1, 0.7, 0.9, 0.95))
    catalog.claim_processing_request(search.id, "sensor")
    catalog.launch_processing_request(search.id, "sensor", "run-3")
    assert "Processing is in progress" in state()
    catalog.update_video_metadata(video.id, {"boundaries_status": "annotate", "text_status": "annotate"})
    assert "2 captions to check" in state()
    assert "in progress" not in state()


def test_warnings_are_on_the_page_and_in_the_api(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    message = "3 places with text were taken for logos or signs; see the layout."
    warning = {"code": "text_left_out", "message": message, "start_s": None, "end_s": None}
    world.catalog.update_video_metadata(video.id, {"warnings": [warning]})
    assert message in html.unescape(browser.get(f"/review/videos/{video.id}/state").text)
    assert browser.get(f"/videos/{video.id}").json()["warnings"] == [warning]


def test_what_is_drawn_over_the_frame_is_the_layout(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id, layout_status="annotate", boundaries_status="wait")
    publish_layout(world, video)

    page = browser.get(f"/review/videos/{video.id}").text

    found = re.search(r"data-layout='([^']*)'", page)
    assert found
    layout = json.loads(html.unescape(found.group(1)))
    assert layout["frames"] == [{"index": 0, "boxes": [[0.3, 0.8, 0.7, 0.9, 1], [0.1, 0.1, 0.2, 0.2, 0]]}]
    assert layout["region"] == [0.1, 0.7, 0.9, 0.95]
    assert not layout["approved"]
    assert "Approve and find captions" in page


@pytest.mark.usefixtures("impatient")
def test_an_error_page_is_for_people(
    browser: PageBrowser, world: World, make_client: MakeClient, person: Person
) -> None:
    away = make_client(database_url=SecretStr("postgresql://127.0.0.1:1/nothing"))
    away.cookies.set("captionacc_session", person.token)

    page = away.get("/review")

    assert page.status_code == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Retry-After"]
    assert "Try again in a moment" in page.text
    assert browser.get("/review/videos/not-an-id").status_code == 422


# --- pictures


def test_a_reel_shows_exactly_the_frames_that_were_stored(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_chunks(world, video, 50)
    base = f"/review/videos/{video.id}"

    answer = browser.get(f"{base}/reels/{video.cropped_frames_version}/1.jpg")

    assert answer.headers["Content-Type"] == "image/jpeg"
    assert "immutable" in answer.headers["Cache-Control"]
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (8 * 16, 4 * 64)
    for place in range(18):
        y, x = place // 4 * 16, place % 4 * 64
        expected = (40 + 3 * (32 + place) - 16) * 255 / 219
        assert abs(float(picture[y : y + 16, x : x + 64].mean()) - expected) < 4, place
    assert browser.get(f"{base}/reels/{video.cropped_frames_version}/7.jpg").status_code == 404
    assert browser.get(f"{base}/reels/99/0.jpg").status_code == 404


def test_a_single_cropped_frame(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_chunks(world, video, 20)
    base = f"/review/videos/{video.id}/cropped-frames/{video.cropped_frames_version}"

    picture = cv2.imdecode(np.frombuffer(browser.get(f"{base}/13.jpg").content, np.uint8), cv2.IMREAD_GRAYSCALE)

    assert picture is not None
    assert abs(float(picture.mean()) - (40 + 39 - 16) * 255 / 219) < 4
    assert browser.get(f"{base}/20.jpg").status_code == 404


def test_a_full_frame_is_not_sent_twice(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_layout(world, video)
    path = f"/review/videos/{video.id}/full-frames/0.jpg"

    first = browser.get(path)

    assert first.content.startswith(b"\xff\xd8")
    assert browser.get(path, **{"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert browser.get(f"/review/videos/{video.id}/full-frames/9.jpg").status_code == 404


def test_static_files_are_kept_as_long_as_they_are_the_same(client: TestClient) -> None:
    page = client.get("/review/sign-in").text
    address = re.search(r'href="(/review/static/review\.css\?v=[^"]+)"', page)
    assert address

    fixed = client.get(address.group(1))
    plain = client.get("/review/static/review.css")

    assert fixed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Cache-Control"] == "no-cache"
    assert client.get("/review/static/review.css", headers={"If-None-Match": plain.headers["ETag"]}).status_code == 304
    assert client.get("/review/static/..%2Frendering.py").status_code == 404
    assert client.get("/review/static/rendering.py").status_code == 404


def test_the_percentage_and_the_time_left_are_shown(browser: PageBrowser, world: World) -> None:
    video = world.video(browser.person.tenant_id, status="processing")
    key = VideoKeys(str(video.tenant_id), str(video.id)).progress
    now = time.time()
    facts = {"stage": "layout", "done": 30, "total": 100, "began": now - 60, "at": now}
    world.store.upload_file(key, json.dumps(facts).encode())

    page, listed = browser.get(f"/review/videos/{video.id}").text, browser.get("/review").text
    world.store.upload_file(key, json.dumps(facts | {"at": now - 600}).encode())
    stale = browser.get(f"/review/videos/{video.id}").text

    assert "Analyzing the video: 65 %, about 2 min left" in page
    assert "Analyzing the video: 65 %, about 2 min left" in listed
    assert 'value="16"' in listed
    assert "left" not in re.findall(r'class="state big[^<]*<span[^>]*></span>([^<]*)', stale)[0]


def test_a_stage_stores_how_far_it_has_come(world: World) -> None:
    keys = VideoKeys(str(uuid4()), str(uuid4()))
    told: list[tuple[str, int, int]] = []
    with StoredProgress(lambda *step: told.append(step), world.store, keys.progress) as noted:
        noted("captions", 5, 100)
        noted("captions", 6, 100)
        facts = json.loads(world.store.download_to_bytes(keys.progress))
    assert told == [("captions", 5, 100), ("captions", 6, 100)]
    assert (facts["stage"], facts["done"], facts["total"]) == ("captions", 5, 100)
    assert not world.store.file_exists(keys.progress)
