"""The clips of the benchmark: a part to develop on and a part that is looked at only for the final figure."""

from __future__ import annotations

from fractions import Fraction

from benchmarks.captions.specs import ClipSpec, Look, TrackSpec

_FILM = Fraction(24000, 1001)
_NTSC = Fraction(30000, 1001)

_MIX = "normal joined neighbours short repeat two-lines normal joined tiny-gap normal"


def _dev() -> list[ClipSpec]:
    return [
        ClipSpec(
            "dev-en-outlined-pan", 101, 1280, 720, Fraction(25), "pan",
            (TrackSpec("en", "bottom", Look("outlined", "liberation-bold"), _MIX + " cut", starts_at_once=True),),
            ("logo",),
        ),
        ClipSpec(
            "dev-zh-outlined-collage", 102, 1280, 720, _FILM, "collage",
            (TrackSpec("zh", "bottom", Look("outlined", "noto-sc-bold"), _MIX + " tiny joined neighbours"),),
            crf=28,
        ),
        ClipSpec(
            "dev-es-yellow-bright", 103, 1920, 1080, Fraction(30), "bright",
            (TrackSpec("es", "bottom", Look("yellow", "dejavu-bold", 0.055), _MIX, runs_to_end=True),),
            ("clock",), crf=21,
        ),
        ClipSpec(
            "dev-en-box-fades", 104, 640, 360, _NTSC, "fades",
            (TrackSpec("en", "bottom", Look("box", "open-sans", 0.066), "fade fade normal fade joined short fade two-lines tiny fade"),),
            ("score",), crf=25,
        ),
        ClipSpec(
            "dev-zh-en-dual-line", 105, 1280, 720, Fraction(24), "zoom",
            (TrackSpec("zh-en", "bottom", Look("outlined", "noto-sc", 0.06), "normal joined normal joined tiny-gap repeat short wait normal joined"),),
            crf=24,
        ),
        ClipSpec(
            "dev-en-thin-low-contrast", 106, 1280, 720, Fraction(50), "low-contrast",
            (TrackSpec("en", "bottom", Look("thin", "open-sans-light", 0.06), "normal fade joined short fade neighbours normal repeat"),),
            crf=23,
        ),
        ClipSpec(
            "dev-none-signs-ticker", 107, 1280, 720, Fraction(25), "handheld", (),
            ("logo", "ticker", "clock", "signs"), crf=26, seconds=20,
        ),
        ClipSpec(
            "dev-zh-top-bottom-vfr", 108, 1280, 720, Fraction(30), "pan",
            (
                TrackSpec("zh", "bottom", Look("outlined", "zenhei"), "normal joined short neighbours cut normal joined"),
                TrackSpec("en", "top", Look("yellow", "liberation", 0.05), "normal wait normal joined normal"),
            ),
            vfr=True, crf=27,
        ),
    ]  # fmt: skip


PARTS = {"dev": _dev}


def clips_of(part: str) -> list[ClipSpec]:
    """Give the clips of a part: ``dev``, ``final`` or ``all``."""
    if part == "all":
        return [spec for make in PARTS.values() for spec in make()]
    return PARTS[part]()
