"""One short video on a real GPU: only where a Modal account, the deployed app and its bucket are configured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from captionacc_dagster.backends import open_store
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.modal_backend import ModalCompute
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.small_clips import CAPTIONS, RATE, make_clip

NEEDED = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "WASABI_BUCKET", "WASABI_ACCESS_KEY", "WASABI_SECRET_KEY")

# An account costs money and belongs to somebody: not even CI=true may take its absence for a failure.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not all(os.environ.get(name) for name in NEEDED),
        reason=f"no Modal account: {', '.join(NEEDED)} are not all set",
    ),
]


@pytest.fixture
def store() -> ObjectStore:
    return open_store(Settings())


@pytest.fixture
def video(store: ObjectStore, postgres_catalog: PostgresCatalog, tmp_path: Path) -> Iterator[VideoKeys]:
    keys = VideoKeys(str(LOCAL_TENANT_ID), str(uuid4()))
    store.upload_from_path(keys.video, make_clip(tmp_path / "news.mp4"))
    postgres_catalog.create_video(keys.tenant_id, "news.mp4", video_id=keys.video_id)
    yield keys
    store.delete_prefix(keys.client_prefix)
    store.delete_prefix(keys.server_prefix)


def test_a_short_video_on_a_real_gpu(store: ObjectStore, postgres_catalog: PostgresCatalog, video: VideoKeys) -> None:
    compute = ModalCompute(store, postgres_catalog, video_seconds=lambda video_id: 4.0, run_id=str(uuid4()))
    where = (video.video, video.tenant_id, video.video_id)
    extracted = compute.extract_frames_and_ocr(*where, 1.0)
    assert extracted.frame_count == 4
    assert str(compute.call_metadata()["modal/device"]).startswith("NVIDIA")
    inferred = compute.crop_and_infer_caption_frame_extents(*where, extracted.crop_region, 1, float(RATE))
    assert inferred.caption_frame_extents_count == len(CAPTIONS)
