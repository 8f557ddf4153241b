"""The Dagster resources: catalog, object store, compute backend, how videos are processed, and progress.

Assets and sensors name the abstract types (``ResourceParam[Catalog]``); :mod:`captionacc_dagster.backends` chooses the
implementation.
"""

# Dagster finds the dependencies of a resource in its annotations, so they must not be strings.
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

from dagster import ConfigurableResource, EnvVar, InitResourceContext, ResourceDependency
from pydantic import BaseModel, Field, SecretStr

from captionacc_dagster.backends import language_of, open_catalog, open_compute, open_store, subtitle_options
from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.compute.base import ComputeBackend
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.tags import PARTITION_TAG

# The pool that limits the heavy steps; its slots are stored in the instance.
COMPUTE_POOL = "compute"


class CatalogResource(ConfigurableResource[Catalog]):
    """The catalog, open for the duration of a run or a sensor tick.

    What is not given is as in the settings.
    """

    home: str | None = Field(default=None, description="Folder of the embedded Postgres, if nothing else is given.")
    supabase_url: str | None = Field(default=None, description="A Supabase project.")
    supabase_schema: str | None = Field(default=None, description="The schema of the catalog's tables on Supabase.")
    supabase_service_role_key: str | None = Field(default=None, description="Secret key of the project's service role.")
    database_url: str | None = Field(default=None, description="Any other Postgres; contains the password.")

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[Catalog]:  # pyright: ignore
        """Yield the open catalog and close it afterward."""
        with open_catalog(_settings_with(self, secrets=("supabase_service_role_key", "database_url"))) as catalog:
            yield catalog


class StoreResource(ConfigurableResource[ObjectStore]):
    """The object store where no bucket is configured: a folder under the home.

    With a bucket, it is ``captionacc_dagster.s3_resource.BucketResource``.
    """

    home: str | None = Field(default=None, description="The home; the objects are in a folder of it.")

    def create_resource(self, context: InitResourceContext) -> ObjectStore:
        """Open the object store."""
        return open_store(_settings_with(self))


class ComputeResource(ConfigurableResource[ComputeBackend]):
    """The compute backend, on the same object store and catalog; it loads models and connects on first use.

    What is not given is as in the settings.
    """

    catalog: ResourceDependency[Catalog]
    store: ResourceDependency[ObjectStore]
    compute: str | None = Field(default=None, description="Where the heavy steps run: local or modal.")
    ocr_engine: str | None = Field(default=None, description="OCR engine.")
    ocr_language: str | None = Field(default=None, description="Languages of captions of videos that have none.")

    def create_resource(self, context: InitResourceContext) -> ComputeBackend:
        """Open the compute backend for the video of the run."""
        run = context.run
        key = run.tags.get(PARTITION_TAG) if run is not None else None
        return open_compute(
            self.store,
            self.catalog,
            _settings_with(self),
            run_id=run.run_id if run is not None else "",
            log=context.log,
            language=_language_of(self.catalog, key) if key else None,
        )


def _language_of(catalog: Catalog, key: str) -> str | None:
    try:
        return language_of(catalog, UUID(key))
    except (ValueError, NotFound):  # the step itself says what is wrong with its partition
        return None


def _settings_with(given: BaseModel, secrets: Collection[str] = ()) -> Settings:
    """Return the settings with the fields of a resource in place of theirs, where it has any."""
    values: dict[str, Any] = {}
    for name in type(given).model_fields:
        value = getattr(given, name)
        if value is None or name not in Settings.model_fields:
            continue
        values[name] = SecretStr(value) if name in secrets else Path(value) if name == "home" else value
    return get_settings().model_copy(update=values)


class ProcessingResource(ConfigurableResource):
    """How a run processes a video; of what the settings say, this is what its results depend on."""

    full_frame_rate: float = Field(description="Full frames per second of video.")
    cropped_frame_rate: float = Field(description="Cropped frames per second of video, for new versions.")
    auto_approve_layout: Literal["always", "confident", "never"] = Field(
        description="When a layout is approved without a person."
    )
    subtitle_include: list[str] = Field(description="Kinds of text in subtitle files.")
    subtitle_form: Literal["auto", "phrases", "words"] = Field(description="Whether words are joined into phrases.")
    subtitle_join_gaps_ms: float = Field(description="Longest gap across which equal captions are one.")
    srt_bom: bool = Field(description="Write SRT with a byte order mark.")
    api_url: str = Field(description="Public address of the API, for links.")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings say."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})

    @property
    def subtitle_options(self) -> SubtitleOptions:
        """What subtitle files contain."""
        return subtitle_options(_settings_with(self))


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


class ProgressResource(ConfigurableResource[ProgressReporter]):
    """Progress in the run's log; the command line shows bars instead."""

    every_seconds: float = Field(default=30.0, description="Least time between two lines of a stage.")

    def create_resource(self, context: InitResourceContext) -> ProgressReporter:
        """Return a reporter that writes to the log."""
        return LogProgress(self.every_seconds)


def dagster_resources(settings: Settings | None = None) -> dict[str, object]:
    """Return the resources of the code location, configured as the settings say, so that Dagster's UI shows it.

    Secrets are named by their environment variable. One that only ``.env`` contains is not shown; the settings find it.
    """
    settings = settings or get_settings()
    catalog = CatalogResource(
        home=str(settings.home),
        supabase_url=settings.supabase_url,
        supabase_schema=settings.supabase_schema,
        supabase_service_role_key=_secret("SUPABASE_SERVICE_ROLE_KEY"),
        database_url=_secret("DATABASE_URL"),
    )
    objects: dict[str, Any]
    if settings.storage_kind == "s3":
        from captionacc_dagster.s3_resource import bucket_resources

        objects = bucket_resources(settings, _secret("WASABI_ACCESS_KEY"), _secret("WASABI_SECRET_KEY"))
    else:
        objects = {"store": StoreResource(home=str(settings.home))}
    return {
        **objects,
        "catalog": catalog,
        "compute": ComputeResource(
            catalog=catalog,
            store=objects["store"],
            compute=settings.compute,
            ocr_engine=settings.ocr_engine,
            ocr_language=settings.ocr_language,
        ),
        "processing": ProcessingResource.of(settings),
        "progress": ProgressResource(),
    }


def _secret(name: str) -> EnvVar | None:
    return EnvVar(name) if os.environ.get(name) else None
