"""The release of this package and the commit it was made from; read from files, so that `--version` answers at once."""

from __future__ import annotations

from pathlib import Path

from captionacc_dagster import __version__

_PACKAGE = Path(__file__).parent


def version_line() -> str:
    """Return the line that ``captionacc --version`` prints, such as ``captionacc 0.1.0 (commit 6e9a71a3c2f1)``."""
    commit = find_commit(_PACKAGE)
    return f"captionacc {__version__}" + (f" (commit {commit[:12]})" if commit else "")


def find_commit(package: Path) -> str | None:
    """Return the commit of an installed package (its file ``COMMIT``) or of its checkout; None if neither says."""
    try:
        return (package / "COMMIT").read_text(encoding="ascii").strip() or None
    except OSError:
        pass
    try:
        return _head(package.parent / ".git")
    except (OSError, UnicodeDecodeError):
        return None


def _head(git: Path) -> str | None:
    """Return the commit that is checked out, without running git."""
    if git.is_file():
        # A worktree's .git names its folder, and that folder the one that it shares with the others.
        git = (git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = git / "commondir"
    shared = (git / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else git
    if (shared / name).is_file():
        return (shared / name).read_text(encoding="utf-8").strip()
    for line in (shared / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return None
