"""Apply supabase/migrations to any Postgres, each once, in order, in its own transaction.

The runners that Python has (yoyo, Alembic) want files, and tables, of their own kind; the Supabase CLI applies these
files as they are, and what it has applied is recognized here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.catalog.postgres import literal, to_catalog_error

_HERE = Path(__file__).resolve().parent
LOCAL_AUTH_SQL = _HERE / "local_auth.sql"
# An arbitrary number that serializes concurrent migrations.
_ADVISORY_LOCK = 0x63617074696F6E

_TRACKING_SQL = """
create schema if not exists captionacc;
create table if not exists captionacc.schema_migrations (
    name text primary key, checksum text not null, applied_at timestamptz not null default now()
);
alter table captionacc.schema_migrations enable row level security;
"""


class MigrationError(CatalogError):
    """The database cannot be migrated to this version's schema."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file: ``20260115000100_tables.sql``."""

    name: str
    sql: str = field(repr=False)
    checksum: str

    @property
    def version(self) -> str:
        """The leading timestamp, which the Supabase CLI uses as the version."""
        return self.name.partition("_")[0]


def migrations_folder() -> Path:
    """Return the folder of the migrations: in the installed package or in the checkout."""
    for folder in (_HERE / "migrations", _HERE.parents[1] / "supabase" / "migrations"):
        if folder.is_dir():
            return folder
    raise MigrationError(f"no migrations found in {_HERE} or in a checkout")


def load_migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """Return the migrations in the order in which they apply."""
    paths = sorted((folder or migrations_folder()).glob("*.sql"))
    return tuple(
        Migration(path.stem, text, hashlib.sha256(text.encode()).hexdigest())
        for path in paths
        for text in (path.read_text(encoding="utf-8").replace("\r\n", "\n"),)
    )


def _applied(connection: psycopg.Connection[Any]) -> dict[str, str] | None:
    """Return name → checksum of the applied migrations, or None if none are tracked yet."""
    there = connection.execute("select to_regclass('captionacc.schema_migrations') is not null").fetchone()
    if not there or not there[0]:
        return None
    return dict(connection.execute("select name, checksum from captionacc.schema_migrations").fetchall())


def _pending(applied: dict[str, str], known: tuple[Migration, ...]) -> list[Migration]:
    by_name = {migration.name: migration for migration in known}
    for name in sorted(applied):
        if name not in by_name:
            raise MigrationError(
                f"the database has migration {name}, which this version does not know",
                hint="upgrade captionacc-dagster",
            )
        if applied[name] != by_name[name].checksum:
            raise MigrationError(
                f"migration {name} was applied with different contents",
                hint="an applied migration must not change; add a new one",
            )
    pending = [migration for migration in known if migration.name not in applied]
    last = max(applied, default="")
    for migration in pending:
        if migration.name < last:
            raise MigrationError(f"migration {migration.name} is older than {last}, which is already applied")
    return pending


def _adopt_supabase_history(connection: psycopg.Connection[Any], known: tuple[Migration, ...]) -> None:
    """Record migrations that the Supabase CLI (``supabase db push``) has applied."""
    there = connection.execute("select to_regclass('supabase_migrations.schema_migrations') is not null").fetchone()
    if not there or not there[0]:
        return
    versions = {row[0] for row in connection.execute("select version from supabase_migrations.schema_migrations")}
    for migration in known:
        if migration.version in versions:
            connection.execute(
                "insert into captionacc.schema_migrations (name, checksum) values (%s, %s) on conflict do nothing",
                (migration.name, migration.checksum),
            )


def _lacks_auth(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "select to_regrole('anon') is null or to_regrole('authenticated') is null"
        " or to_regrole('service_role') is null or to_regclass('auth.users') is null"
        " or to_regprocedure('auth.uid()') is null or to_regprocedure('auth.jwt()') is null"
    ).fetchone()
    return bool(row and row[0])


def _prepare(connection: psycopg.Connection[Any], known: tuple[Migration, ...]) -> None:
    if _lacks_auth(connection):
        connection.execute(literal(LOCAL_AUTH_SQL.read_text(encoding="utf-8")))
    connection.execute(_TRACKING_SQL)
    _adopt_supabase_history(connection, known)


def pending_migrations(url: str, folder: Path | None = None) -> list[str]:
    """Return the names of the migrations that :func:`migrate` would apply, without changing anything.

    Raises:
        MigrationError: the schema is newer than this version or has changed.
        CatalogUnavailable: the database cannot be reached.
    """
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            return [migration.name for migration in _pending(_applied(connection) or {}, load_migrations(folder))]
    except psycopg.Error as error:
        raise to_catalog_error(error) from error


def migrate(url: str, folder: Path | None = None) -> list[str]:
    """Migrate the database at ``url`` to this version's schema and return the names of the applied migrations.

    If Supabase's roles and its schema ``auth`` are missing, local ones are created first. Several processes may call
    this at once.

    Raises:
        MigrationError: the schema is newer than this version, an applied migration has changed, or one failed and was
        rolled back.
        CatalogUnavailable: the database cannot be reached.
    """
    known = load_migrations(folder)
    done: list[str] = []
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            applied = _applied(connection)
            if applied is not None and not _pending(applied, known):
                return done
            while True:
                with connection.transaction():
                    connection.execute("select pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
                    if not done:
                        _prepare(connection, known)
                    pending = _pending(_applied(connection) or {}, known)
                    if not pending:
                        return done
                    _apply(connection, pending[0])
                done.append(pending[0].name)
    except psycopg.Error as error:
        raise to_catalog_error(error) from error


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    try:
        connection.execute(literal(migration.sql))
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error)
        raise MigrationError(f"migration {migration.name} failed: {message}", code=error.sqlstate) from error
    connection.execute(
        "insert into captionacc.schema_migrations (name, checksum) values (%s, %s)",
        (migration.name, migration.checksum),
    )
