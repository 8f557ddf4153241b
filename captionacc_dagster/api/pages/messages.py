"""The texts of the pages: a video's state, the next step, its error, and its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.catalog.models import HistoryEvent, Json, ProcessingRequest, Video, VideoStage
from captionacc_dagster.compute.progress import StageProgress

Tone = Literal["work", "you", "done", "bad"]

STAGES: dict[VideoStage, str] = {
    "attention": "Waiting for you",
    "working": "In progress",
    "failed": "Failed",
    "done": "Done",
}

KINDS: dict[Kind, str] = {
    "caption": "caption",
    "lower_third": "lower third",
    "title": "title",
    "fixture": "logo or ticker",
    "interface": "interface",
    "scene": "scene",
}

HTTP_ERRORS: dict[int, str] = {
    400: "The request is not valid.",
    403: "This is not allowed.",
    404: "There is no such page. The video may have been deleted or belong to someone else.",
    409: "That is not possible right now.",
    413: "The request is too large.",
    422: "The address or a value in it is not valid.",
    423: "Someone else is changing this right now. Try again in a moment.",
    429: "Too many requests. Wait a moment and try again.",
    500: "Something went wrong on our side.",
    503: "A part of the service is unavailable right now. Try again in a moment.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a video's processing."""

    name: str
    state: Literal["done", "current", "failed", "waiting"]


@dataclass(frozen=True, slots=True)
class VideoState:
    """The state of a video: one line, what to do about it, its tone, the steps, and the progress (0..100)."""

    label: str
    advice: str | None
    tone: Tone
    steps: tuple[Step, ...]
    percent: int
    place: int


@dataclass(frozen=True, slots=True)
class Problem:
    """An error: what failed, what to do, and the original message."""

    title: str
    advice: str
    message: str
    step: str | None
    at: str | None


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of a video's history."""

    at: datetime
    text: str
    tone: Literal["plain", "good", "bad"]


def video_state(
    video: Video,
    progress: StageProgress | None = None,
    before: int | None = None,
    *,
    is_approved_soon: bool = False,
) -> VideoState:
    """Return the state of a video.

    Args:
        video: its row.
        progress: of the current stage; None: unknown.
        before: number of videos before it in the queue; None: it does not wait there.
        is_approved_soon: its layout is about to be approved without a person.
    """
    label, tone = ("Layout found", "work") if is_approved_soon else _label(video)
    if before is not None and video.stage == "working":
        label = f"In the queue: {_ahead(before)}"
    names = ("Analyze the video", "Layout", "Find captions", "Check captions")
    place = _place(video)
    failed = video.stage == "failed"
    steps = tuple(
        Step(
            name,
            "done" if number < place else "waiting" if number > place else ("failed" if failed else "current"),
        )
        for number, name in enumerate(names)
    )
    share = 0.0
    if progress is not None and video.stage == "working":
        share = progress.share
        label += f": {round(100 * share)} %" + ("" if progress.left_s is None else f", {_left(progress.left_s)}")
    percent = round(100 * (place + share) / len(names))
    return VideoState(label, _NEXT.get(label), tone, steps, percent, place)


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
_USUAL_ADVICE = "Try again. If it fails again, send the message below to the administrator of this service."


def video_problem(video: Video) -> Problem | None:
    """Return the error of a video, or None."""
    for status, details, title in (
        (video.status, video.error_details, "The video could not be analyzed"),
        (video.layout_status, video.layout_error_details, "The layout could not be found"),
        (video.boundaries_status, video.boundaries_error_details, "Captions could not be found"),
        (video.text_status, video.text_error_details, "Captions could not be read"),
    ):
        if status == "error":
            message = _text(details, "message") or "processing failed"
            lowered = f"{message} {_text(details, 'error_type') or ''}".lower()
            advice = next((text for words, text in _ADVICE if any(word in lowered for word in words)), _USUAL_ADVICE)
            return Problem(title, advice, message, _text(details, "step"), _text(details, "time"))
    return None


def _text(details: Json | None, name: str) -> str | None:
    value = (details or {}).get(name)
    return value if isinstance(value, str) and value else None


def waiting_line(
    video: Video, requests: Sequence[ProcessingRequest], before: int | None = None
) -> tuple[str, datetime] | None:
    """Return what is still to come of a video, and since when; None if nothing is.

    Args:
        video: its row.
        requests: its open requests. A run's request is closed some seconds after its captions are there: then nothing
            is said of it.
        before: number of videos before it in the queue.
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


_FLOWS = {
    "video_initial_processing": "the analysis of the video",
    "crop_and_infer": "the search for captions",
    "caption_ocr": "reading captions again",
}
_SILENT = ("locked", "cropped frames version begun", "cropped frames version archived")


def history_lines(events: list[HistoryEvent]) -> list[HistoryLine]:
    """Return the history of a video, newest first, without technical events."""
    lines = [_line(event) for event in events if event.event not in _SILENT]
    return [line for line in reversed(lines) if line is not None]


def _line(event: HistoryEvent) -> HistoryLine | None:
    details = event.details
    flow = _FLOWS.get(str(details.get("flow")), "work")
    subject = flow[0].upper() + flow[1:]
    match event.event:
        case "uploaded":
            text = f"Uploaded as {details.get('filename')}."
        case "requested":
            text = f"{subject} was requested."
        case "queued":
            text = f"{subject} entered the queue."
        case "succeeded":
            return HistoryLine(event.at, f"{subject} is complete.", "good")
        case "failed" | "cancelled":
            error = details.get("error")
            reason = error.get("message") if isinstance(error, dict) else None
            said = "was cancelled" if event.event == "cancelled" else "failed"
            return HistoryLine(event.at, f"{subject} {said}" + (f": {reason}" if reason else "."), "bad")
        case "layout approved":
            by_itself = details.get("approval") == "automatic"
            return HistoryLine(
                event.at, "The layout was approved " + ("by itself." if by_itself else "by a person."), "good"
            )
        case "cropped frames version active":
            text = f"The caption region was cropped: {details.get('frame_count') or 'some'} frames."
        case other:
            text = other[:1].upper() + other[1:] + "."
    return HistoryLine(event.at, text, "plain")


def duration(seconds: float | None) -> str:
    """Return ``m:ss`` or ``h:mm:ss``; a dash for an unknown duration."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(number: int | None) -> str:
    """Return a number of bytes in readable units."""
    if number is None:
        return "–"
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def moment(at: datetime) -> str:
    """Return a time in UTC; the page's script shows it in local time."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def percent(fraction: float | None) -> str:
    """Return a fraction as a whole percentage; a dash for an unknown one."""
    return "–" if fraction is None else f"{round(100 * fraction)} %"
