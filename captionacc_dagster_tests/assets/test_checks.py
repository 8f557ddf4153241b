"""The checks as the jobs run them: on what is stored, stopping what comes after, told in the video's row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from dagster import AssetCheckExecutionContext, ExecuteInProcessResult

from captionacc_dagster.assets import checks
from captionacc_dagster.assets.check_rules import Verdict
from captionacc_dagster.assets.lifecycle import VideoRun
from captionacc_dagster.captioning.files import databases
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.results import CropInferResult
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.conftest import TEMPLATE
from captionacc_dagster_tests.orchestration.instances import postgres_instance
from captionacc_dagster_tests.recovery.conftest import FlowHarness
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.integration

INITIAL, CROP, OCR = Flow.VIDEO_INITIAL_PROCESSING, Flow.CROP_AND_INFER, Flow.CAPTION_OCR


def names(specs: Iterable[Any]) -> set[str]:
    return {f"{spec.asset_key.to_user_string()}:{spec.name}" for spec in specs}


def outcomes(result: ExecuteInProcessResult) -> dict[str, bool]:
    return {
        f"{found.asset_key.to_user_string()}:{found.check_name}": found.passed
        for found in result.get_asset_check_evaluations()
    }


def steps_run(result: ExecuteInProcessResult) -> set[str]:
    return {str(event.step_key) for event in result.all_events if event.is_step_start}


@dataclass(frozen=True)
class Judge:
    """Judges one video as the checks do."""

    harness: FlowHarness
    video: Video

    @property
    def run(self) -> VideoRun:
        context = SimpleNamespace(
            instance=self.harness.instance, partition_key=str(self.video.id), has_partition_key=True
        )
        return VideoRun(cast(AssetCheckExecutionContext, context), self.harness.catalog, CROP, "text")

    def everything(self) -> dict[str, Verdict]:
        """Return every verdict that can be given without a run."""
        run, store = self.run, self.harness.store
        judged = [
            *checks.judge_raw_video(run, store),
            *checks.judge_frames(run, store),
            *checks.judge_layout(run, store),
            *checks.judge_cropped_frames(run, store, 1),
            *checks.judge_extents(run, store, 1),
            *checks.judge_captions(run.video, store),
            *checks.judge_subtitles(run, store, SubtitleOptions()),
        ]
        return {f"{asset}:{name}": verdict for asset, name, verdict in judged}

    def change(self, key: str, statement: str, folder: Path) -> None:
        """Change one of the video's databases."""
        store = self.harness.store
        path = store.download_file(key, folder / "object")
        if key.endswith(".gz"):
            path = databases.decompress(path, folder / "database")
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        store.publish(key, databases.compress(path, folder / "packed") if key.endswith(".gz") else path)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionacc_dagster.assets.stored_outputs.EDIT_SECONDS", 0.0)


class Processed(NamedTuple):
    """A video that went through its three jobs, what each job's checks said, and every verdict on it."""

    judge: Judge
    first: ExecuteInProcessResult
    second: ExecuteInProcessResult
    third: ExecuteInProcessResult
    verdicts: dict[str, Verdict]


@pytest.fixture(scope="module")
def processed(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processed]:
    """One video for all that only look at it; who damages it mends it."""
    folder = tmp_path_factory.mktemp("processed")
    postgres_server.ensure_database("checks", template=TEMPLATE)
    with PostgresCatalog(postgres_server.url("checks")) as catalog, postgres_instance(postgres_server) as instance:
        harness = FlowHarness(instance, catalog, LocalObjectStore(folder / "objects"), folder)
        video = harness.upload()
        first = harness.run(INITIAL, video)
        harness.approve(video)
        second = harness.run(CROP, video)
        catalog.request_caption_ocr(video.id, [1])
        third = harness.run(OCR, video, run_config={"ops": {"captions_db": {"config": {"caption_ids": [1]}}}})
        judge = Judge(harness, video)
        yield Processed(judge, first, second, third, judge.everything())


def test_the_jobs_run_the_checks(processed: Processed) -> None:
    first, second, third = processed.first, processed.second, processed.third
    captions = names(checks.CAPTIONS_CHECKS) | names(checks.SUBTITLES_CHECKS)
    assert (first.success, second.success, third.success) == (True, True, True)
    assert set(outcomes(first)) == names(checks.RAW_VIDEO_CHECKS) | names(checks.LAYOUT_CHECKS)
    assert set(outcomes(second)) == names(checks.EXTENTS_CHECKS) | captions
    assert set(outcomes(third)) == captions
    assert [name for name, passed in outcomes(first).items() if not passed] == ["layout_db:layout_is_confident"]
    assert [name for name, passed in outcomes(second).items() if not passed] == []
    assert [name for name, verdict in processed.verdicts.items() if not verdict.passed] == [
        "layout_db:layout_is_confident"
    ]
    processed.judge.harness.nothing_is_left_behind()


class Damage(NamedTuple):
    """What is done to an object (a statement on the database, other content, or it is gone) and which checks see it."""

    key: Callable[[VideoKeys], str]
    done: str | bytes | None
    seen: dict[str, str]


OVERLAP = (
    "INSERT INTO extents SELECT NULL, start_frame_index, end_frame_index, start_ms + 80, end_ms, confidence,"
    " native_start_frame + 2, native_end_frame, track, bbox_left, bbox_top, bbox_right, bbox_bottom, text,"
    " text_confidence, kind, lang, script, unread, words FROM extents"
)
EXTENTS = "caption_frame_extents"
DAMAGES = {
    "a frame is gone": Damage(
        lambda keys: keys.full_frame(0),
        None,
        {
            "full_frames:objects_as_recorded": "objects: recorded 1, stored 0",
            "full_frames:every_frame_is_there": "frame 0: not stored",
        },
    ),
    "a frame was not read": Damage(
        lambda keys: keys.ocr_db,
        "UPDATE frames SET ocr_status = 'error', error = 'out of memory'",
        {"ocr_db:object_as_recorded": "sha256", "ocr_db:every_frame_read": "frame 0: out of memory"},
    ),
    "the layout lost its boxes": Damage(
        lambda keys: keys.layout_db,
        "DELETE FROM boxes",
        {"layout_db:object_as_recorded": "size_bytes", "layout_db:boxes_agree": "0 in layout.db"},
    ),
    "a chunk is gone": Damage(
        lambda keys: keys.chunk(1, 16, 0),
        None,
        {
            "cropped_frames:objects_as_recorded": "objects",
            "cropped_frames:every_chunk_is_there": "modulo_16/chunk_0000000000.webm: missing",
        },
    ),
    "extents overlap": Damage(
        lambda keys: keys.extents_db(1),
        OVERLAP,
        {
            f"{EXTENTS}:object_as_recorded": "sha256",
            f"{EXTENTS}:extents_in_order": "caption 2 (0.480-2.000 s): overlaps caption 1 in track bottom",
            f"{EXTENTS}:labels_agree": "the extents imply",
        },
    ),
    "a label is another": Damage(
        lambda keys: keys.extents_db(1),
        "UPDATE pair_results SET predicted_label = 'same' WHERE frame1_index = 0",
        {f"{EXTENTS}:object_as_recorded": "sha256", f"{EXTENTS}:labels_agree": "label same"},
    ),
    "a caption was not read": Damage(
        lambda keys: keys.captions_db,
        "UPDATE captions SET caption_ocr_status = 'error', caption_ocr_error = 'blurred'",
        {"captions_db:every_caption_read": "caption 1: blurred"},
    ),
    "a caption lasts too long": Damage(
        lambda keys: keys.captions_db,
        "UPDATE captions SET end_ms = 99000",
        {
            "captions_db:captions_in_order": "caption 1 (0.400-99.000 s): lies outside the video",
            "captions_db:lengths_plausible": "lasts 98.60 s",
            "subtitles:equal_the_captions": "captions.srt: caption 1",
        },
    ),
    "a text is doubtful": Damage(
        lambda keys: keys.captions_db,
        "UPDATE captions SET caption_ocr = 'G00d', caption_ocr_confidence = 0.4",
        {
            "captions_db:text_is_confident": "0.40",
            "captions_db:confident_as_a_whole": "1 of 1 captions",
            "subtitles:equal_the_captions": "G00d",
        },
    ),
    "a text is too long": Damage(
        lambda keys: keys.captions_db,
        "UPDATE captions SET text = hex(zeroblob(60))",
        {"captions_db:reading_speed_plausible": "120 characters", "subtitles:equal_the_captions": "captions.vtt"},
    ),
    "subtitles are gone": Damage(
        lambda keys: keys.subtitles("vtt"), None, {"subtitles:equal_the_captions": "captions.vtt: not stored"}
    ),
    "another video": Damage(lambda keys: keys.video, b"something else", {"raw_video:object_as_recorded": "size_bytes"}),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_the_checks_see_what_is_wrong(processed: Processed, damage: Damage, tmp_path: Path) -> None:
    """Exactly the checks that should see it do, and name it."""
    judge, store = processed.judge, processed.judge.harness.store
    key = damage.key(judge.harness.keys(judge.video))
    whole = store.download_to_bytes(key)
    if damage.done is None:
        store.delete_file(key)
    elif isinstance(damage.done, bytes):
        store.upload_file(key, damage.done)
    else:
        judge.change(key, damage.done, tmp_path)
    found = {
        name: verdict
        for name, verdict in judge.everything().items()
        if not verdict.passed and processed.verdicts[name].passed
    }
    store.publish(key, whole)
    assert set(found) == set(damage.seen)
    assert [text for name, text in damage.seen.items() if text not in " | ".join(found[name].wrong)] == []
    # Mended, all is as it was; written anew it has another etag, so that it is read again.
    assert {name for name, verdict in judge.everything().items() if not verdict.passed} == {
        "layout_db:layout_is_confident"
    }


def test_another_file_than_was_announced_is_not_processed(harness: FlowHarness) -> None:
    path = make_clip(harness.folder / "clip.mp4", frames=30)
    video = harness.catalog.create_video(
        LOCAL_TENANT_ID, "clip.mp4", content_hash="ab" * 32, file_size_bytes=path.stat().st_size
    ).video
    harness.store.upload_from_path(harness.keys(video).video, path)
    harness.instance.add_dynamic_partitions("videos", [str(video.id)])
    result = harness.run(INITIAL, video)
    assert not result.success
    assert outcomes(result) == {"raw_video:keys_belong_to_tenant": True, "raw_video:object_as_recorded": False}
    assert steps_run(result) == {"raw_video", "raw_video_checks"}
    assert harness.compute.calls == 0
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.layout_status) == ("error", "error")
    assert row.error_details
    assert row.error_details["error_type"] == "CheckFailed"
    assert str(row.error_details["message"]).startswith(f"clip.mp4: sha256: recorded {'ab' * 32}, stored ")
    assert row.error_details["run_id"] == result.run_id
    harness.nothing_is_left_behind()


def test_extents_that_overlap_become_no_captions(harness: FlowHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    video = harness.upload()
    assert harness.run(INITIAL, video).success
    harness.approve(video)
    real = harness.compute.crop_and_infer_caption_frame_extents

    def overlapping(*args: Any, **kwargs: Any) -> CropInferResult:
        result = real(*args, **kwargs)
        Judge(harness, video).change(
            result.caption_frame_extents_db_key, "UPDATE extents SET end_ms = start_ms - 40", harness.folder
        )
        return result

    monkeypatch.setattr(harness.compute, "crop_and_infer_caption_frame_extents", overlapping)
    result = harness.run(CROP, video)
    assert not result.success
    assert steps_run(result) == {"caption_extents", "extents_checks"}
    assert outcomes(result)["caption_frame_extents:extents_in_order"] is False
    row = harness.catalog.get_video_metadata(video.id)
    assert (row.status, row.boundaries_status, row.text_status) == ("active", "error", "wait")
    assert row.boundaries_error_details
    assert str(row.boundaries_error_details["message"]).startswith("clip.mp4: caption 1 (0.400-0.360 s): ends before")
    assert not harness.store.file_exists(harness.keys(video).captions_db)
    harness.nothing_is_left_behind()
