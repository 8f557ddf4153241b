"""``captionacc up`` as a person starts it, and Debian's Chromium to look at it; both once a session."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.browser.page_server import PageServer, running_page_server
from captionacc_dagster_tests.cli.conftest import command_environment
from captionacc_dagster_tests.machine import needed
from captionacc_dagster_tests.servers import free_port

CHROMIUM = Path("/usr/bin/chromium")
_START_S = 90.0
_STOP_S = 30.0

MakePage = Callable[..., Page]


@dataclass(frozen=True)
class RunningSystem:
    """``captionacc up`` over a home of its own; layouts wait for a person."""

    home: Path
    dagster_url: str
    api_url: str
    printed: Path
    catalog: Catalog
    store: LocalObjectStore

    def upload(self, clip: Path, filename: str | None = None) -> Video:
        """Add a video with its object, as an upload does; the daemon finds it by itself."""
        claimer = "test"
        made = self.catalog.create_video(LOCAL_TENANT_ID, filename or clip.name, claimer=claimer)
        assert made.request
        self.store.upload_from_path(VideoKeys(str(LOCAL_TENANT_ID), str(made.video.id)).video, clip)
        self.catalog.release_processing_request(made.request.id, claimer)
        return made.video

    def wait_for_video(
        self, video_id: UUID, condition: Callable[[Video], bool], what: str, seconds: float = 300.0
    ) -> Video:
        """Return the video once the condition holds; fail with its state after that many seconds."""
        deadline = time.monotonic() + seconds
        while not condition(video := self.catalog.get_video_metadata(video_id)):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:.0f} s in vain: {what}; {video!r}\n{self.log()[-3000:]}")
            time.sleep(0.2)
        return video

    @property
    def link(self) -> str:
        """The link to the review page, which signs the person at the machine in."""
        found = re.search(r"Review page +(\S+)", self.log())
        assert found, self.log()
        return found[1]

    def log(self) -> str:
        """What the services printed so far."""
        return self.printed.read_text(errors="replace")


@pytest.fixture(scope="package")
def running_system() -> Iterator[RunningSystem]:
    """``captionacc up`` on free ports: Dagster's UI, its daemon and the API."""
    # Not pytest's folder: a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="ca-up-"))
    home, printed = folder / "home", folder / "up.log"
    port, api_port = free_port(), free_port()
    environment = command_environment(
        home,
        CAPTIONACC_AUTO_APPROVE_LAYOUT="never",
        # A browser asks far more often than the limit that is meant for strangers.
        CAPTIONACC_RATE_LIMIT_CLIENT="100000/minute",
        CAPTIONACC_RATE_LIMIT_TENANT="100000/minute",
        DAGSTER_DISABLE_TELEMETRY="1",
    )
    command = [sys.executable, "-m", "captionacc_dagster", "up", "--port", str(port), "--api-port", str(api_port)]
    server = EmbeddedPostgres(home, durable=False)
    try:
        with open_catalog(server) as catalog, printed.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            system = RunningSystem(
                home,
                f"http://127.0.0.1:{port}",
                f"http://127.0.0.1:{api_port}",
                printed,
                catalog,
                LocalObjectStore(Settings(_env_file=None, home=home).objects_dir),  # pyright: ignore[reportCallIssue]
            )
            try:
                _wait_until_answers(f"{system.api_url}/health", system)
                _wait_until_answers(f"{system.dagster_url}/server_info", system)
                yield system
            finally:
                _stop(process)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_answers(url: str, system: RunningSystem) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"{url} does not answer\n{system.log()[-3000:]}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="package")
def page_server(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """The API under uvicorn in this process."""
    with running_page_server(postgres_server, tmp_path_factory.mktemp("pages")) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    needed("Chromium", (str(CHROMIUM), "--version"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def make_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[MakePage]:
    """Opens pages, each with cookies of its own: ``make_page(width=390, height=844, color_scheme="dark")``.

    Where the test has a running system, they have followed the link that ``captionacc up`` prints. An error that a
    page's own scripts throw fails the test that opened it.
    """
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def make(*, width: int = 1280, height: int = 800, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        if "running_system" in request.fixturenames:
            page.goto(request.getfixturevalue("running_system").link)
            page.wait_for_url("**/review")
        return page

    expect.set_options(timeout=60_000)
    yield make
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(make_page: MakePage) -> Page:
    """A page of 1280 × 800 pixels with no cookies."""
    return make_page()
