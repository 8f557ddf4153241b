"""What people do to the rows of ``captions.db``: confirm, correct, split, merge, add and delete.

Whatever a person touched counts as theirs: the machine leaves it alone from then on. A deleted caption stays as a
``gap``, so that the machine does not find it again.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from captionacc_dagster.captioning.files.captions_database import ExtentsState, StoredCaption, stored_caption
from captionacc_dagster.captioning.files.databases import now_text, open_database

UNCHANGED: Final[Any] = object()
"""Says that a value stays as it is, where None would clear it."""


class CaptionNotFound(LookupError):
    """The database has no caption of this number; the message names it."""


class InvalidEdit(ValueError):
    """An edit that makes no sense; the message says why."""


class CaptionEditor:
    """One person's edits of one database, written together when the block of :func:`edit_captions` ends.

    Args:
        connection: the open database, with rows by name.
        frame_rate: cropped frames per second, for the frame numbers beside the times.
        duration_ms: length of the video, milliseconds; None when unknown.
    """

    def __init__(self, connection: sqlite3.Connection, frame_rate: float, duration_ms: int | None = None) -> None:
        self._connection = connection
        self._frame_rate = frame_rate
        self._duration_ms = duration_ms
        self._unread: set[int] = set()

    @property
    def unread(self) -> list[int]:
        """Captions whose extents changed and that nobody typed a text for: the machine must read them again."""
        return sorted(
            number
            for number in self._unread
            if (row := self._find(number)) is not None and row.text is None and row.caption_frame_extents_state != "gap"
        )

    @property
    def text_pending(self) -> bool:
        """Whether a caption's text waits for somebody to look at it again."""
        return self._connection.execute("SELECT 1 FROM captions WHERE text_pending LIMIT 1").fetchone() is not None

    def get(self, caption_id: int) -> StoredCaption:
        """Give a caption.

        Raises:
            CaptionNotFound: there is none of this number.
        """
        row = self._find(caption_id)
        if row is None:
            raise CaptionNotFound(f"no caption {caption_id}")
        return row

    def confirm(self, caption_ids: Iterable[int]) -> list[StoredCaption]:
        """Say of captions that they begin and end where the rows say.

        Raises:
            CaptionNotFound: one is not there; then none is confirmed.
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
        """Change what is named; a caption with changed times or text counts as confirmed unless ``state`` is given.

        A ``text`` of None takes a typed text away, so that what the machine read counts again.

        Raises:
            CaptionNotFound: there is none of this number.
            InvalidEdit: times that no caption can have.
        """
        row = self.get(caption_id)
        changes: dict[str, Any] = {}
        start, end = start_ms if start_ms is not None else row.start_ms, end_ms if end_ms is not None else row.end_ms
        if (start, end) != (row.start_ms, row.end_ms):
            changes |= self._extents(start, end) | _CONFIRMED | {"text_pending": int(row.text is not None)}
            if row.text is None:
                changes |= _UNREAD
                self._unread.add(row.id)
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
        """Make two captions that touch at ``at_ms`` of one; the first keeps the number.

        Without ``texts`` the machine reads both anew, whatever the one before said.

        Raises:
            CaptionNotFound: there is none of this number.
            InvalidEdit: the moment does not lie inside the caption.
        """
        row = self.get(caption_id)
        if not row.start_ms < at_ms < row.end_ms:
            raise InvalidEdit(f"caption {row.id} lasts from {row.start_ms} to {row.end_ms} ms; {at_ms} is not inside")
        first, second = texts if texts is not None else (None, None)
        number = self._insert(at_ms, row.end_ms, second, row)
        self._update(
            row.id,
            self._extents(row.start_ms, at_ms) | _CONFIRMED | _UNREAD | {"text": first, "text_pending": 0},
        )
        self._unread |= {row.id, number}
        return [self.get(row.id), self.get(number)]

    def merge(self, caption_ids: Sequence[int], text: str | None = None) -> StoredCaption:
        """Make one caption of several, from the first start to the last end; the earliest keeps its number.

        Without ``text``, and when all of them say the same, that stays; otherwise the machine reads it anew.

        Raises:
            CaptionNotFound: one is not there.
            InvalidEdit: fewer than two, or of several tracks.
        """
        rows = sorted((self.get(number) for number in set(caption_ids)), key=lambda row: (row.start_ms, row.id))
        if len(rows) < 2:
            raise InvalidEdit("at least two captions are needed to merge")
        if len({row.track for row in rows}) > 1:
            raise InvalidEdit("captions of several tracks cannot be merged")
        first, others = rows[0], rows[1:]
        typed = {row.text for row in rows}
        kept = text if text is not None else typed.pop() if len(typed) == 1 else None
        changes = self._extents(first.start_ms, max(row.end_ms for row in rows)) | _CONFIRMED
        changes |= {"text": kept, "text_pending": 0} | _around(rows)
        if kept is None:
            changes |= _UNREAD
        self._connection.executemany("DELETE FROM captions WHERE id = ?", [(row.id,) for row in others])
        self._update(first.id, changes)
        self._unread.add(first.id)
        return self.get(first.id)

    def add(self, start_ms: int, end_ms: int, text: str | None = None) -> StoredCaption:
        """Add a caption that the machine missed.

        Raises:
            InvalidEdit: times that no caption can have.
        """
        number = self._insert(start_ms, end_ms, text, None)
        self._unread.add(number)
        return self.get(number)

    def delete(self, caption_id: int) -> StoredCaption:
        """Say that there is no caption: the row stays as a gap, and nobody sees it.

        Raises:
            CaptionNotFound: there is none of this number.
        """
        row = self.get(caption_id)
        self._update(
            row.id, {"caption_frame_extents_state": "gap", "caption_frame_extents_pending": 0, "text_pending": 0}
        )
        return self.get(row.id)

    def _find(self, caption_id: int) -> StoredCaption | None:
        # SQLite's integers end here; a larger number is no row's.
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
            values |= {name: getattr(like, name) for name in _PLACE}
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


# A container's duration may fall a little short of its last frame's end.
_PAST_THE_END_MS = 1000
_CONFIRMED = {"caption_frame_extents_state": "confirmed", "caption_frame_extents_pending": 0}
_UNREAD = {
    "caption_ocr": None,
    "caption_ocr_confidence": None,
    "caption_ocr_status": "queued",
    "caption_ocr_error": None,
    "caption_ocr_processed_at": None,
}
_PLACE = ("track", "bbox_left", "bbox_top", "bbox_right", "bbox_bottom")


def _around(rows: Sequence[StoredCaption]) -> dict[str, float]:
    """Give the box around the boxes that are known."""
    boxes = [row.bbox for row in rows if row.bbox_left is not None]
    if not boxes:
        return {}
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return dict(zip(_PLACE[1:], whole.as_tuple(), strict=True))


@contextmanager
def edit_captions(path: Path, frame_rate: float, duration_ms: int | None = None) -> Iterator[CaptionEditor]:
    """Open ``captions.db`` for edits; an error inside the block leaves the file as it was.

    Raises:
        DatabaseError: no captions database.
    """
    with open_database(path):
        pass  # refuses what is no captions database
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        with connection:
            yield CaptionEditor(connection, frame_rate, duration_ms)
