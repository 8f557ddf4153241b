"""An object store in a bucket of Wasabi, AWS, or any S3-compatible server, through boto3."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

from captionacc_dagster.storage.base import (
    CHUNK_BYTES,
    ByteProgress,
    ObjectInfo,
    ObjectStore,
    Published,
    check_content,
    check_expiry,
    check_range,
    check_same_tenant,
    content_type_of,
    digest,
)
from captionacc_dagster.storage.errors import (
    BucketNotFound,
    ChecksumMismatch,
    ObjectNotFound,
    StorageError,
    TruncatedBody,
    from_os_error,
)
from captionacc_dagster.storage.keys import (
    InvalidKey,
    check_key,
    check_prefix,
    temporary_key,
    temporary_prefix,
    tenant_of,
)
from captionacc_dagster.storage.partial import partial_file
from captionacc_dagster.storage.s3_errors import from_response, storage_errors

MULTIPART_THRESHOLD_BYTES = 64 << 20
"""Larger objects are transferred in parts, several at a time."""
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 8
# The largest object for one CopyObject, and the most keys for one DeleteObjects or one page of a listing.
_SINGLE_COPY_BYTES = 5 << 30
_KEYS_AT_ONCE = 1000

# A broken connection is retried for the whole time; bytes that are repeatedly wrong are wrong in the bucket.
_CONTENT_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0

_SHA256 = "sha256"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Source:
    """Content to send: in memory up to the multipart threshold, otherwise a file that can be opened again."""

    content: bytes | Path
    size: int
    sha256: str


class S3ObjectStore(ObjectStore):
    """Objects in one bucket.

    ``client_factory`` creates the boto3 client on first use (``s3_client.create_s3_client``). Every call retries for
    ``retry_for`` while the server is unavailable or asks to slow down. Uploads store their SHA-256 as metadata
    (``x-amz-meta-sha256``), which verifies downloads.
    """

    def __init__(
        self, bucket: str, client_factory: Callable[[], Any], *, retry_for: timedelta = timedelta(seconds=90)
    ) -> None:
        self._bucket = bucket
        self._client_factory = client_factory
        self._retry_for_s = retry_for.total_seconds()
        self._made: Any = None
        self._making = Lock()

    def __repr__(self) -> str:
        return f"S3ObjectStore({self._bucket!r})"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def check(self) -> None:
        """See ``ObjectStore.check``; does not retry."""
        what = f"bucket {self._bucket}"
        try:
            with storage_errors(what):
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectNotFound as error:
            raise BucketNotFound(f"no such {what}") from error

    def upload_file(self, key: str, data: bytes | BinaryIO, content_type: str | None = None) -> str:
        """See ``ObjectStore.upload_file``; a stream is buffered in a temporary file."""
        check_key(key)
        with _source(data) as source:
            self._put(key, source, content_type)
        return key

    def upload_from_path(
        self, key: str, local_path: str | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> str:
        """See ``ObjectStore.upload_from_path``."""
        check_key(key)
        with _source(Path(local_path)) as source:
            self._put(key, source, content_type, progress)
        return key

    def publish(
        self, key: str, source: bytes | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> Published:
        """See ``ObjectStore.publish``: upload to a temporary key, verify, then copy within the server.

        Above 64 MB the object is uploaded in parts, which become visible only when the server joins them.
        """
        tenant = tenant_of(check_key(key))
        with _source(source) as prepared:
            if isinstance(prepared.content, Path):
                self._put(key, prepared, content_type, progress)
                self._verified(key, prepared)
                return Published(key, prepared.size, prepared.sha256)
            temporary = temporary_key(tenant, uuid4())
            try:
                self._put(temporary, prepared, content_type or content_type_of(key), progress)
                head = self._verified(temporary, prepared)
                self._retrying(key, lambda: self._copy(temporary, head, key))
            finally:
                # Remains are removed later by sweep_temporary; the outcome of the block counts.
                with suppress(StorageError), storage_errors(temporary):
                    self._client.delete_object(Bucket=self._bucket, Key=temporary)
        return Published(key, prepared.size, prepared.sha256)

    def download_file(
        self, key: str, local_path: str | Path, *, sha256: str | None = None, progress: ByteProgress | None = None
    ) -> Path:
        """See ``ObjectStore.download_file``."""
        check_key(key)
        target = Path(local_path)
        self._retrying(key, lambda: self._download(key, target, sha256, progress))
        return target

    def download_to_bytes(self, key: str) -> bytes:
        """See ``ObjectStore.download_to_bytes``."""
        check_key(key)

        def read() -> bytes:
            response = self._client.get_object(Bucket=self._bucket, Key=key)
            content = b"".join(_chunks(response))
            expected = _metadata(response).get(_SHA256)
            sha256 = expected and hashlib.sha256(content).hexdigest()
            check_content(key, len(content), response["ContentLength"], sha256, expected)
            return content

        return self._retrying(key, read)

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """See ``ObjectStore.read_range``."""
        check_key(key)
        check_range(start, stop)

        def read() -> bytes:
            response = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
            content = b"".join(_chunks(response))
            check_content(key, len(content), response["ContentLength"], None, None)
            return content

        return self._retrying(key, read)

    @contextmanager
    def open_local(self, key: str, work_dir: str | Path) -> Iterator[Path]:
        """See ``ObjectStore.open_local``; downloads the object and removes the file afterward."""
        check_key(key)
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=work_dir, prefix="object-") as folder:
            yield self.download_file(key, Path(folder) / key.rpartition("/")[2])

    def stat(self, key: str) -> ObjectInfo:
        """See ``ObjectStore.stat``."""
        check_key(key)
        head = self._retrying(key, lambda: self._head(key))
        return ObjectInfo(key, head["ContentLength"], head["ETag"].strip('"'), head["LastModified"].astimezone(UTC))

    def iterate(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.iterate``. Names that are not valid keys (a console's empty "folders") are skipped."""
        check_prefix(prefix)
        return (info for info in self._entries(prefix) if _is_key(info.key))

    def copy(self, source_key: str, target_key: str) -> str:
        """See ``ObjectStore.copy``; copies within the server."""
        check_same_tenant(source_key, target_key)
        self._retrying(source_key, lambda: self._copy(source_key, self._head(source_key), target_key))
        return target_key

    def delete_file(self, key: str) -> None:
        """See ``ObjectStore.delete_file``."""
        check_key(key)
        with suppress(ObjectNotFound):
            self._retrying(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def generate_presigned_url(self, key: str, expires_in: int = 3600) -> str:
        """See ``ObjectStore.generate_presigned_url``; sends no request, so the object need not exist."""
        check_key(key)
        with storage_errors(key, key):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=check_expiry(expires_in)
            )

    def presigned_put(self, key: str, size: int, expires_in: int = 3600) -> str:
        """See ``ObjectStore.presigned_put``; the size is part of the signature."""
        check_key(key)
        parameters = {"Bucket": self._bucket, "Key": key, "ContentLength": size}
        with storage_errors(key, key):
            return self._client.generate_presigned_url(
                "put_object", Params=parameters, ExpiresIn=check_expiry(expires_in)
            )

    def sha256(self, key: str) -> str:
        """See ``ObjectStore.sha256``; reads the content, not the metadata."""
        check_key(key)

        def read() -> str:
            sha256 = hashlib.sha256()
            for chunk in _chunks(self._client.get_object(Bucket=self._bucket, Key=key)):
                sha256.update(chunk)
            return sha256.hexdigest()

        return self._retrying(key, read)

    def sweep_temporary(self, older_than: timedelta) -> int:
        """See ``ObjectStore.sweep_temporary``; also aborts unfinished multipart uploads."""
        oldest = datetime.now(UTC) - older_than
        swept = 0
        for tenant in self._tenants():
            prefix = temporary_prefix(tenant)
            old = (info.key for info in self._entries(prefix) if info.modified <= oldest)
            swept += self._delete_under(prefix, old)
        for upload in self._unfinished_uploads():
            if upload["Initiated"] <= oldest:
                self._abort(upload["Key"], upload["UploadId"])
                swept += 1
        return swept

    @property
    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = self._client_factory()
                # botocore sends a CRC32 here, which servers older than 2024 do not accept instead of the MD5.
                self._made.meta.events.register(
                    "before-call.s3.DeleteObjects", _add_content_md5, "captionacc-content-md5"
                )
            return self._made

    def _retrying(self, key: str, call: Callable[[], T]) -> T:
        """Make one idempotent call and retry it on transient errors."""
        deadline: float | None = None
        pause = _FIRST_PAUSE_S
        wrong_content = 0
        while True:
            try:
                with storage_errors(key, key):
                    return call()
            except StorageError as error:
                now = time.monotonic()
                deadline = now + self._retry_for_s if deadline is None else deadline
                wrong_content += isinstance(error, TruncatedBody | ChecksumMismatch)
                if not error.retryable or now >= deadline or wrong_content >= _CONTENT_ATTEMPTS:
                    raise
                wait = min(pause * random.uniform(0.5, 1.0), deadline - now)  # noqa: S311 (jitter)
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _head(self, key: str) -> dict[str, Any]:
        return self._client.head_object(Bucket=self._bucket, Key=key)

    def _verified(self, key: str, source: _Source) -> dict[str, Any]:
        head = self._retrying(key, lambda: self._head(key))
        sha256 = _metadata(head).get(_SHA256)
        check_content(key, head["ContentLength"], source.size, sha256, sha256 and source.sha256)
        return head

    def _upload_hashed(self, key: str, source: bytes | Path) -> Published:
        with _source(source) as prepared:
            self._put(key, prepared, None)
        return Published(key, prepared.size, prepared.sha256)

    def _put(self, key: str, source: _Source, content_type: str | None, progress: ByteProgress | None = None) -> None:
        extra = {"ContentType": content_type or content_type_of(key), "Metadata": {_SHA256: source.sha256}}
        content = source.content

        def send() -> None:
            with _counted(progress) as counted:
                if isinstance(content, bytes):
                    md5 = _content_md5(content)
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentMD5=md5, **extra)
                    counted(len(content))
                    return
                with content.open("rb") as stream:
                    self._client.upload_fileobj(
                        stream, self._bucket, key, ExtraArgs=extra, Callback=counted, Config=_transfer_config()
                    )

        self._retrying(key, send)

    def _download(self, key: str, target: Path, sha256: str | None, progress: ByteProgress | None) -> None:
        head = self._head(key)
        size = head["ContentLength"]
        expected = sha256 or _metadata(head).get(_SHA256)
        try:
            with partial_file(target) as sink, _counted(progress) as counted, storage_errors(key, key):
                if size > MULTIPART_THRESHOLD_BYTES:
                    self._client.download_fileobj(self._bucket, key, sink, Callback=counted, Config=_transfer_config())
                else:
                    for chunk in _chunks(self._client.get_object(Bucket=self._bucket, Key=key)):
                        sink.write(chunk)
                        counted(len(chunk))
                sink.flush()
                sink.seek(0)
                arrived = digest(sink)[1] if expected is not None else None
                check_content(key, os.fstat(sink.fileno()).st_size, size, arrived, expected)
        except OSError as error:
            raise from_os_error(error, str(target), key, writing=True) from error

    def _copy(self, source_key: str, head: dict[str, Any], target_key: str) -> None:
        source = {"Bucket": self._bucket, "Key": source_key}
        # Given explicitly, because a multipart copy does not copy metadata.
        extra = {"ContentType": head.get("ContentType", content_type_of(target_key)), "Metadata": _metadata(head)}
        if head["ContentLength"] > _SINGLE_COPY_BYTES:
            self._client.copy(source, self._bucket, target_key, ExtraArgs=extra, Config=_transfer_config())
            return
        self._client.copy_object(
            CopySource=source, Bucket=self._bucket, Key=target_key, MetadataDirective="REPLACE", **extra
        )

    def _list_pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": _KEYS_AT_ONCE, **more}
        while True:
            page = self._retrying(prefix or f"bucket {self._bucket}", lambda: self._client.list_objects_v2(**request))
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _entries(self, prefix: str) -> Iterator[ObjectInfo]:
        for page in self._list_pages(prefix):
            for entry in page.get("Contents", ()):
                modified = entry["LastModified"].astimezone(UTC)
                yield ObjectInfo(entry["Key"], entry["Size"], entry["ETag"].strip('"'), modified)

    def _keys_under(self, prefix: str) -> Iterator[str]:
        return (info.key for info in self._entries(prefix))

    def _tenants(self) -> Iterator[str]:
        for page in self._list_pages("", Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                with suppress(InvalidKey):
                    yield tenant_of(entry["Prefix"])

    def _unfinished_uploads(self) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {"Bucket": self._bucket, "MaxUploads": _KEYS_AT_ONCE}
        while True:
            page = self._retrying(f"bucket {self._bucket}", partial(self._list_uploads, request))
            yield from page.get("Uploads", ())
            if not page.get("IsTruncated"):
                return
            request |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _list_uploads(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._client.list_multipart_uploads(**request)
        except self._client.exceptions.NoSuchUpload:
            return {}  # rclone's answer for a bucket without any

    def _abort(self, key: str, upload_id: str) -> None:
        with storage_errors(key, key), suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def _delete_keys(self, keys: Iterable[str]) -> tuple[int, list[tuple[str, str]]]:
        deleted = 0
        failures: list[tuple[str, str]] = []
        remaining = iter(keys)
        while batch := list(islice(remaining, _KEYS_AT_ONCE)):
            failed = self._delete_batch(batch)
            deleted += len(batch) - len(failed)
            failures += [(key, str(error)) for key, error in failed.items()]
        return deleted, failures

    def _delete_batch(self, keys: list[str]) -> dict[str, StorageError]:
        """Delete up to 1,000 objects, and retry those that failed with a transient error."""
        failed: dict[str, StorageError] = {}
        for attempt in range(_CONTENT_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_PAUSE_S * 2**attempt)
            objects = [{"Key": key} for key in keys]
            request = {"Bucket": self._bucket, "Delete": {"Objects": objects, "Quiet": True}}
            answer = self._retrying(keys[0], partial(self._client.delete_objects, **request))
            failed = {key: error for key, error in failed.items() if key not in keys}
            for entry in answer.get("Errors", ()):
                key = entry["Key"]
                failed[key] = from_response(entry.get("Code", ""), entry.get("Message", ""), 0, key, key)
            keys = [key for key, error in failed.items() if error.retryable]
            if not keys:
                break
        return failed


@contextmanager
def _source(data: bytes | Path | BinaryIO) -> Iterator[_Source]:
    """Yield the content with its size, in a form that can be sent more than once."""
    if isinstance(data, bytes | bytearray | memoryview):
        content = bytes(data)
        yield _Source(content, len(content), hashlib.sha256(content).hexdigest())
    elif isinstance(data, Path):
        with data.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > MULTIPART_THRESHOLD_BYTES:
                source = _Source(data, *digest(stream))
            else:
                content = stream.read()
                source = _Source(content, len(content), hashlib.sha256(content).hexdigest())
        yield source
    else:
        with TemporaryDirectory(prefix="captionacc-upload-") as folder:
            spooled = Path(folder) / "stream"
            with spooled.open("wb") as sink:
                copyfileobj(data, sink, CHUNK_BYTES)
            with _source(spooled) as source:
                yield source


@contextmanager
def _counted(progress: ByteProgress | None) -> Iterator[ByteProgress]:
    """Report moved bytes, and take them back if the attempt fails."""
    counting = Lock()
    moved = 0

    def count(size: int) -> None:
        nonlocal moved
        with counting:
            moved += size
        if progress is not None:
            progress(size)

    try:
        yield count
    except BaseException:
        if moved:
            count(-moved)
        raise


def _chunks(response: dict[str, Any]) -> Iterator[bytes]:
    with closing(response["Body"]) as body:
        yield from body.iter_chunks(CHUNK_BYTES)


def _metadata(answer: dict[str, Any]) -> dict[str, str]:
    # Names are HTTP headers, which servers written in Go return as "Sha256".
    return {name.lower(): value for name, value in answer.get("Metadata", {}).items()}


def _transfer_config() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=MULTIPART_THRESHOLD_BYTES,
        multipart_chunksize=_PART_BYTES,
        max_concurrency=_PARTS_AT_ONCE,
    )


def _content_md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _add_content_md5(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["Content-MD5"] = _content_md5(params["body"])


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except InvalidKey:
        return False
    return True
