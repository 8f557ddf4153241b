"""A missing part of the machine, or one without the feature that is used, skips tests and is told at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from captionacc_dagster_tests import machine

pytestmark = pytest.mark.unit


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is the whole PATH: it has a docker without the compose plugin."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" = version ] || { echo "unknown command: docker $1" >&2; exit 1; }\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    machine.answers.cache_clear()
    yield tmp_path
    machine.answers.cache_clear()


COMPOSE = (("docker-compose", "version"), ("docker", "compose", "version"))


def test_a_tool_without_the_feature_that_is_used_skips(tools: Path) -> None:
    assert machine.needed("docker", ("docker", "version")) == [str(tools / "docker")]
    with pytest.raises(pytest.skip.Exception, match=r"needs docker compose: run \.ci/install-system-packages"):
        machine.needed("docker compose", *COMPOSE)


def test_the_first_tool_that_has_the_feature_is_taken(tools: Path) -> None:
    (tools / "docker").write_text("#!/bin/sh\nexit 0\n")
    assert machine.needed("docker compose", *COMPOSE) == [str(tools / "docker"), "compose"]


def test_in_ci_a_missing_part_fails(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs docker compose"):
        machine.needed("docker compose", *COMPOSE)


def test_one_line_says_what_was_left_out_and_what_installs_it() -> None:
    reasons = [
        "Skipped: needs Redis: run .ci/install-system-packages",
        "Skipped: needs docker compose: run .ci/install-system-packages",
        "Skipped: needs Redis: run .ci/install-system-packages",
        "Skipped: needs real clips with their captions: set CAPTIONACC_TEST_CLIPS, see CONTRIBUTING.md",
        "Skipped: only root can try another account",
    ]
    assert machine.left_out(reasons) == (
        "Left out: Redis, docker compose (run .ci/install-system-packages); "
        "real clips with their captions (set CAPTIONACC_TEST_CLIPS, see CONTRIBUTING.md)"
    )
    assert machine.left_out(["Skipped: only root can try another account"]) is None
