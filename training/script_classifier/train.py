"""Train the script classifier and write it as ONNX: ``python -m training.script_classifier.train FOLDER``."""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.script_classifier.export import write_model
from training.script_classifier.network import ScriptNetwork

MODEL = Path(__file__).parents[2] / "captionacc_dagster/captioning/models/script_classifier.onnx"
SMOOTHING = 0.05  # of the labels: made-up lines of one letter may belong to several scripts


def prepared(windows: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
    """Return windows as the network takes them; with ``rng`` some are inverted, moved, and covered in part."""
    if rng is not None:
        windows = windows.copy()
        for window in windows:
            if rng.random() < 0.15:
                np.subtract(255, window, out=window)
            window[:] = np.roll(window, (int(rng.integers(-2, 3)), int(rng.integers(-8, 9))), (0, 1))
            if rng.random() < 0.3:
                start = int(rng.integers(0, 200))
                window[:, start : start + int(rng.integers(8, 56))] = rng.integers(0, 256)
    return torch.from_numpy(windows.astype(np.float32))[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare wrote the windows")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--minutes", type=float, default=60, help="end after so long; the rate falls with the time")
    parser.add_argument("--start", type=Path, help="weights (.pt) to go on from")
    parser.add_argument("--to", type=Path, default=MODEL)
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    loaded = [np.load(path) for path in sorted(options.folder.glob("train-*.npz"))]
    windows = np.concatenate([part["windows"] for part in loaded])
    labels = np.concatenate([part["labels"] for part in loaded])
    held = np.load(options.folder / "held-out.npz")
    network = ScriptNetwork()
    if options.start:
        network.load_state_dict(torch.load(options.start))
    print(f"{len(windows)} windows, {sum(weight.numel() for weight in network.parameters())} weights", flush=True)
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=0.02)
    begun = time.monotonic()
    order = itertools.chain.from_iterable(rng.permutation(len(windows)) for _ in itertools.count())
    for step in range(options.steps):
        progress = max(step / options.steps, (time.monotonic() - begun) / 60 / options.minutes)
        if progress >= 1:
            break
        rate = options.rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * progress))
        optimizer.param_groups[0]["lr"] = rate
        chosen = np.fromiter(itertools.islice(order, options.batch), np.int64)
        network.train()
        scores = network(prepared(windows[chosen], rng))
        loss = functional.cross_entropy(scores, torch.from_numpy(labels[chosen]), label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        if step % 200 == 0 or step == options.steps - 1:
            right = judge(network, held["windows"], held["labels"])
            print(
                f"step {step}: loss {loss.item():.3f}, held out {right:.4f}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            write_model(network, options.to)
            torch.save(network.state_dict(), options.folder / "weights.pt")
    print(f"held out {judge(network, held['windows'], held['labels']):.4f}")
    write_model(network, options.to)


def judge(network: nn.Module, windows: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of windows that are classified right."""
    network.eval()
    with torch.no_grad():
        right = [
            (network(prepared(windows[at : at + 128])).argmax(1).numpy() == labels[at : at + 128]).sum()
            for at in range(0, len(windows), 128)
        ]
    return float(sum(right)) / len(windows)


if __name__ == "__main__":
    main()
