"""Subtitle files, made while a person edits the captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import AssetSpec, materialize

from captionacc_dagster.assets.captions import subtitles
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.captions_database import OcrUpdate
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.orchestration.flows import videos_partitions
from captionacc_dagster_tests.assets.made_captions import caption
from captionacc_dagster_tests.recovery.conftest import FlowHarness, later

__all__ = ["later"]

pytestmark = pytest.mark.integration

Later = Callable[[float, Callable[[], object]], None]


def captions_that_say(text: str, folder: Path) -> Path:
    """A packed ``captions.db`` with one caption."""
    path = folder / f"{text}.db"
    captions_database.merge_captions(path, [caption(1.0, 2.0, "")], 10.0)
    captions_database.write_ocr_updates(path, [OcrUpdate(1, text, 0.9)])
    return databases.compress(path, path.with_suffix(".db.gz"))


def test_an_edit_that_is_under_way_is_waited_for(harness: FlowHarness, tmp_path: Path, later: Later) -> None:
    video = harness.catalog.create_video(LOCAL_TENANT_ID, "clip.mp4").video
    harness.instance.add_dynamic_partitions("videos", [str(video.id)])
    keys = harness.keys(video)
    harness.store.publish(keys.captions_db, captions_that_say("before", tmp_path))
    assert harness.catalog.acquire_server_lock(video.id, "captions", "a person's edit", 60.0)

    def finish_the_edit() -> None:
        harness.store.publish(keys.captions_db, captions_that_say("after", tmp_path))
        harness.catalog.release_server_lock(video.id, "captions", "a person's edit")

    later(1.0, finish_the_edit)
    done = materialize(
        [subtitles, AssetSpec("captions_db", partitions_def=videos_partitions)],
        partition_key=str(video.id),
        instance=harness.instance,
        resources=harness.resources,
        selection=[subtitles],
    )

    assert done.success
    assert "after" in harness.store.download_to_bytes(keys.subtitles("srt")).decode()
    assert harness.catalog.list_locks() == []
