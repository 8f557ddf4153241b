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
from captionacc_dagster.catalog.errors import CatalogError
from captionacc_dagster.catalog.models import DatabaseLock, DatabaseName, LockType

logger = logging.getLogger(__name__)

# Others wait this long after a worker is killed; a living worker renews four times within it.
LOCK_TTL_S = 60.0
LOCK_WAIT_S = 15 * 60.0
# The first and the longest pause before the lock is tried again.
_PAUSES_S: dict[LockType, tuple[float, float]] = {"server": (1.0, 30.0), "client": (0.1, 0.1)}


class LockHeld(Exception):
    """Raised when another holder kept the lock for the whole waiting time; ``lock``: that one, if still there."""

    def __init__(self, message: str, lock: DatabaseLock | None) -> None:
        super().__init__(message)
        self.lock = lock


class LockLost(Exception):
    """Raised when the lock expired during the work, which may now rest on old data; starting again is safe."""


class HeldLock:
    """An acquired lock, kept for as long as its heartbeat reaches the catalog."""

    def __init__(self, name: str, renew: Callable[[], bool]) -> None:
        self.name = name
        self._renew = renew
        self._lost = False

    def check(self) -> None:
        """Verify, before publishing anything, that the lock is still held.

        Raises:
            LockLost: the lock was lost.
            CatalogUnavailable: the catalog cannot be asked.
        """
        if self._lost or not self._renew():
            raise LockLost(f"the lock on the {self.name} was lost during the work")

    def beat(self, stop: threading.Event, every_s: float) -> None:
        """Renew the lock until it is lost, or ``stop`` is set."""
        while not self._lost and not stop.wait(every_s):
            try:
                self._lost = not self._renew()
            except CatalogError as error:
                logger.warning("the lock on the %s could not be renewed: %s", self.name, error)


@contextmanager
def server_lock(
    catalog: Catalog,
    video_id: UUID,
    database: DatabaseName,
    holder: str,
    *,
    lock_type: LockType = "server",
    user_id: UUID | None = None,
    ttl_s: float = LOCK_TTL_S,
    wait_s: float = LOCK_WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[HeldLock]:
    """Hold the lock on one of a video's databases for the duration of the block.

    While another holder has it, a run (``server``) retries after 1, 2, 4 … at most 30 seconds, with jitter. A person
    (``client``) retries at once: another person's edit takes moments. A run takes minutes, for which no person waits.

    The lock of a dead holder is free after ``ttl_s`` seconds; ``clock`` is monotonic.

    Raises:
        LockHeld: the lock was not free within ``wait_s`` seconds; the message names the holder.
    """
    name = f"{database} of video {video_id}"
    deadline = clock() + wait_s
    pause, longest = _PAUSES_S[lock_type]
    while not catalog.acquire_server_lock(video_id, database, holder, ttl_s, lock_type=lock_type, user_id=user_id):
        other = next((lock for lock in catalog.list_locks(video_id) if lock.database_name == database), None)
        who = "locked" + (f" by {other.lock_holder} since {other.locked_at:%Y-%m-%d %H:%M:%S} UTC" if other else "")
        takes_long = lock_type == "client" and other is not None and other.lock_type == "server"
        if takes_long or clock() >= deadline:
            raise LockHeld(f"the {name} is {who}; gave up after {wait_s:.0f} s", other)
        logger.info("the %s is %s; waiting", name, who)
        sleep(min(pause * random.uniform(0.75, 1.25), max(deadline - clock(), 0.05)))  # noqa: S311
        pause = min(pause * 2, longest)
    lock = HeldLock(name, lambda: catalog.renew_server_lock(video_id, database, holder, ttl_s))
    stop = threading.Event()
    heart = threading.Thread(target=lock.beat, args=(stop, ttl_s / 4), name=f"lock-{database}", daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        stop.set()
        heart.join(timeout=ttl_s)
        try:
            catalog.release_server_lock(video_id, database, holder)
        except CatalogError as error:
            logger.warning("the lock on the %s could not be released and will expire: %s", name, error)
