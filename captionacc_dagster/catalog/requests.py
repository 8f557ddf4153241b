"""The outbox of processing requests, and the actions that write to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from captionacc_dagster.catalog.calls import CatalogCalls, Id, Page, as_uuid, optional_uuid, page_of, read_cursor
from captionacc_dagster.catalog.models import Approval, FlowName, ProcessingRequest, RequestEnd, RequestState, Video

CLAIM_LEASE_S = 60.0


def _details(error_details: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if error_details is None else dict(error_details)


class RequestMethods(CatalogCalls):
    """Methods for requests, which go pending → (claimed) → launched → succeeded, failed, or cancelled."""

    def claim_processing_requests(
        self,
        claimer: str,
        *,
        limit: int = 100,
        lease_s: float = CLAIM_LEASE_S,
        flows: Iterable[FlowName] | None = None,
    ) -> list[ProcessingRequest]:
        """Claim up to ``limit`` due requests, oldest first; each goes to one claimer.

        After ``lease_s`` seconds without a launch they can be claimed again.
        """
        return self._rows(
            ProcessingRequest,
            "claim_processing_requests",
            p_claimer=claimer,
            p_limit=limit,
            p_lease_seconds=lease_s,
            p_flows=None if flows is None else list(flows),
            p_request_id=None,
        )

    def claim_processing_request(
        self, request_id: Id, claimer: str, *, lease_s: float = CLAIM_LEASE_S
    ) -> ProcessingRequest | None:
        """Claim this request, due or not; return None if it is claimed by another or not pending."""
        return self._first(
            ProcessingRequest,
            "claim_processing_requests",
            p_claimer=claimer,
            p_limit=1,
            p_lease_seconds=lease_s,
            p_flows=None,
            p_request_id=as_uuid(request_id, "request id"),
        )

    def renew_request_claim(self, request_id: Id, claimer: str, *, lease_s: float = CLAIM_LEASE_S) -> bool:
        """Extend a claim to ``lease_s`` seconds from now; return False if it is lost or launched."""
        return self._call(
            "renew_request_claim",
            p_request_id=as_uuid(request_id, "request id"),
            p_claimer=claimer,
            p_lease_seconds=lease_s,
        )

    def launch_processing_request(
        self, request_id: Id, claimer: str, run_id: str, *, priority: int | None = None, delivery_id: str | None = None
    ) -> ProcessingRequest:
        """Record that the run of the claimed request was created; idempotent for the same run.

        ``delivery_id`` is that of the webhook that asked for it, which is recorded with it.

        Raises:
            NotFound: there is no such request.
            Conflict: it is not claimed by ``claimer``, or belongs to another run.
        """
        return self._one(
            ProcessingRequest,
            "launch_processing_request",
            f"processing request {request_id}",
            p_request_id=as_uuid(request_id, "request id"),
            p_claimer=claimer,
            p_run_id=run_id,
            p_priority=priority,
            p_delivery_id=delivery_id,
        )

    def release_processing_request(
        self,
        request_id: Id,
        claimer: str,
        *,
        delay_s: float = 0.0,
        error_details: Mapping[str, Any] | None = None,
    ) -> bool:
        """Release a claim whose launch failed; the request is due again after ``delay_s`` seconds."""
        return self._call(
            "release_processing_request",
            p_request_id=as_uuid(request_id, "request id"),
            p_claimer=claimer,
            p_delay_seconds=delay_s,
            p_error_details=_details(error_details),
        )

    def requeue_processing_request(
        self, request_id: Id, run_id: str, *, error_details: Mapping[str, Any] | None = None
    ) -> bool:
        """Make a launched request whose run is gone pending again; return False if it is not that run's."""
        return self._call(
            "requeue_processing_request",
            p_request_id=as_uuid(request_id, "request id"),
            p_run_id=run_id,
            p_error_details=_details(error_details),
        )

    def replace_request_run(self, request_id: Id, run_id: str, new_run_id: str) -> bool:
        """Hand a launched or failed request from a run to the run that retries it."""
        return self._call(
            "replace_request_run",
            p_request_id=as_uuid(request_id, "request id"),
            p_run_id=run_id,
            p_new_run_id=new_run_id,
        )

    def finish_processing_request(
        self,
        request_id: Id,
        state: RequestEnd,
        *,
        run_id: str | None = None,
        error_details: Mapping[str, Any] | None = None,
    ) -> ProcessingRequest:
        """End a request; idempotent for the same end.

        Raises:
            NotFound: there is no such request.
            Conflict: it has ended differently, or belongs to another run.
        """
        return self._one(
            ProcessingRequest,
            "finish_processing_request",
            f"processing request {request_id}",
            p_request_id=as_uuid(request_id, "request id"),
            p_state=state,
            p_run_id=run_id,
            p_error_details=_details(error_details),
        )

    def record_outcome(
        self,
        video_id: Id,
        changes: Mapping[str, Any],
        request_ids: Iterable[Id] = (),
        state: RequestEnd | None = None,
        *,
        run_id: str | None = None,
        error_details: Mapping[str, Any] | None = None,
    ) -> None:
        """Change columns of a video and end requests, all or nothing; idempotent.

        Raises:
            NotFound: there is no such video or request.
            Conflict: a request has ended differently, or belongs to another run.
            InvalidValue: as for :meth:`update_video_metadata`.
        """
        self._call(
            "record_outcome",
            p_video_id=as_uuid(video_id, "video id"),
            p_changes=dict(changes),
            p_request_ids=[as_uuid(request_id, "request id") for request_id in request_ids],
            p_state=state,
            p_run_id=run_id,
            p_error_details=_details(error_details),
        )

    def get_processing_request(self, request_id: Id) -> ProcessingRequest:
        """Return a request.

        Raises:
            NotFound: there is no such request.
        """
        return self._one(
            ProcessingRequest,
            "get_processing_request",
            f"processing request {request_id}",
            p_request_id=as_uuid(request_id, "request id"),
        )

    def find_processing_request(
        self,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        request_id: Id | None = None,
        tenant_id: Id | None = None,
    ) -> ProcessingRequest | None:
        """Return the newest request with this run, idempotency key, or id; None if the tenant has none."""
        return self._first(
            ProcessingRequest,
            "find_processing_request",
            p_run_id=run_id,
            p_idempotency_key=idempotency_key,
            p_request_id=optional_uuid(request_id, "request id"),
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
        )

    def list_processing_requests(
        self,
        *,
        states: Iterable[RequestState] | None = None,
        video_id: Id | None = None,
        tenant_id: Id | None = None,
        flows: Iterable[FlowName] | None = None,
        launched_before: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ProcessingRequest]:
        """Return a page of requests, oldest first (``limit`` at most 500)."""
        after_at, after_id = read_cursor(cursor)
        count = min(max(limit, 1), 500)
        rows = self._rows(
            ProcessingRequest,
            "list_processing_requests",
            p_states=None if states is None else list(states),
            p_video_id=optional_uuid(video_id, "video id"),
            p_tenant_id=optional_uuid(tenant_id, "tenant id"),
            p_flows=None if flows is None else list(flows),
            p_launched_before=launched_before,
            p_after_requested_at=after_at,
            p_after_id=after_id,
            p_limit=count + 1,
        )
        return page_of([(request.requested_at, request.id, request) for request in rows], count)

    def approve_layout(
        self,
        video_id: Id,
        crop_region: tuple[float, float, float, float] | None,
        *,
        approval: Approval = "person",
        user_id: Id | None = None,
        base_priority: int | None = None,
        request_key: str | None = None,
        claimer: str | None = None,
        lease_s: float = 300.0,
    ) -> ProcessingRequest:
        """Store the crop region (left, top, right, bottom in 0..1; None: no captions) and request ``crop_and_infer``.

        Approvals with the same ``request_key`` count as one; with ``claimer`` the request is claimed at once.

        Raises:
            NotFound: there is no such video.
            Conflict: the video is not active yet, or is being processed.
            InvalidValue: the region is empty or outside 0..1.
        """
        left, top, right, bottom = crop_region or (None, None, None, None)
        return self._one(
            ProcessingRequest,
            "approve_layout",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_request_key=request_key or f"crop_and_infer:{uuid4()}",
            p_crop_left=left,
            p_crop_top=top,
            p_crop_right=right,
            p_crop_bottom=bottom,
            p_approval=approval,
            p_user_id=optional_uuid(user_id, "user id"),
            p_base_priority=base_priority,
            p_claimer=claimer,
            p_lease_seconds=lease_s,
        )

    def record_layout(
        self, video_id: Id, facts: Mapping[str, Any], found: Mapping[str, Any], found_again: Mapping[str, Any]
    ) -> Video:
        """Change the columns in ``facts``, and in ``found_again`` if a person has approved a layout, else in ``found``.

        ``found`` withdraws an automatic approval, unless its captions are still wanted: it was of another layout.

        Raises:
            NotFound: there is no such video.
            InvalidValue: as for :meth:`update_video_metadata`.
        """
        return self._one(
            Video,
            "record_layout",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_facts=dict(facts),
            p_found=dict(found),
            p_found_again=dict(found_again),
        )

    def request_caption_ocr(
        self,
        video_id: Id,
        caption_ids: Iterable[int],
        *,
        user_id: Id | None = None,
        base_priority: int | None = None,
        request_key: str | None = None,
    ) -> ProcessingRequest:
        """Request OCR of selected captions; repeated requests for the same ones are one while it is open.

        Raises:
            NotFound: there is no such video.
            Conflict: the video has no captions yet.
            InvalidValue: no caption is given.
        """
        return self._one(
            ProcessingRequest,
            "request_caption_ocr",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_request_key=request_key or f"caption_ocr:{uuid4()}",
            p_caption_ids=sorted(set(caption_ids)),
            p_user_id=optional_uuid(user_id, "user id"),
            p_base_priority=base_priority,
        )

    def complete_boundaries(self, video_id: Id) -> Video:
        """Record that a person has completed the boundaries; the text is next.

        Raises:
            NotFound: there is no such video.
            Conflict: there are no boundaries yet, or they failed.
        """
        return self._one(
            Video,
            "complete_boundaries",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
        )

    def complete_text(self, video_id: Id) -> Video:
        """Record that a person has completed the text.

        Raises:
            NotFound: there is no such video.
            Conflict: the boundaries are not complete, or there is no text.
        """
        return self._one(Video, "complete_text", f"video {video_id}", p_video_id=as_uuid(video_id, "video id"))

    def retry_video(
        self,
        video_id: Id,
        *,
        user_id: Id | None = None,
        request_key: str | None = None,
        claimer: str | None = None,
        lease_s: float = 300.0,
    ) -> ProcessingRequest:
        """Request the first failed stage of a video again.

        Raises:
            NotFound: there is no such video.
            Conflict: nothing has failed, or the video is being processed.
        """
        return self._one(
            ProcessingRequest,
            "retry_video",
            f"video {video_id}",
            p_video_id=as_uuid(video_id, "video id"),
            p_request_key=request_key or f"retry:{uuid4()}",
            p_user_id=optional_uuid(user_id, "user id"),
            p_claimer=claimer,
            p_lease_seconds=lease_s,
        )
