"""The version of the code behind a compute result: the release and a hash of the sources and the trained models."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from captionacc_dagster import __version__

_DECIDING = ("captioning", "compute/envelope.py", "compute/functions.py", "compute/results.py", "storage/keys.py")


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return ``{release}-{hash}``, equal on two machines exactly if they run the same code."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in _DECIDING:
        path = package / name
        for source in deciding_files(path):
            digest.update(source.relative_to(package).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    return f"{__version__}-{digest.hexdigest()[:12]}"


def deciding_files(path: Path) -> list[Path]:
    """Return a file, or every file of a folder, except what Python itself writes there."""
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file() and "__pycache__" not in found.parts)
