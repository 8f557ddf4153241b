"""Acquire a server lock, renew it while work goes on, and release it however the work ends."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.catalog.models import DatabaseName

logger = logging.getLogger(__name__)

# Others wait this long after a worker is killed; a living worker renews four times within it.
LOCK_TTL_S = 60.0
LOCK_WAIT_S = 15 * 60.0


class LockHeld(Exception):
    """Raised when another holder kept the lock for the whole waiting time."""


class LockLost(Exception):
    """Raised when the lock expired during the work, which may now rest on old data; starting again is safe."""


class HeldLock:
    """An acquired lock, kept for as long as its heartbeat reaches the catalog."""

    def __init__(self, catalog: Catalog, video_id: UUID, database: DatabaseName, holder: str, ttl_s: float) -> None:
        self._catalog = catalog
        self._video_id = video_id
        self._database: DatabaseName = database
        self._holder = holder
        self._ttl_s = ttl_s
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lock-{database}", daemon=True)

    def check(self) -> None:
        """Verify, before publishing anything, that the lock is still held.

        Raises:
            LockLost: the lock was lost.
            CatalogUnavailable: the catalog cannot be asked.
        """
        if self._lost.is_set() or not self._renew():
            raise LockLost(f"the lock on the {self._database} of video {self._video_id} was lost during the work")

    def start(self) -> None:
        """Start renewing the lock."""
        self._thread.start()

    def release(self) -> None:
        """Stop renewing and release the lock; while the catalog is unavailable it expires by itself."""
        self._stop.set()
        self._thread.join(timeout=self._ttl_s)
        try:
            self._catalog.release_server_lock(self._video_id, self._database, self._holder)
        except CatalogError as error:
            logger.warning(
                "the lock on %s of video %s could not be released and will expire: %s",
                self._database,
                self._video_id,
                error,
            )

    def _renew(self) -> bool:
        return self._catalog.renew_server_lock(self._video_id, self._database, self._holder, self._ttl_s)

    def _beat(self) -> None:
        while not self._stop.wait(self._ttl_s / 4):
            try:
                if not self._renew():
                    self._lost.set()
                    return
            except CatalogUnavailable as error:
                logger.warning("the lock on %s could not be renewed: %s", self._database, error)
            except CatalogError as error:
                logger.error("renewing the lock on %s was refused: %s", self._database, error)


@contextmanager
def server_lock(
    catalog: Catalog,
    video_id: UUID,
    database: DatabaseName,
    holder: str,
    *,
    ttl_s: float = LOCK_TTL_S,
    wait_s: float = LOCK_WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[HeldLock]:
    """Hold the lock on one of a video's databases for the duration of the block.

    While another holder has it, retry after 1, 2, 4 … at most 30 seconds, with jitter.

    Args:
        catalog: the catalog that stores the lock.
        video_id: the video.
        database: ``layout`` or ``captions``.
        holder: name of the holder: the run id.
        ttl_s: seconds after which the lock of a dead holder is free.
        wait_s: maximum seconds to wait for it.
        sleep: waits for a number of seconds.
        clock: monotonic time in seconds.

    Raises:
        LockHeld: the lock was not free in time; the message names the holder.
    """
    deadline = clock() + wait_s
    pause = 1.0
    while not catalog.acquire_server_lock(video_id, database, holder, ttl_s):
        if clock() >= deadline:
            who = _held_by(catalog, video_id, database)
            raise LockHeld(f"the {database} of video {video_id} is {who}; gave up after {wait_s:.0f} s")
        logger.info("the %s of video %s is %s; waiting", database, video_id, _held_by(catalog, video_id, database))
        sleep(min(pause * random.uniform(0.75, 1.25), max(deadline - clock(), 0.05)))  # noqa: S311
        pause = min(pause * 2, 30.0)
    lock = HeldLock(catalog, video_id, database, holder, ttl_s)
    lock.start()
    try:
        yield lock
    finally:
        lock.release()


def _held_by(catalog: Catalog, video_id: UUID, database: DatabaseName) -> str:
    for lock in catalog.list_locks(video_id):
        if lock.database_name == database:
            return f"locked by {lock.lock_holder} since {lock.locked_at:%Y-%m-%d %H:%M:%S} UTC"
    return "locked"
