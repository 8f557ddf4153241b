"""Servers shared by all tests: one embedded Postgres a session, a fresh migrated database a test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, ensure_local_tenant, open_catalog
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.settings import get_settings
from captionacc_dagster_tests.machine import left_out

if TYPE_CHECKING:
    from captionacc_dagster.catalog.supabase import SupabaseCatalog
    from captionacc_dagster_tests.supabase_lite import SupabaseLite

TEMPLATE = "captionacc"
_numbers = itertools.count(1)

MakeDatabase = Callable[[], str]


def pytest_configure() -> None:
    """Take signals as in a person's shell: whoever starts us in the background has them ignored, here and below."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with one line that says which parts were left out on this machine, and what installs them."""
    reports = terminalreporter.stats.get("skipped", [])
    if line := left_out(str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, tuple)):
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that may take longest first: pytest-xdist (``--dist loadfile``) is not left with one at the end."""
    allowed: dict[Path, float] = defaultdict(float)
    for item in items:
        limit = item.get_closest_marker("timeout")
        seconds = limit.args[0] if limit else float(item.get_closest_marker("e2e") is not None)
        allowed[item.path] = max(allowed[item.path], seconds)
    items.sort(key=lambda item: -allowed[item.path])


def _server(version: int) -> Iterator[EmbeddedPostgres]:
    # Not pytest's folder: a socket's path must be short, and this one is gone at the end.
    home = Path(tempfile.mkdtemp(prefix="ca-pg-"))
    server = EmbeddedPostgres(home, version=version, durable=False)
    open_catalog(server).close()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An embedded Postgres 18; its database ``captionacc`` is migrated and holds the local tenant."""
    yield from _server(18)


@pytest.fixture
def make_database(postgres_server: EmbeddedPostgres) -> Iterator[MakeDatabase]:
    """Makes databases as fresh from :func:`open_catalog` (in 50 ms); they are dropped after the test."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        postgres_server.ensure_database(name, template=TEMPLATE)
        made.append(name)
        return postgres_server.url(name)

    yield make
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        for name in made:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def catalog_url(make_database: MakeDatabase) -> str:
    """The libpq URL of a fresh, migrated database with the local tenant."""
    return make_database()


@pytest.fixture
def postgres_catalog(catalog_url: str) -> Iterator[PostgresCatalog]:
    """A catalog over SQL on ``catalog_url``."""
    with PostgresCatalog(catalog_url) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def running_supabase_lite(postgres_server: EmbeddedPostgres) -> Iterator[SupabaseLite]:
    """Supabase Lite in front of a database of its own; use ``supabase_lite``, which is empty for each test."""
    from captionacc_dagster_tests.supabase_lite import needs_node, supabase_lite_server

    needs_node()
    folder = Path(tempfile.mkdtemp(prefix="ca-lite-"))
    postgres_server.ensure_database("supabase_lite", template=TEMPLATE)
    with supabase_lite_server(postgres_server.url("supabase_lite"), folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def supabase_lite(running_supabase_lite: SupabaseLite) -> Iterator[SupabaseLite]:
    """Supabase Lite on loopback; its catalog holds the local tenant and nothing else."""
    yield running_supabase_lite
    with psycopg.connect(running_supabase_lite.database_url, autocommit=True) as connection:
        connection.execute(
            "truncate captionacc.tenants, captionacc.webhook_deliveries, captionacc.security_audit_log,"
            " auth.users restart identity cascade"
        )
    with PostgresCatalog(running_supabase_lite.database_url) as catalog:
        ensure_local_tenant(catalog, running_supabase_lite.database_url)


@pytest.fixture
def supabase_catalog(supabase_lite: SupabaseLite) -> Iterator[SupabaseCatalog]:
    """A catalog over HTTP on Supabase Lite."""
    with supabase_lite.catalog() as catalog:
        yield catalog


@pytest.fixture(scope="session")
def postgres_16_server() -> Iterator[EmbeddedPostgres]:
    """The same on Postgres 16."""
    yield from _server(16)


@pytest.fixture
def postgres_16_catalog(postgres_16_server: EmbeddedPostgres) -> Iterator[PostgresCatalog]:
    """A catalog over SQL on a fresh, migrated database of Postgres 16."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    postgres_16_server.ensure_database(name, template=TEMPLATE)
    with PostgresCatalog(postgres_16_server.url(name)) as catalog:
        yield catalog


@pytest.fixture(params=["postgres", "postgres_16", "supabase"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    """A catalog of each kind in turn, with the local tenant."""
    return request.getfixturevalue(f"{request.param}_catalog")


@pytest.fixture
def approval_is_automatic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Approve every layout without a person."""
    monkeypatch.setenv("CAPTIONACC_AUTO_APPROVE_LAYOUT", "always")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()
