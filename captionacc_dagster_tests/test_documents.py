"""What the documents name exists: the tests of the test plan, the commands, the files they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from captionacc_dagster.cli.app import app

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def test_every_test_named_in_the_test_plan_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "captionacc_dagster_tests").rglob("*.py"))
    known = set(re.findall(r"def (test_\w+)", sources)) | {
        path.stem for path in (ROOT / "captionacc_dagster_tests").rglob("test_*.py")
    }
    plan = (ROOT / "docs" / "test-plan.md").read_text(encoding="utf-8")
    named = {
        name
        for line in plan.splitlines()
        if line.startswith("|") and line.count("|") >= 3
        for name in re.findall(r"\btest_\w+", line.split("|", 2)[2])
    }
    assert len(named) > 100
    assert sorted(named - known) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|data:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_named_in_the_pages_exists() -> None:
    listed = CliRunner().invoke(app, ["--help"]).output
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    commands = set(re.findall(r"`captionacc ([a-z]+)", text)) | set(re.findall(r"^captionacc ([a-z]+)", text, re.M))
    assert {"process", "demo", "up", "status"} <= commands
    for command in commands:
        assert re.search(rf"\b{command}\b", listed), command
