"""Copy the cropped frames and extents that a call made for a dead run to the next run's version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from captionacc_dagster.compute.results import CropInferResult
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys


def take_over_chunks(store: ObjectStore, keys: VideoKeys, made: int, version: int) -> None:
    """Copy the chunks of version ``made`` that ``version`` lacks, within the store."""
    source, target = keys.cropped_frames_prefix(made), keys.cropped_frames_prefix(version)
    there = set(store.list_files(target))
    for key in store.list_files(source):
        copy = target + key.removeprefix(source)
        if copy not in there:
            store.copy(key, copy)


def take_over(store: ObjectStore, keys: VideoKeys, result: CropInferResult, version: int) -> CropInferResult:
    """Return the result for ``version``, after copying its outputs to that version.

    Raises:
        ObjectNotFound: its outputs no longer exist.
    """
    if result.version == version:
        return result
    take_over_chunks(store, keys, result.version, version)
    with TemporaryDirectory(prefix="captionacc-") as folder:
        path = store.download_file(keys.extents_db(result.version), Path(folder) / "extents.db")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE run_metadata SET cropped_frames_version = ?", (version,))
        store.publish(keys.extents_db(version), path)
    return result.model_copy(
        update={
            "version": version,
            "caption_frame_extents_db_key": keys.extents_db(version),
            "cropped_frames_prefix": keys.cropped_frames_prefix(version),
        }
    )
