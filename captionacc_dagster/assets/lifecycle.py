"""How a stage begins, ends and fails: the video's row, its request, and what Dagster is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from uuid import UUID

from dagster import AssetExecutionContext, Backoff, Failure, Jitter, RetryPolicy
from dagster._core.errors import DagsterExecutionInterruptedError

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.catalog.models import Flow, Video, error_details
from captionacc_dagster.compute.base import BadInput, ComputeError
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import VideoKeys

# For what time may heal; what a person must change fails at once (Failure without retries).
TRANSIENT_RETRIES = RetryPolicy(max_retries=4, delay=2, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS)

# Which statuses a failing stage sets to error.
Failing = Literal["layout", "boundaries", "text"]


@dataclass(frozen=True)
class VideoRun:
    """One run's work on one video."""

    context: AssetExecutionContext
    catalog: Catalog
    flow: Flow

    @property
    def video_id(self) -> UUID:
        """The video: the run's partition key.

        Raises:
            Failure: the key is no video id.
        """
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

    def begin(self) -> None:
        """Take the video's open request of this flow, if any, so that nobody starts the same work beside us."""
        pending = self.catalog.list_processing_requests(states=["pending"], video_id=self.video_id, flows=[self.flow])
        for request in pending.items:
            if self.catalog.claim_processing_request(request.id, self.context.run_id) is not None:
                self.catalog.launch_processing_request(request.id, self.context.run_id, self.context.run_id)

    def succeed(self) -> None:
        """End this run's request, if it had one."""
        request = self.catalog.find_processing_request(run_id=self.context.run_id)
        if request is not None and request.is_open and request.flow == self.flow:
            self.catalog.finish_processing_request(request.id, "succeeded", run_id=self.context.run_id)

    @contextmanager
    def stage(self, failing: Failing) -> Iterator[None]:
        """Turn what goes wrong inside into a written reason, and into a failure that is retried only if that helps."""
        try:
            yield
        except (Failure, DagsterExecutionInterruptedError):
            raise
        except Exception as error:
            if self.will_retry(error):
                self.context.log.warning("%s: %s; trying again", type(error).__name__, error)
                raise
            self._write_failure(error, failing)
            if isinstance(error, BadInput | ComputeError | StorageError | CatalogError):
                raise Failure(str(error), allow_retries=False) from error
            raise

    def will_retry(self, error: Exception) -> bool:
        """Say whether the step is tried again after this error."""
        return _may_heal(error) and self.context.retry_number < TRANSIENT_RETRIES.max_retries

    def _write_failure(self, error: Exception, failing: Failing) -> None:
        details = error_details(error, run_id=self.context.run_id)
        changes: dict[str, object] = {f"{failing}_status": "error", f"{failing}_error_details": details}
        if failing == "layout":
            changes |= {"status": "error", "error_details": details}
        try:
            self.catalog.update_video_status(self.video_id, **changes)
            request = self.catalog.find_processing_request(run_id=self.context.run_id)
            if request is not None and request.is_open:
                self.catalog.finish_processing_request(
                    request.id, "failed", run_id=self.context.run_id, error_details=details
                )
        except CatalogError as unwritten:
            # The sensor run_outcomes writes it once the catalog is back.
            self.context.log.error("the catalog could not be told of the failure: %s", unwritten)


def _may_heal(error: Exception) -> bool:
    """Say whether trying again makes sense."""
    if isinstance(error, ComputeError | StorageError):
        return error.retryable
    return isinstance(error, CatalogUnavailable)
