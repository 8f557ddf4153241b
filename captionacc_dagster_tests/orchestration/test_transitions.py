"""The table of outcomes, walked along every path of a video on a real catalog."""

from __future__ import annotations

import itertools
from typing import get_args
from uuid import uuid4

import pytest

from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ProcessingRequest, Video, error_details
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.transitions import (
    MEANINGS,
    STAGES,
    Outcome,
    Stage,
    last_stage,
    meaning_of,
    record,
    record_layout,
    stage_of,
    status_changes,
)

INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR
STAGES_OF: dict[Flow, tuple[Stage, ...]] = {INITIAL: ("layout",), CROP: ("boundaries", "text"), OCR: ("text",)}
FAILURES: tuple[Outcome, ...] = ("failed", "refused", "cancelled")
REGION = (0.1, 0.7, 0.9, 0.95)
# How a run can end: well, or in one of its stages.
Ending = tuple[Stage, Outcome]


def endings(flow: Flow) -> list[Ending]:
    return [(last_stage(flow), "completed"), *itertools.product(STAGES_OF[flow], FAILURES)]


class Walk:
    """One video on its way, through runs that do what the assets and sensors do."""

    def __init__(self, catalog: PostgresCatalog) -> None:
        self.catalog = catalog
        self.visited: set[tuple[Flow, Stage, Outcome]] = set()
        self.id = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id

    @property
    def video(self) -> Video:
        return self.catalog.get_video_metadata(self.id)

    def open_requests(self) -> tuple[ProcessingRequest, ...]:
        return tuple(self.catalog.list_processing_requests(states=["pending", "launched"], video_id=self.id).items)

    def launch(self, run_id: str) -> ProcessingRequest:
        """Let a run hold the pending request."""
        (request,) = self.open_requests()
        assert self.catalog.claim_processing_request(request.id, run_id)
        return self.catalog.launch_processing_request(request.id, run_id, run_id)

    def run(self, flow: Flow, ending: Ending) -> None:
        """Run a flow for its pending request up to an ending."""
        run_id = str(uuid4())
        held = self.launch(run_id)
        assert held.flow == flow
        for stage in STAGES_OF[flow]:
            self._record(flow, stage, "started")
            if ending[0] == stage and ending[1] != "completed":
                self._record(flow, stage, ending[1], held, run_id)
                self.is_consistent(run_id)
                return
            if flow is INITIAL:
                self.find_layout()
            else:
                self._record(flow, stage, "found")
        self._record(flow, *ending, held, run_id)
        self.is_consistent(run_id)

    def find_layout(self) -> None:
        again = self.video.layout_approval == "person"
        self.visited.add((INITIAL, "layout", "found again" if again else "found"))
        for _ in range(2):
            record_layout(self.catalog, self.id, {}, {})

    def _record(
        self,
        flow: Flow,
        stage: Stage,
        outcome: Outcome,
        request: ProcessingRequest | None = None,
        run_id: str | None = None,
    ) -> None:
        self.visited.add((flow, stage, outcome))
        details = error_details(ValueError("broken"), run_id=run_id) if outcome in FAILURES else None
        requests = [request] if request else []
        for _ in range(2):  # whoever records it a second time changes nothing
            record(self.catalog, self.id, flow, stage, outcome, requests=requests, run_id=run_id, details=details)

    def is_consistent(self, run_id: str) -> None:
        """Verify what holds for every video whose run has ended."""
        video = self.video
        assert self.open_requests() == (), "a run that has ended leaves no open request"
        assert video.status in ("active", "error"), "nothing waits for ever"
        request = self.catalog.find_processing_request(run_id=run_id)
        assert request
        assert (request.error_details is None) == (request.state == "succeeded")
        for column in ("", "layout_", "boundaries_", "text_"):
            details = getattr(video, f"{column}error_details")
            assert (getattr(video, f"{column}status") == "error") == (details is not None)
        if request.state == "succeeded":
            assert not video_failed(video)

    def drop(self, flow: Flow) -> None:
        """End the pending request before a run holds it."""
        before, (request,) = self.video, self.open_requests()
        self._record(flow, last_stage(flow), "dropped", request)
        assert self.video == before
        assert self.open_requests() == ()

    def again_if_failed(self, flow: Flow) -> None:
        """Retry: possible exactly if something has failed; the next run ends well."""
        if not video_failed(self.video):
            with pytest.raises(Conflict):
                self.catalog.retry_video(self.id)
            return
        self.catalog.retry_video(self.id)
        assert not video_failed(self.video)
        self.run(flow, (last_stage(flow), "completed"))


def video_failed(video: Video) -> bool:
    return "error" in (video.status, video.layout_status, video.boundaries_status, video.text_status)


@pytest.mark.integration
def test_every_path_of_a_video_leaves_its_row_and_its_requests_right(postgres_catalog: PostgresCatalog) -> None:
    visited: set[tuple[Flow, Stage, Outcome]] = set()
    ocr_endings = itertools.cycle(endings(OCR))
    approvals = itertools.cycle(("person", "automatic"))
    for initial, crop in itertools.product(endings(INITIAL), endings(CROP)):
        unwanted, walk = Walk(postgres_catalog), Walk(postgres_catalog)
        unwanted.drop(INITIAL)
        walk.run(INITIAL, initial)
        walk.again_if_failed(INITIAL)
        assert (walk.video.layout_status, walk.video.boundaries_status) == ("annotate", "wait")
        approval = next(approvals)
        postgres_catalog.approve_layout(walk.id, REGION, approval=approval)
        walk.drop(CROP)
        postgres_catalog.approve_layout(walk.id, REGION, approval=approval)
        walk.run(CROP, crop)
        assert walk.video.status == "active", "captions that were not found do not take the layout away"
        walk.again_if_failed(CROP)
        video = walk.video
        assert (video.layout_status, video.boundaries_status, video.text_status) == ("done", "annotate", "annotate")
        version = postgres_catalog.next_cropped_frames_version(walk.id, "run")
        postgres_catalog.activate_cropped_frames_version(walk.id, version, storage_prefix="p", frame_count=1)
        postgres_catalog.request_caption_ocr(walk.id, [1])
        walk.drop(OCR)
        postgres_catalog.request_caption_ocr(walk.id, [1])
        walk.run(OCR, next(ocr_endings))
        assert not video_failed(walk.video), "captions carry the error of a second reading"
        # The layout once more, as by a backfill.
        for stage in STAGES_OF[INITIAL]:
            record(postgres_catalog, walk.id, INITIAL, stage, "started")
        walk.find_layout()
        video = walk.video
        assert (video.layout_approved_at is None) == (video.layout_status == "annotate") == (approval == "automatic")
        visited |= walk.visited | unwanted.visited
    assert visited == set(MEANINGS), "every row of the table was walked"


@pytest.mark.integration
def test_a_layout_can_be_approved_before_its_run_has_quite_ended(postgres_catalog: PostgresCatalog) -> None:
    walk = Walk(postgres_catalog)
    held = walk.launch("run")
    record(postgres_catalog, walk.id, INITIAL, "layout", "started")
    with pytest.raises(Conflict):
        postgres_catalog.approve_layout(walk.id, REGION)
    record(postgres_catalog, walk.id, INITIAL, "layout", "found")
    postgres_catalog.approve_layout(walk.id, REGION)
    record(postgres_catalog, walk.id, INITIAL, "layout", "completed", requests=[held], run_id="run")
    assert [open_one.flow for open_one in walk.open_requests()] == [CROP]
    assert walk.video.layout_status == "done"


@pytest.mark.integration
def test_an_automatic_approval_in_use_stays(postgres_catalog: PostgresCatalog) -> None:
    walk = Walk(postgres_catalog)
    walk.run(INITIAL, ("layout", "completed"))
    postgres_catalog.approve_layout(walk.id, REGION, approval="automatic")
    walk.find_layout()
    assert walk.video.layout_approved_at is not None, "the request for its captions uses it"


@pytest.mark.integration
def test_an_outcome_of_a_run_that_has_lost_its_request_changes_nothing(postgres_catalog: PostgresCatalog) -> None:
    walk = Walk(postgres_catalog)
    held = walk.launch("first")
    record(postgres_catalog, walk.id, INITIAL, "layout", "started")
    # A retry takes it after it was listed as that of the first run.
    assert postgres_catalog.replace_request_run(held.id, "first", "second")
    before, details = walk.video, error_details("the process is gone", run_id="first")
    for outcome in FAILURES:
        with pytest.raises(Conflict):
            record(
                postgres_catalog, walk.id, INITIAL, "layout", outcome, requests=[held], run_id="first", details=details
            )
        assert walk.video == before


@pytest.mark.unit
def test_the_table_is_complete() -> None:
    for flow, stages in STAGES_OF.items():
        for stage, outcome in itertools.product(get_args(Stage), get_args(Outcome)):
            expected = stage in stages and (outcome not in ("completed", "dropped") or stage == last_stage(flow))
            expected &= outcome != "found again" or flow is INITIAL
            if expected:
                meaning = meaning_of(flow, stage, outcome)
                assert (meaning.lock is not None) == (outcome == "started" and flow is not INITIAL)
                assert (meaning.request is not None) == (outcome in (*FAILURES, "completed", "dropped"))
            else:
                with pytest.raises(ValueError, match="cannot be"):
                    meaning_of(flow, stage, outcome)


@pytest.mark.unit
def test_an_error_has_its_details_and_everything_else_has_none() -> None:
    details = {"message": "broken"}
    assert status_changes(MEANINGS[INITIAL, "layout", "failed"], details) == {
        "status": "error", "error_details": details, "layout_status": "error", "layout_error_details": details,
    }  # fmt: skip
    assert status_changes(MEANINGS[CROP, "text", "found"]) == {
        "boundaries_status": "annotate", "boundaries_error_details": None,
        "text_status": "annotate", "text_error_details": None,
    }  # fmt: skip


@pytest.mark.integration
def test_where_a_run_ended_follows_from_its_step_or_from_the_row(postgres_catalog: PostgresCatalog) -> None:
    video = postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
    assert stage_of(video, CROP, "extents_checks") == (CROP, "boundaries")
    assert stage_of(video, CROP, "layout_checks") == (INITIAL, "layout"), "a backfill's run has the steps of both"
    assert stage_of(video, CROP, None) == (CROP, "boundaries")
    assert stage_of(video, INITIAL, None) == (INITIAL, "layout")
    assert stage_of(video, OCR, "captions_db") == (OCR, "text")
    shown = postgres_catalog.update_video_status(video.id, boundaries_status="annotate")
    assert stage_of(shown, CROP, None) == (CROP, "text")
    assert set(STAGES.values()) == {(flow, stage) for flow in (INITIAL, CROP) for stage in STAGES_OF[flow]}
