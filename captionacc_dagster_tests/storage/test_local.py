"""The folder store against what only a file system does: links, full disks, kills, folders that vanish."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from captionacc_dagster.storage.errors import (
    AccessDenied,
    BucketNotFound,
    DeleteFailed,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageUnavailable,
    from_os_error,
)
from captionacc_dagster.storage.keys import InvalidKey, VideoKeys, tenant_prefix
from captionacc_dagster.storage.local import LocalObjectStore

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects")


def temporary_files(store: LocalObjectStore) -> list[Path]:
    return list((store.root / ".tmp").iterdir())


@pytest.mark.security
@pytest.mark.parametrize("where", ["file", "folder", "tenant"])
def test_a_symbolic_link_leads_nowhere(folder: LocalObjectStore, video: VideoKeys, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "video.mp4").write_bytes(b"secret")
    at = {
        "file": folder.root / video.video,
        "folder": folder.root / video.client_prefix.rstrip("/"),
        "tenant": folder.root / video.tenant_id,
    }[where]
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(outside / "video.mp4" if where == "file" else outside)
    for call in (
        lambda: folder.download_to_bytes(video.video),
        lambda: folder.upload_file(video.video, b"overwritten"),
        lambda: folder.stat(video.video),
        lambda: folder.open_local(video.video, tmp_path).__enter__(),
        lambda: folder.delete_file(video.video),
        lambda: folder.copy(video.video, video.captions_db),
    ):
        with pytest.raises(InvalidKey, match="symbolic link"):
            call()
    if where == "file":
        assert folder.list_files(tenant_prefix(video.tenant_id)) == []
        assert folder.delete_prefix(tenant_prefix(video.tenant_id)) == 0
    else:
        with pytest.raises(InvalidKey, match="symbolic link"):
            folder.delete_prefix(video.client_prefix)
    assert (outside / "video.mp4").read_bytes() == b"secret"


@pytest.mark.security
@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
def test_other_accounts_of_the_machine_read_nothing(tmp_path: Path, video: VideoKeys) -> None:
    (root := tmp_path / "objects").mkdir()
    root.chmod(0o755)
    store = LocalObjectStore(root)
    store.upload_file(video.video, b"a video")
    store.publish(video.captions_db, b"captions")
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()} == {0o600}


def test_a_listing_does_not_follow_links(folder: LocalObjectStore, video: VideoKeys, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    folder.upload_file(video.video, b"x")
    (folder.root / video.client_prefix / "full_frames").symlink_to(outside)
    assert folder.list_files(video.client_prefix) == [video.video]
    assert folder.delete_prefix(video.client_prefix) == 1
    assert (outside / "secret").exists()


def test_the_root_itself_may_be_reached_through_a_link(tmp_path: Path, video: VideoKeys) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalObjectStore(tmp_path / "link").upload_file(video.video, b"x")
    assert (tmp_path / "real" / video.video).read_bytes() == b"x"


def test_what_is_no_object_is_not_listed(folder: LocalObjectStore, video: VideoKeys) -> None:
    folder.upload_file(video.video, b"x")
    beside = (folder.root / video.video).parent
    (beside / ".DS_Store").write_bytes(b"x")
    (beside / "Thumbs.db").write_bytes(b"x")
    os.mkfifo(beside / "pipe")
    assert folder.list_files(video.client_prefix) == [video.video]
    with pytest.raises(ObjectNotFound):
        folder.download_to_bytes(f"{video.client_prefix}pipe")


def test_the_stores_own_file_is_given_without_a_copy(
    folder: LocalObjectStore, video: VideoKeys, tmp_path: Path
) -> None:
    folder.upload_file(video.video, b"video")
    with folder.open_local(video.video, tmp_path / "work") as path:
        assert path == folder.root / video.video
    assert not (tmp_path / "work").exists()
    assert (folder.root / video.video).exists()


def test_deleting_leaves_no_empty_folders(folder: LocalObjectStore, video: VideoKeys) -> None:
    folder.upload_file(video.chunk(1, 16, 0), b"x")
    folder.upload_file(video.video, b"y")
    folder.delete_file(video.chunk(1, 16, 0))
    assert not (folder.root / video.cropped_frames_prefix(1)).exists()
    assert folder.delete_prefix(tenant_prefix(video.tenant_id)) == 1
    assert [path.name for path in folder.root.iterdir()] == [".tmp"]
    folder.delete_file(video.client_prefix.rstrip("/"))


def test_a_key_cannot_be_a_folder_too(folder: LocalObjectStore, video: VideoKeys) -> None:
    folder.upload_file(video.video, b"x")
    with pytest.raises(StorageError, match=r"video\.mp4"):
        folder.upload_file(f"{video.video}/inside", b"y")
    with pytest.raises(ObjectNotFound):
        folder.download_to_bytes(f"{video.video}/inside")
    with pytest.raises(StorageError):
        folder.upload_file(video.client_prefix.rstrip("/"), b"z")
    assert temporary_files(folder) == []
    assert folder.download_to_bytes(video.video) == b"x"


def test_uploads_and_deletions_of_one_folder_do_not_trip_over_each_other(
    folder: LocalObjectStore, video: VideoKeys
) -> None:
    failures: list[Exception] = []

    def churn(number: int) -> None:
        try:
            for _ in range(150):
                folder.upload_file(video.full_frame(number), b"x")
                folder.delete_file(video.full_frame(number))
        except Exception as error:  # noqa: BLE001 (shown below)
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert temporary_files(folder) == []


def test_a_source_that_breaks_leaves_the_old_object(folder: LocalObjectStore, video: VideoKeys) -> None:
    class Broken:
        left = 3

        def read(self, _size: int = -1) -> bytes:
            self.left -= 1
            if not self.left:
                raise ConnectionResetError("the uploader went away")
            return b"half"

    folder.upload_file(video.video, b"old")
    with pytest.raises(StorageError, match="went away"):
        folder.upload_file(video.video, Broken())  # type: ignore[arg-type]
    assert folder.download_to_bytes(video.video) == b"old"
    assert temporary_files(folder) == []


def run_python(script: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.recovery
def test_a_disk_that_is_full_leaves_nothing_half_written(
    folder: LocalObjectStore, video: VideoKeys, tmp_path: Path
) -> None:
    folder.upload_file(video.captions_db, b"old")
    folder.upload_file(video.video, b"v" * 3_000_000)
    # A limit on the size of files stops a write in its middle as a full disk does, and needs no file system of its own.
    script = """
        import resource, signal, sys
        from pathlib import Path
        from captionacc_dagster.storage.errors import StorageFull
        from captionacc_dagster.storage.local import LocalObjectStore
        root, key, video, work = sys.argv[1:]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        store = LocalObjectStore(root)
        for name, call in {
            "upload": lambda: store.upload_file(key, b"x" * 3_000_000),
            "publish": lambda: store.publish(key, b"x" * 3_000_000),
            "download": lambda: store.download_file(video, Path(work) / "video.mp4"),
        }.items():
            try:
                call()
            except StorageFull as error:
                print(name, error.retryable)
    """
    process = run_python(script, str(folder.root), video.captions_db, video.video, str(tmp_path / "work"))
    output, errors = process.communicate(timeout=60)
    assert output.splitlines() == ["upload False", "publish False", "download False"], errors
    assert folder.download_to_bytes(video.captions_db) == b"old"
    assert temporary_files(folder) == []
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.recovery
def test_a_killed_upload_is_never_seen_and_is_swept(folder: LocalObjectStore, video: VideoKeys) -> None:
    folder.upload_file(video.video, b"old")
    script = """
        import sys, time
        from captionacc_dagster.storage.local import LocalObjectStore
        class Endless:
            def read(self, size):
                print("reading", flush=True)
                time.sleep(0.01)
                return b"x" * size
        LocalObjectStore(sys.argv[1]).upload_file(sys.argv[2], Endless())
    """
    process = run_python(script, str(folder.root), video.video)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert folder.download_to_bytes(video.video) == b"old"
    assert folder.list_files(video.client_prefix) == [video.video]
    assert len(temporary_files(folder)) == 1
    assert folder.sweep_temporary(timedelta(minutes=5)) == 0
    os.utime(temporary_files(folder)[0], (time.time() - 600, time.time() - 600))
    assert folder.sweep_temporary(timedelta(minutes=5)) == 1
    assert temporary_files(folder) == []


def test_a_folder_that_is_gone_is_said(tmp_path: Path, video: VideoKeys) -> None:
    store = LocalObjectStore(tmp_path / "objects")
    store.check()
    (store.root / ".tmp").rmdir()
    with pytest.raises(BucketNotFound, match="objects"):
        store.check()
    with pytest.raises(StorageError):
        store.upload_file(video.video, b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        LocalObjectStore(tmp_path / "file")


def test_what_could_not_be_deleted_is_named(
    folder: LocalObjectStore, video: VideoKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [video.full_frame(index) for index in range(4)]
    folder.upload_many((key, b"x") for key in keys)
    unlink = Path.unlink

    # Permissions do not stop root, as whom containers run tests: the system call itself is the wire here.
    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name == "frame_000002.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)
    with pytest.raises(DeleteFailed) as caught:
        folder.delete_prefix(video.full_frames_prefix)
    assert caught.value.deleted == 3
    assert caught.value.failures == ((keys[2], "Permission denied"),)
    assert keys[2] in str(caught.value)
    assert folder.list_files(video.full_frames_prefix) == [keys[2]]


@pytest.mark.parametrize(
    ("number", "writing", "expected"),
    [
        (errno.ENOENT, False, ObjectNotFound),
        (errno.ENOTDIR, False, ObjectNotFound),
        (errno.ENOENT, True, StorageError),
        (errno.EACCES, False, AccessDenied),
        (errno.EROFS, True, AccessDenied),
        (errno.ENOSPC, True, StorageFull),
        (errno.EDQUOT, True, StorageFull),
        (errno.EIO, False, StorageUnavailable),
        (errno.EMFILE, False, StorageUnavailable),
    ],
)
def test_the_systems_errors_have_their_types(number: int, writing: bool, expected: type[StorageError]) -> None:
    error = from_os_error(OSError(number, os.strerror(number)), "the/key", "the/key", writing=writing)
    assert type(error) is expected
    assert error.key == "the/key"
    assert error.retryable is (expected is StorageUnavailable)
