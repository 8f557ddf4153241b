"""The priority formula, its tags, and the flow of a run."""

from datetime import UTC, datetime, timedelta

import pytest
from dagster import AssetKey, DagsterRun
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.orchestration.flows import Flow, flow_of_run
from captionacc_dagster.orchestration.priority import (
    AgeBoosting,
    TenantTier,
    calculate_flow_priority,
    get_priority_tags,
    priority_of_tags,
    priority_run_tags,
    submitted_priority,
)
from captionacc_dagster.tags import (
    AGE_BOOSTING_TAG,
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    REQUESTED_AT_TAG,
    SHOWN_TIER_TAG,
    TENANT_TAG,
    TIER_TAG,
    VIDEO_NAME_TAG,
)

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tier", "base"),
    [
        ("free", 50),
        ("premium", 70),
        ("enterprise", 90),
        ("", 50),
        ("demo", 50),
        ("ENTERPRISE", 50),
        (TenantTier.PREMIUM, 70),
    ],
)
def test_base_priority_of_each_tier(tier: str, base: int) -> None:
    assert calculate_flow_priority(tenant_tier=tier, request_time=None, enable_age_boosting=False) == base
    assert calculate_flow_priority(tenant_tier=tier) == base


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), 50),
        (timedelta(minutes=59, seconds=59), 50),
        (timedelta(minutes=60), 51),
        (timedelta(minutes=120), 52),
        (timedelta(hours=20), 70),
        (timedelta(hours=50), 70),
        (timedelta(days=4000), 70),
        (timedelta(seconds=-1), 50),
        (timedelta(days=-3), 50),
    ],
)
def test_a_point_for_each_full_hour_up_to_the_cap(age: timedelta, expected: int) -> None:
    assert calculate_flow_priority("free", NOW - age, now=NOW) == expected


def test_boosting_can_be_disabled() -> None:
    assert calculate_flow_priority("free", NOW - timedelta(hours=5), enable_age_boosting=False, now=NOW) == 50


def test_custom_boost_parameters() -> None:
    five_hours = NOW - timedelta(minutes=300)
    assert calculate_flow_priority("premium", five_hours, True, 30, 15, now=NOW) == 80
    assert calculate_flow_priority("premium", five_hours, True, 10, 15, now=NOW) == 85


def test_base_override_is_boosted_too() -> None:
    assert calculate_flow_priority("free", None, False, base_priority_override=100) == 100
    assert calculate_flow_priority("free", NOW - timedelta(hours=3), base_priority_override=100, now=NOW) == 103


def test_a_fully_boosted_enterprise_run_is_not_clamped() -> None:
    assert calculate_flow_priority("enterprise", NOW - timedelta(hours=30), now=NOW) == 110


def test_other_timezones_count_the_same() -> None:
    request_time = (NOW - timedelta(hours=2)).astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert calculate_flow_priority("free", request_time, now=NOW) == 52


def test_the_present_is_the_default_moment() -> None:
    assert calculate_flow_priority("free", datetime.now(UTC) - timedelta(minutes=121)) == 52


@pytest.mark.parametrize(
    "arguments",
    [
        {"request_time": datetime(2026, 1, 1)},
        {"request_time": NOW, "now": datetime(2026, 1, 1)},
        {"request_time": NOW, "age_boost_per_minutes": 0},
        {"request_time": NOW, "age_boost_cap": -1},
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"timezone|age_boost"):
        calculate_flow_priority("free", **arguments)


@given(
    tier=st.sampled_from(list(TenantTier)),
    minutes=st.integers(-10_000, 100_000),
    later=st.integers(0, 100_000),
    per=st.integers(1, 500),
    cap=st.integers(0, 100),
)
def test_waiting_never_lowers_and_never_passes_the_cap(
    tier: TenantTier, minutes: int, later: int, per: int, cap: int
) -> None:
    asked = NOW - timedelta(minutes=minutes)
    first = calculate_flow_priority(tier, asked, True, per, cap, now=NOW)
    second = calculate_flow_priority(tier, asked, True, per, cap, now=NOW + timedelta(minutes=later))
    base = calculate_flow_priority(tier, None)
    assert base <= first <= second <= base + cap


def test_flat_tags() -> None:
    assert get_priority_tags("tenant-123", "premium", 75, enable_age_boosting=True) == [
        "tenant:tenant-123",
        "tier:premium",
        "priority:75",
        "age-boosting:enabled",
    ]
    assert "age-boosting:disabled" in get_priority_tags("t", "free", 50, enable_age_boosting=False)


def test_the_labels_are_what_tags_a_run() -> None:
    tags = priority_run_tags("premium", NOW - timedelta(hours=3), tenant_id="t-1", now=NOW)
    labels = get_priority_tags("t-1", "premium", 73)
    assert [tags[name] for name in (TENANT_TAG, TIER_TAG, DAGSTER_PRIORITY_TAG, AGE_BOOSTING_TAG)] == [
        label.partition(":")[2] for label in labels
    ]


def test_run_tags_say_everything_the_formula_needs() -> None:
    asked = NOW - timedelta(hours=3)
    tags = priority_run_tags("premium", asked, tenant_id="t-1", now=NOW)
    assert tags == {
        TENANT_TAG: "t-1",
        SHOWN_TIER_TAG: "premium",
        TIER_TAG: "premium",
        AGE_BOOSTING_TAG: "enabled",
        REQUESTED_AT_TAG: asked.isoformat(),
        BASE_PRIORITY_TAG: "70",
        DAGSTER_PRIORITY_TAG: "73",
    }
    assert priority_of_tags(tags, NOW + timedelta(hours=1)) == 74
    assert TENANT_TAG not in priority_run_tags("free", asked)


def test_people_see_four_tags_and_on_a_one_person_system_no_tier() -> None:
    def shown(tenant_id: str) -> set[str]:
        tags = priority_run_tags("enterprise", NOW, tenant_id=tenant_id, video_name="a.mp4", now=NOW)
        return {name for name in tags if not name.startswith(".dagster/")}

    four = {TENANT_TAG, SHOWN_TIER_TAG, DAGSTER_PRIORITY_TAG, VIDEO_NAME_TAG}
    assert shown("somebody") == four
    assert shown(str(LOCAL_TENANT_ID)) == four - {SHOWN_TIER_TAG}


def test_run_tags_without_boosting_stay() -> None:
    tags = priority_run_tags("free", NOW - timedelta(hours=9), enable_age_boosting=False, now=NOW)
    assert tags[AGE_BOOSTING_TAG] == AgeBoosting.DISABLED
    assert priority_of_tags(tags, NOW + timedelta(hours=9)) == 50


@pytest.mark.parametrize("tier", list(TenantTier))
def test_a_backfill_stays_below_fresh_work_of_its_tier_at_any_age(tier: TenantTier) -> None:
    interactive = calculate_flow_priority(tier)
    tags = priority_run_tags(tier, NOW, backfill=True, now=NOW)
    priorities = [priority_of_tags(tags, NOW + timedelta(hours=hours)) for hours in (0, 5, 9, 10, 500)]
    assert priorities == [interactive - 10, interactive - 5, interactive - 1, interactive - 1, interactive - 1]


@pytest.mark.parametrize(
    "damage",
    [
        {BASE_PRIORITY_TAG: "many"},
        {REQUESTED_AT_TAG: "yesterday"},
        {REQUESTED_AT_TAG: "2026-01-01T00:00:00"},
        {AGE_BOOSTING_TAG: "sometimes"},
    ],
)
def test_unreadable_tags_give_no_priority(damage: dict[str, str]) -> None:
    tags = priority_run_tags("free", NOW) | damage
    assert priority_of_tags(tags, NOW) is None


@pytest.mark.parametrize(
    ("job", "assets", "flow"),
    [
        ("caption_ocr", ["captions_db"], Flow.CAPTION_OCR),
        ("__ASSET_JOB", ["captions_db", "subtitles"], Flow.CROP_AND_INFER),
        ("__ASSET_JOB", ["raw_video", "subtitles"], Flow.CROP_AND_INFER),
        ("__ASSET_JOB", ["ocr_db"], Flow.VIDEO_INITIAL_PROCESSING),
        ("__ASSET_JOB", None, None),
        ("other", ["weather"], None),
    ],
)
def test_flow_of_a_run(job: str, assets: list[str] | None, flow: Flow | None) -> None:
    selected = frozenset(AssetKey(name) for name in assets) if assets is not None else None
    assert flow_of_run(DagsterRun(job, asset_selection=selected)) is flow


@pytest.mark.parametrize(
    ("tags", "priority"), [({}, None), ({"dagster/priority": "high"}, None), ({"dagster/priority": "-3"}, -3)]
)
def test_a_priority_that_a_person_mistyped_is_none(tags: dict[str, str], priority: int | None) -> None:
    assert submitted_priority(tags) == priority
