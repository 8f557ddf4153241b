"""The review pages over HTTP: who gets in and how, how long a session lasts, and who may change things in one."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.datastructures import Headers

from captionacc_dagster.api.local_access import is_the_local_user, local_key
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.page_browser import PageBrowser, csrf_of, post_form, set_session, sign_in
from captionacc_dagster_tests.api.world import Person, World, claims_of, sign

pytestmark = [pytest.mark.integration, pytest.mark.security]


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


def test_signing_out_ends_the_session(browser: PageBrowser) -> None:
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


def test_a_link_on_another_sites_page_is_opened_once_more_from_ours(browser: PageBrowser) -> None:
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
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
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


@pytest.mark.parametrize(("status", "said"), [(400, "is wrong"), (429, "too many"), (500, "unavailable")])
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
def test_only_a_browser_on_this_machine_with_its_key_needs_no_sign_in(
    tmp_path: Path, client: str, host: str, headers: dict[str, str], changes: dict[str, Any], let_in: bool
) -> None:
    values = {"home": tmp_path, "database_url": None, "supabase_url": None, "supabase_jwt_secret": None, **changes}
    settings = Settings(_env_file=None, **values)  # pyright: ignore

    key = local_key(settings, "sign-in")
    assert is_the_local_user(settings, key, client, host, Headers(headers)) is let_in
    for wrong in (None, "", key[:-1], local_key(settings, "metrics")):
        assert not is_the_local_user(settings, wrong, client, host, Headers(headers))


# --- changes in a session


def test_a_change_in_a_session_needs_the_pages_token(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    path, body = f"/videos/{video.id}/captions/1", {"text": "changed"}

    without = browser.client.patch(path, json=body)
    wrong = browser.call("PATCH", path, body, **{"X-CSRF-Token": "0" * 64})
    elsewhere = browser.call("PATCH", path, body, Origin="https://evil.test")
    assert [answer.status_code for answer in (without, wrong, elsewhere)] == [403] * 3
    assert world.captions(video)[0].shown_text == "Hello there."

    assert browser.call("PATCH", path, body, Origin="http://testserver").status_code == 200
    assert world.captions(video)[0].shown_text == "changed"


def test_another_browsers_page_token_is_no_good(browser: PageBrowser, make_client: MakeClient, world: World) -> None:
    other = PageBrowser(make_client(), world.person(browser.person.tenant_id))
    video = world.processed_video(browser.person.tenant_id)

    answer = browser.call("DELETE", f"/videos/{video.id}/captions/1", **{"X-CSRF-Token": other.csrf})

    assert answer.status_code == 403


def test_a_header_token_still_needs_nothing_else(client: TestClient, person: Person, world: World) -> None:
    video = world.processed_video(person.tenant_id)

    answer = client.patch(f"/videos/{video.id}/captions/1", json={"text": "by header"}, headers=person.headers)

    assert answer.status_code == 200


def test_subtitles_are_downloaded_in_a_session(browser: PageBrowser, world: World) -> None:
    video = world.processed_video(browser.person.tenant_id)
    page = browser.get(f"/review/videos/{video.id}").text

    for kind in ("srt", "vtt", "ass", "json"):
        assert f'href="/videos/{video.id}/subtitles.{kind}" download' in page
        assert "Hello there." in browser.get(f"/videos/{video.id}/subtitles.{kind}").text
