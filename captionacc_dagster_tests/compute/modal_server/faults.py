"""What the server can be told to do wrong: to one request, or to one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from grpclib import Status

CallState = Literal["queued", "running", "ended", "expired"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        status: the request is refused with this status.
        retry_after_s: how long the client is told to wait before it asks again; None: it is not told.
        drop: the connection breaks, ``before`` the request is handled or ``after`` it (the reply is lost).
        delay_s: the request is handled only after this time.
    """

    status: Status | None = None
    retry_after_s: float | None = None
    drop: Literal["before", "after"] | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one call, in place of running the deployed function.

    Attributes:
        kind: ``run`` runs the real function in a process of its own; ``reply`` answers at once; ``queued`` never
            starts; ``hang`` starts and never ends; the others end the call as Modal does.
        reply: what ``reply`` gives, from the message that was sent.
        error: what ``user_error`` raises.
        after_s: how long the call runs before that.
    """

    kind: Literal[
        "run",
        "reply",
        "queued",
        "hang",
        "timeout",
        "internal_failure",
        "evicted",
        "out_of_memory",
        "cancelled",
        "user_error",
    ] = "run"
    reply: Callable[[Mapping[str, Any]], Any] | None = None
    error: BaseException | None = None
    after_s: float = 0.0
