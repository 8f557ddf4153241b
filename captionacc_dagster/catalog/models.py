"""Frozen, typed rows of the catalog; times are timezone-aware and in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue

VideoStatus = Literal["waiting", "processing", "active", "error"]
WorkflowStatus = Literal["wait", "annotate", "done", "review", "error"]
VideoStage = Literal["working", "attention", "done", "failed"]
"""What happens next with a video: the machine works, a person is needed, nothing more to do, or a retry is needed."""
FlowName = Literal["video_initial_processing", "crop_and_infer", "caption_ocr"]
RequestState = Literal["pending", "launched", "succeeded", "failed", "cancelled"]
RequestEnd = Literal["succeeded", "failed", "cancelled"]
Tier = Literal["free", "premium", "enterprise"]
DatabaseName = Literal["layout", "captions"]
LockType = Literal["server", "client"]
VersionState = Literal["processing", "active", "archived", "failed"]
ComputeState = Literal["intent", "spawned", "running", "succeeded", "failed", "cancelled", "refused"]
ComputeEnd = Literal["succeeded", "failed", "cancelled"]
VideoSource = Literal["upload", "cli", "inbox", "api", "demo"]
Approval = Literal["person", "automatic"]
Role = Literal["owner", "member"]
ApprovalStatus = Literal["pending", "approved", "rejected"]
RedemptionOutcome = Literal["joined", "already", "unknown", "revoked", "expired", "used_up", "other_tenant", "rejected"]
Severity = Literal["info", "warning", "critical"]

LOCAL_TENANT_ID: Final = UUID("00000000-0000-4000-8000-000000000001")
"""The only tenant of an embedded catalog, created by :func:`captionacc_dagster.catalog.embedded.open_catalog`."""
LOCAL_TENANT_NAME: Final = "local"
LOCAL_USER_ID: Final = UUID("00000000-0000-4000-8000-000000000002")
"""The owner of the local tenant: the person at the machine."""
LOCAL_ACCESS_TIER: Final = "enterprise"
"""The access tier of the local tenant, without a quota."""

# Postgres prints "2026-01-15 10:00:00+00", PostgREST "2026-01-15T10:00:00.5+00:00".
_SHORT_OFFSET = re.compile(r"([+-]\d{2})$")


def _aware_utc(value: object) -> object:
    if isinstance(value, str):
        value = datetime.fromisoformat(_SHORT_OFFSET.sub(r"\1:00", value.strip().replace("Z", "+00:00")))
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


Timestamp = Annotated[datetime, BeforeValidator(_aware_utc)]
"""A timezone-aware time in UTC, parsed from the formats of both servers."""
Json = dict[str, JsonValue]


class Row(BaseModel):
    """A row of the catalog; columns unknown to this version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Tenant(Row):
    """An owner of videos."""

    id: UUID
    name: str
    access_tier_id: str | None
    auto_approve_layout: bool
    auto_approve_min_confidence: float
    processing_minutes_limit: int | None
    frame_limit: int | None
    max_concurrent_runs: int | None
    lang: str | None = None
    created_at: Timestamp


class TenantQuota(Row):
    """A tenant's limits (None: no limit) and their use in this calendar month."""

    processing_minutes_limit: int | None
    frame_limit: int | None
    max_concurrent_runs: int | None
    processing_minutes_used: float
    period_start: Timestamp


class Account(Row):
    """Somebody who can sign in."""

    id: UUID
    email: str


class UserProfile(Row):
    """A user of a tenant; only approved users have access."""

    id: UUID
    tenant_id: UUID
    display_name: str | None
    role: Role
    approval_status: ApprovalStatus
    access_tier_id: str | None
    created_at: Timestamp


class Invitation(Row):
    """A code with which people join a tenant; the code itself is kept nowhere."""

    id: UUID
    role: Role
    note: str | None
    max_uses: int
    uses: int
    created_by: UUID | None
    created_at: Timestamp
    expires_at: Timestamp
    revoked_at: Timestamp | None


class NewInvitation(Row):
    """An invitation that was just made, with its code."""

    id: UUID
    code: str
    role: Role
    max_uses: int
    expires_at: Timestamp


class Redemption(Row):
    """How the redemption of a code ended; tenant and role are those of a user who has joined."""

    outcome: RedemptionOutcome
    tenant_id: UUID | None
    tenant_name: str | None
    role: Role | None


class VideoWarning(Row):
    """Something about a video that its user should know.

    Attributes:
        code: stable, for programs: one of ``captioning.captions.WarningCode``, or one of a newer version.
        message: one plain sentence.
        start_s, end_s: the part of the video it concerns, seconds; None: all of it.
    """

    code: str
    message: str
    start_s: float | None = None
    end_s: float | None = None


_USUAL_FRAME_RATE = 25.0


class Video(Row):
    """An uploaded file and the state of its processing."""

    id: UUID
    tenant_id: UUID
    uploaded_by: UUID | None
    filename: str
    folder: str
    storage_key: str
    content_hash: str | None
    file_size_bytes: int | None
    source: VideoSource
    lang: str | None
    is_demo: bool
    duration_seconds: float | None
    frame_rate: float | None
    width: int | None
    height: int | None
    rotation: int | None
    video_codec: str | None
    bitrate: int | None
    frame_count: int | None
    ocr_box_count: int | None
    failed_ocr_count: int | None
    cropped_frame_count: int | None
    caption_count: int | None
    confirmed_count: int | None
    processing_duration_seconds: float | None
    status: VideoStatus
    error_details: Json | None
    layout_status: WorkflowStatus
    layout_error_details: Json | None
    boundaries_status: WorkflowStatus
    boundaries_error_details: Json | None
    text_status: WorkflowStatus
    text_error_details: Json | None
    crop_left: float | None
    crop_top: float | None
    crop_right: float | None
    crop_bottom: float | None
    layout_confidence: float | None
    layout_approved_at: Timestamp | None
    layout_approved_by: UUID | None
    layout_approval: Approval | None
    warnings: tuple[VideoWarning, ...]
    cropped_frames_version: int | None
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None

    @property
    def stage(self) -> VideoStage:
        """What happens next with the video; equal to the SQL function ``video_stage``."""
        if "error" in (self.status, self.layout_status, self.boundaries_status, self.text_status):
            return "failed"
        if self.status != "active" or self.layout_status == "wait":
            return "working"
        if self.layout_status != "done":
            return "attention"
        if self.boundaries_status == "wait":
            return "working"
        return "done" if self.boundaries_status == "done" and self.text_status == "done" else "attention"

    @property
    def failure(self) -> tuple[str, Json] | None:
        """The first stage that failed (``video``, ``layout``, ``boundaries``, or ``text``) with the details of its
        error; None if none did."""
        for stage, status, details in (
            ("video", self.status, self.error_details),
            ("layout", self.layout_status, self.layout_error_details),
            ("boundaries", self.boundaries_status, self.boundaries_error_details),
            ("text", self.text_status, self.text_error_details),
        ):
            if status == "error":
                return stage, details or {}
        return None

    @property
    def usual_frame_rate(self) -> float:
        """Frames per second; of a video that was never measured, what most have."""
        return self.frame_rate or _USUAL_FRAME_RATE

    @property
    def crop_region(self) -> tuple[float, float, float, float] | None:
        """``(left, top, right, bottom)`` in 0..1, or None if there is none."""
        left, top, right, bottom = self.crop_left, self.crop_top, self.crop_right, self.crop_bottom
        if left is None or top is None or right is None or bottom is None:
            return None
        return (left, top, right, bottom)


class ProcessingRequest(Row):
    """A row of the outbox: a flow requested for a video."""

    id: UUID
    tenant_id: UUID
    video_id: UUID
    flow: FlowName
    state: RequestState
    idempotency_key: str
    payload: Json
    base_priority: int | None
    priority: int | None
    requested_by: UUID | None
    requested_at: Timestamp
    attempts: int
    not_before: Timestamp
    claimed_by: str | None
    claim_expires_at: Timestamp | None
    run_id: str | None
    launched_at: Timestamp | None
    finished_at: Timestamp | None
    error_details: Json | None
    tenant_tier: Tier

    @property
    def is_open(self) -> bool:
        """Whether its run has not yet ended."""
        return self.state in ("pending", "launched")


class CreatedVideo(Row):
    """Result of :meth:`Catalog.create_video`."""

    created: bool
    video: Video
    request: ProcessingRequest | None


class DatabaseLock(Row):
    """A lock on one of a video's databases."""

    video_id: UUID
    database_name: DatabaseName
    tenant_id: UUID
    lock_holder: str
    lock_type: LockType
    lock_holder_user_id: UUID | None
    locked_at: Timestamp
    expires_at: Timestamp


class CroppedFramesVersion(Row):
    """One version of a video's cropped frames and extents; at most one of them is active."""

    video_id: UUID
    version: int
    tenant_id: UUID
    state: VersionState
    run_id: str
    storage_prefix: str | None
    frame_count: int | None
    cropped_frame_rate: float
    error_details: Json | None
    cleaned_at: Timestamp | None
    created_at: Timestamp
    activated_at: Timestamp | None
    ended_at: Timestamp | None


class ComputeCall(Row):
    """A remote call in the ledger."""

    id: UUID
    call_key: str
    tenant_id: UUID
    video_id: UUID
    request_id: UUID | None
    run_id: str | None
    app_name: str
    environment: str
    function_name: str
    code_version: str
    input: Json
    state: ComputeState
    external_call_id: str | None
    dashboard_url: str | None
    attempts: int
    last_reason: str | None
    estimated_minutes: float
    queued_seconds: float | None
    running_seconds: float | None
    estimated_cost_usd: float | None
    result: Json | None
    error_details: Json | None
    waiter_seen_at: Timestamp
    created_at: Timestamp
    spawned_at: Timestamp | None
    started_at: Timestamp | None
    ended_at: Timestamp | None
    spawner: str | None
    spawn_expires_at: Timestamp | None
    cancel_requested_at: Timestamp | None


class SecurityEvent(Row):
    """An event in the security log, such as a refusal."""

    id: UUID
    event: str
    severity: Severity
    tenant_id: UUID | None
    user_id: UUID | None
    video_id: UUID | None
    client_ip: str | None
    request_id: str | None
    method: str | None
    path: str | None
    details: Json
    created_at: Timestamp


class HistoryEvent(Row):
    """One event in a video's history."""

    at: Timestamp
    event: str
    details: Json


class RequestCount(Row):
    """Number of open requests with the same state, flow, and tier."""

    state: RequestState
    flow: FlowName
    tier: Tier
    count: int
    oldest_requested_at: Timestamp


class LockCount(Row):
    """Number of locks, and how many of them have expired."""

    held: int
    expired: int


class LockAttempts(Row):
    """Number of attempts to lock a kind of database, ever, that ended in the same way."""

    database: DatabaseName
    outcome: Literal["acquired", "held"]
    count: int


class EndedCall(Row):
    """A remote call that has ended."""

    id: UUID
    function_name: str
    state: ComputeState
    attempts: int
    running_seconds: float | None
    estimated_cost_usd: float | None
    error_type: str | None
    ended_at: Timestamp


class CatalogMetrics(Row):
    """Counts of the catalog at one moment, and the remote calls that ended after a time, earliest first."""

    videos: dict[VideoStatus, int]
    requests: tuple[RequestCount, ...]
    locks: LockCount
    lock_attempts: tuple[LockAttempts, ...]
    compute_calls: dict[ComputeState, int]
    ended_calls: tuple[EndedCall, ...]


def error_details(error: BaseException | str, *, run_id: str | None = None) -> dict[str, Any]:
    """Return a value for the ``*_error_details`` columns: message, error_type, run_id, time."""
    name = "Error" if isinstance(error, str) else type(error).__name__
    message = str(error) or name
    return {"message": message, "error_type": name, "run_id": run_id, "time": datetime.now(UTC).isoformat()}
