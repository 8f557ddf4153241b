"""A tenant's quota holds for this machine's computing as it holds for Modal's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.backends import open_compute
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import BadInput, QuotaExceeded
from captionacc_dagster.compute.metered import MeteredCompute
from captionacc_dagster.compute.modal_backend import reconcile
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(catalog_url: str) -> Iterator[PostgresCatalog]:
    with PostgresCatalog(catalog_url) as catalog:
        yield catalog


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects")


def compute(store: LocalObjectStore, ledger: PostgresCatalog) -> MeteredCompute:
    """The local backend as runs get it."""
    backend = open_compute(store, ledger, Settings(), run_id="run-1")
    assert isinstance(backend, MeteredCompute)
    return backend


def add_video(ledger: PostgresCatalog, store: LocalObjectStore, tenant_id: UUID) -> VideoKeys:
    """Add a clip of five frames without captions."""
    video = ledger.create_video(tenant_id, "a.mp4").video
    keys = VideoKeys(str(tenant_id), str(video.id))
    with TemporaryDirectory() as folder:
        store.upload_file(keys.video, make_clip(Path(folder) / "a.mp4", (), frames=5).read_bytes())
    return keys


def tenant(ledger: PostgresCatalog, url: str, **limits: int) -> UUID:
    made = ledger.ensure_tenant(uuid4(), "limited", "enterprise").id
    with psycopg.connect(url, autocommit=True) as connection:
        for column, limit in limits.items():
            change = sql.SQL("update captionacc.tenants set {} = %s where id = %s").format(sql.Identifier(column))
            connection.execute(change, (limit, made))
    return made


def extract(backend: MeteredCompute, keys: VideoKeys) -> int:
    return backend.extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id).frame_count


def test_minutes_are_charged_when_the_work_ends(
    ledger: PostgresCatalog, store: LocalObjectStore, catalog_url: str
) -> None:
    keys = add_video(ledger, store, tenant(ledger, catalog_url, processing_minutes_limit=100))
    backend = compute(store, ledger)
    assert extract(backend, keys) == 1
    with pytest.raises(BadInput):
        backend.generate_caption_ocr(keys.video, keys.tenant_id, keys.video_id, None, 1, [])
    calls = ledger.list_compute_calls(video_id=keys.video_id).items
    assert [(call.app_name, call.function_name, call.state) for call in calls] == [
        ("local", "extract_frames_and_ocr", "succeeded"),
        ("local", "generate_caption_ocr", "failed"),
    ]
    assert calls[1].error_details is not None
    assert calls[1].error_details["error_type"] == "BadInput"
    used = ledger.get_tenant_quota(keys.tenant_id).processing_minutes_used
    assert 0 < used < 1
    assert used == pytest.approx(sum(call.running_seconds or 0 for call in calls) / 60)


def test_over_the_minutes_nothing_is_done(ledger: PostgresCatalog, store: LocalObjectStore, catalog_url: str) -> None:
    keys = add_video(ledger, store, tenant(ledger, catalog_url, processing_minutes_limit=0))
    with pytest.raises(QuotaExceeded, match=r"0\.0 of 0 minutes of this month are used; this needs about"):
        extract(compute(store, ledger), keys)
    [call] = ledger.list_compute_calls(video_id=keys.video_id).items
    assert call.state == "refused"


def test_a_video_with_too_many_frames_is_refused(
    ledger: PostgresCatalog, store: LocalObjectStore, catalog_url: str
) -> None:
    keys = add_video(ledger, store, tenant(ledger, catalog_url, frame_limit=10))
    ledger.update_video_status(keys.video_id, duration_seconds=3600.0)
    with pytest.raises(QuotaExceeded, match="needs 360 full frames; the limit is 10"):
        compute(store, ledger).extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id)
    assert ledger.list_compute_calls(video_id=keys.video_id).items == ()


def test_without_a_limit_nothing_is_recorded(ledger: PostgresCatalog, store: LocalObjectStore) -> None:
    keys = add_video(ledger, store, LOCAL_TENANT_ID)
    assert extract(compute(store, ledger), keys) == 1
    assert ledger.list_compute_calls(video_id=keys.video_id).items == ()


def test_what_a_killed_process_reserved_is_given_back(
    ledger: PostgresCatalog, store: LocalObjectStore, catalog_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = add_video(ledger, store, tenant(ledger, catalog_url, processing_minutes_limit=100))
    with monkeypatch.context() as killed:
        killed.setattr(ledger, "end_compute_call", lambda *args, **kwargs: None)
        extract(compute(store, ledger), keys)
    assert ledger.get_tenant_quota(keys.tenant_id).processing_minutes_used > 0
    reconcile(ledger, store, unseen_for=timedelta(0), limit=500)
    assert ledger.get_tenant_quota(keys.tenant_id).processing_minutes_used == 0
