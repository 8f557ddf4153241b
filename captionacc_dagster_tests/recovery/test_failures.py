"""What fails while a video is processed: retried when time may heal it, said clearly when not, nothing left behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from dagster import AssetCheckSeverity, RunsFilter

from captionacc_dagster.captioning.files import databases
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.compute.base import BadInput, ComputeTimeout, ComputeUnavailable, QuotaExceeded
from captionacc_dagster.compute.results import ExtractResult
from captionacc_dagster.orchestration.flows import FLOW_ASSETS, Flow
from captionacc_dagster.orchestration.history import video_history
from captionacc_dagster.orchestration.subtitle_files import download_captions, restore_captions
from captionacc_dagster.settings import get_settings
from captionacc_dagster.tags import (
    FLOW_TAG,
    PARENT_RUN_TAG,
    REQUEST_TAG,
    ROOT_RUN_TAG,
    TENANT_TAG,
    TIER_TAG,
    VIDEO_NAME_TAG,
    VIDEO_TAG,
)
from captionacc_dagster_tests.recovery.conftest import FlowHarness, failing

pytestmark = pytest.mark.recovery

INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR


def request_state(harness: FlowHarness, video_id: object, flow: Flow) -> str:
    rows = harness.catalog.list_processing_requests(video_id=video_id, flows=[flow.value]).items  # pyright: ignore
    return rows[-1].state


def test_a_whole_video_leaves_statuses_numbers_and_nothing_else(harness: FlowHarness) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.layout_status) == ("active", "annotate")
    assert row.processing_duration_seconds
    assert row.processing_duration_seconds > 0
    assert request_state(harness, video.id, INITIAL) == "succeeded"
    harness.approve(video)
    assert harness.run(CROP, video).success
    # It never was in the queue: it says all the same whose it is.
    (run,) = harness.instance.get_runs(RunsFilter(job_name=CROP))
    assert run.tags[TENANT_TAG] == str(video.tenant_id)
    assert (run.tags[TIER_TAG], run.tags[FLOW_TAG], run.tags[VIDEO_TAG]) == ("enterprise", CROP, str(video.id))
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.layout_status, row.boundaries_status, row.text_status) == ("done", "annotate", "annotate")
    assert row.caption_count == 1
    harness.nothing_is_left_behind()


def test_a_backend_that_is_away_is_tried_again_with_growing_delays(
    harness: FlowHarness, no_waiting: list[float]
) -> None:
    video = harness.upload()
    harness.script += [failing(ComputeUnavailable("no GPU is free")) for _ in range(3)]
    assert harness.run(INITIAL, video).success
    assert harness.compute.calls == 4
    assert harness.catalog.get_video_metadata(video.id).status == "active"
    assert len(no_waiting) == 3
    assert no_waiting == sorted(no_waiting)
    harness.nothing_is_left_behind()


@pytest.mark.parametrize("kind", [ComputeUnavailable, ComputeTimeout])
def test_a_backend_that_stays_away_fails_after_its_retries(
    harness: FlowHarness, no_waiting: list[float], kind: type[Exception]
) -> None:
    video = harness.upload()
    harness.script += [failing(kind("GPU timeout")) for _ in range(9)]
    result = harness.run(INITIAL, video)
    assert not result.success
    assert harness.compute.calls == 5
    # Each pause is longer than the one before, but for chance, by which callers part.
    assert len(no_waiting) == 4
    assert no_waiting == sorted(no_waiting)
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.layout_status) == ("error", "error")
    assert row.error_details
    assert (row.error_details["message"], row.error_details["run_id"]) == ("GPU timeout", result.run_id)
    assert request_state(harness, video.id, INITIAL) == "failed"
    harness.nothing_is_left_behind()

    harness.script.clear()
    harness.catalog.retry_video(video.id)
    assert harness.run(INITIAL, video).success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.error_details, row.layout_error_details) == ("active", None, None)


def test_bad_input_is_not_tried_again(harness: FlowHarness, no_waiting: list[float]) -> None:
    video = harness.upload()
    harness.script.append(failing(BadInput("clip.mp4: has no picture")))
    assert not harness.run(INITIAL, video).success
    assert (harness.compute.calls, no_waiting) == (1, [])
    assert request_state(harness, video.id, INITIAL) == "failed"


def test_an_error_nobody_foresaw_is_said_and_not_tried_again(harness: FlowHarness, no_waiting: list[float]) -> None:
    video = harness.upload()
    harness.script.append(failing(ZeroDivisionError("division by zero")))
    result = harness.run(INITIAL, video)
    assert not result.success
    assert no_waiting == []
    row = harness.catalog.get_video_metadata(video.id)
    assert row.error_details
    assert row.error_details["error_type"] == "ZeroDivisionError"


def test_a_failed_version_is_marked_and_the_next_run_makes_a_new_one(harness: FlowHarness) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    harness.script.append(failing(BadInput("clip.mp4: cannot be decoded")))
    assert not harness.run(CROP, video).success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.boundaries_status, row.cropped_frames_version) == ("error", None)
    harness.catalog.retry_video(video.id)
    assert harness.run(CROP, video).success
    states = [version.state for version in harness.catalog.list_cropped_frames_versions(video.id)]
    assert states == ["failed", "active"]
    harness.nothing_is_left_behind()


@pytest.mark.parametrize(("failed", "succeeds"), [(2, True), (3, False)])
def test_frames_whose_ocr_failed(
    harness: FlowHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failed: int, succeeds: bool
) -> None:
    video = harness.upload()
    real = harness.compute.extract_frames_and_ocr

    def partly(video_key: str, tenant_id: str, video_id: str, _rate: float, **options: object) -> ExtractResult:
        """Read four frames, and make it as if OCR had failed on some of them."""
        result = real(video_key, tenant_id, video_id, 2.0, **options)
        packed = harness.store.download_file(result.ocr_db_key, tmp_path / "ocr.db.gz")
        path = databases.decompress(packed, tmp_path / "ocr.db")
        with sqlite3.connect(path) as connection:
            connection.execute(
                "update frames set ocr_status = 'error', error = 'out of memory' where frame_index < ?", [failed]
            )
        connection.close()
        harness.store.publish(result.ocr_db_key, databases.compress(path, packed))
        return result.model_copy(update={"failed_ocr_count": failed})

    monkeypatch.setattr(harness.compute, "extract_frames_and_ocr", partly)
    result = harness.run(INITIAL, video)
    assert result.success is succeeds
    row = harness.catalog.get_video_metadata(video.id)
    if succeeds:
        assert row.failed_ocr_count == failed
        (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == "every_frame_read")
        assert (check.passed, check.severity) == (False, AssetCheckSeverity.WARN)
    else:
        assert row.error_details
        assert str(row.error_details["message"]).startswith(
            "clip.mp4: OCR failed on 3 of 4 frames; frame 0: out of memory"
        )


def test_a_refused_reading_is_no_failed_run(harness: FlowHarness, tmp_path: Path, no_waiting: list[float]) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    # The pass over the video is paid for, the reading of its captions is not.
    harness.script += [lambda: None, failing(QuotaExceeded("29.9 of 30 minutes of this month are used"))]
    result = harness.run(CROP, video)
    assert result.success
    made = {str(event.asset_key.path[-1]) for event in result.get_asset_materialization_events() if event.asset_key}
    assert made == {"cropped_frames", "caption_frame_extents"}
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.boundaries_status, row.text_status, row.caption_count) == ("annotate", "error", 1)
    assert row.text_error_details
    assert row.text_error_details["error_type"] == "QuotaExceeded"
    assert request_state(harness, video.id, CROP) == "cancelled"
    read = captions_of(harness, video, tmp_path)
    assert list(read.values()) == [("", "error", "29.9 of 30 minutes of this month are used")]
    assert no_waiting == []
    harness.nothing_is_left_behind()

    harness.catalog.retry_video(video.id)
    assert harness.run(CROP, video).success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.text_status, row.text_error_details) == ("annotate", None)
    read = captions_of(harness, video, tmp_path)
    assert list(read.values()) == [("Good evening.", "completed", None)]

    harness.catalog.request_caption_ocr(video.id, list(read))
    harness.script.append(failing(QuotaExceeded("30 of 30 minutes of this month are used")))
    config = {"ops": {"captions_db": {"config": {"caption_ids": list(read)}}}}
    assert harness.run(OCR, video, run_config=config).success
    kept = captions_of(harness, video, tmp_path)
    assert list(kept.values()) == [("Good evening.", "error", "30 of 30 minutes of this month are used")]
    assert request_state(harness, video.id, OCR) == "cancelled"
    assert harness.catalog.get_video_metadata(video.id).text_status == "annotate"
    harness.nothing_is_left_behind()


Read = tuple[str | None, str, str | None]


def captions_of(harness: FlowHarness, video: Video, folder: Path) -> dict[int, Read]:
    """What the machine read in each caption, how that ended, and why it could not."""
    packed = harness.store.download_file(harness.keys(video).captions_db, folder / "captions.db.gz")
    query = "select id, caption_ocr, caption_ocr_status, caption_ocr_error from captions"
    with closing(sqlite3.connect(databases.decompress(packed, folder / "captions.db"))) as connection:
        return {row[0]: row[1:] for row in connection.execute(query)}


def test_a_second_run_for_a_request_that_another_run_works_on_does_nothing(harness: FlowHarness) -> None:
    video = harness.upload()
    (request,) = harness.catalog.list_processing_requests(video_id=video.id).items
    tags = {REQUEST_TAG: str(request.id)}
    doubles = []

    def start_a_double() -> None:
        doubles.append(harness.run(INITIAL, video, tags=tags))

    harness.script.append(start_a_double)
    first = harness.run(INITIAL, video, tags=tags)
    assert (first.success, doubles[0].success) == (True, False)
    assert harness.compute.calls == 1
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.error_details) == ("active", None)
    assert harness.catalog.get_processing_request(request.id).run_id == first.run_id
    harness.nothing_is_left_behind()


def test_a_second_run_for_a_request_that_another_run_has_done_does_nothing(harness: FlowHarness) -> None:
    video = harness.upload()
    (request,) = harness.catalog.list_processing_requests(video_id=video.id).items
    tags = {REQUEST_TAG: str(request.id)}
    first = harness.run(INITIAL, video, tags=tags)
    double = harness.run(INITIAL, video, tags=tags)
    assert (first.success, double.success, harness.compute.calls) == (True, False, 1)
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.error_details) == ("active", None)
    assert harness.catalog.get_processing_request(request.id).run_id == first.run_id

    # A person who starts the first run again in Dagster's UI wants it.
    family = {PARENT_RUN_TAG: first.run_id, ROOT_RUN_TAG: first.run_id}
    assert harness.run(INITIAL, video, tags=tags | family).success
    assert harness.compute.calls == 2
    harness.nothing_is_left_behind()


def test_running_everything_again_changes_nothing_that_a_person_did(harness: FlowHarness, tmp_path: Path) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    assert harness.run(CROP, video).success
    keys = harness.keys(video)
    path = databases.decompress(
        harness.store.download_file(keys.captions_db, tmp_path / "captions.db.gz"), tmp_path / "captions.db"
    )
    with sqlite3.connect(path) as connection:
        connection.execute(
            "update captions set text = 'Good evening!', text_status = 'confirmed',"
            " caption_frame_extents_state = 'confirmed'"
        )
        before = connection.execute("select id, start_ms, end_ms, text from captions").fetchall()
    connection.close()
    harness.store.publish(keys.captions_db, databases.compress(path, tmp_path / "edited.db.gz"))
    objects = harness.store.list_files(keys.client_prefix)

    harness.approve(video)
    assert harness.run(CROP, video).success
    path = databases.decompress(
        harness.store.download_file(keys.captions_db, tmp_path / "again.db.gz"), tmp_path / "again.db"
    )
    with sqlite3.connect(path) as connection:
        assert connection.execute("select id, start_ms, end_ms, text from captions").fetchall() == before
    connection.close()
    assert b"Good evening!" in harness.store.download_to_bytes(keys.subtitles("srt"))
    old, new = keys.cropped_frames_prefix(1), keys.cropped_frames_prefix(2)
    again = harness.store.list_files(keys.client_prefix)
    assert [key.replace(new, old) for key in again if not key.startswith(old)] == objects


def test_captions_that_processing_removed_are_brought_back_with_all_that_belongs_to_them(
    harness: FlowHarness, tmp_path: Path
) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    assert harness.run(CROP, video).success
    # The second time finds what the first one published, as a step does that is retried after its publication.
    for _ in range(2):
        harness.catalog.approve_layout(video.id, (0.0, 0.0, 1.0, 0.2))
        assert harness.run(CROP, video).success
        assert captions_of(harness, video, tmp_path) == {}

    def restored() -> tuple[int | None, list[str], bytes]:
        row = harness.catalog.get_video_metadata(video.id)
        path = download_captions(harness.store, row, tmp_path)
        rows = restore_captions(harness.catalog, harness.store, row, path, SubtitleOptions(), lambda: None)
        shown = [caption.shown_text for caption in rows]
        assert [read[0] for read in captions_of(harness, video, tmp_path).values()] == shown
        srt = harness.store.download_to_bytes(harness.keys(video).subtitles("srt"))
        return harness.catalog.get_video_metadata(video.id).caption_count, shown, srt

    count, shown, srt = restored()
    assert (count, shown, b"Good evening." in srt) == (1, ["Good evening."], True)
    assert restored() == (0, [], b"")
    assert restored() == (count, shown, srt)
    harness.nothing_is_left_behind()


def test_each_partition_names_its_file(harness: FlowHarness) -> None:
    video = harness.upload("The evening.mp4", frames=40)
    first = harness.run(INITIAL, video)
    harness.approve(video)
    second = harness.run(CROP, video)
    made = [
        event.materialization
        for result in (first, second)
        for event in result.get_asset_materialization_events()
    ]  # fmt: skip
    assert len(made) == 8
    assert {(item.partition, item.metadata["video"].value) for item in made} == {(str(video.id), "The evening.mp4")}
    judged = [evaluation for result in (first, second) for evaluation in result.get_asset_check_evaluations()]
    assert len(judged) == 30
    assert all(evaluation.metadata["video"].value == "The evening.mp4" for evaluation in judged)
    for result in (first, second):
        run = harness.instance.get_run_by_id(result.run_id)
        assert run
        assert run.tags[VIDEO_NAME_TAG] == "The evening.mp4"


def statuses(harness: FlowHarness, video: Video) -> tuple[str, str, str, str]:
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.error_details, row.layout_error_details) == (None, None)
    assert (row.boundaries_error_details, row.text_error_details) == (None, None)
    return row.status, row.layout_status, row.boundaries_status, row.text_status


def test_a_backfill_over_all_assets_of_two_processed_videos(harness: FlowHarness, approval_is_automatic: None) -> None:
    by_itself, by_a_person = harness.upload("a.mp4", frames=40), harness.upload("b.mp4", frames=40)
    region = (0.1, 0.5, 0.9, 0.95)
    for video in (by_itself, by_a_person):
        result = harness.run(INITIAL, video)
        if video is by_a_person:
            harness.catalog.approve_layout(video.id, region)
        else:
            assert harness.record_outcome(result.run_id, "always") == "layout approved"
        assert harness.run(CROP, video).success
    everything = FLOW_ASSETS[INITIAL] | FLOW_ASSETS[CROP]
    for video in (by_itself, by_a_person):
        assert harness.run_assets(video, everything, "always").success
        assert statuses(harness, video) == ("active", "done", "annotate", "annotate")
    harness.nothing_is_left_behind()
    row = harness.catalog.get_video_metadata(by_a_person.id)
    assert (row.crop_region, row.layout_approval) == (region, "person")
    assert harness.catalog.get_video_metadata(by_itself.id).layout_approval == "automatic"

    # Of the layout alone: the captions belong to the one before, so they are wanted again.
    assert harness.run_assets(by_itself, FLOW_ASSETS[INITIAL], "always").success
    assert statuses(harness, by_itself) == ("active", "done", "wait", "wait")
    (request,) = harness.catalog.list_processing_requests(states=["pending"]).items
    assert (request.video_id, request.flow) == (by_itself.id, CROP)
    # Or a person must look at it first.
    harness.catalog.finish_processing_request(request.id, "cancelled")
    assert harness.run_assets(by_itself, FLOW_ASSETS[INITIAL], "never").success
    assert statuses(harness, by_itself)[:2] == ("active", "annotate")
    assert harness.catalog.get_video_metadata(by_itself.id).layout_approved_at is None


def test_a_region_that_a_person_approves_while_the_layout_is_found_stays(harness: FlowHarness) -> None:
    video = harness.upload("a.mp4", frames=40)
    assert harness.run(INITIAL, video).success
    region = (0.1, 0.5, 0.9, 0.95)

    def approve() -> None:
        harness.catalog.approve_layout(video.id, region)

    harness.script.append(approve)
    # Without the file itself, the video stays active meanwhile.
    assert harness.run_assets(video, FLOW_ASSETS[INITIAL] - {"raw_video"}, "never").success
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.crop_region, row.layout_approval) == (region, "person")
    assert statuses(harness, video) == ("active", "done", "wait", "wait")
    assert row.layout_confidence is not None


def test_a_changed_rate_moves_no_frames_of_a_processed_video(
    harness: FlowHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    assert harness.run(CROP, video).success
    monkeypatch.setenv("CAPTIONACC_CROPPED_FRAME_RATE", "5")
    get_settings.cache_clear()
    try:
        assert harness.run_assets(video, ["captions_db", "subtitles"], "never").success
        row = harness.catalog.get_video_metadata(video.id)
        assert (row.caption_count, harness.catalog.get_cropped_frame_rate(video.id, 1)) == (1, 10.0)
        harness.approve(video)
        assert harness.run(CROP, video).success
    finally:
        get_settings.cache_clear()
    assert harness.catalog.get_cropped_frame_rate(video.id, 2) == 5.0
    versions = harness.catalog.list_cropped_frames_versions(video.id)
    assert [version.frame_count for version in versions] == [24, 12]


def test_chosen_captions_that_are_gone_or_cannot_be_read(harness: FlowHarness, tmp_path: Path) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    assert harness.run(CROP, video).success

    # A split that was undone before its reading began: nothing to read is no failure.
    harness.catalog.request_caption_ocr(video.id, [19])
    config = {"ops": {"captions_db": {"config": {"caption_ids": [19]}}}}
    assert harness.run(OCR, video, run_config=config).success
    assert request_state(harness, video.id, OCR) == "succeeded"
    assert captions_of(harness, video, tmp_path) == {1: ("Good evening.", "completed", None)}

    harness.catalog.request_caption_ocr(video.id, [1])
    harness.script.append(failing(BadInput("the crop region is empty")))
    config = {"ops": {"captions_db": {"config": {"caption_ids": [1]}}}}
    assert not harness.run(OCR, video, run_config=config).success
    assert captions_of(harness, video, tmp_path) == {1: ("Good evening.", "error", "the crop region is empty")}
    assert harness.catalog.get_video_metadata(video.id).text_status == "annotate"
    assert request_state(harness, video.id, OCR) == "failed"
    harness.nothing_is_left_behind()


def test_a_videos_story_tells_stages_and_errors_in_order_of_time(harness: FlowHarness, no_waiting: list[float]) -> None:
    video = harness.upload()
    harness.script += [failing(ComputeUnavailable("no GPU is free")), failing(BadInput("clip.mp4: has no picture"))]
    harness.run(INITIAL, video)
    story = video_history(harness.catalog, harness.instance, video.id)
    assert [event.at for event in story] == sorted(event.at for event in story)
    told = [(event.event, event.details.get("stage")) for event in story]
    wanted = [
        ("uploaded", None),
        ("requested", None),
        ("run started", None),
        ("stage started", "raw_video"),
        ("stage done", "raw_video"),
        ("stage will be retried", "initial_processing"),
        ("stage failed", "initial_processing"),
        ("run failed", None),
    ]
    assert [step for step in told if step in wanted] == wanted
    failed = next(event for event in story if event.event == "stage failed")
    assert "has no picture" in str(failed.details["error"])


def test_failures_are_counted(harness: FlowHarness) -> None:
    video = harness.upload()
    harness.script.append(failing(BadInput("clip.mp4: has no picture")))
    harness.run(INITIAL, video)
    metrics = harness.catalog.get_metrics()
    assert metrics.videos == {"error": 1}
    assert metrics.requests == ()
    assert request_state(harness, video.id, INITIAL) == "failed"
