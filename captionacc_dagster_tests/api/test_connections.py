"""The API behind real sockets: slow and greedy clients, hostile Host headers, and a proxy that says nothing."""

from __future__ import annotations

import contextlib
import http.client
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from captionacc_dagster.api import middleware
from captionacc_dagster.api.connections import ConnectionLimits, bounded_protocol
from captionacc_dagster.api.local_access import local_key, sign_in_link
from captionacc_dagster.api.server import server_config
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.conftest import api_settings
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS

pytestmark = [pytest.mark.integration, pytest.mark.security]

LIMITS = ConnectionLimits(per_client=40, in_all=2000, idle_s=1, header_s=0.6, write_s=0.6, look_s=0.1)


@contextlib.contextmanager
def serving(config: uvicorn.Config) -> Iterator[int]:
    """Serve in a thread and yield the port."""
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An API whose limits are short; its catalog is away, which does not matter here."""
    settings = api_settings(tmp_path_factory.mktemp("api"), "postgresql://127.0.0.1:9/away")
    patch = pytest.MonkeyPatch()
    patch.setattr(middleware, "BODY_SECONDS", 0.8)
    with serving(server_config(settings, host="127.0.0.1", port=0, limits=LIMITS)) as port:
        yield port
    patch.undo()


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the server ends the connection, by then, whatever it sends before."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


HALF_OPEN = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half of the headers": b"GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "a second request": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHo",
    "half of the body": b"POST /webhooks/supabase/videos HTTP/1.1\r\nHost: a\r\nAuthorization: "
    + WEBHOOK_HEADERS["Authorization"].encode()
    + b"\r\nContent-Length: 100\r\n\r\n{",
    "a body that nobody reads": b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("sent", HALF_OPEN.values(), ids=HALF_OPEN)
def test_half_a_request_is_not_waited_for(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        assert is_closed_within(connection, 5.0)


def test_a_trickle_of_headers_is_no_life_sign(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


def test_a_body_that_does_not_arrive_is_told_so(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HALF_OPEN["half of the body"])
        connection.settimeout(5)
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_twelve_hundred_half_open_requests_leave_room_for_others(port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        connections = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(1200)]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(HALF_OPEN["half of the headers"])
        # Another address is served at once, the same one as soon as its own are gone.
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)) as other:
            other.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            other.settimeout(5)
            assert other.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert all(is_closed_within(connection, 10.0) for connection in connections)
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_who_does_not_read_an_answer_is_let_go() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    config = uvicorn.Config(endless, http=bounded_protocol(LIMITS, []), log_config=None, lifespan="off")
    with serving(config) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(2.0)
        # What the kernel holds can still be read; it is far from the whole.
        received = 0
        connection.settimeout(5)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 20):
                received += len(part)
        assert received < 100 << 20


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:80@evil.test",
        "127.0.0.1/evil.test",
        "evil.test#127.0.0.1",
        "127.0.0.1?x",
        "127.0.0.1\\@evil.test",
        "127.0.0.1:80:80",
        "127.0.0.1:port",
        "[::1",
        "a b",
        "",
        "a" * 300,
    ],
)
def test_a_malformed_host_is_refused(port: int, host: str) -> None:
    assert _status(port, "/review", [("Host", host)]) == 400


def test_two_hosts_and_none_are_refused(port: int) -> None:
    assert _status(port, "/health", [("Host", "127.0.0.1"), ("Host", "evil.test")]) == 400
    assert _status(port, "/health", []) == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "captions.example.com", "api_1"])
def test_a_well_formed_host_is_served(port: int, host: str) -> None:
    assert _status(port, "/health", [("Host", host)]) == 200


def test_only_configured_names_are_served_where_there_are_any(tmp_path: Path) -> None:
    settings = api_settings(tmp_path, "postgresql://127.0.0.1:9/away", api_hosts=["captions.example.com"])
    with serving(server_config(settings, host="127.0.0.1", port=0)) as port:
        assert _status(port, "/health", [("Host", "Captions.Example.com:443")]) == 200
        assert _status(port, "/health", [("Host", "evil.test")]) == 400


@pytest.mark.parametrize("path", ["/review/", "/videos/", "/health/", "/review/sign-in/", "//evil.test/"])
def test_no_redirect_goes_where_host_says(port: int, path: str) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": "evil.test"}, follow_redirects=False)
    assert not answer.headers.get("Location", "/").startswith(("//", "http"))
    assert "evil.test" not in str(answer.headers)


def _status(port: int, path: str, headers: list[tuple[str, str]]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


# --- a proxy on this machine with nothing but `proxy_pass`: it puts its own target into Host and adds no header


@contextlib.contextmanager
def silent_proxy(target: int) -> Iterator[int]:
    """Hand on every connection, with Host as nginx sets it by default, and yield the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def hand_on(visitor: socket.socket) -> None:
        with visitor, socket.create_connection(("127.0.0.1", target)) as served, contextlib.suppress(OSError):
            asked = visitor.recv(65536)
            served.sendall(re.sub(rb"(?im)^host:[^\r]*", f"Host: 127.0.0.1:{target}".encode(), asked, count=1))
            while answered := served.recv(65536):
                visitor.sendall(answered)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=hand_on, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def test_a_proxy_that_says_nothing_opens_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "postgres").write_text("in the way")  # the embedded catalog is not needed to refuse somebody
    values = {"home": home, "database_url": None, "supabase_url": None, "supabase_jwt_secret": None}
    settings = Settings(_env_file=None, **values)  # pyright: ignore
    outside = {"Host": "captions.example.com", "Connection": "close"}
    with serving(server_config(settings, host="127.0.0.1", port=0)) as port, silent_proxy(port) as proxy:
        with httpx.Client(base_url=f"http://127.0.0.1:{proxy}", headers=outside) as visitor:
            visitor.get("/review/sign-in")  # gets the form's cookie
            page = visitor.get("/review/sign-in")
            renewed = visitor.post("/review/session")
            metrics = visitor.get("/metrics")
            guessed = visitor.get("/review/sign-in", params={"key": "0" * 64})
        assert "captionacc_session" not in "".join(visitor.cookies)
        assert 'name="access_token"' in page.text
        assert 'name="access_token"' in guessed.text
        assert renewed.status_code == 403
        assert metrics.status_code == 401
        # Who sits at the machine has the key: the catalog is asked for the session, and is away in this test.
        link = sign_in_link(settings, f"http://127.0.0.1:{port}")
        assert link.endswith(f"?key={local_key(settings, 'sign-in')}")
        with httpx.Client(follow_redirects=False) as owner:
            again = owner.get(link)
            assert "cookies=1" in again.text
            assert owner.get(link).status_code == 503


def test_the_homes_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    settings = api_settings(tmp_path, "postgresql://127.0.0.1:9/away", webhook_secret=[SecretStr("x")])
    local_key(settings, "sign-in")
    assert (tmp_path / "api" / "jwt-secret").stat().st_mode & 0o777 == 0o600
