"""``python -m benchmarks.captions.calibration``: fit the confidence of captions to how often they are right.

Prints the reliability table of the recognizer's confidence on the dev part, and the two numbers of
`captioning.extents.reading.calibrated` fitted to it: a logistic curve over the logarithm of the doubt (Platt scaling).
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.clips import clips_of
from benchmarks.captions.folders import bench_folder
from benchmarks.captions.font_packages import require_fonts
from benchmarks.captions.render import Clip, render_clips
from captionacc_dagster.captioning.evaluation.evaluate import read_truth
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, score
from captionacc_dagster.captioning.extents.find import find_captions
from captionacc_dagster.captioning.extents.reading import (
    CALIBRATION_OFFSET,
    CALIBRATION_SLOPE,
    LEAST_DOUBT,
    calibrated,
)
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.ocr.base import OcrEngine
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import probe

_BINS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)
# One right and one wrong reading in the middle keep the curve finite where every reading is right.
_PRIOR_DOUBT = 0.05


def readings(clip: Clip, engine: OcrEngine) -> list[tuple[float, bool]]:
    """Return the recognizer's confidence in each caption found in a clip, and whether every character is right."""
    facts = probe(clip.video)
    layout = find_layout(facts, engine, [ocr for _, ocr in read_full_frames(facts, engine)])
    found = find_captions(facts, layout, engine).captions
    predicted = [
        PredictedCaption(
            start_s=c.start_s, end_s=c.end_s, start_frame=c.start_frame, end_frame=c.end_frame, text=c.text
        )
        for c in found
    ]
    right = {id(match.predicted) for match in score(predicted, read_truth(clip.truth)[0]).matches if match.cer == 0}
    return [
        (_recognizer_confidence(caption.confidence), id(guess) in right)
        for caption, guess in zip(found, predicted, strict=True)
    ]


def _recognizer_confidence(calibrated_confidence: float) -> float:
    """Return the recognizer's own confidence that a calibrated one comes from."""
    chance = min(max(calibrated_confidence, 1e-6), 1 - 1e-6)
    log_odds = math.log(chance / (1 - chance))
    return 1 - math.exp((CALIBRATION_OFFSET - log_odds) / CALIBRATION_SLOPE)


def fit(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float]:
    """Return offset and slope of the logistic curve that fits best, by Newton's method.

    Args:
        confidence: the recognizer's, of each caption.
        right: 1 where every character of the caption is right, 0 elsewhere.
    """
    doubt = np.concatenate([1 - confidence, [_PRIOR_DOUBT, _PRIOR_DOUBT]])
    wanted = np.concatenate([right, [0.0, 1.0]])
    inputs = np.stack([np.ones_like(doubt), -np.log(np.maximum(doubt, LEAST_DOUBT))], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-6 * np.eye(2)
        weights += np.linalg.solve(curvature, inputs.T @ (wanted - chance))
    return float(weights[0]), float(weights[1])


def table(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> str:
    """Return the reliability table as text."""
    lines = ["confidence       captions  right   calibrated"]
    for low, high in itertools.pairwise(_BINS):
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        if inside.any():
            curve = np.mean([calibrated(float(value)) for value in confidence[inside]])
            lines.append(f"{low:.3f} to {high:.3f} {inside.sum():8d} {right[inside].mean():8.3f} {curve:10.3f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captions.calibration", description=__doc__)
    parser.add_argument("--clips", nargs="+", default=[], help="only clips whose name contains one of these")
    chosen = parser.parse_args().clips
    specs = [spec for spec in clips_of("dev") if not chosen or any(name in spec.name for name in chosen)]
    require_fonts(specs, install=False)
    engine = create_engine()
    judged = [row for clip in render_clips(specs, bench_folder() / "clips", 1) for row in readings(clip, engine)]
    confidence, right = (np.array(column, float) for column in zip(*judged, strict=True))
    print(table(confidence, right))
    offset, slope = fit(confidence, right)
    print(f"{len(confidence)} captions; fitted: offset {offset:.2f}, slope {slope:.2f}")


if __name__ == "__main__":
    main()
