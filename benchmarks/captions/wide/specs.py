"""Draws what a wide clip is made of from its seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction

from benchmarks.captions.wide.captions import MODES, MOTIONS, CaptionSpec
from benchmarks.captions.wide.looks import CHINESE, DISPLAY, MONO, SANS, SERIF, draw_look, files_of
from benchmarks.captions.wide.overlays import OVERLAYS
from benchmarks.captions.wide.photographs import BUILT_IN, PHOTOGRAPHS, TEXTURES
from benchmarks.captions.wide.scenes import SCENES
from benchmarks.captions.wide.sentences import LANGUAGES

_FONTS = tuple(files_of(SANS) * 3 + files_of(SERIF) + files_of(MONO) + files_of(DISPLAY))
_FILM, _NTSC = Fraction(24000, 1001), Fraction(30000, 1001)
_SIZES = (
    (640, 360), (640, 360), (854, 480), (640, 480), (1280, 720), (1280, 720), (1280, 720), (1920, 1080), (960, 540),
    (360, 640), (540, 960), (720, 1280), (720, 1280), (1080, 1920), (720, 720),
)  # fmt: skip
_RATES = (
    _FILM, Fraction(24), Fraction(25), Fraction(25), _NTSC, Fraction(30), Fraction(30), Fraction(50), Fraction(60),
    Fraction(15), Fraction(10), Fraction(1),
)  # fmt: skip
_LONGEST = 1_900_000_000  # pixels of all frames together: what is drawn in about half a minute


@dataclass(frozen=True, slots=True)
class WideSpec:
    """One clip: picture, encoding, scene, captions, and other text, all from one seed.

    Attributes:
        name: file name without suffix.
        seed: of everything random in it.
        width, height: pixels.
        rate: frames per second.
        seconds: length.
        scene: one of `scenes.SCENES`.
        captions: tracks of captions; none in a clip without captions.
        overlays: of `overlays.OVERLAYS`.
        signs: whether signs are painted into photographs.
        letterbox: height of each black bar, as a fraction of the picture's height.
        fonts: font files for all text but captions and code.
        mono: font files for code.
        photographs: names for `photographs.picture`.
        codec: ``h264`` or ``vp9``.
        crf: quality.
    """

    name: str
    seed: int
    width: int
    height: int
    rate: Fraction
    seconds: float
    scene: str
    captions: tuple[CaptionSpec, ...]
    overlays: tuple[str, ...] = ()
    signs: bool = False
    letterbox: float = 0.0
    fonts: tuple[str, ...] = _FONTS
    mono: tuple[str, ...] = tuple(files_of(MONO))
    photographs: tuple[str, ...] = (*PHOTOGRAPHS, *BUILT_IN, *TEXTURES)
    codec: str = "h264"
    crf: int = 23

    @property
    def file_name(self) -> str:
        """Name of the video file."""
        return f"{self.name}.{'webm' if self.codec == 'vp9' else 'mp4'}"

    @property
    def font_files(self) -> set[str]:
        """Every font file that the clip may be lettered with."""
        return {*self.fonts, *self.mono} | {track.look.font for track in self.captions}


def draw_spec(
    seed: int, *, mode: str | None = None, longest_s: float = 60.0, most_pixels: int | None = None
) -> WideSpec:
    """Draw a clip; one in twelve has no captions.

    Args:
        seed: the same seed draws the same clip.
        mode: of the captions, one of `captions.MODES`; None draws it.
        longest_s: the longest clip, seconds.
        most_pixels: the largest picture, pixels; None for 1920x1080.
    """
    rng = random.Random(f"wide {seed}")
    sizes = [size for size in _SIZES if most_pixels is None or size[0] * size[1] <= most_pixels]
    width, height = rng.choice(sizes)
    rate = rng.choice(_RATES)
    drawn = mode or rng.choice((*("lines",) * 6, *MODES))
    if drawn in MOTIONS and rate < 20:
        rate = Fraction(30)
    seconds = math.exp(rng.uniform(math.log(2.0), math.log(longest_s)))
    if rate < 5:
        seconds = max(seconds, min(longest_s, 15.0))
    seconds = min(seconds, _LONGEST / (width * height * float(rate)))
    # Screen recordings are less frequent than pictures of the world.
    scene = rng.choice((*SCENES, "pan", "cuts", "handheld", "pan"))
    captions: tuple[CaptionSpec, ...] = ()
    if mode is not None or rng.random() > 1 / 12:
        captions = (_draw_captions(drawn, (width, height), rng),)
    overlays = tuple(name for name in OVERLAYS if rng.random() < _FREQUENCY[name])
    if seconds < 6:
        overlays = tuple(name for name in overlays if name not in ("end_card", "credits"))
    return WideSpec(
        name=f"wide-{seed}-{drawn if captions else 'none'}-{scene}",
        seed=seed,
        width=width,
        height=height,
        rate=rate,
        seconds=seconds,
        scene=scene,
        captions=captions,
        overlays=overlays,
        signs=rng.random() < 0.15,
        letterbox=rng.choice((0.0,) * 7 + (0.06, 0.1, 0.125)) if width > height else rng.choice((0.0,) * 8 + (0.2,)),
        codec="vp9" if rng.random() < 0.08 else "h264",
        crf=rng.randint(18, 33),
    )


_FREQUENCY = {
    "lower_third": 0.14, "title": 0.1, "mark": 0.25, "headline": 0.07, "clock": 0.08, "ticker": 0.07, "end_card": 0.08,
    "credits": 0.05, "phone": 0.07,
}  # fmt: skip


def _draw_captions(mode: str, size: tuple[int, int], rng: random.Random) -> CaptionSpec:
    portrait = size[1] > size[0]
    language = rng.choice(("en",) * 6 + ("es", "fr", "de", "zh", "zh"))
    assert language in LANGUAGES
    fonts = files_of(CHINESE) if language == "zh" else list(_FONTS)
    large = mode in ("words", "phrases", "highlight", "build")
    sizes = (0.055, 0.11) if large else (0.042, 0.06) if mode == "block" else (0.04, 0.085)
    places = (
        ("low", "middle", "middle", "bottom") if portrait else ("bottom",) * 6 + ("low", "top", "middle", "bottom-left")
    )
    lines = {"block": rng.randint(5, 6), "words": 1, "phrases": 2, "karaoke": rng.randint(1, 2), "context": 1}
    return CaptionSpec(
        mode=mode,
        language=language,
        look=draw_look(rng, fonts, sizes=sizes),
        place="middle" if mode == "block" and rng.random() < 0.5 else rng.choice(places),
        lines=lines.get(mode, rng.choice((1, 2, 2, 3))),
        joined=rng.choice((0.0, 0.4, 0.9)),
        fades=rng.choice((0.0, 0.0, 0.0, 0.5, 1.0)),
        entrance=rng.choice(("cut", "cut", "cut", "pop", "slide")) if mode in ("words", "phrases", "lines") else "cut",
        most=rng.choice((1, 2, 3, 6, 12, 20, 20, 20)) if mode != "single" else rng.choice((1, 1, 2)),
        pace=rng.uniform(0.7, 1.5),
    )
