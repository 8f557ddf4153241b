"""One folder, one moto and one rclone server for all tests of the stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.storage.s3 import S3ObjectStore
from captionacc_dagster_tests.fault_proxy import FaultProxy
from captionacc_dagster_tests.servers import S3Server, moto_server, rclone_server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_store(moto: S3Server) -> S3ObjectStore:
    return moto.store()


@pytest.fixture(scope="session")
def rclone_store(rclone: S3Server) -> S3ObjectStore:
    return rclone.store()


@pytest.fixture
def proxy(rclone: S3Server) -> Iterator[FaultProxy]:
    """A fault proxy in front of rclone."""
    with FaultProxy(rclone.port) as running:
        yield running


@pytest.fixture(params=["folder", "moto", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every store there is, one after the other."""
    if request.param == "folder":
        return LocalObjectStore(tmp_path / "objects")
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def video() -> VideoKeys:
    """A video of a tenant that no other test knows."""
    return VideoKeys(str(uuid4()), str(uuid4()))
