"""The interface of a compute backend, its errors, and the ledger a remote one keeps."""

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
    """A compute function that did not give a result.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    retryable = False


class BadInput(ComputeError):
    """The input itself cannot be processed; trying again gives the same."""


class ComputeUnavailable(ComputeError):
    """The place where the work runs, or what it needs, is away for now."""

    retryable = True


class ComputeTimeout(ComputeError):
    """The work took longer than its time limit; the load of the moment may have been the reason."""

    retryable = True


class ComputeMisconfigured(ComputeError):
    """The place where the work runs refuses us or is not set up; the message says what to do."""


class QuotaExceeded(ComputeError):
    """The tenant's limit does not allow this work; nothing was spent."""


class CallRow(Protocol):
    """What the ledger knows of one remote call; times are aware."""

    @property
    def id(self) -> UUID:
        """The row's own id."""
        ...

    @property
    def call_key(self) -> str:
        """What names the work."""
        ...

    @property
    def function_name(self) -> str:
        """Which function was called."""
        ...

    @property
    def run_id(self) -> str | None:
        """The run that waits for it, or last did."""
        ...

    @property
    def state(self) -> str:
        """intent, spawned, running, succeeded, failed, cancelled or refused."""
        ...

    @property
    def external_call_id(self) -> str | None:
        """The id under which the remote side knows it."""
        ...

    @property
    def dashboard_url(self) -> str | None:
        """Where a person can look at it."""
        ...

    @property
    def attempts(self) -> int:
        """How often it was made, this time included."""
        ...

    @property
    def last_reason(self) -> str | None:
        """Why it was made anew."""
        ...

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What it gave."""
        ...

    @property
    def error_details(self) -> Mapping[str, Any] | None:
        """Why it gave nothing."""
        ...

    @property
    def waiter_seen_at(self) -> datetime:
        """When somebody last waited for it."""
        ...

    @property
    def spawned_at(self) -> datetime | None:
        """When it was handed over."""
        ...

    @property
    def started_at(self) -> datetime | None:
        """When it was first seen running."""
        ...


class TenantLimits(Protocol):
    """What a tenant may have; None: no limit."""

    @property
    def frame_limit(self) -> int | None:
        """Full frames of one video."""
        ...


class CallPage(Protocol):
    """Some of the calls that were asked for."""

    @property
    def items(self) -> Sequence[CallRow]:
        """The calls."""
        ...


class CallLedger(Protocol):
    """Where a remote backend writes down its calls before it waits for them, so that none is paid twice.

    A call goes intent → spawned → running → succeeded, failed or cancelled; one over the tenant's limit is
    written down as refused and never made. Each method is one atomic step, durable when it returns, and raises
    errors whose ``retryable`` says whether time may heal them. The catalog is such a ledger.
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
        """Find the call of this key, or write down the intent to make it (or its refusal)."""
        ...

    def find_compute_call(self, call_key: str) -> CallRow | None:
        """Find the call of this key."""
        ...

    def spawn_compute_call(
        self, call_id: UUID | str, external_call_id: str, *, dashboard_url: str | None = None
    ) -> CallRow:
        """Write down the id under which the call can be found again; one that has an id keeps it."""
        ...

    def touch_compute_call(self, call_id: UUID | str, *, running: bool = False) -> bool:
        """Say that somebody still waits for the call; False when it has ended."""
        ...

    def respawn_compute_call(self, call_id: UUID | str, *, attempt: int, reason: str) -> CallRow:
        """Go back to intent if ``attempt`` is still the call's attempt; the next one begins."""
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
        """Write down how an open call ended; an ended one stays as it is."""
        ...

    def list_compute_calls(self, *, waiter_unseen_since: datetime | None = None, limit: int = 100) -> CallPage:
        """List calls, oldest first; with ``waiter_unseen_since`` the open ones nobody has waited for since then."""
        ...

    def get_tenant_quota(self, tenant_id: UUID | str) -> TenantLimits:
        """Tell what a tenant may have."""
        ...


class ComputeBackend(ABC):
    """Runs the three compute functions, in this process or elsewhere.

    All of them raise :class:`BadInput` for what a person must change and :class:`ComputeUnavailable`
    for what time may heal.
    """

    name: str

    def call_metadata(self) -> Mapping[str, str | int | float | bool]:
        """Tell of the remote calls behind this thread's latest result, for the asset's metadata; empty when local."""
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
        """Sample full frames, read them, and find where captions stand."""

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
        """Read the given captions; one that cannot be read carries its error, the others go on."""
