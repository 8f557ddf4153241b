"""The Dagster resources: the catalog, object store, and compute backend of the settings, and progress.

Assets and sensors name the abstract types (``ResourceParam[Catalog]``); :mod:`captionacc_dagster.backends` chooses the
implementation.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from logging import Logger
from uuid import UUID

from dagster import InitResourceContext, resource

from captionacc_dagster.backends import open_catalog, open_compute, open_store
from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.compute.base import ComputeBackend
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.tags import PARTITION_TAG

# The pool that limits the heavy steps; its slots are stored in the instance.
COMPUTE_POOL = "compute"


@resource(description="The catalog, open for the duration of a run or a sensor tick.")
def catalog_resource(context: InitResourceContext) -> Iterator[Catalog]:
    """Yield the open catalog and close it afterward."""
    with open_catalog() as catalog:
        yield catalog


@resource(description="The object store.")
def store_resource(context: InitResourceContext) -> ObjectStore:
    """Open the object store."""
    return open_store()


@resource(
    description="The compute backend, on the same object store and catalog.",
    required_resource_keys={"catalog", "store"},
)
def compute_resource(context: InitResourceContext) -> ComputeBackend:
    """Open the compute backend; it loads models and opens connections on first use."""
    catalog = context.resources.catalog
    key = context.run.tags.get(PARTITION_TAG) if context.run is not None else None
    return open_compute(
        context.resources.store,
        catalog,
        run_id=context.run_id or "",
        log=context.log,
        language=catalog.get_video_metadata(UUID(key)).lang if key else None,
    )


class ProgressReporter(ABC):
    """Shows the progress of long work."""

    @abstractmethod
    def watch(self, logger: Logger) -> Progress:
        """Return the callback for one piece of work; ``logger`` is the log of its run."""


class LogProgress(ProgressReporter):
    """Writes a line to the run's log when a stage begins, at intervals, and when it ends."""

    def __init__(self, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock

    def watch(self, logger: Logger) -> Progress:
        """See :meth:`ProgressReporter.watch`."""
        last: dict[str, float] = {}

        def report(stage: str, done: int, total: int) -> None:
            now = self._clock()
            if stage in last and done < total and now - last[stage] < self._every_s:
                return
            last[stage] = now
            logger.info("%s: %d of %s", stage, done, total or "?")

        return report


@resource(description="Progress in the run's log; the command line shows bars instead.")
def progress_resource(context: InitResourceContext) -> ProgressReporter:
    """Return a reporter that writes to the log."""
    return LogProgress()


def dagster_resources() -> dict[str, object]:
    """Return the resources of the code location."""
    return {
        "catalog": catalog_resource,
        "store": store_resource,
        "compute": compute_resource,
        "progress": progress_resource,
    }
