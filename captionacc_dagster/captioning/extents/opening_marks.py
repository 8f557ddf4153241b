"""Put back the ``¡`` of Spanish captions, a letter that the default recognizer's alphabet lacks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from captionacc_dagster.captioning.ocr.text_language import identify_language

_CAPITAL = "[A-ZÁÉÍÓÚÜÑ]"
# A new sentence starts with a capital, which a misread mark may precede, after the end of another one. All that is
# between the last letter of the one and the first of the other is one gap, so that no text is looked through twice.
_GAP = re.compile(rf"(?<![\W\d_])[\W\d_]++(?=(?:[ijl] ?)?{_CAPITAL})")
_SENTENCE_ENDS = ".!?…"
_CLOSING = "\"'»”)"
_END = re.compile(rf"(?<=[{_SENTENCE_ENDS}])[{_CLOSING}]*\s++")
# What comes before the mark, the mark read as another character, and what comes after it.
_OPENING = re.compile(rf"""([\s\-–—"'«“(♪♫]*)(?:[iIlj1|!] ?(?={_CAPITAL}[a-záéíóúüñ]))?(.*)""", re.DOTALL)


def restore_opening_marks(texts: Sequence[str]) -> list[str]:
    """Return the texts of a track with the ``¡`` of its exclamations put back if they are Spanish.

    A sentence that starts with a small letter began in an earlier caption, and gets none.
    """
    restored = ["".join(map(_with_opening_mark, _sentences(text))) if "!" in text else text for text in texts]
    return restored if restored != list(texts) and identify_language(texts) == "es" else list(texts)


def _sentences(text: str) -> list[str]:
    ends = (end.end() for gap in _GAP.finditer(text) for end in _END.finditer(text, gap.start(), gap.end()))
    starts = [0, *ends, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(starts)]


def _with_opening_mark(sentence: str) -> str:
    closed = sentence.rstrip().rstrip(_CLOSING)
    if "!" not in closed[len(closed.rstrip(_SENTENCE_ENDS)) :] or "¡" in sentence or "¿" in sentence:
        return sentence
    match = _OPENING.fullmatch(sentence)
    assert match is not None, "every part of the pattern may be empty"
    before, after = match.groups()
    return f"{before}¡{after}" if after[:1].isupper() else sentence
