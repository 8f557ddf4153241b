"""Error answers: always ``{"detail": …}``, with a request id for internal errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.captioning.files.caption_edits import CaptionNotFound, InvalidEdit
from captionacc_dagster.captioning.files.databases import DatabaseError
from captionacc_dagster.captioning.files.edit_journal import CannotUndo
from captionacc_dagster.captioning.files.previous_captions import NothingKept
from captionacc_dagster.captioning.video.containers import VideoError
from captionacc_dagster.catalog.errors import (
    CatalogError,
    CatalogUnavailable,
    Conflict,
    InvalidValue,
    NotFound,
    QuotaReached,
)
from captionacc_dagster.orchestration.locks import LockHeld, LockLost
from captionacc_dagster.storage.errors import ObjectNotFound, StorageError
from captionacc_dagster.storage.keys import InvalidKey

_log = logging.getLogger(__name__)

Answer = Callable[[Any], JSONResponse]

RETRY_AFTER_S = 5
_LOCK_LOST = "the lock of the captions was lost; nothing was changed"


class ErrorBody(BaseModel):
    """The body of every error except validation errors."""

    detail: str = Field(examples=["no such video"])


class InvalidField(BaseModel):
    """One invalid field of a request."""

    loc: list[str | int] = Field(examples=[["body", "crop_region", "crop_left"]])
    msg: str = Field(examples=["Input should be greater than or equal to 0"])
    type: str = Field(examples=["greater_than_equal"])


class ValidationErrorBody(BaseModel):
    """The body of a validation error, by field or for the whole request."""

    detail: list[InvalidField] | str


class ApiError(Exception):
    """An error answer: status, one line for the caller, and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def unavailable(detail: str, retry_after_s: int = RETRY_AFTER_S) -> ApiError:
    """Return the error for a part that is temporarily unavailable."""
    return ApiError(503, detail, {"Retry-After": str(retry_after_s)})


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of an endpoint for its OpenAPI description."""
    texts = {
        400: "Malformed.",
        401: "No valid credentials.",
        403: "The account may not do this, or is not approved yet.",
        404: "Not found, or it belongs to another tenant.",
        409: "The state of the video does not allow this.",
        412: "It has changed (`If-Match`).",
        413: "The body is too large.",
        416: "The range is outside the content.",
        423: "It is being changed elsewhere; try again after `Retry-After` seconds.",
        429: "Too many requests; try again after `Retry-After` seconds.",
        503: "A part of the service is unavailable; try again after `Retry-After` seconds.",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": texts[status], "model": ErrorBody} for status in statuses if status != 422
    }
    if 422 in statuses:
        found[422] = {
            "description": "A value is not allowed; names the field.",
            "model": ValidationErrorBody,
        }
    return found


def fields_of(errors: list[Any] | tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return pydantic's errors without the caller's values, which may be anything."""
    return [
        {
            "loc": [part if isinstance(part, int) else _readable(part) for part in error["loc"]],
            # Our own words, without pydantic's name for them.
            "msg": _readable(error["msg"]).removeprefix("Value error, "),
            "type": error["type"],
        }
        for error in errors[:20]
    ]


def _readable(text: object) -> str:
    """Return text that can be encoded as UTF-8."""
    return str(text)[:300].encode("utf-8", "replace").decode()


def _answer(status: int, detail: object, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, dict(headers or {}))


def _of_held_lock(error: LockHeld) -> JSONResponse:
    left_s = round((error.lock.expires_at - datetime.now(UTC)).total_seconds()) if error.lock is not None else 1
    return _answer(423, "the captions are being changed elsewhere", {"Retry-After": str(max(1, min(30, left_s)))})


def _internal(error: Exception) -> JSONResponse:
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return _answer(500, f"internal error, logged under request id {current_facts().request_id}")


def _busy(detail: str) -> Answer:
    def answer(error: Exception) -> JSONResponse:
        _log.warning("%s: %s: %s", detail, type(error).__name__, error)
        return _answer(503, f"{detail}; try again", {"Retry-After": str(RETRY_AFTER_S)})

    return answer


def _says(status: int) -> Answer:
    return lambda error: _answer(status, error.message if isinstance(error, CatalogError) else str(error))


# The closest base class of an error decides.
_ANSWERS: dict[type[Exception], Answer] = {
    ApiError: lambda error: _answer(error.status, error.detail, error.headers),
    StarletteHTTPException: lambda error: _answer(error.status_code, error.detail, error.headers),
    RequestValidationError: lambda error: _answer(422, fields_of(error.errors())),
    CatalogUnavailable: _busy("the catalog is unavailable"),
    NotFound: _says(404),
    Conflict: _says(409),
    QuotaReached: lambda error: _answer(429, str(error)),
    InvalidValue: _says(422),
    CatalogError: _internal,
    ObjectNotFound: lambda error: _answer(404, "a file of this video is not there"),
    StorageError: _busy("the object store is unavailable"),
    VideoError: lambda error: _answer(404, f"the video cannot be read: {error.reason}"),
    LockHeld: _of_held_lock,
    LockLost: lambda error: _answer(423, _LOCK_LOST, {"Retry-After": "1"}),
    CaptionNotFound: _says(404),
    CannotUndo: _says(409),
    NothingKept: _says(409),
    InvalidEdit: _says(422),
    InvalidKey: _says(422),
    DatabaseError: _internal,
    Exception: _internal,
}


def add_error_handlers(app: FastAPI) -> None:
    """Register a handler for every error type of this program."""

    def handler(answer: Answer) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
        async def handle(request: Request, error: Exception) -> JSONResponse:
            return answer(error)

        return handle

    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, handler(answer))
