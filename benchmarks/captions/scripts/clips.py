"""Draw the clips of ``--part scripts``: captions of each language in three fonts over moving photographs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.backgrounds import Background
from benchmarks.captions.render import Clip
from benchmarks.captions.sources import code_of, source_hash

PACKAGES = ("fonts-noto-core", "fonts-noto-cjk", "fonts-thai-tlwg")
_CORPUS = Path(__file__).with_name("corpus")
_WIDTH, _HEIGHT, _RATE = 854, 480, 25
_SIZE = 34  # pixels of the font
_NOTO = ("NotoSans-Bold.ttf", "NotoSerif-Bold.ttf", "NotoSansDisplay-Bold.ttf")
_CJK = ("NotoSansCJK-Bold.ttc", "NotoSerifCJK-Bold.ttc", "NotoSansCJK-Regular.ttc")
# Three fonts a language; in a collection, the font of that index.
_FONTS: dict[str, tuple[tuple[str, ...], int]] = {
    "ru": (_NOTO, 0),
    "uk": (_NOTO, 0),
    "el": (_NOTO, 0),
    "vi": (_NOTO, 0),
    "tr": (_NOTO, 0),
    "en": (_NOTO, 0),
    "ko": (_CJK, 1),
    "ja": (_CJK, 0),
    "zh-Hant": (_CJK, 3),
    "ar": (("NotoNaskhArabic-Bold.ttf", "NotoSansArabic-Bold.ttf", "NotoKufiArabic-Bold.ttf"), 0),
    "he": (("NotoSansHebrew-Bold.ttf", "NotoSerifHebrew-Bold.ttf", "NotoSansHebrew-Regular.ttf"), 0),
    "hi": (("NotoSansDevanagari-Bold.ttf", "NotoSerifDevanagari-Bold.ttf", "NotoSansDevanagari-Regular.ttf"), 0),
    "th": (("NotoSansThai-Bold.ttf", "NotoLoopedThai-Bold.ttf", "NotoSerifThai-Bold.ttf"), 0),
}
LANGUAGES = ("ru", "uk", "el", "ko", "ar", "he", "hi", "th", "vi", "ja", "zh-Hant", "tr")


@dataclass(frozen=True, slots=True)
class ScriptSpec:
    """One clip: its languages, one line each from top to bottom, and its background."""

    name: str
    languages: tuple[str, ...]
    background: str
    seed: int


_BACKGROUNDS = ("pan", "collage", "handheld", "bright")
_SPECS = [
    ScriptSpec(f"scripts-{code}", (code,), _BACKGROUNDS[number % len(_BACKGROUNDS)], 900 + number)
    for number, code in enumerate(LANGUAGES)
] + [ScriptSpec("scripts-ar-over-en", ("ar", "en"), "pan", 930)]


def script_specs() -> list[ScriptSpec]:
    """Return the clips of the part."""
    return list(_SPECS)


@dataclass(frozen=True, slots=True)
class _Caption:
    start: int
    end: int
    text: str
    picture: NDArray[np.float32]  # RGBA, 0..1, of the whole frame
    box: tuple[int, int, int, int]


def render_script_clips(specs: list[ScriptSpec], folder: Path, jobs: int) -> list[Clip]:
    """Render clips that are not in ``folder`` yet, in parallel processes.

    Raises:
        RuntimeError: a font is missing, or Pillow cannot shape Arabic, Hindi, and Thai.
    """
    from PIL import features

    if not features.check("raqm"):
        raise RuntimeError("this Pillow has no libraqm, which shapes Arabic, Hindi, and Thai; its wheels have it")
    for name in sorted({name for spec in specs for code in spec.languages for name in _FONTS[code][0]}):
        _font_file(name)
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(max(1, jobs)) as pool:
        return list(pool.map(_render, specs, [folder] * len(specs)))


def _font_file(name: str) -> str:
    found = next(Path("/usr/share/fonts").rglob(name), None)
    if found is None:
        raise RuntimeError(f"font {name} is missing: apt-get install {' '.join(PACKAGES)}")
    return str(found)


def _lines(code: str) -> list[str]:
    return (_CORPUS / f"{code}.txt").read_text(encoding="utf-8").split("\n")[:14]


def _render(spec: ScriptSpec, folder: Path) -> Clip:
    own = code_of(Path(__file__).read_text(encoding="utf-8")) + "".join("".join(_lines(c)) for c in spec.languages)
    modules = [Path(__file__).parents[1] / "backgrounds.py"]
    import hashlib

    key = hashlib.sha256((source_hash(modules) + own + repr(spec)).encode()).hexdigest()[:16]
    home = folder / f"{spec.name}-{key}"
    clip = Clip(spec.name, home / f"{spec.name}.mp4", home / f"{spec.name}.truth.json")
    if clip.truth.exists():
        return clip
    home.mkdir(parents=True, exist_ok=True)
    captions = _captions(spec)
    length = captions[-1].end + _RATE
    _encode(_frames(spec, captions, length), clip.video)
    clip.truth.write_text(json.dumps(_truth(spec, captions, length), ensure_ascii=False, indent=1), encoding="utf-8")
    return clip


def _captions(spec: ScriptSpec) -> list[_Caption]:
    rng = random.Random(spec.seed)
    at, captions = rng.randint(10, 30), []
    rows = list(zip(*(_lines(code) for code in spec.languages), strict=True))
    for number, row in enumerate(rows):
        picture, box = _letter(spec, row, number * 3 // len(rows))
        length = round(_RATE * rng.uniform(1.3, 2.2))
        captions.append(_Caption(at, at + length, "\n".join(row), picture, box))
        at += length + rng.choice((0, 3, 8, 15))
    return captions


def _letter(spec: ScriptSpec, row: tuple[str, ...], font: int) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    from PIL import Image, ImageDraw, ImageFont

    layer = Image.new("RGBA", (_WIDTH, _HEIGHT))
    draw = ImageDraw.Draw(layer)
    step = round(1.5 * _SIZE)
    y = _HEIGHT - 40 - step * len(row)
    for code, text in zip(spec.languages, row, strict=True):
        files, index = _FONTS[code]
        shaped = ImageFont.Layout.RAQM
        loaded = ImageFont.truetype(_font_file(files[font]), _SIZE, index=index, layout_engine=shaped)
        x = (_WIDTH - loaded.getlength(text)) / 2
        draw.text((x, y), text, font=loaded, fill="white", stroke_width=2, stroke_fill="black")
        y += step
    box = layer.getbbox()
    if box is None:
        raise ValueError(f"nothing was drawn of {row!r}")
    return np.asarray(layer, np.float32), box


def _frames(spec: ScriptSpec, captions: list[_Caption], length: int) -> Iterator[NDArray[np.uint8]]:
    background = Background(
        spec.background, _WIDTH, _HEIGHT, float(_RATE), length, [], False, random.Random(spec.seed + 1)
    )
    for at in range(length):
        frame = background.frame(at)
        for caption in captions:
            if caption.start <= at < caption.end:
                alpha = caption.picture[..., 3:] / 255
                frame = (frame * (1 - alpha) + caption.picture[..., :3] * alpha).astype(np.uint8)
        yield frame


def _encode(frames: Iterator[NDArray[np.uint8]], path: Path) -> None:
    import av

    unfinished = path.with_name("unfinished.mp4")
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)


def _truth(spec: ScriptSpec, captions: list[_Caption], length: int) -> dict[str, Any]:
    step = float(Fraction(1, _RATE))
    return {
        "video": {
            "file": f"{spec.name}.mp4", "width": _WIDTH, "height": _HEIGHT, "duration_s": length * step,
            "frame_rate": float(_RATE), "frame_count": length, "variable_frame_rate": False, "codec": "h264",
            "crf": 23, "background": spec.background, "distractors": [],
        },
        "frame_times_s": [round(at * step, 6) for at in range(length + 1)],
        "captions": [
            {
                "start_s": round(caption.start * step, 6), "end_s": round(caption.end * step, 6),
                "start_frame": caption.start, "end_frame": caption.end, "text": caption.text,
                "bbox": {
                    "left": round(caption.box[0] / _WIDTH, 5), "top": round(caption.box[1] / _HEIGHT, 5),
                    "right": round(caption.box[2] / _WIDTH, 5), "bottom": round(caption.box[3] / _HEIGHT, 5),
                },
                "track": "bottom", "vertical": False, "fade_in_frames": 0, "fade_out_frames": 0,
                "kinds": ["normal"],
            }
            for caption in captions
        ],
    }  # fmt: skip
