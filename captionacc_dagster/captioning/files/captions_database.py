"""``captions.db``: captions as the engine finds them and as people confirm or correct them.

The engine never overwrites what a person confirmed or typed: such a row stays, and what the engine finds in its place
is discarded.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, get_args

from captionacc_dagster.captioning.captions import Caption, CaptionWarning, Kind, Word, is_side_of
from captionacc_dagster.captioning.files.databases import (
    TEXT_FACTS_SCHEMA,
    WARNINGS_SCHEMA,
    change_database,
    cropped_frames_of,
    insert_warnings,
    new_database,
    now_text,
    open_database,
    text_facts,
)
from captionacc_dagster.captioning.files.edit_journal import JOURNAL_SCHEMA
from captionacc_dagster.captioning.files.previous_captions import CAPTIONS_BEFORE_SCHEMA
from captionacc_dagster.captioning.files.word_json import fit_words, load_words
from captionacc_dagster.captioning.geometry import BBox

ExtentsState = Literal["predicted", "confirmed", "gap", "issue"]
OcrStatus = Literal["queued", "processing", "completed", "error"]

_SCHEMA = f"""
CREATE TABLE captions(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    start_frame_index INTEGER NOT NULL, end_frame_index INTEGER NOT NULL,
    start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    caption_frame_extents_state TEXT NOT NULL DEFAULT 'predicted'
        CHECK (caption_frame_extents_state IN ('predicted', 'confirmed', 'gap', 'issue')),
    caption_frame_extents_pending INTEGER NOT NULL DEFAULT 0,
    text TEXT, text_pending INTEGER NOT NULL DEFAULT 0, text_status TEXT, text_notes TEXT,
    caption_ocr TEXT, caption_ocr_confidence REAL,
    caption_ocr_status TEXT NOT NULL DEFAULT 'queued'
        CHECK (caption_ocr_status IN ('queued', 'processing', 'completed', 'error')),
    caption_ocr_error TEXT, caption_ocr_processed_at TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    native_start_frame INTEGER, native_end_frame INTEGER, caption_frame_extents_confidence REAL,
    track TEXT NOT NULL DEFAULT '', bbox_left REAL, bbox_top REAL, bbox_right REAL, bbox_bottom REAL,
    {TEXT_FACTS_SCHEMA});
CREATE INDEX captions_by_time ON captions(start_ms, end_ms);
{WARNINGS_SCHEMA}{JOURNAL_SCHEMA}{CAPTIONS_BEFORE_SCHEMA}"""
SCHEMAS: Final = {"captions.db": _SCHEMA}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCaption:
    """One row of ``captions``; times are half-open, in milliseconds on the video's own clock."""

    id: int
    start_frame_index: int
    end_frame_index: int
    start_ms: int
    end_ms: int
    caption_frame_extents_state: ExtentsState
    caption_frame_extents_pending: bool
    text: str | None
    text_pending: bool
    text_status: str | None
    text_notes: str | None
    caption_ocr: str | None
    caption_ocr_confidence: float | None
    caption_ocr_status: OcrStatus
    caption_ocr_error: str | None
    caption_ocr_processed_at: str | None
    created_at: str
    updated_at: str
    native_start_frame: int | None
    native_end_frame: int | None
    caption_frame_extents_confidence: float | None
    track: str
    bbox_left: float | None
    bbox_top: float | None
    bbox_right: float | None
    bbox_bottom: float | None
    kind: Kind
    lang: str | None
    script: str | None
    unread: bool
    words: tuple[Word, ...]

    @property
    def shown_text(self) -> str:
        """The text that a person typed, or else the text that OCR read."""
        return self.text if self.text is not None else (self.caption_ocr or "")

    @property
    def shown_words(self) -> tuple[Word, ...]:
        """The words with times of their own, as the shown text spells them."""
        return fit_words(self.shown_text, self.words)

    @property
    def is_unread(self) -> bool:
        """Whether no available engine reads the script of a line, and no person has typed the text."""
        return self.unread and self.text is None

    @property
    def bbox(self) -> BBox:
        """The caption's place in the frame; the whole frame if unknown."""
        if self.bbox_left is None or self.bbox_top is None or self.bbox_right is None or self.bbox_bottom is None:
            return BBox(0.0, 0.0, 1.0, 1.0)
        return BBox(self.bbox_left, self.bbox_top, self.bbox_right, self.bbox_bottom)


_OF_A_PERSON = "caption_frame_extents_state <> 'predicted' OR text IS NOT NULL"
_COLUMNS = tuple(field.name for field in fields(StoredCaption))


@dataclass(frozen=True, slots=True)
class OcrUpdate:
    """New OCR columns of one row: the text, or the reason why OCR failed.

    ``unread``, ``lang``, and ``script`` replace the values of the row unless they are None.
    """

    caption_id: int
    text: str
    confidence: float
    error: str | None = None
    unread: bool | None = None
    lang: str | None = None
    script: str | None = None


def merge_captions(
    path: Path,
    found: Sequence[Caption],
    frame_rate: float,
    previous: Path | None = None,
    warnings: Sequence[CaptionWarning] = (),
) -> None:
    """Write ``captions.db`` with newly found captions and the rows that people edited before.

    Args:
        path: the new database.
        found: the captions of the newest extents, in order of time.
        frame_rate: cropped frames per second.
        previous: the current database. Rows that a person confirmed or typed stay, ids included; all others are
            replaced.
        warnings: about the video; they replace those of ``previous``.

    Raises:
        DatabaseError: ``previous`` is not a captions database.
    """
    if previous is None:
        with new_database(path, _SCHEMA) as connection:
            _insert(connection, found, frame_rate)
            insert_warnings(connection, warnings)
        return
    part = path.with_name(path.name + ".part")
    try:
        with open_database(previous):
            shutil.copyfile(previous, part)
        with change_database(part) as connection:
            connection.execute(f"DELETE FROM captions WHERE NOT ({_OF_A_PERSON})")  # noqa: S608
            kept = connection.execute("SELECT start_ms, end_ms, track FROM captions").fetchall()
            free = [caption for caption in found if not any(_in_place_of(caption, *row) for row in kept)]
            _insert(connection, free, frame_rate)
        replace_warnings(part, warnings)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_warnings(path: Path, warnings: Sequence[CaptionWarning]) -> None:
    """Replace the warnings about the video.

    Raises:
        DatabaseError: not a captions database.
    """
    with change_database(path) as connection:
        connection.execute("DELETE FROM warnings")
        insert_warnings(connection, warnings)


def loses_captions(path: Path, previous: Path) -> bool:
    """Return whether a caption that was read, or typed, is not in ``path`` with the same times, track, kind, and text.

    Raises:
        DatabaseError: one of them is not a captions database.
    """

    def facts(row: StoredCaption) -> tuple[object, ...]:
        return row.start_ms, row.end_ms, row.track, row.kind, row.shown_text

    there = {facts(row) for row in read_captions(path)}
    return any(
        facts(row) not in there
        for row in read_captions(previous)
        if row.shown_text or row.caption_ocr_status == "completed"
    )


def count_rows(path: Path) -> tuple[int, int]:
    """Return how many rows a person confirmed or typed, and how many others there are.

    Raises:
        DatabaseError: not a captions database.
    """
    with open_database(path) as connection:
        [[persons, total]] = connection.execute(
            f"SELECT count(*) FILTER (WHERE {_OF_A_PERSON}), count(*) FROM captions"  # noqa: S608
        )
        return persons, total - persons


def _in_place_of(caption: Caption, start_ms: int, end_ms: int, track: str) -> bool:
    """Return whether a found caption and a kept row share half of the shorter one's time.

    A row of a whole track may contain what several people say at once, which was found as captions of its sides.
    """
    is_alike = track == caption.track or is_side_of(caption.track, track) or is_side_of(track, caption.track)
    if track and caption.track and not is_alike:
        return False
    common = min(caption.end_ms, end_ms) - max(caption.start_ms, start_ms)
    return 2 * common >= min(caption.end_ms - caption.start_ms, end_ms - start_ms)


def _insert(connection: sqlite3.Connection, captions: Iterable[Caption], frame_rate: float) -> None:
    now = now_text()
    connection.executemany(
        "INSERT INTO captions(start_frame_index, end_frame_index, start_ms, end_ms, native_start_frame,"
        " native_end_frame, caption_frame_extents_confidence, track, bbox_left, bbox_top, bbox_right, bbox_bottom,"
        " created_at, updated_at, kind, lang, script, unread, words)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *cropped_frames_of(caption, frame_rate),
                caption.start_ms,
                caption.end_ms,
                caption.start_frame,
                caption.end_frame,
                caption.extent_confidence,
                caption.track,
                *caption.bbox.as_tuple(),
                now,
                now,
                *text_facts(caption),
            )
            for caption in captions
        ],
    )


def read_captions(
    path: Path, states: Collection[ExtentsState] | None = None, limit: int | None = None
) -> list[StoredCaption]:
    """Return the rows in order of time: all, or the first ``limit`` in these states.

    Raises:
        DatabaseError: not a captions database.
    """
    wanted = json.dumps(list(states or get_args(ExtentsState)))
    with open_database(path) as connection:
        return [
            stored_caption(row)
            for row in connection.execute(
                "SELECT * FROM captions WHERE caption_frame_extents_state IN (SELECT value FROM json_each(?))"
                " ORDER BY start_ms, end_ms, bbox_top, id LIMIT ?",
                (wanted, -1 if limit is None else limit),
            )
        ]


def stored_caption(row: sqlite3.Row) -> StoredCaption:
    """Return a row of the table ``captions`` as a `StoredCaption`."""
    values = {name: row[name] for name in _COLUMNS}
    for name in ("caption_frame_extents_pending", "text_pending", "unread"):
        values[name] = bool(values[name])
    values["words"] = load_words(values["words"]) if values["words"] != "[]" else ()
    return StoredCaption(**values)


def write_ocr_updates(path: Path, updates: Iterable[OcrUpdate]) -> None:
    """Write the OCR columns of rows in place; the text that a person typed does not change."""
    now = now_text()
    with change_database(path) as connection:
        connection.executemany(
            "UPDATE captions SET caption_ocr = ?, caption_ocr_confidence = ?, caption_ocr_status = ?,"
            " caption_ocr_error = ?, caption_ocr_processed_at = ?, updated_at = ?, unread = coalesce(?, unread),"
            " lang = coalesce(?, lang), script = coalesce(?, script) WHERE id = ?",
            [
                (
                    update.text,
                    update.confidence,
                    "completed" if update.error is None else "error",
                    update.error,
                    now,
                    now,
                    update.unread,
                    update.lang,
                    update.script,
                    update.caption_id,
                )
                for update in updates
            ],
        )


def to_captions(rows: Iterable[StoredCaption], native_frame_rate: float) -> list[Caption]:
    """Return the captions that a viewer should see: no gaps, and no rows without text that no one knows to be unread.

    A typed text has been read by a person: it clears ``unread`` and keeps the words' times if it has as many words.

    Args:
        rows: in order of time.
        native_frame_rate: frames per second, for the frame numbers of rows whose times a person changed.
    """
    return [
        Caption(
            start_s=row.start_ms / 1000,
            end_s=row.end_ms / 1000,
            start_frame=_frame(row.native_start_frame, row.start_ms, native_frame_rate),
            end_frame=_frame(row.native_end_frame, row.end_ms, native_frame_rate),
            text=row.shown_text,
            confidence=1.0 if row.text is not None else (row.caption_ocr_confidence or 0.0),
            bbox=row.bbox,
            track=row.track,
            extent_confidence=row.caption_frame_extents_confidence or 0.0,
            kind=row.kind,
            lang=row.lang,
            script=row.script,
            unread=row.unread and row.text is None,
            words=fit_words(row.shown_text, row.words),
        )
        for row in rows
        if row.caption_frame_extents_state != "gap" and (row.shown_text.strip() or row.unread)
    ]


def _frame(known: int | None, milliseconds: int, frame_rate: float) -> int:
    return known if known is not None else round(milliseconds / 1000 * frame_rate)
