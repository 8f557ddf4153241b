"""Count requests in Postgres, for several API processes without Redis: ``postgresql://`` for ``limits``."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
from limits.storage.base import MovingWindowSupport, Storage
from psycopg_pool import ConnectionPool, PoolTimeout

# Unlogged, because counts may be lost in a crash; in a separate schema that no other role can use.
_TABLE = """
create schema if not exists captionacc_limits;
create unlogged table if not exists captionacc_limits.hits (key text not null, at timestamptz not null);
create index if not exists hits_idx on captionacc_limits.hits (key, at)
"""
_SWEEP_EVERY = 1000
_LONGEST_WINDOW = "1 day"


class PostgresStorage(Storage, MovingWindowSupport):
    """Moving windows as rows; entries of one key are acquired one after another."""

    STORAGE_SCHEME = ["postgresql", "postgres"]  # noqa: RUF012 - the base class declares it as a list

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._uri = uri
        self._opening = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._hits = 0

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """Exceptions that mean that the store is unavailable."""
        return (psycopg.Error, PoolTimeout)

    def _opened(self) -> ConnectionPool:
        with self._opening:
            if self._pool is None:
                with psycopg.connect(self._uri, connect_timeout=2, autocommit=True) as connection:
                    # Otherwise two processes that start at once would both create it.
                    connection.execute("select pg_advisory_lock(hashtextextended('captionacc_limits', 0))")
                    connection.execute(_TABLE)
                self._pool = ConnectionPool(self._uri, min_size=0, max_size=2, timeout=2.0, open=True)
            return self._pool

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See ``limits``: acquire ``amount`` of ``limit`` entries within ``expiry`` seconds, all or none."""
        with self._opened().connection() as connection:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", (key,))
            self._hits += 1
            if self._hits % _SWEEP_EVERY == 0:
                connection.execute(
                    "delete from captionacc_limits.hits where at <= now() - %s::interval", (_LONGEST_WINDOW,)
                )
            connection.execute(
                "delete from captionacc_limits.hits"
                " where key = %s and at <= clock_timestamp() - make_interval(secs => %s)",
                (key, expiry),
            )
            row = connection.execute(
                "insert into captionacc_limits.hits"
                " select %(key)s, clock_timestamp() from generate_series(1, %(amount)s)"
                " where (select count(*) from captionacc_limits.hits where key = %(key)s) + %(amount)s <= %(limit)s"
                " returning 1",
                {"key": key, "amount": amount, "limit": limit},
            ).fetchone()
            return row is not None

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """See ``limits``: return when the window of ``expiry`` seconds began, and the number of its entries."""
        with self._opened().connection() as connection:
            row = connection.execute(
                "select extract(epoch from coalesce(min(at), now()))::float8, count(*) from captionacc_limits.hits"
                " where key = %s and at > clock_timestamp() - make_interval(secs => %s)",
                (key, expiry),
            ).fetchone()
            assert row is not None
            return row[0], row[1]

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """See ``limits``: count without a limit."""
        self.acquire_entry(key, 1 << 31, expiry, amount)
        return self.get(key)

    def get(self, key: str) -> int:
        """See ``limits``: return the number of entries."""
        return self.get_moving_window(key, 0, 86_400)[1]

    def get_expiry(self, key: str) -> float:
        """See ``limits``: return the time of the first entry."""
        return self.get_moving_window(key, 0, 86_400)[0]

    def check(self) -> bool:
        """See ``limits``: return whether the store answers."""
        try:
            self._opened().check()
        except self.base_exceptions:  # pyright: ignore[reportGeneralTypeIssues]
            return False
        return True

    def reset(self) -> int | None:
        """See ``limits``: remove all entries."""
        with self._opened().connection() as connection:
            return connection.execute("delete from captionacc_limits.hits").rowcount

    def clear(self, key: str) -> None:
        """See ``limits``: remove the entries of one key."""
        with self._opened().connection() as connection:
            connection.execute("delete from captionacc_limits.hits where key = %s", (key,))
