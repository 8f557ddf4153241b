"""How the catalog is reached: what is tried again and what is not, times, secrets, connections, forks."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.queues import Queue
from typing import ClassVar
from uuid import uuid4

import psycopg
import pytest
from pydantic import TypeAdapter

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.errors import (
    CatalogError,
    CatalogUnavailable,
    Conflict,
    InvalidValue,
    NotFound,
    PermissionDenied,
    from_code,
)
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Timestamp
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.servers import free_port

QUICK = Retries(attempts=4, base_s=0.01, cap_s=0.02)


class Gateway(BaseHTTPRequestHandler):
    """A gateway before PostgREST: gives the planned answers in turn, the last one ever after."""

    answers: ClassVar[list[tuple[int, str]]] = []
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def gateway(*answers: tuple[int, str]) -> Iterator[str]:
    Gateway.answers, Gateway.asked = list(answers), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.recovery
@pytest.mark.parametrize("fault", [(503, "upstream away"), (520, "<html>unknown</html>"), (0, "")], ids=str)
def test_what_is_away_for_a_while_is_tried_again(fault: tuple[int, str]) -> None:
    with gateway(fault, fault, (200, '"premium"')) as url, SupabaseCatalog(url, "key", retries=QUICK) as catalog:
        assert catalog.get_tenant_tier(uuid4()) == "premium"
        assert len(Gateway.asked) == 3
        assert set(Gateway.asked) == {"/rest/v1/rpc/tenant_tier"}


@pytest.mark.recovery
@pytest.mark.parametrize("fault", [(503, ""), (520, ""), (0, "")], ids=str)
def test_what_stays_away_is_unavailable(fault: tuple[int, str]) -> None:
    with gateway(fault) as url, SupabaseCatalog(url, "key", retries=QUICK) as catalog:
        with pytest.raises(CatalogUnavailable):
            catalog.get_tenant_tier(uuid4())
        assert len(Gateway.asked) == 4


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"message": "bad", "code": "22P02"}, InvalidValue),
        (401, {"message": "Invalid API key", "hint": "Double check your key."}, PermissionDenied),
        (403, {"message": "permission denied", "code": "42501"}, PermissionDenied),
        (404, {"message": "no video", "code": "PT404"}, NotFound),
        (404, {"message": "no function", "code": "PGRST202"}, CatalogError),
        (409, {"message": "duplicate", "code": "23505"}, Conflict),
        (500, {"message": "canceling statement due to statement timeout", "code": "57014"}, CatalogUnavailable),
        (502, "<html>bad gateway</html>", CatalogError),
        (504, "", CatalogError),
    ],
)
def test_other_answers_are_final(status: int, body: object, kind: type[CatalogError]) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    with gateway((status, text)) as url, SupabaseCatalog(url, "key", retries=QUICK) as catalog:
        with pytest.raises(CatalogError) as raised:
            catalog.get_tenant_tier(uuid4())
        assert type(raised.value) is kind
        assert len(Gateway.asked) == 1
        if isinstance(body, dict):
            assert (raised.value.message, raised.value.hint) == (body["message"], body.get("hint"))
            assert raised.value.code == body.get("code", str(status))
        else:
            assert raised.value.code == str(status)


def test_nobody_listening_is_unavailable() -> None:
    away = SupabaseCatalog(f"http://127.0.0.1:{free_port()}", "key", retries=QUICK)
    with away, pytest.raises(CatalogUnavailable, match="cannot be reached"):
        away.get_metrics()
    url = f"postgresql://postgres:pass-word@127.0.0.1:{free_port()}/captionacc"
    with PostgresCatalog(url, connect_timeout_s=0.3, retries=QUICK) as postgres:
        with pytest.raises(CatalogUnavailable) as raised:
            postgres.get_metrics()
        assert "pass-word" not in str(raised.value)


def test_a_wrong_address_is_told() -> None:
    with pytest.raises(InvalidValue, match="Invalid URL"):
        SupabaseCatalog("not a url", "key").get_metrics()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("08006", CatalogUnavailable), ("57P01", CatalogUnavailable), ("57P03", CatalogUnavailable),
        ("53300", CatalogUnavailable), ("PGRST001", CatalogUnavailable), ("PT404", NotFound), ("PT409", Conflict),
        ("23503", Conflict), ("42501", PermissionDenied), ("28P01", PermissionDenied), ("PGRST301", PermissionDenied),
        ("22023", InvalidValue), ("23514", InvalidValue), ("42703", CatalogError), ("40001", CatalogUnavailable),
        ("40P01", CatalogUnavailable), ("55P03", CatalogUnavailable), (None, CatalogError),
    ],
)  # fmt: skip
@pytest.mark.unit
def test_codes_become_kinds(code: str | None, kind: type[CatalogError]) -> None:
    error = from_code("two\n lines", code, "a hint")
    assert type(error) is kind
    assert (error.message, error.hint, error.code) == ("two lines", "a hint", code)
    assert str(error) == "two lines (a hint)"


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    [
        "2026-01-15T10:00:00.5+00:00", "2026-01-15 10:00:00.500000+00", "2026-01-15T10:00:00.5Z",
        "2026-01-15T12:00:00.500+02:00", "2026-01-15 05:30:00.5-04:30", "2026-01-15T10:00:00.50000",
    ],
)  # fmt: skip
def test_times_in_either_form_are_utc(text: str) -> None:
    read = TypeAdapter(Timestamp).validate_python(text)
    assert read == datetime(2026, 1, 15, 10, 0, 0, 500_000, tzinfo=UTC)
    assert read.tzinfo is UTC
    other = datetime(2026, 1, 15, 12, tzinfo=timezone(timedelta(hours=2)))
    assert TypeAdapter(Timestamp).validate_python(other).hour == 10


@pytest.mark.unit
def test_waits_grow_to_their_cap() -> None:
    retries = Retries(attempts=9, base_s=0.2, cap_s=5.0)
    for retry, longest in enumerate((0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)):
        for _ in range(50):
            assert longest / 2 <= retries.delay_s(retry) <= longest


@pytest.mark.security
@pytest.mark.unit
def test_secrets_are_not_shown() -> None:
    catalogs: tuple[Catalog, ...] = (
        SupabaseCatalog("https://project.supabase.co", "sb_secret_value"),
        PostgresCatalog("postgresql://captionacc:sb_secret_value@db.example/captionacc"),
    )
    for catalog in catalogs:
        assert "sb_secret_value" not in repr(catalog)


@pytest.mark.integration
@pytest.mark.recovery
def test_connections_that_broke_are_replaced(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: postgres_catalog.get_metrics(), range(20)))
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    made = postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4")
    assert postgres_catalog.get_video_metadata(made.video.id) == made.video


@pytest.mark.integration
@pytest.mark.load
def test_connections_stay_within_their_bound(catalog_url: str) -> None:
    with PostgresCatalog(catalog_url, pool_size=3) as catalog, psycopg.connect(catalog_url) as connection:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: catalog.get_metrics(), range(200)))
        row = connection.execute(
            "select count(*) from pg_stat_activity"
            " where application_name = 'captionacc' and datname = current_database()"
        ).fetchone()
        assert row is not None
        assert 1 <= row[0] <= 3


def _ask(catalog: Catalog, answers: Queue[str]) -> None:
    answers.put(catalog.get_tenant_tier(LOCAL_TENANT_ID))


@pytest.mark.integration
def test_a_forked_child_opens_its_own_connections(catalog: Catalog) -> None:
    catalog.get_metrics()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ask, args=(catalog, answers))
    child.start()
    assert answers.get(timeout=60) == "enterprise"
    child.join(60)
    assert child.exitcode == 0
    assert catalog.get_tenant_tier(LOCAL_TENANT_ID) == "enterprise"
