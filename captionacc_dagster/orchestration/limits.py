"""How much may run at once: run limits of the queue and slots of the compute pools.

Run limits are in ``dagster.yaml``, single ones overridden by the environment; pool slots are in the instance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterInstance
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

from captionacc_dagster.orchestration.priority import FLOW_TAG, TENANT_TAG
from captionacc_dagster.resources import LOCAL_POOL, MODAL_POOL

MODAL_POOL_SLOTS = 20


def override_run_limits(
    config: RunQueueConfig,
    *,
    overall: int | None = None,
    per_tenant: int | None = None,
    per_flow: Mapping[str, int] | None = None,
) -> RunQueueConfig:
    """Replace single limits of a queue's configuration; None and flows not named stay as they are."""
    limits: list[Mapping[str, Any]] = list(config.tag_concurrency_limits or ())
    if per_tenant is not None:
        unique = {"applyLimitPerUniqueValue": True}
        limits = _replaced(limits, {"key": TENANT_TAG, "value": unique, "limit": per_tenant})
    for flow, limit in (per_flow or {}).items():
        limits = _replaced(limits, {"key": FLOW_TAG, "value": str(flow), "limit": limit})
    most = config.max_concurrent_runs if overall is None else overall
    return config._replace(max_concurrent_runs=most, tag_concurrency_limits=limits)


def _replaced(limits: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    same = (new["key"], new["value"])
    return [limit for limit in limits if (limit["key"], limit.get("value")) != same] + [new]


def default_pool_slots() -> dict[str, int]:
    """Give the slots a pool has when nobody said otherwise: a run for each core here, 20 calls on Modal."""
    return {LOCAL_POOL: os.cpu_count() or 1, MODAL_POOL: MODAL_POOL_SLOTS}


def ensure_pool_slots(instance: DagsterInstance, overrides: Mapping[str, int] | None = None) -> dict[str, int]:
    """Give every pool its slots; a number set in the UI or by ``dagster instance concurrency set`` stays.

    Args:
        instance: whose pools.
        overrides: slots that the settings fix; these always win.

    Returns:
        What was changed: pool → slots.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    fixed = {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default}
    overrides = overrides or {}
    changed = {
        pool: slots
        for pool, slots in (default_pool_slots() | dict(overrides)).items()
        if (fixed.get(pool) != slots if pool in overrides else pool not in fixed)
    }
    for pool, slots in changed.items():
        storage.set_concurrency_slots(pool, slots)
    return changed
