"""Create the catalog, object store, and compute backend from the settings, for Dagster, the command line, and HTTP.

Assets and sensors name the abstract types (``ResourceParam[Catalog]``); this module chooses the implementation.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from dagster import InitResourceContext, resource

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.compute.base import ComputeBackend, ComputeMisconfigured
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.tags import PARTITION_TAG

if TYPE_CHECKING:
    from captionacc_dagster.captioning.ocr.base import OcrEngine

LOCAL_POOL = "local_compute"
MODAL_POOL = "modal_compute"


def compute_pool(settings: Settings | None = None) -> str:
    """Return the name of the pool that limits the heavy steps."""
    return LOCAL_POOL if (settings or get_settings()).compute == "local" else MODAL_POOL


def open_catalog(
    settings: Settings | None = None, *, retries: Retries | None = None, connect_timeout_s: float = 10.0
) -> Catalog:
    """Open the catalog of the settings; the embedded one is started and migrated if necessary.

    ``retries`` and ``connect_timeout_s`` bound the wait for an unavailable catalog; the defaults suit a run.
    """
    settings = settings or get_settings()
    if settings.supabase_url and settings.supabase_service_role_key:
        from captionacc_dagster.catalog.supabase import SupabaseCatalog

        return SupabaseCatalog(
            settings.supabase_url,
            settings.supabase_service_role_key.get_secret_value(),
            settings.supabase_schema,
            retries=retries,
        )
    from captionacc_dagster.catalog.postgres import PostgresCatalog

    if settings.database_url:
        url = settings.database_url.get_secret_value()
        return PostgresCatalog(url, retries=retries, connect_timeout_s=connect_timeout_s)
    from captionacc_dagster.catalog import embedded

    server = embedded.EmbeddedPostgres(settings.home)
    embedded.open_catalog(server).close()
    return PostgresCatalog(server.url(), retries=retries, connect_timeout_s=connect_timeout_s)


def open_catalog_briefly(settings: Settings | None = None) -> Catalog:
    """Open the catalog for an interactive caller: an unavailable catalog is reported within seconds."""
    return open_catalog(settings, retries=Retries(attempts=1), connect_timeout_s=3.0)


def open_store(settings: Settings | None = None) -> ObjectStore:
    """Open the object store of the settings."""
    settings = settings or get_settings()
    if settings.wasabi_bucket and settings.wasabi_access_key and settings.wasabi_secret_key:
        from captionacc_dagster.storage.s3 import S3ObjectStore
        from captionacc_dagster.storage.s3_client import create_s3_client

        create_client = partial(
            create_s3_client,
            endpoint_url=settings.endpoint_url,
            region=settings.wasabi_region,
            access_key=settings.wasabi_access_key.get_secret_value(),
            secret_key=settings.wasabi_secret_key.get_secret_value(),
        )
        return S3ObjectStore(settings.wasabi_bucket, create_client)
    from captionacc_dagster.storage.local import LocalObjectStore

    return LocalObjectStore(settings.objects_dir)


@lru_cache(maxsize=4)
def _engine(name: str, language: str | None, models: Path) -> OcrEngine:
    """Return the OCR engine for some languages, created once per process; its models are shared."""
    from captionacc_dagster.captioning.ocr.engines import create_engine

    return create_engine(name, lang=language, models=models)


def open_compute(
    store: ObjectStore,
    catalog: Catalog,
    settings: Settings | None = None,
    *,
    run_id: str = "",
    log: Logger | None = None,
    language: str | None = None,
) -> ComputeBackend:
    """Open the compute backend of the settings.

    Args:
        catalog: stores the ledger of a remote backend.
        language: the languages of the video (BCP 47, several with commas); None: those of the settings.
        run_id: the run that waits for remote calls.
        log: the run's log, for the progress of remote calls.

    Raises:
        ComputeMisconfigured: Modal is chosen, but its containers cannot reach the object store.
    """
    settings = settings or get_settings()
    language = language or settings.ocr_language
    if settings.compute == "modal":
        if settings.storage_kind == "local":
            raise ComputeMisconfigured(
                "CAPTIONACC_COMPUTE is modal, but Modal cannot read a folder of this machine: set WASABI_BUCKET "
                "and its keys (docs/modal.md)"
            )
        from captionacc_dagster.compute.envelope import EngineChoice
        from captionacc_dagster.compute.modal_backend import ModalCompute

        return ModalCompute(
            store,
            catalog,
            video_seconds=lambda video_id: catalog.get_video_metadata(video_id).duration_seconds,
            run_id=run_id,
            environment=os.environ.get("MODAL_ENVIRONMENT", ""),
            engine=EngineChoice(name=settings.ocr_engine, lang=language),
            log=log,
        )
    from captionacc_dagster.captioning.ocr.engines import create_engine
    from captionacc_dagster.compute.local import LocalCompute
    from captionacc_dagster.compute.processes import Workers, usable_processes

    count = usable_processes()
    worker_engine = partial(create_engine, settings.ocr_engine, threads=1, lang=language, models=settings.models_dir)
    return LocalCompute(
        store,
        lambda: _engine(settings.ocr_engine, language, settings.models_dir),
        workers=Workers(worker_engine, count) if count > 1 else None,
    )


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
