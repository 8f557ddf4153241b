"""The folder that keeps clips, measurements of the baseline, and photographs between runs."""

from __future__ import annotations

import os
from pathlib import Path


def bench_folder() -> Path:
    """Return the folder: ``CAPTIONACC_BENCH``, by default ``captionacc-bench`` in the user's cache folder."""
    chosen = os.environ.get("CAPTIONACC_BENCH")
    return Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "captionacc-bench")
