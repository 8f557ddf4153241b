"""File names as the catalog stores them and as people see them.

A file name may be any bytes: no UTF-8, a line break, or an escape sequence that changes a terminal's title. The catalog
stores such characters escaped (``\\xe9``, ``\\n``), so that every reader of a name gets plain text.
"""

from __future__ import annotations

import re
from pathlib import PurePath

# How video files are named. In a folder, only these are taken; a file named on the command line may have any suffix.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "h264", "hevc", "ivf", "m2ts", "m2v", "m4v"),
        *("mj2", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "rm", "rmvb", "swf"),
        *("ts", "vob", "webm", "wmv", "wtv", "y4m"),
    )
)
# Control characters (C0, DEL, C1), line and paragraph separators, characters that reverse the order of what follows,
# and bytes that are no UTF-8, which Python represents as lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b"}


def printable(text: str) -> str:
    """Return a text of unknown origin in one line, with everything escaped that a terminal would obey."""
    return _UNSAFE.sub(_escaped, text)


def stored_filename(path: PurePath | str) -> str:
    """Return the name under which the catalog stores a file: its last part, as :func:`printable` shows it."""
    return printable(PurePath(path).name)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of the name
        return f"\\x{number - 0xDC00:02x}"
    return _NAMED.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
