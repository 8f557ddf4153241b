"""One worker at a time for one call: a lease in the object store, beside the outputs of the work.

Only the store's own times are compared, so clocks of workers do not matter, and no conditional write is needed, which
not every S3 server has: each worker writes a claim of its own, and the earliest that is alive has the lease.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import uuid4

from captionacc_dagster.compute.base import ComputeUnavailable
from captionacc_dagster.compute.envelope import CallRequest
from captionacc_dagster.storage.base import ObjectInfo, ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound, StorageError
from captionacc_dagster.storage.keys import VideoKeys

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Times of a lease, seconds.

    Attributes:
        settle_s: between a claim and the look that confirms it: longer than the second in which some stores count.
        look_s: between two looks meanwhile, so that of two claims of one second the later ends soon.
        beat_s: between two signs of life.
        stale_s: a claim without a sign of life for this long is that of a dead worker.
    """

    settle_s: float = 1.5
    look_s: float = 0.5
    beat_s: float = 10.0
    stale_s: float = 60.0


TIMES = LeaseTimes()


class HeldElsewhere(ComputeUnavailable):
    """Another call does the same work; ``call_id`` is Modal's id of it ("" if unknown)."""

    def __init__(self, call_id: str) -> None:
        super().__init__(f"call {call_id or '(unknown)'} does the same work")
        self.call_id = call_id


class Lease:
    """A context manager that claims the work of a request.

    Entering raises HeldElsewhere after one write and one listing if another worker has the lease. ``confirm`` must be
    called before the work begins; an engine can be loaded meanwhile in another thread.
    """

    def __init__(self, store: ObjectStore, request: CallRequest, call_id: str, times: LeaseTimes = TIMES) -> None:
        self._store = store
        self._keys = VideoKeys(request.tenant_id, request.video_id)
        self._call_key = request.call_key
        self._call_id = call_id
        self._times = times
        self._token = uuid4().hex
        self._claimed_at = 0.0
        self._stop = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._store.upload_file(self._key("claim"), json.dumps({"call_id": self._call_id}).encode())
        self._claimed_at = time.monotonic()
        try:
            self._check()
        except BaseException:
            self._forget()
            raise
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beats.join(self._times.beat_s)
        self._forget()

    def confirm(self) -> None:
        """Wait until no earlier claim can appear.

        Raises:
            HeldElsewhere: another worker was earlier.
        """
        settled = self._claimed_at + self._times.settle_s
        while True:
            rest = settled - time.monotonic()
            time.sleep(max(0.0, min(rest, self._times.look_s)))
            self._check()
            if rest <= self._times.look_s:  # this look was after the time to settle
                return

    def _check(self) -> None:
        claims = _claims(self._store, self._keys.lease_prefix(self._call_key))
        own = claims.get(self._token)
        if own is None:
            raise HeldElsewhere("")  # taken away, because this worker seemed dead
        now = own.made + timedelta(seconds=time.monotonic() - self._claimed_at)
        stale = timedelta(seconds=self._times.stale_s)
        for token, claim in claims.items():
            if (claim.made, token) < (own.made, self._token):
                if now - claim.seen <= stale:
                    raise HeldElsewhere(_call_id(self._store, self._keys.lease(self._call_key, token, "claim")))
                for part in ("claim", "beat"):
                    self._store.delete_file(self._keys.lease(self._call_key, token, part))

    def _beat(self) -> None:
        while not self._stop.wait(self._times.beat_s):
            with suppress(StorageError):
                self._store.upload_file(self._key("beat"), b"{}")

    def _forget(self) -> None:
        for part in ("claim", "beat"):
            try:
                self._store.delete_file(self._key(part))
            except StorageError as error:
                _log.warning("a lease could not be removed (%s); it expires by itself", error)

    def _key(self, part: str) -> str:
        return self._keys.lease(self._call_key, self._token, part)


def working_call(store: ObjectStore, keys: VideoKeys, call_key: str) -> str | None:
    """Return Modal's id of the call that seems to have the lease; None if there is none.

    Its worker may have died lately: polling the call shows that. This machine's clock only excludes what is old.
    """
    claims = _claims(store, keys.lease_prefix(call_key))
    oldest = datetime.now(UTC) - timedelta(seconds=10 * TIMES.stale_s)
    alive = sorted((claim.made, token) for token, claim in claims.items() if claim.seen > oldest)
    return _call_id(store, keys.lease(call_key, alive[0][1], "claim")) or None if alive else None


@dataclass(slots=True)
class _Claim:
    made: datetime
    seen: datetime


def _claims(store: ObjectStore, prefix: str) -> dict[str, _Claim]:
    """Return token → when the claim was made and last seen alive, by the store's clock."""
    found: dict[str, ObjectInfo] = {info.key.removeprefix(prefix): info for info in store.iterate(prefix)}
    claims: dict[str, _Claim] = {}
    for name, info in found.items():
        token, _, part = name.removesuffix(".json").partition(".")
        if part == "claim":
            beat = found.get(f"{token}.beat.json")
            claims[token] = _Claim(info.modified, max(info.modified, beat.modified) if beat else info.modified)
    return claims


def _call_id(store: ObjectStore, key: str) -> str:
    try:
        return str(json.loads(store.download_to_bytes(key))["call_id"])
    except (ObjectNotFound, ValueError, KeyError, TypeError):
        return ""
