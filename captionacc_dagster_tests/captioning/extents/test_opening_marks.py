"""The inverted exclamation mark, which the recognizer's alphabet lacks, comes back in Spanish texts only."""

from __future__ import annotations

import pytest

from captionacc_dagster.captioning.extents.opening_marks import restore_opening_marks

pytestmark = pytest.mark.unit

SPANISH = "No sé qué hacer, pero ya está."


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        ("Vamos!", "¡Vamos!"),
        ("No! Eso no!", "¡No! ¡Eso no!"),
        ("Ya voy. Espera!!", "Ya voy. ¡Espera!!"),
        ("Pero... no!", "¡Pero... no!"),
        ("¿Qué? Nada!", "¿Qué? ¡Nada!"),
        ("- Corre!\n- Ya voy!", "- ¡Corre!\n- ¡Ya voy!"),
        ("Que me\ncaigo!", "¡Que me\ncaigo!"),
        ("«Vamos!»", "«¡Vamos!»"),
    ],
)
def test_an_exclamation_without_its_opening_mark_gets_it_where_its_sentence_starts(read: str, shown: str):
    assert restore_opening_marks([SPANISH, read]) == [SPANISH, shown]


@pytest.mark.parametrize("misread", ["i", "I", "l", "j", "1", "!", "i "])
def test_a_mark_that_was_read_as_another_character_takes_its_place(misread: str):
    assert restore_opening_marks([SPANISH, f"{misread}Vamos, Ramona!"])[1] == "¡Vamos, Ramona!"
    assert restore_opening_marks([SPANISH, f"Ven. {misread}Corre!"])[1] == "Ven. ¡Corre!"


@pytest.mark.parametrize(
    "text", ["¡Vamos!", "¿Qué dices!", "ahora mismo!", "Hola. Adiós", "Ilusiones.", "«Fuera!» dijo.", "...", ""]
)
def test_texts_without_a_missing_mark_stay_as_they_are(text: str):
    assert restore_opening_marks([SPANISH, text]) == [SPANISH, text]


@pytest.mark.parametrize(
    "text",
    [
        "Não sei o que fazer, mas está tudo bem!",
        "No sé què fer, però això està bé!",
        "Che cosa fai qui? Non lo so!",
        "Je ne sais pas quoi faire!",
        "Was machst du denn hier!",
        "No, the cat sat on the mat!",
        "Bravo!",
        "快走!",
    ],
)
def test_other_languages_get_no_mark(text: str):
    assert restore_opening_marks([text]) == [text]
