"""Runs the engine, the baseline, and plain decoding on a clip, and measures their cost."""

from __future__ import annotations

import resource
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption

if TYPE_CHECKING:
    from benchmarks.captions.baseline import NaiveBaseline
    from captionacc_dagster.captioning.ocr.base import OcrEngine

SYSTEMS = ("engine", "baseline")


@dataclass(slots=True)
class Cost:
    """The cost of a run: CPU seconds of the process, its threads and ended children; wall seconds; MiB."""

    cpu_s: float
    wall_s: float
    peak_rss_mib: float


@dataclass(slots=True)
class Measured:
    """What a system found in a clip, and its cost.

    Attributes:
        decode_cpu_s: CPU seconds of decoding every frame, measured just before in the same process.
        recognitions: text lines read.
        stages: CPU seconds by stage.
        regions: boxes of the tracks the engine found: name → (left, top, right, bottom).
        onsets: the words of each caption whose words have times of their own, and when each begins, seconds.
        error: the traceback if the system failed.
        measured_at: when it was measured, UTC, as ``2026-01-31 12:00``.
        startup_cpu_s, startup_wall_s: seconds of importing libraries and loading models; only in a process's first
            measurement, and not part of ``cost``.
    """

    clip: str
    system: str
    cost: Cost
    decode_cpu_s: float
    captions: list[PredictedCaption] = field(default_factory=list)
    recognitions: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    regions: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    onsets: list[list[tuple[str, float]]] = field(default_factory=list)
    error: str | None = None
    measured_at: str = ""
    startup_cpu_s: float = 0.0
    startup_wall_s: float = 0.0


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _reset_peak() -> None:
    """Reset the kernel's peak RSS (Linux)."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process since `_reset_peak`, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured_cost(work: Callable[[], Any]) -> Cost:
    """Call a function and return its cost."""
    _reset_peak()
    cpu, wall = _cpu_s(), time.perf_counter()
    work()
    return Cost(_cpu_s() - cpu, time.perf_counter() - wall, peak_rss_mib())


def decode_all(video: Path) -> int:
    """Decode every frame with PyAV and return the number of frames."""
    import av

    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def measure(clip: str, video: Path, system: str) -> Measured:
    """Decode a clip once, then run a system on it; a failure of the system is part of the result."""
    prepare = {"engine": _engine, "baseline": _baseline}[system]
    startup = measured_cost(prepare)
    decode = measured_cost(lambda: decode_all(video))
    result = Measured(clip, system, decode, decode.cpu_s, measured_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    result.startup_cpu_s, result.startup_wall_s = startup.cpu_s, startup.wall_s
    run = {"engine": _run_engine, "baseline": _run_baseline}[system]

    def work() -> None:
        try:
            run(video, result)
        except Exception:  # noqa: BLE001 -- a failure belongs in the report
            result.error = traceback.format_exc()

    result.cost = measured_cost(work)
    return result


@cache
def _engine() -> OcrEngine:
    """Load the engine's models and use them once, so that no clip pays for it."""
    import numpy as np

    from captionacc_dagster.captioning.ocr.engines import create_engine

    engine = create_engine()
    engine.read(np.zeros((64, 256, 3), np.uint8))
    engine.recognize([np.zeros((32, 128, 3), np.uint8)])
    return engine


@cache
def _baseline() -> NaiveBaseline:
    from benchmarks.captions.baseline import NaiveBaseline

    return NaiveBaseline()


def _run_engine(video: Path, result: Measured) -> None:
    from captionacc_dagster.captioning.extents.find import find_captions
    from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
    from captionacc_dagster.captioning.layout.sampler import Sampler
    from captionacc_dagster.captioning.video.process_settings import video_process_settings
    from captionacc_dagster.captioning.video.reader import probe

    engine = _engine()
    with video_process_settings():
        began = _cpu_s()
        facts = probe(video)
        with Sampler(facts) as sampler:
            frames = [ocr for _, ocr in read_full_frames(facts, engine, sampler=sampler)]
            sampled = _cpu_s()
            layout = find_layout(facts, engine, frames, sampler=sampler)
        laid_out = _cpu_s()
        with tempfile.TemporaryDirectory(prefix="captionacc-bench-") as folder:
            timeline = find_captions(facts, layout, engine, chunks_dir=Path(folder))
    captions = [caption for caption in timeline.captions if caption.kind == "caption"]
    result.onsets = [[(word.text, word.onset_s) for word in caption.words] for caption in captions]
    result.captions = [
        PredictedCaption(
            start_s=caption.start_s,
            end_s=caption.end_s,
            start_frame=caption.start_frame,
            end_frame=caption.end_frame,
            text=caption.text,
        )
        for caption in captions
    ]
    result.recognitions = timeline.ocr_recognitions
    result.regions = {track.name: track.region.as_tuple() for track in layout.tracks}
    result.stages = {"full_frames": sampled - began, "layout": laid_out - sampled} | dict(timeline.seconds)


def _run_baseline(video: Path, result: Measured) -> None:
    result.captions, result.recognitions = _baseline().find(video)
