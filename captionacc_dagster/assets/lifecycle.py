"""How a stage begins, ends and fails: the video's row, its request, and what Dagster is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    AssetKey,
    Backoff,
    Failure,
    Jitter,
    RetryPolicy,
)
from dagster._core.errors import DagsterExecutionInterruptedError

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable, NotFound
from captionacc_dagster.catalog.models import DatabaseName, FlowName, ProcessingRequest, Video, error_details
from captionacc_dagster.compute.base import ComputeError, QuotaExceeded
from captionacc_dagster.orchestration.locks import HeldLock, LockLost, server_lock
from captionacc_dagster.orchestration.outcomes import adopt_request
from captionacc_dagster.orchestration.priority import REQUEST_TAG
from captionacc_dagster.orchestration.workers import register_worker
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import VideoKeys

# For what time may heal; what a person must change fails at once (Failure without retries).
TRANSIENT_RETRIES = RetryPolicy(max_retries=4, delay=2, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS)

# Which statuses a failing stage sets to error.
Failing = Literal["layout", "boundaries", "text"]


@dataclass(frozen=True)
class VideoRun:
    """One run's work on one video."""

    context: AssetExecutionContext | AssetCheckExecutionContext
    catalog: Catalog
    flow: FlowName

    @property
    def video_id(self) -> UUID:
        """The video: the run's partition key.

        Raises:
            Failure: the key is no video id, or the run has none (checks that are run by themselves).
        """
        if not self.context.has_partition_key:
            raise Failure("for which video? Materialize one partition: its checks run with it", allow_retries=False)
        try:
            return UUID(self.context.partition_key)
        except ValueError:
            raise Failure(
                f"partition key {self.context.partition_key!r} is not a video id; `captionacc upload FILE` makes one",
                allow_retries=False,
            ) from None

    @cached_property
    def video(self) -> Video:
        """The video's row as it was when first asked for."""
        return self.catalog.get_video_metadata(self.video_id)

    @property
    def keys(self) -> VideoKeys:
        """The keys of its objects."""
        return VideoKeys(str(self.video.tenant_id), str(self.video.id))

    def makes(self, asset: str) -> bool:
        """Say whether this run is to make an asset: a person may choose single ones in Dagster's UI."""
        chosen = self.context.run.asset_selection
        return not chosen or AssetKey(asset) in chosen

    def begin(self) -> None:
        """Make this run the one that works on the video's request, if there is one.

        Raises:
            Failure: another run that is still at work has the request this one was made for.
        """
        named = self.context.run.tags.get(REQUEST_TAG)
        if named is not None and adopt_request(self.catalog, self.context.run) is None:
            self._refuse_duplicate_run(named)
        pending = self.catalog.list_processing_requests(states=["pending"], video_id=self.video_id, flows=[self.flow])
        for request in pending.items:
            if self.catalog.claim_processing_request(request.id, self.context.run.run_id) is not None:
                self.catalog.launch_processing_request(request.id, self.context.run.run_id, self.context.run.run_id)

    def _refuse_duplicate_run(self, request_id: str) -> None:
        try:
            request = self.catalog.get_processing_request(request_id)
        except NotFound:
            return
        other = self.context.instance.get_run_by_id(request.run_id) if request.run_id else None
        if request.state == "launched" and other is not None and not other.is_finished:
            raise Failure(f"run {other.run_id} works on request {request_id} already", allow_retries=False)

    def succeed(self) -> None:
        """End this run's request, if it had one."""
        for request in self._own_requests():
            self.catalog.finish_processing_request(request.id, "succeeded", run_id=self.context.run.run_id)

    def _own_requests(self) -> list[ProcessingRequest]:
        launched = self.catalog.list_processing_requests(states=["launched"], video_id=self.video_id, flows=[self.flow])
        return [request for request in launched.items if request.run_id == self.context.run.run_id]

    @contextmanager
    def locked(self, database: DatabaseName) -> Iterator[HeldLock]:
        """Hold the server lock of one of the video's databases; :meth:`HeldLock.check` it before putting anything in
        place."""
        with server_lock(self.catalog, self.video_id, database, self.context.run.run_id) as lock:
            # What was read before the lock was ours may be old.
            self.__dict__.pop("video", None)
            yield lock

    @contextmanager
    def stage(self, failing: Failing) -> Iterator[None]:
        """Turn what goes wrong inside into a written reason, and into a failure that is retried only if that helps.

        A quota that does not allow the work is no failure: the video and its request say so, and the block ends here.
        """
        try:
            register_worker(self.context.instance, self.context.run, self.catalog)
            yield
        except Failure:
            raise
        except (DagsterExecutionInterruptedError, KeyboardInterrupt) as interruption:
            # Dagster applies the retry policy to an interruption too: a cancelled run would begin its work anew.
            raise Failure("the run was interrupted", allow_retries=False) from interruption
        except QuotaExceeded as refusal:
            self.context.log.warning("refused: %s", refusal)
            self._write_failure(refusal, failing, "cancelled")
        except Exception as error:
            if self.will_retry(error):
                self.context.log.warning("%s: %s; trying again", type(error).__name__, error)
                raise
            self._write_failure(error, failing, "failed")
            # The cause is shown with its traceback; without this, Dagster would retry what cannot heal.
            raise Failure(str(error) or type(error).__name__, allow_retries=False) from error

    def will_retry(self, error: Exception) -> bool:
        """Say whether the step is tried again after this error."""
        return _may_heal(error) and self.context.retry_number < TRANSIENT_RETRIES.max_retries

    def _write_failure(self, error: Exception, failing: Failing, end: Literal["failed", "cancelled"]) -> None:
        details = error_details(error, run_id=self.context.run.run_id)
        changes: dict[str, Any] = {f"{failing}_status": "error", f"{failing}_error_details": details}
        if failing == "layout":
            changes |= {"status": "error", "error_details": details}
        try:
            # Captions that could not be read anew say so themselves; the others are as good as before.
            if self.flow != "caption_ocr":
                self.catalog.update_video_status(self.video_id, **changes)
            for request in self._own_requests():
                self.catalog.finish_processing_request(
                    request.id, end, run_id=self.context.run.run_id, error_details=details
                )
        except CatalogError as unwritten:
            # The sensor run_outcomes writes it once the catalog is back.
            self.context.log.error("the catalog could not be told of the failure: %s", unwritten)


def _may_heal(error: Exception) -> bool:
    """Say whether trying again makes sense."""
    if isinstance(error, ComputeError | StorageError):
        return error.retryable
    return isinstance(error, CatalogUnavailable | LockLost | ConnectionError | TimeoutError)
