"""What the outcome of a stage means: one table for the assets, the sensors, reconciliation, and the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import DatabaseName, ProcessingRequest, RequestEnd, Video
from captionacc_dagster.orchestration.flows import Flow

Stage = Literal["layout", "boundaries", "text"]
# found again: after a person had approved a layout. completed: the run has ended well, its checks too.
# refused: a quota does not allow the work. dropped: nobody works for the request any more, and its video is as it was.
Outcome = Literal["started", "found", "found again", "completed", "failed", "refused", "cancelled", "dropped"]


@dataclass(frozen=True)
class Meaning:
    """What an outcome means.

    Attributes:
        statuses: columns of the video and their values; the error details of each are set with ``error``, and cleared
            with any other value.
        request: how the run's request ends; None: it stays as it is.
        lock: the database whose server lock the stage holds from its start to its end.
    """

    statuses: Mapping[str, str]
    request: RequestEnd | None = None
    lock: DatabaseName | None = None


INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR
_NO_VIDEO = {"status": "error", "layout_status": "error"}
_NO_BOUNDARIES = {"boundaries_status": "error"}
_NO_TEXT = {"text_status": "error"}

# The request of a quota that refused is cancelled, not failed: nothing was tried.
MEANINGS: Mapping[tuple[Flow, Stage, Outcome], Meaning] = {
    (INITIAL, "layout", "started"): Meaning({"status": "processing", "layout_status": "wait"}),
    (INITIAL, "layout", "found"): Meaning({"status": "active", "layout_status": "annotate"}),
    (INITIAL, "layout", "found again"): Meaning({"status": "active", "layout_status": "done"}),
    (INITIAL, "layout", "completed"): Meaning({}, "succeeded"),
    (INITIAL, "layout", "failed"): Meaning(_NO_VIDEO, "failed"),
    (INITIAL, "layout", "refused"): Meaning(_NO_VIDEO, "cancelled"),
    (INITIAL, "layout", "cancelled"): Meaning(_NO_VIDEO, "cancelled"),
    (INITIAL, "layout", "dropped"): Meaning({}, "cancelled"),
    # Boundaries are shown together with their texts, so finding them alone changes nothing.
    (CROP, "boundaries", "started"): Meaning({}, lock="layout"),
    (CROP, "boundaries", "found"): Meaning({}),
    (CROP, "boundaries", "failed"): Meaning(_NO_BOUNDARIES, "failed"),
    (CROP, "boundaries", "refused"): Meaning(_NO_BOUNDARIES, "cancelled"),
    (CROP, "boundaries", "cancelled"): Meaning(_NO_BOUNDARIES, "cancelled"),
    (CROP, "text", "started"): Meaning({}, lock="captions"),
    (CROP, "text", "found"): Meaning({"boundaries_status": "annotate", "text_status": "annotate"}),
    (CROP, "text", "completed"): Meaning({}, "succeeded"),
    (CROP, "text", "failed"): Meaning(_NO_TEXT, "failed"),
    (CROP, "text", "refused"): Meaning(_NO_TEXT, "cancelled"),
    (CROP, "text", "cancelled"): Meaning(_NO_TEXT, "cancelled"),
    (CROP, "text", "dropped"): Meaning({}, "cancelled"),
    # Captions that could not be read again carry their own error; the video is as it was.
    (OCR, "text", "started"): Meaning({}, lock="captions"),
    (OCR, "text", "found"): Meaning({}),
    (OCR, "text", "completed"): Meaning({}, "succeeded"),
    (OCR, "text", "failed"): Meaning({}, "failed"),
    (OCR, "text", "refused"): Meaning({}, "cancelled"),
    (OCR, "text", "cancelled"): Meaning({}, "cancelled"),
    (OCR, "text", "dropped"): Meaning({}, "cancelled"),
}

# Steps of a run, including those of its checks.
STAGES: Mapping[str, tuple[Flow, Stage]] = {
    "raw_video": (INITIAL, "layout"),
    "raw_video_checks": (INITIAL, "layout"),
    "initial_processing": (INITIAL, "layout"),
    "layout_checks": (INITIAL, "layout"),
    "caption_extents": (CROP, "boundaries"),
    "extents_checks": (CROP, "boundaries"),
    "captions_db": (CROP, "text"),
    "captions_checks": (CROP, "text"),
    "subtitles": (CROP, "text"),
    "subtitles_checks": (CROP, "text"),
}


def meaning_of(flow: Flow, stage: Stage, outcome: Outcome) -> Meaning:
    """Return what an outcome means.

    Raises:
        ValueError: the flow has no such stage, or the stage cannot end like that.
    """
    try:
        return MEANINGS[flow, stage, outcome]
    except KeyError:
        raise ValueError(f"{stage} of {flow.value} cannot be {outcome}") from None


def status_changes(meaning: Meaning, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the columns of the video to write, with ``details`` for each status that becomes ``error``."""
    changes: dict[str, Any] = dict(meaning.statuses)
    for column, value in meaning.statuses.items():
        prefix = "" if column == "status" else column.removesuffix("status")
        changes[f"{prefix}error_details"] = dict(details or {}) if value == "error" else None
    return changes


def record(
    catalog: Catalog,
    video_id: UUID,
    flow: Flow,
    stage: Stage,
    outcome: Outcome,
    *,
    requests: Iterable[ProcessingRequest] = (),
    run_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write what an outcome means to the video's row and to the open requests that its run holds; idempotent.

    ``details`` are the error, for an outcome that is one. If one of them refuses, nothing is written.

    Raises:
        CatalogError: the row is gone, a request belongs to another run, or the catalog is unavailable.
    """
    meaning = meaning_of(flow, stage, outcome)
    changes = status_changes(meaning, details)
    ended = [request.id for request in requests] if meaning.request is not None else []
    if changes or ended:
        catalog.record_outcome(video_id, changes, ended, meaning.request, run_id=run_id, error_details=details)


def record_layout(catalog: Catalog, video_id: UUID, facts: Mapping[str, Any], region: Mapping[str, Any]) -> None:
    """Write that a layout was found, with its region; one that a person has approved by now stays.

    Raises:
        CatalogError: the row is gone, or the catalog is unavailable.
    """
    found, again = (status_changes(MEANINGS[INITIAL, "layout", outcome]) for outcome in ("found", "found again"))
    catalog.record_layout(video_id, facts, {**region, **found}, again)


def last_stage(flow: Flow) -> Stage:
    """Return the stage that ends a flow."""
    return "layout" if flow is INITIAL else "text"


def stage_of(video: Video, flow: Flow, step: str | None) -> tuple[Flow, Stage]:
    """Return the flow and stage in which a run ended: those of its failed step, or those that its video had reached.

    One run may contain the steps of two flows; without a step, it ended outside any (its process was killed).
    """
    if flow is not OCR and step is not None and step in STAGES:
        return STAGES[step]
    if flow is CROP and video.boundaries_status in ("wait", "error"):
        return flow, "boundaries"
    return flow, last_stage(flow)
