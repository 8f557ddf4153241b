"""The large clips of the test plan: one in 4K, and two minutes of captions one after another."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = [
    "morning",
    "river",
    "window",
    "paper",
    "garden",
    "bread",
    "music",
    "winter",
    "letter",
    "bridge",
    "stone",
    "market",
    "sister",
    "train",
    "doctor",
    "summer",
]
_words = random.Random(1)
DENSE = [(40 * number + 4, 40 * number + 36, f"The {' '.join(_words.sample(WORDS, 3))}.") for number in range(75)]


@pytest.mark.parametrize(
    ("name", "captions", "frames", "scale"),
    [("high-res-4k", [(5, 25, "Good evening.")], 30, 8), ("long-2m-dense-text", DENSE, 3000, 1)],
)
def test_a_large_clip_is_found_to_the_frame(
    run: Run, tmp_path: Path, name: str, captions: list[tuple[int, int, str]], frames: int, scale: int
) -> None:
    clip = make_clip(tmp_path / f"{name}.mp4", captions, frames=frames, scale=scale, seed=5)
    result = run("process", clip, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["video"]["width"] == 480 * scale
    found = [(caption["start_frame"], caption["end_frame"], caption["text"]) for caption in document["captions"]]
    assert found == captions
