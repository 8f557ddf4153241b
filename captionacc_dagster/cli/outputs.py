"""Write subtitle files without ever replacing one that this program did not write.

What it wrote is remembered under ``CAPTIONACC_HOME``. A file with other content, written by a person, another program,
or for another video, stays as it is, and the new one gets a number: ``talk-2.srt``.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.storage.partial import partial_file

LEDGER = "written.db"
# A file name has at most 255 bytes; this leaves room for a number and a suffix.
_LONGEST_STEM_BYTES = 240


@dataclass(frozen=True)
class Source:
    """What subtitles are made from: a file, a video of the catalog, or both; either is enough to recognize it."""

    video: str
    file: Path | None = None

    @property
    def file_bytes(self) -> bytes:
        """The absolute path of the file, as the file system spells it; empty without one."""
        return b"" if self.file is None else os.fsencode(self.file.absolute())


@dataclass(frozen=True)
class Written:
    """The files that were written, and those in their place that were kept."""

    paths: tuple[Path, ...]
    kept: tuple[Path, ...] = ()

    @property
    def message(self) -> str | None:
        """One sentence on files that were kept; None if there were none."""
        if not self.kept:
            return None
        kept = ", ".join(str(path) for path in self.kept)
        verb = "is" if len(self.kept) == 1 else "are"
        return (
            f"{kept} {verb} not from this video and {verb} kept: wrote {self.paths[0].name} instead "
            "(--overwrite replaces; --output-dir writes elsewhere)"
        )


class Outputs:
    """Writes subtitles for one command.

    Args:
        home: where the files that were written are remembered.
        overwrite: replace files that this program did not write.
    """

    def __init__(self, home: Path, *, overwrite: bool = False) -> None:
        self._ledger = home / LEDGER
        self._overwrite = overwrite
        self._of_this_command: dict[bytes, Source] = {}

    def write(self, source: Source, folder: Path, stem: str, texts: Mapping[str, str]) -> Written:
        """Write ``folder/stem.format`` for each text, under a number where a name is taken.

        Raises:
            ProcessError: a file cannot be written.
        """
        if not texts:
            return Written(())
        new = {kind: text.encode() for kind, text in texts.items()}
        try:
            with self._opened() as ledger:
                name, kept = self._free_stem(ledger, source, folder, stem, new)
                paths = [folder / f"{name}.{kind}" for kind in new]
                for path, data in zip(paths, new.values(), strict=True):
                    self._put(ledger, source, path, data)
        except sqlite3.Error as error:
            raise ProcessError(f"{self._ledger}: {error}") from error
        except OSError as error:
            raise ProcessError(f"{folder}: not writable ({error.strerror})") from error
        return Written(tuple(paths), kept)

    def _free_stem(
        self, ledger: sqlite3.Connection, source: Source, folder: Path, stem: str, new: Mapping[str, bytes]
    ) -> tuple[str, tuple[Path, ...]]:
        """Return the first stem that replaces no foreign file, and the files that block the stems before it."""
        while len(os.fsencode(stem)) > _LONGEST_STEM_BYTES:
            stem = stem[:-1]
        kept: tuple[Path, ...] = ()
        for name in chain([stem], (f"{stem}-{number}" for number in count(2))):
            paths = {folder / f"{name}.{kind}": data for kind, data in new.items()}
            foreign = tuple(path for path, data in paths.items() if not self._may_write(ledger, source, path, data))
            if not foreign:
                return name, kept
            kept = kept or foreign
        raise AssertionError("unreachable: count() does not end")

    def _may_write(self, ledger: sqlite3.Connection, source: Source, path: Path, data: bytes) -> bool:
        key = _key(path)
        earlier = self._of_this_command.get(key)
        if earlier is not None and not _same(earlier, source) and path.exists():
            return path.read_bytes() == data
        if not os.path.lexists(path):
            return True
        if not path.is_file():
            return False
        if self._overwrite:
            return True
        there = path.read_bytes()
        if there == data:
            return True
        known = ledger.execute("select sha256, video, file from written where path = ?", (key,)).fetchall()
        found = _digest(there)
        return any(sha == found and _owns(source, video, file) for sha, video, file in known)

    def _put(self, ledger: sqlite3.Connection, source: Source, path: Path, data: bytes) -> None:
        key, digest = _key(path), _digest(data)
        self._of_this_command[key] = source
        # A file that is there already with this content may be another's: it is not taken over.
        if path.is_file() and path.read_bytes() == data:
            return
        # Noted before it is written, and the old note dropped after: a command that is killed forgets neither.
        row = (key, digest, source.video, source.file_bytes)
        with ledger:
            ledger.execute("insert or replace into written (path, sha256, video, file) values (?, ?, ?, ?)", row)
        with partial_file(path) as file:
            file.write(data)
        with ledger:
            ledger.execute("delete from written where path = ? and sha256 <> ?", (key, digest))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger = sqlite3.connect(self._ledger, timeout=30)
        try:
            ledger.execute(
                "create table if not exists written"
                " (path blob, sha256 text, video text, file blob, primary key (path, sha256))"
            )
            yield ledger
        finally:
            ledger.close()


def check_output_folder(folder: Path) -> str | None:
    """Return why files cannot be written to a folder, which need not exist yet; None if they can."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is a file, not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} is not writable"
    return None


def _key(path: Path) -> bytes:
    return os.fsencode(path.absolute())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _same(one: Source, other: Source) -> bool:
    return one.video == other.video or (one.file is not None and one.file_bytes == other.file_bytes)


def _owns(source: Source, video: str, file: bytes) -> bool:
    return source.video == video or (file != b"" and file == source.file_bytes)
