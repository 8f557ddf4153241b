"""Concurrency limits: run limits of the queue and slots of the compute pools.

Run limits come from ``dagster.yaml``, single ones overridden by the environment and a tenant's own by the catalog; pool
slots are stored in the instance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dagster import DagsterInstance

from captionacc_dagster.orchestration.dagster_internals import RunQueueConfig
from captionacc_dagster.resources import COMPUTE_POOL
from captionacc_dagster.tags import FLOW_TAG, TENANT_TAG

MODAL_SLOTS = 20


def override_run_limits(
    config: RunQueueConfig,
    *,
    overall: int | None = None,
    per_tenant: int | None = None,
    per_flow: Mapping[str, int] | None = None,
) -> RunQueueConfig:
    """Return a queue configuration with single limits replaced; None and unnamed flows leave theirs unchanged."""
    limits: list[Mapping[str, Any]] = list(config.tag_concurrency_limits or ())
    if per_tenant is not None:
        unique = {"applyLimitPerUniqueValue": True}
        limits = _replaced(limits, {"key": TENANT_TAG, "value": unique, "limit": per_tenant})
    for flow, limit in (per_flow or {}).items():
        limits = _replaced(limits, {"key": FLOW_TAG, "value": str(flow), "limit": limit})
    most = config.max_concurrent_runs if overall is None else overall
    return config._replace(max_concurrent_runs=most, tag_concurrency_limits=limits)


def with_tenant_limits(
    config: RunQueueConfig, own: Mapping[str, int], waiting: Callable[[], Iterable[str]]
) -> RunQueueConfig:
    """Return a queue configuration in which tenants' own limits replace the one for all tenants.

    Dagster delays a run that exceeds any limit, so a tenant with a higher limit cannot be named beside a limit for all:
    the limit for all is raised to the highest, and the other waiting tenants are named with theirs.

    Args:
        config: with or without a limit for all tenants.
        own: tenant id → runs.
        waiting: returns the tenants that have queued runs; called only if some tenant has a higher limit.
    """
    if not own:
        return config
    limits = list(config.tag_concurrency_limits)
    named = dict(own)
    everybody = next((limit for limit in limits if limit["key"] == TENANT_TAG and _is_per_value(limit)), None)
    if everybody is not None and (highest := max(own.values())) > everybody["limit"]:
        limits = _replaced(limits, {**everybody, "limit": highest})
        named = dict.fromkeys(waiting(), everybody["limit"]) | named
    limits += [{"key": TENANT_TAG, "value": tenant, "limit": limit} for tenant, limit in sorted(named.items())]
    return config._replace(tag_concurrency_limits=limits)


def _is_per_value(limit: Mapping[str, Any]) -> bool:
    value = limit.get("value")
    return isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))


def _replaced(limits: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    same = (new["key"], new["value"])
    return [limit for limit in limits if (limit["key"], limit.get("value")) != same] + [new]


def ensure_pool_slots(
    instance: DagsterInstance, compute: str = "local", overrides: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Set the slots of the compute pool; a number set in the UI or by ``dagster instance concurrency set`` stays.

    The default is one slot per core here, and 20 calls on Modal. That of the other place than ``compute`` is replaced;
    ``overrides``, from the settings, always win.

    Returns:
        Pool → slots, for the pools that changed.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    fixed = {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default}
    defaults = {"local": os.cpu_count() or 1, "modal": MODAL_SLOTS}
    wanted = dict(overrides or {})
    elsewhere = {slots for place, slots in defaults.items() if place != compute}
    if COMPUTE_POOL not in wanted and (COMPUTE_POOL not in fixed or fixed[COMPUTE_POOL] in elsewhere):
        wanted[COMPUTE_POOL] = defaults[compute]
    changed = {pool: slots for pool, slots in wanted.items() if fixed.get(pool) != slots}
    for pool, slots in changed.items():
        storage.set_concurrency_slots(pool, slots)
    return changed
