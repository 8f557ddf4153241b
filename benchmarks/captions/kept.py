"""Cached measurements of the baseline, which costs twenty times as much as decoding.

A measurement is used again only for the same video, code, versions, and machine; the report says when it was made.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.captions import baseline, measure
from benchmarks.captions.measure import Cost, Measured
from benchmarks.captions.sources import code_of
from captionacc_dagster.captioning.evaluation import scoring
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption

_PACKAGES = ("av", "numpy", "onnxruntime", "opencv-python-headless", "rapidfuzz", "rapidocr")


def cpu_name() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> str:
    """Return the versions of the packages that a measurement depends on."""
    return ", ".join(f"{name} {version(name)}" for name in _PACKAGES)


@cache
def _origin() -> str:
    """Return a hash of everything that a measurement of the baseline depends on, except the clip."""
    used = (baseline, measure.decode_all, measure.measured_cost, scoring.similarity, scoring.normalize)
    code = [code_of(inspect.getsource(part)) for part in used]
    parts = [*code, cpu_name(), str(os.cpu_count()), platform.release(), platform.python_version(), versions()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def kept_path(folder: Path, video: Path) -> Path:
    """Return the file in ``folder`` that caches a video's measurement, named by the hash of the video."""
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return folder / f"{video.stem}-{digest}-{_origin()}.json"


def load(folder: Path, video: Path) -> Measured | None:
    """Return the cached measurement of the baseline on a video; None if there is none that can be read."""
    try:
        content = json.loads(kept_path(folder, video).read_text(encoding="utf-8"))
        content["cost"] = Cost(**content["cost"])
        content["captions"] = [PredictedCaption(**caption) for caption in content["captions"]]
        return Measured(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def store(folder: Path, video: Path, measured: Measured) -> None:
    """Cache a measurement of the baseline unless it failed."""
    if measured.error is not None:
        return
    path = kept_path(folder, video)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(measured), ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
