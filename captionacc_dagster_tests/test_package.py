"""The built package: what `pip` and a package page see of it, and the commit that `captionacc --version` names."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from itertools import product
from pathlib import Path

import pytest
import yaml
from _pytest.mark.expression import Expression

from captionacc_dagster import __version__
from captionacc_dagster.release import find_commit, version_line

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this one and a remote of its own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in _git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith(("benchmarks", "training", "captionacc_dagster_tests")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "all")
    _git(folder, "remote", "add", "origin", "https://name:secret@git.example.com/team/captions.git")
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_its_commit_its_types_and_no_tests(wheel: zipfile.ZipFile, checkout: Path) -> None:
    names = wheel.namelist()
    assert wheel.read("captionacc_dagster/COMMIT").decode().strip() == _git(checkout, "rev-parse", "HEAD")
    assert "captionacc_dagster/py.typed" in names
    assert not [name for name in names if "tests" in name]


def test_the_package_page_has_urls_and_links_that_work_there(wheel: zipfile.ZipFile, checkout: Path) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    text = wheel.read(name).decode()
    head = Parser().parsestr(text)
    urls = dict(value.split(", ", 1) for value in head.get_all("Project-URL", []))
    assert urls["Repository"] == "https://git.example.com/team/captions"
    assert "secret" not in text
    assert head["Author"]
    assert {"modal", "supabase"} <= {re.split("[<>=]", value)[0] for value in head.get_all("Requires-Dist", [])}
    targets = re.findall(r"\]\(([^)\s]+)", str(head.get_payload()))
    commit = _git(checkout, "rev-parse", "HEAD")
    assert len(targets) > 20
    for target in targets:
        assert re.match(rf"https://git\.example\.com/team/captions/(?:raw|blob)/{commit}/", target), target
        assert (ROOT / target.split(commit + "/", 1)[1].partition("#")[0]).exists(), target
    assert any("/raw/" in target and target.endswith(".png") for target in targets)


def test_a_checkout_a_worktree_and_packed_references_name_their_commit(checkout: Path, tmp_path: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    package = checkout / "captionacc_dagster"
    assert find_commit(package) == head
    _git(checkout, "pack-refs", "--all")
    assert find_commit(package) == head
    _git(checkout, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    assert find_commit(tmp_path / "other" / "captionacc_dagster") == head
    _git(checkout, "checkout", "-q", "--detach")
    assert find_commit(package) == head
    assert find_commit(tmp_path / "nowhere" / "captionacc_dagster") is None


def test_the_version_is_printed_with_the_commit() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "captionacc_dagster", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == version_line()
    assert done.stdout.startswith(f"captionacc {__version__}")


def test_ci_has_the_three_stages_of_the_test_plan_one_after_another() -> None:
    root = Path(__file__).parents[1]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    stages = {name: (job.get("needs"), job["steps"][-1]["run"]) for name, job in jobs.items() if name != "coverage"}
    assert stages == {
        "unit-tests": (None, ".ci/run unit"),
        "integration-tests": ("unit-tests", ".ci/run integration"),
        "e2e-tests": ("integration-tests", ".ci/run e2e"),
    }
    # Each default test is in exactly one of them, whatever its marks.
    chosen = re.findall(r"""make test ARGS='-m "([^"]+)"'""", (root / ".ci" / "run").read_text())
    assert len(chosen) == 3
    for unit, e2e in product((False, True), repeat=2):
        marks = {"unit": unit, "e2e": e2e, "slow": False}
        assert sum(_selects(stage, marks) for stage in chosen) == 1


def _selects(stage: str, marks: dict[str, bool]) -> bool:
    def has(name: str, /, **_: object) -> bool:
        return marks[name]

    return Expression.compile(stage).evaluate(has)


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    run = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text(run.replace("make setup", "true"))
    (tmp_path / ".ci" / "install-system-packages").write_text("#!/bin/sh\n")
    for script in (tmp_path / ".ci").iterdir():
        script.chmod(0o755)
    refused = subprocess.run([tmp_path / ".ci" / "run", "load"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (2, "no such stage: load (unit, integration, e2e)\n")
