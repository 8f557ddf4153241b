"""Move the data of an embedded Postgres to the newest version that is embedded."""

from __future__ import annotations

import fcntl
import shutil
import time
from pathlib import Path
from typing import Final

import psycopg

from captionacc_dagster.catalog.embedded import DEFAULT_VERSION, UPGRADED, EmbeddedPostgres, EmbeddedPostgresError

_DUMP_TIMEOUT_S: Final = 6 * 3600.0


def upgrade(home: Path) -> Path | None:
    """Copy all databases into a cluster of the newest version, put it in place, and keep the old data.

    An interrupted upgrade leaves the old cluster as it was, and the next one starts over.

    Returns:
        The folder that now contains the old data; None if nothing had to be upgraded.

    Raises:
        EmbeddedPostgresError: the server is in use, its version is not embedded, or a step failed.
    """
    old = EmbeddedPostgres(home)
    old.finish_upgrade()
    if not (old.data / "PG_VERSION").exists() or old.version == DEFAULT_VERSION:
        return None
    _refuse_if_used(old)
    work = home / "upgrade"
    new = EmbeddedPostgres(work, version=DEFAULT_VERSION)
    # What an interrupted upgrade left.
    new.stop()
    shutil.rmtree(work, ignore_errors=True)
    try:
        with old, new:
            _copy(old, new)
            new.stop()
            old.stop()
        # It would watch the new server with the programs of the old one.
        _becomes_free(old.folder / "keeper.lock", 30.0)
        kept = old.folder / f"data-{old.version}"
        new.data.rename(old.folder / UPGRADED)
        old.data.rename(kept)
        old.finish_upgrade()
    finally:
        new.stop()
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _refuse_if_used(server: EmbeddedPostgres) -> None:
    # The keeper looks at this lock twice a second, for a moment.
    if not _becomes_free(server.folder / "users.lock", 3.0):
        raise EmbeddedPostgresError(f"{server.folder} is in use", hint="stop `captionacc up` and other commands first")


def _becomes_free(lock: Path, seconds: float) -> bool:
    """Return whether nobody holds a lock within some seconds."""
    deadline = time.monotonic() + seconds
    while lock.exists():
        with lock.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
            else:
                return True
        time.sleep(0.1)
    return True


def _copy(old: EmbeddedPostgres, new: EmbeddedPostgres) -> None:
    """Copy roles and databases with the programs of the newer version."""
    source = ("-h", str(old.socket_folder), "-U", "postgres")
    target = ("-h", str(new.socket_folder), "-U", "postgres", "--no-password")
    roles = new.folder / "roles.sql"
    new.run("pg_dumpall", *source, "--roles-only", "-f", str(roles))
    # The owner exists in every cluster.
    lines = roles.read_text(encoding="utf-8").splitlines(keepends=True)
    roles.write_text("".join(line for line in lines if line != "CREATE ROLE postgres;\n"), encoding="utf-8")
    new.run("psql", *target, "-d", "postgres", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(roles))
    with psycopg.connect(old.url("postgres"), autocommit=True) as connection:
        names = connection.execute("select datname from pg_database where not datistemplate and datname <> 'postgres'")
        databases = [str(row[0]) for row in names.fetchall()]
    for name in databases:
        dump = new.folder / "database.dump"
        new.ensure_database(name)
        new.run("pg_dump", *source, "-Fc", "-f", str(dump), "-d", name, timeout=_DUMP_TIMEOUT_S)
        new.run("pg_restore", *target, "--exit-on-error", "-d", name, str(dump), timeout=_DUMP_TIMEOUT_S)
        dump.unlink()
