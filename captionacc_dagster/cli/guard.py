"""End the services of a ``captionacc up`` that was killed.

``python -I -S guard.py``: a separate program that uses only the standard library. Its standard input is a pipe from
``captionacc up`` with the process groups of the services: ``+PID`` for a new one, ``-PID`` for one that has ended, and
``done`` when all were stopped. If the pipe ends without that, ``captionacc up`` was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Run as a program."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "done":
            return
        group = int(word[1:])
        if word[0] == "+":
            groups.append(group)
        elif group in groups:
            groups.remove(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
