"""How a stage begins, ends, and fails: update the video's row and its request, and raise what Dagster should see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    AssetKey,
    Backoff,
    DagsterExecutionInterruptedError,
    DagsterRun,
    Failure,
    Jitter,
    MaterializeResult,
    RetryPolicy,
)

from captionacc_dagster.backends import language_of
from captionacc_dagster.captioning.ocr.languages import UnknownLanguageError, language_codes
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable, NotFound
from captionacc_dagster.catalog.models import Video, error_details
from captionacc_dagster.compute.base import BadInput, ComputeError, QuotaExceeded
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.locks import HeldLock, LockLost, server_lock
from captionacc_dagster.orchestration.outcomes import adopt_request
from captionacc_dagster.orchestration.transitions import Outcome, Stage, meaning_of, record
from captionacc_dagster.orchestration.workers import register_worker
from captionacc_dagster.storage.errors import StorageError
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.tags import REQUEST_TAG, ROOT_RUN_TAG

# For transient errors; what a person must change fails at once (Failure without retries).
TRANSIENT_RETRIES = RetryPolicy(max_retries=4, delay=2, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS)


@dataclass(frozen=True)
class VideoRun:
    """The work of one run on one video, in one stage of its flow."""

    context: AssetExecutionContext | AssetCheckExecutionContext
    catalog: Catalog
    flow: Flow
    stage: Stage

    @property
    def video_id(self) -> UUID:
        """The video's id, from the run's partition key.

        Raises:
            Failure: the key is not a video id, or the run has none (checks that are run on their own).
        """
        if not self.context.has_partition_key:
            raise Failure(
                "no video is selected; materialize one partition, and its checks run with it", allow_retries=False
            )
        try:
            return UUID(self.context.partition_key)
        except ValueError:
            raise Failure(
                f"partition key {self.context.partition_key!r} is not a video id; `captionacc upload FILE` makes one",
                allow_retries=False,
            ) from None

    @cached_property
    def video(self) -> Video:
        """The video's row as it was when first read."""
        return self.catalog.get_video_metadata(self.video_id)

    @property
    def keys(self) -> VideoKeys:
        """The keys of its objects."""
        return VideoKeys(str(self.video.tenant_id), str(self.video.id))

    def made(self, asset: str, metadata: Mapping[str, Any]) -> MaterializeResult:
        """Return that an asset was made; its partition is an id, so the name of the file says which video it is."""
        return MaterializeResult(asset_key=asset, metadata={"video": self.video.filename, **metadata})

    def makes(self, asset: str) -> bool:
        """Return whether this run makes an asset; in Dagster's UI a person may select single ones."""
        chosen = self.context.run.asset_selection
        return not chosen or AssetKey(asset) in chosen

    def begin(self) -> None:
        """Take the video's request, if there is one, for this run.

        Raises:
            Failure: another run is working, or has worked, on the request that this run was made for.
            BadInput: the video's or its tenant's language is unknown.
        """
        named = self.context.run.tags.get(REQUEST_TAG)
        if named is not None and adopt_request(self.catalog, self.context.run) is None:
            self._refuse_needless_run(named)
        pending = self.catalog.list_processing_requests(
            states=["pending"], video_id=self.video_id, flows=[self.flow.value]
        )
        for request in pending.items:
            if self.catalog.claim_processing_request(request.id, self.context.run.run_id) is not None:
                self.catalog.launch_processing_request(request.id, self.context.run.run_id, self.context.run.run_id)
        try:
            language_codes(language_of(self.catalog, self.video_id) or "en")
        except UnknownLanguageError as error:
            raise BadInput(f"{self.video.filename}: lang: {error}") from error

    def _refuse_needless_run(self, request_id: str) -> None:
        try:
            request = self.catalog.get_processing_request(request_id)
        except NotFound:
            return
        other = self.context.instance.get_run_by_id(request.run_id) if request.run_id else None
        if other is None:
            return
        if request.state == "launched" and not other.is_finished:
            raise Failure(f"run {other.run_id} is already working on request {request_id}", allow_retries=False)
        # A repetition of that run is wanted. Any other was made by a launcher that did not see the first one.
        if _first_run(other) != _first_run(self.context.run):
            raise Failure(f"run {other.run_id} has already worked on request {request_id}", allow_retries=False)

    def record(self, outcome: Outcome) -> None:
        """Write to the video's row what an outcome of this stage means."""
        record(self.catalog, self.video_id, self.flow, self.stage, outcome)

    @contextmanager
    def locked(self) -> Iterator[HeldLock]:
        """Hold the server lock of this stage's database; call :meth:`HeldLock.check` before publishing."""
        database = meaning_of(self.flow, self.stage, "started").lock
        if database is None:
            raise ValueError(f"{self.stage} of {self.flow} holds no lock")
        with server_lock(self.catalog, self.video_id, database, self.context.run.run_id) as lock:
            # What was read before the lock was acquired may be out of date.
            self.__dict__.pop("video", None)
            yield lock

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Raise a failure that is retried only where that can help, and write nothing to the catalog.

        The sensor ``run_outcomes``, or the command that runs this, records how the run ended.
        """
        try:
            register_worker(self.context.instance, self.context.run, self.catalog)
            yield
        except Failure:
            raise
        except (DagsterExecutionInterruptedError, KeyboardInterrupt) as interruption:
            # Dagster applies the retry policy to interruptions too: a cancelled run would start its work again.
            raise Failure("the run was interrupted", allow_retries=False) from interruption
        except Exception as error:
            if self.will_retry(error):
                self.context.log.warning("%s: %s; trying again", type(error).__name__, error)
                raise
            # Shows the cause with its traceback; without it, Dagster would retry a permanent error.
            raise Failure(str(error) or type(error).__name__, allow_retries=False) from error

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do as :meth:`checking`, and record the reason of an error inside the block.

        A quota that does not allow the work is not a failure: the video and its request record it, and the block ends.
        """
        with self.checking():
            try:
                yield
            except QuotaExceeded as refusal:
                self.context.log.warning("refused: %s", refusal)
                self._write_failure(refusal, "refused")
            except Exception as error:
                if not isinstance(error, Failure) and not self.will_retry(error):
                    self._write_failure(error, "failed")
                raise

    def will_retry(self, error: Exception) -> bool:
        """Return whether the step is tried again after this error."""
        return _is_transient(error) and self.context.retry_number < TRANSIENT_RETRIES.max_retries

    def _write_failure(self, error: Exception, outcome: Outcome) -> None:
        run_id = self.context.run.run_id
        try:
            launched = self.catalog.list_processing_requests(
                states=["launched"], video_id=self.video_id, flows=[self.flow.value]
            )
            record(
                self.catalog,
                self.video_id,
                self.flow,
                self.stage,
                outcome,
                requests=[request for request in launched.items if request.run_id == run_id],
                run_id=run_id,
                details=error_details(error, run_id=run_id),
            )
        except CatalogError as unwritten:
            # The sensor run_outcomes records it once the catalog is back.
            self.context.log.error("the failure could not be recorded in the catalog: %s", unwritten)


def _first_run(run: DagsterRun) -> str:
    """Return the id of the run of which a run is a repetition: its own if it is none."""
    return run.tags.get(ROOT_RUN_TAG, run.run_id)


def _is_transient(error: Exception) -> bool:
    """Return whether trying again can succeed."""
    if isinstance(error, ComputeError | StorageError):
        return error.retryable
    return isinstance(error, CatalogUnavailable | LockLost | ConnectionError | TimeoutError)
