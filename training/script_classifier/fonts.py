"""The fonts of this machine by the letters that they have, split into those to train on and those held out."""

from __future__ import annotations

import random
import subprocess
import zlib
from collections import defaultdict
from functools import cache

_LANGUAGES = {
    "Latn": "en", "Latn-vi": "vi", "Cyrl": "ru", "Grek": "el", "zh": "zh-cn", "ja": "ja", "Hang": "ko", "Arab": "ar",
    "Hebr": "he", "Deva": "hi", "Thai": "th", "bn": "bn", "ta": "ta", "te": "te", "kn": "kn", "ml": "ml", "gu": "gu",
    "km": "km", "my": "my", "Geor": "ka", "Armn": "hy",
}  # fmt: skip
_SHARE_HELD_OUT = 4  # one family of four
# Fonts with letters that no reader would take for the script, or whose letters are boxes and bars.
_UNUSABLE = ("barcode", "redacted", "symbol", "emoji", "lastresort", "fallback", "dingbat", "glyphicons", "mathjax")


@cache
def fonts(key: str, held_out: bool) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Return the families for a key of `_LANGUAGES`: each a tuple of font files with the index in their collection."""
    listed = subprocess.run(
        ["fc-list", f":lang={_LANGUAGES[key]}:scalable=true", "--format", "%{family[0]}\t%{file}\t%{index}\n"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    families: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for line in listed:
        family, file, index = line.split("\t")
        if any(word in (family + file).lower() for word in _UNUSABLE) or not file.endswith((".ttf", ".otf", ".ttc")):
            continue
        families[family].add((file, int(index) & 0xFFFF))
    names = sorted(families)
    order = sorted(names, key=lambda name: zlib.crc32(name.encode()))
    kept = set(order[::_SHARE_HELD_OUT])
    if len(order) == 1:  # a single family of a script outside the classes
        kept = set(order) if held_out else set()
    return tuple(tuple(sorted(families[name])) for name in names if (name in kept) == held_out or len(order) == 1)


def pick_font(key: str, held_out: bool, rng: random.Random) -> tuple[str, int]:
    """Return a font file and index: every family is as likely as any other."""
    return rng.choice(rng.choice(fonts(key, held_out)))
