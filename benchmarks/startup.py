"""``python -m benchmarks.startup``: what a person waits for before work on a video starts.

Measures CPU and wall seconds of starting programs: `captionacc process` of half a second of nothing, `captionacc
--help`, `captionacc status`, and importing the code location over `import dagster`. Each program runs once to compile
its bytecode, then a few times; the medians are printed. Only wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_CAPTIONACC = (str(Path(sys.executable).with_name("captionacc")),)
_RATE, _SECONDS = 25, 0.5


def _nothing(path: Path) -> None:
    """Write half a second of a gray picture, 640x360."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        picture = np.full((360, 640, 3), 90, np.uint8)
        for _ in range(round(_RATE * _SECONDS)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _cost(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a program; return CPU seconds, with those of the programs it waited for, and wall seconds.

    Raises:
        RuntimeError: the program failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {run.stderr.strip()[-300:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def measure(runs: int) -> list[tuple[str, float, float]]:
    """Return rows of what was started, CPU seconds, and wall seconds: medians of ``runs`` runs after a first one."""
    with tempfile.TemporaryDirectory(prefix="captionacc-startup-") as folder:
        video = Path(folder) / "nothing.mp4"
        _nothing(video)
        environment = os.environ | {"CAPTIONACC_HOME": str(Path(folder) / "home")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        output = str(Path(folder) / "output")
        programs = {
            "captionacc process, half a second of nothing": (
                *_CAPTIONACC, "process", str(video), "--again", "--output-dir", output,
            ),
            "captionacc --help": (*_CAPTIONACC, "--help"),
            "captionacc status": (*_CAPTIONACC, "status"),
            "import dagster": (sys.executable, "-c", "import dagster"),
            "import of the code location": (sys.executable, "-c", "import captionacc_dagster.definitions"),
        }  # fmt: skip
        rows = []
        try:
            for name, command in programs.items():
                _cost(command, environment)
                costs = [_cost(command, environment) for _ in range(runs)]
                rows.append((name, *(statistics.median(column) for column in zip(*costs, strict=True))))
        finally:
            subprocess.run([*_CAPTIONACC, "db", "stop"], env=environment, capture_output=True, check=False)
    bare, location = rows[-2], rows[-1]
    rows.append(("the code location over import dagster", location[1] - bare[1], location[2] - bare[2]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each program (default: 3)")
    try:
        rows = measure(parser.parse_args().runs)
    except RuntimeError as error:
        sys.exit(str(error))
    print("| what | CPU s | wall s |\n| --- | --- | --- |")
    print("\n".join(f"| {name} | {cpu_s:.2f} | {wall_s:.2f} |" for name, cpu_s, wall_s in rows))
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
