"""What an error of Modal's client means for a call: wait on, make it anew, or give up and say what to do."""

from __future__ import annotations

import enum

from captionacc_dagster.compute.base import (
    ComputeError,
    ComputeMisconfigured,
    ComputeTimeout,
    ComputeUnavailable,
)
from captionacc_dagster.compute.modal_spec import DEPLOY_COMMAND


class Meaning(enum.Enum):
    """What happened, as far as the one who waits is concerned."""

    TRANSIENT = "the connection or Modal itself failed for the moment; the call is not touched by it"
    THROTTLED = "Modal asks for fewer requests; the call is not touched by it"
    EXPIRED = "Modal no longer knows the call or its result"
    TIMED_OUT = "the function ran into its time limit"
    DIED = "the container died under the call"
    CANCELLED = "somebody cancelled the call"
    FORBIDDEN = "Modal refuses the token"
    MISSING = "the app or the function is not deployed"
    INVALID = "Modal refuses the request, or the two sides do not fit together"


def meaning_of(error: BaseException, *, waiting: bool) -> Meaning:
    """Tell what an error means.

    Args:
        error: anything that Modal's client raised, except the builtin ``TimeoutError`` of a poll, which only says that
            the result is not there yet.
        waiting: whether a result was waited for; before that, what is not found is the app, not the call.
    """
    import grpclib
    import grpclib.exceptions
    import modal.exception as e

    if isinstance(error, e.InputCancellation):
        return Meaning.CANCELLED
    if isinstance(error, e.OutputExpiredError) or (waiting and isinstance(error, e.NotFoundError)):
        return Meaning.EXPIRED
    if isinstance(error, e.FunctionTimeoutError):
        return Meaning.TIMED_OUT
    if isinstance(error, e.ResourceExhaustedError):
        return Meaning.THROTTLED
    if isinstance(error, e.AuthError | e.PermissionDeniedError):
        return Meaning.FORBIDDEN
    if isinstance(error, e.NotFoundError):
        return Meaning.MISSING
    if isinstance(error, e.InternalFailure | e.RemoteError):
        return Meaning.DIED
    passing = (
        e.ServiceError,
        e.InternalError,
        e.ConnectionError,
        e.TimeoutError,
        e.ClientClosed,
        OSError,  # the builtin TimeoutError and ConnectionError among them
        grpclib.exceptions.StreamTerminatedError,
        grpclib.exceptions.ProtocolError,
    )
    if isinstance(error, passing):
        return Meaning.TRANSIENT
    if isinstance(error, grpclib.GRPCError) and not isinstance(error, e.Error):
        return Meaning.TRANSIENT
    return Meaning.INVALID


def error_for(meaning: Meaning, error: BaseException, *, what: str, app: str, environment: str) -> ComputeError:
    """Make the error that the caller sees, in one line that says what to do where somebody can do something.

    Args:
        what: the function and, once known, the call.
        app, environment: where it was looked for.
    """
    reason = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
    place = f"app {app}" + (f" in environment {environment}" if environment else "")
    if meaning is Meaning.TIMED_OUT:
        return ComputeTimeout(f"{what}: Modal ended it at its time limit ({said})")
    if meaning is Meaning.FORBIDDEN:
        return ComputeMisconfigured(
            f"{what}: Modal refuses the token ({said}); set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or `modal token new`"
        )
    if meaning is Meaning.MISSING:
        return ComputeMisconfigured(f"{what}: {place} is not deployed ({said}); deploy it with `{DEPLOY_COMMAND}`")
    if meaning is Meaning.INVALID:
        return ComputeMisconfigured(
            f"{what}: Modal and this side do not fit together ({said}); deploy {place} anew with `{DEPLOY_COMMAND}`"
        )
    if meaning is Meaning.CANCELLED:
        return ComputeError(f"{what}: cancelled on Modal's side")
    if meaning is Meaning.EXPIRED:
        return ComputeUnavailable(f"{what}: Modal lost the call twice ({said})")
    return ComputeUnavailable(f"{what}: {meaning.value} ({said})")
