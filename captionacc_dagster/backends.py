"""What the settings name, without loading Dagster: the catalog, object store, and compute backend."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore

if TYPE_CHECKING:
    from captionacc_dagster.captioning.files.subtitles import SubtitleOptions
    from captionacc_dagster.captioning.ocr.base import OcrEngine
    from captionacc_dagster.compute.base import ComputeBackend


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


def subtitle_options(settings: Settings) -> SubtitleOptions:
    """Return what subtitle files contain by the settings."""
    from captionacc_dagster.captioning.files.subtitles import SubtitleOptions

    return SubtitleOptions(
        include=tuple(settings.subtitle_include),
        phrases={"auto": None, "phrases": True, "words": False}[settings.subtitle_form],
        join_gaps_ms=settings.subtitle_join_gaps_ms,
        srt_bom=settings.srt_bom,
    )


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


def language_of(catalog: Catalog, video_id: UUID) -> str | None:
    """Return the languages of a video's captions: its own, else its tenant's; None where neither has any."""
    video = catalog.get_video_metadata(video_id)
    return video.lang or catalog.get_tenant(video.tenant_id).lang


def _check_language(settings: Settings) -> None:
    from captionacc_dagster.captioning.ocr.languages import UnknownLanguageError, language_codes

    if settings.ocr_language:
        try:
            language_codes(settings.ocr_language)
        except UnknownLanguageError as error:
            from captionacc_dagster.compute.base import ComputeMisconfigured

            raise ComputeMisconfigured(f"CAPTIONACC_OCR_LANGUAGE: {error}") from error


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
        ComputeMisconfigured: Modal is chosen, but its containers cannot reach the object store, or the settings name
            an unknown language.
    """
    settings = settings or get_settings()
    _check_language(settings)
    language = language or settings.ocr_language
    if settings.compute == "modal":
        if settings.storage_kind == "local":
            from captionacc_dagster.compute.base import ComputeMisconfigured

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
    from captionacc_dagster.compute.metered import MeteredCompute
    from captionacc_dagster.compute.modal_spec import assumed_duration
    from captionacc_dagster.compute.processes import Workers, usable_processes

    count = usable_processes()
    worker_engine = partial(create_engine, settings.ocr_engine, threads=1, lang=language, models=settings.models_dir)
    local = LocalCompute(
        store,
        lambda: _engine(settings.ocr_engine, language, settings.models_dir),
        workers=Workers(worker_engine, count) if count > 1 else None,
    )

    def video_seconds(video_key: str, video_id: str) -> float:
        known = catalog.get_video_metadata(video_id).duration_seconds
        return assumed_duration(store.stat(video_key).size) if known is None else known

    return MeteredCompute(local, catalog, video_seconds=video_seconds, run_id=run_id)
