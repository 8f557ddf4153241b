"""Keep an embedded Postgres running for its users and stop it after the last one.

``python -I -S embedded_keeper.py FOLDER SOCKET BIN UID GID LINGER [PREFIX…]``: a separate program that uses only the
standard library, because it must outlive all our processes, even those that are killed. The locks are explained in
:mod:`captionacc_dagster.catalog.embedded`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

POLL_S = 0.5


# No process has this id (Linux stops at 2**22), so a signal to it fails with "no such process".
_NOBODYS_PID = 2**30


def server_pid(data: Path) -> int | None:
    """Return the pid of the server that runs on a data folder, according to its ``postmaster.pid``.

    A process with that pid that is not this server does not count: an unreaped zombie, as in containers without an
    init, or another process after a restart of the machine.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        if Path("/proc/self/cwd").exists():
            # The working folder of a server is its data folder.
            return pid if Path(f"/proc/{pid}/cwd").readlink() == data.resolve() else None
        named = subprocess.run(["/bin/ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return pid if Path(named.stdout.strip()).name == "postgres" else None
    except (OSError, ValueError):
        return None


def forget_dead_server(data: Path, socket: Path) -> None:
    """Remove a dead server's pid from its lock files, because Postgres only checks the pid.

    ``postmaster.pid`` stays: from its other lines Postgres detects whether the dead server's children still use the
    data.
    """
    lock_file = data / "postmaster.pid"
    if lock_file.exists() and server_pid(data) is None:
        with lock_file.open("r+") as lines:
            rest = lines.read().partition("\n")[2]
            lines.seek(0)
            lines.write(f"{_NOBODYS_PID}\n{rest}")
            lines.truncate()
        (socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def remove_socket_folder(folder: Path, socket: Path) -> None:
    """Remove the socket folder of a stopped server, where it is outside the server's own folder."""
    if socket.parent != folder:
        with contextlib.suppress(OSError):
            socket.rmdir()


class Keeper:
    """Watches one server."""

    def __init__(
        self, folder: Path, socket: Path, programs: Path, uid: int, gid: int, linger_s: float, prefix: list[str]
    ) -> None:
        self.folder = folder
        self.socket = socket
        self.programs = programs
        self.linger_s = linger_s
        self.prefix = prefix
        self.account = {} if os.geteuid() == uid else {"user": uid, "group": gid, "extra_groups": []}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Postgres's programs as the server's account."""
        # Output goes to a file: a server started here would inherit a pipe, which would then never close.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(  # type: ignore[call-overload]
                [*self.prefix, str(self.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                text=True,
                check=False,
                cwd="/",
                timeout=90,
                **self.account,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())

    def pid(self) -> int | None:
        """Return the running server's pid."""
        return server_pid(self.folder / "data")

    def connections(self) -> int:
        """Return the number of connected clients; a user may connect without holding our lock."""
        asked = self.run(
            "psql", "-h", str(self.socket), "-U", "postgres", "-d", "postgres", "-Atc",
            "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )  # fmt: skip
        return int(asked.stdout) if asked.returncode == 0 else 0

    def in_use(self) -> bool:
        """Return whether a process holds the users' lock."""
        with (self.folder / "users.lock").open("rb") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def restart_if_dead(self) -> None:
        """Start a server that died while in use; one that was stopped on purpose stays down."""
        if self.pid() is not None:
            return
        with (self.folder / "start.lock").open("rb") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            if self.pid() is None and not (self.folder / "stopped").exists():
                forget_dead_server(self.folder / "data", self.socket)
                log = str(self.folder / "postgres.log")
                self.run("pg_ctl", "start", "-D", str(self.folder / "data"), "-l", log, "-w", "-t", "60", "-s")

    def end_if_unused(self, own_lock: BinaryIO) -> bool:
        """Stop the server if it is unused; return True if it is down, after releasing the keeper's lock.

        The lock is released before the next process may start a server; otherwise that process would rely on a keeper
        that is about to exit.
        """
        with (self.folder / "start.lock").open("rb") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            if self.in_use():
                return False
            if self.pid() is not None:
                if self.connections():
                    return False
                self.run("pg_ctl", "stop", "-D", str(self.folder / "data"), "-m", "fast", "-w", "-t", "60")
                if self.pid() is not None:
                    return False
            remove_socket_folder(self.folder, self.socket)
            own_lock.close()
            return True

    def watch(self) -> None:
        """Wait for the last user to leave, stop the server, and return."""
        with (self.folder / "keeper.lock").open("rb") as own:
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            unused_polls = 0
            while unused_polls * POLL_S <= self.linger_s or not self.end_if_unused(own):
                time.sleep(POLL_S)
                if self.in_use():
                    unused_polls = 0
                    self.restart_if_dead()
                else:
                    unused_polls += 1


def main(arguments: list[str]) -> None:
    """Run as a program."""
    folder, socket, programs, uid, gid, linger_s, *prefix = arguments
    with contextlib.suppress(FileNotFoundError):  # the whole folder was removed; the server stops by itself
        Keeper(Path(folder), Path(socket), Path(programs), int(uid), int(gid), float(linger_s), prefix).watch()


if __name__ == "__main__":
    main(sys.argv[1:])
