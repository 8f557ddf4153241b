"""Facts about the current request, and its JSON log line, without headers, bodies, queries, or tokens.

``structlog`` would replace the formatter with a chain of processors of about the same length, and take 0.1 s to import.
"""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID


@dataclass
class RequestFacts:
    """Facts about one request, filled in as they become known."""

    request_id: str
    method: str
    path: str
    client_ip: str
    tenant_id: UUID | None = None
    user_id: UUID | None = None
    video_id: UUID | None = None
    refusal: str | None = None


# The facts of the current request.
current: ContextVar[RequestFacts | None] = ContextVar("captionacc_request", default=None)


def current_facts() -> RequestFacts:
    """Return the facts of the current request; empty ones outside of a request."""
    return current.get() or RequestFacts("-", "-", "-", "-")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the request's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        facts = current.get()
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
    """Log in this process as JSON lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These loggers log every URL they call.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
