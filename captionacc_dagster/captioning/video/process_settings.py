"""Process-wide settings under which decoding and analyzing a video costs the least CPU time."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

# Seconds. A decoder thread that waits Python's default of 5 ms for its turn finds its caches cold.
SWITCH_INTERVAL_S = 0.0001

_lock = threading.Lock()
_users = 0
_usual = (0.0, 0)


@contextlib.contextmanager
def video_process_settings() -> Iterator[None]:
    """Set Python's switch interval and OpenCV's threads for video work; restore both after the last user leaves.

    Python's threads take turns every `SWITCH_INTERVAL_S`, unless they already do so more often. OpenCV works in the
    calling thread: for pictures as small as a line of text, waking other threads costs more than they save.
    Results do not depend on these settings.
    """
    import cv2

    global _users, _usual  # the settings belong to the process, so their users are counted there
    with _lock:
        if not _users:
            _usual = (sys.getswitchinterval(), cv2.getNumThreads())
            sys.setswitchinterval(min(SWITCH_INTERVAL_S, _usual[0]))
            cv2.setNumThreads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                sys.setswitchinterval(_usual[0])
                cv2.setNumThreads(_usual[1])
