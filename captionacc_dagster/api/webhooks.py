"""``POST /webhooks/supabase/videos``: start processing when a row was inserted into ``videos``."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError
from starlette.datastructures import Headers

from captionacc_dagster.api.auth import (
    BadSignature,
    WebhookSecret,
    check_signature,
    check_webhook_secret,
    refuse,
)
from captionacc_dagster.api.errors import ApiError, fields_of, responses, unavailable
from captionacc_dagster.api.launcher import CLAIM_SECONDS, LaunchDelayed, new_claimer
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.catalog.errors import CatalogUnavailable, Conflict, InvalidValue, NotFound, QuotaReached
from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.storage.keys import ForeignKey, InvalidKey, VideoKeys, check_owned

router = APIRouter(tags=["webhooks"])

Model = TypeVar("Model", bound=BaseModel)

DEFAULT_FILENAME = "video.mp4"
RETRY_AFTER_S = 30


def no_control_characters(text: str) -> str:
    """Raise for control characters, which Postgres does not accept; return other text.

    Raises:
        ValueError: the text contains a control character.
    """
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("control characters are not allowed")
    return text


FileName = Annotated[StrictStr, Field(min_length=1, max_length=1024), AfterValidator(no_control_characters)]


class Event(BaseModel):
    """The fields of every database webhook of Supabase; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["INSERT", "UPDATE", "DELETE"]
    table: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    record: dict[str, Any] | None = None


class VideoRecord(BaseModel):
    """The fields used of the inserted row."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    tenant_id: UUID
    storage_key: Annotated[StrictStr, Field(min_length=1, max_length=1024)]
    filename: FileName | None = None


class WebhookRequest(BaseModel):
    """A webhook for an inserted video."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["INSERT"]
    table: Literal["videos"]
    record: VideoRecord


class Accepted(BaseModel):
    """The run that processes the video."""

    success: Literal[True] = True
    flow_run_id: str = Field(description="Id of the Dagster run.")
    status: Literal["accepted"] = "accepted"
    priority: int | None = Field(description="Priority when the run was queued; higher runs first.")


class Ignored(BaseModel):
    """The webhook needs no action."""

    success: Literal[True] = True
    status: Literal["ignored"] = "ignored"
    reason: str = Field(examples=["not an INSERT into videos"])


_TENANT, _VIDEO = "00000000-0000-4000-8000-000000000001", "5b0c7d7e-62a5-4b5c-9d3e-1f2a3b4c5d6e"
_EXAMPLE = {
    "type": "INSERT",
    "table": "videos",
    "schema": "captionacc",
    "record": {
        "id": _VIDEO,
        "tenant_id": _TENANT,
        "storage_key": VideoKeys(_TENANT, _VIDEO).video,
        "filename": "episode-1.mp4",
    },
    "old_record": None,
}
_SCHEMA = {"$ref": "#/components/schemas/WebhookRequest"}
_BODY = {"content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}}}


@router.post(
    "/webhooks/supabase/videos",
    status_code=202,
    response_model=Accepted,
    summary="Start the processing of an inserted video",
    responses={
        200: {"model": Ignored, "description": "Another table or event."},
        **responses(400, 401, 409, 413, 429, 503),
    },
    openapi_extra={"requestBody": {"required": True, **_BODY}},
)
async def receive(
    request: Request,
    services: ServicesDependency,
    secret: WebhookSecret,
    webhook_id: Annotated[str | None, Header(description="Id of the delivery, if it is signed.")] = None,
    webhook_timestamp: Annotated[str | None, Header(description="Unix time of the signature.")] = None,
    webhook_signature: Annotated[str | None, Header(description="`v1,…` as in standardwebhooks.com.")] = None,
) -> JSONResponse:
    """Start the initial processing of an inserted video and return its run.

    The request is stored in the outbox first: after a 503, processing starts by itself once Dagster is back, and
    sending the webhook again is harmless. A delivery that was accepted is refused the second time (409).
    """
    await run_sync(check_webhook_secret, services, secret)
    try:
        await services.limits.admit("webhook", current_facts().client_ip)
    except ApiError:
        await run_sync(lambda: services.audit.record("rate_limited", details={"limit": "webhooks"}))
        raise
    body = await request.body()
    status, answer = await run_sync(_process, services, request.headers, body)
    return JSONResponse(answer.model_dump(), status)


def _process(services: Services, headers: Headers, body: bytes) -> tuple[int, Accepted | Ignored]:
    if services.settings.webhook_signing_secret:
        try:
            check_signature(headers, body, services.settings.webhook_signing_secret)
        except BadSignature as error:
            refuse(services, "webhook_bad_signature", f"Unauthorized: {error}")
    event = _parse(Event, body)
    if event.type != "INSERT" or event.table != "videos":
        return 200, Ignored(reason="not an INSERT into videos")
    record = _parse(WebhookRequest, body).record
    facts = current_facts()
    facts.tenant_id, facts.video_id = record.tenant_id, record.id
    _check_key(services, record)

    claimer = new_claimer()
    request = _claim(services, record, claimer)
    if request is None:
        return 200, Ignored(reason="the video needs no processing")
    if request.idempotency_key != f"video_initial_processing:{record.id}":
        # The open request is a later one, such as a retry, not the one of this insertion.
        services.catalog.release_processing_request(request.id, claimer)
        _refuse_replay(services)
    try:
        filename = record.filename or DEFAULT_FILENAME
        launched = services.launcher.launch(request, claimer, filename, _delivery_id(record))
    except LaunchDelayed as error:
        raise unavailable(f"the video will be processed later: {error}", RETRY_AFTER_S) from error
    # The first run of a request that this call has claimed was recorded together with this delivery.
    is_first_run = request.attempts == 0 and request.state == "pending" and request.claimed_by == claimer
    if not is_first_run and not _is_first(services, record):
        _refuse_replay(services)
    return 202, Accepted(flow_run_id=launched.run_id, priority=launched.priority)


def _parse(kind: type[Model], body: bytes) -> Model:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = fields_of(error.errors(include_url=False, include_input=False))[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _check_key(services: Services, record: VideoRecord) -> None:
    try:
        check_owned(record.storage_key, record.tenant_id)
    except ForeignKey:
        services.audit.record("webhook_foreign_key", severity="critical")
        raise ApiError(400, "record.storage_key: belongs to another tenant") from None
    except InvalidKey as error:
        raise ApiError(400, f"record.storage_key: {error}") from None
    expected = VideoKeys(str(record.tenant_id), str(record.id)).video
    if record.storage_key != expected:
        raise ApiError(400, f"record.storage_key: is not this video's key, expected {expected}")


def _claim(services: Services, record: VideoRecord, claimer: str) -> ProcessingRequest | None:
    """Claim the video's request; row and request are created if the insertion was in another database."""
    try:
        made = services.catalog.create_video(
            record.tenant_id,
            record.filename or DEFAULT_FILENAME,
            storage_key=record.storage_key,
            video_id=record.id,
            source="api",
            claimer=claimer,
            lease_s=CLAIM_SECONDS,
        )
    except NotFound:
        raise ApiError(400, "record.tenant_id: no such tenant") from None
    except Conflict:
        services.audit.record("webhook_foreign_video", severity="critical")
        raise ApiError(400, "record.id: the video belongs to another tenant or was deleted") from None
    except QuotaReached as error:
        raise ApiError(403, f"record.tenant_id: {error}") from None
    except InvalidValue as error:
        raise ApiError(400, f"record: {error.message}") from None
    return made.request


def _is_first(services: Services, record: VideoRecord) -> bool:
    """Record the delivery; not earlier, so that a delivery answered with 503 may be repeated."""
    try:
        return services.catalog.accept_webhook_delivery(
            _delivery_id(record), "supabase", video_id=record.id, tenant_id=record.tenant_id
        )
    except CatalogUnavailable:
        return True


def _delivery_id(record: VideoRecord) -> str:
    return f"videos:insert:{record.id}"


def _refuse_replay(services: Services) -> None:
    services.audit.record("webhook_replayed")
    raise ApiError(409, "this delivery was accepted before")
