"""How far a stage has come, as an object that the review page reads, wherever the stage runs."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import VideoKeys

if TYPE_CHECKING:
    from captionacc_dagster.captioning.captions import Progress

_log = logging.getLogger(__name__)

# Seconds between two writes: often enough for a person who watches, seldom enough to cost nothing.
_EVERY_S = 2.0


class StoredProgress:
    """Passes progress on, and stores it from time to time, in a block; a store that is away does not stop the work.

    Args:
        following: is called too; None: nobody else.
        store: where the object is written.
        keys: of the video.
    """

    def __init__(self, following: Progress | None, store: ObjectStore, keys: VideoKeys) -> None:
        self._following = following
        self._store = store
        self._key = keys.progress
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
