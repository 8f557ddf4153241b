"""The interface of a compute backend, its errors, and the ledger of a remote backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.compute.results import (
    CaptionOcrResult,
    CaptionSpan,
    CropBox,
    CropInferResult,
    ExtractResult,
)


class ComputeError(Exception):
    """A compute function gave no result.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    retryable = False


class BadInput(ComputeError):
    """The input cannot be processed; a retry gives the same error."""


class ComputeUnavailable(ComputeError):
    """The backend, or something it needs, is temporarily unavailable."""

    retryable = True


class ComputeTimeout(ComputeError):
    """The work exceeded its time limit, possibly because of temporary load."""

    retryable = True


class ComputeMisconfigured(ComputeError):
    """The backend refuses access or is not set up; the message says what to do."""


class ComputeForbidden(ComputeMisconfigured):
    """The backend refuses the token. Calls that were made go on: that they cannot be seen says nothing about them."""


class QuotaExceeded(ComputeError):
    """The tenant's limit does not allow this work; nothing was spent."""


class CallRow(Protocol):
    """The ledger's row of a remote call; times are timezone-aware."""

    @property
    def id(self) -> UUID:
        """Id of the row."""
        ...

    @property
    def call_key(self) -> str:
        """The key that identifies the work."""
        ...

    @property
    def function_name(self) -> str:
        """Name of the called function."""
        ...

    @property
    def run_id(self) -> str | None:
        """The run that waits for the call, or waited last."""
        ...

    @property
    def state(self) -> str:
        """intent, spawned, running, succeeded, failed, cancelled, or refused."""
        ...

    @property
    def external_call_id(self) -> str | None:
        """The remote side's id of the call."""
        ...

    @property
    def dashboard_url(self) -> str | None:
        """URL of the call's page for people."""
        ...

    @property
    def attempts(self) -> int:
        """Number of attempts, including the present one."""
        ...

    @property
    def last_reason(self) -> str | None:
        """Reason of the latest restart."""
        ...

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The result, if it succeeded."""
        ...

    @property
    def error_details(self) -> Mapping[str, Any] | None:
        """The error, if it failed."""
        ...

    @property
    def waiter_seen_at(self) -> datetime:
        """When a run last waited for it."""
        ...

    @property
    def video_id(self) -> UUID:
        """The video."""
        ...

    @property
    def tenant_id(self) -> UUID:
        """The tenant whose video it is."""
        ...

    @property
    def cancel_requested_at(self) -> datetime | None:
        """When it was to end although Modal did not confirm that."""
        ...

    @property
    def spawned_at(self) -> datetime | None:
        """When it was submitted."""
        ...

    @property
    def started_at(self) -> datetime | None:
        """When it was first seen running."""
        ...


class TenantLimits(Protocol):
    """Limits of a tenant; None: no limit."""

    @property
    def frame_limit(self) -> int | None:
        """Maximum number of full frames per video."""
        ...

    @property
    def processing_minutes_limit(self) -> int | None:
        """Maximum minutes of computing in a calendar month."""
        ...


class CallPage(Protocol):
    """One page of calls."""

    @property
    def items(self) -> Sequence[CallRow]:
        """The calls."""
        ...


class CallLedger(Protocol):
    """Records remote calls before they are waited for, so that none is paid for twice.

    A call goes intent → spawned → running → succeeded, failed, or cancelled; a call over the tenant's limit is recorded
    as refused and never made. Each method is one atomic step, durable when it returns, and raises errors whose
    ``retryable`` says whether they are transient. The catalog is such a ledger.
    """

    def record_compute_call(
        self,
        call_key: str,
        video_id: UUID | str,
        *,
        app_name: str,
        function_name: str,
        code_version: str,
        arguments: Mapping[str, Any],
        environment: str = "",
        run_id: str | None = None,
        estimated_minutes: float = 0.0,
    ) -> CallRow:
        """Return the call with this key, or record the intent to make it or its refusal."""
        ...

    def find_compute_call(self, call_key: str) -> CallRow | None:
        """Return the call with this key, or None."""
        ...

    def spawn_compute_call(
        self, call_id: UUID | str, external_call_id: str, *, dashboard_url: str | None = None
    ) -> CallRow:
        """Record the remote id of the call; a call that has an id keeps it."""
        ...

    def claim_compute_spawn(self, call_id: UUID | str, spawner: str, lease_s: float) -> bool:
        """Return whether this caller may make an intended call, for ``lease_s`` seconds; 0 gives it up."""
        ...

    def request_compute_cancel(self, call_id: UUID | str, error_details: Mapping[str, Any]) -> CallRow:
        """Record that an open call is to end, although that is not certain yet."""
        ...

    def touch_compute_call(self, call_id: UUID | str, *, running: bool = False) -> bool:
        """Record that a run still waits for the call; return False if it has ended."""
        ...

    def respawn_compute_call(self, call_id: UUID | str, *, attempt: int, reason: str) -> CallRow:
        """Reset the call to intent if ``attempt`` is still its attempt, and begin the next attempt."""
        ...

    def end_compute_call(
        self,
        call_id: UUID | str,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        result: Mapping[str, Any] | None = None,
        error_details: Mapping[str, Any] | None = None,
        queued_s: float | None = None,
        running_s: float | None = None,
        estimated_cost_usd: float | None = None,
    ) -> CallRow:
        """Record how an open call ended; an ended call does not change."""
        ...

    def list_compute_calls(self, *, waiter_unseen_since: datetime | None = None, limit: int = 100) -> CallPage:
        """Return calls, oldest first; with ``waiter_unseen_since``, the open ones without a waiting run since then."""
        ...

    def get_tenant_quota(self, tenant_id: UUID | str) -> TenantLimits:
        """Return the limits of a tenant."""
        ...


class ComputeBackend(ABC):
    """Runs the three compute functions, in this process or remotely.

    They raise :class:`BadInput` for what a person must change and :class:`ComputeUnavailable` for transient errors.
    """

    name: str

    def call_metadata(self) -> Mapping[str, str | int | float | bool]:
        """Return metadata about the remote calls behind this thread's latest result; empty for local results."""
        return {}

    @abstractmethod
    def extract_frames_and_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        frame_rate: float = 0.1,
        *,
        progress: Progress | None = None,
    ) -> ExtractResult:
        """Sample full frames, read them, and find where captions appear."""

    @abstractmethod
    def crop_and_infer_caption_frame_extents(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropBox | None,
        version: int,
        frame_rate: float = 10.0,
        *,
        progress: Progress | None = None,
    ) -> CropInferResult:
        """Crop the region, find when each caption begins and ends, and read it.

        A ``crop_region`` of None means that the video has no captions.
        """

    @abstractmethod
    def generate_caption_ocr(
        self,
        video_key: str,
        tenant_id: str,
        video_id: str,
        crop_region: CropBox | None,
        version: int,
        captions: Sequence[CaptionSpan],
        *,
        progress: Progress | None = None,
    ) -> list[CaptionOcrResult]:
        """Read the given captions; one that cannot be read gets its error, and the others go on."""
