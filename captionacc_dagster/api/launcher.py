"""Launch the run of a request at once, under the same claim that the sensors use.

So each request becomes exactly one run, whoever claims it first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from captionacc_dagster.api.dagster_client import AnswerLost, DagsterClient, DagsterUnavailable, KnownRun, RunRefused
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, Conflict, NotFound
from captionacc_dagster.catalog.models import ProcessingRequest, error_details
from captionacc_dagster.catalog.requests import CLAIM_LEASE_S
from captionacc_dagster.orchestration.requests import plan_run

_log = logging.getLogger(__name__)

# Much longer than any wait for Dagster: when the claim of a lost launch expires, its run is visible or was not created.
CLAIM_SECONDS = 300.0
LOOK_FOR_SECONDS = 6.0
WAIT_FOR_OTHERS_SECONDS = 6.0
_PAUSE_SECONDS = 0.2


class LaunchDelayed(Exception):
    """The request is stored and will run, but its run is not known yet."""


def new_claimer() -> str:
    """Return a unique claimer name for one attempt to launch."""
    return f"api:{uuid4()}"


class Launcher:
    """Launches requests that the caller has claimed.

    Looks ``look_for_s`` seconds for a run whose creation was not confirmed, and waits ``wait_s`` seconds for a request
    that another process is launching.
    """

    def __init__(
        self,
        open_catalog: Callable[[], Catalog],
        dagster: DagsterClient,
        *,
        look_for_s: float = LOOK_FOR_SECONDS,
        wait_s: float = WAIT_FOR_OTHERS_SECONDS,
    ) -> None:
        self._open_catalog = open_catalog
        self._dagster = dagster
        self._look_for_s = look_for_s
        self._wait_s = wait_s

    def launch(
        self, request: ProcessingRequest, claimer: str, video_name: str, delivery_id: str | None = None
    ) -> KnownRun:
        """Return the run of a request: created now if ``claimer`` has claimed it, or by another process.

        The row was just read, and its claim for ``CLAIM_SECONDS`` tried together with that. If this call creates the
        run, the webhook ``delivery_id`` is recorded with it.

        Raises:
            LaunchDelayed: Dagster is unavailable or has not answered; the request stays in the outbox.
            CatalogError: the catalog is unavailable.
        """
        if request.state != "pending":
            return self._launched(request)
        if request.claimed_by != claimer:
            return self._wait_for(request)
        try:
            run = self._make(request, video_name)
        except DagsterUnavailable as error:
            _log.warning("request %s waits: %s", request.id, error)
            self._release(request, claimer, error)
            raise LaunchDelayed(str(error)) from error
        except AnswerLost as error:
            # The claim stays: if it were released, a sensor could create a second run before this one is visible.
            _log.warning("request %s waits; it is unknown whether its run was created: %s", request.id, error)
            raise LaunchDelayed(str(error)) from error
        self._note(request, claimer, run, delivery_id)
        return run

    def _make(self, request: ProcessingRequest, video_name: str) -> KnownRun:
        if not _never_lost(request) and (run := self._find_queued(request)) is not None:
            return run
        try:
            return self._dagster.launch(plan_run(request, video_name))
        except RunRefused as error:
            run = self._look_for(request, 0.0)
            if run is None:
                raise DagsterUnavailable(str(error)) from error
            return run
        except AnswerLost as error:
            run = self._look_for(request, self._look_for_s)
            if run is None:
                raise AnswerLost(f"{error}, and no run has the request's tag") from error
            return run

    def _find_queued(self, request: ProcessingRequest) -> KnownRun | None:
        found = self._dagster.find_run(request)
        return found if found is not None and found.is_submitted else None

    def _look_for(self, request: ProcessingRequest, seconds: float) -> KnownRun | None:
        """Return the run that may have been created, or None.

        Raises:
            DagsterUnavailable: it was created but never queued, and has been deleted.
        """
        deadline = time.monotonic() + seconds
        while True:
            stuck: str | None = None
            with suppress(DagsterUnavailable):
                found = self._dagster.find_run(request)
                if found is not None and found.is_submitted:
                    return found
                stuck = found.run_id if found is not None else None
            if time.monotonic() >= deadline:
                break
            time.sleep(_PAUSE_SECONDS)
        if stuck is not None:
            self._dagster.delete_run(stuck)
            raise DagsterUnavailable(f"run {stuck} did not enter the queue")
        return None

    def _note(self, request: ProcessingRequest, claimer: str, run: KnownRun, delivery_id: str | None) -> None:
        try:
            self._open_catalog().launch_processing_request(
                request.id, claimer, run.run_id, priority=run.priority, delivery_id=delivery_id
            )
        except (Conflict, NotFound) as error:
            _log.error("run %s of request %s could not be recorded: %s", run.run_id, request.id, error)
        except CatalogError as error:
            # The run itself, or the sensor after the claim expires, records it once the catalog is back.
            _log.warning("run %s of request %s is not recorded yet: %s", run.run_id, request.id, error)

    def _release(self, request: ProcessingRequest, claimer: str, reason: Exception) -> None:
        try:
            self._open_catalog().release_processing_request(request.id, claimer, error_details=error_details(reason))
        except CatalogError as error:
            _log.warning("the claim of request %s was not released and will expire: %s", request.id, error)

    def _wait_for(self, request: ProcessingRequest) -> KnownRun:
        """Wait until the claimer of the request has launched it."""
        deadline = time.monotonic() + self._wait_s
        while time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            current = self._open_catalog().get_processing_request(request.id)
            if current.state != "pending":
                return self._launched(current)
            if current.claimed_by is None:
                break
        try:
            run = self._find_queued(request)
        except DagsterUnavailable as error:
            raise LaunchDelayed(str(error)) from error
        if run is None:
            raise LaunchDelayed("the request waits in the outbox")
        return run

    @staticmethod
    def _launched(request: ProcessingRequest) -> KnownRun:
        if request.run_id is None:
            raise LaunchDelayed(f"the request is {request.state}")
        return KnownRun(request.run_id, request.priority)


def _never_lost(request: ProcessingRequest) -> bool:
    """Return whether the request certainly has no unrecorded run.

    A claim is released only if no run was created, or expires with its lease, and this request is too young for the
    latter. All three times come from the catalog.
    """
    if request.attempts > 0 or request.claim_expires_at is None:
        return False
    claimed_at = request.claim_expires_at - timedelta(seconds=CLAIM_SECONDS)
    return timedelta(0) <= claimed_at - request.requested_at < timedelta(seconds=CLAIM_LEASE_S)
