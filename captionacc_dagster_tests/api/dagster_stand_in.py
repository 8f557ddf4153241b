"""A stand-in for Dagster's webserver on loopback, for what the real one does not do on demand: to be slow, to lose
answers, to fail half-way. It speaks as much GraphQL as the API asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from uuid import uuid4

from captionacc_dagster.tags import REQUEST_TAG

Behavior = Literal["answers", "loses answers", "loses questions", "refuses", "refuses half-way", "fails", "is unloaded"]


@dataclass
class StandIn:
    """What it does next, and what it was asked."""

    behavior: Behavior = "answers"
    delay_s: float = 0.0
    runs: list[dict[str, Any]] = field(default_factory=list)
    partitions: set[str] = field(default_factory=set)
    questions: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def runs_of(self, request_id: object) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["tags"].get(REQUEST_TAG) == str(request_id)]


class _Dropped(Exception):
    pass


def _answer(state: StandIn, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    if "repositoriesOrError" in query:
        state.questions.append("repositories")
        jobs = [{"name": name} for name in ("video_initial_processing", "crop_and_infer", "caption_ocr")]
        nodes = [{"name": "__repository__", "location": {"name": "captionacc"}, "pipelines": jobs}]
        return {"repositoriesOrError": {"nodes": [] if state.behavior == "is unloaded" else nodes}}
    if "executionPlanOrError" in query:
        state.questions.append("plan")
        return {"executionPlanOrError": {"__typename": "ExecutionPlan"}}
    if "runsOrError" in query:
        state.questions.append("find")
        wanted = {tag["key"]: tag["value"] for tag in variables["filter"]["tags"]}
        found = [run for run in reversed(state.runs) if wanted.items() <= run["tags"].items()]
        return {"runsOrError": {"__typename": "Runs", "results": [_as_graphql(run) for run in found[:1]]}}
    if "deleteRun" in query:
        state.questions.append("delete")
        state.runs[:] = [run for run in state.runs if run["runId"] != variables["run"]]
        return {"deleteRun": {"__typename": "DeletePipelineRunSuccess"}}
    assert "launchRun" in query, query
    state.questions.append("launch")
    return _launch(state, variables)


def _launch(state: StandIn, variables: dict[str, Any]) -> dict[str, Any]:
    time.sleep(state.delay_s)
    if state.behavior == "loses questions":
        raise _Dropped
    added = {"__typename": "AddDynamicPartitionSuccess"}
    error = {"__typename": "PythonError", "message": "the database is gone"}
    if state.behavior == "refuses":
        return {"addDynamicPartition": added, "launchRun": error}
    state.partitions.add(variables["partition"])
    tags = {tag["key"]: tag["value"] for tag in variables["run"]["executionMetadata"]["tags"]}
    run = {
        "runId": str(uuid4()),
        "job": variables["run"]["selector"]["jobName"],
        "config": variables["run"]["runConfigData"],
        "tags": tags,
        "status": "NOT_STARTED" if state.behavior == "refuses half-way" else "QUEUED",
    }
    state.runs.append(run)
    if state.behavior == "refuses half-way":
        return {"addDynamicPartition": added, "launchRun": error}
    if state.behavior == "loses answers":
        raise _Dropped
    return {"addDynamicPartition": added, "launchRun": {"__typename": "LaunchRunSuccess", "run": _as_graphql(run)}}


def _as_graphql(run: dict[str, Any]) -> dict[str, Any]:
    tags = [{"key": key, "value": value} for key, value in run["tags"].items()]
    return {"runId": run["runId"], "status": run["status"], "tags": tags}


@contextmanager
def dagster_stand_in() -> Iterator[StandIn]:
    """Run one for as long as the block lasts."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._send(200, {"dagster_webserver_version": "stand-in"})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.behavior == "fails":
                self._send(500, {"errors": [{"message": "broken"}]})
                return
            try:
                self._send(200, {"data": _answer(state, asked["query"], asked["variables"])})
            except _Dropped:
                self.close_connection = True
                self.connection.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
