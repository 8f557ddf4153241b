"""Classify errors of Modal's client: keep waiting, restart the call, or give up and say what to do."""

from __future__ import annotations

import enum

from captionacc_dagster.compute.base import (
    ComputeError,
    ComputeForbidden,
    ComputeMisconfigured,
    ComputeTimeout,
    ComputeUnavailable,
)
from captionacc_dagster.compute.modal_spec import DEPLOY_COMMAND


class Meaning(enum.Enum):
    """What an error means for the waiting run."""

    TRANSIENT = "the connection or Modal failed temporarily; the call is not affected"
    THROTTLED = "Modal asks for fewer requests; the call is not affected"
    EXPIRED = "Modal no longer knows the call or its result"
    TIMED_OUT = "the function exceeded its time limit"
    DIED = "the container died during the call"
    CANCELLED = "the call was cancelled on Modal's side"
    FORBIDDEN = "Modal refuses the token"
    MISSING = "the app or the function is not deployed"
    INVALID = "Modal refuses the request, or the two sides are incompatible"


def meaning_of(error: BaseException, *, waiting: bool) -> Meaning:
    """Return what an error means.

    Args:
        error: an exception from Modal's client, except the built-in ``TimeoutError`` of a poll, which only means that
            the result is not available yet.
        waiting: whether a result was being waited for; before that, NotFound refers to the app, not the call.
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
    # While a call is polled, a refused poll says nothing of the call.
    of_the_poll = e.ConflictError | e.InvalidError | e.AlreadyExistsError | e.UnimplementedError | e.DataLossError
    if waiting and isinstance(error, of_the_poll):
        return Meaning.TRANSIENT
    passing = (
        e.ServiceError,
        e.InternalError,
        e.ConnectionError,
        e.TimeoutError,
        e.ClientClosed,
        OSError,  # includes the built-in TimeoutError and ConnectionError
        grpclib.exceptions.StreamTerminatedError,
        grpclib.exceptions.ProtocolError,
    )
    if isinstance(error, passing):
        return Meaning.TRANSIENT
    if isinstance(error, grpclib.GRPCError) and not isinstance(error, e.Error):
        return Meaning.TRANSIENT
    return Meaning.INVALID


def error_for(meaning: Meaning, error: BaseException, *, what: str, app: str, environment: str) -> ComputeError:
    """Return the error for the caller, in one line that says what to do if a person can do something.

    Args:
        what: the function and, once known, the call.
        app, environment: the target of the call.
    """
    reason = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
    place = f"app {app}" + (f" in environment {environment}" if environment else "")
    if meaning is Meaning.TIMED_OUT:
        return ComputeTimeout(f"{what}: Modal stopped it at its time limit ({said})")
    if meaning is Meaning.FORBIDDEN:
        return ComputeForbidden(
            f"{what}: Modal refuses the token ({said}); set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or `modal token new`"
        )
    if meaning is Meaning.MISSING:
        return ComputeMisconfigured(f"{what}: {place} is not deployed ({said}); deploy it with `{DEPLOY_COMMAND}`")
    if meaning is Meaning.INVALID:
        return ComputeMisconfigured(
            f"{what}: Modal and this side are incompatible ({said}); deploy {place} again with `{DEPLOY_COMMAND}`"
        )
    if meaning is Meaning.CANCELLED:
        return ComputeError(f"{what}: cancelled on Modal's side")
    if meaning is Meaning.EXPIRED:
        return ComputeUnavailable(f"{what}: Modal lost the call twice ({said})")
    return ComputeUnavailable(f"{what}: {meaning.value} ({said})")
