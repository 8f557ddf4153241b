"""``python -m training.glyph_mask.train FOLDER``: train the network on the prepared windows and write it as ONNX."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from captionacc_dagster.captioning.extents.glyph_mask import channels
from training.glyph_mask.export import MODEL, write_model
from training.glyph_mask.forerunner import Forerunner
from training.glyph_mask.network import GlyphMaskNetwork
from training.glyph_mask.scenes import MAD_SCALE

_INVERTED = 0.15  # share of windows seen as negatives: dark strokes
_TAUGHT = 0.6  # share of the loss that asks for what the forerunner says, where there is one


def prepare_batch(windows: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the network's input, the strokes, and the weights of stored windows."""
    seen = np.stack(
        [
            channels(mean.astype(np.float32), mad.astype(np.float32) / MAD_SCALE, low, high)
            for mean, mad, low, high in windows[:, :4]
        ]
    )
    rest = torch.from_numpy(windows[:, 4:].astype(np.float32) / 255)
    return torch.from_numpy(seen), rest[:, :1], rest[:, 1:]


def _changed(windows: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Augment windows: mirror, invert, and change contrast."""
    windows = windows.copy()
    for number in range(len(windows)):
        if rng.random() < 0.5:
            windows[number] = windows[number, :, :, ::-1]
        if rng.random() < 0.3:
            windows[number] = windows[number, :, ::-1]
        if rng.random() < _INVERTED:
            windows[number, [0, 2, 3]] = 255 - windows[number, [0, 3, 2]]
    return windows


def _batches(files: list[Path], size: int, steps: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    stores = [np.load(path, mmap_mode="r") for path in files]
    places = np.concatenate(
        [np.stack([np.full(len(store), n), np.arange(len(store))], axis=1) for n, store in enumerate(stores)]
    )
    given = 0
    while True:
        order = rng.permutation(len(places))
        for start in range(0, len(order) - size + 1, size):
            if given == steps:
                return
            given += 1
            chosen = places[order[start : start + size]]
            yield _changed(np.stack([stores[n][at] for n, at in chosen]), rng)


def weigh(logits: Tensor, strokes: Tensor, weights: Tensor, strokes_count: float) -> Tensor:
    """Return the loss: cross entropy in which a stroke pixel counts ``strokes_count`` times as much as others."""
    weights = weights * (1 + (strokes_count - 1) * strokes)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, strokes, weights, reduction="sum")
    return loss / weights.sum()


@torch.no_grad()
def judge(network: nn.Module, windows: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return loss, and precision and recall of stroke pixels at threshold 0.5."""
    network.eval()
    losses, right, found, there = [], 0.0, 0.0, 0.0
    for start in range(0, len(windows), 16):
        seen, strokes, weights = prepare_batch(windows[start : start + 16])
        logits = network(seen)
        losses.append(float(weigh(logits, strokes, weights, 1.0)))
        guess, truth = (logits > 0) & (weights > 0), strokes > 0.5
        right += float((guess & truth).sum())
        found += float((guess & ((strokes > 0.5) | (strokes < 0.2))).sum())
        there += float((truth & (weights > 0)).sum())
    network.train()
    return float(np.mean(losses)), right / max(found, 1), right / max(there, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.glyph_mask.train", description=__doc__)
    parser.add_argument("folder", type=Path, help="of python -m training.glyph_mask.prepare")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--strokes", type=float, default=2.0, help="how much more a stroke's pixels count")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--output", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="weights (.pt) to go on from")
    parser.add_argument(
        "--from", dest="forerunner", type=Path, help="ONNX file of the former network, to learn from too"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    files = sorted(path for path in options.folder.glob("train-*.npy") if "unfinished" not in path.name)
    if not files:
        parser.error(f"{options.folder} has no train-*.npy: run training.glyph_mask.prepare first")
    network = GlyphMaskNetwork().to(memory_format=torch.channels_last)
    if options.start:
        network.load_state_dict(torch.load(options.start))
    forerunner = Forerunner(options.forerunner, options.threads) if options.forerunner else None
    if forerunner and not options.start:
        forerunner.hand_over(network, prepare_batch(next(_batches(files, 64, 1, rng)))[0])
    judged = np.load(options.folder / "judged.npy")[:240]
    optimiser = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, options.steps, pct_start=0.15)
    began, losses = time.monotonic(), []
    for step, windows in enumerate(_batches(files, options.batch, options.steps, rng), 1):
        seen, strokes, weights = prepare_batch(windows)
        logits = network(seen.contiguous(memory_format=torch.channels_last))
        loss = weigh(logits, strokes, weights, options.strokes)
        if forerunner:
            taught = weigh(logits, forerunner.strokes(seen), torch.ones_like(weights), 1.0)
            loss = (1 - _TAUGHT) * loss + _TAUGHT * taught
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            print(f"{step:6d}  loss {np.mean(losses[-50:]):.4f}  {time.monotonic() - began:.0f} s", flush=True)
        if step % 400 == 0 or step == options.steps:
            loss_there, precision, recall = judge(network, judged)
            print(f"judged: loss {loss_there:.4f}, precision {precision:.3f}, recall {recall:.3f}", flush=True)
            torch.save(network.state_dict(), options.folder / "network.pt")
            write_model(network, options.output)


if __name__ == "__main__":
    main()
