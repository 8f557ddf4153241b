"""Measurements of the baseline that are kept: it costs twenty times what decoding does.

One is used again only for the same video, the same code and versions, and the same machine; the report
tells when it was made.
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
from captionacc_dagster.captioning.evaluation import scoring
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption

_PACKAGES = ("av", "numpy", "onnxruntime", "opencv-python-headless", "rapidfuzz", "rapidocr")


def cpu_name() -> str:
    """Name the processor as the system does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> str:
    """Name the versions of what a measurement depends on."""
    return ", ".join(f"{name} {version(name)}" for name in _PACKAGES)


@cache
def _origin() -> str:
    """Digest what a measurement of the baseline depends on besides the clip."""
    code = [inspect.getsource(part) for part in (baseline, measure.decode_all, measure.measured_cost)]
    code += [inspect.getsource(part) for part in (scoring.similarity, scoring.normalize)]
    parts = [*code, cpu_name(), str(os.cpu_count()), platform.release(), platform.python_version(), versions()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def kept_path(folder: Path, video: Path) -> Path:
    """Give the file in ``folder`` in which a video's measurement of the baseline is kept, by the video's content."""
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return folder / f"{video.stem}-{digest}-{_origin()}.json"


def load(folder: Path, video: Path) -> Measured | None:
    """Give the kept measurement of the baseline on a video; None where there is none, or it cannot be read."""
    try:
        content = json.loads(kept_path(folder, video).read_text(encoding="utf-8"))
        content["cost"] = Cost(**content["cost"])
        content["captions"] = [PredictedCaption(**caption) for caption in content["captions"]]
        return Measured(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def store(folder: Path, video: Path, measured: Measured) -> None:
    """Keep a measurement of the baseline; one that failed is not kept."""
    if measured.error is not None:
        return
    path = kept_path(folder, video)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(measured), ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
