"""The contract of every catalog: server locks, and versions of cropped frames."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict, InvalidValue, NotFound
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, error_details

pytestmark = pytest.mark.integration


@pytest.fixture
def video_id(catalog: Catalog) -> UUID:
    return catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video.id


def test_a_free_lock_is_taken_and_a_held_one_is_not(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.list_locks(video_id) == []
    assert catalog.acquire_server_lock(video_id, "layout", "run-1", 60)
    (lock,) = catalog.list_locks(video_id)
    assert (lock.database_name, lock.lock_holder, lock.lock_type) == ("layout", "run-1", "server")
    assert (lock.tenant_id, lock.lock_holder_user_id) == (LOCAL_TENANT_ID, None)
    assert lock.expires_at - lock.locked_at == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=1))
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    # Naming the holder does not make one the holder.
    assert not catalog.acquire_server_lock(video_id, "layout", "run-1")
    assert catalog.list_locks(video_id) == [lock]
    assert catalog.acquire_server_lock(video_id, "captions", "run-2", lock_type="client", user_id=uuid4())
    assert len(catalog.list_locks()) == 2


def test_a_released_lock_is_free(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.acquire_server_lock(video_id, "layout", "run-1")
    assert not catalog.release_server_lock(video_id, "layout", "run-2")
    assert not catalog.release_server_lock(video_id, "captions", "run-1")
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert catalog.release_server_lock(video_id, "layout", "run-1")
    assert not catalog.release_server_lock(video_id, "layout", "run-1")
    assert catalog.list_locks(video_id) == []
    assert catalog.acquire_server_lock(video_id, "layout", "run-2")


def test_an_expired_lock_can_be_taken_over(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.acquire_server_lock(video_id, "layout", "dead", 0.0)
    assert catalog.acquire_server_lock(video_id, "layout", "alive", 60)
    assert not catalog.renew_server_lock(video_id, "layout", "dead")
    assert not catalog.release_server_lock(video_id, "layout", "dead")
    assert [lock.lock_holder for lock in catalog.list_locks(video_id)] == ["alive"]


def test_renewal_keeps_it(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.acquire_server_lock(video_id, "layout", "run-1", 0.0)
    assert catalog.renew_server_lock(video_id, "layout", "run-1", 60)
    assert not catalog.acquire_server_lock(video_id, "layout", "run-2")
    assert not catalog.renew_server_lock(video_id, "layout", "run-2")


def test_stale_locks_are_reaped(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.acquire_server_lock(video_id, "layout", "dead", 0.0)
    assert catalog.acquire_server_lock(video_id, "captions", "alive", 60)
    assert catalog.get_metrics().locks.model_dump() == {"held": 1, "expired": 1}
    assert [(lock.database_name, lock.lock_holder) for lock in catalog.reap_expired_locks()] == [("layout", "dead")]
    assert catalog.reap_expired_locks() == []
    assert [lock.lock_holder for lock in catalog.list_locks(video_id)] == ["alive"]
    assert catalog.acquire_server_lock(video_id, "layout", "next")


def test_nothing_locks_a_video_that_is_not_there(catalog: Catalog, video_id: UUID) -> None:
    assert not catalog.acquire_server_lock(uuid4(), "layout", "run-1")
    catalog.delete_video(video_id)
    assert not catalog.acquire_server_lock(video_id, "layout", "run-1")
    with pytest.raises(InvalidValue, match="no database nonsense"):
        catalog.acquire_server_lock(uuid4(), "nonsense", "run-1")  # type: ignore[arg-type]


def test_versions_count_up_and_one_is_active(catalog: Catalog, video_id: UUID) -> None:
    assert catalog.next_cropped_frames_version(video_id, "run-1") == 1
    # The run asks again: its answer was lost, or its step is retried.
    assert catalog.next_cropped_frames_version(video_id, "run-1") == 1
    assert catalog.next_cropped_frames_version(video_id, "run-2") == 2
    active = catalog.activate_cropped_frames_version(video_id, 1, storage_prefix="prefix/", frame_count=250)
    assert (active.state, active.storage_prefix, active.frame_count) == ("active", "prefix/", 250)
    video = catalog.get_video_metadata(video_id)
    assert (video.cropped_frames_version, video.cropped_frame_count) == (1, 250)
    assert catalog.activate_cropped_frames_version(video_id, 1) == active
    catalog.activate_cropped_frames_version(video_id, 2)
    assert [version.state for version in catalog.list_cropped_frames_versions(video_id)] == ["archived", "active"]
    assert catalog.get_video_metadata(video_id).cropped_frames_version == 2
    with pytest.raises(Conflict, match="is archived"):
        catalog.activate_cropped_frames_version(video_id, 1)
    assert catalog.next_cropped_frames_version(video_id, "run-1") == 3


def test_a_version_keeps_the_rate_it_was_cropped_at(catalog: Catalog, video_id: UUID) -> None:
    first = catalog.next_cropped_frames_version(video_id, "run-1", 25.0)
    assert catalog.next_cropped_frames_version(video_id, "run-1", 5.0) == first
    assert catalog.get_cropped_frame_rate(video_id, first) == 25.0
    second = catalog.next_cropped_frames_version(video_id, "run-2")
    assert catalog.get_cropped_frame_rate(video_id, second) == 10.0
    with pytest.raises(NotFound):
        catalog.get_cropped_frame_rate(video_id, second + 1)
    with pytest.raises(InvalidValue):
        catalog.next_cropped_frames_version(video_id, "run-3", 0.0)


def test_an_interrupted_version_fails_and_is_cleaned_up(catalog: Catalog, video_id: UUID) -> None:
    version = catalog.next_cropped_frames_version(video_id, "run-1")
    now = datetime.now(UTC)
    later, earlier = now + timedelta(minutes=1), now - timedelta(days=1)
    assert len(catalog.list_stale_cropped_frames_versions(ended_before=earlier, started_before=later)) == 1
    assert catalog.list_stale_cropped_frames_versions(ended_before=later, started_before=earlier) == []
    assert catalog.fail_cropped_frames_version(video_id, version, error_details("killed", run_id="run-1"))
    assert not catalog.fail_cropped_frames_version(video_id, version)
    with pytest.raises(Conflict, match="is failed"):
        catalog.activate_cropped_frames_version(video_id, version)
    (stale,) = catalog.list_stale_cropped_frames_versions(ended_before=later, started_before=earlier)
    assert (stale.version, stale.state) == (version, "failed")
    assert catalog.mark_cropped_frames_version_cleaned(video_id, version)
    assert catalog.list_stale_cropped_frames_versions(ended_before=later, started_before=earlier) == []
    assert catalog.next_cropped_frames_version(video_id, "run-1") == version + 1
    assert catalog.get_video_metadata(video_id).cropped_frames_version is None


def test_versions_of_nothing(catalog: Catalog, video_id: UUID) -> None:
    with pytest.raises(NotFound):
        catalog.next_cropped_frames_version(uuid4(), "run-1")
    with pytest.raises(NotFound):
        catalog.activate_cropped_frames_version(video_id, 1)
    assert not catalog.fail_cropped_frames_version(video_id, 1)
    assert not catalog.mark_cropped_frames_version_cleaned(video_id, 1)
