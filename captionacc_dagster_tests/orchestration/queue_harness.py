"""Dagster instances with the real coordinator and queue daemon, and a launcher that only notes what it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._serdes import serialize_value

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Id
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.catalog.models import Tier, Video
from captionacc_dagster.orchestration.run_coordinator import PriorityAwareRunCoordinator
from captionacc_dagster.orchestration.tenants import TenantDirectory
from captionacc_dagster.tags import FLOW_TAG
from captionacc_dagster_tests.orchestration.instances import postgres_instance

EMBEDDED_YAML = Path(__file__).parents[2] / "deploy" / "embedded" / "dagster.yaml"


@dataclass(eq=False)
class KnownTenants(Catalog):
    """The catalog's tenants in memory; it can be taken away."""

    tiers: dict[str, Tier] = field(default_factory=dict)
    videos: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    away: bool = False
    questions: int = 0

    def get_video_metadata(self, video_id: Id) -> Video:
        self._answer()
        if video_id not in self.videos:
            raise NotFound(f"no video {video_id}")
        return Video.model_construct(tenant_id=self.videos[str(video_id)], filename=f"{video_id}.mp4")

    def get_tenant_tier(self, tenant_id: Id) -> Tier:
        self._answer()
        return self.tiers.get(str(tenant_id), "free")

    def get_tenant_run_limits(self) -> dict[str, int]:
        self._answer()
        return dict(self.limits)

    def _answer(self) -> None:
        self.questions += 1
        if self.away:
            raise ConnectionError("the catalog is away")

    def _send(self, function: str, parameters: Mapping[str, Any]) -> Any:
        raise NotImplementedError(function)

    def close(self) -> None:
        pass


@dataclass
class Workspace:
    """What the queue daemon needs of a workspace when the launcher starts nothing."""

    instance: DagsterInstance

    def create_request_context(self) -> None:
        return None


def remote_origin(job: str) -> RemoteJobOrigin:
    """Return the origin that a submitted run must name; nothing is ever loaded from it."""
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="none.py"), location_name=None)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "repository"), job)


class Queue:
    """An instance, its coordinator and its queue daemon."""

    def __init__(self, instance: DagsterInstance, tenants: KnownTenants) -> None:
        self.instance = instance
        self.tenants = tenants
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, PriorityAwareRunCoordinator)
        coordinator.directory = TenantDirectory(lambda: tenants)

    def submit(self, job: str = "video_initial_processing", tags: Mapping[str, str] | None = None) -> DagsterRun:
        """Submit a run, as the UI, a sensor or a backfill does."""
        run = self._make_run(job, DagsterRunStatus.NOT_STARTED, tags or {})
        return self.instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # pyright: ignore

    def put_all(self, entries: Iterable[tuple[str, Mapping[str, str]]]) -> list[DagsterRun]:
        """Put runs into the queue with these tags, at once: by its API each one takes dozens of statements."""
        runs = [
            DagsterRun(
                job_name=job,
                run_id=str(uuid4()),
                tags={FLOW_TAG: job, **tags},
                status=DagsterRunStatus.QUEUED,
                remote_job_origin=remote_origin(job),
            )
            for job, tags in entries
        ]
        storage = self.instance.run_storage
        assert isinstance(storage, SqlRunStorage)
        rows = [
            {
                "run_id": run.run_id,
                "pipeline_name": run.job_name,
                "status": run.status.value,
                "run_body": serialize_value(run),
            }
            for run in runs
        ]
        tags = [{"run_id": run.run_id, "key": k, "value": v} for run in runs for k, v in run.tags.items()]
        with storage.connect() as connection:
            connection.execute(RunsTable.insert(), rows)
            connection.execute(RunTagsTable.insert(), tags)
        return runs

    def _make_run(self, job: str, status: DagsterRunStatus, tags: Mapping[str, str]) -> DagsterRun:
        return create_run_for_test(
            self.instance,
            job,
            tags=dict(tags),
            status=status,
            remote_job_origin=remote_origin(job),
            asset_graph=AssetGraph.from_assets([]),
        )

    def dequeue(self) -> list[str]:
        """Run one pass of the daemon and give the ids of the runs it started, in order."""
        launcher: Any = self.instance.run_launcher
        before = len(launcher.queue())
        list(self._daemon.run_iteration(Workspace(self.instance)))  # pyright: ignore
        return [run.run_id for run in launcher.queue()[before:]]

    def finish(self, run_id: str) -> None:
        event = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, "queued_job")
        self.instance.run_storage.handle_run_event(run_id, event)

    @staticmethod
    def fresh_directory(tenants: KnownTenants) -> TenantDirectory:
        """Return a directory that has nothing kept and has not been refused yet."""
        return TenantDirectory(lambda: tenants)


def dagster_config(run_limits: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the embedded ``dagster.yaml`` with a launcher that starts nothing and Dagster's default storage."""
    config = yaml.safe_load(EMBEDDED_YAML.read_text())
    for key in ("storage", "local_artifact_storage", "compute_logs", "run_monitoring"):
        del config[key]
    # Threads start runs side by side; without them the order of the starts can be checked.
    config["run_coordinator"]["config"] |= {"dequeue_use_threads": False, **(run_limits or {})}
    config["run_launcher"] = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
    return config


OpenQueue = Callable[..., AbstractContextManager[Queue]]


def queue_opener(server: EmbeddedPostgres) -> OpenQueue:
    """Return an opener of queues: ``with open_queue(run_limits) as queue``, each on an instance of its own."""

    @contextmanager
    def opened(run_limits: Mapping[str, Any] | None = None) -> Iterator[Queue]:
        with postgres_instance(server, dagster_config(run_limits)) as instance:
            yield Queue(instance, KnownTenants())

    return opened
