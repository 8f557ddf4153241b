"""The deployed functions themselves, run in processes of their own and called through Modal's real client.

One set of tests over both backends: what the local one gives, the remote one gives.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import BadInput, ComputeBackend
from captionacc_dagster.compute.local import LocalCompute
from captionacc_dagster.compute.results import CaptionSpan, CropBox
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster_tests.compute.conftest import AddVideo, MakeBackend, StoredVideo, limits, rows_of
from captionacc_dagster_tests.compute.modal_server import ModalServer
from captionacc_dagster_tests.small_clips import CAPTIONS, RATE, make_clip

pytestmark = pytest.mark.integration

WORDS = ("One", "Two", "Three", "Four", "Five")
REGION = CropBox(crop_left=0.1, crop_top=0.8, crop_right=0.9, crop_bottom=0.97)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "news.mp4")


@pytest.fixture(scope="module")
def silent_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "no-text.mp4", captions=(), frames=60)


@pytest.fixture(params=["local", "modal"])
def compute(request: pytest.FixtureRequest, store: ObjectStore) -> ComputeBackend:
    """Either backend, on the same bucket."""
    if request.param == "local":
        return LocalCompute(store, lambda: create_engine("rapidocr", threads=1))
    make_backend: MakeBackend = request.getfixturevalue("make_backend")
    return make_backend(limits=limits(run_s=240, queue_s=240))


def tables(store: ObjectStore, key: str, tmp_path: Path, *queries: str) -> list[Any]:
    """The rows that queries give on a database in the bucket."""
    path = store.download_file(key, tmp_path / Path(key).name)
    if key.endswith(".gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path = path.with_suffix("")
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(query).fetchall() for query in queries]


class TestExtractFramesAndOcr:
    def test_a_real_video(self, compute: ComputeBackend, add_video: AddVideo, clip: Path, store: ObjectStore) -> None:
        video = add_video(clip)
        result = compute.extract_frames_and_ocr(*video.where, 1.0)
        assert result.frame_count == 4
        assert result.duration == pytest.approx(4.0, abs=0.05)
        assert (result.frame_width, result.frame_height, result.video_codec) == (480, 270, "h264")
        assert result.bitrate > 0
        assert result.ocr_box_count >= 3
        assert result.failed_ocr_count == 0
        assert result.processing_duration_seconds > 0
        tenant, video_id = video.keys.tenant_id, video.keys.video_id
        assert result.full_frames_key == f"{tenant}/client/videos/{video_id}/full_frames/"
        assert result.ocr_db_key == f"{tenant}/server/videos/{video_id}/raw-ocr.db.gz"
        assert result.layout_db_key == f"{tenant}/server/videos/{video_id}/layout.db.gz"
        assert len(store.list_files(result.full_frames_key)) == 4
        assert result.crop_region is not None

    def test_a_video_without_text(self, compute: ComputeBackend, add_video: AddVideo, silent_clip: Path) -> None:
        result = compute.extract_frames_and_ocr(*add_video(silent_clip).where, 1.0)
        assert (result.ocr_box_count, result.failed_ocr_count, result.crop_region) == (0, 0, None)

    @pytest.mark.parametrize("frame_rate", [0.05, 0.1, 0.2, 0.5, 2.0])
    def test_frame_rates(
        self, compute: ComputeBackend, add_video: AddVideo, silent_clip: Path, frame_rate: float
    ) -> None:
        result = compute.extract_frames_and_ocr(*add_video(silent_clip).where, frame_rate)
        expected = max(1, int(result.duration * frame_rate))
        assert abs(result.frame_count - expected) <= expected * 0.1

    def test_the_databases(
        self, compute: ComputeBackend, add_video: AddVideo, clip: Path, store: ObjectStore, tmp_path: Path
    ) -> None:
        result = compute.extract_frames_and_ocr(*add_video(clip).where, 1.0)
        query = "SELECT COUNT(*) FROM ocr_detections"
        assert tables(store, result.layout_db_key, tmp_path, query) == [[(result.ocr_box_count,)]]
        assert tables(store, result.ocr_db_key, tmp_path, query) == [[(result.ocr_box_count,)]]

    def test_what_is_no_video_is_named(self, compute: ComputeBackend, add_video: AddVideo) -> None:
        with pytest.raises(BadInput):
            compute.extract_frames_and_ocr(*add_video(b"this is a text file").where)

    def test_a_video_that_is_not_there_is_named(
        self, compute: ComputeBackend, add_video: AddVideo, store: ObjectStore
    ) -> None:
        video = add_video()
        store.delete_file(video.keys.video)
        with pytest.raises(BadInput, match=r"video\.mp4"):
            compute.extract_frames_and_ocr(*video.where)


class TestCropAndInfer:
    def test_extents_and_captions(
        self, compute: ComputeBackend, add_video: AddVideo, clip: Path, store: ObjectStore, tmp_path: Path
    ) -> None:
        video = add_video(clip)
        region = compute.extract_frames_and_ocr(*video.where, 1.0).crop_region
        result = compute.crop_and_infer_caption_frame_extents(*video.where, region, 1)
        assert result.frame_count == 40
        assert result.caption_frame_extents_count == 2
        assert sum(result.label_counts.values()) == 39
        query = "SELECT start_ms, end_ms FROM extents ORDER BY start_ms"
        expected = [(start * 1000 // RATE, end * 1000 // RATE) for start, end, _ in CAPTIONS]
        assert tables(store, result.caption_frame_extents_db_key, tmp_path, query) == [expected]
        assert store.download_to_bytes(video.keys.shots) == b"[]"
        assert store.list_files(result.cropped_frames_prefix)
        spans = [CaptionSpan(caption_id=n, start_ms=a, end_ms=b) for n, (a, b) in enumerate(expected)]
        spans.append(CaptionSpan(caption_id=7, start_ms=2200, end_ms=3000))
        read = compute.generate_caption_ocr(*video.where, region, 1, spans)
        assert [(caption.caption_id, caption.ocr_text) for caption in read] == [
            (0, CAPTIONS[0][2]),
            (1, CAPTIONS[1][2]),
            (7, CAPTIONS[1][2]),
        ]

    def test_without_a_layout_it_says_what_to_run(
        self, compute: ComputeBackend, add_video: AddVideo, clip: Path
    ) -> None:
        with pytest.raises(BadInput, match=r"layout\.db\.gz"):
            compute.crop_and_infer_caption_frame_extents(*add_video(clip).where, REGION, 1)


class TestPaidOnce:
    @pytest.fixture
    def video(self, add_video: AddVideo, silent_clip: Path) -> StoredVideo:
        return add_video(silent_clip)

    def test_the_same_work_again_is_not_called_again(
        self, make_backend: MakeBackend, video: StoredVideo, modal_server: ModalServer
    ) -> None:
        first = make_backend().extract_frames_and_ocr(*video.where)
        again = make_backend()
        assert again.extract_frames_and_ocr(*video.where) == first
        assert len(modal_server.calls) == 1
        assert again.call_metadata()["modal/reused"] is True
        assert again.call_metadata()["modal/estimated_cost_usd"] == 0

    def test_a_result_that_the_ledger_lost_is_taken_from_the_bucket(
        self, make_backend: MakeBackend, video: StoredVideo, modal_server: ModalServer, ledger: PostgresCatalog
    ) -> None:
        first = make_backend().extract_frames_and_ocr(*video.where)
        [row] = rows_of(ledger, video)
        ledger.respawn_compute_call(row.id, attempt=1, reason="the ledger lost the result")
        again = make_backend()
        assert again.extract_frames_and_ocr(*video.where) == first
        assert len(modal_server.calls) == 1
        assert again.call_metadata()["modal/reused"] is True

    @pytest.mark.parametrize(
        "what",
        ["other work", *(pytest.param(what, marks=pytest.mark.slow) for what in ("outputs", "video"))],
    )
    def test_what_has_changed_is_done_anew(
        self,
        make_backend: MakeBackend,
        video: StoredVideo,
        modal_server: ModalServer,
        store: ObjectStore,
        clip: Path,
        what: str,
    ) -> None:
        first = make_backend().extract_frames_and_ocr(*video.where, 1.0)
        if what == "outputs":
            store.delete_file(first.layout_db_key)
        elif what == "video":
            store.upload_from_path(video.keys.video, clip)
        else:
            make_backend().extract_frames_and_ocr(*video.where, 2.0)
        before = len(modal_server.calls)
        again = make_backend().extract_frames_and_ocr(*video.where, 1.0)
        assert len(modal_server.calls) == before + 1
        assert store.file_exists(again.layout_db_key)
        assert len(store.list_files(again.full_frames_key)) == again.frame_count

    @pytest.mark.recovery
    def test_the_next_run_has_another_version_and_takes_over_what_was_made(
        self,
        make_backend: MakeBackend,
        video: StoredVideo,
        modal_server: ModalServer,
        store: ObjectStore,
        tmp_path: Path,
    ) -> None:
        make_backend().extract_frames_and_ocr(*video.where, 1.0)
        first = make_backend().crop_and_infer_caption_frame_extents(*video.where, REGION, 1)
        second = make_backend().crop_and_infer_caption_frame_extents(*video.where, REGION, 2)
        assert len(modal_server.calls_of("crop_and_infer_caption_frame_extents")) == 1
        assert (first.version, second.version) == (1, 2)
        names = [
            [key.removeprefix(result.cropped_frames_prefix) for key in store.list_files(result.cropped_frames_prefix)]
            for result in (first, second)
        ]
        assert names[0]
        assert names[0] == names[1]
        query = "SELECT cropped_frames_version FROM run_metadata"
        assert tables(store, second.caption_frame_extents_db_key, tmp_path, query) == [[(2,)]]


class TestSegments:
    @pytest.fixture
    def long_clip(self, tmp_path: Path) -> Path:
        captions = [(20 + 60 * n, 65 + 60 * n, f"{word} and more.") for n, word in enumerate(WORDS)]
        return make_clip(tmp_path / "long.mp4", captions, frames=330, seed=2)

    @pytest.mark.slow
    def test_a_long_video_is_cut_and_joined_and_each_piece_is_paid_once(
        self,
        make_backend: MakeBackend,
        add_video: AddVideo,
        long_clip: Path,
        modal_server: ModalServer,
        store: ObjectStore,
        ledger: PostgresCatalog,
        tmp_path: Path,
    ) -> None:
        video = add_video(long_clip)
        local = LocalCompute(store, lambda: create_engine("rapidocr", threads=1))
        local.extract_frames_and_ocr(*video.where, 1.0)
        whole = local.crop_and_infer_caption_frame_extents(*video.where, REGION, 1, 100.0)
        cut = {"video_seconds": lambda video_id: 13.2, "segment_s": 5.0, "limits": limits(run_s=240, queue_s=240)}
        pieces = make_backend(**cut).crop_and_infer_caption_frame_extents(*video.where, REGION, 2, 100.0)
        calls = modal_server.calls_of("crop_and_infer_caption_frame_extents")
        assert len(calls) == len(rows_of(ledger, video)) == 3
        query = "SELECT start_frame_index, end_frame_index, start_ms, end_ms FROM extents ORDER BY start_ms"
        found = [tables(store, result.caption_frame_extents_db_key, tmp_path, query)[0] for result in (whole, pieces)]
        assert found[0] == found[1]
        assert len(found[0]) == len(WORDS)
        assert (pieces.frame_count, pieces.native_frame_count, pieces.label_counts) == (
            whole.frame_count,
            whole.native_frame_count,
            whole.label_counts,
        )
        names = [
            [key.removeprefix(result.cropped_frames_prefix) for key in store.list_files(result.cropped_frames_prefix)]
            for result in (whole, pieces)
        ]
        assert names[0] == names[1]
        again = make_backend(**cut)
        assert again.crop_and_infer_caption_frame_extents(*video.where, REGION, 2, 100.0).version == 2
        assert again.call_metadata()["modal/reused"] is True
        assert len(modal_server.calls_of("crop_and_infer_caption_frame_extents")) == 3


class TestLargeMessages:
    @pytest.mark.slow
    def test_many_captions_travel_as_objects(
        self,
        make_backend: MakeBackend,
        add_video: AddVideo,
        silent_clip: Path,
        modal_server: ModalServer,
        store: ObjectStore,
        ledger: PostgresCatalog,
    ) -> None:
        video = add_video(silent_clip)
        backend = make_backend(limits=limits(run_s=240))
        backend.extract_frames_and_ocr(*video.where, 1.0)
        backend.crop_and_infer_caption_frame_extents(*video.where, REGION, 1)
        spans = [CaptionSpan(caption_id=n, start_ms=1000, end_ms=1040) for n in range(300)]
        read = backend.generate_caption_ocr(*video.where, REGION, 1, spans)
        assert [caption.caption_id for caption in read] == list(range(300))
        [call] = modal_server.calls_of("generate_caption_ocr")
        assert call.message["arguments"]["captions"] is None
        assert store.file_exists(call.message["arguments"]["captions_ref"]["key"])
        assert len(json.dumps(call.message)) < 8192
        # The same from the bucket, after the ledger lost the result.
        row = rows_of(ledger, video)[-1]
        ledger.respawn_compute_call(row.id, attempt=row.attempts, reason="the ledger lost the result")
        assert make_backend().generate_caption_ocr(*video.where, REGION, 1, spans) == read
        assert len(modal_server.calls_of("generate_caption_ocr")) == 1
