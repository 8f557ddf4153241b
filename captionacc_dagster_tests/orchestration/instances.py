"""Dagster instances on the tests' Postgres: each has a database of its own, copied from one that is made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from dagster import DagsterInstance
from dagster._core.test_utils import instance_for_test
from psycopg import sql

from captionacc_dagster.catalog.embedded import EmbeddedPostgres

_TEMPLATE = "dagster_template"
_prepared: set[Path] = set()


@contextmanager
def postgres_instance(
    server: EmbeddedPostgres, overrides: Mapping[str, Any] | None = None
) -> Iterator[DagsterInstance]:
    """Open an instance on a fresh database, which is dropped at the end; ``overrides`` as in ``dagster.yaml``."""
    if server.folder not in _prepared:
        server.ensure_database(_TEMPLATE)
        with instance_for_test(overrides=_storage(server, _TEMPLATE)) as instance:
            instance.get_runs(limit=1)
        _prepared.add(server.folder)
    name = f"dagster_{uuid4().hex}"
    server.ensure_database(name, template=_TEMPLATE)
    try:
        with instance_for_test(overrides={**(overrides or {}), **_storage(server, name)}) as instance:
            # As in the webserver: otherwise each statement opens a connection, a third of what a run takes here.
            for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
                assert storage
                storage.optimize_for_webserver(statement_timeout=30_000, pool_recycle=-1, max_overflow=20)
            yield instance
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def dagster_url(server: EmbeddedPostgres, name: str) -> str:
    """Return the URL of a database of that server as Dagster needs it."""
    return server.url(name).replace("postgresql://", "postgresql+psycopg2://", 1)


def _storage(server: EmbeddedPostgres, name: str) -> dict[str, Any]:
    return {"storage": {"postgres": {"postgres_url": dagster_url(server, name)}}}
