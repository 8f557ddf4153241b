"""The account that the embedded Postgres runs under: the present user, or, because Postgres refuses root, another name.

For root, the programs run in a user namespace in which root's own files belong to ``nobody``: no file changes its
owner, no folder its mode, and no account is added. Where the kernel does not allow that, an existing account is used.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from captionacc_dagster.catalog.errors import CatalogUnavailable

# The first that exists is used.
_NAMES = ("captionacc", "postgres", "pgserver", "nobody")


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """User and group of the server's processes and files; ``own_account`` if they are this process's."""

    uid: int
    gid: int
    own_account: bool

    def as_subprocess(self) -> dict[str, Any]:
        """Return the arguments that make :func:`subprocess.run` use this account."""
        if self.own_account:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def command(self, arguments: list[str]) -> list[str]:
        """Return the command that runs a program of the server under this account."""
        return [*namespace_command(), *arguments] if self.own_account and self.uid == 0 else arguments

    def own(self, path: Path) -> None:
        """Make the account the owner of ``path``."""
        if os.geteuid() == 0:  # also back to root, from the account of an earlier version's data
            os.chown(path, self.uid, self.gid)

    def check_way_to(self, path: Path, home: Path) -> None:
        """Verify that the account can pass the folders above ``path``; those of the home and temporary ones are opened.

        Raises:
            CatalogUnavailable: a folder elsewhere is closed to the account; it is not changed.
        """
        if self.own_account:
            return
        temporary = Path(tempfile.gettempdir())
        for folder in path.parents:
            status = folder.stat()
            bit = (
                stat.S_IXUSR
                if status.st_uid == self.uid
                else stat.S_IXGRP
                if status.st_gid == self.gid
                else stat.S_IXOTH
            )
            if status.st_mode & bit:
                continue
            if not (folder.is_relative_to(home) or (temporary in folder.parents and status.st_uid == os.geteuid())):
                raise CatalogUnavailable(
                    f"{folder} is closed to the account that Postgres needs, because Postgres does not run as root",
                    hint=f"run as an ordinary user, set CAPTIONACC_HOME to another folder, or `chmod o+x {folder}`",
                )
            folder.chmod(stat.S_IMODE(status.st_mode) | bit)


def server_account(data: Path) -> ServerAccount:
    """Return this process's account; for root without a namespace, the owner of the data, or another account.

    Raises:
        CatalogUnavailable: this is root, and there is no account for the server.
    """
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), own_account=True)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = data.stat()
        if status.st_uid != 0:
            return ServerAccount(status.st_uid, status.st_gid, own_account=False)
    if namespace_command():
        return ServerAccount(0, 0, own_account=True)
    return _account_for_root()


@cache
def namespace_command() -> tuple[str, ...]:
    """Return the command before a program that lets root's own files belong to ``nobody``; empty if that is refused."""
    unshare = shutil.which("unshare", path="/usr/bin:/bin:" + os.environ.get("PATH", ""))
    if unshare is None:
        return ()
    try:
        nobody = pwd.getpwnam("nobody")
        command = (unshare, "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--")
        tried = subprocess.run(
            [*command, "id", "-un"], capture_output=True, text=True, timeout=20, check=False, cwd="/"
        )
    except (KeyError, OSError, subprocess.SubprocessError):
        return ()
    return command if tried.returncode == 0 and tried.stdout.strip() == nobody.pw_name else ()


def _account_for_root() -> ServerAccount:
    for name in _NAMES:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerAccount(entry.pw_uid, entry.pw_gid, own_account=False)
    raise CatalogUnavailable(
        "Postgres does not run as root, and there is no other account for it",
        hint=f"add a user named {_NAMES[0]}, or run as an ordinary user, or set DATABASE_URL",
    )
