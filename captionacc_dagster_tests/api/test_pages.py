"""The review pages over HTTP: who gets in, whose videos they see, what a page holds, and who may change things."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.datastructures import Headers

from captionacc_dagster.api.local_access import is_at_the_machine
from captionacc_dagster.captioning import databases
from captionacc_dagster.captioning.chunks import ChunkWriter
from captionacc_dagster.captioning.databases import Detection, FrameOcr
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout import Layout
from captionacc_dagster.catalog.models import Video, error_details
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.world import JWT_SECRET, Person, World, claims_of, sign

pytestmark = [pytest.mark.integration, pytest.mark.security]

EVIL = '"><script>alert(1)</script>'


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page)
    assert found
    return found.group(1)


def post_form(client: TestClient, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> Any:
    return client.post(
        path,
        content=urlencode(fields),
        headers={"Content-Type": "application/x-www-form-urlencoded", **(headers or {})},
        follow_redirects=False,
    )


def sign_in(client: TestClient, token: str, *, next: str = "") -> Any:
    csrf = csrf_of(client.get("/review/sign-in").text)
    return post_form(client, "/review/sign-in", csrf=csrf, access_token=token, next=next)


def set_session(client: TestClient, token: str) -> None:
    """Put another token into the cookie that the browser already has."""
    cookie = next(cookie for cookie in client.cookies.jar if cookie.name == "captionacc_session")
    cookie.value = token


class Browser:
    """A person's browser: it keeps cookies and knows the page's token."""

    def __init__(self, client: TestClient, person: Person) -> None:
        self.client = client
        self.person = person
        assert sign_in(client, person.token).status_code == 303
        self.csrf = csrf_of(client.get("/review").text)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        return self.client.request(method, path, json=body, headers={"X-CSRF-Token": self.csrf, **headers})


@pytest.fixture
def person(world: World) -> Person:
    return world.person(world.tenant())


@pytest.fixture
def browser(stand_in_client: TestClient, person: Person) -> Browser:
    return Browser(stand_in_client, person)


def publish_layout(world: World, video: Video, text: str = "a caption") -> None:
    """Store a layout with one caption and one sign, and the frame they are in."""
    boxes = (
        Detection(0, 0, 0.0, text, 0.9, BBox(0.3, 0.8, 0.7, 0.9)),
        Detection(0, 1, 0.0, "a sign", 0.9, BBox(0.1, 0.1, 0.2, 0.2)),
    )
    layout = Layout(
        frame_width=1280,
        frame_height=720,
        tracks=(),
        crop_region=CropRegion(0.1, 0.7, 0.9, 0.95),
        anchor_type="center",
        anchor_position=0.5,
        vertical_center=0.85,
        confidence=0.9,
        labels={(0, 0): ("in", 0.9), (0, 1): ("out", 0.9)},
        evidence=(),
    )
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    with TemporaryDirectory() as name:
        path = Path(name) / "layout.db"
        databases.write_layout_database(path, layout, [FrameOcr(0, 0.0, boxes, None)])
        world.store.publish(keys.layout_db, databases.compress(path, Path(name) / "layout.db.gz"))
    picture = np.full((72, 128, 3), 200, np.uint8)
    world.store.publish(keys.full_frame(0), cv2.imencode(".jpg", picture)[1].tobytes())


def publish_chunks(world: World, video: Video, frames: int) -> None:
    """Store cropped frames whose grey tells their index: 40 + 3 * index."""
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    chroma = np.full((8, 32), 128, np.uint8)
    with TemporaryDirectory() as name:
        with ChunkWriter(Path(name), 10.0) as writer:
            for index in range(frames):
                writer.write(index, (np.full((16, 64), 40 + 3 * index, np.uint8), chroma, chroma))
        for path in Path(name).rglob("*.webm"):
            level, first = path.parent.name.removeprefix("modulo_"), path.stem.removeprefix("chunk_")
            assert video.cropped_frames_version is not None
            world.store.publish(keys.chunk(video.cropped_frames_version, int(level), int(first)), path.read_bytes())


# --- signing in


@pytest.mark.parametrize(
    "path", ["/review", "/review?text=news", "/review/videos/0f8fad5b-d9cb-469f-a165-70867728950e"]
)
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(client: TestClient, path: str, person: Person) -> None:
    sent = client.get(path, follow_redirects=False)
    assert sent.status_code == 303
    assert sent.headers["Location"].startswith("/review/sign-in?next=%2Freview")

    form = client.get(sent.headers["Location"])
    target = re.search(r'name="next" value="([^"]*)"', form.text)
    assert target
    back = sign_in(client, person.token, next=html.unescape(target.group(1)))
    assert (back.status_code, back.headers["Location"]) == (303, path)


def test_the_bare_address_leads_to_the_pages(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["Location"] == "/review"


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(client: TestClient, person: Person) -> None:
    answer = sign_in(client, person.token)

    cookies = {line.partition("=")[0]: line.lower() for line in answer.headers.get_list("set-cookie")}
    assert set(cookies) == {"captionacc_session", "captionacc_form"}
    for line in cookies.values():
        assert "httponly" in line
        assert "samesite=strict" in line
    assert client.get("/review").status_code == 200


def test_cookies_are_secure_where_the_connection_is(
    settings: Settings, person: Person, make_client: MakeClient
) -> None:
    client = make_client()
    client.base_url = "https://captions.test"

    answer = sign_in(client, person.token)

    assert all("; secure" in line.lower() for line in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test", "/videos", "/review/../x\\", "javascript:alert(1)"]
)
def test_nobody_is_sent_to_another_site(client: TestClient, person: Person, target: str) -> None:
    assert sign_in(client, person.token, next=target).headers["Location"] == "/review"


def test_a_wrong_token_is_refused_and_written_down(client: TestClient, world: World) -> None:
    forged = sign(claims_of(uuid4()), "another-secret-of-somebody-else-32-bytes")

    answer = sign_in(client, forged)

    assert answer.status_code == 401
    assert forged not in answer.text
    assert 'role="alert"' in answer.text
    assert world.events("bad_sign_in") == ["bad_sign_in"]
    assert client.get("/review", follow_redirects=False).status_code == 303


def test_a_token_that_no_cookie_holds_is_refused(client: TestClient, person: Person) -> None:
    long = sign(claims_of(person.user_id, padding="x" * 4000))

    answer = sign_in(client, long)

    assert (answer.status_code, "too long" in answer.text) == (401, True)


def test_signing_in_needs_the_forms_own_token(client: TestClient, person: Person) -> None:
    client.get("/review/sign-in")
    without = post_form(client, "/review/sign-in", access_token=person.token)
    wrong = post_form(client, "/review/sign-in", csrf="0" * 64, access_token=person.token)
    csrf = csrf_of(client.get("/review/sign-in").text)
    elsewhere = post_form(
        client, "/review/sign-in", {"Origin": "https://evil.test"}, csrf=csrf, access_token=person.token
    )

    assert [answer.status_code for answer in (without, wrong, elsewhere)] == [403] * 3


def test_guessing_is_slowed_down(make_client: MakeClient) -> None:
    client = make_client(rate_limit_failures="3/minute")

    codes = [sign_in(client, "guess").status_code for _ in range(5)]

    assert codes == [401, 401, 401, 429, 429]


def test_signing_out_ends_the_session(browser: Browser) -> None:
    refused = post_form(browser.client, "/review/sign-out")
    answer = post_form(browser.client, "/review/sign-out", csrf=browser.csrf)

    assert (refused.status_code, answer.status_code) == (403, 303)
    assert browser.get("/review").status_code == 303


@pytest.mark.parametrize(
    ("approval", "said"), [("pending", "this account is not approved (pending)"), ("rejected", "not approved")]
)
def test_an_account_that_is_not_approved_is_told_so(client: TestClient, world: World, approval: Any, said: str) -> None:
    waiting = world.person(world.tenant(), approval_status=approval)
    sign_in(client, waiting.token)

    page = client.get("/review")

    assert page.status_code == 403
    assert said in page.text
    assert page.headers["Content-Type"].startswith("text/html")


def test_an_ended_session_leads_to_sign_in(client: TestClient, person: Person) -> None:
    sign_in(client, person.token)
    set_session(client, sign(claims_of(person.user_id, exp=1_000_000_000)))

    assert client.get("/review", follow_redirects=False).headers["Location"].startswith("/review/sign-in")


def test_a_link_on_another_sites_page_is_opened_once_more_from_ours(browser: Browser) -> None:
    browser.client.cookies.clear()

    page = browser.get("/review?text=a%26b", **{"Sec-Fetch-Site": "cross-site"})

    assert page.status_code == 200
    assert 'content="0;url=/review?text=a%26b"' in page.text


# --- Supabase Auth at the wire


@dataclass
class AuthStandIn:
    """What Supabase Auth answers, and what it was asked."""

    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def auth() -> Iterator[AuthStandIn]:
    state = AuthStandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, body, self.headers["apikey"]))
            status, answer = state.answers.pop(0)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def hosted(make_client: MakeClient, world: World, auth: AuthStandIn) -> TestClient:
    """An API that knows its users from Supabase Auth; the catalog is the test's own."""
    client = make_client(supabase_url=auth.url, supabase_service_role_key=SecretStr("service-key"))
    client.app.state.services._catalog = world.catalog  # pyright: ignore
    return client


def test_e_mail_and_password_are_exchanged_at_supabase(hosted: TestClient, auth: AuthStandIn, person: Person) -> None:
    auth.answers = [(200, {"access_token": person.token, "refresh_token": "refresh-1", "expires_in": 3600})]
    form = hosted.get("/review/sign-in").text

    answer = post_form(hosted, "/review/sign-in", csrf=csrf_of(form), email="a@b.test", password="pass word&=")

    assert answer.status_code == 303
    assert auth.asked == [
        ("/auth/v1/token?grant_type=password", {"email": "a@b.test", "password": "pass word&="}, "service-key")
    ]
    refresh = next(line for line in answer.headers.get_list("set-cookie") if "refresh" in line.partition("=")[0])
    assert "Path=/review" in refresh
    assert "service-key" not in form + hosted.get("/review").text


@pytest.mark.parametrize(("status", "said"), [(400, "not right"), (429, "too many"), (500, "away")])
def test_supabases_refusal_is_told(hosted: TestClient, auth: AuthStandIn, status: int, said: str) -> None:
    auth.answers = [(status, {"msg": "internal words"})]
    csrf = csrf_of(hosted.get("/review/sign-in").text)

    answer = post_form(hosted, "/review/sign-in", csrf=csrf, email="a@b.test", password="secret-word")

    assert answer.status_code == (503 if status == 500 else 401)
    assert said in answer.text
    assert "secret-word" not in answer.text
    assert "internal words" not in answer.text


def test_a_session_is_renewed_while_a_page_is_open(hosted: TestClient, auth: AuthStandIn, person: Person) -> None:
    old = sign(claims_of(person.user_id, exp=1_000_000_000))
    auth.answers = [(200, {"access_token": person.token, "refresh_token": "refresh-1"})]
    csrf = csrf_of(hosted.get("/review/sign-in").text)
    post_form(hosted, "/review/sign-in", csrf=csrf, email="a@b.test", password="x")
    csrf = csrf_of(hosted.get("/review").text)
    set_session(hosted, old)
    assert hosted.get("/videos").status_code == 401

    auth.answers = [
        (200, {"access_token": person.token, "refresh_token": "refresh-2"}),
        (400, {"error_code": "refresh_token_already_used"}),
    ]
    without = hosted.post("/review/session")
    renewed = hosted.post("/review/session", headers={"X-CSRF-Token": csrf})
    videos = hosted.get("/videos")
    ended = hosted.post("/review/session", headers={"X-CSRF-Token": csrf})

    assert [answer.status_code for answer in (without, renewed, videos, ended)] == [403, 204, 200, 401]
    assert auth.asked[-1][1] == {"refresh_token": "refresh-2"}


# --- the person at the machine

SUPABASE = {"supabase_url": "https://project.supabase.test", "supabase_service_role_key": SecretStr("x" * 32)}


@pytest.mark.parametrize(
    ("client", "host", "headers", "changes", "let_in"),
    [
        ("127.0.0.1", "127.0.0.1", {}, {}, True),
        ("::1", "localhost", {}, {}, True),
        ("127.0.0.1", "rebound.evil.test", {}, {}, False),
        ("192.0.2.7", "127.0.0.1", {}, {}, False),
        ("127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, {}, False),
        ("127.0.0.1", "127.0.0.1", {"Via": "1.1 proxy"}, {}, False),
        ("127.0.0.1", "127.0.0.1", {}, {"trusted_proxies": ["127.0.0.1"]}, False),
        ("127.0.0.1", "127.0.0.1", {}, {"supabase_jwt_secret": SecretStr("x" * 32)}, False),
        ("127.0.0.1", "127.0.0.1", {}, SUPABASE, False),
        ("127.0.0.1", "127.0.0.1", {}, {"database_url": SecretStr("postgresql://db.test/x")}, False),
        ("testclient", "127.0.0.1", {}, {}, False),
    ],
)
def test_only_a_browser_on_this_machine_needs_no_sign_in(
    tmp_path: Path, client: str, host: str, headers: dict[str, str], changes: dict[str, Any], let_in: bool
) -> None:
    values = {"home": tmp_path, "database_url": None, "supabase_url": None, "supabase_jwt_secret": None, **changes}
    settings = Settings(_env_file=None, **values)  # pyright: ignore

    assert is_at_the_machine(settings, client, host, Headers(headers)) is let_in


# --- changes in a session


def test_a_change_in_a_session_needs_the_pages_token(browser: Browser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    path, body = f"/videos/{video.id}/captions/1", {"text": "changed"}

    without = browser.client.patch(path, json=body)
    wrong = browser.call("PATCH", path, body, **{"X-CSRF-Token": "0" * 64})
    elsewhere = browser.call("PATCH", path, body, Origin="https://evil.test")
    assert [answer.status_code for answer in (without, wrong, elsewhere)] == [403] * 3
    assert world.captions(video)[0].shown_text == "Hello there."

    assert browser.call("PATCH", path, body, Origin="http://testserver").status_code == 200
    assert world.captions(video)[0].shown_text == "changed"


def test_another_browsers_page_token_is_no_good(browser: Browser, make_client: MakeClient, world: World) -> None:
    other = Browser(make_client(), world.person(browser.person.tenant_id))
    video = world.processed_video(browser.person.tenant_id)

    answer = browser.call("DELETE", f"/videos/{video.id}/captions/1", **{"X-CSRF-Token": other.csrf})

    assert answer.status_code == 403


def test_a_header_token_still_needs_nothing_else(client: TestClient, person: Person, world: World) -> None:
    video = world.processed_video(person.tenant_id)

    answer = client.patch(f"/videos/{video.id}/captions/1", json={"text": "by header"}, headers=person.headers)

    assert answer.status_code == 200


def test_subtitles_are_downloaded_in_a_session(browser: Browser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    page = browser.get(f"/review/videos/{video.id}").text

    for kind in ("srt", "vtt", "ass", "json"):
        assert f'href="/videos/{video.id}/subtitles.{kind}" download' in page
        assert "Hello there." in browser.get(f"/videos/{video.id}/subtitles.{kind}").text


# --- whose pages


def pages_of(video_id: UUID, version: int | None = 1) -> list[str]:
    base = f"/review/videos/{video_id}"
    pictures = ["/full-frames/0.jpg", f"/cropped-frames/{version}/12.jpg", f"/reels/{version}/0.jpg"]
    return [base, *(base + path for path in ("/standing", "/captions", *pictures))]


def test_another_tenants_pages_are_not_there(browser: Browser, world: World) -> None:
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
    assert set(world.events("foreign_video")) == {"foreign_video"}


def test_own_pages_are_there(browser: Browser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_layout(world, video)
    publish_chunks(world, video, 40)

    answers = [browser.get(path) for path in pages_of(video.id, video.cropped_frames_version)]

    assert [answer.status_code for answer in answers] == [200] * len(answers)


# --- what a page holds


def test_what_people_typed_is_text_and_never_markup(browser: Browser, world: World) -> None:
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


def test_pages_allow_no_inline_script_or_style_and_nothing_from_elsewhere(browser: Browser, world: World) -> None:
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


def test_pages_hold_no_secrets(browser: Browser, world: World) -> None:
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


def test_videos_are_searched_filtered_and_paged(browser: Browser, world: World) -> None:
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


def test_an_error_is_explained_and_tried_again(browser: Browser, world: World) -> None:
    video = world.video(browser.person.tenant_id)
    for request in world.catalog.list_processing_requests(video_id=video.id).items:
        world.catalog.finish_processing_request(request.id, "failed")
    details = error_details("cannot be opened: invalid data") | {"step": "raw_video"}
    world.catalog.update_video_status(video.id, "error", error_details=details)

    page = html.unescape(browser.get(f"/review/videos/{video.id}").text)
    action = re.search(r'data-action="([^"]+)"', page)
    assert action
    answer = browser.call("POST", action.group(1))
    after = browser.get(f"/review/videos/{video.id}/standing").text

    assert "cannot be opened: invalid data" in page
    assert "upload a good copy" in page
    assert "raw_video" in page
    assert answer.status_code == 200
    assert "In the queue" in after
    assert "Try again" not in after


def test_what_is_drawn_over_the_frame_is_the_layout(browser: Browser, world: World) -> None:
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


def test_an_error_page_is_for_people(browser: Browser, world: World, make_client: MakeClient, person: Person) -> None:
    away = make_client(database_url=SecretStr("postgresql://127.0.0.1:1/nothing"))
    away.cookies.set("captionacc_session", person.token)

    page = away.get("/review")

    assert page.status_code == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Retry-After"]
    assert "Try again in a moment" in page.text
    assert browser.get("/review/videos/not-an-id").status_code == 422


# --- pictures


def test_a_reel_shows_exactly_the_frames_that_were_stored(browser: Browser, world: World) -> None:
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


def test_a_single_cropped_frame(browser: Browser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    publish_chunks(world, video, 20)
    base = f"/review/videos/{video.id}/cropped-frames/{video.cropped_frames_version}"

    picture = cv2.imdecode(np.frombuffer(browser.get(f"{base}/13.jpg").content, np.uint8), cv2.IMREAD_GRAYSCALE)

    assert picture is not None
    assert abs(float(picture.mean()) - (40 + 39 - 16) * 255 / 219) < 4
    assert browser.get(f"{base}/20.jpg").status_code == 404


def test_a_full_frame_is_not_sent_twice(browser: Browser, world: World) -> None:
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
