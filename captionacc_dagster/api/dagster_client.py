"""Dagster's webserver over GraphQL: make a run, find a run, ask whether it is there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from dagster._core.storage.tags import PARTITION_NAME_TAG

from captionacc_dagster.orchestration.flows import Flow, videos_partitions
from captionacc_dagster.orchestration.priority import DAGSTER_PRIORITY_TAG, REQUEST_TAG
from captionacc_dagster.orchestration.requests import KnownRun, RunPlan

_log = logging.getLogger(__name__)

_REPOSITORIES = """query {
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } pipelines { name } } } }
}"""
# Mutations of one document are done in their order.
_LAUNCH = """mutation ($repository: RepositorySelector!, $partitions: String!, $partition: String!,
  $run: ExecutionParams!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $partitions, partitionKey: $partition) {
    __typename ... on PythonError { message }
  }
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId tags { key value } } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_FIND = """query ($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1) {
    __typename ... on Runs { results { runId status tags { key value } } } ... on PythonError { message }
  }
}"""
_DELETE = "mutation ($run: String!) { deleteRun(runId: $run) { __typename } }"

_SELECTION_GONE = frozenset({"PipelineNotFoundError", "InvalidSubsetError"})


class DagsterAway(Exception):
    """The webserver cannot be reached, or cannot make runs now; nothing was made."""


class AnswerLost(Exception):
    """The webserver was asked to make a run and nobody knows whether it did."""


class RunRefused(Exception):
    """The webserver could not make a run to its end; it may have got stuck half-way."""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that carries a request's tag, and whether it ever entered the queue."""

    run: KnownRun
    is_submitted: bool


class DagsterClient:
    """A client for threads; connections are kept and bounded.

    Args:
        url: of the webserver.
        timeout_s: for one answer.
        connections: most connections at a time; further calls wait for one.
    """

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
        """Ask for a sign of life.

        Raises:
            DagsterAway: it gives none.
        """
        try:
            self._http.get("/server_info", timeout=timeout_s).raise_for_status()
        except httpx.HTTPError as error:
            raise DagsterAway(f"Dagster does not answer: {type(error).__name__}") from error

    def launch(self, plan: RunPlan) -> KnownRun:
        """Make the run of a plan and put it into the queue; its partition is made when it is new.

        Raises:
            DagsterAway: nothing was made.
            RunRefused: Dagster could not.
            AnswerLost: nobody knows.
        """
        repository = self._select()
        tags = {**plan.tags, PARTITION_NAME_TAG: plan.partition_key}
        variables = {
            "repository": repository,
            "partitions": videos_partitions.name,
            "partition": plan.partition_key,
            "run": {
                "selector": {**repository, "jobName": plan.job_name},
                "mode": "default",
                "runConfigData": dict(plan.run_config),
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        }
        answer = self._ask(_LAUNCH, variables)["launchRun"]
        if answer["__typename"] == "LaunchRunSuccess":
            return _known_run(answer["run"], plan.request_id)
        if answer["__typename"] in _SELECTION_GONE:
            self._repository = None
            raise DagsterAway(f"Dagster has no job {plan.job_name} now")
        reason = answer.get("message") or "; ".join(error["message"] for error in answer.get("errors", ()))
        _log.error("Dagster refused a run of %s: %s: %s", plan.job_name, answer["__typename"], reason)
        raise RunRefused(f"Dagster could not make the run: {answer['__typename']}")

    def find_run(self, request_id: str) -> FoundRun | None:
        """Find the newest run that carries a request's tag.

        Raises:
            DagsterAway: the webserver cannot be asked.
        """
        try:
            answer = self._ask(_FIND, {"filter": {"tags": [{"key": REQUEST_TAG, "value": request_id}]}})["runsOrError"]
        except AnswerLost as error:
            raise DagsterAway(f"Dagster does not answer: {error}") from error
        if answer["__typename"] != "Runs":
            raise DagsterAway(f"Dagster cannot look for runs: {answer['__typename']}")
        runs = answer["results"]
        if not runs:
            return None
        return FoundRun(_known_run(runs[0], request_id), runs[0]["status"] != "NOT_STARTED")

    def delete_run(self, run_id: str) -> None:
        """Remove a run that never entered the queue.

        Raises:
            DagsterAway: the webserver cannot be asked.
        """
        try:
            self._ask(_DELETE, {"run": run_id})
        except AnswerLost as error:
            raise DagsterAway(f"Dagster does not answer: {error}") from error

    def _select(self) -> Mapping[str, str]:
        """Find the repository that holds our jobs, once."""
        with self._selecting:
            if self._repository is None:
                try:
                    found = self._ask(_REPOSITORIES, {})["repositoriesOrError"].get("nodes", [])
                except AnswerLost as error:
                    raise DagsterAway(f"Dagster does not answer: {error}") from error
                for node in found:
                    if {job["name"] for job in node["pipelines"]} >= set(Flow):
                        self._repository = {
                            "repositoryName": node["name"],
                            "repositoryLocationName": node["location"]["name"],
                        }
                        break
                else:
                    raise DagsterAway("Dagster has not loaded the code location")
            return self._repository

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._http.post("/graphql", json={"query": query, "variables": dict(variables)})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise DagsterAway(f"Dagster cannot be reached: {type(error).__name__}") from error
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
                raise DagsterAway(f"Dagster refuses the question: HTTP {answer.status_code}")
            raise AnswerLost(f"HTTP {answer.status_code}")
        return data


def _known_run(run: Mapping[str, Any], request_id: str) -> KnownRun:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    priority = tags.get(DAGSTER_PRIORITY_TAG, "")
    return KnownRun(run["runId"], request_id, int(priority) if priority.lstrip("-").isdecimal() else None)
