"""The application as a whole: it starts alone, says what is away, recovers, limits, and describes itself."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.rate_limits import RateLimits, client_key
from captionacc_dagster.api.request_log import JsonFormatter
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.dagster_stack import clean_environment, wait_until
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, World, webhook_body
from captionacc_dagster_tests.servers import free_port

pytestmark = pytest.mark.integration

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.usefixtures("impatient")
def test_it_lives_while_everything_is_away(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(database_url=SecretStr(NOWHERE))

    health, ready = client.get("/health"), client.get("/ready")

    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert ready.status_code == 503
    assert ready.json() | {"reasons": set(ready.json()["reasons"])} == {
        "status": "not ready",
        "catalog": False,
        "storage": True,
        "dagster": False,
        "reasons": {"catalog", "dagster"},
    }


@pytest.mark.usefixtures("impatient")
def test_without_a_catalog_nobody_is_let_in(make_client: MakeClient, world: World) -> None:
    client = make_client(database_url=SecretStr(NOWHERE))
    person = world.person(world.tenant())

    reading = client.get("/videos", headers=person.headers)
    webhook = client.post("/webhooks/supabase/videos", headers=WEBHOOK_HEADERS, json=webhook_body(person.tenant_id))
    wrong = client.post("/webhooks/supabase/videos", headers={"Authorization": "Bearer wrong"}, json={})

    assert (reading.status_code, webhook.status_code, wrong.status_code) == (503, 503, 401)
    assert int(reading.headers["Retry-After"]) > 0


def test_a_store_that_is_away_is_said(make_client: MakeClient, world: World, tmp_path: Path) -> None:
    client = make_client()
    person = world.person(world.tenant())
    video = world.processed_video(person.tenant_id)
    assert client.get(f"/videos/{video.id}/captions", headers=person.headers).status_code == 200

    objects = world.settings.objects_dir
    objects.rename(tmp_path / "moved")

    assert client.get("/ready").json()["storage"] is False
    (tmp_path / "moved").rename(objects)
    assert client.get("/ready").json()["storage"] is True
    assert client.get(f"/videos/{video.id}/captions", headers=person.headers).status_code == 200


def test_lost_catalog_connections_are_opened_again(make_client: MakeClient, world: World) -> None:
    client = make_client()
    person = world.person(world.tenant())
    assert client.get("/videos", headers=person.headers).status_code == 200

    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )

    assert client.get("/videos", headers=person.headers).status_code == 200


def test_every_answer_is_safe_and_has_an_id(make_client: MakeClient) -> None:
    client = make_client()

    for path in ("/health", "/videos", "/nowhere"):
        answer = client.get(path, headers={"Origin": "https://app.test"})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert len(answer.headers["X-Request-ID"]) == 32
        assert "Server" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    forged = client.get("/health", headers={"X-Request-ID": 'x" injected: "1'}).headers["X-Request-ID"]
    assert len(forged) == 32


def test_pages_of_named_origins_may_call(make_client: MakeClient) -> None:
    client = make_client(cors_origins=["https://app.test"])

    def allowed(origin: str) -> str | None:
        headers = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        return client.options("/videos", headers=headers).headers.get("Access-Control-Allow-Origin")

    assert allowed("https://app.test") == "https://app.test"
    assert allowed("https://evil.test") is None


def test_only_named_proxies_are_believed(make_client: MakeClient, world: World) -> None:
    def seen(address: str, proxies: list[str], forwarded: str) -> str | None:
        client = make_client(address, trusted_proxies=proxies)
        client.get("/videos", headers={"X-Forwarded-For": forwarded})
        return world.catalog.list_security_events(limit=1).items[0].client_ip

    assert seen("203.0.113.9", [], "198.51.100.1") == "203.0.113.9"
    assert seen("203.0.113.9", ["10.0.0.0/8"], "198.51.100.1") == "203.0.113.9"
    assert seen("10.1.2.3", ["10.0.0.0/8"], "198.51.100.1") == "198.51.100.1"
    # Whoever sends more addresses than there are proxies has made them up.
    assert seen("10.1.2.3", ["10.0.0.0/8"], "192.0.2.1, 198.51.100.1, 10.9.9.9") == "198.51.100.1"


def test_clients_and_tenants_have_their_limits(make_client: MakeClient, world: World) -> None:
    person, neighbor = world.person(world.tenant()), world.person(world.tenant())
    by_client = make_client("192.0.2.1", rate_limit_client="3/minute")
    by_tenant = make_client("192.0.2.2", rate_limit_tenant="3/minute")

    client_statuses = [by_client.get("/videos", headers=person.headers).status_code for _ in range(5)]
    tenant_statuses = [by_tenant.get("/videos", headers=person.headers).status_code for _ in range(5)]

    assert client_statuses == tenant_statuses == [200, 200, 200, 429, 429]
    assert by_client.get("/health").status_code == 200
    assert by_tenant.get("/videos", headers=neighbor.headers).status_code == 200
    assert world.events("rate_limited") == ["rate_limited"] * 4


@pytest.mark.unit
@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "unknown"),
    ],
)
def test_what_a_client_is_counted_under(address: str, key: str) -> None:
    assert client_key(address) == key


def test_several_processes_count_together_in_postgres(settings: Settings, catalog_url: str) -> None:
    shared = settings.model_copy(update={"rate_limit_storage": catalog_url, "rate_limit_tenant": "10/minute"})
    first, second = RateLimits(shared), RateLimits(shared)
    admitted = 0

    def ask(limits: RateLimits) -> None:
        nonlocal admitted
        for _ in range(10):
            with suppress(ApiError):
                limits.admit_tenant(LOCAL_TENANT_ID)
                admitted += 1

    threads = [threading.Thread(target=ask, args=(limits,)) for limits in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert admitted == 10


def test_a_counter_that_is_away_keeps_nobody_out(make_client: MakeClient, world: World) -> None:
    client = make_client(rate_limit_storage=NOWHERE, rate_limit_client="1/minute")
    person = world.person(world.tenant())

    assert [client.get("/videos", headers=person.headers).status_code for _ in range(2)] == [200, 200]


@pytest.mark.unit
def test_a_line_of_the_log_is_json() -> None:
    record = logging.LogRecord("a.logger", logging.INFO, "", 1, "said %s", ('"x"\n\u2028',), None)

    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "a.logger",
        "message": 'said "x"\n\u2028',
    }


def test_a_stop_finishes_what_was_begun(world: World, dagster: StandIn, tmp_path: Path, catalog_url: str) -> None:
    port = free_port()
    environment = clean_environment(tmp_path, DATABASE_URL=catalog_url, CAPTIONACC_DAGSTER_URL=dagster.url)
    command = [str(Path(sys.executable).with_name("captionacc")), "api", "--port", str(port)]
    log = tmp_path / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_up(url), 90, "the API")
        dagster.delay_s = 2.0
        answers: list[Any] = []
        body = webhook_body(world.tenant())
        sender = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{url}/webhooks/supabase/videos", headers=WEBHOOK_HEADERS, json=body, timeout=60)
            )
        )
        sender.start()
        wait_until(lambda: "launch" in dagster.questions, 60, "the launch")
        os.kill(process.pid, signal.SIGTERM)
        sender.join()
        process.wait(60)
    finally:
        process.kill()
        process.wait()

    assert answers[0].status_code == 202
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (served,) = [line for line in lines if line.get("path") == "/webhooks/supabase/videos"]
    assert (served["status"], served["method"], served["tenant_id"]) == (202, "POST", body["record"]["tenant_id"])
    assert served["video_id"] == body["record"]["id"]
    assert served["request_id"] == answers[0].headers["X-Request-ID"]
    assert not _is_up(url)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        time.sleep(0.1)
        return False
