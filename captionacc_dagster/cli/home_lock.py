"""The lock on a home: at most one ``captionacc up`` works on it, and other commands find it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_TRIES, _PAUSE_S = 10, 0.1


@dataclass(frozen=True)
class Running:
    """The ``captionacc up`` that holds a home.

    Attributes:
        host: name of its machine; the home may be on a shared disk.
        api_url, dagster_url: how this machine reaches its API and Dagster's UI.
    """

    pid: int
    host: str
    api_url: str
    dagster_url: str

    @classmethod
    def here(cls, api_url: str, dagster_url: str) -> Running:
        """Return the description of this process."""
        return cls(os.getpid(), socket.gethostname(), api_url, dagster_url)

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == socket.gethostname()


class HomeInUse(Exception):
    """Another ``captionacc up`` works on this home."""

    def __init__(self, home: Path, running: Running | None) -> None:
        where = f" (process {running.pid} on {running.host}, {running.dagster_url})" if running else ""
        super().__init__(f"captionacc up already runs on {home}{where}; `captionacc down` stops it")


class HomeLock:
    """Holds the home's lock while entered; the kernel frees it when the process ends, however it ends.

    Raises:
        HomeInUse: another process holds it.
    """

    def __init__(self, home: Path, holder: Running) -> None:
        self._home = home
        self._holder = holder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        # Not inherited by children: a service that outlives this process must not hold the home.
        descriptor = os.open(_lock_file(self._home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Whoever only asks holds the lock for a moment.
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_PAUSE_S)
        else:
            os.close(descriptor)
            raise HomeInUse(self._home, running_on(self._home))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(self._holder)).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def running_on(home: Path) -> Running | None:
    """Return the ``captionacc up`` that works on a home; None if none does."""
    path = _lock_file(home)
    for _ in range(_TRIES):
        try:
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            # It is empty for a moment after the lock was acquired.
            with contextlib.suppress(OSError, ValueError, TypeError):
                return Running(**json.loads(path.read_text()))
            time.sleep(_PAUSE_S)
    return None


def _lock_file(home: Path) -> Path:
    return home / "up.lock"
