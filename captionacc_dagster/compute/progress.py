"""How far some work has come, as an object that the review page reads, wherever the work is done."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound, StorageError

if TYPE_CHECKING:
    from captionacc_dagster.captioning.captions import Progress

_log = logging.getLogger(__name__)

# Seconds between two writes: often enough for a person who watches, seldom enough to cost nothing.
_EVERY_S = 2.0
# Seconds after which nobody works on it any more; a decoder may be silent for some.
_FRESH_S = 60.0
_EARLY = 0.03  # share of the work from which on the time left can be said
# Parts that follow each other: each is half of the analysis.
_PARTS = {"full frames": (0.0, 0.5), "layout": (0.5, 1.0)}


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far the current stage has come: a share 0..1 of it, and seconds left of its current part."""

    stage: str
    share: float
    left_s: float | None


class StoredProgress:
    """Passes progress on, and stores it from time to time, in a block; an unavailable store does not stop the work.

    Args:
        following: is called too; None: nobody else.
        store: where the object is written.
        key: of the object.
    """

    def __init__(self, following: Progress | None, store: ObjectStore, key: str) -> None:
        self._following = following
        self._store = store
        self._key = key
        self._stage: str | None = None
        self._began = self._written = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of one step."""
        if self._following is not None:
            self._following(stage, done, total)
        now = time.time()
        if stage != self._stage:
            self._stage, self._began, self._written = stage, now, 0.0
        if now - self._written < _EVERY_S:
            return
        self._written = now
        facts = {"stage": stage, "done": done, "total": total, "began": self._began, "at": now}
        try:
            self._store.upload_file(self._key, json.dumps(facts).encode())
        except StorageError as error:
            _log.debug("the progress was not stored: %s", error)

    def __enter__(self) -> StoredProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the object: the stage is over."""
        try:
            self._store.delete_file(self._key)
        except StorageError as error:
            _log.debug("the progress was not removed: %s", error)


def read_progress(store: ObjectStore, key: str) -> StageProgress | None:
    """Return what was stored last; None if nobody works there now."""
    try:
        facts = json.loads(store.download_to_bytes(key))
        stage, done, total = str(facts["stage"]), float(facts["done"]), float(facts["total"])
        began, at = float(facts["began"]), float(facts["at"])
    except (ObjectNotFound, ValueError, KeyError, TypeError):
        return None
    if total <= 0 or abs(time.time() - at) > _FRESH_S:
        return None
    share = min(1.0, max(0.0, done / total))
    left_s = (at - began) * (1 - share) / share if share >= _EARLY else None
    first, last = _PARTS.get(stage, (0.0, 1.0))
    return StageProgress(stage, first + share * (last - first), left_s)
