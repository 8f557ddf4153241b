"""Upload videos over HTTP: announce one, send its bytes, and say that they are there.

With S3, the bytes go straight to the bucket with a presigned PUT. The embedded store takes them here, in parts, and a
connection that breaks goes on where it was. The row, and with it the processing, begins when the file is complete.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from captionacc_dagster.api.actions import launched_job
from captionacc_dagster.api.auth import Caller, CallerDependency
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.launcher import CLAIM_SECONDS, new_claimer
from captionacc_dagster.api.middleware import PART_BYTES
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.views import NewVideo, Upload, UploadProgress, UploadTarget, VideoView
from captionacc_dagster.catalog.filenames import VIDEO_SUFFIXES
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.errors import ObjectNotFound
from captionacc_dagster.storage.keys import VideoKeys, temporary_key
from captionacc_dagster.storage.local import LocalObjectStore, OutOfStep

router = APIRouter(tags=["videos"])

_VALID = timedelta(hours=12)
_CHANGE = responses(400, 401, 403, 404, 409, 413, 422, 429, 503)
# Anything else is refused before a byte is sent. In a folder, GIF is usually a picture; here a person chose the file.
_ALLOWED = VIDEO_SUFFIXES | {".gif"}


@router.post("/videos", status_code=201, summary="Announce an upload", responses=_CHANGE)
def create_upload(services: ServicesDependency, caller: CallerDependency, body: NewVideo) -> Upload:
    """Return the id of a new video, and where its bytes go. Nothing is processed before `uploaded` is called."""
    name = PurePosixPath(body.filename.replace("\\", "/")).name.strip()
    if PurePosixPath(name).suffix.lower() not in _ALLOWED:
        allowed = ", ".join(sorted(suffix.removeprefix(".") for suffix in _ALLOWED))
        raise ApiError(422, f"{name or 'this file'} is not named like a video; allowed: {allowed}")
    if body.size_bytes > services.settings.max_upload_bytes:
        most = services.settings.max_upload_bytes
        raise ApiError(413, f"{name} has {body.size_bytes} bytes; {most} are the most (CAPTIONACC_MAX_UPLOAD_BYTES)")
    number = uuid4()
    current_facts().video_id = number
    announced = {
        "filename": name,
        "folder": body.folder,
        "size_bytes": body.size_bytes,
        "user_id": str(caller.user_id),
    }
    services.store.upload_file(temporary_key(caller.tenant_id, number), json.dumps(announced).encode())
    return Upload(id=number, upload=_target(services, _keys(caller, number), body.size_bytes))


def upload_origin(services: Services) -> str | None:
    """Return the origin to which a page sends a video's bytes; None: to the API itself."""
    if isinstance(services.store, LocalObjectStore):
        return None
    address = urlsplit(services.store.presigned_put("origin", 1))
    return f"{address.scheme}://{address.netloc}"


def _target(services: Services, keys: VideoKeys, size: int) -> UploadTarget:
    if isinstance(services.store, LocalObjectStore):
        url, part_bytes = f"/videos/{keys.video_id}/media", PART_BYTES
    else:
        url, part_bytes = services.store.presigned_put(keys.video, size, int(_VALID.total_seconds())), None
    return UploadTarget(url=url, method="PUT", headers={}, expires_at=datetime.now(UTC) + _VALID, part_bytes=part_bytes)


@router.get("/videos/{upload_id}/upload", summary="Read an upload", responses=responses(401, 403, 404, 422, 429, 503))
def read_upload(services: ServicesDependency, caller: CallerDependency, upload_id: UUID) -> UploadProgress:
    """Return how many bytes of an announced upload have arrived, to go on from there."""
    announced = _announced(services, caller, upload_id)
    received = _received(services.store, _keys(caller, upload_id).video)
    return UploadProgress(received_bytes=received, size_bytes=announced["size_bytes"])


def _received(store: ObjectStore, key: str) -> int:
    if isinstance(store, LocalObjectStore) and not store.file_exists(key):
        return store.part_size(key)
    return store.stat(key).size if store.file_exists(key) else 0


@router.put(
    "/videos/{upload_id}/media",
    summary="Send a part of an upload",
    responses=_CHANGE,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def send_part(
    services: ServicesDependency,
    caller: CallerDependency,
    upload_id: UUID,
    request: Request,
    offset: Annotated[int, Query(ge=0, le=1 << 50, description="Bytes sent before this part.")] = 0,
) -> UploadProgress:
    """Append the body to an announced upload; 409 if the offset is not what has arrived. At most 4 MiB a part."""
    data = await request.body()
    return await run_in_threadpool(_append, services, caller, upload_id, offset, data)


def _append(services: Services, caller: Caller, upload_id: UUID, offset: int, data: bytes) -> UploadProgress:
    announced = _announced(services, caller, upload_id)
    store = services.store
    if not isinstance(store, LocalObjectStore):
        raise ApiError(409, "this store takes the bytes itself; use the address of the upload")
    size = announced["size_bytes"]
    if offset + len(data) > size:
        raise ApiError(413, f"the upload was announced with {size} bytes")
    try:
        received = store.append_part(_keys(caller, upload_id).video, offset, data)
    except OutOfStep as error:
        raise ApiError(409, str(error)) from error
    return UploadProgress(received_bytes=received, size_bytes=size)


@router.post("/videos/{upload_id}/uploaded", status_code=202, summary="Complete an upload", responses=_CHANGE)
def complete_upload(services: ServicesDependency, caller: CallerDependency, upload_id: UUID) -> VideoView:
    """Add the video and start its processing; 409 if bytes are missing."""
    known = services.catalog.get_videos([upload_id]).get(upload_id)
    if known is not None and known.tenant_id == caller.tenant_id:
        with suppress(ApiError):  # the answer was lost, or the process that should have given it was killed
            known = _settle(services, known, _announced(services, caller, upload_id))
        return VideoView.of(known)
    announced = _announced(services, caller, upload_id)
    store, key = services.store, _keys(caller, upload_id).video
    if isinstance(store, LocalObjectStore) and store.part_size(key) == announced["size_bytes"]:
        store.finish_parts(key)
    size = _received(store, key)
    if size != announced["size_bytes"]:
        raise ApiError(409, f"{size} of {announced['size_bytes']} bytes have arrived")
    claimer = new_claimer()
    made = services.catalog.create_video(
        caller.tenant_id,
        announced["filename"],
        video_id=upload_id,
        file_size_bytes=size,
        uploaded_by=caller.user_id,
        claimer=claimer,
        lease_s=CLAIM_SECONDS,
    )
    video = _settle(services, made.video, announced)
    if made.request is not None:
        launched_job(services, video, made.request, claimer)
    return VideoView.of(video)


def _settle(services: Services, video: Video, announced: dict[str, Any]) -> Video:
    """Put a new video into the folder it was announced for, and forget the announcement."""
    if folder := announced.get("folder"):
        video = services.catalog.update_video_metadata(video.id, {"folder": folder})
    services.store.delete_file(temporary_key(video.tenant_id, video.id))
    return video


def _keys(caller: Caller, upload_id: UUID) -> VideoKeys:
    return VideoKeys(str(caller.tenant_id), str(upload_id))


def _announced(services: Services, caller: Caller, upload_id: UUID) -> dict[str, Any]:
    """Return what was announced; the key begins with the caller's tenant, so that nobody else's is found."""
    current_facts().video_id = upload_id
    try:
        return json.loads(services.store.download_to_bytes(temporary_key(caller.tenant_id, upload_id)))
    except ObjectNotFound:
        raise ApiError(404, "no such upload") from None
