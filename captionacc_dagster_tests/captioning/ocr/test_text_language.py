"""The language of Latin captions is identified from all of them together, or not at all."""

from __future__ import annotations

import pytest

from captionacc_dagster.captioning.ocr.text_language import identify_language

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["Ted už je to tady.", "Kde jsi byl celou dobu?"], "cs"),
        (["TERAZ TO UŽ VIEŠ, VŠAK?", "KDE JE MÔJ PRIATEL?"], "sk"),
        (["Kapıyı açar mısın lütfen?"], "tr"),
        (["Ég veit það ekki alveg."], "is"),
        (["Nu știu ce să fac acum."], "ro"),
        (["Wszystko będzie dobrze."], "pl"),
        (["Das weiß ich doch nicht."], "de"),
        (["No sé qué hacer, pero ya está.", "Vamos!"], "es"),
        (["Mañana será otro día"], "es"),
        (["No hay nadie en la calle.", "Vamos!"], "es"),
        (["Welcome to the café,", "where they all know your name."], "en"),
    ],
)
def test_a_language_is_identified(texts: list[str], language: str):
    assert identify_language(texts) == language


@pytest.mark.parametrize("texts", [[], ["OK"], ["Stop!"], ["Zoë"], ["Beyoncé live"], ["快走!"]])
def test_too_little_text_is_of_no_language(texts: list[str]):
    assert identify_language(texts) is None
