"""The code location as it is, but each stage stops at a gate while a file holds it shut, to be killed there.

A stage that comes to its gate writes its process id to ``arrived-<stage>-<video>``; the gate is shut while
``hold-<stage>-<video>`` is there. Everything else is real.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from dagster import Definitions, InitResourceContext, resource

from captionacc_dagster import definitions
from captionacc_dagster.backends import open_store
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.compute.local import LocalCompute
from captionacc_dagster.resources import dagster_resources
from captionacc_dagster.settings import get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore

STAGES = ("raw_video", "initial_processing", "caption_extents", "captions_db", "subtitles")


def gates() -> Path:
    """The folder of the gates."""
    return get_settings().home / "gates"


def pass_gate(stage: str, video_id: str) -> None:
    """Wait for as long as the gate is shut."""
    hold = gates() / f"hold-{stage}-{video_id}"
    if hold.exists():
        (gates() / f"arrived-{stage}-{video_id}").write_text(str(os.getpid()))
    while hold.exists():
        time.sleep(0.1)


class GatedStore(LocalObjectStore):
    """The local store with gates where the first and the last stage use it."""

    def stat(self, key: str) -> Any:
        keys = VideoKeys.parse(key)
        if key == keys.video:
            pass_gate("raw_video", keys.video_id)
        return super().stat(key)

    def publish(self, key: str, *args: Any, **kwargs: Any) -> Any:
        keys = VideoKeys.parse(key)
        if key.startswith(keys.subtitles_prefix):
            pass_gate("subtitles", keys.video_id)
        return super().publish(key, *args, **kwargs)


class GatedCompute(LocalCompute):
    """The local backend with a gate before each function."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, lambda: create_engine("rapidocr"))

    def extract_frames_and_ocr(self, video_key: str, tenant_id: str, video_id: str, *args: Any, **kwargs: Any) -> Any:
        pass_gate("initial_processing", video_id)
        return super().extract_frames_and_ocr(video_key, tenant_id, video_id, *args, **kwargs)

    def crop_and_infer_caption_frame_extents(
        self, video_key: str, tenant_id: str, video_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        pass_gate("caption_extents", video_id)
        return super().crop_and_infer_caption_frame_extents(video_key, tenant_id, video_id, *args, **kwargs)

    def generate_caption_ocr(self, video_key: str, tenant_id: str, video_id: str, *args: Any, **kwargs: Any) -> Any:
        pass_gate("captions_db", video_id)
        return super().generate_caption_ocr(video_key, tenant_id, video_id, *args, **kwargs)


@resource
def gated_store(context: InitResourceContext) -> ObjectStore:
    """The store with gates, or the real one when that is S3."""
    settings = get_settings()
    return open_store() if settings.storage_kind == "s3" else GatedStore(settings.objects_dir)


@resource
def gated_compute(context: InitResourceContext) -> LocalCompute:
    """The backend with gates."""
    settings = get_settings()
    return GatedCompute(open_store() if settings.storage_kind == "s3" else LocalObjectStore(settings.objects_dir))


defs = Definitions(
    assets=definitions.defs.assets,
    asset_checks=definitions.defs.asset_checks,
    jobs=definitions.defs.jobs,
    sensors=definitions.defs.sensors,
    resources={**dagster_resources(), "store": gated_store, "compute": gated_compute},
    executor=definitions.defs.executor,
)
