"""What is known of the request in hand, and its line in the log: JSON, without headers, bodies, queries or tokens."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID


@dataclass
class RequestFacts:
    """Facts of one request, filled in as they become known."""

    request_id: str
    method: str
    path: str
    client_ip: str
    tenant_id: UUID | None = None
    user_id: UUID | None = None
    video_id: UUID | None = None
    refusal: str | None = None


_current: ContextVar[RequestFacts | None] = ContextVar("captionacc_request", default=None)


def set_current(facts: RequestFacts) -> None:
    """Make these the facts of the request in hand."""
    _current.set(facts)


def current_facts() -> RequestFacts:
    """Give the facts of the request in hand; empty ones outside of any."""
    return _current.get() or RequestFacts("-", "-", "-", "-")


def current_request_id() -> str:
    """Give the id of the request in hand."""
    return current_facts().request_id


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whose request it was."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        facts = _current.get()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if facts is not None:
            line |= {
                "request_id": facts.request_id,
                "tenant_id": facts.tenant_id and str(facts.tenant_id),
                "user_id": facts.user_id and str(facts.user_id),
                "video_id": facts.video_id and str(facts.video_id),
            }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=True)


def log_as_json(level: int = logging.INFO) -> None:
    """Write this process' log as JSON lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These name every URL they call.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
