"""What ``captionacc up`` shows of its services."""

from __future__ import annotations

import os
import threading
import time

import pytest

from captionacc_dagster.cli.services import Services

pytestmark = pytest.mark.integration

SERVICE = """
import signal, sys, time
def interrupted(*_):
    print("Traceback of what was broken off", file=sys.stderr, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, interrupted)
print("serving", flush=True)
print("a warning", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_what_a_service_writes_is_shown_until_it_is_told_to_stop(capfd: pytest.CaptureFixture[str]) -> None:
    stopping = threading.Event()
    services = Services(dict(os.environ), stopping)
    services.start("a service", ["-c", SERVICE])
    shown = ""
    deadline = time.monotonic() + 30
    while "a warning" not in shown and time.monotonic() < deadline:
        time.sleep(0.05)
        shown += capfd.readouterr().err
    assert shown.splitlines() == ["serving", "a warning"]
    stopping.set()
    services.stop(["a service"], 20)
    assert capfd.readouterr().err == ""
