"""Holding a server lock while work goes on: waits for it, keeps it alive, gives it back however the work ends."""

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

# A worker that is killed keeps others waiting this long; a living one renews four times in it.
LOCK_TTL_S = 60.0
LOCK_WAIT_S = 15 * 60.0


class LockHeld(Exception):
    """Somebody else held the lock for as long as we were willing to wait."""


class LockLost(Exception):
    """The lock expired while we held it, and what we made may rest on something older; starting again is safe."""


class HeldLock:
    """A lock that is ours for as long as its heartbeat reaches the catalog."""

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
        """Make sure, before anything is put in place, that the lock is still ours.

        Raises:
            LockLost: it is not.
            CatalogUnavailable: that cannot be found out now.
        """
        if self._lost.is_set() or not self._renew():
            raise LockLost(f"the lock on the {self._database} of video {self._video_id} was lost during the work")

    def start(self) -> None:
        """Begin to renew the lock."""
        self._thread.start()

    def release(self) -> None:
        """Stop renewing and give the lock back; when the catalog is away it expires by itself."""
        self._stop.set()
        self._thread.join(timeout=self._ttl_s)
        try:
            self._catalog.release_server_lock(self._video_id, self._database, self._holder)
        except CatalogError as error:
            logger.warning("lock on %s of video %s is left to expire: %s", self._database, self._video_id, error)

    def _renew(self) -> bool:
        return self._catalog.renew_server_lock(self._video_id, self._database, self._holder, self._ttl_s)

    def _beat(self) -> None:
        while not self._stop.wait(self._ttl_s / 4):
            try:
                if not self._renew():
                    self._lost.set()
                    return
            except CatalogUnavailable as error:
                logger.warning("heartbeat of the lock on %s missed: %s", self._database, error)
            except CatalogError as error:
                logger.error("heartbeat of the lock on %s refused: %s", self._database, error)


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
    """Hold the lock on one of a video's databases while the block runs.

    While somebody else holds it, tries again after 1, 2, 4 … at most 30 seconds, each with jitter.

    Args:
        catalog: where the lock is.
        video_id: whose database.
        database: ``layout`` or ``captions``.
        holder: who takes it: the run id.
        ttl_s: seconds after which the lock of a dead holder is free.
        wait_s: how long to wait for it.
        sleep: waits that many seconds.
        clock: seconds that only go forward.

    Raises:
        LockHeld: it was not free in time; the message names the holder.
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
