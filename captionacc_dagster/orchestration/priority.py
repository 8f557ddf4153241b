"""Priorities of runs: the formula, and the run tags that carry what it needs.

Pure: no Dagster and no catalog; the present time is read only if none is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
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

AGE_BOOST_PER_MINUTES = 60
AGE_BOOST_CAP = 20

# The tag of a run that a label becomes.
_TAG_OF_LABEL: Mapping[str, str] = {
    "tenant": TENANT_TAG,
    "tier": TIER_TAG,
    "priority": DAGSTER_PRIORITY_TAG,
    "age-boosting": AGE_BOOSTING_TAG,
}

# A backfill starts this far below its tier and gains less than that, so it never overtakes interactive work.
BACKFILL_PENALTY = 10
BACKFILL_AGE_BOOST_CAP = BACKFILL_PENALTY - 1


class TenantTier(StrEnum):
    """The tier of a tenant's plan."""

    FREE = "free"
    PREMIUM = "premium"
    ENTERPRISE = "enterprise"

    @classmethod
    def from_name(cls, name: str) -> TenantTier:
        """Return the tier of a name; an unknown name is free."""
        try:
            return cls(name)
        except ValueError:
            return cls.FREE


BASE_PRIORITY: Mapping[TenantTier, int] = {
    TenantTier.FREE: 50,
    TenantTier.PREMIUM: 70,
    TenantTier.ENTERPRISE: 90,
}


class AgeBoosting(StrEnum):
    """How a queued run's priority rises, as written in its tag."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    BACKFILL = "backfill"

    @property
    def cap(self) -> int:
        """Maximum number of points a run can gain."""
        return {self.ENABLED: AGE_BOOST_CAP, self.DISABLED: 0, self.BACKFILL: BACKFILL_AGE_BOOST_CAP}[self]


def calculate_flow_priority(
    tenant_tier: str,
    request_time: datetime | None = None,
    enable_age_boosting: bool = True,
    age_boost_per_minutes: int = AGE_BOOST_PER_MINUTES,
    age_boost_cap: int = AGE_BOOST_CAP,
    base_priority_override: int | None = None,
    *,
    now: datetime | None = None,
) -> int:
    """Return a run's priority: its tier's base plus one point per full period of waiting, up to the cap.

    Args:
        tenant_tier: ``free``, ``premium``, or ``enterprise``; anything else counts as free.
        request_time: when the work was requested, timezone-aware; None or a future time gives no boost.
        enable_age_boosting: whether waiting raises the priority.
        age_boost_per_minutes: minutes of waiting per point, at least 1.
        age_boost_cap: maximum points from waiting, at least 0.
        base_priority_override: base to use instead of the tier's.
        now: the time to calculate for, timezone-aware; None means the present.

    Raises:
        ValueError: a time has no timezone, the period is below one minute, or the cap is negative.
    """
    if age_boost_per_minutes < 1:
        raise ValueError(f"age_boost_per_minutes must be at least 1, not {age_boost_per_minutes}")
    if age_boost_cap < 0:
        raise ValueError(f"age_boost_cap must not be negative, not {age_boost_cap}")
    tier = TenantTier.from_name(tenant_tier)
    base = BASE_PRIORITY[tier] if base_priority_override is None else base_priority_override
    if request_time is None or not enable_age_boosting:
        return base
    age = _aware(now or datetime.now(UTC), "now") - _aware(request_time, "request_time")
    points = int(age.total_seconds() // (60 * age_boost_per_minutes))
    return base + min(max(points, 0), age_boost_cap)


def get_priority_tags(tenant_id: str, tenant_tier: str, priority: int, enable_age_boosting: bool = True) -> list[str]:
    """Return a priority as ``name:value`` labels; :func:`priority_run_tags` makes the tags of a run from them."""
    return [
        f"tenant:{tenant_id}",
        f"tier:{tenant_tier}",
        f"priority:{priority}",
        f"age-boosting:{'enabled' if enable_age_boosting else 'disabled'}",
    ]


def priority_run_tags(
    tenant_tier: str,
    requested_at: datetime,
    *,
    tenant_id: str | None = None,
    video_name: str | None = None,
    backfill: bool = False,
    enable_age_boosting: bool = True,
    base_priority_override: int | None = None,
    now: datetime | None = None,
) -> dict[str, str]:
    """Return the Dagster run tags that place a run in the queue.

    Args:
        tenant_tier: name of the tier; unknown names count as free.
        requested_at: when the work was requested, timezone-aware.
        tenant_id: the run's tenant; None omits the tenant tag and with it the limit per tenant. On a one-person
            system, whose only tenant is the local one, no tier is shown.
        video_name: the file name of the run's video, for people.
        backfill: rank below interactive work of the same tier, whatever its age.
        enable_age_boosting: whether the priority rises while the run waits.
        base_priority_override: base to use instead of the tier's; a backfill's penalty is subtracted from it too.
        now: the time to calculate for; None means the present.

    Raises:
        ValueError: ``requested_at`` or ``now`` has no timezone.
    """
    tier = TenantTier.from_name(tenant_tier)
    base = BASE_PRIORITY[tier] if base_priority_override is None else base_priority_override
    boosting = AgeBoosting.DISABLED
    if enable_age_boosting:
        boosting = AgeBoosting.BACKFILL if backfill else AgeBoosting.ENABLED
    if backfill:
        base -= BACKFILL_PENALTY
    asked_at = _aware(requested_at, "requested_at").astimezone(UTC)
    priority = calculate_flow_priority(
        tier, asked_at, enable_age_boosting, age_boost_cap=boosting.cap, base_priority_override=base, now=now
    )
    labels = get_priority_tags(tenant_id or "", tier.value, priority, enable_age_boosting)
    tags = {_TAG_OF_LABEL[name]: value for name, _, value in (label.partition(":") for label in labels) if value}
    tags |= {REQUESTED_AT_TAG: asked_at.isoformat(), BASE_PRIORITY_TAG: str(base)}
    if boosting is AgeBoosting.BACKFILL:
        tags[AGE_BOOSTING_TAG] = boosting.value
    if tenant_id != str(LOCAL_TENANT_ID):
        tags[SHOWN_TIER_TAG] = tier.value
    if video_name is not None:
        tags[VIDEO_NAME_TAG] = video_name
    return tags


def priority_of_tags(tags: Mapping[str, str], now: datetime | None = None) -> int | None:
    """Return the priority that a run's own tags imply at a time; None if they imply none."""
    try:
        base = int(tags[BASE_PRIORITY_TAG])
        boosting = AgeBoosting(tags.get(AGE_BOOSTING_TAG, AgeBoosting.ENABLED))
        requested_at = _aware(datetime.fromisoformat(tags[REQUESTED_AT_TAG]), REQUESTED_AT_TAG)
    except (KeyError, ValueError):
        return None
    return calculate_flow_priority(
        tags.get(TIER_TAG, TenantTier.FREE),
        requested_at,
        enable_age_boosting=boosting is not AgeBoosting.DISABLED,
        age_boost_cap=boosting.cap,
        base_priority_override=base,
        now=now,
    )


def submitted_priority(tags: Mapping[str, str]) -> int | None:
    """Return the priority that a run's tag shows; None if it shows no whole number."""
    try:
        return int(tags[DAGSTER_PRIORITY_TAG])
    except (KeyError, ValueError):
        return None


def _aware(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{name} has no timezone: {moment.isoformat()}")
    return moment
