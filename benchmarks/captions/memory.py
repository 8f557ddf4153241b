"""Measures the engine's memory on a long video, which is a clip repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.captions.measure import Measured, measure
from benchmarks.captions.render import Clip

_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """The memory of a run: minutes of video, MiB by tenth of the run, and the engine's measurement."""

    clip: str
    minutes: float
    file_mib: float
    tenths_mib: tuple[float, ...]
    measured: Measured


def repeat_clip(clip: Clip, minutes: float, folder: Path) -> Path:
    """Write a video that repeats the clip's packets, without encoding."""
    import av

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{clip.name}-{minutes:g}min{clip.video.suffix}"
    if path.exists():
        return path
    unfinished = path.with_name("unfinished" + path.suffix)
    with av.open(str(clip.video)) as source, av.open(str(unfinished), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.pts is not None]
        times = sorted(int(packet.pts or 0) for packet in packets)
        length = times[-1] - times[0] + (packets[-1].duration or times[-1] - times[-2])
        base = float(stream.time_base or 0)
        rounds = max(1, round(minutes * 60 / (length * base)))
        stamps = [(packet.pts or 0, packet.dts or 0) for packet in packets]
        for number in range(rounds):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.pts, packet.dts = pts + number * length, dts + number * length
                packet.stream = copy
                target.mux(packet)
    unfinished.replace(path)
    return path


def check_memory(clip: Clip, minutes: float, folder: Path) -> MemoryCheck:
    """Run the engine on a long video and sample its memory; call this in a process of its own."""
    video = repeat_clip(clip, minutes, folder)
    samples: list[tuple[float, float]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            samples.append((time.perf_counter(), _rss_mib()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        measured = measure(video.name, video, "engine")
    finally:
        done.set()
        watcher.join()
    began = time.perf_counter() - measured.cost.wall_s  # before that, the video was only decoded
    of_engine = [mib for at, mib in samples if at >= began]
    count = len(of_engine)
    tenths = [of_engine[count * at // 10 : count * (at + 1) // 10] for at in range(10)]
    return MemoryCheck(
        clip.name,
        minutes,
        video.stat().st_size / 2**20,
        tuple(max(tenth) for tenth in tenths if tenth),
        measured,
    )


def _rss_mib() -> float:
    """Return the resident memory of this process, in MiB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def memory_table(checks: Sequence[MemoryCheck]) -> str:
    """Return the memory checks of one clip as Markdown, one row for each length."""
    head = "minutes,file (MiB),peak RSS (MiB),MiB by tenth of the run,captions,CPU s,× decode,wall s,measured (UTC)"
    rows: list[list[str]] = [[*head.split(",")]]
    for check in checks:
        cost = check.measured.cost
        rows.append(
            [
                f"{check.minutes:g}",
                f"{check.file_mib:.0f}",
                f"{cost.peak_rss_mib:.0f}",
                " ".join(f"{mib:.0f}" for mib in check.tenths_mib),
                str(len(check.measured.captions)),
                f"{cost.cpu_s:.0f}",
                f"{cost.cpu_s / check.measured.decode_cpu_s:.2f}",
                f"{cost.wall_s:.0f}",
                check.measured.measured_at,
            ]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return (
        f"`{checks[0].clip}` repeated by copying its packets; each length ran in a process of its own, after "
        "decoding the video once. Goal: two hours of 1080p under 1500 MiB, flat in the length.\n\n" + "\n".join(lines)
    )
