"""Cuts of the camera, told while a video is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from captionacc_dagster.captioning.video.reader import native_frames, probe
from captionacc_dagster.captioning.video.shots import ShotFinder
from captionacc_dagster_tests.captioning.drawn_clips import Picture, flat, moving, texture, write_clip, write_text

pytestmark = pytest.mark.unit

RATE = 25
WIDTH, HEIGHT = 320, 180
Clip = Callable[..., list[int]]


@pytest.fixture
def cuts_in(tmp_path: Path) -> Clip:
    """Encodes pictures, and gives the numbers of the frames with which shots begin."""

    def find(pictures: Iterable[Picture], **options: object) -> list[int]:
        path = write_clip(tmp_path / "clip.mp4", pictures, RATE, **options)  # pyright: ignore[reportArgumentType]
        finder = ShotFinder()
        for frame in native_frames(probe(path)):
            finder.show(frame)
        finder.finish()
        return [round(start * RATE) for start in finder.starts_s]

    return find


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_cuts_are_found_to_the_frame(cuts_in: Clip, pixel_format: str) -> None:
    shots = [moving(WIDTH, HEIGHT, speed, seed) for speed, seed in ((0, 1), (3, 2), (6, 3), (0, 4))]
    begins = [0, 17, 18 + 30, 75, 100]
    pictures = [shots[number](at) for number in range(4) for at in range(begins[number + 1] - begins[number])]

    assert cuts_in(pictures, pixel_format=pixel_format) == begins[1:-1]


def test_captions_are_no_cuts(cuts_in: Clip) -> None:
    for background in (texture(WIDTH, HEIGHT), flat(0, WIDTH, HEIGHT)):
        pictures = [background.copy() for _ in range(60)]
        for at in range(20, 40):
            write_text(
                pictures[at], "A caption as large as any of them,\nand its second line below the first", (0.5, 0.8), 17
            )

        assert cuts_in(pictures) == []


def test_a_flash_and_a_pan_are_no_cuts(cuts_in: Clip) -> None:
    still = texture(WIDTH, HEIGHT)
    flash = [still] * 20 + [flat(250, WIDTH, HEIGHT)] + [still] * 20

    assert cuts_in(flash) == []
    wide = texture(8 * WIDTH, HEIGHT)
    assert cuts_in([wide[:, 40 * at : 40 * at + WIDTH] for at in range(50)]) == []


def test_an_upright_film_between_black_bars_has_its_cuts(cuts_in: Clip) -> None:
    bars = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(40)]
    for at, picture in enumerate(bars):
        picture[:, 109:211] = texture(102, HEIGHT, at // 20)

    assert cuts_in(bars) == [20]


def test_a_fade_is_no_cut_and_what_is_black_before_it_is(cuts_in: Clip) -> None:
    still = texture(WIDTH, HEIGHT).astype(np.float32)
    fade = [(still * share).astype(np.uint8) for share in np.linspace(0, 1, 20)]

    assert cuts_in([flat(0, WIDTH, HEIGHT)] * 10 + fade + fade[-1:] * 10) == []
    assert cuts_in([flat(0, WIDTH, HEIGHT)] * 10 + fade[-1:] * 20) == [10]


def test_a_flat_picture_has_no_cuts(cuts_in: Clip) -> None:
    noise = np.random.default_rng(1)
    grains = [
        np.clip(flat(90, WIDTH, HEIGHT).astype(int) + noise.integers(-9, 10, (HEIGHT, WIDTH, 3)) + at // 30, 0, 255)
        for at in range(90)
    ]

    assert cuts_in([picture.astype(np.uint8) for picture in grains]) == []
