"""Installs the Debian packages with the fonts of the clips: for the system as root, otherwise below the home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.captions.fonts import APT_PACKAGES, missing_fonts
from benchmarks.captions.specs import ClipSpec

_HOME_FONTS = Path("~/.local/share/fonts/captionacc-bench")
# Of distractors, signs and contact sheets.
_ALWAYS = {"dejavu", "dejavu-bold", "liberation-bold", "noto-sc"}


def require_fonts(specs: list[ClipSpec], *, install: bool) -> None:
    """Check that every font is installed; with ``install`` install the packages that are missing.

    Raises:
        RuntimeError: fonts are missing; the message contains the command that installs them.
    """
    wanted = {track.look.font for spec in specs for track in spec.tracks} | _ALWAYS
    missing = missing_fonts(wanted)
    if missing and install and shutil.which("apt-get"):
        install_packages()
        missing = missing_fonts(wanted)
    if missing:
        packages = " ".join(APT_PACKAGES)
        raise RuntimeError(
            f"fonts are missing ({', '.join(missing)}); on Debian and Ubuntu: apt-get install {packages}; "
            "without root: --install-fonts, or put the fonts under ~/.local/share/fonts"
        )


def install_packages(packages: Sequence[str] = APT_PACKAGES) -> None:
    """Install Debian packages of fonts: for the whole system as root, else below the home folder."""
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True)
        return
    unpack_packages(_HOME_FONTS.expanduser(), packages)


def unpack_packages(folder: Path, packages: Sequence[str] = APT_PACKAGES) -> None:
    """Fetch Debian packages with apt-get and unpack them under a folder, which needs no root."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)
        subprocess.run(["apt-get", "download", "-qq", *packages], cwd=cache, check=True)
        for package in sorted(Path(cache).glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
