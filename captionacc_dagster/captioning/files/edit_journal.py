"""The journal of people's edits in ``captions.db``: undo and redo as inverse operations.

Each edit is stored with its rows as they were before and after. Undoing writes the rows back as they were before, text
that was read included; it is refused if one of them has been changed since.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captionacc_dagster.captioning.files.databases import now_text, open_database

JOURNAL_SCHEMA = """
-- People's edits, for undo and redo. Rows of captions before and after, by id, as JSON; null: no such row.
CREATE TABLE IF NOT EXISTS edits(
    id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL, user_id TEXT, made_at TEXT NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0, rows_before TEXT NOT NULL, rows_after TEXT NOT NULL);
"""
Direction = Literal["undo", "redo"]
Rows = Mapping[int, dict[str, Any] | None]

# Edits that can be undone; older ones are forgotten.
MOST_EDITS = 200
# What another edit may have changed since; what the machine read does not count.
_COMPARED = (
    "start_ms", "end_ms", "caption_frame_extents_state", "text", "text_status", "text_notes", "track", "kind",
    "bbox_left", "bbox_top", "bbox_right", "bbox_bottom",
)  # fmt: skip


class CannotUndo(ValueError):
    """There is nothing to undo or redo, or a caption was changed since; the message says which."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a person can undo and redo next, in words; None: nothing."""

    undo: str | None
    redo: str | None


class EditJournal:
    """The journal of one open database.

    Args:
        connection: the open database; its rows allow access by column name.
        user_id: the person; each undoes their own edits only. None: nobody in particular.
    """

    def __init__(self, connection: sqlite3.Connection, user_id: str | None) -> None:
        connection.execute(JOURNAL_SCHEMA)
        self._connection = connection
        self._user_id = user_id
        self._before: dict[int, dict[str, Any] | None] = {}

    def remember(self, caption_id: int) -> None:
        """Keep a row as it is now, before its first change."""
        if caption_id not in self._before:
            self._before[caption_id] = self._row(caption_id)

    def remember_new(self, caption_id: int) -> None:
        """Keep that there was no such row."""
        self._before.setdefault(caption_id, None)

    def write(self, label: str) -> None:
        """Write the changes so far as one edit; what was undone before cannot be redone any more."""
        after = {number: self._row(number) for number in self._before}
        changed = [number for number, row in after.items() if _facts(row) != _facts(self._before[number])]
        if not changed:
            return
        self._connection.execute("DELETE FROM edits WHERE undone AND user_id IS ?", (self._user_id,))
        self._connection.execute(
            "INSERT INTO edits(label, user_id, made_at, rows_before, rows_after) VALUES (?, ?, ?, ?, ?)",
            (
                label,
                self._user_id,
                now_text(),
                _dump({number: self._before[number] for number in changed}),
                _dump({number: after[number] for number in changed}),
            ),
        )
        self._connection.execute(
            "DELETE FROM edits WHERE id <= (SELECT max(id) FROM edits) - ?",
            (MOST_EDITS,),
        )

    def go(self, direction: Direction) -> tuple[str, list[int]]:
        """Undo the person's last edit, or redo the one that they undid last; return its label and the captions' ids.

        Raises:
            CannotUndo: there is none, or one of its captions was changed since.
        """
        order = "id DESC" if direction == "undo" else "id"
        edit = self._connection.execute(
            f"SELECT * FROM edits WHERE undone = ? AND user_id IS ? ORDER BY {order} LIMIT 1",  # noqa: S608
            (int(direction == "redo"), self._user_id),
        ).fetchone()
        if edit is None:
            raise CannotUndo(f"there is nothing to {direction}")
        here, there = ("rows_after", "rows_before") if direction == "undo" else ("rows_before", "rows_after")
        expected, wanted = _load(edit[here]), _load(edit[there])
        current = {number: self._row(number) for number in expected}
        for number, row in current.items():
            if _facts(row) != _facts(expected[number]):
                raise CannotUndo(f"caption {number} was changed since; {edit['label']} cannot be {_PAST[direction]}")
        for number, row in wanted.items():
            self._put(number, row)
        self._connection.execute(
            f"UPDATE edits SET undone = ?, {here} = ? WHERE id = ?",  # noqa: S608 - names are this module's own
            (int(direction == "undo"), _dump(current), edit["id"]),
        )
        return edit["label"], sorted(wanted)

    def _row(self, caption_id: int) -> dict[str, Any] | None:
        row = self._connection.execute("SELECT * FROM captions WHERE id = ?", (caption_id,)).fetchone()
        return None if row is None else dict(row)

    def _put(self, caption_id: int, row: dict[str, Any] | None) -> None:
        if row is None:
            self._connection.execute("DELETE FROM captions WHERE id = ?", (caption_id,))
            return
        values = row | {"updated_at": now_text()}
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        self._connection.execute(
            f"INSERT OR REPLACE INTO captions({names}) VALUES ({marks})",  # noqa: S608 - names are the table's own
            values,
        )


_PAST: dict[Direction, str] = {"undo": "undone", "redo": "redone"}


def read_steps(path: Path, user_id: str | None) -> Steps:
    """Return what a person can undo and redo next.

    Raises:
        DatabaseError: not a captions database.
    """
    with open_database(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'edits'").fetchone():
            return Steps(None, None)
        return Steps(
            *(
                next(_labels(connection, user_id, undone=undone, order=order), None)
                for undone, order in ((False, "DESC"), (True, "ASC"))
            )
        )


def _labels(connection: sqlite3.Connection, user_id: str | None, *, undone: bool, order: str) -> Iterator[str]:
    for row in connection.execute(
        f"SELECT label FROM edits WHERE undone = ? AND user_id IS ? ORDER BY id {order} LIMIT 1",  # noqa: S608
        (int(undone), user_id),
    ):
        yield row["label"]


def _facts(row: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    return None if row is None else tuple(row[name] for name in _COMPARED)


def _dump(rows: Rows) -> str:
    return json.dumps({str(number): row for number, row in rows.items()}, ensure_ascii=False)


def _load(column: str) -> dict[int, dict[str, Any] | None]:
    return {int(number): row for number, row in json.loads(column).items()}
