"""Process the time segments of a long video in parallel processes on one machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.captions import Progress, Timeline
from captionacc_dagster.captioning.extents.time_segments import (
    SegmentFindings,
    follow_time_segment,
    join_time_segments,
    segment_times,
)

if TYPE_CHECKING:
    from captionacc_dagster.captioning.layout.model import Layout
    from captionacc_dagster.captioning.ocr.base import OcrEngine
    from captionacc_dagster.captioning.video.reader import VideoFacts

# Shorter segments would spend more time on their overlap and on loading models than they save.
SHORTEST_SEGMENT_S = 120.0


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes to use: how many at once, and a picklable factory of the OCR engine in each."""

    create_engine: Callable[[], OcrEngine]
    count: int


def usable_processes() -> int:
    """Return a useful number of processes: half the cores (decoding has its own thread), or 1 with up to two cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)


def find_captions_in_processes(
    facts: VideoFacts,
    layout: Layout,
    create_engine: Callable[[], OcrEngine],
    frame_rate: float,
    *,
    processes: int,
    chunks_dir: Path | None = None,
    shortest_s: float = SHORTEST_SEGMENT_S,
    progress: Progress | None = None,
) -> Timeline | None:
    """Find every caption of a long video, with its time segments in parallel; None if it is too short to be cut.

    Args:
        create_engine: creates the OCR engine in each process; must be picklable.
        processes: number of concurrent segments.
        shortest_s: approximate minimum length of a segment, seconds.

    Raises:
        VideoError: the file can no longer be opened.
    """
    cuts = segment_times(facts.duration_s, frame_rate, max(shortest_s, facts.duration_s / processes))
    if processes < 2 or not cuts:
        return None
    starts, ends = [0.0, *cuts], [*cuts, None]
    # Threads of ONNX Runtime and of the decoder do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        parts: list[Future[SegmentFindings]] = [
            pool.submit(_find_part, facts, layout, create_engine, frame_rate, start, end, chunks_dir)
            for start, end in zip(starts, ends, strict=True)
        ]
        try:
            for done, part in enumerate(as_completed(parts), start=1):
                part.result()
                if progress is not None:
                    progress("captions", done, len(parts))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return join_time_segments([part.result() for part in parts])


def _find_part(
    facts: VideoFacts,
    layout: Layout,
    create_engine: Callable[[], OcrEngine],
    frame_rate: float,
    start_s: float,
    end_s: float | None,
    chunks_dir: Path | None,
) -> SegmentFindings:
    from captionacc_dagster.captioning.video.process_settings import video_process_settings

    with video_process_settings():
        return follow_time_segment(
            facts, layout, create_engine(), frame_rate, own_start_s=start_s, own_end_s=end_s, chunks_dir=chunks_dir
        )
