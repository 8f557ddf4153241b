"""What the steps print is kept in a bucket, configured as docs/wasabi.md says it, on real S3 servers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, job, op
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import instance_for_test

from captionacc_dagster_tests.observability.conftest import DEPLOY
from captionacc_dagster_tests.servers import S3Server, moto_server, rclone_server

pytestmark = [pytest.mark.integration, pytest.mark.observability]

PAGE = DEPLOY.parent / "docs" / "wasabi.md"


def page_config() -> dict[str, Any]:
    match = re.search(
        r"<!-- file: compute_logs.yaml -->\n```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert match
    return yaml.safe_load(match.group(1))


@op
def prints() -> None:
    print("said by a step")


@job
def printing() -> None:
    prints()


@pytest.fixture(params=[moto_server, rclone_server], ids=["moto", "rclone"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[S3Server]:
    with request.param(tmp_path) as server:
        yield server


@pytest.fixture
def instance(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    server.client().create_bucket(Bucket="captionacc-logs")
    for name, value in {
        "DAGSTER_LOGS_BUCKET": "captionacc-logs",
        "DAGSTER_LOGS_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }.items():
        assert f"{name}=" in PAGE.read_text(encoding="utf-8")
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # with the keys of an earlier server
    config = page_config()
    config["compute_logs"]["config"]["local_dir"] = str(tmp_path / "local")
    with instance_for_test(overrides=config) as instance:
        yield instance


def test_the_page_shows_what_production_uses() -> None:
    production = yaml.safe_load((DEPLOY / "production" / "dagster.yaml").read_text(encoding="utf-8"))
    assert page_config()["compute_logs"] == production["compute_logs"]


def test_what_a_step_prints_is_in_the_bucket_and_read_from_there(
    instance: DagsterInstance, server: S3Server, tmp_path: Path
) -> None:
    result = printing.execute_in_process(instance=instance)
    listed = server.client().list_objects_v2(Bucket="captionacc-logs", Prefix=f"dagster-logs/storage/{result.run_id}/")
    assert "out" in [entry["Key"].rpartition(".")[2] for entry in listed["Contents"]]
    shutil.rmtree(tmp_path / "local")  # another machine, or a new container
    [key] = instance.compute_log_manager.get_log_keys_for_log_key_prefix(
        [result.run_id, "compute_logs"], ComputeIOType.STDOUT
    )
    assert instance.compute_log_manager.get_log_data(key).stdout == b"said by a step\n"
