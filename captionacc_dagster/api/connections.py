"""Bounded connections: how many a client may hold, and how long one may wait for its request or for its reader."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from uvicorn.middleware.proxy_headers import _TrustedHosts  # the same reading of CAPTIONACC_TRUSTED_PROXIES
from uvicorn.protocols.http.auto import AutoHTTPProtocol


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the server's connections.

    Attributes:
        per_client: open connections of one address; trusted proxies have no limit, because many clients share theirs.
        in_all: open connections of all addresses.
        idle_s: how long a connection may wait between two requests, or with an unread rest of one, seconds.
        header_s: from the connection, or the first byte of a further request, to the end of the headers, seconds.
        write_s: how long a client may read nothing of an answer, seconds.
        look_s: between two checks of a connection, seconds.
    """

    per_client: int = 200
    in_all: int = 2000
    idle_s: int = 5
    header_s: float = 10.0
    write_s: float = 30.0
    look_s: float = 1.0


def bounded_protocol(limits: ConnectionLimits, trusted_proxies: list[str]) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with these limits; each class counts its own connections."""
    trusted = _TrustedHosts(trusted_proxies)
    held: Counter[str] = Counter()

    class BoundedProtocol(AutoHTTPProtocol):
        """One connection."""

        # Uvicorn's, whichever parser is installed.
        client: tuple[str, int] | None
        cycle: Any
        loop: asyncio.AbstractEventLoop
        transport: Any

        _address = ""
        _waiting_since: float | None = None
        _stalled_since: float | None = None
        _unsent = 0
        _watch: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Refuse a connection above a limit without an answer, which costs least."""
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            held[self._address] += 1
            mine = 0 if self._address in trusted else held[self._address]
            if mine > limits.per_client or held.total() > limits.in_all:
                transport.abort()
                return
            self._waiting_since = time.monotonic()
            self._look_again()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the connection."""
            if self._watch is not None:
                self._watch.cancel()
            held[self._address] -= 1
            if held[self._address] <= 0:
                del held[self._address]
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Note when a request began whose headers are not complete."""
            super().data_received(data)
            if not self._is_idle:
                self._waiting_since = None
            elif self._waiting_since is None:
                self._waiting_since = time.monotonic()

        def resume_writing(self) -> None:
            """Note that the client reads."""
            self._stalled_since = None
            super().resume_writing()

        @property
        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _look_again(self) -> None:
            self._watch = self.loop.call_later(limits.look_s, self._look)

        def _look(self) -> None:
            now = time.monotonic()
            unsent = self.transport.get_write_buffer_size()
            if unsent == 0 or unsent != self._unsent:
                self._stalled_since = now if unsent else None
            self._unsent = unsent
            waits = self._is_idle and self._waiting_since is not None and now - self._waiting_since > limits.header_s
            if waits or (self._stalled_since is not None and now - self._stalled_since > limits.write_s):
                # Not close(), which would wait until the client has read what is left.
                self.transport.abort()
                return
            self._look_again()

    return BoundedProtocol
