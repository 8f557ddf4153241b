"""The catalog in any Postgres, through psycopg and its pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, LiteralString, cast
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable, from_code

_JSON_PARAMETERS = frozenset(
    {
        "p_changes", "p_facts", "p_found", "p_found_again",
        "p_error_details", "p_input", "p_result", "p_details", "p_stage_seconds", "p_totals",
    }
)  # fmt: skip


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute("set statement_timeout = '30s'")


def to_catalog_error(error: psycopg.Error) -> CatalogError:
    """Return the catalog error for an error of psycopg, with its message, hint, and SQLSTATE."""
    if error.sqlstate is None:
        kind = CatalogUnavailable if isinstance(error, psycopg.OperationalError) else CatalogError
        return kind(str(error))
    return from_code(error.diag.message_primary or str(error), error.sqlstate, error.diag.message_hint)


class PostgresCatalog(Catalog):
    """The catalog over SQL connections.

    Args:
        url: libpq URL of a role that owns the schema or is a member of ``service_role``.
        pool_size: maximum number of connections; none is open before the first call.
        connect_timeout_s: how long a call waits for a connection before the catalog counts as unavailable.
        retries: how calls are retried while the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 4,
        connect_timeout_s: float = 3.0,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(retries)
        self._url = url
        self._pool_size = pool_size
        self._connect_timeout_s = connect_timeout_s
        self._pool: ConnectionPool[psycopg.Connection[dict[str, Any]]] | None = None
        self._pool_pid = 0
        self._opening = threading.Lock()

    def __repr__(self) -> str:
        parts = urlsplit(self._url)
        return f"PostgresCatalog(host={parts.hostname or 'local'}, database={parts.path.lstrip('/')})"

    def _opened(self) -> ConnectionPool[psycopg.Connection[dict[str, Any]]]:
        # A forked child must not use its parent's connections.
        with self._opening:
            if self._pool is None or self._pool_pid != os.getpid():
                self._pool = ConnectionPool(
                    self._url,
                    connection_class=psycopg.Connection[dict[str, Any]],
                    min_size=0,
                    max_size=self._pool_size,
                    max_idle=60.0,
                    timeout=self._connect_timeout_s,
                    reconnect_timeout=self._connect_timeout_s,
                    num_workers=1,
                    configure=_configure,
                    open=True,
                    # Poolers in transaction mode do not support prepared statements.
                    kwargs={
                        "autocommit": True,
                        "row_factory": dict_row,
                        "prepare_threshold": None,
                        "connect_timeout": max(2, round(self._connect_timeout_s)),
                        "application_name": "captionacc",
                        "keepalives_idle": 30,
                    },
                )
                self._pool_pid = os.getpid()
            return self._pool

    def _send(self, function: str, parameters: Mapping[str, Any]) -> Any:
        query = sql.SQL("select * from captionacc.{function}({arguments})").format(
            function=sql.Identifier(function),
            arguments=sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in parameters
            ),
        )
        values = {
            name: Jsonb(value) if name in _JSON_PARAMETERS and value is not None else value
            for name, value in parameters.items()
        }
        pool = self._opened()
        try:
            with pool.connection() as connection:
                cursor = connection.execute(query, values)
                rows = cursor.fetchall()
                columns = [column.name for column in cursor.description or ()]
        except (PoolTimeout, PoolClosed) as error:
            raise CatalogUnavailable(f"no connection to the catalog: {error}") from error
        except psycopg.Error as error:
            raise to_catalog_error(error) from error
        # A scalar function answers in one column with the function's name.
        return rows[0][function] if columns == [function] and rows else rows

    def close(self) -> None:
        """Close the pool; the next call opens a new one."""
        with self._opening:
            pool, self._pool = self._pool, None
            if pool is not None and self._pool_pid == os.getpid():
                pool.close()


def literal(statement: str) -> LiteralString:
    """Mark SQL from our own files as safe for psycopg."""
    return cast(LiteralString, statement)
