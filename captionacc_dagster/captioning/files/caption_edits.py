"""Edits that people make in ``captions.db``: confirm, correct, split, merge, add, delete, and replace text.

The engine never changes a row that a person edited. A deleted caption stays as a ``gap``, so that the engine does not
add it again. Text that was read stays visible while the machine reads it again.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.files.captions_database import ExtentsState, StoredCaption, stored_caption
from captionacc_dagster.captioning.files.databases import change_database, now_text
from captionacc_dagster.captioning.files.edit_journal import Direction, EditJournal
from captionacc_dagster.captioning.files.positions import Position, moved_to
from captionacc_dagster.captioning.files.word_json import dump_words
from captionacc_dagster.captioning.geometry import BBox

UNCHANGED: Final[Any] = object()
"""Leaves a value unchanged, where None clears it."""


LONGEST_TEXT: Final = 5000
"""Characters of a caption's text."""


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
        user_id: the person, for undo and redo; None: nobody in particular.
        native_frame: returns the first native frame at or after a time in milliseconds; None where the video's frames
            are unknown.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        frame_rate: float,
        duration_ms: int | None = None,
        user_id: str | None = None,
        native_frame: Callable[[int], int] | None = None,
    ) -> None:
        self._connection = connection
        self._frame_rate = frame_rate
        self._duration_ms = duration_ms
        self._native_frame = native_frame
        self._to_read: set[int] = set()
        self._journal = EditJournal(connection, user_id)
        self._labels: list[str] = []

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

    def finish(self) -> None:
        """Write what was done into the journal, as one edit."""
        if self._labels:
            self._journal.write(self._labels[0])

    def undo(self, direction: Direction = "undo") -> tuple[str, list[int]]:
        """Undo the person's last edit, or redo the one undone last; return its label and the ids of its captions.

        Raises:
            CannotUndo: there is none, or one of its captions was changed since.
        """
        label, numbers = self._journal.go(direction)
        rows = [row for number in numbers if (row := self._find(number)) is not None]
        self._to_read |= {row.id for row in rows if row.caption_ocr_status == "queued"}
        return label, numbers

    def get(self, caption_id: int) -> StoredCaption:
        """Return a caption.

        Raises:
            CaptionNotFound: no caption has this ID.
        """
        row = self._find(caption_id)
        if row is None:
            raise CaptionNotFound(f"no caption {caption_id}")
        return row

    def rows(self) -> list[StoredCaption]:
        """Return all captions in order of time, deleted ones included."""
        rows = self._connection.execute("SELECT * FROM captions ORDER BY start_ms, end_ms, id").fetchall()
        return [stored_caption(row) for row in rows]

    def confirm(self, caption_ids: Iterable[int] | None = None) -> list[StoredCaption]:
        """Mark captions as right, and return them; None: every caption that is not deleted.

        Raises:
            CaptionNotFound: one does not exist; then none is confirmed.
        """
        if caption_ids is None:
            shown = "SELECT id FROM captions WHERE caption_frame_extents_state != 'gap' ORDER BY start_ms, id"
            caption_ids = [row["id"] for row in self._connection.execute(shown).fetchall()]
        rows = [self.get(number) for number in dict.fromkeys(caption_ids)]
        self._labels.append("the confirmation" if len(rows) == 1 else f"the confirmation of {len(rows)} captions")
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
        kind: Kind | None = None,
        track: str | None = None,
        position: Position | None = None,
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
            changes |= self._extents(start, end, row) | _CONFIRMED | {"text_pending": int(row.text is not None)}
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
        placed = {name: value for name, value in (("kind", kind), ("track", track)) if value is not None}
        if position is not None:
            placed |= _columns_of(moved_to(row.bbox, position))
        if placed:
            changes |= placed | _CONFIRMED
        self._labels.append(_label_of(changes))
        self._update(row.id, changes)
        return self.get(row.id)

    def split(self, caption_id: int, at_ms: int, texts: tuple[str, str] | None = None) -> list[StoredCaption]:
        """Split a caption in two at ``at_ms``; the first keeps the ID.

        Without ``texts``, the text is divided where its words change at that time, or else in proportion. Typed text
        is then to be checked; OCR reads other text again.

        Raises:
            CaptionNotFound: no caption has this ID.
            InvalidEdit: ``at_ms`` is not inside the caption.
        """
        row = self.get(caption_id)
        if not row.start_ms < at_ms < row.end_ms:
            raise InvalidEdit(f"caption {row.id} lasts from {row.start_ms} to {row.end_ms} ms; {at_ms} is not inside")
        self._labels.append("the split")
        before = [word for word in row.words if 1000 * word.onset_s < at_ms]
        first, second = texts if texts is not None else _divided(row, at_ms, len(before))
        is_typed = texts is not None or row.text is not None
        number = self._insert(at_ms, row.end_ms, second if is_typed else None, row)
        changes = {"text_pending": int(is_typed and texts is None)}
        halves = (
            (row.id, first, before, self._extents(row.start_ms, at_ms, row)),
            (number, second, row.words[len(before) :], self._extents(at_ms, row.end_ms, row)),
        )
        for half, text, words, extents in halves:
            read = {"text": text} if is_typed else {"text": None, "caption_ocr": text, **_REQUEUED}
            self._update(half, extents | _CONFIRMED | changes | read | {"words": dump_words(words)})
        self._to_read |= {row.id, number}
        return [self.get(row.id), self.get(number)]

    def merge(self, caption_ids: Sequence[int], text: str | None = None) -> StoredCaption:
        """Merge captions into one, from the first start to the last end; the earliest keeps its ID.

        Without ``text``, a typed text that all of them share stays; otherwise OCR reads the merged caption, which shows
        their joined texts meanwhile.

        Raises:
            CaptionNotFound: one does not exist.
            InvalidEdit: fewer than two captions, or captions of different tracks.
        """
        rows = sorted((self.get(number) for number in set(caption_ids)), key=lambda row: (row.start_ms, row.id))
        if len(rows) < 2:
            raise InvalidEdit("at least two captions are needed to merge")
        if len({row.track for row in rows}) > 1:
            raise InvalidEdit("captions of different tracks cannot be merged")
        self._labels.append("the merge")
        first, others = rows[0], rows[1:]
        typed = {row.text for row in rows}
        kept = text if text is not None else typed.pop() if len(typed) == 1 else None
        last = max(rows, key=lambda row: row.end_ms)
        changes = self._extents(first.start_ms, last.end_ms, first, last) | _CONFIRMED
        changes |= {"text": kept, "text_pending": 0, "words": dump_words(word for row in rows for word in row.words)}
        changes |= {"unread": int(any(row.unread for row in rows))} | _around(rows)
        if kept is None:
            changes |= _REQUEUED | {"caption_ocr": join_texts(row.shown_text for row in rows)}
        for row in others:
            self._journal.remember(row.id)
        self._connection.executemany("DELETE FROM captions WHERE id = ?", [(row.id,) for row in others])
        self._update(first.id, changes)
        self._to_read.add(first.id)
        return self.get(first.id)

    def add(self, start_ms: int, end_ms: int, text: str | None = None) -> StoredCaption:
        """Add a caption that the engine missed; it takes its track and place from the caption nearest in time.

        Raises:
            InvalidEdit: the times are not valid for a caption.
        """
        self._labels.append("the addition")
        nearest = self._connection.execute(
            "SELECT * FROM captions WHERE caption_frame_extents_state != 'gap' AND kind = 'caption'"
            " ORDER BY max(start_ms - :end, :start - end_ms), id LIMIT 1",
            {"start": start_ms, "end": end_ms},
        ).fetchone()
        number = self._insert(start_ms, end_ms, text, None if nearest is None else stored_caption(nearest))
        self._update(number, {"unread": 0})
        self._to_read.add(number)
        return self.get(number)

    def delete(self, caption_id: int) -> StoredCaption:
        """Delete a caption: its row stays as a gap that no output contains.

        Raises:
            CaptionNotFound: no caption has this ID.
        """
        row = self.get(caption_id)
        self._labels.append("the deletion")
        self._update(
            row.id, {"caption_frame_extents_state": "gap", "caption_frame_extents_pending": 0, "text_pending": 0}
        )
        return self.get(row.id)

    def delete_all(self, caption_ids: Iterable[int]) -> list[StoredCaption]:
        """Delete several captions as one edit.

        Raises:
            CaptionNotFound: one does not exist; then none is deleted.
        """
        numbers = list(dict.fromkeys(caption_ids))
        if len(numbers) > 1:
            self._labels.append(f"the deletion of {len(numbers)} captions")
        return [self.delete(row.id) for row in [self.get(number) for number in numbers]]

    def replace(self, texts: Mapping[int, str]) -> list[StoredCaption]:
        """Set the texts of captions, as one edit, and return the captions.

        Raises:
            CaptionNotFound: one does not exist; then none is changed.
            InvalidEdit: a text is empty, or longer than a caption's text may be.
        """
        for number, text in texts.items():
            self.get(number)
            if len(text) > LONGEST_TEXT:
                raise InvalidEdit(
                    f"caption {number} would have {len(text)} characters; at most {LONGEST_TEXT} are allowed"
                )
        self._labels.append("the replacement" if len(texts) == 1 else f"the replacement in {len(texts)} captions")
        for number, text in texts.items():
            self._update(number, {"text": text, "text_pending": 0, **_CONFIRMED})
        return [self.get(number) for number in texts]

    def _find(self, caption_id: int) -> StoredCaption | None:
        # SQLite integers have 64 bits; a larger number cannot be an ID.
        if not 0 <= caption_id < 1 << 63:
            return None
        row = self._connection.execute("SELECT * FROM captions WHERE id = ?", (caption_id,)).fetchone()
        return None if row is None else stored_caption(row)

    def _extents(
        self, start_ms: int, end_ms: int, first: StoredCaption | None = None, last: StoredCaption | None = None
    ) -> dict[str, Any]:
        """Return the columns of an extent; a boundary of ``first`` or ``last`` that stays keeps its native frame."""
        if start_ms < 0 or end_ms <= start_ms:
            raise InvalidEdit(f"a caption cannot last from {start_ms} to {end_ms} ms")
        if self._duration_ms is not None and start_ms >= self._duration_ms:
            raise InvalidEdit(f"a caption cannot start at {start_ms} ms: the video ends at {self._duration_ms} ms")
        if self._duration_ms is not None and end_ms > self._duration_ms + _PAST_THE_END_MS:
            raise InvalidEdit(f"a caption cannot end at {end_ms} ms: the video ends at {self._duration_ms} ms")
        index = math.ceil(start_ms * self._frame_rate / 1000 - 1e-6)
        last = last or first
        native_start, native_end = (
            (None, None) if self._native_frame is None else (self._native_frame(start_ms), self._native_frame(end_ms))
        )
        if first is not None and first.start_ms == start_ms:
            native_start = first.native_start_frame
        if last is not None and last.end_ms == end_ms:
            native_end = last.native_end_frame
        return {
            "start_ms": start_ms,
            "end_ms": end_ms,
            "start_frame_index": index,
            "end_frame_index": max(index + 1, math.ceil(end_ms * self._frame_rate / 1000 - 1e-6)),
            "native_start_frame": native_start,
            "native_end_frame": native_end,
            "caption_frame_extents_confidence": 1.0,
        }

    def _update(self, caption_id: int, changes: dict[str, Any]) -> None:
        if changes:
            self._check_text(changes.get("text"))
            self._journal.remember(caption_id)
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
        self._journal.remember_new(cursor.lastrowid)
        return cursor.lastrowid

    @staticmethod
    def _check_text(text: str | None) -> None:
        if text is not None and not text.strip():
            raise InvalidEdit("a caption's text is not empty; delete the caption instead")


# Milliseconds by which a caption may outlast the video: a container's duration can fall short of its last frame.
_PAST_THE_END_MS = 1000
_CONFIRMED = {"caption_frame_extents_state": "confirmed", "caption_frame_extents_pending": 0}
_REQUEUED = {
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
    return _columns_of(whole)


def _columns_of(box: BBox) -> dict[str, float]:
    return dict(zip(_BOX, box.as_tuple(), strict=True))


def _label_of(changes: Mapping[str, Any]) -> str:
    """Return what a correction changes, in words."""
    if "start_ms" in changes:
        return "the times"
    if "text" in changes:
        return "the text"
    placed = (("kind", "the kind"), ("track", "the track"), ("bbox_left", "the position"))
    return next((words for name, words in placed if name in changes), "the change")


def join_texts(texts: Iterable[str]) -> str:
    """Return the texts of captions that become one; a text that another one contains is not repeated."""
    joined = ""
    for text in filter(None, texts):
        if text in joined:
            continue
        joined = text if not joined or joined in text else f"{joined} {text}"
    return joined


def _divided(row: StoredCaption, at_ms: int, words_before: int) -> tuple[str | None, str | None]:
    """Return a caption's text in two parts; text that cannot be divided belongs to both."""
    text = row.shown_text
    breaks = [match.start() for match in re.finditer(r"\s+", text.strip())]
    if not breaks and len(text) > 1 and not text.isascii():
        # Scripts without spaces between words.
        breaks = list(range(1, len(text)))
    if not breaks:
        return text or None, text or None
    if row.words and len(row.words) == len(text.split()):
        at = breaks[min(max(words_before - 1, 0), len(breaks) - 1)]
    else:
        wanted = len(text) * (at_ms - row.start_ms) / (row.end_ms - row.start_ms)
        at = min(breaks, key=lambda place: abs(place - wanted))
    return text[:at].strip(), text[at:].strip()


def replaced_text(text: str, search: str, replacement: str, *, match_case: bool, whole_word: bool) -> str:
    """Return a text with every occurrence of ``search``, taken literally, replaced."""
    pattern = re.escape(search)
    if whole_word:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return re.sub(pattern, lambda _: replacement, text, flags=0 if match_case else re.IGNORECASE)


def replacements(
    rows: Iterable[StoredCaption],
    search: str,
    replacement: str,
    *,
    match_case: bool,
    whole_word: bool,
    caption_ids: Iterable[int] | None = None,
) -> dict[int, str]:
    """Return number → new text of the captions, all or these, that a replacement changes."""
    wanted = None if caption_ids is None else set(caption_ids)
    found = {
        row.id: replaced_text(row.shown_text, search, replacement, match_case=match_case, whole_word=whole_word)
        for row in rows
        if row.caption_frame_extents_state != "gap" and (wanted is None or row.id in wanted)
    }
    shown = {row.id: row.shown_text for row in rows}
    return {number: text for number, text in found.items() if text != shown[number]}


@contextmanager
def edit_captions(
    path: Path,
    frame_rate: float,
    duration_ms: int | None = None,
    *,
    user_id: str | None = None,
    native_frame: Callable[[int], int] | None = None,
) -> Iterator[CaptionEditor]:
    """Open ``captions.db`` for edits; an error inside the block leaves the file unchanged.

    What is done in the block is one edit for undo; the arguments are those of `CaptionEditor`.

    Raises:
        DatabaseError: no captions database.
    """
    with change_database(path) as connection:
        editor = CaptionEditor(connection, frame_rate, duration_ms, user_id, native_frame)
        yield editor
        editor.finish()
