"""The reference pages say what the code is."""

from __future__ import annotations

import pytest

from docs.make_reference import REFERENCE, pages

pytestmark = pytest.mark.integration


def test_the_reference_is_that_of_the_code(catalog_url: str) -> None:
    for name, text in pages(catalog_url).items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, f"docs/reference/{name} is old: run `make docs`"
