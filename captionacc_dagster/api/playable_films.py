"""Small films of videos that a browser cannot play: made once, in the background, and kept with the video's objects."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from captionacc_dagster.api.native_frames import NativeFrames
from captionacc_dagster.api.views import FilmView
from captionacc_dagster.captioning.video.containers import VideoError
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import NotFound
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.compute.progress import StoredProgress, read_progress
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.base import ObjectStore

_log = logging.getLogger(__name__)

# Films of one tenant that wait in this process; more wait in the browsers, so that no tenant holds up the others.
_MOST_WAITING = 2
# Seconds for which a failure is told instead of trying again.
_FAILED_S = 60.0
# Of the thread that makes films: requests and processing come first.
_NICENESS = 10


class _Stopped(Exception):
    """The process ends."""


class PlayableFilms:
    """The films of all videos, one made at a time; thread-safe."""

    def __init__(self, store: Callable[[], ObjectStore], catalog: Callable[[], Catalog], frames: NativeFrames) -> None:
        self._store = store
        self._catalog = catalog
        self._frames = frames
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._stopping = threading.Event()
        self._waiting: dict[UUID, UUID] = {}  # video → tenant
        self._failed: dict[UUID, tuple[float, str]] = {}

    def prepare(self, video: Video) -> FilmView:
        """Return the state of a video's film; begin to make it if nobody does.

        Raises:
            ObjectNotFound, VideoError: the video's file is missing, or cannot be read.
        """
        keys, store = video_keys(video), self._store()
        if store.file_exists(keys.film):
            return FilmView(state="ready")
        # Another process of the API may be making it.
        if (made := read_progress(store, keys.film_progress)) is not None:
            return FilmView(state="preparing", share=made.share, left_s=made.left_s)
        with self._lock:
            now = time.monotonic()
            self._failed = {number: told for number, told in self._failed.items() if now - told[0] < _FAILED_S}
            if (told := self._failed.get(video.id)) is not None:
                return FilmView(state="failed", reason=told[1])
        store.stat(keys.video)
        with self._lock:
            tenants = list(self._waiting.values())
            if video.id not in self._waiting and tenants.count(video.tenant_id) < _MOST_WAITING:
                self._waiting[video.id] = video.tenant_id
                self._worker = self._worker or ThreadPoolExecutor(1, "films", _step_back)
                self._worker.submit(self._make, video)
        return FilmView(state="preparing")

    def close(self) -> None:
        """End the film that is being made, without a trace."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def _make(self, video: Video) -> None:
        try:
            self._write(video)
        except (_Stopped, NotFound):  # the process ends, or the video was deleted
            pass
        except Exception as error:  # noqa: BLE001 - it is told to whoever asks
            reason = error.reason if isinstance(error, VideoError) else "something went wrong on our side"
            _log.warning("no film of video %s: %s", video.id, error, exc_info=not isinstance(error, VideoError))
            with self._lock:
                self._failed[video.id] = (time.monotonic(), reason)
        finally:
            with self._lock:
                self._waiting.pop(video.id, None)

    def _write(self, video: Video) -> None:
        from captionacc_dagster.captioning.video.playable import write_playable_film

        keys, store = video_keys(video), self._store()
        if store.file_exists(keys.film) or read_progress(store, keys.film_progress) is not None:
            return
        facts = self._frames.grid(video).facts
        with (
            TemporaryDirectory(prefix="captionacc-api-") as folder,
            StoredProgress(self._stop_here, store, keys.film_progress) as noted,
        ):
            path = Path(folder) / "film.mp4"
            write_playable_film(facts, lambda: store.open_ranges(keys.video), path, noted)
            # A video that was deleted meanwhile leaves no film behind: this raises.
            self._catalog().get_video_metadata(video.id)
            store.publish(keys.film, path)

    def _stop_here(self, stage: str, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise _Stopped


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
