"""Read videos, captions, subtitles, jobs, and the security log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator

from captionacc_dagster.api.auth import (
    Caller,
    CallerDependency,
    OwnerDependency,
    ReadableVideoDependency,
    VideoDependency,
)
from captionacc_dagster.api.conditional import entity_tag, stored_tag, tagged_answer
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.views import (
    CaptionList,
    CaptionView,
    FolderPath,
    JobDetails,
    LeftOutPlace,
    LeftOutPlaces,
    RenameVideo,
    SecurityEventPage,
    SecurityEventView,
    VideoPage,
    VideoView,
    error_message,
)
from captionacc_dagster.api.webhooks import no_control_characters
from captionacc_dagster.backends import subtitle_options
from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.files.captions_database import ExtentsState, StoredCaption, read_captions
from captionacc_dagster.captioning.files.databases import decompress, read_layout_database
from captionacc_dagster.captioning.files.edit_journal import read_steps
from captionacc_dagster.captioning.files.previous_captions import has_before
from captionacc_dagster.captioning.files.subtitles import Format, SubtitleOptions
from captionacc_dagster.catalog.models import Video, VideoStatus
from captionacc_dagster.orchestration.subtitle_files import (
    download_captions,
    subtitle_texts,
    video_keys,
)
from captionacc_dagster.storage.base import content_type_of
from captionacc_dagster.storage.errors import ObjectNotFound

router = APIRouter(tags=["videos"])

NOT_DELETED: tuple[ExtentsState, ...] = ("predicted", "confirmed", "issue")
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
    folder: Annotated[FolderPath | None, Query(description="In this folder, or in one below it.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> VideoPage:
    """Return the videos of the caller's tenant, newest first."""
    page = services.catalog.list_videos(
        tenant_id=caller.tenant_id, statuses=status, filename=filename, folder=folder, cursor=cursor, limit=limit
    )
    return VideoPage(videos=[VideoView.of(video) for video in page.items], next_cursor=page.next_cursor)


@router.get("/demo-videos", summary="List demo videos", responses=responses(401, 403, 429, 503))
def list_demo_videos(services: ServicesDependency, caller: CallerDependency) -> VideoPage:
    """Return the videos that every tenant may read as examples, newest first; only their own tenant can change them."""
    return VideoPage(videos=[VideoView.of(video) for video in services.catalog.list_demo_videos()], next_cursor=None)


@router.get("/videos/{video_id}", summary="Read a video", responses=_READ)
def read_video(video: ReadableVideoDependency) -> VideoView:
    """Return a video and the state of its processing."""
    return VideoView.of(video)


@router.delete("/videos/{video_id}", status_code=204, summary="Delete a video", responses=_READ)
def delete_video(services: ServicesDependency, owner: OwnerDependency, video: VideoDependency) -> None:
    """Hide a video at once; its files are removed after seven days. For owners of the tenant."""
    services.catalog.delete_video(video.id)
    services.audit.record("video_deleted", severity="info")


@router.patch("/videos/{video_id}", summary="Rename a video", responses=_READ)
def rename_video(services: ServicesDependency, video: VideoDependency, body: RenameVideo) -> VideoView:
    """Rename a video, or put it into a folder; its files and captions stay."""
    return VideoView.of(services.catalog.update_video_metadata(video.id, body.model_dump(exclude_none=True)))


@router.post(
    "/videos/{video_id}/restore", summary="Restore a video", responses=responses(401, 403, 404, 409, 422, 429, 503)
)
def restore_video(services: ServicesDependency, owner: OwnerDependency, video_id: UUID) -> VideoView:
    """Undo the deletion of a video within seven days. For owners of the tenant."""
    current_facts().video_id = video_id
    if not services.catalog.restore_video(video_id, owner.tenant_id):
        services.audit.record("no_such_video", video_id=video_id)
        raise ApiError(404, "no such video")
    services.audit.record("video_restored", severity="info")
    return VideoView.of(services.catalog.get_video_metadata(video_id))


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
    video: ReadableVideoDependency,
    state: Annotated[
        list[ExtentsState] | None,
        Query(max_length=4, description="By default all but `gap` (deleted captions)."),
    ] = None,
) -> Response:
    """Return a video's captions in order of time; pass their `ETag` to edits as `If-Match`."""

    def make() -> bytes:
        with captions_database(services, video) as path:
            rows = read_captions(path, state or NOT_DELETED)
            return caption_list(path, rows, caller).model_dump_json().encode()

    return tagged_answer(request, captions_tag(services, video), make, "application/json")


def caption_list(path: Path, rows: Sequence[StoredCaption], caller: Caller) -> CaptionList:
    """Return rows of a ``captions.db`` with what the caller can do about all of them."""
    steps = read_steps(path, str(caller.user_id))
    return CaptionList(
        captions=[CaptionView.of(row) for row in rows],
        undo_label=steps.undo,
        redo_label=steps.redo,
        can_restore=has_before(path),
    )


@router.get("/videos/{video_id}/left-out", summary="Read text left out", responses=_READ)
def list_left_out(services: ServicesDependency, video: ReadableVideoDependency) -> LeftOutPlaces:
    """Return the places with text that was not taken for captions."""
    with layout_database(services, video) as path:
        if path is None:
            return LeftOutPlaces(places=[])
        layout = read_layout_database(path)
    return LeftOutPlaces(
        places=[
            LeftOutPlace(kind=place.kind, text=place.text, start_ms=_ms(place.start_s), end_ms=_ms(place.end_s))
            for place in layout.left_out
        ]
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


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
def read_subtitles(
    request: Request,
    services: ServicesDependency,
    video: ReadableVideoDependency,
    kind: Format,
    include: Annotated[
        list[Kind] | None, Query(max_length=6, description="Kinds of text; by default as the settings say.")
    ] = None,
    form: Annotated[
        Literal["auto", "phrases", "words"] | None, Query(description="Whether single words are joined into phrases.")
    ] = None,
    join_gaps_ms: Annotated[
        float | None, Query(ge=0, le=60_000, description="Longest gap between two cues of equal text that become one.")
    ] = None,
    bom: Annotated[bool | None, Query(description="SRT with a byte order mark, for older players.")] = None,
    download: Annotated[bool, Query(description="Have browsers save the file.")] = False,
) -> Response:
    """Return the captions as SRT, WebVTT, ASS, or JSON, including people's corrections."""
    usual = subtitle_options(services.settings)
    options = SubtitleOptions(
        include=usual.include if include is None else tuple(include),
        phrases=usual.phrases if form is None else {"auto": None, "phrases": True, "words": False}[form],
        join_gaps_ms=usual.join_gaps_ms if join_gaps_ms is None else join_gaps_ms,
        srt_bom=usual.srt_bom if bom is None else bom,
    )
    facts = (video.filename, video.frame_rate, video.width, video.height)
    tag = entity_tag(captions_tag(services, video), kind, *facts, options)
    name = quote(f"{Path(video.filename).stem}.{kind}", safe="")
    way = "attachment" if download else "inline"

    def make() -> bytes:
        with captions_database(services, video) as path:
            return subtitle_texts(video, path, options, [kind])[kind].encode()

    return tagged_answer(
        request,
        tag,
        make,
        content_type_of(f"captions.{kind}"),
        {"Content-Disposition": f"{way}; filename=\"captions.{kind}\"; filename*=UTF-8''{name}"},
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
        **request.model_dump(include=set(JobDetails.model_fields)),
        jobId=request.run_id or str(request.id),
        status=request.state,
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
    events = [SecurityEventView.of(entry) for entry in page.items]
    return SecurityEventPage(events=events, next_cursor=page.next_cursor)


def stored_captions(
    services: Services, video: Video, states: Collection[ExtentsState] | None = None, limit: int | None = None
) -> list[StoredCaption]:
    """Return the rows of a video's ``captions.db`` in order of time: all, or the first ``limit`` in these states.

    Raises:
        ApiError: 404 if there is none yet.
    """
    with captions_database(services, video) as path:
        return read_captions(path, states, limit)


@contextmanager
def captions_database(services: Services, video: Video) -> Iterator[Path]:
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


@contextmanager
def layout_database(services: Services, video: Video) -> Iterator[Path | None]:
    """Download a video's ``layout.db`` for the time of the block; None if there is none yet."""
    with TemporaryDirectory(prefix="captionacc-api-") as folder:
        try:
            packed = services.store.download_file(video_keys(video).layout_db, Path(folder) / "layout.db.gz")
        except ObjectNotFound:
            yield None
        else:
            yield decompress(packed, Path(folder) / "layout.db")


def captions_tag(services: Services, video: Video) -> str:
    """Return the entity tag of a video's captions as now stored.

    Raises:
        ApiError: 404 if there are none yet.
    """
    try:
        info = services.store.stat(video_keys(video).captions_db)
    except ObjectNotFound:
        raise no_captions(video) from None
    return stored_tag(info)


def no_captions(video: Video) -> ApiError:
    """Return the error for a video without captions."""
    return ApiError(404, f"this video has no captions yet; its boundaries are in state {video.boundaries_status}")
