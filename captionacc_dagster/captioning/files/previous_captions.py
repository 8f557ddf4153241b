"""The captions from before the last processing, kept inside ``captions.db``: one write of one object swaps both.

As an object of their own, a swap would take two writes, and a process killed between them would lose one of the two.
"""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

from captionacc_dagster.captioning.files.databases import change_database, now_text, open_database

CAPTIONS_BEFORE_SCHEMA = """
-- The captions from before the last processing that removed some: a whole captions.db without this table, gzipped.
CREATE TABLE IF NOT EXISTS captions_before(
    id INTEGER PRIMARY KEY CHECK (id = 1), kept_at TEXT NOT NULL, captions_db BLOB NOT NULL);
"""


class NothingKept(ValueError):
    """No captions from before are kept; the message says so."""


def keep_before(path: Path, previous: Path) -> None:
    """Keep the captions of ``previous`` in ``path``, in place of what is kept there.

    Raises:
        DatabaseError: one of them is not a captions database.
    """
    _put(path, _packed(previous))


def has_before(path: Path) -> bool:
    """Return whether captions from before are kept.

    Raises:
        DatabaseError: not a captions database.
    """
    return _kept(path) is not None


def bring_back(path: Path) -> None:
    """Swap the captions and the kept ones: doing so twice changes nothing.

    Raises:
        NothingKept: no captions from before are kept.
        DatabaseError: not a captions database.
    """
    before = _kept(path)
    if before is None:
        raise NothingKept("there are no earlier captions to bring back: processing the video again has removed none")
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(gzip.decompress(before))
        _put(part, _packed(path))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _kept(path: Path) -> bytes | None:
    with open_database(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'captions_before'").fetchone():
            return None
        row = connection.execute("SELECT captions_db FROM captions_before").fetchone()
        return None if row is None else row["captions_db"]


def _put(path: Path, packed: bytes) -> None:
    with change_database(path) as connection:
        connection.execute(CAPTIONS_BEFORE_SCHEMA)
        connection.execute("INSERT OR REPLACE INTO captions_before VALUES (1, ?, ?)", (now_text(), packed))


def _packed(path: Path) -> bytes:
    """Return a database without what it keeps itself, or each would contain all before it."""
    with open_database(path) as connection, closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        connection.commit()  # an older database is upgraded in a transaction, and a backup waits for its end
        connection.backup(copy)
        copy.execute("DROP TABLE IF EXISTS captions_before")
        copy.execute("VACUUM")
        return gzip.compress(copy.serialize(), mtime=0)
