"""Put back the ``¡`` of Spanish captions, a letter that the default recognizer's alphabet lacks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

# The most frequent words of Spanish and of the languages that share many of them or are common in captions.
_FREQUENT_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "es": "de que no a la el es y en lo un por qué me una te los se con para mi está si pero su yo eso las sí "
        "del muy al tú como hay ya estoy voy aquí ahora todo vamos hoy más bien también ha ese esta",
        "ca": "de que no a la el és i en ho un per què em una et els es amb si però seu jo això les sí del molt al "
        "tu com hi ja va aquí ara tot anem avui més bé també ha estic vaig aquesta",
        "de": "ich sie das ist du nicht die es und der was wir zu ein er in mir mit ja wie den auf mich so hier "
        "eine wenn an von im no hat sind haben aber sich war noch nur nach",
        "en": "the to a and of is it in you that i we for this on be have not are do what me so but my with no he "
        "as at all your was they go will can just like know get",
        "fr": "de que ne pas a la le et en un une je les est pour vous tu ce il dans des du qui nous on ça se me te "
        "si mais es y mi bien au avec ma mon moi plus tout suis sont elle",
        "it": "di che non a la il è e un per una in sono mi ho ha lo ma ti si cosa con le ci questo qui bene del "
        "della gli anche io tu se no al più come ora hai tutto era",
        "pt": "de que não a o é e um do da em uma os no na eu se com por para mais me está as mas isso você foi ao "
        "muito bem sim ele te já como aqui agora hoje vamos há tem",
    }.items()
}
_WORD = re.compile(r"[^\W\d_]+")
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
    if not is_spanish(texts):
        return list(texts)
    return ["".join(map(_with_opening_mark, _sentences(text))) for text in texts]


def is_spanish(texts: Sequence[str]) -> bool:
    """Return whether texts are Spanish: they contain ``¿`` or ``ñ``, or more of its frequent words than of others."""
    if any(letter in text for text in texts for letter in "¿ñÑ"):
        return True
    words = [word for text in texts for word in _WORD.findall(text.casefold())]
    counts = {language: sum(word in known for word in words) for language, known in _FREQUENT_WORDS.items()}
    spanish = counts.pop("es")
    return spanish > max(counts.values())


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
