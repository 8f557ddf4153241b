"""Read the small l among capitals as the I that it is; in most sans-serif fonts the two look alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from captionacc_dagster.captioning.ocr.text_language import identify_language

_WORD = re.compile(r"[^\W\d_]+")
# In English, Al is the short name only before another name.
_ARTIFICIAL = re.compile(r"\bAl\b(?!\s+[A-Z][a-z])")


def restore_capital_i(texts: Sequence[str]) -> list[str]:
    """Return the texts of a track with each l that can only be an I as an I: ``APl``, ``loT``, ``Al`` in English."""
    restored = [_WORD.sub(_with_capital_i, text) for text in texts]
    if any(_ARTIFICIAL.search(text) for text in restored) and identify_language(texts) == "en":
        return [_ARTIFICIAL.sub("AI", text) for text in restored]
    return restored


def _with_capital_i(word: re.Match[str]) -> str:
    """Return a word with l as I: among capitals, or where it starts a word that has a capital."""
    text = word.group()
    others = text.replace("l", "")
    if others.isupper() and (len(others) > 1 or text in ("Ul", "lT")):
        return text.replace("l", "I")
    return f"I{text[1:]}" if text.startswith("l") and others != others.lower() else text
