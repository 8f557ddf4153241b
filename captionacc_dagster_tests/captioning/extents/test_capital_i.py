"""The small l that looks like a capital I is read as one where it can be nothing else."""

from __future__ import annotations

import pytest

from captionacc_dagster.captioning.extents.capital_i import restore_capital_i

pytestmark = pytest.mark.unit

ENGLISH = "This is what they say about the weather."
SPANISH = "No sé qué hacer, pero ya está."


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        ("an APl for the Ul", "an API for the UI"),
        ("WlLL YOU? lT lS", "WILL YOU? IT IS"),
        ("loT and lBM", "IoT and IBM"),
        ("ÉTAlT", "ÉTAIT"),
        ("Will all ill Illinois", "Will all ill Illinois"),
        ("Ill McDonald l'amour l 3l l中", "Ill McDonald l'amour l 3l l中"),
        ("El niño, Él, Il", "El niño, Él, Il"),
    ],
)
def test_an_l_among_capitals_is_an_i(read: str, shown: str):
    assert restore_capital_i([read]) == [shown]


def test_ai_is_told_from_al_by_the_language_and_by_the_name_after_it():
    assert restore_capital_i([ENGLISH, "Al is here. So is Al", "Al Pacino"]) == [
        ENGLISH,
        "AI is here. So is AI",
        "Al Pacino",
    ]
    assert restore_capital_i([SPANISH, "Al final"]) == [SPANISH, "Al final"]
