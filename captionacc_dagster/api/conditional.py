"""Conditional answers with an entity tag: 304 if the caller has the content, 206 for a part of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from captionacc_dagster.api.errors import ApiError
from captionacc_dagster.storage.base import ObjectInfo

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def entity_tag(*parts: object) -> str:
    """Return the strong entity tag of content that depends on these parts."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def stored_tag(info: ObjectInfo) -> str:
    """Return the entity tag of a stored object."""
    return entity_tag(info.etag, info.size, info.modified)


def has_tag(header: str | None, tag: str) -> bool:
    """Return whether a header ``If-None-Match`` or ``If-Match`` contains the tag."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in named or tag in named


class Content(NamedTuple):
    """Content of some size: ``read`` returns its bytes from one place to another, whole or in pieces."""

    size: int
    read: Callable[[int, int], bytes | Iterator[bytes]]
    media_type: str


def tagged_answer(
    request: Request, tag: str, make: Callable[[], bytes], media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer a GET with the content of this tag; ``make`` is called only if it is needed.

    Raises:
        ApiError: 416 for a range outside the content.
    """

    def made() -> Content:
        content = make()
        return Content(len(content), lambda start, stop: content[start:stop], media_type)

    return ranged_answer(request, tag, made, headers)


def ranged_answer(
    request: Request, tag: str, open_content: Callable[[], Content], headers: dict[str, str] | None = None
) -> Response:
    """Answer a GET with the content of this tag, or the part that is asked for; it is opened only if it is needed.

    Raises:
        ApiError: 416 for a range outside the content.
    """
    sent = {"ETag": tag, "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes", **(headers or {})}
    if has_tag(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=sent)
    size, read, media_type = open_content()
    part = _requested_range(request, tag, size)
    first, last = part or (0, size - 1)
    if part is not None:
        sent["Content-Range"] = f"bytes {first}-{last}/{size}"
    sent["Content-Length"] = str(last - first + 1)
    content = read(first, last + 1)
    kind = Response if isinstance(content, bytes) else StreamingResponse
    return kind(content, 206 if part else 200, sent, media_type)  # pyright: ignore[reportArgumentType]


def _requested_range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a GET asks for; None for the whole content of this tag.

    Raises:
        ApiError: 416 for a range outside the content.
    """
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip().replace(" ", ""))
    fresh = request.headers.get("if-range", tag) == tag
    if asked is None or not fresh or asked.group(0) == "bytes=-":
        # For several ranges or another unit, a server may answer with the whole content.
        return None
    first, last = asked.groups()
    if not first:
        begin, end = max(0, size - int(last[:18])), size - 1
    else:
        begin, end = int(first[:18]), min(int(last[:18]), size - 1) if last else size - 1
    if begin >= size or begin > end:
        raise ApiError(416, "the range is outside the content", {"Content-Range": f"bytes */{size}"})
    return begin, end
