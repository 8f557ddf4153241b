"""The code location, with compute calls that record their time, so that the rest is orchestration."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dagster import Definitions, InitResourceContext, resource

from captionacc_dagster import definitions
from captionacc_dagster.backends import open_store
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.compute.local import LocalCompute
from captionacc_dagster.resources import dagster_resources
from captionacc_dagster.settings import get_settings

CALLS = "timed-calls.jsonl"


class TimedCompute(LocalCompute):
    """The local backend in one process, which records each call: run worker, wall-clock time, and CPU seconds."""

    def extract_frames_and_ocr(self, *args: Any, **kwargs: Any) -> Any:
        with _timed():
            return super().extract_frames_and_ocr(*args, **kwargs)

    def crop_and_infer_caption_frame_extents(self, *args: Any, **kwargs: Any) -> Any:
        with _timed():
            return super().crop_and_infer_caption_frame_extents(*args, **kwargs)

    def generate_caption_ocr(self, *args: Any, **kwargs: Any) -> Any:
        with _timed():
            return super().generate_caption_ocr(*args, **kwargs)


@contextmanager
def _timed() -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    line = {"pid": os.getpid(), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    with (Path(get_settings().home) / CALLS).open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(line) + "\n")


@resource
def timed_compute(context: InitResourceContext) -> LocalCompute:
    """Return the timed backend."""
    return TimedCompute(open_store(), partial(create_engine, "rapidocr", threads=1))


defs = Definitions(
    assets=definitions.defs.assets,
    asset_checks=definitions.defs.asset_checks,
    jobs=definitions.defs.jobs,
    sensors=definitions.defs.sensors,
    resources={**dagster_resources(), "compute": timed_compute},
    executor=definitions.defs.executor,
)
