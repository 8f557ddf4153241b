"""Servers shared by all tests: one embedded Postgres a session, a fresh migrated database a test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.postgres import PostgresCatalog

TEMPLATE = "captionacc"
_numbers = itertools.count(1)

MakeDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An embedded Postgres 18; its database ``captionacc`` is migrated and holds the local tenant."""
    # Not pytest's folder: a socket's path must be short, and this one is gone at the end.
    home = Path(tempfile.mkdtemp(prefix="ca-pg-"))
    server = EmbeddedPostgres(home, durable=False)
    open_catalog(server).close()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


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
