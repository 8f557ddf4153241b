"""A GraphQL client of Dagster's webserver: create, find, and delete runs, and ping it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from dagster import DagsterRunStatus, RunRequest

from captionacc_dagster.catalog.models import ProcessingRequest
from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.outcomes import is_run_of
from captionacc_dagster.orchestration.priority import submitted_priority
from captionacc_dagster.tags import PARTITION_TAG, REQUEST_TAG

_log = logging.getLogger(__name__)

_REPOSITORIES = """query {
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } pipelines { name } } } }
}"""
# Mutations of one document run in order.
_LAUNCH = """mutation ($repository: RepositorySelector!, $partitions: String!, $partition: String!,
  $run: ExecutionParams!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $partitions, partitionKey: $partition) {
    __typename ... on PythonError { message }
  }
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId status tags { key value } } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_FIND = """query ($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1) {
    __typename ... on Runs { results { runId status tags { key value } } } ... on PythonError { message }
  }
}"""
# The webserver asks the code location itself for this; what it knows of the jobs, it keeps when the location is gone.
_PLAN = 'query ($job: PipelineSelector!) { executionPlanOrError(pipeline: $job, mode: "default") { __typename } }'
_DELETE = "mutation ($run: String!) { deleteRun(runId: $run) { __typename } }"

_SELECTION_GONE = frozenset({"PipelineNotFoundError", "InvalidSubsetError"})


class DagsterUnavailable(Exception):
    """The webserver cannot be reached or cannot create runs now; nothing was created."""


class CodeLocationUnavailable(DagsterUnavailable):
    """The webserver answers, but the code location behind it does not, so no run can start now."""


class AnswerLost(Exception):
    """The webserver was asked to create a run, and the outcome is unknown."""


class RunRefused(Exception):
    """The webserver failed to create a run; it may be half created."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """The run of a request, and whether it ever entered the queue."""

    run_id: str
    priority: int | None
    is_submitted: bool = True


class DagsterClient:
    """A thread-safe client of the webserver with a bounded pool of connections; further calls wait."""

    def __init__(self, url: str, *, timeout_s: float = 15.0, connections: int = 8) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url,
            timeout=httpx.Timeout(timeout_s, connect=min(2.0, timeout_s), pool=2 * timeout_s),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=False,
        )
        self._selecting = threading.Lock()
        self._repository: Mapping[str, str] | None = None

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def ping(self, timeout_s: float = 2.0) -> None:
        """Verify that the webserver answers.

        Raises:
            DagsterUnavailable: it does not answer.
        """
        try:
            self._http.get("/server_info", timeout=timeout_s).raise_for_status()
        except httpx.HTTPError as error:
            raise DagsterUnavailable(f"Dagster does not answer: {type(error).__name__}") from error

    def ask_code_location(self, timeout_s: float = 3.0) -> None:
        """Verify that the code location answers, so that runs can be created and started.

        Raises:
            CodeLocationUnavailable: only the webserver answers.
            DagsterUnavailable: the webserver does not answer.
        """
        try:
            job = {**self._select(), "pipelineName": Flow.CAPTION_OCR.value}
            answer = self._ask(_PLAN, {"job": job}, timeout_s)["executionPlanOrError"]["__typename"]
        except AnswerLost as error:
            raise CodeLocationUnavailable(f"the code location does not answer: {error}") from error
        if answer != "ExecutionPlan":
            self._repository = None
            raise CodeLocationUnavailable(f"the code location does not answer: {answer}")

    def launch(self, plan: RunRequest) -> KnownRun:
        """Create the run of a plan and queue it, creating its partition if necessary.

        Raises:
            DagsterUnavailable: nothing was created.
            RunRefused: Dagster failed to create it.
            AnswerLost: the outcome is unknown.
        """
        repository = self._select()
        variables = {
            "repository": repository,
            "partitions": videos_partitions.name,
            "partition": plan.tags[PARTITION_TAG],
            "run": {
                "selector": {**repository, "jobName": plan.job_name},
                "mode": "default",
                "runConfigData": dict(plan.run_config),
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in plan.tags.items()]},
            },
        }
        answer = self._ask(_LAUNCH, variables)["launchRun"]
        if answer["__typename"] == "LaunchRunSuccess":
            return _known_run(answer["run"])
        if answer["__typename"] in _SELECTION_GONE:
            self._repository = None
            raise DagsterUnavailable(f"Dagster does not know the job {plan.job_name}")
        reason = answer.get("message") or "; ".join(error["message"] for error in answer.get("errors", ()))
        _log.error("Dagster refused a run of %s: %s: %s", plan.job_name, answer["__typename"], reason)
        raise RunRefused(f"Dagster could not create the run: {answer['__typename']}")

    def find_run(self, request: ProcessingRequest) -> KnownRun | None:
        """Return the newest run with a request's tag, or None if the request has lost that run.

        Raises:
            DagsterUnavailable: the webserver cannot be reached.
        """
        wanted = {"tags": [{"key": REQUEST_TAG, "value": str(request.id)}]}
        answer = self._query(_FIND, {"filter": wanted})["runsOrError"]
        if answer["__typename"] != "Runs":
            raise DagsterUnavailable(f"Dagster cannot find runs: {answer['__typename']}")
        if not answer["results"]:
            return None
        newest = answer["results"][0]
        tags = {tag["key"]: tag["value"] for tag in newest["tags"]}
        return _known_run(newest) if is_run_of(request, DagsterRunStatus(newest["status"]), tags) else None

    def delete_run(self, run_id: str) -> None:
        """Delete a run that never entered the queue.

        Raises:
            DagsterUnavailable: the webserver cannot be reached.
        """
        self._query(_DELETE, {"run": run_id})

    def _select(self) -> Mapping[str, str]:
        """Return the selector of the repository with our jobs, cached."""
        with self._selecting:
            if self._repository is None:
                for node in self._query(_REPOSITORIES, {})["repositoriesOrError"].get("nodes", []):
                    if {job["name"] for job in node["pipelines"]} >= set(Flow):
                        self._repository = {
                            "repositoryName": node["name"],
                            "repositoryLocationName": node["location"]["name"],
                        }
                        break
                else:
                    raise CodeLocationUnavailable("Dagster has not loaded the code location")
            return self._repository

    def _query(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Ask what may be asked again: it does not matter whether a lost answer was given."""
        try:
            return self._ask(query, variables)
        except AnswerLost as error:
            raise DagsterUnavailable(f"Dagster does not answer: {error}") from error

    def _ask(self, query: str, variables: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
        try:
            answer = self._http.post("/graphql", json={"query": query, "variables": dict(variables)}, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise DagsterUnavailable(f"Dagster cannot be reached: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise AnswerLost(type(error).__name__) from error
        try:
            body = answer.json()
        except ValueError:
            body = {}
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict) or any(value is None for value in data.values()):
            errors = body.get("errors") if isinstance(body, dict) else None
            _log.error("Dagster answered %s: %s", answer.status_code, str(errors)[:500])
            if 400 <= answer.status_code < 500:
                raise DagsterUnavailable(f"Dagster refuses the query: HTTP {answer.status_code}")
            raise AnswerLost(f"HTTP {answer.status_code}")
        return data


def _known_run(run: Mapping[str, Any]) -> KnownRun:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return KnownRun(run["runId"], submitted_priority(tags), run["status"] != "NOT_STARTED")
