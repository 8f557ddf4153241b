"""The contract of every catalog: tenants, users and videos."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict, InvalidValue, NotFound, QuotaReached
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Tier, Video, error_details
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster_tests.catalog.many_videos import add_many_videos

pytestmark = pytest.mark.integration

HASH = "0123456789abcdef" * 4


def add_video(catalog: Catalog, filename: str = "a.mp4", tenant_id: UUID = LOCAL_TENANT_ID) -> Video:
    return catalog.create_video(tenant_id, filename).video


def test_a_new_video_waits_with_its_request(catalog: Catalog) -> None:
    made = catalog.create_video(
        LOCAL_TENANT_ID,
        "Räksmörgås 字幕.mp4",
        content_hash=HASH,
        file_size_bytes=5_000_000_000,
        source="cli",
        lang="ch",
    )
    assert made.created
    video = made.video
    assert video.storage_key == f"{LOCAL_TENANT_ID}/client/videos/{video.id}/video.mp4"
    assert (video.filename, video.file_size_bytes, video.lang) == ("Räksmörgås 字幕.mp4", 5_000_000_000, "ch")
    assert (video.status, video.layout_status, video.boundaries_status, video.text_status) == (
        "waiting", "wait", "wait", "wait",
    )  # fmt: skip
    assert abs(datetime.now(UTC) - video.created_at) < timedelta(minutes=1)
    assert made.request is not None
    assert (made.request.flow, made.request.state) == ("video_initial_processing", "pending")
    assert (made.request.video_id, made.request.tenant_id) == (video.id, LOCAL_TENANT_ID)
    assert made.request.tenant_tier == "enterprise"
    assert catalog.get_video_metadata(video.id) == video
    assert catalog.get_video_metadata(str(video.id)) == video


def test_the_same_content_is_the_same_video_of_one_tenant(catalog: Catalog) -> None:
    first = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH)
    again = catalog.create_video(LOCAL_TENANT_ID, "renamed.mp4", content_hash=HASH)
    assert not again.created
    assert again.video == first.video
    assert again.request == first.request
    other_tenant = uuid4()
    catalog.ensure_tenant(other_tenant, "other", "trial")
    other = catalog.create_video(other_tenant, "a.mp4", content_hash=HASH)
    assert other.created
    assert other.video.id != first.video.id
    assert catalog.find_video(LOCAL_TENANT_ID, HASH) == first.video
    assert catalog.find_video(uuid4(), HASH) is None
    changed = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH[::-1])
    assert changed.created


def test_a_deleted_video_is_gone_and_its_content_may_come_anew(catalog: Catalog) -> None:
    first = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH)
    assert first.request is not None
    assert catalog.delete_video(first.video.id)
    assert not catalog.delete_video(first.video.id)
    with pytest.raises(NotFound):
        catalog.get_video_metadata(first.video.id)
    with pytest.raises(NotFound):
        catalog.update_video_status(first.video.id, "active")
    assert catalog.list_videos().items == ()
    assert catalog.get_processing_request(first.request.id).state == "cancelled"
    assert catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH).created
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert [video.id for video in catalog.list_deleted_videos(soon)] == [first.video.id]
    assert catalog.list_deleted_videos(soon - timedelta(days=1)) == []
    assert catalog.purge_video(first.video.id)
    assert not catalog.purge_video(first.video.id)
    with pytest.raises(NotFound):
        catalog.get_processing_request(first.request.id)


def test_a_claimed_new_video_is_nobody_elses(catalog: Catalog) -> None:
    made = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH, claimer="cli", lease_s=600)
    assert made.request is not None
    assert made.request.claimed_by == "cli"
    assert catalog.claim_processing_requests("daemon") == []
    assert catalog.launch_processing_request(made.request.id, "cli", "run-1").state == "launched"
    again = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash=HASH, claimer="other")
    assert again.request is not None
    assert (again.request.state, again.request.run_id) == ("launched", "run-1")


def test_values_that_break_a_rule_are_refused(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="no tenant"):
        catalog.create_video(uuid4(), "a.mp4")
    foreign = f"{uuid4()}/client/videos/{uuid4()}/video.mp4"
    with pytest.raises(InvalidValue, match="storage_key"):
        catalog.create_video(LOCAL_TENANT_ID, "a.mp4", storage_key=foreign)
    with pytest.raises(InvalidValue, match="content_hash"):
        catalog.create_video(LOCAL_TENANT_ID, "a.mp4", content_hash="not a hash")
    with pytest.raises(InvalidValue, match="filename"):
        catalog.create_video(LOCAL_TENANT_ID, "")
    with pytest.raises(InvalidValue, match="video id is not a UUID: 'video-123'"):
        catalog.get_video_metadata("video-123")
    taken = add_video(catalog)
    catalog.delete_video(taken.id)
    with pytest.raises(Conflict):
        catalog.create_video(LOCAL_TENANT_ID, "b.mp4", video_id=taken.id)


def test_a_video_is_found_by_its_id_alone(catalog: Catalog) -> None:
    video_id = uuid4()
    first = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", video_id=video_id)
    again = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", video_id=video_id)
    assert (first.created, again.created) == (True, False)
    assert again.video.id == video_id


def test_an_update_changes_exactly_what_is_given(catalog: Catalog) -> None:
    before = add_video(catalog)
    after = catalog.update_video_status(before.id, "processing")
    assert after.updated_at > before.updated_at
    assert after.model_copy(update={"updated_at": before.updated_at}) == before.model_copy(
        update={"status": "processing"}
    )
    details = error_details(ValueError("no caption"), run_id="run-1")
    failed = catalog.update_video_status(
        before.id, "error", layout_status="error", layout_error_details=details, error_details=details
    )
    assert (failed.status, failed.layout_status, failed.boundaries_status) == ("error", "error", "wait")
    assert failed.error_details == failed.layout_error_details == details
    assert {"message", "error_type", "run_id", "time"} == set(details)
    well = catalog.update_video_status(before.id, error_details=None)
    assert well.error_details is None
    assert well.layout_error_details == details
    assert catalog.update_video_status(before.id) == well


def test_metadata_of_every_kind_comes_back(catalog: Catalog) -> None:
    video = add_video(catalog)
    changes = {
        "duration_seconds": 25.4, "frame_rate": 29.97, "width": 1920, "height": 1080, "rotation": 90,
        "video_codec": "h264", "bitrate": 6_000_000_000, "frame_count": 2, "ocr_box_count": 7, "failed_ocr_count": 1,
        "processing_duration_seconds": 3.5, "crop_left": 0.1, "crop_top": 0.75, "crop_right": 0.9,
        "crop_bottom": 1.0, "layout_confidence": 0.97,
    }  # fmt: skip
    updated = catalog.update_video_metadata(video.id, changes)
    assert updated.model_dump(include=set(changes)) == changes
    assert updated.crop_region == (0.1, 0.75, 0.9, 1.0)
    assert catalog.get_video_metadata(video.id) == updated


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant_id": str(uuid4())}, "tenant_id"),
        ({"storage_key": "x"}, "storage_key"),
        ({"no_such_column": 1, "also_none": 2}, "no_such_column"),
        ({"status": "ready"}, "status"),
        ({"layout_status": "waiting"}, "layout_status"),
        ({"crop_left": 0.5}, "crop_region"),
        ({"crop_left": 0.9, "crop_top": 0.1, "crop_right": 0.1, "crop_bottom": 0.9}, "crop_region"),
        ({"crop_left": 0.0, "crop_top": 0.0, "crop_right": 1.1, "crop_bottom": 1.0}, "crop_region"),
        ({"frame_count": -1}, "frame_count"),
        ({"frame_count": "many"}, "integer"),
        ({"filename": None}, "filename"),
    ],
)
def test_a_wrong_update_is_refused_whole(catalog: Catalog, changes: dict[str, object], reason: str) -> None:
    video = add_video(catalog)
    with pytest.raises(InvalidValue, match=reason):
        catalog.update_video_metadata(video.id, {"lang": "en", **changes})
    assert catalog.get_video_metadata(video.id) == video


def test_unknown_videos(catalog: Catalog) -> None:
    unknown = uuid4()
    with pytest.raises(NotFound, match=f"no video {unknown}"):
        catalog.get_video_metadata(unknown)
    with pytest.raises(NotFound, match=f"no video {unknown}"):
        catalog.update_video_status(unknown, "active")
    with pytest.raises(NotFound, match=f"no video {unknown}"):
        catalog.update_video_status(unknown)
    assert catalog.get_videos([unknown]) == {}
    assert catalog.get_video_history(unknown) == []
    assert not catalog.delete_video(unknown)


def test_pages_hold_every_video_once_newest_first(catalog: Catalog) -> None:
    made = [add_video(catalog, f"{number}.mp4") for number in range(7)]
    other = uuid4()
    catalog.ensure_tenant(other, "other", None)
    add_video(catalog, "foreign.mp4", other)
    seen: list[Video] = []
    cursor = None
    for size in (3, 3, 3):
        page = catalog.list_videos(tenant_id=LOCAL_TENANT_ID, cursor=cursor, limit=size)
        seen.extend(page.items)
        if (cursor := page.next_cursor) is None:
            break
        # What comes in between pages shifts nothing.
        add_video(catalog, "late.mp4")
    assert [video.id for video in seen] == [video.id for video in reversed(made)]
    assert cursor is None
    assert len(catalog.list_videos(limit=500).items) == 10
    assert [video.filename for video in catalog.list_videos(filename="3.mp4", limit=500).items] == ["3.mp4"]
    catalog.update_video_status(made[2].id, "active")
    catalog.update_video_status(made[4].id, "error")
    assert {video.id for video in catalog.list_videos(statuses=["active", "error"], limit=500).items} == {
        made[2].id,
        made[4].id,
    }
    assert len(catalog.list_videos(limit=0).items) == 1
    with pytest.raises(InvalidValue, match="no such page"):
        catalog.list_videos(cursor="'; drop table videos")


def test_many_ids_are_fetched_in_parts(catalog: Catalog) -> None:
    wanted = [add_video(catalog).id for _ in range(3)]
    ids = [*(uuid4() for _ in range(400)), *wanted, *(uuid4() for _ in range(100))]
    assert set(catalog.get_videos(ids)) == set(wanted)
    assert catalog.get_videos([]) == {}


@pytest.mark.parametrize(
    ("access_tier", "tier"),
    [("demo", "free"), ("trial", "free"), ("active", "premium"), ("enterprise", "enterprise"), (None, "free")],
)
def test_access_tiers_of_a_tenant_map_to_tiers(catalog: Catalog, access_tier: str | None, tier: Tier) -> None:
    tenant = catalog.ensure_tenant(uuid4(), "someone", access_tier)
    assert catalog.get_tenant_tier(tenant.id) == tier
    request = catalog.create_video(tenant.id, "a.mp4").request
    assert request is not None
    assert request.tenant_tier == tier


def test_an_unknown_tenant_is_free(catalog: Catalog) -> None:
    assert catalog.get_tenant_tier(uuid4()) == "free"
    with pytest.raises(NotFound, match="no tenant"):
        catalog.get_tenant(uuid4())
    with pytest.raises(NotFound, match="no tenant"):
        catalog.get_tenant_quota(uuid4())


def test_a_tenant_is_made_once(catalog: Catalog) -> None:
    tenant_id = uuid4()
    first = catalog.ensure_tenant(tenant_id, "first", "active", auto_approve_layout=True)
    assert catalog.ensure_tenant(tenant_id, "second", "demo") == first == catalog.get_tenant(tenant_id)
    assert (first.name, first.auto_approve_layout, first.auto_approve_min_confidence) == ("first", True, 0.9)
    with pytest.raises(Conflict):
        catalog.ensure_tenant(uuid4(), "someone", "no such tier")


def test_quotas_come_from_the_tier(catalog: Catalog) -> None:
    quota = catalog.get_tenant_quota(catalog.ensure_tenant(uuid4(), "someone", "demo").id)
    assert (quota.processing_minutes_limit, quota.frame_limit, quota.processing_minutes_used) == (30, 720, 0)
    assert (quota.period_start.day, quota.period_start.hour) == (1, 0)
    unlimited = catalog.get_tenant_quota(LOCAL_TENANT_ID)
    assert (unlimited.processing_minutes_limit, unlimited.frame_limit) == (None, None)
    # Without a tier: the smallest.
    assert catalog.get_tenant_quota(catalog.ensure_tenant(uuid4(), "none", None).id).processing_minutes_limit == 30


def test_a_storys_lines_are_in_order_of_time(catalog: Catalog) -> None:
    made = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", claimer="sensor")
    video, request = made.video, made.request
    assert request is not None
    catalog.launch_processing_request(request.id, "sensor", "run-1", priority=90)
    catalog.finish_processing_request(request.id, "succeeded", run_id="run-1")
    catalog.update_video_status(video.id, "active", layout_status="annotate")
    crop = catalog.approve_layout(video.id, (0.0, 0.7, 1.0, 1.0), claimer="sensor")
    catalog.launch_processing_request(crop.id, "sensor", "run-2", priority=91)
    version = catalog.next_cropped_frames_version(video.id, "run-2")
    catalog.acquire_server_lock(video.id, "layout", "run-2")
    catalog.fail_cropped_frames_version(video.id, version, error_details("torn", run_id="run-2"))
    catalog.finish_processing_request(crop.id, "failed", run_id="run-2", error_details=error_details("torn"))
    story = catalog.get_video_history(video.id)
    assert [line.event for line in story] == [
        "uploaded", "requested", "queued", "succeeded", "requested", "layout approved", "queued",
        "cropped frames version begun", "locked", "cropped frames version failed", "failed",
    ]  # fmt: skip
    assert [line.at for line in story] == sorted(line.at for line in story)
    assert story[2].details["priority"] == 90
    failure = story[-1].details["error"]
    assert isinstance(failure, dict)
    assert failure["message"] == "torn"


STAGES = {
    "waiting": ({}, "working"),
    "looking": ({"status": "processing"}, "working"),
    "layout": ({"status": "active", "layout_status": "annotate"}, "attention"),
    "finding": ({"status": "active", "layout_status": "done"}, "working"),
    "captions": (
        {"status": "active", "layout_status": "done", "boundaries_status": "annotate", "text_status": "annotate"},
        "attention",
    ),
    "text": (
        {"status": "active", "layout_status": "done", "boundaries_status": "done", "text_status": "review"},
        "attention",
    ),
    "done": (
        {"status": "active", "layout_status": "done", "boundaries_status": "done", "text_status": "done"},
        "done",
    ),
    "failed": ({"status": "error", "layout_status": "error"}, "failed"),
    "failed later": ({"status": "active", "layout_status": "done", "boundaries_status": "error"}, "failed"),
}


def test_videos_are_found_by_what_is_to_be_done(catalog: Catalog) -> None:
    for name, (changes, _) in STAGES.items():
        video = add_video(catalog, f"{name}.mp4")
        if changes:
            catalog.update_video_metadata(video.id, changes)

    found = {
        stage: {video.filename.removesuffix(".mp4") for video in page.items}
        for stage in ("working", "attention", "done", "failed")
        for page in [catalog.search_videos(LOCAL_TENANT_ID, stage=stage)]
    }

    assert found == {
        stage: {name for name, (_, its) in STAGES.items() if its == stage}
        for stage in ("working", "attention", "done", "failed")
    }
    assert {video.filename.removesuffix(".mp4"): video.stage for video in catalog.list_videos(limit=500).items} == {
        name: stage for name, (_, stage) in STAGES.items()
    }


def test_videos_are_found_by_a_part_of_their_name(catalog: Catalog) -> None:
    for name in ("Evening News 1.mp4", "evening news 2.mkv", "100%_sure.mp4", "100 percent sure.mp4"):
        add_video(catalog, name)
    add_video(catalog, "Evening News.mp4", catalog.ensure_tenant(uuid4(), "other", "trial").id)

    def names(text: str) -> list[str]:
        return [video.filename for video in catalog.search_videos(LOCAL_TENANT_ID, text=text).items]

    assert names("evening NEWS") == ["evening news 2.mkv", "Evening News 1.mp4"]
    assert names("%_") == ["100%_sure.mp4"]
    assert names("\\") == []
    assert len(names("")) == 4
    first = catalog.search_videos(LOCAL_TENANT_ID, limit=3)
    rest = catalog.search_videos(LOCAL_TENANT_ID, limit=3, cursor=first.next_cursor)
    assert (len(first.items), len(rest.items), rest.next_cursor) == (3, 1, None)


def test_each_page_of_many_videos_reads_only_its_own(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    mine, others = (postgres_catalog.ensure_tenant(uuid4(), "a tenant", "active").id for _ in range(2))
    read = "select seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables where relname = 'videos'"
    for tenant, count in ((mine, 1000), (others, 2000)):
        add_many_videos(catalog_url, tenant, count)
    names: list[str] = []
    fetched: list[int] = []
    before_at, before_id = None, None
    with psycopg.connect(catalog_url) as connection:
        while len(names) < 1000:
            begun = connection.execute(read).fetchone() or (0, 0)
            page = connection.execute(
                "select created_at, id, filename from captionacc.search_videos(p_tenant_id => %s,"
                " p_before_created_at => %s, p_before_id => %s, p_limit => 50)",
                (mine, before_at, before_id),
            ).fetchall()
            ended = connection.execute(read).fetchone() or (0, 0)
            assert ended[0] == begun[0], "all videos were read for one page"
            fetched.append(ended[1] - begun[1])
            names += [name for _, _, name in page]
            before_at, before_id, _ = page[-1]

    assert names == [f"Episode {number}.mp4" for number in range(1, 1001)]
    # The last page costs what the first does: those of two tenants that lie between each other, at most.
    assert max(fetched) <= 150
    assert len(postgres_catalog.search_videos(mine, text="episode 99", limit=24).items) == 11


@pytest.mark.parametrize("kind", ["postgres", "supabase"])
def test_tenants_with_a_limit_of_runs_of_their_own(kind: str, request: pytest.FixtureRequest) -> None:
    catalog: Catalog = request.getfixturevalue(f"{kind}_catalog")
    supabase = kind == "supabase"
    url = request.getfixturevalue("supabase_lite").database_url if supabase else request.getfixturevalue("catalog_url")
    assert catalog.get_tenant_run_limits() == {}
    limited, _ = (catalog.ensure_tenant(uuid4(), name, "demo") for name in ("limited", "as all"))
    with psycopg.connect(url) as connection:
        connection.execute("update captionacc.tenants set max_concurrent_runs = 7 where id = %s", (limited.id,))
    assert catalog.get_tenant_run_limits() == {str(limited.id): 7}


def test_warnings_are_stored_and_replaced(catalog: Catalog) -> None:
    video = add_video(catalog)
    assert video.warnings == ()
    first = {"code": "no_text_seen", "message": "No text was found in 40 frames.", "start_s": None, "end_s": None}
    second = {"code": "frames_missing", "message": "A gap of 20 s has no frames.", "start_s": 10.0, "end_s": 30.0}
    catalog.update_video_metadata(video.id, {"warnings": [first]})
    changed = catalog.update_video_metadata(video.id, {"warnings": [second]})
    assert [warning.model_dump() for warning in changed.warnings] == [second]
    with pytest.raises(InvalidValue):
        catalog.update_video_metadata(video.id, {"warnings": {"code": "no list"}})


def test_uploads_over_a_limit_of_the_access_tier_are_refused(postgres_catalog: Catalog, catalog_url: str) -> None:
    catalog = postgres_catalog
    add_small_tier(catalog_url)
    tenant = catalog.ensure_tenant(uuid4(), "small", "small").id
    first = catalog.create_video(tenant, "a.mp4", content_hash=HASH, file_size_bytes=600).video
    with pytest.raises(QuotaReached, match="600 bytes of 1000 bytes are used, and this video has 500 bytes"):
        catalog.create_video(tenant, "b.mp4", file_size_bytes=500)
    catalog.create_video(tenant, "c.mp4", file_size_bytes=400)
    with pytest.raises(QuotaReached, match=r"the limit of 2 videos is reached \(delete videos, or ask"):
        catalog.create_video(tenant, "d.mp4", file_size_bytes=0)
    # What exists is no new upload.
    assert not catalog.create_video(tenant, "again.mp4", content_hash=HASH, file_size_bytes=600).created
    # A deleted video leaves room, but still counts toward the day.
    for name in ("e.mp4", "f.mp4"):
        catalog.delete_video(first.id)
        first = catalog.create_video(tenant, name, file_size_bytes=100).video
    catalog.delete_video(first.id)
    with pytest.raises(QuotaReached, match="the limit of 4 uploads a day is reached"):
        catalog.create_video(tenant, "g.mp4", file_size_bytes=100)
    assert catalog.create_video(LOCAL_TENANT_ID, "unlimited.mp4", file_size_bytes=10**12).created


def test_uploads_at_once_do_not_share_the_last_place(postgres_catalog: Catalog, catalog_url: str) -> None:
    add_small_tier(catalog_url)
    tenant = postgres_catalog.ensure_tenant(uuid4(), "small", "small").id

    def upload(number: int) -> bool:
        with PostgresCatalog(catalog_url) as catalog:
            try:
                return catalog.create_video(tenant, f"{number}.mp4").created
            except QuotaReached:
                return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(upload, range(6))) == 2


def add_small_tier(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into captionacc.access_tiers (id, name, storage_bytes_limit, video_limit, daily_upload_limit)"
            " values ('small', 'Small', 1000, 2, 4)"
        )


def test_a_video_is_found_as_a_person_names_it(catalog: Catalog) -> None:
    first, second, third = (add_video(catalog, name) for name in ("talk.mp4", "talk.mp4", "deadbeef"))
    assert catalog.match_videos("talk.mp4") == [second, first]
    assert catalog.match_videos("talk.mp4", limit=1) == [second]
    for name in (str(third.id), str(third.id).upper(), str(third.id)[:13], "deadbeef"):
        assert catalog.match_videos(name) == [third]
    assert catalog.match_videos(str(first.id)[:3]) == []
    assert catalog.match_videos("%") == catalog.match_videos("Talk.mp4") == []
    named = catalog.create_video(LOCAL_TENANT_ID, str(first.id)).video
    assert catalog.match_videos(str(first.id)) == [first], "an id comes before a file name"
    catalog.delete_video(first.id)
    assert catalog.match_videos(str(first.id)) == [named]
