"""``python -m benchmarks.captions``: renders the clips."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.captions.clips import clips_of
from benchmarks.captions.render import render_clips


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captions", description=__doc__)
    parser.add_argument("--part", choices=("dev", "final", "all"), default="dev")
    parser.add_argument("--clips", nargs="*", default=[], help="only clips whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--render-only", action="store_true")
    options = parser.parse_args()
    folder = Path(os.environ.get("CAPTIONACC_BENCH", ".captionacc/bench")) / "clips"
    specs = [s for s in clips_of(options.part) if not options.clips or any(name in s.name for name in options.clips)]
    for clip in render_clips(specs, folder, options.jobs):
        print(clip.video)


if __name__ == "__main__":
    main()
