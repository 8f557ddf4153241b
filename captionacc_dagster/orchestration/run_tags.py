"""The tags of a queued Dagster run: those it gets on entry, and later corrections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dagster import DagsterRun

from captionacc_dagster.orchestration.flows import flow_of_run
from captionacc_dagster.orchestration.priority import (
    TenantTier,
    priority_of_tags,
    priority_run_tags,
    submitted_priority,
)
from captionacc_dagster.orchestration.tenants import TenantDirectory, TierSource
from captionacc_dagster.tags import (
    BACKFILL_TAG,
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    PARTITION_TAG,
    REQUESTED_AT_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    VIDEO_NAME_TAG,
    VIDEO_TAG,
)

# Runs whose tenant was not known when they were queued.
PROVISIONAL = (TierSource.UNAVAILABLE, TierSource.UNKNOWN_VIDEO)


def queue_tags(run: DagsterRun, directory: TenantDirectory, now: datetime) -> dict[str, str]:
    """Return the tags to add to a run that enters the queue.

    A run that already has a base and a request time (from the outbox or the run it retries) keeps them. A
    ``dagster/priority`` set by a person becomes the run's base.
    """
    tags = run.tags
    video_id = tags.get(VIDEO_TAG) or tags.get(PARTITION_TAG)
    flow = flow_of_run(run)
    added = {FLOW_TAG: flow.value} if flow and FLOW_TAG not in tags else {}
    if video_id and VIDEO_TAG not in tags:
        added[VIDEO_TAG] = video_id
    added |= _name_tag(tags, video_id, directory)
    priority = priority_of_tags(tags, now)
    if priority is not None:
        return added | {DAGSTER_PRIORITY_TAG: str(priority)}
    tenancy = directory.look_up(tags.get(TENANT_TAG), video_id)
    placed = priority_run_tags(
        tenancy.tier,
        now,
        tenant_id=tenancy.tenant_id,
        backfill=BACKFILL_TAG in tags,
        base_priority_override=submitted_priority(tags),
        now=now,
    )
    return added | placed | {TIER_SOURCE_TAG: tenancy.source.value}


def corrected_tags(run: DagsterRun, directory: TenantDirectory, now: datetime) -> dict[str, str] | None:
    """Return the changes to a provisional run's tags; None while its tenant is still unknown.

    The request time and a base given by a person stay.
    """
    tags = run.tags
    tenancy = directory.look_up(tags.get(TENANT_TAG), tags.get(VIDEO_TAG))
    if tenancy.source in PROVISIONAL:
        return None
    backfill = BACKFILL_TAG in tags
    requested_at = datetime.fromisoformat(tags.get(REQUESTED_AT_TAG, datetime.now(UTC).isoformat()))
    guessed = priority_run_tags(TenantTier.FREE, requested_at, backfill=backfill)[BASE_PRIORITY_TAG]
    placed = priority_run_tags(tenancy.tier, requested_at, tenant_id=tenancy.tenant_id, backfill=backfill, now=now)
    if tags.get(BASE_PRIORITY_TAG) != guessed:
        placed[BASE_PRIORITY_TAG] = tags[BASE_PRIORITY_TAG]
        placed[DAGSTER_PRIORITY_TAG] = str(priority_of_tags(placed, now))
    return placed | _name_tag(tags, tags.get(VIDEO_TAG), directory) | {TIER_SOURCE_TAG: tenancy.source.value}


def _name_tag(tags: Mapping[str, str], video_id: str | None, directory: TenantDirectory) -> dict[str, str]:
    name = directory.name_of_video(video_id) if video_id and VIDEO_NAME_TAG not in tags else None
    return {} if name is None else {VIDEO_NAME_TAG: name}
