"""The queue's front door: every run gets the tags that decide when it starts.

Named in ``dagster.yaml``; lives in the webserver and the daemon, not in the code location.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator, RunQueueConfig
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster._serdes import ConfigurableClassData

from captionacc_dagster.orchestration.flows import flow_of_run
from captionacc_dagster.orchestration.limits import override_run_limits
from captionacc_dagster.orchestration.priority import (
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    VIDEO_TAG,
    priority_of_tags,
    priority_run_tags,
)
from captionacc_dagster.orchestration.tenants import TenantDirectory, catalog_directory
from captionacc_dagster.settings import get_settings


class PriorityAwareRunCoordinator(QueuedRunCoordinator):
    """A queue whose order is tenant tier and waiting time, and whose limits the environment may override.

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
        self._directory = directory or catalog_directory()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> PriorityAwareRunCoordinator:
        """Build it from the ``run_coordinator`` block of ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def get_run_queue_config(self) -> RunQueueConfig:
        """Give the limits of ``dagster.yaml`` with those that the settings override."""
        settings = get_settings()
        return override_run_limits(
            super().get_run_queue_config(),
            overall=settings.max_concurrent_runs,
            per_tenant=settings.max_concurrent_runs_per_tenant,
            per_flow=settings.max_concurrent_runs_per_flow,
        )

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run and put it into the queue; a run that cannot be tagged is queued all the same."""
        run = context.dagster_run
        if run.status == DagsterRunStatus.NOT_STARTED:
            try:
                self._instance.add_run_tags(run.run_id, self.queue_tags(run, datetime.now(UTC)))
            except Exception:
                self._logger.exception("run %s is queued without priority tags", run.run_id)
        return super().submit_run(context)

    def queue_tags(self, run: DagsterRun, now: datetime) -> dict[str, str]:
        """Give the tags to add to a run that enters the queue at that moment.

        A run that already carries base and request time (from the outbox or the run it retries) keeps them.
        A ``dagster/priority`` set by a person is the run's base.
        """
        tags = dict(run.tags)
        added: dict[str, str] = {}
        assets = run.asset_selection
        flow = flow_of_run(run.job_name, [key.path[-1] for key in assets] if assets else None)
        if flow and FLOW_TAG not in tags:
            added[FLOW_TAG] = flow.value
        video_id = tags.get(VIDEO_TAG) or tags.get(PARTITION_NAME_TAG)
        if video_id and VIDEO_TAG not in tags:
            added[VIDEO_TAG] = video_id

        priority = priority_of_tags(tags, now)
        if priority is not None:
            return added | {DAGSTER_PRIORITY_TAG: str(priority)}

        tenancy = self._directory.look_up(tags.get(TENANT_TAG), video_id)
        return (
            added
            | priority_run_tags(
                tenancy.tier,
                now,
                tenant_id=tenancy.tenant_id,
                backfill=BACKFILL_ID_TAG in tags,
                base_priority_override=_whole_number(tags.get(DAGSTER_PRIORITY_TAG)),
                now=now,
            )
            | {TIER_SOURCE_TAG: tenancy.source.value}
        )


def _whole_number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
