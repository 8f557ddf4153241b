"""Read videos, captions, subtitles, jobs, and the security log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator

from captionacc_dagster.api.auth import CallerDependency, OwnerDependency, VideoDependency
from captionacc_dagster.api.conditional import entity_tag, tagged_answer
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.views import (
    CaptionList,
    CaptionView,
    JobDetails,
    SecurityEventPage,
    SecurityEventView,
    VideoPage,
    VideoView,
    error_message,
)
from captionacc_dagster.api.webhooks import no_control_characters
from captionacc_dagster.captioning.files.captions_database import ExtentsState, StoredCaption, read_captions
from captionacc_dagster.captioning.files.edit_journal import read_steps
from captionacc_dagster.captioning.files.subtitles import Format
from captionacc_dagster.catalog.models import Video, VideoStatus
from captionacc_dagster.orchestration.subtitle_files import download_captions, subtitle_texts, video_keys
from captionacc_dagster.storage.base import content_type_of
from captionacc_dagster.storage.errors import ObjectNotFound

router = APIRouter(tags=["videos"])

_READ = responses(401, 403, 404, 422, 429, 503)
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page.")]
FileName = Annotated[str, Query(min_length=1, max_length=1024), AfterValidator(no_control_characters)]


@router.get("/videos", summary="List videos", responses=responses(401, 403, 422, 429, 503))
def list_videos(
    services: ServicesDependency,
    caller: CallerDependency,
    status: Annotated[list[VideoStatus] | None, Query(max_length=4)] = None,
    filename: FileName | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> VideoPage:
    """Return the videos of the caller's tenant, newest first."""
    page = services.catalog.list_videos(
        tenant_id=caller.tenant_id, statuses=status, filename=filename, cursor=cursor, limit=limit
    )
    return VideoPage(videos=[VideoView.of(video) for video in page.items], next_cursor=page.next_cursor)


@router.get("/videos/{video_id}", summary="Read a video", responses=_READ)
def read_video(video: VideoDependency) -> VideoView:
    """Return a video and the state of its processing."""
    return VideoView.of(video)


@router.delete("/videos/{video_id}", status_code=204, summary="Delete a video", responses=_READ)
def delete_video(services: ServicesDependency, owner: OwnerDependency, video: VideoDependency) -> None:
    """Hide a video at once; its files are removed after seven days. For owners of the tenant."""
    services.catalog.delete_video(video.id)
    services.audit.record("video_deleted", severity="info")


@router.get(
    "/videos/{video_id}/captions",
    summary="Read captions",
    response_model=CaptionList,
    responses={**_READ, 304: {"description": "Unchanged (`If-None-Match`)."}},
)
def list_captions(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    video: VideoDependency,
    state: Annotated[
        list[ExtentsState] | None,
        Query(max_length=4, description="By default all but `gap` (deleted captions)."),
    ] = None,
) -> Response:
    """Return a video's captions in order of time; pass their `ETag` to edits as `If-Match`."""
    wanted = set(state) if state else {"predicted", "confirmed", "issue"}

    def make() -> bytes:
        with _captions_database(services, video) as path:
            rows = [row for row in read_captions(path) if row.caption_frame_extents_state in wanted]
            steps = read_steps(path, str(caller.user_id))
        captions = [CaptionView.of(row) for row in rows]
        listed = CaptionList(captions=captions, undo_label=steps.undo, redo_label=steps.redo)
        return listed.model_dump_json().encode()

    return tagged_answer(request, captions_tag(services, video), make, "application/json")


@router.get(
    "/videos/{video_id}/subtitles.{kind}",
    summary="Read subtitles",
    response_class=Response,
    responses={
        **responses(401, 403, 404, 416, 422, 429, 503),
        200: {
            "description": "The file.",
            "content": {
                name: {"schema": {"type": "string"}}
                for name in ("application/x-subrip", "text/vtt", "text/x-ssa", "application/json")
            },
        },
        206: {"description": "A part of the file (`Range`)."},
        304: {"description": "Unchanged (`If-None-Match`)."},
    },
)
def read_subtitles(request: Request, services: ServicesDependency, video: VideoDependency, kind: Format) -> Response:
    """Return the captions as SRT, WebVTT, ASS, or JSON, including people's corrections."""
    tag = entity_tag(captions_tag(services, video), kind, video.filename, video.frame_rate, video.width, video.height)
    name = f"{Path(video.filename).stem}.{kind}"
    disposition = f"inline; filename=\"captions.{kind}\"; filename*=UTF-8''{quote(name, safe='')}"

    def make() -> bytes:
        with _captions_database(services, video) as path:
            return subtitle_texts(video, path, [kind])[kind].encode()

    return tagged_answer(
        request,
        tag,
        make,
        content_type_of(f"captions.{kind}"),
        {"Content-Disposition": disposition},
    )


@router.get("/jobs/{job_id}", summary="Read a job", responses=_READ, tags=["actions"])
def read_job(services: ServicesDependency, caller: CallerDependency, job_id: UUID) -> JobDetails:
    """Return the state of a job, by the id from an action's answer or by the id of its run."""
    request = services.catalog.find_processing_request(
        run_id=str(job_id), request_id=job_id, tenant_id=caller.tenant_id
    )
    if request is None:
        services.audit.record("no_such_job")
        raise ApiError(404, "no such job")
    current_facts().video_id = request.video_id
    return JobDetails(
        jobId=request.run_id or str(request.id),
        status=request.state,
        flow=request.flow,
        video_id=request.video_id,
        run_id=request.run_id,
        requested_at=request.requested_at,
        launched_at=request.launched_at,
        finished_at=request.finished_at,
        error=error_message(request.error_details),
    )


@router.get(
    "/security-events", summary="Read the security log", responses=responses(401, 403, 422, 429, 503), tags=["security"]
)
def list_security_events(
    services: ServicesDependency,
    owner: OwnerDependency,
    event: Annotated[str | None, Query(pattern=r"^[a-z_]{1,64}$")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SecurityEventPage:
    """Return the security events of the caller's tenant, newest first. For owners of the tenant."""
    page = services.catalog.list_security_events(tenant_id=owner.tenant_id, event=event, cursor=cursor, limit=limit)
    shown = set(SecurityEventView.model_fields)
    return SecurityEventPage(
        events=[SecurityEventView(**entry.model_dump(include=shown)) for entry in page.items],
        next_cursor=page.next_cursor,
    )


def stored_captions(services: Services, video: Video) -> list[StoredCaption]:
    """Return the rows of a video's ``captions.db`` in order of time.

    Raises:
        ApiError: 404 if there is none yet.
    """
    with _captions_database(services, video) as path:
        return read_captions(path)


@contextmanager
def _captions_database(services: Services, video: Video) -> Iterator[Path]:
    """Download a video's ``captions.db`` for the time of the block.

    Raises:
        ApiError: 404 if there is none yet.
    """
    with TemporaryDirectory(prefix="captionacc-api-") as folder:
        try:
            path = download_captions(services.store, video, Path(folder))
        except ObjectNotFound:
            raise no_captions(video) from None
        yield path


def captions_tag(services: Services, video: Video) -> str:
    """Return the entity tag of a video's captions as now stored.

    Raises:
        ApiError: 404 if there are none yet.
    """
    try:
        info = services.store.stat(video_keys(video).captions_db)
    except ObjectNotFound:
        raise no_captions(video) from None
    return entity_tag(info.etag, info.size, info.modified)


def no_captions(video: Video) -> ApiError:
    """Return the error for a video without captions."""
    return ApiError(404, f"this video has no captions yet; its boundaries are in state {video.boundaries_status}")
