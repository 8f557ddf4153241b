"""Notice signals that ask a command to stop, also while Dagster has replaced their handlers."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

from captionacc_dagster.cli.errors import Interrupted

_STOPPING = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)


class SignalWatch:
    """While entered, the signals SIGINT, SIGTERM, and SIGHUP raise :class:`Interrupted`.

    Dagster handles signals itself while a run is going on, and turns them into a failure of the run: ``received`` tells
    such a failure from others. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._previous: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            # Python writes the number of each signal here, whoever handles it.
            self._read_end, self._write_end = socket.socketpair()
            self._read_end.setblocking(False)
            self._write_end.setblocking(False)
            self._previous_fd = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
            for number in _STOPPING:
                # A command started with nohup, or in the background of a script, ignores some on purpose.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            self._previous.clear()
            signal.set_wakeup_fd(self._previous_fd)
            self._read_end.close()
            self._write_end.close()

    @property
    def received(self) -> signal.Signals | None:
        """The first signal to stop that arrived; None if none has."""
        if self._received is None and self._previous:
            with contextlib.suppress(BlockingIOError):
                for number in self._read_end.recv(4096):
                    if number in _STOPPING:
                        self._received = signal.Signals(number)
                        break
        return self._received

    def check(self) -> None:
        """Raise if a signal to stop has arrived.

        Raises:
            Interrupted: one has.
        """
        if self.received is not None:
            raise Interrupted(self.received)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)
