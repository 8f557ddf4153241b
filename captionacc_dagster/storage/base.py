"""The object store interface: one object per key, written completely or not at all.

Prefixes are folders and end with ``/``. Every method accepts well-formed keys only (``keys.check_key``, otherwise
``InvalidKey``) and raises the errors of ``storage.errors``. All methods are thread-safe.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from captionacc_dagster.storage.errors import (
    ChecksumMismatch,
    DeleteFailed,
    ObjectNotFound,
    PresignedUrlUnsupported,
    TruncatedBody,
)
from captionacc_dagster.storage.keys import InvalidKey, check_key, check_prefix, tenant_of

ByteProgress = Callable[[int], None]
"""Called from any thread with the number of bytes moved since the last call; negative when an attempt failed and its
bytes will be moved again."""

CHUNK_BYTES = 1 << 20

_CONTENT_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "jpg": "image/jpeg",
    "gz": "application/gzip",
    "db": "application/vnd.sqlite3",
    "srt": "application/x-subrip",
    "vtt": "text/vtt; charset=utf-8",
    "ass": "text/x-ssa; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Facts about a stored object: size in bytes, a tag that changes with the content, last write (UTC)."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """A published object: size in bytes and SHA-256 (hex) of its content, to be recorded."""

    key: str
    size: int
    sha256: str


def content_type_of(key: str) -> str:
    """Return the media type for a key's suffix; ``application/octet-stream`` for an unknown one."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")


def digest(stream: BinaryIO) -> tuple[int, str]:
    """Read a stream to its end; return its size in bytes and its SHA-256 (hex)."""
    sha256 = hashlib.sha256()
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        sha256.update(chunk)
        size += len(chunk)
    return size, sha256.hexdigest()


class ObjectStore(ABC):
    """Objects by key. ``LocalObjectStore`` stores them in a folder, ``S3ObjectStore`` in a bucket."""

    @abstractmethod
    def check(self) -> None:
        """Verify that the store answers and may be used.

        Raises:
            StorageError: BucketNotFound, AccessDenied, or StorageUnavailable, with the reason.
        """

    @abstractmethod
    def upload_file(self, key: str, data: bytes | BinaryIO, content_type: str | None = None) -> str:
        """Upload bytes, or a binary stream from its position to its end, and return the key.

        An existing object is replaced atomically: readers see the old bytes or the new ones.
        """

    @abstractmethod
    def upload_from_path(
        self, key: str, local_path: str | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> str:
        """Upload a file's content and return the key.

        Raises:
            FileNotFoundError: there is no such file (other OSErrors while reading it propagate unchanged).
        """

    @abstractmethod
    def publish(
        self, key: str, source: bytes | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> Published:
        """Upload an object and make it visible only once it is complete and verified; the old one stays until then.

        Unlike an upload, this also works on servers without atomic writes, and returns what to record. The key must
        begin with a tenant id.
        """

    @abstractmethod
    def download_file(
        self, key: str, local_path: str | Path, *, sha256: str | None = None, progress: ByteProgress | None = None
    ) -> Path:
        """Download an object to a file, creating its parent folders, and return the path.

        The file appears under its name only if its size, and its hash where one is known or given, are right.

        Raises:
            ObjectNotFound, TruncatedBody, ChecksumMismatch, StorageFull: see ``storage.errors``.
        """

    @abstractmethod
    def download_to_bytes(self, key: str) -> bytes:
        """Return an object's content."""

    @abstractmethod
    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes ``start <= i < stop`` of an object; fewer where it ends before.

        Raises:
            ValueError: the range is empty or begins before the object.
        """

    def open_ranges(self, key: str) -> BinaryIO:
        """Return an object as a read-only file that seeks; only the parts that are read are fetched."""
        return io.BufferedReader(_RangeFile(self, key), CHUNK_BYTES)

    @abstractmethod
    def open_local(self, key: str, work_dir: str | Path) -> AbstractContextManager[Path]:
        """Return a context manager of a read-only file with the object's content.

        A local store uses its own file without copying; S3 downloads into ``work_dir`` and removes the file afterward.
        """

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Return facts about an object without reading it.

        Raises:
            ObjectNotFound: there is no such object.
        """

    @abstractmethod
    def iterate(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix in the byte order of their keys, fetched page by page."""

    @abstractmethod
    def copy(self, source_key: str, target_key: str) -> str:
        """Copy an object within the store and within one tenant, and return the target key.

        Raises:
            InvalidKey: the two keys do not begin with the same segment.
        """

    @abstractmethod
    def delete_file(self, key: str) -> None:
        """Delete an object; a missing one is not an error."""

    @abstractmethod
    def generate_presigned_url(self, key: str, expires_in: int = 3600) -> str:
        """Return a URL from which anyone can GET the object for ``expires_in`` seconds (1..604,800).

        Raises:
            PresignedUrlUnsupported: the store, such as a local folder, has no such URLs.
        """

    def presigned_put(self, key: str, size: int, expires_in: int = 3600) -> str:
        """Return a URL to which anyone can PUT ``size`` bytes as the object for ``expires_in`` seconds (1..604,800).

        Raises:
            PresignedUrlUnsupported: the store, such as a local folder, has no such URLs.
        """
        raise PresignedUrlUnsupported("this object store has no presigned URLs", key=key)

    @abstractmethod
    def sweep_temporary(self, older_than: timedelta) -> int:
        """Remove remains of interrupted uploads older than this; return how many were removed."""

    @abstractmethod
    def _delete_keys(self, keys: Iterable[str]) -> tuple[int, list[tuple[str, str]]]:
        """Delete objects; return how many were deleted, and key and reason of each that was not."""

    @abstractmethod
    def _upload_hashed(self, key: str, source: bytes | Path) -> Published:
        """Upload one small object and return what was uploaded."""

    def file_exists(self, key: str) -> bool:
        """Return whether an object has this key."""
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def list_files(self, prefix: str, limit: int | None = None) -> list[str]:
        """Return the keys under a prefix in byte order, from any number of pages, at most ``limit``."""
        return [info.key for info in islice(self.iterate(prefix), limit)]

    @abstractmethod
    def sha256(self, key: str) -> str:
        """Read an object and return its SHA-256 (hex)."""

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object under a prefix and return how many there were.

        Raises:
            InvalidKey: the prefix is empty, lacks its final slash, or does not begin with a tenant id.
            DeleteFailed: some objects could not be deleted; names them and the reasons.
        """
        check_prefix(prefix)
        tenant_of(prefix)
        return self._delete_under(prefix, self._keys_under(prefix))

    def _keys_under(self, prefix: str) -> Iterator[str]:
        return (info.key for info in self.iterate(prefix))

    def _delete_under(self, prefix: str, keys: Iterable[str]) -> int:
        deleted, failures = self._delete_keys(keys)
        if failures:
            raise DeleteFailed(prefix, deleted, failures)
        return deleted

    def upload_many(
        self,
        items: Iterable[tuple[str, bytes | Path]],
        *,
        max_workers: int = 8,
        progress: Callable[[Published], None] | None = None,
    ) -> list[Published]:
        """Upload many small objects concurrently and return them in the order of ``items``.

        Items are taken from the iterable only as fast as they are uploaded (at most twice ``max_workers`` wait), so
        that a generator of pictures is never entirely in memory. ``progress`` is called in the caller's thread. The
        first error stops the rest and is raised; objects already uploaded stay.
        """
        done: dict[int, Published] = {}
        waiting: dict[Future[Published], int] = {}

        def collect() -> None:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                index = waiting.pop(future)
                done[index] = future.result()
                if progress is not None:
                    progress(done[index])

        with ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix="upload") as pool:
            try:
                for index, (key, source) in enumerate(items):
                    waiting[pool.submit(self._upload_hashed, check_key(key), source)] = index
                    if len(waiting) >= 2 * max_workers:
                        collect()
                while waiting:
                    collect()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return [done[index] for index in sorted(done)]

    def publish_prefix(
        self,
        prefix: str,
        items: Iterable[tuple[str, bytes | Path]],
        *,
        progress: Callable[[Published], None] | None = None,
    ) -> list[Published]:
        """Make a prefix contain exactly these objects: upload them all, then delete the others.

        The set as a whole is not atomic: write the mark of its completeness last (a database beside it, or the
        activation of its version in the catalog).

        Raises:
            InvalidKey: an item's key is not under the prefix.
            DeleteFailed: all new objects were uploaded, but some old ones remain.
        """
        check_prefix(prefix)
        tenant_of(prefix)

        def checked() -> Iterator[tuple[str, bytes | Path]]:
            for key, source in items:
                if not key.startswith(prefix):
                    raise InvalidKey(f"object key {key!r:.200} is not under {prefix}")
                yield key, source

        published = self.upload_many(checked(), progress=progress)
        kept = {item.key for item in published}
        self._delete_under(prefix, (key for key in self._keys_under(prefix) if key not in kept))
        return published


class _RangeFile(io.RawIOBase):
    """An object as a raw file: each read is one ranged request."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        self._size = store.stat(key).size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._size, self._at + len(buffer))
        if stop <= self._at:
            return 0
        data = self._store.read_range(self._key, self._at, stop)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def check_range(start: int, stop: int) -> None:
    """Raise ValueError unless ``start..stop`` is a range of at least one byte."""
    if not 0 <= start < stop:
        raise ValueError(f"a range of bytes must not be empty or negative, got {start}..{stop}")


def check_same_tenant(source_key: str, target_key: str) -> None:
    """Raise if a copy would cross tenants.

    Raises:
        InvalidKey: a key is malformed, or the keys begin with different tenants.
    """
    if check_key(source_key).split("/")[0] != check_key(target_key).split("/")[0]:
        raise InvalidKey(f"cannot copy {source_key!r:.200} to {target_key!r:.200}: they belong to different tenants")


def check_content(key: str, size: int, expected_size: int, sha256: str | None, expected_sha256: str | None) -> None:
    """Compare received content with the object's facts; a hash of None is unknown.

    Raises:
        TruncatedBody: the number of bytes differs.
        ChecksumMismatch: the content differs.
    """
    if size != expected_size:
        raise TruncatedBody(f"{key}: {size} bytes arrived, the object has {expected_size}", key=key)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ChecksumMismatch(f"{key}: SHA-256 is {sha256}, expected {expected_sha256}", key=key)


def check_expiry(expires_in: int) -> int:
    """Return the lifetime of a presigned URL if it is allowed; seven days is the signature's limit.

    Raises:
        ValueError: the lifetime is outside 1..604,800 seconds.
    """
    if not 1 <= expires_in <= 604_800:
        raise ValueError(f"the lifetime of a presigned URL must be 1..604800 seconds, got {expires_in}")
    return expires_in
