"""The texts of the pages: a video's state, the next step, and its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from captionacc_dagster.catalog.models import Json, ProcessingRequest, Video
from captionacc_dagster.compute.progress import StageProgress

Tone = Literal["work", "you", "done", "bad"]
# Analyze the video, layout, find captions, check captions.
_STEPS = 4


@dataclass(frozen=True, slots=True)
class VideoState:
    """The state of a video: one line, what to do about it, its tone, the number of steps done, and the progress."""

    label: str
    advice: str | None
    tone: Tone
    place: int
    percent: int


@dataclass(frozen=True, slots=True)
class Problem:
    """An error: what failed, what to do, and the original message."""

    title: str
    advice: str
    message: str
    step: str | None
    at: str | None


def video_state(
    video: Video,
    progress: StageProgress | None = None,
    before: int | None = None,
    *,
    is_approved_soon: bool = False,
) -> VideoState:
    """Return the state of a video, with the progress of its stage if known, and how many are before it in the queue.

    ``before`` is None if it does not wait there; ``is_approved_soon``: its layout is approved without a person.
    """
    label, tone = ("Layout found", "work") if is_approved_soon else _label(video)
    if before is not None and video.stage == "working":
        label = f"In the queue: {_ahead(before)}"
    place, share = _place(video), 0.0
    if progress is not None and video.stage == "working":
        share = progress.share
        label += f": {round(100 * share)} %" + ("" if progress.left_s is None else f", {_left(progress.left_s)}")
    return VideoState(label, _NEXT.get(label), tone, place, round(100 * (place + share) / _STEPS))


def _ahead(before: int) -> str:
    if before == 0:
        return "it is next"
    return "1 video is before it" if before == 1 else f"{before} videos are before it"


def _left(seconds: float) -> str:
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {round(seconds / 3600)} h left"


def _place(video: Video) -> int:
    if video.status != "active" or video.layout_status in ("wait", "error"):
        return 0
    if video.layout_status != "done":
        return 1
    if video.boundaries_status in ("wait", "error"):
        return 2
    return 4 if video.stage == "done" else 3


def _label(video: Video) -> tuple[str, Tone]:
    if video.stage == "failed":
        return ("Failed: " + ("analyzing the video" if _place(video) == 0 else "finding captions"), "bad")
    if video.stage == "done":
        return "Done", "done"
    if video.stage == "working":
        waiting = "In the queue" if video.status == "waiting" else "Analyzing the video"
        return ("Finding captions" if video.layout_status == "done" else waiting), "work"
    if video.layout_status != "done":
        return ("Layout needs your approval" if video.crop_region else _NO_REGION), "you"
    count, confirmed = video.caption_count, video.confirmed_count
    if count is None:
        return "Captions need your review", "you"
    if count == 0:
        return _NO_CAPTION, "you"
    if not confirmed:
        return ("1 caption to check" if count == 1 else f"{count} captions to check"), "you"
    return f"{confirmed} of {count} confirmed", "you"


# Labels that alone leave a person at a loss, and what to do.
_NO_REGION, _NO_CAPTION = "No place with captions found", "No captions found"
_NEXT = {
    _NO_REGION: "If the video has captions, draw a box around them and approve it.",
    _NO_CAPTION: "If the video has captions, move the box to them and search again, or add them by hand.",
}


_ADVICE = (
    (
        ("not a video", "no video", "cannot be opened", "cannot be read", "invalid data", "damaged", "unreadable"),
        "The file cannot be read as a video. Try to play it; if it is damaged, upload a good copy.",
    ),
    (
        ("quota", "limit"),
        "Your account has reached a limit. Wait until next month, or ask the administrator of this service.",
    ),
    (
        ("no such object", "not found", "missing"),
        "A file of this video is missing. Upload the video again.",
    ),
    (
        ("timeout", "timed out", "away", "unavailable", "cannot be reached", "connection", "refused"),
        "A part of the service could not be reached. This usually passes; try again in a few minutes.",
    ),
    (
        ("memory", "disk", "space", "storage full"),
        "The machine ran out of memory or disk space. Free some, then try again.",
    ),
    (("cancelled", "terminated"), "Processing was stopped before it was complete. Try again at any time."),
    (("lock",), "Another process was working on this video at the same time. Try again."),
)
_FAILED = {
    "video": "The video could not be analyzed",
    "layout": "The layout could not be found",
    "boundaries": "Captions could not be found",
    "text": "Captions could not be read",
}
_USUAL_ADVICE = "Try again. If it fails again, send the message below to the administrator of this service."


def video_problem(video: Video) -> Problem | None:
    """Return the error of a video, or None."""
    if video.failure is None:
        return None
    stage, details = video.failure
    message = _text(details, "message") or "processing failed"
    lowered = f"{message} {_text(details, 'error_type') or ''}".lower()
    advice = next((text for words, text in _ADVICE if any(word in lowered for word in words)), _USUAL_ADVICE)
    return Problem(_FAILED[stage], advice, message, _text(details, "step"), _text(details, "time"))


def _text(details: Json, name: str) -> str | None:
    value = details.get(name)
    return value if isinstance(value, str) and value else None


def waiting_line(
    video: Video, requests: Sequence[ProcessingRequest], before: int | None = None
) -> tuple[str, datetime] | None:
    """Return what is still to come of a video by its open requests, and since when; None if nothing is.

    A run's request is closed some seconds after its captions are there: then nothing is said of it.
    """
    is_found = video.stage in ("attention", "done")
    request = next((request for request in requests if (request.flow == "caption_ocr") == is_found), None)
    if request is None:
        return None
    if request.state == "launched" and before is None and video.status != "waiting":
        doing = "Captions are being read again" if is_found else "Processing is in progress"
        return f"{doing}, requested", request.requested_at
    if request.state == "pending" and request.error_details:
        return "It could not be started yet and is retried automatically; requested", request.requested_at
    return "Waiting in the queue since", request.requested_at


def duration(seconds: float | None) -> str:
    """Return ``m:ss`` or ``h:mm:ss``; a dash for an unknown duration."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def moment(at: datetime) -> str:
    """Return a time in UTC; the page's script shows it in local time."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
