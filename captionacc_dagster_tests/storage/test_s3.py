"""The S3 store against servers and networks that fail: errors are told apart, passing ones are waited out."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import boto3.exceptions
import botocore.exceptions
import pytest
from dagster import EnvVar, build_resources
from dagster_aws.s3 import S3Resource
from s3transfer.exceptions import RetriesExceededError

from captionacc_dagster.s3_resource import BucketResource
from captionacc_dagster.storage import s3
from captionacc_dagster.storage.errors import (
    AccessDenied,
    BucketNotFound,
    ChecksumMismatch,
    DeleteFailed,
    SlowDown,
    StorageError,
    StorageFull,
    StorageUnavailable,
    TruncatedBody,
)
from captionacc_dagster.storage.keys import VideoKeys, temporary_prefix, tenant_prefix
from captionacc_dagster.storage.s3 import MULTIPART_THRESHOLD_BYTES, S3ObjectStore
from captionacc_dagster.storage.s3_errors import from_response, storage_errors
from captionacc_dagster_tests.fault_proxy import Fault, FaultProxy, s3_error
from captionacc_dagster_tests.servers import S3Server, free_port

pytestmark = pytest.mark.integration

BODY = bytes(range(256)) * 2000


@pytest.fixture
def direct(rclone_store: S3ObjectStore) -> S3ObjectStore:
    """The store without the proxy between."""
    return rclone_store


@pytest.fixture
def patient(rclone: S3Server, proxy: FaultProxy) -> S3ObjectStore:
    """A store that waits for the server behind the proxy."""
    return rclone.at(proxy.url).store(max_attempts=1)


@pytest.fixture
def impatient(rclone: S3Server, proxy: FaultProxy) -> S3ObjectStore:
    """A store that says at once what went wrong."""
    return rclone.at(proxy.url).store(max_attempts=1, retry_for=timedelta(0))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that travels in parts."""
    path = tmp_path / "large.mp4"
    with path.open("wb") as stream:
        for number in range(MULTIPART_THRESHOLD_BYTES // len(BODY) + 10):
            stream.write(number.to_bytes(8, "big") + BODY[8:])
    return path


@pytest.mark.security
@pytest.mark.parametrize("wrong", ["secret_key", "access_key"])
def test_wrong_credentials_are_said_and_never_shown(
    rclone: S3Server, video: VideoKeys, tmp_path: Path, wrong: str
) -> None:
    server = replace(rclone, **{wrong: "not-the-right-one"})
    store = server.store()
    calls: list[Callable[[], object]] = [
        store.check,
        lambda: store.upload_file(video.video, b"x"),
        lambda: store.publish(video.video, b"x"),
        lambda: store.download_to_bytes(video.video),
        lambda: store.download_file(video.video, tmp_path / "x"),
        lambda: store.file_exists(video.video),
        lambda: store.list_files(video.client_prefix),
        lambda: store.delete_file(video.video),
        lambda: store.delete_prefix(video.client_prefix),
        lambda: store.sweep_temporary(timedelta(0)),
    ]
    began = time.monotonic()
    for call in calls:
        with pytest.raises(AccessDenied) as caught:
            call()
        assert not caught.value.retryable
        assert server.secret_key not in f"{caught.value!r} {store!r} {server!r}"
    # Nothing was waited for: the store's patience for one call alone is 30 s.
    assert time.monotonic() - began < 30
    assert not (tmp_path / "x").exists()


def test_missing_credentials_are_access_denied(
    rclone: S3Server, video: VideoKeys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = rclone.store(access_key=None, secret_key=None)
    with pytest.raises(AccessDenied, match="credentials"):
        store.upload_file(video.video, b"x")


def test_a_missing_bucket_is_said(rclone: S3Server, video: VideoKeys) -> None:
    store = replace(rclone, bucket="nobodys-bucket").store()
    with pytest.raises(BucketNotFound, match="nobodys-bucket"):
        store.check()
    with pytest.raises(BucketNotFound):
        store.upload_file(video.video, b"x")


def test_a_server_that_is_not_there_is_unavailable(rclone: S3Server, video: VideoKeys) -> None:
    store = rclone.at(f"http://127.0.0.1:{free_port()}").store(retry_for=timedelta(0))
    for call in (
        store.check,
        lambda: store.download_to_bytes(video.video),
        lambda: store.upload_file(video.video, b"x"),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert caught.value.retryable


@pytest.mark.recovery
@pytest.mark.parametrize(
    "fault", [Fault(reset=True), s3_error(503, "SlowDown"), s3_error(503, "ServiceUnavailable"), Fault(status=500)]
)
def test_a_server_that_is_away_for_a_while_is_waited_for(
    patient: S3ObjectStore, proxy: FaultProxy, video: VideoKeys, tmp_path: Path, fault: Fault
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: patient.upload_file(video.video, BODY),
        lambda: patient.publish(video.captions_db, BODY),
        lambda: patient.download_to_bytes(video.video) == BODY or pytest.fail("other bytes"),
        lambda: patient.download_file(video.video, tmp_path / "x"),
        lambda: patient.copy(video.video, video.subtitles("json")),
        lambda: patient.list_files(video.client_prefix),
        lambda: patient.sha256(video.video),
        lambda: patient.delete_file(video.subtitles("json")),
        lambda: patient.delete_prefix(video.client_prefix),
    ]
    for call in calls:
        proxy.inject(fault)
        call()
    assert proxy.injected == len(calls)
    assert patient.list_files(tenant_prefix(video.tenant_id)) == []


@pytest.mark.recovery
def test_an_outage_in_the_middle_of_a_set_loses_nothing(
    patient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    outage = threading.Event()

    def begin_outage(_: object) -> None:
        if not outage.is_set():
            outage.set()
            proxy.inject(s3_error(503, "SlowDown"), times=None)
            threading.Timer(1.0, proxy.clear).start()

    keys = [video.full_frame(index) for index in range(120)]
    published = patient.publish_prefix(video.full_frames_prefix, ((key, BODY) for key in keys), progress=begin_outage)
    assert [item.key for item in published] == keys
    assert direct.list_files(video.full_frames_prefix) == keys
    assert {info.size for info in direct.iterate(video.full_frames_prefix)} == {len(BODY)}
    assert proxy.injected > 0


def test_what_does_not_pass_is_told_apart(
    impatient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys, tmp_path: Path
) -> None:
    direct.upload_file(video.video, BODY)
    target = tmp_path / "video.mp4"
    for fault, expected in (
        (s3_error(503, "SlowDown"), SlowDown),
        (s3_error(429, "TooManyRequests"), SlowDown),
        (s3_error(500, "InternalError"), StorageUnavailable),
        (s3_error(403, "AccessDenied"), AccessDenied),
        (s3_error(403, "SignatureDoesNotMatch"), AccessDenied),
        (Fault(reset=True), StorageUnavailable),
        (Fault(cut_response=1000), TruncatedBody),
        (Fault(corrupt_response=1000), ChecksumMismatch),
    ):
        for call in (
            lambda: impatient.download_to_bytes(video.video),
            lambda: impatient.download_file(video.video, target),
        ):
            proxy.inject(fault, times=None, method="GET")
            with pytest.raises(expected) as caught:
                call()
            assert type(caught.value) is expected, fault
            assert list(tmp_path.iterdir()) == []
            proxy.clear()


@pytest.mark.recovery
@pytest.mark.parametrize("fault", [Fault(cut_response=100_000), Fault(corrupt_response=400_000)])
def test_a_broken_download_is_taken_again(
    patient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys, tmp_path: Path, fault: Fault
) -> None:
    direct.upload_file(video.video, BODY)
    moved: list[int] = []
    proxy.inject(fault, times=2, method="GET")
    patient.download_file(video.video, tmp_path / "video.mp4", progress=moved.append)
    assert (tmp_path / "video.mp4").read_bytes() == BODY
    assert sum(moved) == len(BODY)
    proxy.inject(fault, times=2, method="GET")
    assert patient.download_to_bytes(video.video) == BODY
    assert proxy.injected == 4


@pytest.mark.recovery
def test_a_download_that_is_never_whole_gives_up_and_leaves_nothing(
    patient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys, tmp_path: Path
) -> None:
    direct.upload_file(video.video, BODY)
    with proxy.away(Fault(cut_response=100_000)), pytest.raises(TruncatedBody):
        patient.download_file(video.video, tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.recovery
def test_an_upload_that_breaks_in_the_middle_leaves_the_old_object_and_then_succeeds(
    patient: S3ObjectStore, impatient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    direct.upload_file(video.captions_db, b"old")
    proxy.inject(Fault(cut_request=100_000), times=None, method="PUT")
    for upload in (impatient.upload_file, impatient.publish):
        with pytest.raises(StorageUnavailable):
            upload(video.captions_db, BODY)
        assert direct.download_to_bytes(video.captions_db) == b"old"
    proxy.clear()
    proxy.inject(Fault(cut_request=100_000), times=2, method="PUT")
    patient.upload_file(video.captions_db, BODY)
    assert direct.download_to_bytes(video.captions_db) == BODY
    assert direct.list_files(temporary_prefix(video.tenant_id)) == []


@pytest.mark.recovery
def test_a_publish_that_breaks_before_its_copy_leaves_the_old_object(
    impatient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    direct.upload_file(video.layout_db, b"old")
    proxy.inject(s3_error(503, "SlowDown"), times=None, method="PUT", containing="layout.db.gz")
    with pytest.raises(SlowDown):
        impatient.publish(video.layout_db, b"new")
    assert direct.download_to_bytes(video.layout_db) == b"old"
    assert direct.list_files(temporary_prefix(video.tenant_id)) == []
    # The clean-up fails as well: the temporary object stays, and is swept.
    proxy.inject(Fault(reset=True), times=None, method="DELETE")
    with pytest.raises(SlowDown):
        impatient.publish(video.layout_db, b"new")
    assert len(direct.list_files(temporary_prefix(video.tenant_id))) == 1
    assert direct.sweep_temporary(timedelta(seconds=-5)) >= 1
    assert direct.list_files(temporary_prefix(video.tenant_id)) == []


@pytest.mark.recovery
def test_a_large_object_survives_broken_parts(
    patient: S3ObjectStore,
    impatient: S3ObjectStore,
    direct: S3ObjectStore,
    proxy: FaultProxy,
    video: VideoKeys,
    large: Path,
    tmp_path: Path,
) -> None:
    expected = hashlib.sha256(large.read_bytes()).hexdigest()
    direct.upload_file(video.video, b"old")
    with proxy.away(Fault(cut_request=1 << 20)), pytest.raises(StorageUnavailable):
        impatient.publish(video.video, large)
    assert direct.download_to_bytes(video.video) == b"old"
    before = proxy.injected
    proxy.inject(Fault(reset=True), times=1, method="PUT", containing="partNumber=2")
    proxy.inject(Fault(cut_request=1 << 20), times=1, method="PUT", containing="partNumber=3")
    moved: list[int] = []
    assert patient.publish(video.video, large, progress=moved.append).sha256 == expected
    assert direct.sha256(video.video) == expected
    assert direct.list_files(tenant_prefix(video.tenant_id)) == [video.video]
    assert sum(moved) == large.stat().st_size
    assert {request.method for request in proxy.requests} >= {"POST", "PUT"}
    proxy.inject(Fault(cut_response=1 << 20), times=2, method="GET")
    received: list[int] = []
    patient.download_file(video.video, tmp_path / "back.mp4", sha256=expected, progress=received.append)
    assert sum(received) == large.stat().st_size
    assert proxy.injected - before == 4


@pytest.mark.recovery
def test_parts_that_were_never_joined_are_swept(moto: S3Server, video: VideoKeys) -> None:
    client = moto.client()
    store = moto.store()
    begun = client.create_multipart_upload(Bucket=moto.bucket, Key=video.video)
    client.upload_part(
        Bucket=moto.bucket, Key=video.video, UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * (5 << 20)
    )
    assert not store.file_exists(video.video)
    store.sweep_temporary(timedelta(days=20_000))
    assert len(client.list_multipart_uploads(Bucket=moto.bucket)["Uploads"]) == 1
    assert store.sweep_temporary(timedelta(seconds=-5)) >= 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket=moto.bucket)


def test_a_slow_answer_is_an_unavailable_server(
    rclone: S3Server, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    direct.upload_file(video.video, BODY)
    hasty = rclone.at(proxy.url).store(max_attempts=1, read_timeout_s=0.3, retry_for=timedelta(0))
    proxy.inject(Fault(delay_s=2.0), times=1)
    with pytest.raises(StorageUnavailable, match=r"[Tt]imeout"):
        hasty.download_to_bytes(video.video)
    assert hasty.download_to_bytes(video.video) == BODY


def test_deleting_goes_in_batches_that_old_servers_understand(
    patient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    direct.upload_many((video.full_frame(index), b"") for index in range(1001))
    assert patient.delete_prefix(video.full_frames_prefix) == 1001
    batches = [request for request in proxy.requests if request.method == "POST"]
    assert len(batches) == 2
    assert all(request.headers["content-md5"] for request in batches)


def deletion_answer(*failures: tuple[str, str]) -> Fault:
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>" for key, code in failures
    )
    return Fault(status=200, body=f"<?xml version='1.0'?><DeleteResult>{errors}</DeleteResult>".encode())


def test_what_could_not_be_deleted_is_named_and_what_may_pass_is_asked_again(
    patient: S3ObjectStore, direct: S3ObjectStore, proxy: FaultProxy, video: VideoKeys
) -> None:
    keys = [video.full_frame(index) for index in range(3)]
    direct.upload_many((key, b"") for key in keys)
    proxy.inject(deletion_answer((keys[0], "AccessDenied"), (keys[1], "SlowDown")), method="POST")
    with pytest.raises(DeleteFailed) as caught:
        patient.delete_prefix(video.full_frames_prefix)
    assert caught.value.deleted == 2
    assert [key for key, _ in caught.value.failures] == [keys[0]]
    assert "AccessDenied" in caught.value.failures[0][1]
    # The second request, which went through, was for the one that the server had been too busy for.
    assert not direct.file_exists(keys[1])
    proxy.inject(deletion_answer((keys[0], "InternalError")), times=None, method="POST")
    with pytest.raises(DeleteFailed) as caught:
        patient.delete_prefix(video.full_frames_prefix)
    assert keys[0] in str(caught.value)


def test_a_consoles_folders_are_passed_over_and_deleted(moto: S3Server, video: VideoKeys) -> None:
    client = moto.client()
    for name in (video.full_frames_prefix, f"{video.full_frames_prefix}Odd Name.jpg", video.full_frame(0)):
        client.put_object(Bucket=moto.bucket, Key=name, Body=b"")
    store = moto.store()
    assert store.list_files(video.full_frames_prefix) == [video.full_frame(0)]
    assert store.delete_prefix(video.full_frames_prefix) == 3
    assert "Contents" not in client.list_objects_v2(Bucket=moto.bucket, Prefix=video.full_frames_prefix)


def test_an_object_of_another_program_is_read_without_a_hash(moto: S3Server, video: VideoKeys, tmp_path: Path) -> None:
    client = moto.client()
    client.put_object(Bucket=moto.bucket, Key=video.video, Body=BODY)
    store = moto.store()
    assert store.download_to_bytes(video.video) == BODY
    assert store.download_file(video.video, tmp_path / "v").read_bytes() == BODY
    with pytest.raises(ChecksumMismatch):
        store.download_file(video.video, tmp_path / "w", sha256="0" * 64)


def test_an_object_tells_its_type_and_hash(moto: S3Server, video: VideoKeys) -> None:
    store = moto.store()
    store.upload_file(video.subtitles("vtt"), b"WEBVTT")
    store.publish(video.captions_db, b"captions")
    store.copy(video.captions_db, video.layout_db)
    store.upload_file(video.video, b"mkv", content_type="video/x-matroska")
    client = moto.client()
    heads = {
        key: client.head_object(Bucket=moto.bucket, Key=key)
        for key in (video.subtitles("vtt"), video.captions_db, video.layout_db, video.video)
    }
    assert [head["ContentType"] for head in heads.values()] == [
        "text/vtt; charset=utf-8",
        "application/gzip",
        "application/gzip",
        "video/x-matroska",
    ]
    assert heads[video.layout_db]["Metadata"] == {"sha256": hashlib.sha256(b"captions").hexdigest()}


def test_a_copy_too_large_for_one_request_goes_in_parts(
    moto: S3Server, video: VideoKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 5 GiB is S3's limit for one CopyObject; only the limits are made small here.
    monkeypatch.setattr(s3, "_SINGLE_COPY_BYTES", 6 << 20)
    monkeypatch.setattr(s3, "MULTIPART_THRESHOLD_BYTES", 6 << 20)
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    store = moto.store()
    store.upload_file(video.video, b"x" * (11 << 20), content_type="video/x-matroska")
    store.copy(video.video, video.captions_db)
    head = moto.client().head_object(Bucket=moto.bucket, Key=video.captions_db)
    assert head["ETag"].endswith('-3"')
    assert head["ContentType"] == "video/x-matroska"
    assert head["Metadata"]["sha256"] == store.sha256(video.captions_db)
    store.delete_prefix(video.client_prefix)


def s3_resource(server: S3Server, secret_key: str) -> S3Resource:
    return S3Resource(
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret_key,
        max_attempts=2,
    )


@pytest.mark.parametrize("kind", ["moto", "rclone"])
def test_the_store_is_built_from_dagsters_own_resource(
    kind: str, request: pytest.FixtureRequest, video: VideoKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    # Keys in the environment, as Dagster's UI shows them, and no setting of ours.
    monkeypatch.setenv("A_SECRET_OF_S3", server.secret_key)
    resource = s3_resource(server, EnvVar("A_SECRET_OF_S3"))
    with build_resources({"store": BucketResource(s3=resource, bucket=server.bucket)}) as built:
        built.store.upload_many((video.full_frame(index), BODY) for index in range(3))
        assert server.store().download_to_bytes(video.full_frame(1)) == BODY
        assert built.store.delete_prefix(video.full_frames_prefix) == 3


def test_a_wrong_key_in_the_resource_is_said_and_not_shown(rclone: S3Server, video: VideoKeys) -> None:
    resource = s3_resource(rclone, "not-the-secret")
    with (
        build_resources({"store": BucketResource(s3=resource, bucket=rclone.bucket)}) as built,
        pytest.raises(AccessDenied) as refused,
    ):
        built.store.upload_file(video.full_frame(0), BODY)
    assert "not-the-secret" not in str(refused.value) + repr(built.store)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("QuotaExceeded", 403, StorageFull),
        ("BadDigest", 400, ChecksumMismatch),
        ("IncompleteBody", 400, TruncatedBody),
        ("NoSuchUpload", 404, StorageUnavailable),
        ("NeverHeardOf", 502, StorageUnavailable),
        ("NotImplemented", 501, StorageError),
        ("NeverHeardOf", 400, StorageError),
    ],
)
def test_a_servers_code_has_its_type(code: str, status: int, expected: type[StorageError]) -> None:
    error = from_response(code, "why", status, "the/key", "the/key")
    assert type(error) is expected
    assert str(error) == f"the/key: {code} (why)"


@pytest.mark.unit
def test_what_boto_raises_has_its_type() -> None:
    expected = [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), StorageUnavailable),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="x"), StorageUnavailable),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="x"), StorageUnavailable),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), StorageUnavailable),
        (botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), TruncatedBody),
        (botocore.exceptions.ResponseStreamingError(error="x"), TruncatedBody),
        (botocore.exceptions.FlexibleChecksumError(error_msg="x"), ChecksumMismatch),
        (botocore.exceptions.NoCredentialsError(), AccessDenied),
        (botocore.exceptions.SSLError(endpoint_url="x", error="certificate"), StorageError),
        (botocore.exceptions.ParamValidationError(report="x"), StorageError),
        (boto3.exceptions.S3UploadFailedError("x"), StorageError),
        (RetriesExceededError(ConnectionResetError("x")), StorageUnavailable),
        (RetriesExceededError(botocore.exceptions.ResponseStreamingError(error="x")), TruncatedBody),
    ]
    for error, kind in expected:
        with pytest.raises(StorageError) as caught, storage_errors("the/key", "the/key"):
            raise error
        assert type(caught.value) is kind, error
        assert caught.value.__cause__ is error
        assert str(caught.value).startswith("the/key: ")


@pytest.mark.unit
def test_making_a_store_loads_no_boto() -> None:
    script = (
        "import sys; from captionacc_dagster.storage.s3 import S3ObjectStore; "
        "from captionacc_dagster.storage.s3_client import create_s3_client; "
        "S3ObjectStore('bucket', create_s3_client); "
        "print([name for name in ('boto3', 'botocore', 's3transfer') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_tenants_sweep_takes_nothing_else(rclone: S3Server, direct: S3ObjectStore, video: VideoKeys) -> None:
    # A folder in the bucket that is no tenant's, and a tenant with nothing temporary.
    client = rclone.client()
    client.put_object(Bucket=rclone.bucket, Key=f"logs/server/tmp/{uuid4()}", Body=b"stays")
    direct.upload_file(video.ocr_db, b"stays")
    direct.sweep_temporary(timedelta(seconds=-5))
    assert direct.file_exists(video.ocr_db)
    assert client.list_objects_v2(Bucket=rclone.bucket, Prefix="logs/")["KeyCount"] == 1
