"""The embedded Postgres starts once for any number of users, outlives a kill, and ends with its last user."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from captionacc_dagster.catalog import server_account
from captionacc_dagster.catalog.embedded import (
    DEFAULT_VERSION,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    binaries,
    open_catalog,
)
from captionacc_dagster.catalog.embedded_keeper import server_pid
from captionacc_dagster.catalog.embedded_upgrade import upgrade
from captionacc_dagster.catalog.errors import CatalogUnavailable
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, LOCAL_USER_ID
from captionacc_dagster.catalog.server_account import namespace_command

pytestmark = pytest.mark.integration

# Holds the server until a line comes on its standard input, having told its URL and the server's pid.
USER = """
import sys
from pathlib import Path
from captionacc_dagster.catalog.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False).start()
print((server.data / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.readline()
"""


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def start_user(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def pid_told_by(user: subprocess.Popen[str]) -> int:
    assert user.stdout is not None
    return int(user.stdout.readline())


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def strange_folder() -> tempfile.TemporaryDirectory[str]:
    """Not pytest's folder: with root's tests another session may close that to Postgres' account."""
    return tempfile.TemporaryDirectory(prefix="ca ho,me ", ignore_cleanup_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home where nothing was ever started, with a name that is hard to quote."""
    with strange_folder() as folder:
        yield (path := Path(folder) / "with spaces, commas, 'quotes' and ümläuts")
        EmbeddedPostgres(path).stop()


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A cluster with a migrated catalog that is down."""
    with strange_folder() as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        open_catalog(server).close()
        EmbeddedPostgres(Path(folder)).stop()
        yield server.data


@pytest.fixture
def used_home(home: Path, installed: Path) -> Path:
    """A home that was used before, which saves making the cluster."""
    folder = EmbeddedPostgres(home).folder
    folder.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(installed), str(folder)], check=True)
    return home


def test_one_start_gives_both_databases_and_the_local_tenant(home: Path) -> None:
    server = EmbeddedPostgres(home, durable=False)
    with open_catalog(server) as catalog:
        assert catalog.get_tenant_tier(LOCAL_TENANT_ID) == "enterprise"
        assert catalog.get_tenant(LOCAL_TENANT_ID).auto_approve_layout
        owner = catalog.find_user_profile(LOCAL_USER_ID)
        assert owner is not None
        assert (owner.tenant_id, owner.role, owner.approval_status) == (LOCAL_TENANT_ID, "owner", "approved")
    with psycopg.connect(server.url("dagster")) as connection:
        version = connection.execute("show server_version_num").fetchone()
        assert version is not None
        assert int(version[0]) // 10_000 == DEFAULT_VERSION
    assert server.stop()
    assert not server.is_running()
    assert not server.stop()


def test_data_outlives_the_server(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home, durable=False)
    with open_catalog(server) as catalog:
        video = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
    server.stop()
    with open_catalog(EmbeddedPostgres(used_home, durable=False)) as catalog:
        assert catalog.get_video_metadata(video.id) == video


@pytest.mark.parametrize("version", [16, 18])
def test_a_cluster_keeps_its_version(home: Path, version: int) -> None:
    server = EmbeddedPostgres(home, version=version, durable=False).start()
    server.stop()
    again = EmbeddedPostgres(home, durable=False)
    assert again.version == version
    again.start()
    with psycopg.connect(again.url()) as connection:
        assert connection.info.server_version // 10_000 == version


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(EmbeddedPostgresError, match="Postgres 12 is not embedded; available: 16, 18"):
        binaries(12)


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EmbeddedPostgresError, match="file/postgres"):
        EmbeddedPostgres(tmp_path / "file").start()


def test_a_path_too_long_for_a_socket_works(home: Path) -> None:
    deep = home.joinpath(*["quite-a-long-folder-name"] * 6)
    server = EmbeddedPostgres(deep, durable=False)
    assert not server.socket_folder.is_relative_to(deep)
    try:
        server.start()
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server.stop()
    assert not server.socket_folder.exists()


def test_a_server_with_no_connection_left_is_told_and_not_restarted(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home, durable=False).start()
    pid = server_pid(server.data)
    with contextlib.ExitStack() as connections, pytest.raises(EmbeddedPostgresError, match="too many clients"):
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError):
                connections.enter_context(psycopg.connect(server.url()))
        EmbeddedPostgres(used_home, durable=False).start()
    assert server.start().is_running()
    assert server_pid(server.data) == pid


@pytest.mark.security
def test_only_the_owner_can_reach_it(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home, durable=False).start()
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.socket_folder / ".s.PGSQL.5432").stat().st_mode) == 0o700
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)


def test_processes_that_start_at_once_share_one_server(used_home: Path) -> None:
    users = [start_user(used_home) for _ in range(6)]
    pids = {pid_told_by(user) for user in users}
    assert len(pids) == 1
    for user in users:
        user.communicate("go\n", timeout=30)
        assert user.returncode == 0


def test_it_ends_with_its_last_user_even_a_killed_one(used_home: Path) -> None:
    first, second = start_user(used_home), start_user(used_home)
    pid = pid_told_by(first)
    assert pid_told_by(second) == pid
    first.communicate("go\n", timeout=30)
    # Longer than the keeper lingers: the second user alone keeps the server up.
    time.sleep(3.5)
    assert is_alive(pid)
    second.kill()
    second.communicate()
    until(lambda: not is_alive(pid))
    assert not (EmbeddedPostgres(used_home).data / "postmaster.pid").exists()


def test_a_forked_child_keeps_it_up(used_home: Path) -> None:
    program = USER.replace("sys.stdin.readline()", "import os\nif os.fork() == 0: sys.stdin.readline()")
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(used_home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = pid_told_by(parent)
    assert parent.wait(30) == 0
    time.sleep(3.5)
    assert is_alive(pid)
    parent.communicate("go\n", timeout=30)
    until(lambda: not is_alive(pid))


def test_an_open_connection_keeps_it_up(used_home: Path) -> None:
    user = start_user(used_home)
    pid = pid_told_by(user)
    with psycopg.connect(EmbeddedPostgres(used_home).url()) as connection:
        user.communicate("go\n", timeout=30)
        time.sleep(3.5)
        assert is_alive(pid)
        assert connection.execute("select 1").fetchone() == (1,)
    until(lambda: not is_alive(pid))


@pytest.mark.recovery
def test_a_killed_server_comes_back_under_its_users_and_loses_nothing(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home)
    with open_catalog(server) as catalog:
        video = catalog.create_video(LOCAL_TENANT_ID, "a.mp4").video
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))
        until(server.is_running)
        assert catalog.get_video_metadata(video.id) == video


@pytest.mark.recovery
def test_a_supervisor_restores_a_server_and_a_keeper_that_died_in_use(used_home: Path) -> None:
    server = EmbeddedPostgres(used_home, durable=False)
    user = start_user(used_home)
    pid = pid_told_by(user)
    (keeper,) = keepers_of(server)
    assert server.tend() is False
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not is_alive(keeper))
    assert server.tend() is False, "the server itself was up"
    until(lambda: len(keepers_of(server)) == 1)
    for victim in (*keepers_of(server), pid):
        os.kill(victim, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    assert server.tend() is True
    assert server.is_running()
    server.stop()
    assert server.tend() is False, "stopped on purpose"
    user.kill()
    user.communicate()


def keepers_of(server: EmbeddedPostgres) -> list[int]:
    """The living keepers of a server."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(server.folder) in (process.info["cmdline"] or ()) and is_alive(process.pid)
    ]


@pytest.mark.recovery
def test_the_next_start_recovers_what_was_killed_with_its_keeper(used_home: Path) -> None:
    user = start_user(used_home)
    pid = pid_told_by(user)
    (keeper,) = keepers_of(EmbeddedPostgres(used_home))
    for victim in (keeper, pid, user.pid):
        os.kill(victim, signal.SIGKILL)
    user.communicate()
    until(lambda: not is_alive(pid))
    server = EmbeddedPostgres(used_home, durable=False).start()
    assert server.is_running()


def test_an_interrupted_installation_is_begun_anew(home: Path) -> None:
    server = EmbeddedPostgres(home, durable=False)
    leftover = server.folder / "data.new"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n")
    server.start()
    assert server.is_running()
    assert not leftover.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by Postgres")
def test_root_changes_no_folder_and_no_account_of_the_machine(tmp_path: Path) -> None:
    if not namespace_command():
        pytest.skip("this kernel allows no user namespaces")
    (outside := tmp_path / "closed").mkdir(mode=0o700)
    accounts = Path("/etc/passwd").read_bytes()
    modes = {folder: folder.stat().st_mode for folder in (outside, *outside.parents)}
    server = EmbeddedPostgres(outside / "home", durable=False)
    try:
        server.start()
        assert server.is_running()
        assert server.data.stat().st_uid == 0
    finally:
        server.stop()
    assert {folder: folder.stat().st_mode for folder in modes} == modes
    assert Path("/etc/passwd").read_bytes() == accounts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_without_namespaces_a_closed_folder_is_named_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_account, "namespace_command", tuple)
    monkeypatch.setattr(server_account.tempfile, "gettempdir", lambda: "/nowhere")
    (closed := tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(CatalogUnavailable, match=f"{closed} is closed to the account") as refused:
        EmbeddedPostgres(closed / "home", durable=False).start()
    assert "chmod o+x" in (refused.value.hint or "")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try another account")
def test_an_ordinary_user_runs_it_under_their_own_account(home: Path) -> None:
    home.mkdir()
    home.parent.chmod(0o711)
    os.chown(home, 65534, 65534)
    program = "import os\n" + USER.replace("sys.stdin.readline()", "print(os.stat(server.data).st_uid); server.stop()")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(home)],
        user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=120,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "65534"


@pytest.mark.slow
def test_an_older_cluster_is_moved_to_the_newest_version(home: Path) -> None:
    old = EmbeddedPostgres(home, version=16, durable=False)
    with open_catalog(old) as catalog:
        video = catalog.create_video(LOCAL_TENANT_ID, "kept.mp4").video
    with psycopg.connect(old.url("dagster"), autocommit=True) as connection:
        connection.execute("create table runs as select generate_series(1, 10) as id")
    with pytest.raises(EmbeddedPostgresError, match="is in use"):
        upgrade(home)
    old.release()
    kept = upgrade(home)
    assert kept == home / "postgres" / "data-16"
    assert kept is not None
    assert (kept / "PG_VERSION").read_text().strip() == "16"
    new = EmbeddedPostgres(home)
    assert new.version == 18
    with open_catalog(new) as catalog:
        assert catalog.get_video_metadata(video.id) == video
        assert catalog.get_tenant(LOCAL_TENANT_ID).auto_approve_layout
    with psycopg.connect(new.url("dagster"), autocommit=True) as connection:
        assert connection.execute("select sum(id) from runs").fetchone() == (55,)
    assert not (home / "upgrade").exists()
    new.stop()
    assert upgrade(home) is None


@pytest.mark.parametrize(("version", "advice"), [(15, "captionacc db upgrade"), (99, "upgrade captionacc-dagster")])
def test_data_of_a_version_that_is_not_embedded_says_what_to_do(tmp_path: Path, version: int, advice: str) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    with pytest.raises(EmbeddedPostgresError, match=f"is of Postgres {version}") as failure:
        EmbeddedPostgres(tmp_path).start()
    assert advice in str(failure.value)
