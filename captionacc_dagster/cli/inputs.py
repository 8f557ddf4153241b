"""The files that a command line names: single files, folders, and a list on standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from captionacc_dagster.captioning.files.subtitles import FORMATS
from captionacc_dagster.catalog.filenames import VIDEO_SUFFIXES

STANDARD_INPUT = "-"
# Files beside videos that are not videos. A pattern such as videos/* also names these, and what this program wrote.
COMPANIONS = frozenset(
    {f".{kind}" for kind in FORMATS}
    | {".ssa", ".sub", ".idx", ".smi", ".sup", ".ttml", ".sbv", ".lrc"}
    | {".txt", ".md", ".nfo", ".log", ".csv", ".xml", ".html", ".pdf", ".torrent", ".url"}
    | {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".part", ".tmp", ".crdownload", ".download", ".partial"}
)
_URL = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class VideoFile:
    """A file to process.

    Attributes:
        path: as the person wrote it.
        subfolder: its folder below the one that was named; subtitles in another folder mirror it.
    """

    path: Path
    subfolder: Path = Path()


@dataclass
class Inputs:
    """What a command line names.

    Attributes:
        files: in order, each once.
        refused: what cannot be processed, with the reason.
        skipped: files that are no videos, by their suffix.
    """

    files: list[VideoFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)


def find_inputs(names: Iterable[str], *, recursive: bool = False, listed: BinaryIO | None = None) -> Inputs:
    """Return the files that the arguments of a command name.

    Args:
        names: paths of files and folders; ``-`` for a list of them on standard input.
        recursive: also look into the folders inside folders.
        listed: standard input: paths separated by line ends, or by NUL as ``find -print0`` writes them.
    """
    found = Inputs()
    seen: set[str] = set()
    companions: list[Path] = []
    for name in _expanded(names, listed):
        if _URL.match(name):
            found.refused.append((name, "is a URL; download the video first, then name the file"))
            continue
        path = Path(name)
        if path.is_dir():
            _look_into(path, found, seen, recursive=recursive)
        elif path.suffix.lower() in COMPANIONS and path.exists():
            companions.append(path)
        else:
            _add(found, seen, VideoFile(path))
    if found.files:
        found.skipped = companions
    else:
        found.refused += [(str(path), "is not a video, by its suffix") for path in companions]
    return found


def _expanded(names: Iterable[str], listed: BinaryIO | None) -> Iterator[str]:
    for name in names:
        if name != STANDARD_INPUT:
            yield name
        elif listed is not None:
            data = listed.read()
            separator = b"\0" if b"\0" in data else b"\n"
            for line in data.split(separator):
                text = os.fsdecode(line.removesuffix(b"\r") if separator == b"\n" else line)
                if text:
                    yield text


def _look_into(folder: Path, found: Inputs, seen: set[str], *, recursive: bool) -> None:
    """Add the videos of a folder, ordered by name; hidden files are none."""
    errors: list[OSError] = []
    is_empty, deeper = True, False
    for place, folders, files in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        deeper = deeper or (not recursive and any(entry.is_dir() for entry in Path(place).iterdir()))
        for name in sorted(files):
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in VIDEO_SUFFIXES:
                is_empty = False
                _add(found, seen, VideoFile(path, Path(place).relative_to(folder)))
    found.refused += [(str(error.filename), f"cannot be read ({error.strerror})") for error in errors]
    if is_empty and not errors:
        hint = "; add --recursive to look into its folders" if deeper else ""
        found.refused.append((str(folder), f"is a folder without videos{hint}"))


def _add(found: Inputs, seen: set[str], file: VideoFile) -> None:
    """Add a file unless it is there already under another spelling."""
    same = os.path.realpath(file.path)
    if same not in seen:
        seen.add(same)
        found.files.append(file)
