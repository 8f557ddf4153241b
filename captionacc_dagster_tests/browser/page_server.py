"""The API alone under uvicorn in this process, for what people do on its pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from playwright.sync_api import Page

from captionacc_dagster.api.app import create_app
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster_tests.api.conftest import api_settings
from captionacc_dagster_tests.api.world import TEXTS, Person, World, publish_chunks
from captionacc_dagster_tests.servers import free_port
from captionacc_dagster_tests.small_clips import make_clip

CLIP_FRAMES = 150


@dataclass(frozen=True)
class PageServer:
    """The API alone over a real catalog and store, with Dagster away: for what people do on the pages."""

    url: str
    world: World
    person: Person
    clip: Path

    def sign_in(self, page: Page, person: Person | None = None) -> None:
        """Sign the browser in as a person."""
        port = urlsplit(self.url).port
        token = (person or self.person).token
        page.context.add_cookies([{"name": f"captionacc_session_{port}", "value": token, "url": self.url}])

    def video(self, texts: Sequence[str] = TEXTS, **changes: Any) -> Video:
        """Make a video of the person's with captions, its file, and its cropped frames."""
        video = self.world.processed_video(
            self.person.tenant_id, texts, **{"duration_seconds": CLIP_FRAMES / 25, **changes}
        )
        self.world.publish_film(video, self.clip)
        publish_chunks(self.world, video, 60)
        return video


@contextmanager
def running_page_server(postgres: EmbeddedPostgres, folder: Path) -> Iterator[PageServer]:
    """Serve the pages over a database of their own; objects and a clip are in ``folder``."""
    postgres.ensure_database("page_tests", template="captionacc")
    settings = api_settings(folder, postgres.url("page_tests"))
    captions = [(25 * number, 25 * number + 20, text) for number, text in enumerate(TEXTS, start=1)]
    clip = make_clip(folder / "clip.mp4", captions, frames=CLIP_FRAMES, sound=True)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with PostgresCatalog(settings.database_url.get_secret_value()) as catalog:  # pyright: ignore
            world = World(settings, catalog, settings.database_url.get_secret_value())  # pyright: ignore
            while not server.started:
                time.sleep(0.02)
            yield PageServer(f"http://127.0.0.1:{port}", world, world.person(world.tenant()), clip)
    finally:
        server.should_exit = True
        thread.join()
