"""Ends an embedded Postgres after its last user: ``python -I -S embedded_keeper.py FOLDER SOCKET BIN UID GID``.

A program of its own, with the standard library alone, because it must outlive every process of ours, also
those that are killed. The locks are explained in :mod:`captionacc_dagster.catalog.embedded`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

# Long enough for a command that follows the last one to find the server running.
LINGER_S = 3.0


class Keeper:
    """Watches one server."""

    def __init__(self, folder: Path, socket: Path, programs: Path, uid: int, gid: int) -> None:
        self.folder = folder
        self.socket = socket
        self.programs = programs
        self.account = {} if os.geteuid() == uid else {"user": uid, "group": gid, "extra_groups": []}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Postgres' programs as the server's account."""
        return subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            [str(self.programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=90,
            **self.account,
        )

    def pid(self) -> int | None:
        """The running server's pid."""
        try:
            pid = int((self.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def connections(self) -> int:
        """How many clients are connected; a user may have come in by other ways than our lock."""
        asked = self.run(
            "psql", "-h", str(self.socket), "-U", "postgres", "-d", "postgres", "-Atc",
            "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )  # fmt: skip
        return int(asked.stdout) if asked.returncode == 0 else 0

    def end_if_unused(self) -> bool:
        """Stop the server when nobody uses it; True when it is down."""
        with (self.folder / "start.lock").open("a") as start, (self.folder / "users.lock").open("a") as users:
            fcntl.flock(start, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if self.pid() is None:
                return True
            if self.connections():
                return False
            self.run("pg_ctl", "stop", "-D", str(self.folder / "data"), "-m", "fast", "-w", "-t", "60")
            return self.pid() is None

    def watch(self) -> None:
        """Wait for the last user to go, end the server, and go too."""
        with (self.folder / "keeper.lock").open("a") as own:
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            while True:
                with (self.folder / "users.lock").open("a") as users:
                    fcntl.flock(users, fcntl.LOCK_EX)
                time.sleep(LINGER_S)
                if self.end_if_unused():
                    return


def main(arguments: list[str]) -> None:
    """Run as a program."""
    folder, socket, programs, uid, gid = arguments
    with contextlib.suppress(FileNotFoundError):  # the whole folder was removed: the server ends by itself
        Keeper(Path(folder), Path(socket), Path(programs), int(uid), int(gid)).watch()


if __name__ == "__main__":
    main(sys.argv[1:])
