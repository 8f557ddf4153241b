"""The interface to where bytes are kept: one object a key, whole or not at all.

Prefixes are folders: they end with ``/``. Every method takes well-formed keys only (``keys.check_key``, else
``InvalidKey``) and raises the errors of ``storage.errors``. All methods may be called from several threads.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from captionacc_dagster.storage.errors import ChecksumMismatch, DeleteFailed, ObjectNotFound, TruncatedBody
from captionacc_dagster.storage.keys import InvalidKey, check_key, check_prefix, tenant_of

ByteProgress = Callable[[int], None]
"""Called with the number of bytes moved since the call before, from any thread; negative when an attempt failed and
its bytes will be moved again."""

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
    """What a store says of an object: size in bytes, a tag that changes with the content, last write (UTC)."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """An object as it was put in place: size in bytes and SHA-256 (hex) of its content, to be recorded beside it."""

    key: str
    size: int
    sha256: str


def content_type_of(key: str) -> str:
    """The media type that a key's ending stands for; ``application/octet-stream`` for any other."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")


def digest(stream: BinaryIO) -> tuple[int, str]:
    """Read a stream to its end; give its size in bytes and its SHA-256 (hex)."""
    sha256 = hashlib.sha256()
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        sha256.update(chunk)
        size += len(chunk)
    return size, sha256.hexdigest()


class ObjectStore(ABC):
    """Objects by key. ``LocalObjectStore`` keeps them in a folder, ``S3ObjectStore`` in a bucket."""

    @abstractmethod
    def check(self) -> None:
        """Do nothing when the store answers and may be used.

        Raises:
            StorageError: BucketNotFound, AccessDenied or StorageUnavailable, with the reason.
        """

    @abstractmethod
    def upload_file(self, key: str, data: bytes | BinaryIO, content_type: str | None = None) -> str:
        """Put bytes, or a binary stream from where it stands to its end, and give the key back.

        An object that was there is replaced at once; readers see the old bytes or the new ones.
        """

    @abstractmethod
    def upload_from_path(
        self, key: str, local_path: str | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> str:
        """Put a file's content and give the key back.

        Raises:
            FileNotFoundError: there is no such file (other OSErrors of reading it pass through as they are).
        """

    @abstractmethod
    def publish(
        self, key: str, source: bytes | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> Published:
        """Put an object in place only once it is complete and verified; what was there before stays until then.

        Unlike an upload this holds on servers whose own writes are not atomic, and gives what to record. The key must
        begin with a tenant id.
        """

    @abstractmethod
    def download_file(
        self, key: str, local_path: str | Path, *, sha256: str | None = None, progress: ByteProgress | None = None
    ) -> Path:
        """Write an object to a file, making its parent folders, and give the path.

        The file appears under its name only when its size, and its hash where one is known or given, are right.

        Raises:
            ObjectNotFound, TruncatedBody, ChecksumMismatch, StorageFull: see ``storage.errors``.
        """

    @abstractmethod
    def download_to_bytes(self, key: str) -> bytes:
        """Give an object's content."""

    @abstractmethod
    def open_local(self, key: str, work_dir: str | Path) -> AbstractContextManager[Path]:
        """Give a file with the object's content, to be read only, for as long as the context lasts.

        A local store gives its own file and copies nothing; S3 downloads into ``work_dir`` and removes it afterward.
        """

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Say what is known of an object without reading it.

        Raises:
            ObjectNotFound: there is none.
        """

    @abstractmethod
    def iterate(self, prefix: str) -> Iterator[ObjectInfo]:
        """Go through the objects under a prefix in the byte order of their keys, a page at a time."""

    @abstractmethod
    def copy(self, source_key: str, target_key: str) -> str:
        """Copy within the store and within one tenant, and give the target key.

        Raises:
            InvalidKey: the two keys do not begin with the same segment.
        """

    @abstractmethod
    def delete_file(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""

    @abstractmethod
    def generate_presigned_url(self, key: str, expires_in: int = 3600) -> str:
        """Give a URL from which anybody can GET the object for ``expires_in`` seconds (1..604,800).

        Raises:
            PresignedUrlUnsupported: the store has no such URLs (a local folder).
        """

    @abstractmethod
    def sweep_temporary(self, older_than: timedelta) -> int:
        """Remove what interrupted uploads left behind and is older than this; say how much was removed."""

    @abstractmethod
    def _delete_keys(self, keys: Iterable[str]) -> tuple[int, list[tuple[str, str]]]:
        """Delete objects; give how many are gone, and key and reason of each that is not."""

    @abstractmethod
    def _upload_hashed(self, key: str, source: bytes | Path) -> Published:
        """Put one small object as an upload does, and say what was put."""

    def file_exists(self, key: str) -> bool:
        """Say whether an object has this key."""
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def list_files(self, prefix: str, limit: int | None = None) -> list[str]:
        """Give the keys under a prefix, over any number of pages, in byte order; at most ``limit``."""
        return [info.key for info in islice(self.iterate(prefix), limit)]

    @abstractmethod
    def sha256(self, key: str) -> str:
        """Read an object through and give its SHA-256 (hex)."""

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object under a prefix and say how many there were.

        Raises:
            InvalidKey: the prefix is empty, lacks its final slash or begins with no tenant id.
            DeleteFailed: some could not be deleted, with their keys and reasons.
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
        """Put many small objects side by side and give them in the order of ``items``.

        Items are taken from the iterable only as fast as they are put (at most twice ``max_workers`` wait), so that a
        generator of pictures is never all in memory. ``progress`` is called in the caller's thread. The first error
        stops the rest and is raised; objects already put stay.
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
        """Make a prefix hold exactly these objects: put them all, then delete the others that were there.

        The set as a whole is not atomic: write last what says that it is complete (a database beside it, or the
        activation of its version in the catalog).

        Raises:
            InvalidKey: an item's key does not lie under the prefix.
            DeleteFailed: the new objects are there, and so are some old ones.
        """
        check_prefix(prefix)
        tenant_of(prefix)

        def checked() -> Iterator[tuple[str, bytes | Path]]:
            for key, source in items:
                if not key.startswith(prefix):
                    raise InvalidKey(f"object key {key!r:.200} does not lie under {prefix}")
                yield key, source

        published = self.upload_many(checked(), progress=progress)
        kept = {item.key for item in published}
        self._delete_under(prefix, (key for key in self._keys_under(prefix) if key not in kept))
        return published


def check_same_tenant(source_key: str, target_key: str) -> None:
    """Refuse a copy that would cross tenants.

    Raises:
        InvalidKey: a key is malformed, or the two begin differently.
    """
    if check_key(source_key).split("/")[0] != check_key(target_key).split("/")[0]:
        raise InvalidKey(f"refused to copy {source_key!r:.200} to {target_key!r:.200}: another tenant's")


def check_content(key: str, size: int, expected_size: int, sha256: str | None, expected_sha256: str | None) -> None:
    """Compare what arrived with what the object is; a hash of None is not known.

    Raises:
        TruncatedBody: another number of bytes.
        ChecksumMismatch: as many, but other ones.
    """
    if size != expected_size:
        raise TruncatedBody(f"{key}: {size} bytes arrived, the object has {expected_size}", key=key)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ChecksumMismatch(f"{key}: SHA-256 is {sha256}, expected {expected_sha256}", key=key)


def check_expiry(expires_in: int) -> int:
    """Give the lifetime back when a presigned URL may have it; seven days is the signature's own limit.

    Raises:
        ValueError: outside 1..604,800 seconds.
    """
    if not 1 <= expires_in <= 604_800:
        raise ValueError(f"a presigned URL lives 1..604800 seconds, got {expires_in}")
    return expires_in
