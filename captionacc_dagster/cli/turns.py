"""Let commands that process videos on one home work in turns: two at once only take longer, and more memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other command processes videos on a home, and be the one that does.

    The kernel releases the lock of a command however it ends.

    Args:
        home: the folder of everything embedded.
        say: prints a line; called once, if another command is at work.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "process.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            say(f"waiting for another captionacc command{f' (process {holder})' if holder else ''} to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
