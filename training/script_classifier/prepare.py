"""Draw the windows to train on: ``python -m training.script_classifier.prepare FOLDER``, if they do not exist."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from training.script_classifier.lines import make_windows

PER_FILE = 2600
HELD_OUT_SEED = 10_000_000


def _make(path: Path, count: int, seed: int, held_out: bool) -> str:
    windows, labels = make_windows(count, seed, held_out=held_out)
    np.savez(path, windows=windows, labels=labels)
    return path.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = [(options.folder / "held-out.npz", PER_FILE, HELD_OUT_SEED, True)]
    wanted += [
        (options.folder / f"train-{number:03d}.npz", PER_FILE, number * PER_FILE, False)
        for number in range(options.files)
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        for made in [pool.submit(_make, *each) for each in wanted if not each[0].exists()]:
            print(made.result(), flush=True)


if __name__ == "__main__":
    main()
