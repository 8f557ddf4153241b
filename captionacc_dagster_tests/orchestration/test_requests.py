"""Rows of the outbox become plans of runs, without Dagster."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.orchestration.requests import plan_run
from captionacc_dagster.tags import (
    AGE_BOOSTING_TAG,
    ATTEMPT_TAG,
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    PARTITION_TAG,
    REQUEST_TAG,
    REQUESTED_AT_TAG,
    SHOWN_TIER_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    TIER_TAG,
    VIDEO_NAME_TAG,
    VIDEO_TAG,
)

pytestmark = pytest.mark.unit

NOW = datetime(2026, 5, 6, 7, 0, tzinfo=UTC)


def request(**changes: Any) -> ProcessingRequest:
    values: dict[str, Any] = {
        "id": uuid4(),
        "tenant_id": UUID(int=7),
        "video_id": uuid4(),
        "flow": "video_initial_processing",
        "state": "pending",
        "idempotency_key": "k",
        "payload": {},
        "base_priority": None,
        "priority": None,
        "requested_by": None,
        "requested_at": NOW - timedelta(hours=2),
        "attempts": 0,
        "not_before": NOW,
        "claimed_by": "me",
        "claim_expires_at": NOW,
        "run_id": None,
        "launched_at": None,
        "finished_at": None,
        "error_details": None,
        "tenant_tier": "premium",
    }
    return ProcessingRequest.model_validate(values | changes)


def test_a_run_carries_all_that_places_it_and_leads_back() -> None:
    row = request()
    plan = plan_run(row, "a.mp4", NOW)
    assert (plan.job_name, plan.run_config) == ("video_initial_processing", {})
    assert plan.tags == {
        TENANT_TAG: str(UUID(int=7)),
        SHOWN_TIER_TAG: "premium",
        VIDEO_NAME_TAG: "a.mp4",
        TIER_TAG: "premium",
        AGE_BOOSTING_TAG: "enabled",
        REQUESTED_AT_TAG: row.requested_at.isoformat(),
        BASE_PRIORITY_TAG: "70",
        DAGSTER_PRIORITY_TAG: "72",
        FLOW_TAG: "video_initial_processing",
        VIDEO_TAG: str(row.video_id),
        PARTITION_TAG: str(row.video_id),
        REQUEST_TAG: str(row.id),
        ATTEMPT_TAG: "0",
        TIER_SOURCE_TAG: "catalog",
    }


def test_a_base_priority_of_the_request_wins_over_its_tier() -> None:
    assert plan_run(request(base_priority=95), now=NOW).tags[DAGSTER_PRIORITY_TAG] == "97"


def test_chosen_captions_reach_the_asset() -> None:
    plan = plan_run(request(flow="caption_ocr", payload={"caption_ids": [3, 8]}), now=NOW)
    assert plan.run_config == {"ops": {"captions_db": {"config": {"caption_ids": [3, 8]}}}}
    assert plan_run(request(flow="crop_and_infer", payload={"crop_region": {}}), now=NOW).run_config == {}


def test_the_run_key_is_the_same_until_a_run_is_lost() -> None:
    row = request()
    assert plan_run(row, "a.mp4", NOW).run_key == plan_run(row, now=NOW + timedelta(hours=5)).run_key
    lost = row.model_copy(update={"attempts": 1})
    assert plan_run(lost, now=NOW).run_key != plan_run(row, "a.mp4", NOW).run_key
