"""``python -m benchmarks.api``: send webhooks to a real API, Postgres, and Dagster, all on this machine.

Prints a table and fails (exit code 1) if a target of the test plan is missed: 10 at once in less than 1 s on average
and 3 s at most, 50 at once in less than 5 s. "CPU ms" is what one webhook costs all processes together, on a busy
machine as on an idle one.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.api.load import HEADER, Load, cpu_seconds, send_wave
from captionacc_dagster_tests.api.dagster_stack import DagsterStack, connection_counter, dagster_stack
from captionacc_dagster_tests.api.world import WEBHOOK_SECRET

RESULTS = Path(__file__).with_name("results.json")
WAVES = (("10 at once", 10, 10), ("50 at once", 50, 50), ("500 in a row", 500, 1))


def main() -> None:
    """Start everything, send the waves, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 in a row instead of 500")
    parser.add_argument("--write", action="store_true", help="write results.json, from which docs/test-plan.md is made")
    options = parser.parse_args()
    quick = options.quick
    waves = [(name.replace("500", "50"), min(count, 50), width) for name, count, width in WAVES] if quick else WAVES
    with dagster_stack() as stack, stack.api() as url:
        print(f"two runs to warm up, then {len(waves)} waves; load average {psutil.getloadavg()[0]:.1f}")
        _wave(stack, url, "warm-up", 2, 1)
        print(HEADER)
        measured, missed = [], []
        for name, count, width in waves:
            before = psutil.getloadavg()[0]
            load = _wave(stack, url, name, count, width)
            measured.append(load.figures() | {"load_average": round(before, 1)})
            missed += load.missed()
            print(load.line(), flush=True)
        print("targets of the test plan: p95 < 1000 ms, 50 at once < 5 s, < 500 MB more, connections flat")
        began = time.perf_counter()
        queued = sum(run.status == "QUEUED" for run in stack.runs())
        print(f"{queued} runs wait in Dagster's queue (listed in {time.perf_counter() - began:.1f} s)")
    if options.write:
        machine = f"{psutil.cpu_count()} cores ({platform.machine()})"
        results = {"machine": machine, "measured_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "waves": measured}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if missed:
        sys.exit("\n".join(f"missed: {what}" for what in missed))


def _wave(stack: DagsterStack, url: str, name: str, count: int, width: int) -> Load:
    tenants = [stack.world.tenant(tier) for tier in ("trial", "active", "enterprise")]
    data = stack.settings.home / "postgres" / "data"
    postgres = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    before = cpu_seconds(postgres)
    with connection_counter(stack.world.database_url, "captionacc") as connections:
        load = send_wave(name, url, WEBHOOK_SECRET, tenants, count, width, connections=connections)
    load.cpu_s = cpu_seconds(postgres) - before
    return load


if __name__ == "__main__":
    main()
