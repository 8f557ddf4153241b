"""The same command on Supabase and S3, configured through the environment alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.servers import rclone_server
from captionacc_dagster_tests.small_clips import CAPTIONS, make_clip
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = pytest.mark.e2e


def captions(path: Path) -> list[dict[str, object]]:
    return json.loads(path.read_text(encoding="utf-8"))["captions"]


def test_supabase_and_s3_give_what_the_embedded_system_gives(
    run: Run, run_process: Run, supabase_lite: SupabaseLite, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "hosted.mp4", seed=7)
    embedded = run("process", clip, "-o", tmp_path / "embedded", "-f", "json")
    assert embedded.returncode == 0, embedded.stderr
    with rclone_server(tmp_path / "s3") as server:
        hosted = {
            **server.environment(),
            "SUPABASE_URL": supabase_lite.url,
            "SUPABASE_SERVICE_ROLE_KEY": supabase_lite.service_key,
        }
        result = run_process("process", clip, "-o", tmp_path / "hosted", "-f", "json", **hosted)
        assert result.returncode == 0, result.stderr
        keys = server.store().list_files("00000000-0000-4000-8000-000000000001/")
    assert captions(tmp_path / "hosted" / "hosted.json") == captions(tmp_path / "embedded" / "hosted.json")
    assert len(captions(tmp_path / "hosted" / "hosted.json")) == len(CAPTIONS)
    with supabase_lite.catalog() as catalog:
        (video,) = catalog.list_videos(filename="hosted.mp4").items
        assert (video.status, video.caption_count) == ("active", len(CAPTIONS))
        assert catalog.list_locks(video.id) == []
        assert not catalog.list_processing_requests(video_id=video.id, states=["pending", "launched"]).items
    assert {key.split("/")[1] for key in keys} == {"client", "server"}
    assert all(f"/videos/{video.id}/" in key for key in keys)
    for name in ("video.mp4", "raw-ocr.db.gz", "layout.db.gz", "captions.db.gz", "subtitles/captions.srt"):
        assert any(key.endswith(name) for key in keys), name
