"""Ink: how much of it a frame shows, and where two stretches of frames differ."""

from __future__ import annotations

import numpy as np
import pytest

from captionacc_dagster.captioning.extents.strokes import StrokeModel, high_pass, visibility

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("shape", [(40, 200), (31, 33), (9, 120), (120, 9), (2, 50)])
def test_what_is_seen_of_some_ink_is_what_the_relief_of_a_frame_has_of_it(shape: tuple[int, int]):
    draw = np.random.default_rng(5)
    level = draw.uniform(0, 255, shape).astype(np.float32)
    frames = [draw.integers(0, 256, shape).astype(np.uint8) for _ in range(3)]
    model = StrokeModel(level, (), 30.0)
    stroke_mask = draw.random(shape) < 0.3  # on the edges, too, where surroundings are mirrored
    own = model.relief[stroke_mask].astype(np.float64)
    wanted = [float(high_pass(frame, 30.0)[stroke_mask] @ own / (own @ own)) for frame in frames]
    np.testing.assert_allclose(visibility(frames, model, stroke_mask), wanted, atol=1e-4)
    np.testing.assert_allclose(visibility([level], model, stroke_mask), [1.0], atol=1e-4)


def test_nothing_is_seen_of_no_ink():
    model = StrokeModel(np.full((20, 50), 90, np.float32), (), 30.0)
    frames = [np.zeros((20, 50), np.uint8)] * 2
    assert visibility(frames, model, np.zeros((20, 50), bool)).tolist() == [0.0, 0.0]
    assert visibility(frames, model, np.ones((20, 50), bool)).tolist() == [0.0, 0.0]  # flat: no relief
