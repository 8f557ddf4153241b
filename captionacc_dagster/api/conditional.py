"""Conditional answers with an entity tag: 304 if the caller has the content, 206 for a part of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import Response

from captionacc_dagster.api.errors import ApiError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
CACHE_CONTROL = "private, no-cache"


def entity_tag(*parts: object) -> str:
    """Return the strong entity tag of content that depends on these parts."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def has_tag(header: str | None, tag: str) -> bool:
    """Return whether a header ``If-None-Match`` or ``If-Match`` contains the tag."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in named or tag in named


def tagged_answer(
    request: Request, tag: str, make: Callable[[], bytes], media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer a GET with the content of this tag; ``make`` is called only if it is needed.

    Raises:
        ApiError: 416 for a range outside the content.
    """
    sent = {"ETag": tag, "Cache-Control": CACHE_CONTROL, "Accept-Ranges": "bytes", **(headers or {})}
    if has_tag(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=sent)
    content = make()
    part = requested_range(request, tag, len(content))
    if part is None:
        return Response(content, media_type=media_type, headers=sent)
    first, last = part
    sent["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, sent, media_type)


def requested_range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a GET asks for; None for the whole content of this tag.

    Raises:
        ApiError: 416 for a range outside the content.
    """
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip().replace(" ", ""))
    fresh = request.headers.get("if-range", tag) == tag
    if asked is None or not fresh or asked.group(0) == "bytes=-":
        # For several ranges or another unit, a server may answer with the whole content.
        return None
    return _bounds(asked.group(1), asked.group(2), size)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        begin, end = max(0, size - int(last[:18])), size - 1
    else:
        begin, end = int(first[:18]), min(int(last[:18]), size - 1) if last else size - 1
    if begin >= size or begin > end:
        raise ApiError(416, "the range is outside the content", {"Content-Range": f"bytes */{size}"})
    return begin, end
