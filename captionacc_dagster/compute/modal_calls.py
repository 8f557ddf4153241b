"""A call to Modal, from the ledger's row to the reply: made once, found by its id, and polled briefly."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from captionacc_dagster.compute import leases, records
from captionacc_dagster.compute.base import (
    BadInput,
    CallLedger,
    CallRow,
    ComputeError,
    ComputeMisconfigured,
    ComputeTimeout,
    ComputeUnavailable,
    QuotaExceeded,
)
from captionacc_dagster.compute.envelope import CallReply, CallRequest, EnvelopeError, RemoteFailure
from captionacc_dagster.compute.modal_errors import Meaning, error_for, meaning_of
from captionacc_dagster.compute.modal_spec import (
    DEPLOY_COMMAND,
    FUNCTIONS,
    gpu_of_device,
    price_per_second,
)
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys

if TYPE_CHECKING:
    import modal

# How long Modal's client may wait when the server asks it to retry later, seconds; after that, this module decides.
_MAX_THROTTLE_WAIT = "60"


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """Time limits, seconds.

    Attributes:
        poll_s: one poll; the server answers earlier if the result is available.
        look_s: between two checks whether the call has started, and between two heartbeats in the ledger.
        report_s: between two lines in the log.
        queue_s: for a GPU; after that the call stays in Modal's queue and the next run finds it.
        run_s: for a running call; None: the function's own limits plus two minutes.
        unreachable_s: while Modal does not answer at all.
        throttled_s: first pause when Modal asks for fewer requests; doubled each time, at most 16-fold.
        cancel_s: for a cancellation to be accepted.
        intent_s: for another caller that is making the same call; after that, this one makes it.
        lost_s: how long Modal must say that it does not know a call, before the call counts as lost.
    """

    poll_s: float = 5.0
    look_s: float = 10.0
    report_s: float = 60.0
    queue_s: float = 3600.0
    run_s: float | None = None
    unreachable_s: float = 900.0
    throttled_s: float = 30.0
    cancel_s: float = 15.0
    intent_s: float = 60.0
    lost_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """The target of calls: the app, and the Modal environment ("" for the workspace's default)."""

    app: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class CallReport:
    """Figures of a completed call; durations in seconds, cost in US dollars."""

    call_id: str
    url: str
    app_version: str
    device: str
    queued_s: float
    running_s: float
    attempts: int
    reattached: bool
    reused: bool
    cost_usd: float


class RemoteCall:
    """A call in progress. Call ``start``, then ``poll`` until ``reply`` is set."""

    def __init__(
        self,
        request: CallRequest,
        *,
        ledger: CallLedger,
        store: ObjectStore,
        deployment: Deployment,
        limits: WaitLimits,
        run_id: str,
        estimated_minutes: float,
        log: logging.Logger,
    ) -> None:
        self.request = request
        self.reply: CallReply | None = None
        self._ledger = ledger
        self._store = store
        self._deployment = deployment
        self._limits = limits
        self._run_id = run_id
        self._estimated_minutes = estimated_minutes
        self._log = log
        self._row: CallRow | None = None
        self._call: modal.FunctionCall[Any] | None = None
        self._reattached = False
        self._repeated = False
        self._lost = False
        self._pause_until = 0.0
        self._pauses = 0
        self._silent_since: float | None = None
        self._unknown_since: float | None = None
        # Calls of this work that ended without a result: their leases are those of dead workers.
        self._ended_ids: set[str] = set()
        self._unrecorded: str | None = None
        self._spawner = uuid4().hex
        self._has_claim = False
        self._looked_at = float("-inf")
        self._graph_seen = False
        self._queued_from = time.monotonic()
        self._running_from: float | None = None

    @property
    def row(self) -> CallRow:
        """The ledger's row, as last read."""
        assert self._row is not None, "the call was not started"
        return self._row

    @property
    def what(self) -> str:
        """The name of the call in messages."""
        segment = self.request.segment
        part = "" if segment is None else f" (segment {segment.index + 1} of {segment.count})"
        call_id = self._row.external_call_id if self._row else None
        return f"{self.request.function}{part} for video {self.request.video_id}" + (f", {call_id}" if call_id else "")

    @property
    def report(self) -> CallReport:
        """Return the figures of the call, once its reply is set."""
        assert self.reply is not None
        worker, row = self.reply.worker, self.row
        seconds = 0.0 if self._repeated else worker.seconds
        return CallReport(
            call_id=row.external_call_id or "",
            url=row.dashboard_url or "",
            app_version=worker.code_version,
            device=worker.device,
            queued_s=self._queued_seconds(worker.started_at),
            running_s=worker.seconds,
            attempts=row.attempts,
            reattached=self._reattached,
            reused=self._repeated or worker.reused,
            cost_usd=seconds * price_per_second(self.request.function, gpu_of_device(worker.device)),
        )

    def start(self) -> None:
        """Find the call in the ledger and resume it, or make it.

        Raises:
            QuotaExceeded: the tenant's remaining quota does not suffice; nothing was spent.
            ComputeMisconfigured: Modal refuses access, or the app is not deployed.
            ComputeUnavailable: Modal cannot be reached; the ledger makes a retry safe.
        """
        self._row = self._recorded()
        if self._row.state == "refused":
            details = self._row.error_details or {}
            raise QuotaExceeded(f"{self.what}: {details.get('message', 'over the limit')}")
        self._reach()

    def poll(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the reply; afterward ``reply`` may be set.

        Raises:
            ComputeError: the call ended without a result, or a time limit passed. Its type says whether to retry.
        """
        assert self._call is not None
        if time.monotonic() < self._pause_until:
            time.sleep(min(seconds, max(0.0, self._pause_until - time.monotonic())))
            return
        try:
            message = self._call.get(timeout=seconds)
        except TimeoutError:
            self._answered()
            self._not_ready()
        except Exception as error:  # noqa: BLE001 - every kind is told apart
            self._failed_poll(error)
        except BaseException as error:
            if meaning_of(error, waiting=True) is not Meaning.CANCELLED:
                raise
            self._failed_poll(error)
        else:
            self._answered()
            self._finish(message)

    def cancel(self, reason: str, error_type: str = "Cancelled") -> None:
        """Cancel the call on Modal, waiting a bounded time, and record it."""
        if self._row is None or self._is_over:
            return
        call = self._call
        if call is None and not self._has_claim:
            return  # another caller makes it
        confirmed: list[bool] = []
        if call is not None:

            def cancel() -> None:
                confirmed.append(_cancel_quietly(call, self.what, self._log))

            thread = threading.Thread(target=cancel, daemon=True)
            thread.start()
            thread.join(self._limits.cancel_s)
        details = self._details(error_type, reason)
        try:
            if any(confirmed):
                self._end("cancelled", error_details=details)
            else:
                self._log.warning(
                    "%s: Modal did not confirm the cancellation; reconciliation asks for it again", self.what
                )
                self._row = self._ledger.request_compute_cancel(self.row.id, details)
        except Exception as error:  # noqa: BLE001 - what led to the cancellation matters more
            self._log.warning("%s: its end could not be recorded (%s)", self.what, error)

    def tell(self) -> None:
        """Log in one line whether the call is queued or running, for how long, and its URL."""
        now = time.monotonic()
        since = self._queued_from if self._running_from is None else self._running_from
        state = "queued" if self._running_from is None else "running"
        self._log.info("%s: %s for %.0f s, %s", self.what, state, now - since, self.row.dashboard_url)

    @property
    def is_running(self) -> bool:
        """Whether a container has started the call."""
        return self._running_from is not None

    # --- making and finding the call ------------------------------------------------------------------------------

    def _recorded(self) -> CallRow:
        return self._ledger.record_compute_call(
            self.request.call_key,
            self.request.video_id,
            app_name=self._deployment.app,
            environment=self._deployment.environment,
            function_name=self.request.function,
            code_version=self.request.code_version,
            arguments=self.request.arguments.model_dump(mode="json"),
            run_id=self._run_id or None,
            estimated_minutes=self._estimated_minutes,
        )

    def _reach(self) -> None:
        """Resume the call, reuse its result, or make it, if no other caller is making it."""
        while True:
            if self.row.state == "succeeded":
                if self._reuse():
                    return
                self._again("its outputs no longer exist")
            elif self.row.state in ("failed", "cancelled"):
                self._ended_ids.add(self.row.external_call_id or "")
                message = (self.row.error_details or {}).get("message", "")
                self._again(f"{self.row.state}: {message}"[:500])
            if self.row.external_call_id:
                self._attach(self.row.external_call_id)
                return
            self._has_claim = self._ledger.claim_compute_spawn(self.row.id, self._spawner, self._limits.intent_s)
            if self._has_claim:
                if not self._found_in_store():
                    self._spawn()
                return
            time.sleep(min(1.0, self._limits.intent_s / 10))
            self._row = self._ledger.find_compute_call(self.request.call_key) or self._recorded()

    def _found_in_store(self) -> bool:
        """Take the result, or the running call, of an attempt whose record was lost when its caller died."""
        completed = records.read_completed(self._store, self.request)
        if completed is not None:
            self._log.info("%s: completed by a call that no run recorded; taking its result", self.what)
            try:
                completed.to_wire()
            except EnvelopeError:  # too large for a message, and for a row
                ref = records.completed_ref(self._store, self.request)
                completed = completed.model_copy(update={"result": None, "result_ref": ref})
            self.reply, self._repeated = completed, True
            self._end("succeeded", reply=completed)
            return True
        keys = VideoKeys(self.request.tenant_id, self.request.video_id)
        working = leases.working_call(self._store, keys, self.request.call_key)
        if working is None or working in self._ended_ids:
            return False
        self._log.info("%s: %s, which no run recorded, does this work; resuming it", self.what, working)
        self._join(working)
        return True

    def _join(self, call_id: str) -> None:
        """Record a call that another caller made as this one's, and wait for it."""
        self._row = self._ledger.spawn_compute_call(self.row.id, call_id)
        self._attach(self.row.external_call_id or call_id)

    def _reuse(self) -> bool:
        """Reuse the result of an earlier call, if all its outputs still exist."""
        try:
            reply = CallReply.from_wire(dict(self.row.result or {}))
        except EnvelopeError:
            return False
        if records.read_completed(self._store, self.request) is None:
            return False
        self.reply, self._repeated = reply, True
        self._log.info("%s: completed earlier; reusing its result", self.what)
        return True

    def _again(self, reason: str) -> None:
        self._log.info("%s: restarted because %s", self.what, reason)
        self._row = self._ledger.respawn_compute_call(self.row.id, attempt=self.row.attempts, reason=reason)
        self._call, self._running_from, self._graph_seen, self._unrecorded = None, None, False, None

    def _attach(self, call_id: str) -> None:
        self._call = _modal().FunctionCall.from_id(call_id)
        self._reattached = True
        now = time.monotonic()
        self._queued_from = now - _age(self.row.spawned_at)
        self._running_from = now - _age(self.row.started_at) if self.row.started_at else None
        self._log.info("%s: resumed, %s", self.what, self.row.dashboard_url)

    def _spawn(self) -> None:
        deployment = self._deployment
        try:
            function = _modal().Function.from_name(
                deployment.app, self.request.function, environment_name=deployment.environment or None
            )
            call = function.spawn(self.request.to_wire())
            url = call.get_dashboard_url()
        except ComputeError:
            raise
        except Exception as error:
            meaning = meaning_of(error, waiting=False)
            raised = error_for(meaning, error, what=self.what, app=deployment.app, environment=deployment.environment)
            if not raised.retryable:
                self._end("failed", error_details=self._details(type(error).__name__, str(raised)))
            else:
                self._ledger.claim_compute_spawn(self.row.id, self._spawner, 0.0)
            raise raised from error
        self._queued_from = time.monotonic()
        self._call, self._unrecorded = call, url
        self._log.info("%s: submitted to Modal, %s", self.what, url)
        self._record_spawn()

    def _record_spawn(self) -> None:
        """Record the submitted call; without the ledger, the call goes on, and the next look tries again."""
        assert self._call is not None
        try:
            self._row = self._ledger.spawn_compute_call(
                self.row.id, self._call.object_id, dashboard_url=self._unrecorded
            )
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
            self._log.warning("%s: submitted as %s, not recorded yet (%s)", self.what, self._call.object_id, error)
            return
        self._unrecorded = None
        recorded = self._row.external_call_id
        if recorded and recorded != self._call.object_id:
            _cancel_quietly(self._call, self.what, self._log)
            self._attach(recorded)

    # --- waiting --------------------------------------------------------------------------------------------------

    def _answered(self) -> None:
        self._silent_since, self._unknown_since, self._pauses, self._pause_until = None, None, 0, 0.0

    def _not_ready(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= self._limits.look_s:
            self._looked_at = now
            if self._running_from is None and self._has_begun():
                self._running_from = now
                self._log.info("%s: running", self.what)
            self._touch()
        spec, limits = FUNCTIONS[self.request.function], self._limits
        run_limit = spec.timeout_s + spec.startup_timeout_s + 120.0 if limits.run_s is None else limits.run_s
        if self._running_from is not None:
            if now - self._running_from > run_limit:
                self.cancel(f"it ran for more than {run_limit:.0f} s", ComputeTimeout.__name__)
                raise ComputeTimeout(f"{self.what}: still running after {run_limit:.0f} s; it was cancelled")
        elif now - self._queued_from > limits.queue_s + (0.0 if self._graph_seen else run_limit):
            raise ComputeUnavailable(
                f"{self.what}: no GPU was free for {now - self._queued_from:.0f} s; "
                "it stays in Modal's queue, and the next attempt resumes it"
            )

    def _touch(self) -> None:
        """Record that a run waits for the call. An unavailable ledger does not disturb the call."""
        if self._unrecorded is not None:
            self._record_spawn()
        try:
            self._ledger.touch_compute_call(self.row.id, running=self.is_running)
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
            self._log.warning("%s: the ledger is unavailable (%s); the call goes on", self.what, error)

    def _has_begun(self) -> bool:
        """Return whether a container has started the call; False if that is unknown."""
        assert self._call is not None
        try:
            inputs = self._call.get_call_graph()
        except Exception as error:  # noqa: BLE001 - only a look; the next poll will say if something is wrong
            self._log.debug("%s: no call graph (%s)", self.what, type(error).__name__)
            return False
        own = [entry for entry in inputs if entry.function_call_id == self._call.object_id]
        self._graph_seen = bool(own)
        return any(entry.task_id for entry in own)

    def _failed_poll(self, error: BaseException) -> None:
        meaning = meaning_of(error, waiting=True)
        deployment = self._deployment
        raised = error_for(meaning, error, what=self.what, app=deployment.app, environment=deployment.environment)
        if meaning in (Meaning.TRANSIENT, Meaning.THROTTLED):
            self._wait_out(meaning, error, raised)
            return
        if meaning is Meaning.EXPIRED:
            if not self._is_certain(error):
                return
            if not self._lost:
                self._lost = True
                self._ended_ids.add(self.row.external_call_id or "")
                self._again(f"Modal no longer has it ({type(error).__name__})")
                self._reattached = False
                self._reach()
                return
        state: Literal["cancelled", "failed"] = "cancelled" if meaning is Meaning.CANCELLED else "failed"
        if meaning is not Meaning.FORBIDDEN:  # a wrong token says nothing of the call; it may well be running
            self._end(state, error_details=self._details(type(error).__name__, str(raised)))
        raise raised from error

    def _is_certain(self, error: BaseException) -> bool:
        """Return whether Modal really lost the call; one answer that it does not know it may be a mistake."""
        if type(error).__name__ != "NotFoundError":
            return True
        now = time.monotonic()
        self._unknown_since = now if self._unknown_since is None else self._unknown_since
        if now - self._unknown_since >= self._limits.lost_s:
            self._unknown_since = None
            return True
        self._pause_until = now + min(1.0, self._limits.lost_s / 3)
        return False

    def _wait_out(self, meaning: Meaning, error: BaseException, raised: ComputeError) -> None:
        """Pause before the same id is polled again; the call itself continues."""
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if now - self._silent_since > self._limits.unreachable_s:
            raise ComputeUnavailable(
                f"{raised}; Modal did not answer for {now - self._silent_since:.0f} s; the call continues"
            ) from error
        first = self._limits.throttled_s if meaning is Meaning.THROTTLED else min(1.0, self._limits.poll_s)
        pause = first * 2 ** min(self._pauses, 4)
        self._pauses += 1
        self._pause_until = now + pause
        self._log.warning("%s; polling again in %g s", raised, pause)

    # --- ends -----------------------------------------------------------------------------------------------------

    def _finish(self, message: object) -> None:
        if self._unrecorded is not None:
            self._record_spawn()
        try:
            reply = CallReply.from_wire(message)
            if reply.call_key != self.request.call_key and reply.failure is None:
                raise EnvelopeError("the reply belongs to another call")
        except EnvelopeError as error:
            raised = ComputeMisconfigured(f"{self.what}: {error}; deploy the app again with `{DEPLOY_COMMAND}`")
            self._end("failed", error_details=self._details("EnvelopeError", str(raised)))
            raise raised from error
        if reply.failure is not None and reply.failure.kind == "busy":
            self._leave_to(reply.failure.message)
            return
        if reply.failure is not None:
            self._end("failed", reply=reply, error_details=self._details(reply.failure.type, reply.failure.message))
            self._log.warning("%s: failed remotely\n%s", self.what, reply.failure.traceback)
            raise _error_of(reply.failure, self.what)
        self.reply = reply
        self._end("succeeded", reply=reply)
        if reply.worker.code_version != self.request.code_version:
            self._log.warning(
                "%s: the app runs version %s, this side is %s; deploy it with `%s`",
                self.what,
                reply.worker.code_version,
                self.request.code_version,
                DEPLOY_COMMAND,
            )

    def _leave_to(self, call_id: str) -> None:
        """Wait for the call that does the same work; this one ended at once.

        Raises:
            ComputeUnavailable: that call is unknown; the next attempt finds its result or does the work.
        """
        own = self.row.external_call_id
        if not call_id or call_id in (own, *self._ended_ids):
            raised = ComputeUnavailable(f"{self.what}: another call does the same work")
            self._end("failed", error_details=self._details("HeldElsewhere", str(raised)))
            raise raised
        self._ended_ids.add(own or "")
        self._again(f"{call_id} does the same work")
        self._join(call_id)

    @property
    def _is_over(self) -> bool:
        return self.row.state in ("succeeded", "failed", "cancelled", "refused")

    def _end(
        self,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        reply: CallReply | None = None,
        error_details: dict[str, Any] | None = None,
    ) -> None:
        seconds = reply.worker.seconds if reply else None
        gpu = gpu_of_device(reply.worker.device) if reply else None
        self._row = self._ledger.end_compute_call(
            self.row.id,
            state,
            result=reply.to_wire() if reply and state == "succeeded" else None,
            error_details=error_details,
            queued_s=self._queued_seconds(reply.worker.started_at) if reply else None,
            running_s=seconds,
            estimated_cost_usd=None if seconds is None else seconds * price_per_second(self.request.function, gpu),
        )

    def _queued_seconds(self, started_at: float) -> float:
        spawned = self.row.spawned_at
        return 0.0 if spawned is None else max(0.0, started_at - spawned.timestamp())

    def _details(self, error_type: str, message: str) -> dict[str, Any]:
        return {
            "message": message[:1000],
            "error_type": error_type,
            "run_id": self._run_id or None,
            "time": datetime.now(UTC).isoformat(),
        }


def cancel_by_id(call_id: str, log: logging.Logger) -> bool:
    """Cancel a call by its id; return False if Modal did not accept the request."""
    return _cancel_quietly(_modal().FunctionCall.from_id(call_id), call_id, log)


def _cancel_quietly(call: modal.FunctionCall[Any], what: str, log: logging.Logger) -> bool:
    try:
        call.cancel(terminate_containers=True)
    except Exception as error:  # noqa: BLE001 - it may be over already, and reconciliation tries again
        meaning = meaning_of(error, waiting=True)
        if meaning is Meaning.EXPIRED:
            return True
        log.warning("%s: could not be cancelled (%s: %s)", what, type(error).__name__, error)
        return False
    return True


def _error_of(failure: RemoteFailure, what: str) -> ComputeError:
    """Return the local error for a remote failure."""
    if failure.kind == "bad_input":
        return BadInput(failure.message)
    if failure.kind == "contract":
        return ComputeMisconfigured(f"{what}: {failure.message}; deploy the app again with `{DEPLOY_COMMAND}`")
    if failure.retryable:
        return ComputeUnavailable(f"{what}: {failure.type}: {failure.message}")
    return ComputeError(f"{what}: {failure.type}: {failure.message}")


def _age(moment: datetime | None) -> float:
    """Return the seconds since a timezone-aware time; 0 if there is none."""
    return 0.0 if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _modal() -> Any:
    """Return Modal's client module, with a bound on its own waiting when the server is busy."""
    os.environ.setdefault("MODAL_MAX_THROTTLE_WAIT", _MAX_THROTTLE_WAIT)
    import modal

    return modal
