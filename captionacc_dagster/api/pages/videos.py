"""The pages: the list of videos, one video, and its captions, with parts that refresh themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator

from captionacc_dagster.api.auth import Caller, CallerDependency, ReadableVideoDependency, VideoDependency
from captionacc_dagster.api.conditional import tagged_answer
from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.api.local_access import has_local_user
from captionacc_dagster.api.pages import media, messages
from captionacc_dagster.api.pages.rendering import PageRoute, need_session, render, static_files
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.uploads import upload_origin
from captionacc_dagster.api.videos import NOT_DELETED, captions_database, layout_database, stored_captions
from captionacc_dagster.api.views import CaptionView
from captionacc_dagster.api.webhooks import no_control_characters
from captionacc_dagster.captioning.files.captions_database import StoredCaption
from captionacc_dagster.captioning.files.databases import DatabaseError, read_boxes, read_layout_database
from captionacc_dagster.captioning.files.positions import POSITIONS
from captionacc_dagster.captioning.files.previous_captions import has_before
from captionacc_dagster.captioning.files.subtitles import FORMATS
from captionacc_dagster.catalog.models import Video, VideoStage
from captionacc_dagster.compute.progress import StageProgress, read_progress
from captionacc_dagster.orchestration.approval import may_be_approved
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.errors import StorageError

router = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(need_session)])
public = APIRouter(route_class=PageRoute, include_in_schema=False)
# Included last: what no other page is.
missing = APIRouter(route_class=PageRoute, include_in_schema=False)

PAGE_SIZE = 24
_HISTORY_LINES = 60
_SILENT = ("locked", "cropped frames version begun", "cropped frames version archived")
_FIRST_ROWS = 40  # more than a screen shows
_FRAMES_SHOWN = 12
_BOXES_SHOWN = 1500
# A run that ended is noticed within seconds; after this, the layout waits for a person as far as anybody can tell.
_APPROVAL_TAKES = timedelta(seconds=60)
_USUAL_REGION = (0.1, 0.75, 0.9, 0.95)
_FORMAT_NAMES = {"srt": "SubRip", "vtt": "WebVTT", "ass": "Advanced SubStation", "json": "data"}

SearchText = Annotated[str, Query(max_length=200), AfterValidator(no_control_characters)]
FolderText = Annotated[str, Query(max_length=500), AfterValidator(no_control_characters)]
PageCursor = Annotated[str | None, Query(max_length=200)]


@public.get("/")
def go_to_pages() -> Response:
    """Redirect the root address to the pages."""
    return RedirectResponse("/review", 303)


@public.get("/docs")
def show_api(request: Request) -> Response:
    """Show the description of the API."""
    return render(request, "docs.html")


@missing.get("/review/{path:path}")
def show_no_page(path: str) -> Response:
    """Say that there is no such page; with a slash too many, go to the list.

    Raises:
        ApiError: 404.
    """
    if not path.strip("/"):
        return RedirectResponse("/review", 303)
    raise ApiError(404, "no such page")


@public.get("/review/static/{name}")
def read_static(request: Request, name: str, v: str = "") -> Response:
    """Return a style sheet, script, or picture of the pages."""
    found = static_files().get(name)
    if found is None:
        raise ApiError(404, "no such file")
    data, media_type, tag = found
    fixed = v == tag.strip('"')
    kept = "public, max-age=31536000, immutable" if fixed else "no-cache"
    return tagged_answer(request, tag, lambda: data, media_type, {"Cache-Control": kept})


@router.get("/review")
def show_videos(
    services: ServicesDependency,
    viewer: CallerDependency,
    request: Request,
    text: SearchText = "",
    stage: VideoStage | None = None,
    folder: FolderText = "",
    cursor: PageCursor = None,
    part: bool = False,
    deleted: UUID | None = None,
) -> Response:
    """Show the tenant's videos, newest first; with ``part``, only the list itself."""
    page = services.catalog.search_videos(
        viewer.tenant_id, text=text.strip(), stage=stage, folder=folder, cursor=cursor, limit=PAGE_SIZE
    )
    query = {"text": text.strip(), "stage": stage or "", "folder": folder}

    def address(**changes: Any) -> str:
        parameters = {name: value for name, value in {**query, **changes}.items() if value}
        return "/review" + (f"?{urlencode(parameters)}" if parameters else "")

    answer = render(
        request,
        "video_list.html" if part else "videos.html",
        **_frame(services),
        videos=[
            (video, state, messages.video_problem(video)) for video, state, _ in _with_states(services, page.items)
        ],
        deleted=deleted if viewer.role == "owner" else None,
        examples=[] if part else [v for v in services.catalog.list_demo_videos() if v.tenant_id != viewer.tenant_id],
        text=text.strip(),
        stage=stage,
        folder=folder,
        address=address,
        here=address(cursor=cursor or "", part=1),
        older=address(cursor=page.next_cursor) if page.next_cursor else None,
        newest=address() if cursor else None,
        inbox=str(services.settings.inbox_dir) if has_local_user(services.settings) else None,
    )
    if (origin := upload_origin(services)) is not None:
        policy = answer.headers["Content-Security-Policy"]
        answer.headers["Content-Security-Policy"] = policy.replace("connect-src 'self'", f"connect-src 'self' {origin}")
    return answer


@router.get("/review/examples/{video_id}")
def show_example(services: ServicesDependency, video: ReadableVideoDependency, request: Request) -> Response:
    """Show a demo video with its captions, which people of other tenants read and do not change."""
    has_captions = video.cropped_frames_version is not None and video.caption_count is not None
    return render(
        request,
        "example.html",
        **_frame(services),
        video=video,
        captions=stored_captions(services, video, NOT_DELETED) if has_captions else [],
        formats=_formats(video) if has_captions else [],
    )


@router.get("/review/videos/{video_id}")
def show_video(
    services: ServicesDependency, viewer: CallerDependency, video: VideoDependency, request: Request
) -> Response:
    """Show one video: its state, layout, subtitles, facts, and history."""
    events = [event for event in services.catalog.get_video_history(video.id) if event.event not in _SILENT]
    return render(
        request,
        "video.html",
        **_frame(services),
        **_state(services, video, viewer),
        layout=_layout(services, video) if video.status == "active" else None,
        can_restore=_can_restore(services, video),
        history=events[: -_HISTORY_LINES - 1 : -1],
    )


@router.get("/review/videos/{video_id}/state")
def show_state(
    services: ServicesDependency, viewer: CallerDependency, video: VideoDependency, request: Request
) -> Response:
    """Show the state of a video: the part of its page that refreshes itself."""
    return render(request, "state.html", **_state(services, video, viewer))


@router.get("/review/videos/{video_id}/captions")
def show_captions(services: ServicesDependency, video: VideoDependency, request: Request) -> Response:
    """Show the captions beside their frames, for a person to check and correct."""
    if video.cropped_frames_version is None:
        return RedirectResponse(f"/review/videos/{video.id}", 303)
    editor = {
        "video": str(video.id),
        "version": video.cropped_frames_version,
        "frameRate": services.catalog.get_cropped_frame_rate(video.id, video.cropped_frames_version),
        "frameCount": video.cropped_frame_count,
        "nativeRate": video.frame_rate,
        "lang": video.lang,
        "durationMs": None if video.duration_seconds is None else round(video.duration_seconds * 1000),
        "reelFrames": media.REEL_FRAMES,
        "reelColumns": media.REEL_COLUMNS,
        "firstRows": _FIRST_ROWS,
        "first": [CaptionView.of(row).model_dump(mode="json") for row in _first_captions(services, video)],
    }
    return render(
        request,
        "captions.html",
        **_frame(services),
        video=video,
        formats=_formats(video),
        editor=editor,
        positions=POSITIONS,
    )


def _first_captions(services: Services, video: Video) -> list[StoredCaption]:
    """Return the captions that are shown while the whole list is on its way."""
    try:
        return stored_captions(services, video, NOT_DELETED, _FIRST_ROWS)
    except (ApiError, DatabaseError, StorageError):
        # The editor asks for the whole list and says what it is told.
        return []


def _can_restore(services: Services, video: Video) -> bool:
    """Return whether the page offers the captions from before; not while they cannot be read."""
    try:
        with captions_database(services, video) as path:
            return has_before(path)
    except (ApiError, DatabaseError, StorageError):
        return False


def _frame(services: Services) -> dict[str, Any]:
    return {"signed_in": True, "local": has_local_user(services.settings)}


def _formats(video: Video) -> list[tuple[str, str, str]]:
    return [(kind, _FORMAT_NAMES[kind], f"/videos/{video.id}/subtitles.{kind}") for kind in FORMATS]


def _state(services: Services, video: Video, viewer: Caller) -> dict[str, Any]:
    requests = services.catalog.list_processing_requests(states=["pending", "launched"], video_id=video.id).items
    [(_, state, before)] = _with_states(services, [video])
    return {
        "video": video,
        "state": state,
        "problem": messages.video_problem(video),
        "waiting": messages.waiting_line(video, requests, before),
        "has_captions": video.cropped_frames_version is not None and video.caption_count is not None,
        "formats": _formats(video),
        "is_owner": viewer.role == "owner",
    }


def _with_states(services: Services, videos: Sequence[Video]) -> list[tuple[Video, messages.VideoState, int | None]]:
    """Return each video with its state, and the number of videos before it in the queue; None: it does not wait, or
    nobody knows."""
    working = any(video.stage == "working" for video in videos)
    places = services.places() if working else {}
    soon = _approved_soon(services, videos)
    found = []
    for video in videos:
        before = places.get(str(video.id))
        progress = _progress(services, video, before)
        state = messages.video_state(video, progress, before, is_approved_soon=video.id in soon)
        found.append((video, state, before))
    return found


def _approved_soon(services: Services, videos: Sequence[Video]) -> set[UUID]:
    """Return the videos whose layout was just found and needs no person; all are of one tenant."""
    now = datetime.now(UTC)
    fresh = [
        video
        for video in videos
        if video.stage == "attention"
        and video.layout_status == "annotate"
        and abs(now - video.updated_at) < _APPROVAL_TAKES
    ]
    if not fresh:
        return set()
    tenant, mode = services.catalog.get_tenant(fresh[0].tenant_id), services.settings.auto_approve_layout
    return {video.id for video in fresh if video.layout_approved_at is None and may_be_approved(video, tenant, mode)}


def _progress(services: Services, video: Video, before: int | None) -> StageProgress | None:
    # What waits in the queue has no progress: a list of many such videos reads nothing from the store.
    if video.stage != "working" or video.status == "waiting" or before is not None:
        return None
    return read_progress(services.store, video_keys(video).progress)


def _layout(services: Services, video: Video) -> dict[str, Any] | None:
    """Return the layout as data for the page's script; None if there is no layout yet."""
    with layout_database(services, video) as path:
        if path is None:
            return None
        found, boxes = read_layout_database(path), read_boxes(path)
    frames = {
        index: [[*(round(side, 4) for side in box.as_tuple()), int(is_caption)] for box, is_caption in entries]
        for index, entries in boxes.items()
    }
    shown = _spread(sorted(frames) or [0], _FRAMES_SHOWN)
    best = max(shown, key=lambda index: sum(box[4] for box in frames.get(index, [])))
    region = video.crop_region or (found.crop_region.as_tuple() if found.crop_region else None)
    return {
        "video": str(video.id),
        "width": video.width or found.frame_width,
        "height": video.height or found.frame_height,
        "frames": [{"index": index, "boxes": frames.get(index, [])} for index in shown],
        "best": shown.index(best),
        "boxes": [box for index in sorted(frames) for box in frames[index]][:_BOXES_SHOWN],
        "region": list(region or _USUAL_REGION),
        "found": list(found.crop_region.as_tuple()) if found.crop_region else None,
        "wasFound": region is not None,
        "approved": video.layout_status == "done",
    }


def _spread(values: list[int], count: int) -> list[int]:
    if len(values) <= count:
        return values
    return [values[round(number * (len(values) - 1) / (count - 1))] for number in range(count)]
