"""The clips of the benchmark: parts to develop on, and a part that is run only for the final figures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from benchmarks.captions.specs import ClipSpec, Look, TrackSpec

_FILM = Fraction(24000, 1001)
_NTSC = Fraction(30000, 1001)
_24, _25, _30, _50, _60 = (Fraction(rate) for rate in (24, 25, 30, 50, 60))

_MIX = "normal joined neighbors short repeat two-lines normal joined tiny-gap normal"
_FAST = "short short-joined normal joined joined short neighbors tiny-gap normal short joined"
_FADES = "fade fade normal fade joined short fade two-lines tiny fade"
_SLOW_FADES = "fade slow-fade normal crossfade joined fade short fade tiny fade slow-fade"
_LONG_GAPS = "normal wait tiny wait tiny long wait tiny short tiny"
_KARAOKE = "karaoke normal karaoke joined karaoke karaoke"
_DUAL = "normal joined normal joined tiny-gap repeat short wait joined"
_SLOW = "long wait normal neighbors cut repeat normal short wait tiny joined"


def _hd(name: str, seed: int, rate: Fraction, background: str, *tracks: TrackSpec, **rest: object) -> ClipSpec:
    """A clip of 1280x720."""
    return ClipSpec(name, seed, 1280, 720, rate, background, tracks, **rest)  # type: ignore[arg-type]


def _full_hd(name: str, seed: int, rate: Fraction, background: str, *tracks: TrackSpec, **rest: object) -> ClipSpec:
    """A clip of 1920x1080."""
    return ClipSpec(name, seed, 1920, 1080, rate, background, tracks, **rest)  # type: ignore[arg-type]


def _small(name: str, seed: int, rate: Fraction, background: str, *tracks: TrackSpec, **rest: object) -> ClipSpec:
    """A clip of 640x360."""
    return ClipSpec(name, seed, 640, 360, rate, background, tracks, **rest)  # type: ignore[arg-type]


def _portrait(name: str, seed: int, rate: Fraction, background: str, *tracks: TrackSpec, **rest: object) -> ClipSpec:
    """A clip of 720x1280."""
    return ClipSpec(name, seed, 720, 1280, rate, background, tracks, **rest)  # type: ignore[arg-type]


def _bottom(language: str, style: str, font: str, size: float, events: str, **rest: bool) -> TrackSpec:
    return TrackSpec(language, "bottom", Look(style, font, size), events, **rest)


_DEV = [
    _hd(
        "dev-en-outlined-pan", 101, _25, "pan",
        _bottom("en", "outlined", "liberation-bold", 0.062, _MIX + " cut", starts_at_once=True),
        distractors=("logo",),
    ),
    _hd(
        "dev-zh-outlined-collage", 102, _FILM, "collage",
        _bottom("zh", "outlined", "noto-sc-bold", 0.062, _MIX + " tiny joined neighbors"), crf=28,
    ),
    _full_hd(
        "dev-es-yellow-bright", 103, _30, "bright",
        _bottom("es", "yellow", "dejavu-bold", 0.055, _MIX, runs_to_end=True), distractors=("clock",), crf=21,
    ),
    _small(
        "dev-en-box-fades", 104, _NTSC, "fades",
        _bottom("en", "box", "open-sans", 0.066, _FADES), distractors=("score",), crf=25,
    ),
    _hd(
        "dev-zh-en-dual-line", 105, _24, "zoom",
        _bottom("zh-en", "outlined", "noto-sc", 0.06, _DUAL),
        crf=24,
    ),
    _hd(
        "dev-en-thin-low-contrast", 106, _50, "low-contrast",
        _bottom("en", "thin", "open-sans-light", 0.06, "normal fade joined short fade neighbors normal repeat"),
    ),
    _hd(
        "dev-none-signs-ticker", 107, _25, "handheld",
        distractors=("logo", "ticker", "clock", "signs"), crf=26, seconds=20.0,
    ),
    _hd(
        "dev-zh-top-bottom-vfr", 108, _30, "pan",
        _bottom("zh", "outlined", "zenhei", 0.062, "normal joined short neighbors cut normal joined"),
        TrackSpec("en", "top", Look("yellow", "liberation", 0.05), "normal wait normal joined normal"),
        vfr=True, crf=27,
    ),
    _portrait(
        "dev-zh-portrait-texture", 109, _30, "texture",
        _bottom("zh", "outlined", "microhei", 0.066, _FAST), distractors=("logo",), crf=26,
    ),
    _hd(
        "dev-en-karaoke-cuts", 110, _60, "cuts",
        _bottom("en", "outlined", "dejavu-bold", 0.058, _KARAOKE + " neighbors"),
    ),
    _hd(
        "dev-en-watermark-vp9", 111, _25, "pan",
        _bottom("en", "plain", "liberation-bold", 0.062, _MIX), distractors=("watermark",), codec="vp9", crf=33,
    ),
    _hd(
        "dev-zh-vertical-left", 112, _24, "still",
        TrackSpec("zh", "left", Look("outlined", "noto-sc-bold", 0.066), "normal joined wait normal joined normal"),
        _bottom("en", "plain", "open-sans", 0.06, "normal joined normal short normal joined"),
    ),
    _full_hd(
        "dev-zh-ticker-slides", 113, _FILM, "slides",
        _bottom("zh", "plain", "noto-sc-bold", 0.056, _SLOW), distractors=("ticker", "clock"), crf=24,
    ),
    _hd(
        "dev-en-noise-crf35", 114, _30, "noise",
        _bottom("en", "outlined", "liberation-narrow", 0.062, _MIX + " short"), crf=35,
    ),
    _hd(
        "dev-es-bottom-left", 115, _25, "gradient",
        TrackSpec("es", "bottom-left", Look("plain", "dejavu", 0.056), _MIX + " fade"), crf=18,
    ),
    _hd(
        "dev-en-thin-slow-fades", 801, _24, "gradient",
        _bottom("en", "thin", "dejavu-light", 0.06, _SLOW_FADES), crf=22,
    ),
    _hd(
        "dev-zh-still-fades", 804, _25, "still",
        _bottom("zh", "plain", "noto-serif-sc", 0.062, _FADES + " neighbors fade"), crf=23,
    ),
    _hd(
        "dev-en-bright-slow-fades", 806, _30, "bright",
        _bottom("en", "outlined", "liberation-bold", 0.06, _SLOW_FADES), crf=24,
    ),
    _small(
        "dev-es-box-slow-fades", 811, _25, "fades",
        _bottom("es", "box", "open-sans", 0.066, _SLOW_FADES), crf=25,
    ),
    _hd(
        "dev-zh-yellow-slow-fades", 812, _FILM, "zoom",
        _bottom("zh", "yellow", "microhei", 0.06, _SLOW_FADES + " neighbors"), crf=26,
    ),
    _hd(
        "dev-en-signs-gaps", 808, _25, "pan",
        _bottom("en", "outlined", "dejavu-serif", 0.06, _LONG_GAPS), distractors=("signs", "clock"), crf=28,
    ),
    _portrait(
        "dev-en-portrait-signs", 810, _30, "zoom",
        _bottom("en", "outlined", "liberation-bold", 0.064, _MIX + " wait"), distractors=("signs",), crf=24,
    ),
    _small(
        "dev-en-still-collage-thin", 2010, _25, "still-collage",
        _bottom("en", "thin", "dejavu-serif", 0.06, "normal joined short normal neighbors joined normal"),
    ),
    _hd(
        "dev-zh-still-texture-thin", 2015, _25, "still-texture",
        _bottom("zh", "thin", "noto-serif-sc", 0.06, _MIX + " fade fade"),
    ),
    _hd(
        "dev-zh-still-serif-fades", 3031, _24, "still",
        _bottom("zh", "plain", "noto-serif-sc", 0.062, _FADES + " neighbors fade"),
    ),
    _hd(
        "dev-zh-slides-thin-fades", 3039, _30, "slides",
        _bottom("zh", "thin", "noto-serif-sc", 0.058, _FADES + " neighbors fade"),
    ),
]  # fmt: skip

_FINAL = [
    _hd(
        "final-en-plain-dark", 501, _FILM, "dark",
        _bottom("en", "plain", "open-sans", 0.06, _MIX + " fade cut", starts_at_once=True), crf=22,
    ),
    _hd(
        "final-en-narrow-noise", 502, _30, "noise",
        _bottom("en", "outlined", "liberation-narrow", 0.064, _FAST + " repeat"), crf=30,
    ),
    _full_hd(
        "final-en-yellow-slides", 503, _25, "slides",
        _bottom("en", "yellow", "liberation-italic", 0.056, _MIX, runs_to_end=True), crf=20,
    ),
    _hd(
        "final-en-box-cuts", 504, _NTSC, "cuts",
        _bottom("en", "box", "dejavu", 0.056, _MIX + " short cut"), distractors=("logo",), crf=25,
    ),
    _full_hd(
        "final-en-thin-gradient", 505, _24, "gradient",
        _bottom("en", "thin", "dejavu-light", 0.058, _FADES + " normal"), crf=22,
    ),
    _small(
        "final-en-aileron-handheld", 506, _25, "handheld",
        _bottom("en", "outlined", "aileron", 0.07, _FAST + " two-lines"), crf=26,
    ),
    _hd(
        "final-en-collage-vp9", 507, _24, "collage",
        _bottom("en", "outlined", "dejavu-bold", 0.056, _MIX + " tiny"), codec="vp9", crf=34,
    ),
    _hd(
        "final-en-left-pan", 508, _50, "pan",
        TrackSpec("en", "bottom-left", Look("outlined", "open-sans", 0.06), _FAST), distractors=("score",),
    ),
    _portrait(
        "final-en-portrait-zoom", 509, _30, "zoom",
        _bottom("en", "outlined", "dejavu-bold", 0.064, _MIX + " karaoke"), crf=24,
    ),
    _hd(
        "final-en-karaoke-fades", 510, _60, "fades",
        _bottom("en", "outlined", "liberation-bold", 0.066, _KARAOKE + " fade short joined neighbors"),
        crf=26,
    ),
    _hd(
        "final-en-long-gaps", 511, _25, "pan",
        _bottom("en", "outlined", "dejavu-serif", 0.06, _SLOW), distractors=("clock", "signs"), crf=28,
    ),
    _hd(
        "final-es-watermark-bright", 512, _25, "bright",
        _bottom("es", "outlined", "liberation-bold", 0.062, _MIX + " cut"), distractors=("watermark",),
    ),
    _full_hd(
        "final-es-yellow-ticker", 513, _NTSC, "pan",
        _bottom("es", "yellow", "open-sans", 0.056, _FAST), distractors=("ticker", "clock"), crf=25,
    ),
    _hd(
        "final-es-box-fades", 527, _30, "zoom",
        _bottom("es", "box", "liberation-bold", 0.06, _FADES + " cut"), distractors=("logo",), crf=24,
    ),
    ClipSpec(
        "final-es-plain-vfr", 514, 854, 480, _30, "low-contrast",
        (_bottom("es", "plain", "liberation-bold", 0.066, _MIX + " tiny"),), vfr=True, crf=24,
    ),
    _small(
        "final-es-serif-vp9", 515, _FILM, "texture",
        _bottom("es", "outlined", "dejavu-serif", 0.072, _MIX), codec="vp9", crf=30,
    ),
    _full_hd(
        "final-zh-outlined-cuts", 516, _FILM, "cuts",
        _bottom("zh", "outlined", "noto-sc", 0.058, _MIX + " tiny short", starts_at_once=True), crf=20,
    ),
    _hd(
        "final-zh-yellow-noise-crf35", 517, _25, "noise",
        _bottom("zh", "yellow", "noto-sc-bold", 0.064, _MIX + " neighbors"), crf=35,
    ),
    _hd(
        "final-zh-box-signs", 518, _30, "handheld",
        _bottom("zh", "box", "microhei", 0.06, _FAST + " fade"), distractors=("signs", "logo"),
    ),
    _hd(
        "final-zh-serif-still", 519, _24, "still",
        _bottom("zh", "plain", "noto-serif-sc", 0.062, _FADES + " neighbors", runs_to_end=True),
    ),
    _portrait(
        "final-zh-portrait-vfr", 520, _30, "pan",
        _bottom("zh", "outlined", "zenhei", 0.068, _MIX), distractors=("watermark",), vfr=True, crf=27,
    ),
    _full_hd(
        "final-zh-en-dual-pan", 521, _25, "pan",
        _bottom("zh-en", "outlined", "noto-sc-bold", 0.054, _DUAL + " cut fade joined"),
        crf=23,
    ),
    _hd(
        "final-zh-en-dual-zoom-vp9", 522, _FILM, "zoom",
        _bottom("zh-en", "yellow", "microhei", 0.058, _DUAL),
        codec="vp9", crf=32,
    ),
    _hd(
        "final-zh-bottom-es-top", 523, _30, "collage",
        _bottom("zh", "outlined", "noto-sc-bold", 0.062, "normal joined short neighbors tiny-gap normal joined"),
        TrackSpec("es", "top", Look("outlined", "dejavu-bold", 0.048), "normal joined wait normal short normal"),
        crf=25,
    ),
    _hd(
        "final-zh-vertical-right", 524, _25, "fades",
        TrackSpec("zh", "right", Look("outlined", "noto-serif-sc", 0.068), "normal joined normal wait joined"),
        _bottom("en", "outlined", "liberation-bold", 0.06, "wait normal neighbors joined normal short joined"),
    ),
    _hd(
        "final-none-news", 525, _NTSC, "pan",
        distractors=("logo", "ticker", "clock", "score", "signs"), crf=27, seconds=18.0,
    ),
    _full_hd("final-none-film", 526, _24, "collage", crf=24, seconds=12.0),
]  # fmt: skip


_OTHER_SEEDS = 11_000
# The kinds of the final part with other seeds, to develop on and to see how much of the final figures is chance.
_TWINS = [replace(spec, name=spec.name.replace("final-", "twin-"), seed=spec.seed + _OTHER_SEEDS) for spec in _FINAL]

PARTS = {"dev": _DEV, "final": _FINAL, "twins": _TWINS}


def clips_of(part: str) -> list[ClipSpec]:
    """Return the clips of a part: ``dev``, ``final``, ``twins``, or ``all``."""
    if part == "all":
        return [spec for specs in PARTS.values() for spec in specs]
    return list(PARTS[part])
