"""The examples of docs/api.md do what they say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from captionacc_dagster_tests.api.dagster_stack import REPOSITORY, DagsterStack
from captionacc_dagster_tests.api.world import WEBHOOK_SECRET
from captionacc_dagster_tests.machine import needed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def test_every_example_works(stack: DagsterStack, stack_api: httpx.Client, tmp_path: Path) -> None:
    needed("curl", ("curl", "--version"), install="apt-get install curl")
    person = stack.world.person(stack.world.tenant())
    video = stack.world.processed_video(person.tenant_id, layout_status="annotate")
    examples = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "docs" / "api.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= 9

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(examples)],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "API": str(stack_api.base_url).rstrip("/"),
            "TOKEN": person.token,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TENANT": str(person.tenant_id),
            "VIDEO": str(video.id),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    texts = [row.shown_text for row in stack.world.captions(video) if row.caption_frame_extents_state != "gap"]
    assert texts == ["Hello", "there!", "How are you? Fine, thanks.", "(music)"]
    assert "How are you? Fine, thanks." in (tmp_path / "captions.srt").read_text()
    assert '"status":"launched"' in (tmp_path / "approval.json").read_text()
    assert "304" in done.stdout.splitlines()
    assert {run.job_name for run in stack.runs(tenant=str(person.tenant_id))} == {
        "video_initial_processing", "crop_and_infer", "caption_ocr",
    }  # fmt: skip
