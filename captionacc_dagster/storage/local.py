"""An object store in a folder: keys are paths below it, and no key or symbolic link leads out of it."""

from __future__ import annotations

import hashlib
import os
import stat as stat_modes
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

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
    digest,
)
from captionacc_dagster.storage.errors import (
    BucketNotFound,
    ObjectNotFound,
    PresignedUrlUnsupported,
    from_os_error,
)
from captionacc_dagster.storage.keys import InvalidKey, check_key, check_prefix, tenant_of
from captionacc_dagster.storage.partial import partial_file

# No key can name it, because segments of keys never begin with a dot.
_TEMPORARY_FOLDER = ".tmp"


class OutOfStep(ValueError):
    """A part does not begin where the parts before it end; the message says where that is."""


class LocalObjectStore(ObjectStore):
    """Objects as files below ``root``, which is created if it is missing.

    Unlike in a bucket, a key cannot also be the folder of other keys (``a`` beside ``a/b``); that raises StorageError.
    """

    def __init__(self, root: str | Path) -> None:
        root = Path(root)
        try:
            (root / _TEMPORARY_FOLDER).mkdir(parents=True, exist_ok=True)
            # Other accounts of this machine must not read videos and captions.
            status = root.stat()
            if hasattr(os, "geteuid") and status.st_uid == os.geteuid() and status.st_mode & 0o077:
                root.chmod(0o700)
        except OSError as error:
            raise from_os_error(error, str(root)) from error
        self._root = root.resolve()
        self._temporary = self._root / _TEMPORARY_FOLDER

    def __repr__(self) -> str:
        return f"LocalObjectStore({str(self._root)!r})"

    @property
    def root(self) -> Path:
        """The folder's absolute path without symbolic links."""
        return self._root

    def check(self) -> None:
        """See ``ObjectStore.check``."""
        if not self._temporary.is_dir():
            raise BucketNotFound(f"the folder of the local object store is missing: {self._root}")
        try:
            with partial_file(self._temporary / "check", self._temporary):
                pass
            (self._temporary / "check").unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, str(self._root)) from error

    def upload_file(self, key: str, data: bytes | BinaryIO, content_type: str | None = None) -> str:
        """See ``ObjectStore.upload_file``; a folder stores no content type (see ``base.content_type_of``)."""
        self._write(key, BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else data)
        return key

    def upload_from_path(
        self, key: str, local_path: str | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> str:
        """See ``ObjectStore.upload_from_path``."""
        check_key(key)
        with Path(local_path).open("rb") as stream:
            self._write(key, stream, progress=progress)
        return key

    def publish(
        self, key: str, source: bytes | Path, content_type: str | None = None, *, progress: ByteProgress | None = None
    ) -> Published:
        """See ``ObjectStore.publish``; every write to a folder is atomic."""
        tenant_of(key)
        return self._upload_hashed(key, source, progress=progress)

    def download_file(
        self, key: str, local_path: str | Path, *, sha256: str | None = None, progress: ByteProgress | None = None
    ) -> Path:
        """See ``ObjectStore.download_file``."""
        target = Path(local_path)
        with self._open(key) as source:
            size = os.fstat(source.fileno()).st_size
            try:
                with partial_file(target) as sink:
                    copied, hashed = _pump(source, sink, progress=progress, hashing=sha256 is not None)
                    check_content(key, copied, size, hashed, sha256)
            except OSError as error:
                raise from_os_error(error, str(target), key, writing=True) from error
        return target

    def download_to_bytes(self, key: str) -> bytes:
        """See ``ObjectStore.download_to_bytes``."""
        with self._open(key) as stream:
            return stream.read()

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """See ``ObjectStore.read_range``."""
        check_range(start, stop)
        with self._open(key) as stream:
            stream.seek(start)
            return stream.read(stop - start)

    def open_ranges(self, key: str) -> BinaryIO:
        """See ``ObjectStore.open_ranges``; the store's own file."""
        return self._open(key)

    @contextmanager
    def open_local(self, key: str, work_dir: str | Path) -> Iterator[Path]:
        """See ``ObjectStore.open_local``; yields the store's own file."""
        self.stat(key)
        yield self._path(key)

    def stat(self, key: str) -> ObjectInfo:
        """See ``ObjectStore.stat``."""
        path = self._path(key)
        try:
            status = path.lstat()
        except OSError as error:
            raise from_os_error(error, key, key) from error
        if not stat_modes.S_ISREG(status.st_mode):
            raise ObjectNotFound(f"no such object: {key}", key=key)
        return _info(key, status)

    def iterate(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.iterate``."""
        check_prefix(prefix)
        return self._walk(self._path(prefix[:-1]), prefix)

    def copy(self, source_key: str, target_key: str) -> str:
        """See ``ObjectStore.copy``."""
        check_same_tenant(source_key, target_key)
        with self._open(source_key) as source:
            self._write(target_key, source)
        return target_key

    def delete_file(self, key: str) -> None:
        """See ``ObjectStore.delete_file``."""
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if path.is_dir():
                return
            raise from_os_error(error, key, key) from error
        self._prune(path.parent)

    def generate_presigned_url(self, key: str, expires_in: int = 3600) -> str:
        """Always raise: a ``file://`` URL would reveal the server's paths, never expire, and not open in a browser.

        To show an object of a local store to a user, send the file from ``open_local``.

        Raises:
            PresignedUrlUnsupported: always.
        """
        check_key(key)
        check_expiry(expires_in)
        raise PresignedUrlUnsupported(
            "a local object store has no presigned URLs; configure an S3 bucket or send the object itself", key=key
        )

    def append_part(self, key: str, offset: int, data: bytes) -> int:
        """Append to an object that is uploaded in parts, and return its size so far.

        Raises:
            OutOfStep: the parts so far do not end at ``offset``.
        """
        path = self._part(key)
        try:
            with path.open("ab") as stream:
                stream.seek(0, os.SEEK_END)
                if stream.tell() != offset:
                    raise OutOfStep(f"{stream.tell()} bytes have arrived, not {offset}")
                stream.write(data)
            return path.stat().st_size
        except OSError as error:
            raise from_os_error(error, key, key, writing=True) from error

    def part_size(self, key: str) -> int:
        """Return how many bytes of an object that is uploaded in parts have arrived."""
        try:
            return self._part(key).stat().st_size
        except FileNotFoundError:
            return 0

    def finish_parts(self, key: str) -> None:
        """Make what was uploaded in parts the object.

        Raises:
            ObjectNotFound: there are no parts.
        """
        path, part = self._path(key), self._part(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
        except OSError as error:
            raise from_os_error(error, key, key, writing=True) from error

    def _part(self, key: str) -> Path:
        return self._temporary / f"upload-{hashlib.sha256(check_key(key).encode()).hexdigest()[:32]}"

    def sha256(self, key: str) -> str:
        """See ``ObjectStore.sha256``."""
        with self._open(key) as stream:
            return digest(stream)[1]

    def sweep_temporary(self, older_than: timedelta) -> int:
        """See ``ObjectStore.sweep_temporary``; returns the number of files."""
        swept = 0
        oldest = time.time() - older_than.total_seconds()
        try:
            for path in [*self._temporary.iterdir(), *self._root.glob("*/server/tmp/*")]:
                with suppress(FileNotFoundError):
                    if path.lstat().st_mtime <= oldest:
                        path.unlink()
                        swept += 1
        except OSError as error:
            raise from_os_error(error, str(self._root), writing=True) from error
        return swept

    def _delete_keys(self, keys: Iterable[str]) -> tuple[int, list[tuple[str, str]]]:
        deleted = 0
        failures: list[tuple[str, str]] = []
        for key in keys:
            path = self._path(key)
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append((key, error.strerror or str(error)))
                continue
            deleted += 1
            self._prune(path.parent)
        return deleted, failures

    def _upload_hashed(self, key: str, source: bytes | Path, *, progress: ByteProgress | None = None) -> Published:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            size, sha256 = self._write(key, stream, progress=progress, hashing=True)
        return Published(key, size, sha256 or "")

    def _path(self, key: str) -> Path:
        """Return the path of a well-formed key.

        Raises:
            InvalidKey: the key is malformed, or its path contains a symbolic link.
        """
        path = self._root
        for segment in check_key(key).split("/"):
            path = path / segment
            try:
                linked = path.is_symlink()
            except OSError as error:
                raise from_os_error(error, key, key) from error
            if linked:
                raise InvalidKey(f"object key {key!r:.200} leads through a symbolic link")
        return path

    def _open(self, key: str) -> BinaryIO:
        self.stat(key)
        try:
            return open(self._path(key), "rb", opener=_open_no_link)
        except OSError as error:
            raise from_os_error(error, key, key) from error

    def _write(
        self, key: str, source: BinaryIO, *, progress: ByteProgress | None = None, hashing: bool = False
    ) -> tuple[int, str | None]:
        path = self._path(key)
        try:
            with partial_file(path, self._temporary, private=True) as sink:
                return _pump(source, sink, progress=progress, hashing=hashing)
        except OSError as error:
            raise from_os_error(error, key, key, writing=True) from error

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _walk(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(folder) as entries:
                # In the byte order of keys, a folder sorts by its name with the slash.
                named = sorted(
                    (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name) for entry in entries
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise from_os_error(error, prefix) from error
        for name in named:
            try:
                check_key(prefix + name.rstrip("/"))
            except InvalidKey:
                continue  # a file that was not stored here; no key can name it
            if name.endswith("/"):
                yield from self._walk(folder / name[:-1], prefix + name)
                continue
            with suppress(FileNotFoundError):
                status = (folder / name).lstat()
                if stat_modes.S_ISREG(status.st_mode):
                    yield _info(prefix + name, status)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, datetime.fromtimestamp(status.st_mtime, UTC))


def _pump(
    source: BinaryIO, sink: BinaryIO, *, progress: ByteProgress | None = None, hashing: bool = False
) -> tuple[int, str | None]:
    """Copy to the end; return the number of bytes and, if requested, their SHA-256."""
    sha256 = hashlib.sha256() if hashing else None
    copied = 0
    while chunk := source.read(CHUNK_BYTES):
        sink.write(chunk)
        copied += len(chunk)
        if sha256 is not None:
            sha256.update(chunk)
        if progress is not None:
            progress(len(chunk))
    return copied, sha256.hexdigest() if sha256 is not None else None
