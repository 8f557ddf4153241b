"""What the documents name exists: the tests of the test plan, the commands, the files they link to."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import GifImagePlugin, Image

from captionacc_dagster.cli.app import app
from docs import make_figures

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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


def test_the_figures_of_the_pages_are_those_of_the_results_files() -> None:
    pages = [page.read_text(encoding="utf-8") for page in make_figures.PAGES]
    begun, ended = (sum(page.count(mark) for page in pages) for mark in ("<!-- figure: ", "<!-- /figure -->"))
    assert begun == ended == len(make_figures.figures())
    for page in pages:
        assert make_figures.with_figures(page) == page, "run `make docs`"


def promises(page: str) -> list[list[str]]:
    """The cells of each row of a page's tables whose last column is named "test"."""
    rows: list[list[str]] = []
    is_promise = False
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            is_promise = False
        elif cells[-1] == "test":
            is_promise = True
        elif is_promise and not set(cells[-1]) <= {"-"}:
            rows.append(cells)
    return rows


@pytest.mark.parametrize(("page", "fewest"), [("security.md", 35), ("operations.md", 30), ("review.md", 27)])
def test_each_promise_names_tests_that_exist(page: str, fewest: int) -> None:
    tests = ROOT / "captionacc_dagster_tests"
    rows = promises(page)
    assert len(rows) >= fewest
    for what, *_, cell in rows:
        if cell == "–":
            continue  # what only another system can do
        named = re.findall(r"`([\w/]*(?:\.py)?(?:::test_\w+)?)`", cell)
        assert re.sub(r"`[^`]*`|\(\[modal\.md\]\(modal\.md\)\)|[, ]", "", cell) == "", f"{what}: {cell}"
        assert named, f"{what}: no test"
        file = ""
        for name in named:
            path, _, function = name.partition("::")
            file = path or file
            source = (tests / file).read_text(encoding="utf-8")
            assert re.search(rf"^ *(async )?def {function or 'test_'}", source, re.MULTILINE), f"{what}: {name}"
            assert not function or f"def {function}(" in source, f"{what}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|data:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_opens_with_twenty_seconds_of_the_real_thing() -> None:
    first = re.search(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert first
    recording = ROOT / first[1]
    assert recording.stat().st_size < 3_000_000
    with Image.open(recording) as film:
        assert isinstance(film, GifImagePlugin.GifImageFile)
        milliseconds = 0
        for number in range(film.n_frames):
            film.seek(number)
            milliseconds += film.info["duration"]
    assert 15_000 < milliseconds < 25_000


# Pages whose `sh` blocks a test types: docs/test_commands.py and api/test_documentation.py.
TYPED = {"README.md", "api.md", "how-to.md", "tutorial.md"}
_BLOCK = re.compile(r"^```(sh|bash)\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_typed_by_a_test_or_at_least_parse(page: Path) -> None:
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert page.name in TYPED or "sh" not in {kind for kind, _ in blocks}, "commands that no test types are `bash`"
    for _, script in blocks:
        parsed = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert parsed.returncode == 0, f"{page.name}: {parsed.stderr}"


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """Return every command's path with its options."""
    if not hasattr(command, "commands"):
        return {
            path: {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            | {"--help"}
        }
    return {
        key: value for name, sub in command.commands.items() for key, value in _commands(sub, (*path, name)).items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_named_in_the_pages_exist(page: Path) -> None:
    known = _commands(typer.main.get_command(app))
    for line in re.findall(
        r"(?:^|`|\$\(|/)captionacc ((?:[a-z-]+ ?)[^`\n|;)#]*)", page.read_text(encoding="utf-8"), re.M
    ):
        words = line.split()
        if words[0].startswith("-"):
            assert words[0] in ("--version", "--help"), f"{page.name}: captionacc {line}"
            continue
        path = next((key for key in known if tuple(words[: len(key)]) == key), None)
        assert path is not None or {key[0] for key in known if len(key) > 1} & {words[0]}, (
            f"{page.name}: captionacc {line}"
        )
        if path is not None:
            options = {word.split("=")[0] for word in words if word.startswith("-")}
            assert options <= known[path], f"{page.name}: captionacc {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_and_modules_named_in_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets
    for module in re.findall(r"python -m ((?:benchmarks|training|docs)[\w.]*)", text):
        assert importlib.util.find_spec(module) is not None, f"{page.name}: python -m {module}"
