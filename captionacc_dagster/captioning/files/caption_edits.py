"""Edits that people make in ``captions.db``: confirm, correct, split, merge, add, and delete.

The engine never changes a row that a person edited. A deleted caption stays as a ``gap``, so that the engine does not
add it again.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from captionacc_dagster.captioning.files.captions_database import ExtentsState, StoredCaption, stored_caption
from captionacc_dagster.captioning.files.databases import change_database, now_text
from captionacc_dagster.captioning.files.words import dump_words

UNCHANGED: Final[Any] = object()
"""Leaves a value unchanged, where None clears it."""


class CaptionNotFound(LookupError):
    """The database has no caption with this ID; the message names it."""


class InvalidEdit(ValueError):
    """An edit is not possible; the message says why."""


class CaptionEditor:
    """Edits of one database, committed together when the block of :func:`edit_captions` ends.

    Args:
        connection: the open database; its rows allow access by column name.
        frame_rate: cropped frames per second, for the frame numbers that belong to the times.
        duration_ms: length of the video, milliseconds; None if unknown.
    """

    def __init__(self, connection: sqlite3.Connection, frame_rate: float, duration_ms: int | None = None) -> None:
        self._connection = connection
        self._frame_rate = frame_rate
        self._duration_ms = duration_ms
        self._to_read: set[int] = set()

    @property
    def to_read(self) -> list[int]:
        """IDs of captions whose extents changed and that have no typed text: OCR must read them again."""
        return sorted(
            number
            for number in self._to_read
            if (row := self._find(number)) is not None and row.text is None and row.caption_frame_extents_state != "gap"
        )

    @property
    def text_pending(self) -> bool:
        """Whether a person must check the text of at least one caption again."""
        return self._connection.execute("SELECT 1 FROM captions WHERE text_pending LIMIT 1").fetchone() is not None

    def get(self, caption_id: int) -> StoredCaption:
        """Return a caption.

        Raises:
            CaptionNotFound: no caption has this ID.
        """
        row = self._find(caption_id)
        if row is None:
            raise CaptionNotFound(f"no caption {caption_id}")
        return row

    def confirm(self, caption_ids: Iterable[int]) -> list[StoredCaption]:
        """Mark the extents of captions as confirmed, and return the captions.

        Raises:
            CaptionNotFound: one does not exist; then none is confirmed.
        """
        rows = [self.get(number) for number in dict.fromkeys(caption_ids)]
        for row in rows:
            self._update(row.id, {"text_pending": 0, **_CONFIRMED})
        return [self.get(row.id) for row in rows]

    def correct(
        self,
        caption_id: int,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        state: ExtentsState | None = None,
        text: str | None = UNCHANGED,
        text_status: str | None = UNCHANGED,
        text_notes: str | None = UNCHANGED,
    ) -> StoredCaption:
        """Change the given fields; changed times or text confirm the caption unless ``state`` is given.

        A ``text`` of None removes the typed text, so that the text of OCR applies again.

        Raises:
            CaptionNotFound: no caption has this ID.
            InvalidEdit: the times are not valid for a caption.
        """
        row = self.get(caption_id)
        changes: dict[str, Any] = {}
        start, end = start_ms if start_ms is not None else row.start_ms, end_ms if end_ms is not None else row.end_ms
        if (start, end) != (row.start_ms, row.end_ms):
            changes |= self._extents(start, end) | _CONFIRMED | {"text_pending": int(row.text is not None)}
            if row.text is None:
                changes |= _REQUEUED
                self._to_read.add(row.id)
        if text is not UNCHANGED:
            changes |= {"text": text, "text_pending": 0}
            if text is not None:
                changes |= _CONFIRMED
        changes |= {
            name: value
            for name, value in (("text_status", text_status), ("text_notes", text_notes))
            if value is not UNCHANGED
        }
        if state is not None:
            changes |= {"caption_frame_extents_state": state, "caption_frame_extents_pending": 0}
        self._update(row.id, changes)
        return self.get(row.id)

    def split(self, caption_id: int, at_ms: int, texts: tuple[str, str] | None = None) -> list[StoredCaption]:
        """Split a caption in two at ``at_ms``; the first keeps the ID.

        Without ``texts``, OCR reads both again.

        Raises:
            CaptionNotFound: no caption has this ID.
            InvalidEdit: ``at_ms`` is not inside the caption.
        """
        row = self.get(caption_id)
        if not row.start_ms < at_ms < row.end_ms:
            raise InvalidEdit(f"caption {row.id} lasts from {row.start_ms} to {row.end_ms} ms; {at_ms} is not inside")
        first, second = texts if texts is not None else (None, None)
        before = [word for word in row.words if 1000 * word.onset_s < at_ms]
        number = self._insert(at_ms, row.end_ms, second, row)
        self._update(number, {"words": dump_words(row.words[len(before) :])})
        self._update(
            row.id,
            self._extents(row.start_ms, at_ms)
            | _CONFIRMED
            | _REQUEUED
            | {"text": first, "text_pending": 0, "words": dump_words(before)},
        )
        self._to_read |= {row.id, number}
        return [self.get(row.id), self.get(number)]

    def merge(self, caption_ids: Sequence[int], text: str | None = None) -> StoredCaption:
        """Merge captions into one, from the first start to the last end; the earliest keeps its ID.

        Without ``text``, a typed text that all of them share stays; otherwise OCR reads the merged caption.

        Raises:
            CaptionNotFound: one does not exist.
            InvalidEdit: fewer than two captions, or captions of different tracks.
        """
        rows = sorted((self.get(number) for number in set(caption_ids)), key=lambda row: (row.start_ms, row.id))
        if len(rows) < 2:
            raise InvalidEdit("at least two captions are needed to merge")
        if len({row.track for row in rows}) > 1:
            raise InvalidEdit("captions of different tracks cannot be merged")
        first, others = rows[0], rows[1:]
        typed = {row.text for row in rows}
        kept = text if text is not None else typed.pop() if len(typed) == 1 else None
        changes = self._extents(first.start_ms, max(row.end_ms for row in rows)) | _CONFIRMED
        changes |= {"text": kept, "text_pending": 0, "words": dump_words(word for row in rows for word in row.words)}
        changes |= {"unread": int(any(row.unread for row in rows))} | _around(rows)
        if kept is None:
            changes |= _REQUEUED
        self._connection.executemany("DELETE FROM captions WHERE id = ?", [(row.id,) for row in others])
        self._update(first.id, changes)
        self._to_read.add(first.id)
        return self.get(first.id)

    def add(self, start_ms: int, end_ms: int, text: str | None = None) -> StoredCaption:
        """Add a caption that the engine missed.

        Raises:
            InvalidEdit: the times are not valid for a caption.
        """
        number = self._insert(start_ms, end_ms, text, None)
        self._to_read.add(number)
        return self.get(number)

    def delete(self, caption_id: int) -> StoredCaption:
        """Delete a caption: its row stays as a gap that no output contains.

        Raises:
            CaptionNotFound: no caption has this ID.
        """
        row = self.get(caption_id)
        self._update(
            row.id, {"caption_frame_extents_state": "gap", "caption_frame_extents_pending": 0, "text_pending": 0}
        )
        return self.get(row.id)

    def _find(self, caption_id: int) -> StoredCaption | None:
        # SQLite integers have 64 bits; a larger number cannot be an ID.
        if not 0 <= caption_id < 1 << 63:
            return None
        row = self._connection.execute("SELECT * FROM captions WHERE id = ?", (caption_id,)).fetchone()
        return None if row is None else stored_caption(row)

    def _extents(self, start_ms: int, end_ms: int) -> dict[str, Any]:
        if start_ms < 0 or end_ms <= start_ms:
            raise InvalidEdit(f"a caption cannot last from {start_ms} to {end_ms} ms")
        if self._duration_ms is not None and start_ms >= self._duration_ms:
            raise InvalidEdit(f"a caption cannot start at {start_ms} ms: the video ends at {self._duration_ms} ms")
        if self._duration_ms is not None and end_ms > self._duration_ms + _PAST_THE_END_MS:
            raise InvalidEdit(f"a caption cannot end at {end_ms} ms: the video ends at {self._duration_ms} ms")
        first = math.ceil(start_ms * self._frame_rate / 1000 - 1e-6)
        return {
            "start_ms": start_ms,
            "end_ms": end_ms,
            "start_frame_index": first,
            "end_frame_index": max(first + 1, math.ceil(end_ms * self._frame_rate / 1000 - 1e-6)),
            "native_start_frame": None,
            "native_end_frame": None,
            "caption_frame_extents_confidence": 1.0,
        }

    def _update(self, caption_id: int, changes: dict[str, Any]) -> None:
        if changes:
            self._check_text(changes.get("text"))
            values = changes | {"updated_at": now_text()}
            assignments = ", ".join(f"{name} = :{name}" for name in values)
            self._connection.execute(
                f"UPDATE captions SET {assignments} WHERE id = :id",  # noqa: S608 - names are this module's own
                values | {"id": caption_id},
            )

    def _insert(self, start_ms: int, end_ms: int, text: str | None, like: StoredCaption | None) -> int:
        self._check_text(text)
        now = now_text()
        values = self._extents(start_ms, end_ms) | _CONFIRMED | {"text": text, "created_at": now, "updated_at": now}
        if like is not None:
            values |= {name: getattr(like, name) for name in (*_SHARED, *_BOX)}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        cursor = self._connection.execute(
            f"INSERT INTO captions({names}) VALUES ({marks})",  # noqa: S608 - names are this module's own
            values,
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    @staticmethod
    def _check_text(text: str | None) -> None:
        if text is not None and not text.strip():
            raise InvalidEdit("a caption's text is not empty; delete the caption instead")


# Milliseconds by which a caption may outlast the video: a container's duration can fall short of its last frame.
_PAST_THE_END_MS = 1000
_CONFIRMED = {"caption_frame_extents_state": "confirmed", "caption_frame_extents_pending": 0}
_REQUEUED = {
    "caption_ocr": None,
    "caption_ocr_confidence": None,
    "caption_ocr_status": "queued",
    "caption_ocr_error": None,
    "caption_ocr_processed_at": None,
}
_SHARED = ("track", "kind", "lang", "script", "unread")
_BOX = ("bbox_left", "bbox_top", "bbox_right", "bbox_bottom")


def _around(rows: Sequence[StoredCaption]) -> dict[str, float]:
    """Return the columns of the union of the known boxes."""
    boxes = [row.bbox for row in rows if row.bbox_left is not None]
    if not boxes:
        return {}
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return dict(zip(_BOX, whole.as_tuple(), strict=True))


@contextmanager
def edit_captions(path: Path, frame_rate: float, duration_ms: int | None = None) -> Iterator[CaptionEditor]:
    """Open ``captions.db`` for edits; an error inside the block leaves the file unchanged.

    Raises:
        DatabaseError: no captions database.
    """
    with change_database(path) as connection:
        yield CaptionEditor(connection, frame_rate, duration_ms)
