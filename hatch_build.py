"""What a built package knows of its repository: the commit, its URLs, and a README whose links work outside it.

Hatchling runs this while it builds. The repository is the one that the checkout's remote `origin` names; without one,
as in an unpacked source distribution, nothing is added.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

COMMIT_FILE = "captionacc_dagster/COMMIT"
_PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!https?:|#|data:)([^)\s]+)")
_LINK = re.compile(r"((?<!!)\[[^\]]*\]\()(?!https?:|#|mailto:)([^)\s]+)")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # the git of whoever builds
            ["git", *arguments],  # noqa: S607
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commit_of(root: Path) -> str:
    """Return the commit of a checkout, or the one that `CAPTIONACC_COMMIT` names; empty if neither is known."""
    own = (root / ".git").exists()
    return os.environ.get("CAPTIONACC_COMMIT", "").strip() or (_git(root, "rev-parse", "HEAD") if own else "")


def repository_of(root: Path) -> str:
    """Return the web address of a checkout's remote; empty without one."""
    remote = _git(root, "remote", "get-url", "origin") if (root / ".git").exists() else ""
    remote = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", remote).removesuffix(".git")
    # A remote can contain a token.
    remote = re.sub(r"^(https?://)[^/@]*@", r"\1", remote)
    return remote if remote.startswith("https://") else ""


def with_absolute_links(text: str, repository: str, commit: str) -> str:
    """Return Markdown whose pictures and links to files of the repository are absolute."""
    text = _PICTURE.sub(rf"\g<1>{repository}/raw/{commit}/\g<2>", text)
    return _LINK.sub(rf"\g<1>{repository}/blob/{commit}/\g<2>", text)


class CustomMetadataHook(MetadataHookInterface):
    """Fills in the README and the URLs."""

    def update(self, metadata: dict[str, Any]) -> None:
        """See Hatchling."""
        root = Path(self.root)
        repository, commit = repository_of(root), commit_of(root) or "main"
        readme = (root / "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {}
        if repository:
            readme = with_absolute_links(readme, repository, commit)
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/blob/{commit}/README.md#where-to-go-next",
                "Changelog": f"{repository}/blob/{commit}/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


class CustomBuildHook(BuildHookInterface):
    """Puts the commit into the package, for `captionacc --version`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See Hatchling."""
        commit = commit_of(Path(self.root))
        # A source distribution already contains the file; an editable installation reads the checkout.
        if version == "editable" or not commit or (Path(self.root) / COMMIT_FILE).exists():
            return
        with tempfile.NamedTemporaryFile("w", delete=False, suffix="-commit") as file:
            file.write(commit + "\n")
        self._written = Path(file.name)
        self._written.chmod(0o644)
        build_data["force_include"][file.name] = COMMIT_FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """See Hatchling."""
        if (written := getattr(self, "_written", None)) is not None:
            written.unlink(missing_ok=True)
