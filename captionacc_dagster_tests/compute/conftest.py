"""Modal on loopback, a bucket both sides share, and a ledger in real Postgres."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, ComputeCall
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.envelope import CallReply, Worker
from captionacc_dagster.compute.modal_backend import ModalCompute
from captionacc_dagster.compute.modal_calls import WaitLimits
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.compute.modal_server import ModalServer
from captionacc_dagster_tests.conftest import TEMPLATE
from captionacc_dagster_tests.servers import S3Server, rclone_server

# Short enough for tests; what they mean is the same.
QUICK = WaitLimits(
    poll_s=0.3,
    look_s=0.1,
    report_s=0.5,
    queue_s=30,
    run_s=60,
    unreachable_s=20,
    throttled_s=0.2,
    cancel_s=5,
    intent_s=0.5,
    lost_s=0.3,
)


def limits(**changes: Any) -> WaitLimits:
    """``QUICK`` with changes."""
    return replace(QUICK, **changes)


MakeBackend = Callable[..., ModalCompute]


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server with a bucket that tests and containers both reach."""
    with rclone_server(tmp_path_factory.mktemp("modal-bucket")) as server:
        yield server


@pytest.fixture(scope="session")
def ledger_url(postgres_server: EmbeddedPostgres) -> str:
    """One database for all tests of this folder; each looks only at the calls for its own video."""
    postgres_server.ensure_database("compute_tests", template=TEMPLATE)
    return postgres_server.url("compute_tests")


@pytest.fixture(scope="session")
def ledger(ledger_url: str) -> Iterator[PostgresCatalog]:
    """The ledger: a catalog in real Postgres."""
    with PostgresCatalog(ledger_url) as catalog:
        yield catalog


@pytest.fixture
def store(bucket: S3Server) -> ObjectStore:
    return bucket.store()


@pytest.fixture
def modal_server(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModalServer]:
    """Modal on loopback; the client of this process talks to it and to nobody else."""
    from modal.client import Client, _Client

    with ModalServer(bucket.environment()) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        _Client._client_from_env = None  # the last test's server is gone
        yield server
        if _Client._client_from_env is not None:
            Client.from_env().close()
            _Client._client_from_env = None


@dataclass(frozen=True)
class StoredVideo:
    """A video that is in the bucket and in the catalog."""

    keys: VideoKeys
    content: bytes

    @property
    def where(self) -> tuple[str, str, str]:
        """The first three arguments of every compute function."""
        return (self.keys.video, self.keys.tenant_id, self.keys.video_id)


def rows_of(ledger: PostgresCatalog, video: StoredVideo) -> list[ComputeCall]:
    """The ledger's rows for one video, oldest first."""
    return list(ledger.list_compute_calls(video_id=video.keys.video_id).items)


AddVideo = Callable[..., StoredVideo]


@pytest.fixture
def add_video(store: ObjectStore, ledger: PostgresCatalog) -> AddVideo:
    """Puts a video into the bucket and the catalog; by default a few bytes, for calls that do not decode them."""

    def add(
        content: bytes | Path = b"not decoded by these tests", *, tenant_id: str = str(LOCAL_TENANT_ID)
    ) -> StoredVideo:
        keys = VideoKeys(tenant_id, str(uuid4()))
        data = content.read_bytes() if isinstance(content, Path) else content
        store.upload_file(keys.video, data)
        ledger.create_video(keys.tenant_id, "clip.mp4", video_id=keys.video_id)
        return StoredVideo(keys, data)

    return add


@pytest.fixture
def video(add_video: AddVideo) -> StoredVideo:
    return add_video()


@pytest.fixture
def make_backend(store: ObjectStore, ledger: PostgresCatalog, modal_server: ModalServer) -> MakeBackend:
    """Makes backends as runs would: each with a run id of its own unless one is given."""

    def make(**options: Any) -> ModalCompute:
        options = {"run_id": str(uuid4()), "limits": QUICK, "video_seconds": lambda video_id: 20.0, **options}
        return ModalCompute(store, ledger, **options)

    return make


@pytest.fixture
def backend(make_backend: MakeBackend) -> ModalCompute:
    return make_backend()


def extract_result(message: Mapping[str, Any]) -> dict[str, Any]:
    """A result of ``extract_frames_and_ocr`` for the request it answers."""
    keys = VideoKeys(message["tenant_id"], message["video_id"])
    return {
        "frame_count": 2,
        "duration": 20.0,
        "frame_width": 320,
        "frame_height": 240,
        "frame_rate": 25.0,
        "video_codec": "h264",
        "bitrate": 100_000,
        "ocr_box_count": 3,
        "failed_ocr_count": 0,
        "processing_duration_seconds": 1.5,
        "full_frames_key": keys.full_frames_prefix,
        "ocr_db_key": keys.ocr_db,
        "layout_db_key": keys.layout_db,
    }


def reply_with(result: Callable[[Mapping[str, Any]], Any], **worker: Any) -> Callable[[Mapping[str, Any]], Any]:
    """What a worker answers whose function gives ``result``."""

    def reply(message: Mapping[str, Any]) -> dict[str, Any]:
        facts = {"code_version": code_version(), "device": "NVIDIA L4", "started_at": 1.0, "seconds": 12.0, **worker}
        return CallReply(call_key=message["call_key"], worker=Worker(**facts), result=result(message)).to_wire()

    return reply


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="captionacc_dagster.compute")
    return caplog
