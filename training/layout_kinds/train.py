"""``python -m training.layout_kinds.train``: draw videos, measure their rows, train the network, print its score.

The score is taken on drawn videos that were not trained on. ``--measured FILE`` keeps the measurements, which take most
of the time, for further runs.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.fixtures import overlap
from captionacc_dagster.captioning.layout.kinds import FEATURES, KINDS, KindClassifier, row_features
from captionacc_dagster.captioning.layout.rows import Row, box_of
from captionacc_dagster.captioning.layout.sampler import Sampler
from captionacc_dagster.captioning.layout.search import LayoutSearch
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from training.layout_kinds.scenes import DrawnSampler, Scene, draw_scene

MODEL = Path(__file__).parents[2] / "captionacc_dagster/captioning/models/layout_kinds.npz"
_NETWORKS = 6
_HIDDEN = 24  # units of each hidden layer
_ROUNDS, _RATE, _DECAY, _BATCH = 60, 3e-3, 0.5, 128
# Softened targets leave doubt; with this, captions are as sure as those that the layout's numbers were tuned on. Unseen
# drawn rows are likeliest at 1.35, where doubtful captions over a page are lost.
_SHARPNESS = 1.1
_HELD_OUT = 5  # every fifth video is kept for the score
_COVERED = 0.4  # of a found line, that a drawn one covers: it is that text


@cache
def _engine() -> OcrEngine:
    return create_engine(threads=1)


def _measure(seed: int) -> tuple[int, NDArray[np.float32], list[int], list[int]]:
    """Return a drawn video's seed, the features of its rows, their kinds, and how many lines each has."""
    engine, scene = _engine(), draw_scene(seed)
    try:
        search = LayoutSearch(cast("Sampler", DrawnSampler(scene)), engine, {}, None)
        search.run()
    except Exception as error:
        raise RuntimeError(f"drawn video {seed} failed") from error
    evidence = search.evidence
    features = row_features(evidence.rows, evidence.samples, evidence.size, scene.facts.duration_s)
    level = [number for number, row in enumerate(evidence.rows) if not row.vertical]
    rows = [evidence.rows[number] for number in level]
    kinds = [KINDS.index(_kind(scene, row, evidence.size)) for row in rows]
    return seed, features[level], kinds, [len(row.lines) for row in rows]


def _kind(scene: Scene, row: Row, size: tuple[int, int]) -> Kind:
    """Return what most lines of a row are; what was found where nothing is drawn belongs to the scene."""
    found: Counter[Kind] = Counter()
    for line in row.lines:
        box = box_of(row.vertical, line.start, line.end, line.low, line.high, size)
        found[_drawn_at(scene, line.time_s, box)] += 1
    return found.most_common(1)[0][0]


def _drawn_at(scene: Scene, time_s: float, box: BBox) -> Kind:
    shares: dict[Kind, float] = {}
    for kind, drawn in scene.texts(time_s):
        shares[kind] = shares.get(kind, 0.0) + overlap(box, drawn)
    covering: list[Kind] = [
        kind for kind, share in shares.items() if share == max(shares.values()) and share >= _COVERED
    ]
    return covering[0] if covering else "scene"


def measure(videos: range, workers: int, kept: Path | None) -> dict[str, NDArray[Any]]:
    """Return the features ``(rows, features)``, kinds, videos, and numbers of lines of the rows of drawn videos."""
    measured = []
    data: dict[str, NDArray[Any]] = {}
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, one in enumerate(pool.imap_unordered(_measure, videos), 1):
            measured.append(one)
            if done % 25 == 0 or done == len(videos):
                print(f"{done} of {len(videos)} videos measured", flush=True)
                data = {
                    "features": np.concatenate([features for _, features, _, _ in measured]),
                    "kinds": np.array([kind for _, _, kinds, _ in measured for kind in kinds]),
                    "videos": np.array([seed for seed, _, kinds, _ in measured for _ in kinds]),
                    "lines": np.array([count for _, _, _, counts in measured for count in counts]),
                }
                if kept is not None:
                    np.savez(kept, allow_pickle=False, **data)
    return data


def train(features: NDArray[np.float32], kinds: NDArray[np.int64], videos: NDArray[np.int64]) -> KindClassifier:
    """Return the networks, which differ in how they begin and in the order of what they see."""
    members = [_train_one(features, kinds, videos, seed) for seed in range(_NETWORKS)]
    shared = {name: members[0][name] for name in ("mean", "scale")}
    own = {name: np.stack([member[name] for member in members]) for name in members[0] if name not in shared}
    return KindClassifier({name: np.asarray(value, np.float32) for name, value in (shared | own).items()})


def _train_one(
    features: NDArray[np.float32], kinds: NDArray[np.int64], videos: NDArray[np.int64], seed: int
) -> dict[str, NDArray[Any]]:
    """Return the weights of a network trained with AdamW; videos and kinds with many rows weigh less per row."""
    draw = np.random.default_rng(seed)
    scale = features.std(axis=0) + 1e-3
    weights: dict[str, NDArray[Any]] = {"mean": features.mean(axis=0), "scale": scale}
    sizes = (features.shape[1], _HIDDEN, _HIDDEN, len(KINDS))
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), 1):
        weights[f"w{number}"] = (draw.standard_normal((fan_in, fan_out)) * (2 / fan_in) ** 0.5).astype(np.float32)
        weights[f"b{number}"] = np.zeros(fan_out, np.float32)
    inputs = (features - weights["mean"]) / scale
    per_video = 1.0 / np.sqrt(np.bincount(videos)[videos])
    per_kind = 1.0 / np.sqrt(np.bincount(kinds, minlength=len(KINDS))[kinds])
    importance = per_video * per_kind
    importance = np.asarray(importance / importance.mean(), np.float32)
    targets = np.eye(len(KINDS), dtype=np.float32)[kinds]
    targets = 0.97 * targets + 0.03 / len(KINDS)
    names = [f"{letter}{number}" for number in (1, 2, 3) for letter in "wb"]
    first: dict[str, NDArray[Any]] = {name: np.zeros_like(weights[name]) for name in names}
    second: dict[str, NDArray[Any]] = {name: np.zeros_like(weights[name]) for name in names}
    step, steps = 0, _ROUNDS * -(-len(inputs) // _BATCH)
    for _ in range(_ROUNDS):
        order = draw.permutation(len(inputs))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            # Noise keeps the network from learning the drawn videos by heart.
            noisy = inputs[batch] + 0.08 * draw.standard_normal((len(batch), inputs.shape[1])).astype(np.float32)
            gradients = _gradients(weights, noisy, targets[batch], importance[batch])
            step += 1
            rate = _RATE * (1 - step / (steps + 1))
            for name in names:
                first[name] = 0.9 * first[name] + 0.1 * gradients[name]
                second[name] = 0.99 * second[name] + 0.01 * gradients[name] ** 2
                moved = (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.99**step)) + 1e-6)
                weights[name] = weights[name] - rate * (moved + (_DECAY * weights[name] if name[0] == "w" else 0))
    return weights


def _gradients(
    weights: dict[str, NDArray[np.float32]],
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    importance: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Return the gradients of the cross entropy of one batch."""
    one = np.maximum(0.0, inputs @ weights["w1"] + weights["b1"])
    two = np.maximum(0.0, one @ weights["w2"] + weights["b2"])
    scores = two @ weights["w3"] + weights["b3"]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    delta = (odds / odds.sum(axis=1, keepdims=True) - targets) * importance[:, None] / len(inputs)
    gradients = {"w3": two.T @ delta, "b3": delta.sum(axis=0)}
    delta = (delta @ weights["w3"].T) * (two > 0)
    gradients |= {"w2": one.T @ delta, "b2": delta.sum(axis=0)}
    delta = (delta @ weights["w2"].T) * (one > 0)
    return gradients | {"w1": inputs.T @ delta, "b1": delta.sum(axis=0)}


def sharpened(classifier: KindClassifier) -> KindClassifier:
    """Return networks whose scores are multiplied by a number; what they call a row stays."""
    last = {name: classifier.weights[name] * np.float32(_SHARPNESS) for name in ("w3", "b3")}
    return KindClassifier({**classifier.weights, **last})


def report(classifier: KindClassifier, features: NDArray[np.float32], kinds: NDArray[np.int64]) -> None:
    """Print how many rows of each kind are found, and how many that are called so are of it."""
    called = classifier.probabilities(features).argmax(axis=1)
    print(
        f"{(called == kinds).mean():.3f} of {len(kinds)} rows right; chance {np.bincount(kinds).max() / len(kinds):.3f}"
    )
    print(f"{'':12}{'rows':>6}{'found':>8}{'right':>8}   called")
    for number, kind in enumerate(KINDS):
        own, said = kinds == number, called == number
        found, right = (own & said).sum() / max(1, own.sum()), (own & said).sum() / max(1, said.sum())
        confusion = " ".join(f"{other} {(own & (called == n)).sum()}" for n, other in enumerate(KINDS))
        print(f"{kind:12}{own.sum():6}{found:8.3f}{right:8.3f}   {confusion}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first video")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--measured", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    files = [path for path in options.measured if path.exists()]
    if files:
        parts = [dict(np.load(path)) for path in files]
        data: dict[str, NDArray[Any]] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    else:
        videos = range(options.first, options.first + options.videos)
        data = measure(videos, options.workers, options.measured[0] if options.measured else None)
    kept = data["lines"] >= 1
    features, kinds, videos = data["features"][kept], data["kinds"][kept], data["videos"][kept]
    assert features.shape[1] == len(FEATURES)
    unseen = videos % _HELD_OUT == 0
    classifier = train(features[~unseen], kinds[~unseen], videos[~unseen])
    report(classifier, features[~unseen], kinds[~unseen])
    print("on videos that were not trained on:")
    report(classifier, features[unseen], kinds[unseen])
    weights: dict[str, Any] = sharpened(train(features, kinds, videos)).weights  # of all videos
    np.savez(MODEL, allow_pickle=False, **weights)


if __name__ == "__main__":
    main()
