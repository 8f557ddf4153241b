"""The run coordinator: give every submitted run the tags that decide when it starts.

Named in ``dagster.yaml``; runs in the webserver and the daemon, not in the code location.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, QueuedRunCoordinator, SubmitRunContext

from captionacc_dagster.orchestration.dagster_internals import (
    ConfigurableClassData,
    RunQueueConfig,
    SensorInstigatorData,
    require_members,
    sort_queue_by,
)
from captionacc_dagster.orchestration.limits import override_run_limits, with_tenant_limits
from captionacc_dagster.orchestration.queue_figures import waiting_tenants
from captionacc_dagster.orchestration.queue_order import in_order
from captionacc_dagster.orchestration.run_tags import queue_tags
from captionacc_dagster.orchestration.tenants import TenantDirectory, catalog_directory
from captionacc_dagster.orchestration.workers import keep_connections
from captionacc_dagster.settings import get_settings


class PriorityAwareRunCoordinator(QueuedRunCoordinator):
    """A queue ordered by tenant tier and waiting time, with limits that the environment and tenants may override.

    ``dagster.yaml`` configures it like Dagster's own ``QueuedRunCoordinator``.
    """

    def __init__(
        self,
        max_concurrent_runs: int | None = None,
        tag_concurrency_limits: Sequence[Mapping[str, Any]] | None = None,
        *,
        directory: TenantDirectory | None = None,
        inst_data: ConfigurableClassData | None = None,
        **config: Any,
    ) -> None:
        super().__init__(
            max_concurrent_runs=max_concurrent_runs,
            tag_concurrency_limits=tag_concurrency_limits,
            inst_data=inst_data,
            **config,
        )
        self.directory = directory or catalog_directory()
        require_members(QueuedRunCoordinator, "_instance", "_logger")
        sort_queue_by(in_order)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> PriorityAwareRunCoordinator:
        """Create it from the ``run_coordinator`` block of ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: DagsterInstance) -> None:
        """Note the instance; the daemon does so first of all when it starts.

        It keeps its connections: Dagster would open dozens each second, for a daemon that has nothing to do.
        """
        super().register_instance(instance)
        keep_connections(instance)
        _forget_future_ticks(instance)

    def get_run_queue_config(self) -> RunQueueConfig:
        """Return the limits of ``dagster.yaml``, overridden by the settings and by tenants' own limits."""
        settings = get_settings()
        config = override_run_limits(
            super().get_run_queue_config(),
            overall=settings.max_concurrent_runs,
            per_tenant=settings.max_concurrent_runs_per_tenant,
            per_flow=settings.max_concurrent_runs_per_flow,
        )
        own = self.directory.run_limits()
        return with_tenant_limits(config, own, lambda: waiting_tenants(self._instance))

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run and queue it; a run that cannot be tagged is queued without tags."""
        run = context.dagster_run
        if run.status == DagsterRunStatus.NOT_STARTED:
            try:
                self._instance.add_run_tags(run.run_id, queue_tags(run, self.directory, datetime.now(UTC)))
            except Exception:
                self._logger.exception("run %s is queued without priority tags", run.run_id)
        return super().submit_run(context)


def _forget_future_ticks(instance: DagsterInstance) -> None:
    """Let every sensor tick whose last tick lies in the future, because the machine's clock was set back.

    Dagster would wait until the clock has caught up.
    """
    now = time.time()
    for state in instance.all_instigator_state():
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData):
            continue
        if max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0) > now:
            forgotten = data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
            instance.update_instigator_state(state.with_data(forgotten))
