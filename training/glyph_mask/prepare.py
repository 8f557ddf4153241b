"""``python -m training.glyph_mask.prepare FOLDER``: generate the windows for training and validation."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from training.glyph_mask.scenes import make_scene

SCENES_PER_FILE = 250
JUDGED_SEED = 10_000_000  # scenes from here on are never trained on


def make_file(path: Path, first_seed: int) -> Path:
    """Write the windows of `SCENES_PER_FILE` scenes, uint8 ``(windows, 6, height, width)``, unless they exist."""
    import cv2

    cv2.setNumThreads(1)
    if path.exists():
        return path
    windows = [window for seed in range(first_seed, first_seed + SCENES_PER_FILE) for window in make_scene(seed)]
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, np.stack(windows))
    unfinished.replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.glyph_mask.prepare", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=16, help=f"files of {SCENES_PER_FILE} scenes to train on")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = {options.folder / "judged.npy": JUDGED_SEED} | {
        options.folder / f"train-{number:03}.npy": number * SCENES_PER_FILE for number in range(options.files)
    }
    with ProcessPoolExecutor(options.jobs) as pool:
        for path in pool.map(make_file, wanted.keys(), wanted.values()):
            print(path, flush=True)


if __name__ == "__main__":
    main()
