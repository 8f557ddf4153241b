"""Wait for several calls to Modal at once, and cancel or keep them if the wait ends early."""

from __future__ import annotations

import time
from collections.abc import Sequence

from captionacc_dagster.captioning.captions import Progress
from captionacc_dagster.compute.base import ComputeError, ComputeForbidden
from captionacc_dagster.compute.envelope import CallReply
from captionacc_dagster.compute.modal_calls import RemoteCall, WaitLimits


def wait_for(calls: Sequence[RemoteCall], limits: WaitLimits, progress: Progress | None = None) -> list[CallReply]:
    """Make all calls, wait for their replies, and return these in the same order.

    An interruption (the run is cancelled) cancels the open calls. After a retryable error, or when Modal refuses the
    token, they continue, so that the next run resumes them; any other error of a call cancels them.
    """
    stage = calls[0].request.function.replace("_", " ") + " on Modal"
    reported = time.monotonic()
    try:
        for call in calls:
            call.start()
        waiting = [call for call in calls if call.reply is None]
        while waiting:
            for call in waiting:
                call.poll(limits.poll_s / len(waiting))
            waiting = [call for call in waiting if call.reply is None]
            if progress is not None:
                progress(stage, len(calls) - len(waiting), len(calls))
            if time.monotonic() - reported >= limits.report_s:
                reported = time.monotonic()
                for call in waiting:
                    call.tell()
    except ComputeError as error:
        if not error.retryable and not isinstance(error, ComputeForbidden):
            _cancel_all(calls, f"another part failed: {error}")
        raise
    except Exception:
        raise
    except BaseException:
        _cancel_all(calls, "the run was cancelled")
        raise
    return [call.reply for call in calls if call.reply is not None]


def _cancel_all(calls: Sequence[RemoteCall], reason: str) -> None:
    for call in calls:
        call.cancel(reason)
