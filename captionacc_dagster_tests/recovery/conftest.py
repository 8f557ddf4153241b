"""Runs in this process: a real catalog, instance, store and engine, and a compute backend that can fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    JobDefinition,
    RetryPolicy,
    in_process_executor,
)

from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.local import LocalCompute
from captionacc_dagster.definitions import defs
from captionacc_dagster.orchestration.approval import Mode
from captionacc_dagster.orchestration.flows import Flow
from captionacc_dagster.orchestration.outcomes import record_outcome
from captionacc_dagster.resources import LogProgress, ProcessingResource
from captionacc_dagster.settings import get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.orchestration.instances import postgres_instance
from captionacc_dagster_tests.small_clips import make_clip


@lru_cache(maxsize=1)
def _engine() -> OcrEngine:
    """Load the models once for all tests of a process."""
    return create_engine("rapidocr")


class ScriptedCompute(LocalCompute):
    """The local backend; before each call it does the next thing of its script."""

    def __init__(self, store: ObjectStore, script: list[Callable[[], None]]) -> None:
        super().__init__(store, _engine)
        self.script = script
        self.calls = 0

    def _next(self) -> None:
        self.calls += 1
        if self.script:
            self.script.pop(0)()

    def extract_frames_and_ocr(self, *args: Any, **kwargs: Any) -> Any:
        self._next()
        return super().extract_frames_and_ocr(*args, **kwargs)

    def crop_and_infer_caption_frame_extents(self, *args: Any, **kwargs: Any) -> Any:
        self._next()
        return super().crop_and_infer_caption_frame_extents(*args, **kwargs)

    def generate_caption_ocr(self, *args: Any, **kwargs: Any) -> Any:
        self._next()
        return super().generate_caption_ocr(*args, **kwargs)


def failing(error: Exception) -> Callable[[], None]:
    """Return a step of a script that raises."""

    def fail() -> None:
        raise error

    return fail


@dataclass
class FlowHarness:
    """Everything that a run needs, and the means to start one."""

    instance: DagsterInstance
    catalog: Catalog
    store: ObjectStore
    folder: Path
    script: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compute = ScriptedCompute(self.store, self.script)

    def upload(self, name: str = "clip.mp4", **clip: Any) -> Video:
        """Add a video of a few frames."""
        path = make_clip(self.folder / name, **{"frames": 60, "captions": [(10, 50, "Good evening.")], **clip})
        video = self.catalog.create_video(LOCAL_TENANT_ID, name).video
        self.store.upload_from_path(self.keys(video).video, path)
        self.instance.add_dynamic_partitions("videos", [str(video.id)])
        return video

    def keys(self, video: Video) -> VideoKeys:
        return VideoKeys(str(video.tenant_id), str(video.id))

    def run(self, flow: Flow, video: Video, **options: Any) -> ExecuteInProcessResult:
        """Run a flow in this process, and record how it ended, as the sensor does."""
        result = self.execute(defs.resolve_job_def(flow.value), video, **options)
        self.record_outcome(result.run_id)
        return result

    def record_outcome(self, run_id: str, approval: Mode = "never") -> str:
        """Record how a run ended."""
        run = self.instance.get_run_by_id(run_id)
        assert run
        return record_outcome(self.catalog, self.instance, run, approval)

    def run_assets(self, video: Video, names: Iterable[str], approval: Mode) -> ExecuteInProcessResult:
        """Run assets under Dagster's implicit job, as a backfill does."""
        # Its job has the resources of its definitions; those of a job of our own can be given at its execution.
        here = Definitions(
            assets=defs.assets, asset_checks=defs.asset_checks, resources=self.resources, executor=in_process_executor
        )
        result = here.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            partition_key=str(video.id),
            raise_on_error=False,
            asset_selection=[AssetKey(name) for name in names],
        )
        self.record_outcome(result.run_id, approval)
        return result

    def execute(self, job: JobDefinition, video: Video, **options: Any) -> ExecuteInProcessResult:
        """Run a job in this process."""
        return job.execute_in_process(
            instance=self.instance,
            partition_key=str(video.id),
            raise_on_error=False,
            run_id=options.pop("run_id", str(uuid4())),
            resources=self.resources,
            **options,
        )

    @property
    def resources(self) -> dict[str, object]:
        """The resources of a run."""
        return {
            "catalog": self.catalog,
            "store": self.store,
            "compute": self.compute,
            "processing": ProcessingResource.of(get_settings()),
            "progress": LogProgress(),
        }

    def approve(self, video: Video) -> None:
        """Approve the layout as it was found."""
        row = self.catalog.get_video_metadata(video.id)
        self.catalog.approve_layout(video.id, row.crop_region)

    def nothing_is_left_behind(self) -> None:
        """No lock, no open request, no temporary object."""
        assert self.catalog.list_locks() == []
        assert self.catalog.list_processing_requests(states=["pending", "launched"]).items == ()
        assert [key for key in self.store.list_files(f"{LOCAL_TENANT_ID}/") if "/tmp/" in key] == []


@pytest.fixture
def harness(
    postgres_server: EmbeddedPostgres, postgres_catalog: PostgresCatalog, tmp_path: Path
) -> Iterator[FlowHarness]:
    with postgres_instance(postgres_server) as instance:
        yield FlowHarness(instance, postgres_catalog, LocalObjectStore(tmp_path / "objects"), tmp_path)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries come at once; gives the delays that would have been."""
    delays: list[float] = []
    real = RetryPolicy.calculate_delay

    def at_once(policy: RetryPolicy, attempt: int) -> float:
        delays.append(real(policy, attempt))
        return 0.0

    monkeypatch.setattr(RetryPolicy, "calculate_delay", at_once)
    return delays


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Do something in a while, in another thread; waited for at the end."""
    timers: list[threading.Timer] = []

    def schedule(seconds: float, action: Callable[[], object]) -> None:
        timers.append(threading.Timer(seconds, action))
        timers[-1].start()

    yield schedule
    for timer in timers:
        timer.join()
