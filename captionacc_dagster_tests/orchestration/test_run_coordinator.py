"""The coordinator on real instances: what it tags, in which order runs leave the queue, and how many at once."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
import yaml
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage import tags as dagster_tags

import captionacc_dagster
from captionacc_dagster import tags
from captionacc_dagster.orchestration.dagster_internals import UnsupportedDagster, check_queue_daemon, require_members
from captionacc_dagster.orchestration.limits import COMPUTE_POOL, MODAL_SLOTS, ensure_pool_slots
from captionacc_dagster.orchestration.priority import priority_run_tags
from captionacc_dagster.orchestration.queue_figures import videos_before
from captionacc_dagster.orchestration.queue_order import current_priority, in_order
from captionacc_dagster.orchestration.reconciliation import complete_tags
from captionacc_dagster.orchestration.run_coordinator import PriorityAwareRunCoordinator
from captionacc_dagster.orchestration.tenants import TenantDirectory
from captionacc_dagster.settings import get_settings
from captionacc_dagster.tags import (
    BASE_PRIORITY_TAG,
    DAGSTER_PRIORITY_TAG,
    FLOW_TAG,
    PARTITION_TAG,
    REQUESTED_AT_TAG,
    TENANT_TAG,
    TIER_SOURCE_TAG,
    TIER_TAG,
    VIDEO_TAG,
)
from captionacc_dagster_tests.orchestration.queue_harness import (
    EMBEDDED_YAML,
    KnownTenants,
    OpenQueue,
    Queue,
)

pytestmark = pytest.mark.integration

NO_LIMITS = {"tag_concurrency_limits": [], "max_concurrent_runs": -1}


def requested(hours_ago: float, tier: str = "free", tenant: str = "t") -> dict[str, str]:
    """Tags of a request made that long ago, as they were when it was made."""
    asked = datetime.now(UTC) - timedelta(hours=hours_ago)
    return priority_run_tags(tier, asked, tenant_id=tenant, now=asked)


def priority(queue: Queue, run_id: str) -> int:
    run = queue.instance.get_run_by_id(run_id)
    assert run
    return int(run.tags[DAGSTER_PRIORITY_TAG])


def test_a_run_of_a_video_gets_its_tenants_tags(open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        queue.tenants.tiers["acme"] = "premium"
        queue.tenants.videos["v-1"] = "acme"
        run = queue.submit("crop_and_infer", {"dagster/partition": "v-1"})
        assert run.status == DagsterRunStatus.QUEUED
        stored = queue.instance.get_run_by_id(run.run_id)
        assert stored
        tags = stored.tags
        assert (tags[TENANT_TAG], tags[TIER_TAG], tags[BASE_PRIORITY_TAG]) == ("acme", "premium", "70")
        assert (tags[FLOW_TAG], tags[VIDEO_TAG], tags[TIER_SOURCE_TAG]) == ("crop_and_infer", "v-1", "catalog")
        assert tags[DAGSTER_PRIORITY_TAG] == "70"
        assert datetime.now(UTC) - datetime.fromisoformat(tags[REQUESTED_AT_TAG]) < timedelta(minutes=1)


def test_base_and_request_time_of_a_retry_stay(open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        queue.tenants.tiers["t"] = "enterprise"
        before = requested(5.5, "premium")
        run = queue.submit(tags=before)
        assert {key: run.tags[key] for key in (BASE_PRIORITY_TAG, REQUESTED_AT_TAG, TIER_TAG)} == {
            key: before[key] for key in (BASE_PRIORITY_TAG, REQUESTED_AT_TAG, TIER_TAG)
        }
        assert priority(queue, run.run_id) == 75
        assert queue.tenants.questions == 0


def test_backfills_and_priorities_by_hand(open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        queue.tenants.tiers["acme"] = "premium"
        queue.tenants.videos["v-1"] = "acme"
        backfill = queue.submit("__ASSET_JOB", {"dagster/partition": "v-1", "dagster/backfill": "b"})
        by_hand = queue.submit(tags={"dagster/partition": "v-1", DAGSTER_PRIORITY_TAG: "100"})
        other = queue.submit("weather", {DAGSTER_PRIORITY_TAG: "high"})
        assert [priority(queue, run.run_id) for run in (backfill, by_hand, other)] == [60, 100, 50]
        assert backfill.tags[TENANT_TAG] == "acme"
        assert (other.tags[TIER_SOURCE_TAG], TENANT_TAG in other.tags) == ("no-video", False)


def test_a_catalog_that_is_away_gives_free_until_it_is_back(open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        queue.tenants.tiers["acme"] = "enterprise"
        queue.tenants.videos["v-1"] = "acme"
        queue.tenants.away = True
        runs = [queue.submit(tags={"dagster/partition": "v-1"}) for _ in range(3)]
        assert [run.status for run in runs] == [DagsterRunStatus.QUEUED] * 3
        assert runs[0].tags[TIER_SOURCE_TAG] == "catalog-unavailable"
        assert priority(queue, runs[0].run_id) == 50
        assert queue.tenants.questions == 1, "a catalog that is away is not asked for each run"

        later = datetime.now(UTC) + timedelta(hours=2)
        assert list(complete_tags(queue.instance, Queue.fresh_directory(queue.tenants), later)) == []
        queue.tenants.away = False
        assert len(list(complete_tags(queue.instance, Queue.fresh_directory(queue.tenants), later))) == 3
        corrected = queue.instance.get_run_by_id(runs[0].run_id)
        assert corrected
        assert corrected.tags[REQUESTED_AT_TAG] == runs[0].tags[REQUESTED_AT_TAG]
        assert (corrected.tags[TENANT_TAG], corrected.tags[TIER_SOURCE_TAG]) == ("acme", "catalog")
        assert priority(queue, runs[0].run_id) == 92


def test_a_run_is_queued_even_when_tagging_fails(open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_queue() as queue:

        def refuse(*_: object) -> None:
            raise RuntimeError("no tags today")

        with monkeypatch.context() as patch:
            patch.setattr(queue.instance, "add_run_tags", refuse)
            run = queue.submit()
        assert run.status == DagsterRunStatus.QUEUED
        assert BASE_PRIORITY_TAG not in run.tags
        assert current_priority(run.tags, datetime.now(UTC)) == 50, "as if it were free"
        assert queue.dequeue() == [run.run_id]


def test_order_by_tier_age_and_request_time(open_queue: OpenQueue) -> None:
    with open_queue(NO_LIMITS) as queue:
        # Queued in an order that is none of the three.
        submitted = {
            name: queue.submit(tags=tags).run_id
            for name, tags in {
                "premium": requested(0, "premium"),
                "free waiting 20 h": requested(20),
                "free waiting 300 h": requested(300),
                "free": requested(0),
                "enterprise": requested(0, "enterprise"),
                "enterprise waiting 25 h": requested(25, "enterprise"),
                "premium waiting 5 h": requested(5, "premium"),
            }.items()
        }
        # As they were queued when they were asked for, and have waited here since.
        for name, run_id in submitted.items():
            base = {"f": 50, "p": 70, "e": 90}[name[0]]
            queue.instance.add_run_tags(run_id, {DAGSTER_PRIORITY_TAG: str(base)})
        names = {run_id: name for name, run_id in submitted.items()}
        assert [names[run_id] for run_id in queue.dequeue()] == [
            "enterprise waiting 25 h",
            "enterprise",
            "premium waiting 5 h",
            # These three are level: the oldest request first, not the one that was queued first.
            "free waiting 300 h",
            "free waiting 20 h",
            "premium",
            "free",
        ]


def test_the_place_that_a_person_sees_is_the_order_in_which_runs_start(open_queue: OpenQueue) -> None:
    with open_queue(NO_LIMITS) as queue:
        waiting = {"a": (0, "free"), "b": (30, "free"), "c": (1, "enterprise"), "d": (0, "premium")}
        for video, (hours, tier) in waiting.items():
            queue.submit(tags={**requested(hours, tier), PARTITION_TAG: video})
        # A second run of a video puts nobody behind, and one without a video is nobody's.
        queue.submit(tags={**requested(0), PARTITION_TAG: "c"})
        queue.submit(tags=requested(2, "enterprise"))
        places = videos_before(queue.instance)
        started = [queue.instance.get_run_by_id(run_id) for run_id in queue.dequeue()]
        order = dict.fromkeys(run.tags[PARTITION_TAG] for run in started if run and PARTITION_TAG in run.tags)
        assert list(order) == sorted(places, key=lambda video: places[video])
        assert places == {"c": 0, "b": 1, "d": 2, "a": 3}
        assert videos_before(queue.instance) == {}


def test_a_run_that_replaces_a_lost_one_keeps_its_place(open_queue: OpenQueue) -> None:
    with open_queue({"max_concurrent_runs": 1, "tag_concurrency_limits": []}) as queue:
        first = queue.submit(tags=requested(0.9))
        second = queue.submit(tags=requested(0.5))
        assert queue.dequeue() == [first.run_id]
        queue.finish(first.run_id)
        again = queue.submit(tags={key: first.tags[key] for key in (BASE_PRIORITY_TAG, REQUESTED_AT_TAG, TENANT_TAG)})
        assert priority(queue, again.run_id) == priority(queue, second.run_id)
        assert queue.dequeue() == [again.run_id]


@pytest.mark.unit
def test_runs_that_do_not_say_when_they_were_asked_for_come_last_among_equals() -> None:
    tags = [
        {DAGSTER_PRIORITY_TAG: "50"},
        {DAGSTER_PRIORITY_TAG: "high"},
        {DAGSTER_PRIORITY_TAG: "50", REQUESTED_AT_TAG: "yesterday"},
        {DAGSTER_PRIORITY_TAG: "50", REQUESTED_AT_TAG: "2026-01-15T10:00:00.5+00:00"},
        {DAGSTER_PRIORITY_TAG: "50", REQUESTED_AT_TAG: "2026-01-15T11:00:00+01:00"},
        {DAGSTER_PRIORITY_TAG: "51"},
    ]
    runs = [DagsterRun(job_name=str(number), tags=each) for number, each in enumerate(tags)]
    assert [run.job_name for run in in_order(runs)] == ["5", "4", "3", "0", "2", "1"]


@pytest.mark.unit
def test_a_waiting_run_passes_a_fresh_one_at_the_very_moment_it_reaches_it() -> None:
    asked = datetime(2026, 1, 15, 10, tzinfo=UTC)
    free = DagsterRun(job_name="free", tags=priority_run_tags("free", asked, now=asked))
    moment = asked + timedelta(hours=20)
    fresh = moment - timedelta(minutes=1)
    premium = DagsterRun(job_name="premium", tags=priority_run_tags("premium", fresh, now=fresh))
    names = [
        [run.job_name for run in in_order([premium, free], now)] for now in (moment - timedelta(seconds=1), moment)
    ]
    assert names == [["premium", "free"], ["free", "premium"]]
    assert free.tags[DAGSTER_PRIORITY_TAG] == "50", "the tag says the priority at submission"


@pytest.mark.unit
def test_ten_thousand_waiting_runs_are_sorted_in_a_second() -> None:
    tiers = ("free", "premium", "enterprise")
    runs = [
        DagsterRun(job_name="crop_and_infer", tags=requested(number % 40, tiers[number % 3]))
        for number in range(10_000)
    ]
    began = time.process_time()
    ordered = in_order(runs)
    assert time.process_time() - began < 1.0
    now = datetime.now(UTC)
    priorities = [current_priority(run.tags, now) for run in ordered]
    assert priorities == sorted(priorities, reverse=True)


class _OtherName:
    def __init__(self) -> None:
        self._sorted = False

    def _get_runs_to_dequeue(self) -> None: ...


class _OtherSignature(_OtherName):
    def _priority_sort(self, runs: list[DagsterRun], limits: object) -> list[DagsterRun]:
        return runs

    def _get_runs_to_dequeue(self) -> None:
        self._priority_sort([], None)


class _SortsElsewhere(_OtherName):
    def _priority_sort(self, runs: list[DagsterRun]) -> list[DagsterRun]:
        return runs

    def _get_runs_to_dequeue(self) -> None: ...


@pytest.mark.unit
@pytest.mark.parametrize("daemon", [_OtherName, _OtherSignature, _SortsElsewhere])
def test_a_dagster_that_sorts_otherwise_is_refused_at_the_start(daemon: type) -> None:
    with pytest.raises(UnsupportedDagster, match=rf"^Dagster [\d.]+ .* {daemon.__name__}\._priority_sort"):
        check_queue_daemon(daemon)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("attributes", "methods"),
    [(["_engine"], {}), ([], {"_sort": "self runs"}), ([], {"_priority_sort": "self runs limits"})],
)
def test_a_dagster_without_a_private_member_is_refused_at_the_start(
    attributes: list[str], methods: dict[str, str]
) -> None:
    (name,) = [*attributes, *methods]
    with pytest.raises(UnsupportedDagster, match=rf"has no _SortsElsewhere\.{name} as captionacc uses it"):
        require_members(_SortsElsewhere, *attributes, **methods)
    require_members(_SortsElsewhere, "_sorted", "_get_runs_to_dequeue", _priority_sort="self runs")


def _is_of_dagster(cls: type) -> bool:
    return re.match(r"dagster(_postgres|_shared|_aws)?\b", cls.__module__) is not None


def _private_names(tree: ast.AST) -> set[str]:
    """Private members that source text reads, writes, or defines."""
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in named if re.match("_[^_]", name)}


def _members(cls: type) -> set[str]:
    """Members that a class itself has, or sets when it is created."""
    return set(vars(cls)) | (set(cls.__init__.__code__.co_names) if "__init__" in vars(cls) else set())


@pytest.mark.unit
def test_every_private_member_of_dagster_that_we_use_is_checked_at_the_start() -> None:
    package = Path(captionacc_dagster.__file__).parent
    used, checked, own = set[str](), set[str](), {"_replace"}
    for path in (path for path in package.rglob("*.py") if re.search("^from dagster", path.read_text(), re.MULTILINE)):
        name = ".".join(("captionacc_dagster", *path.relative_to(package).with_suffix("").parts))
        for cls in vars(importlib.import_module(name)).values():
            above = cls.__mro__ if isinstance(cls, type) and cls.__module__ == name else ()
            theirs = {name for each in above if _is_of_dagster(each) for name in _members(each)}
            if not theirs:
                continue
            ours = [each for each in above if each.__module__.startswith("captionacc") and "[" not in each.__name__]
            in_source = {name for each in ours for name in _private_names(ast.parse(dedent(inspect.getsource(each))))}
            used |= in_source & theirs
            own |= in_source - theirs
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require_members":
                checked |= {each.value for each in node.args if isinstance(each, ast.Constant)}
                checked |= {each.arg for each in node.keywords if each.arg}
            # Outside classes of ours, such as on a class of Dagster that is patched.
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "self") not in {"self", "cls"}:
                used |= _private_names(node)
    used -= own
    assert used <= checked
    assert {"_engine", "_event_to_row", "_instance", "_priority_sort", "_run_storage"} <= used, "it sees them"


@pytest.mark.unit
def test_private_names_of_dagster_are_in_one_place_and_the_tags_are_its_own() -> None:
    package = Path(captionacc_dagster.__file__).parent
    private = re.compile(r"^\s*(?:from|import) dagster\._", re.MULTILINE)
    assert {path.name for path in package.rglob("*.py") if private.search(path.read_text())} == {"dagster_internals.py"}
    named = {
        tags.DAGSTER_PRIORITY_TAG: dagster_tags.PRIORITY_TAG,
        tags.PARTITION_TAG: dagster_tags.PARTITION_NAME_TAG,
        tags.BACKFILL_TAG: dagster_tags.BACKFILL_ID_TAG,
        tags.PARENT_RUN_TAG: dagster_tags.PARENT_RUN_ID_TAG,
        tags.WILL_RETRY_TAG: dagster_tags.WILL_RETRY_TAG,
        tags.AUTO_RETRY_RUN_TAG: dagster_tags.AUTO_RETRY_RUN_ID_TAG,
        tags.RETRY_NUMBER_TAG: dagster_tags.RETRY_NUMBER_TAG,
        tags.MAX_RETRIES_TAG: dagster_tags.MAX_RETRIES_TAG,
        tags.SENSOR_TAG: dagster_tags.SENSOR_NAME_TAG,
    }
    assert len(named) == 9
    assert all(ours == theirs for ours, theirs in named.items())


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_runs_of_twenty_tenants_drain_fairly_and_in_order(open_queue: OpenQueue, count: int) -> None:
    # The deployed limits times four, so that a test of the order takes a fourth of the passes.
    limits = {"video_initial_processing": 20, "crop_and_infer": 8, "caption_ocr": 40}
    tag_limits = [{"key": FLOW_TAG, "value": flow, "limit": limit} for flow, limit in limits.items()]
    tag_limits.append({"key": TENANT_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 3})
    with open_queue({"max_concurrent_runs": 40, "tag_concurrency_limits": tag_limits}) as queue:
        facts = _put_runs(queue, count)
        waiting = set(facts)
        while waiting:
            started = queue.dequeue()
            assert started, "the queue does not move"
            waiting -= set(started)
            places = [facts[run_id].place for run_id in started]
            assert places == sorted(places)

            tenants = Counter(facts[run_id].tenant for run_id in started)
            flows = Counter(facts[run_id].job for run_id in started)
            assert max(tenants.values()) <= 3
            assert all(flows[flow] <= limit for flow, limit in limits.items())
            assert len(started) <= 40
            passed_over = [
                fact
                for fact in map(facts.__getitem__, waiting)
                if fact.place < places[-1] and tenants[fact.tenant] < 3 and flows[fact.job] < limits[fact.job]
            ]
            assert passed_over == []
            for run_id in started:
                queue.finish(run_id)


class Submitted(NamedTuple):
    """A run of the drained queue."""

    tenant: str
    job: str
    place: tuple[int, str]


def _put_runs(queue: Queue, count: int) -> dict[str, Submitted]:
    """Queue the runs of 20 tenants of all tiers; one of them, on free, has a fifth and comes first."""
    tiers = {f"tenant-{number:02}": ("enterprise", "premium", "free")[number % 3] for number in range(20)}
    now = datetime.now(UTC)
    entries = []
    for number in range(count):
        tenant = "tenant-02" if number < count * 0.15 else f"tenant-{number % 20:02}"
        job = "crop_and_infer" if number % 10 == 0 else ("video_initial_processing", "caption_ocr")[number % 2]
        asked = now - timedelta(hours=number % 40, seconds=number)
        entries.append((job, priority_run_tags(tiers[tenant], asked, tenant_id=tenant, now=now)))
    return {
        run.run_id: Submitted(
            run.tags[TENANT_TAG], run.job_name, (-int(run.tags[DAGSTER_PRIORITY_TAG]), run.tags[REQUESTED_AT_TAG])
        )
        for run in queue.put_all(entries)
    }


def test_the_environment_overrides_single_limits(open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONACC_MAX_CONCURRENT_RUNS_PER_TENANT", "1")
    monkeypatch.setenv("CAPTIONACC_MAX_CONCURRENT_RUNS_PER_FLOW", '{"crop_and_infer": 4}')
    get_settings.cache_clear()
    try:
        with open_queue() as queue:
            limits = queue.instance.get_concurrency_config().run_queue_config
            assert limits
            assert limits.max_concurrent_runs == 10
            by_value = {str(limit.get("value")): limit["limit"] for limit in limits.tag_concurrency_limits}
            assert by_value == {
                "video_initial_processing": 5,
                "crop_and_infer": 4,
                "caption_ocr": 10,
                "{'applyLimitPerUniqueValue': True}": 1,
            }
            for _ in range(3):
                queue.submit("caption_ocr", requested(0))
            assert len(queue.dequeue()) == 1
    finally:
        get_settings.cache_clear()


@pytest.mark.parametrize("limit", [0, 1])
def test_with_a_limit_of_zero_nothing_new_starts(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setenv("CAPTIONACC_MAX_CONCURRENT_RUNS", str(limit))
    get_settings.cache_clear()
    try:
        with open_queue() as queue:
            queue.submit("caption_ocr", requested(0))
            assert len(queue.dequeue()) == limit
    finally:
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("own", "started"),
    [
        ({}, {"a": 3, "b": 3, "c": 3}),
        ({"b": 1}, {"a": 3, "b": 1, "c": 3}),
        ({"a": 4}, {"a": 4, "b": 3, "c": 3}),
        ({"a": 5, "b": 1, "not in the queue": 7}, {"a": 5, "b": 1, "c": 3}),
    ],
)
def test_a_tenants_own_limit_takes_the_place_of_the_one_for_all(
    open_queue: OpenQueue, own: dict[str, int], started: dict[str, int]
) -> None:
    with open_queue({"max_concurrent_runs": 30}) as queue:
        queue.tenants.limits = own
        queue.put_all(("caption_ocr", requested(0, tenant=tenant)) for tenant in "abc" * 6)
        launched = [queue.instance.get_run_by_id(run_id) for run_id in queue.dequeue()]
        assert Counter(run.tags[TENANT_TAG] for run in launched if run) == started
        assert queue.dequeue() == [], "runs at work count"


def test_a_limit_is_known_within_a_minute_and_kept_while_the_catalog_is_away() -> None:
    tenants, now = KnownTenants(limits={"a": 1}), 0.0
    directory = TenantDirectory(lambda: tenants, clock=lambda: now)
    assert directory.run_limits() == {"a": 1}
    tenants.limits["a"] = 2
    now = 59.0
    assert (directory.run_limits(), tenants.questions) == ({"a": 1}, 1)
    now = 61.0
    assert directory.run_limits() == {"a": 2}
    tenants.away, now = True, 200.0
    assert [directory.run_limits() for _ in range(3)] == [{"a": 2}] * 3
    assert tenants.questions == 3, "a catalog that is away is left alone for a while"


def test_pool_slots_are_set_once_and_left_to_the_operator(open_queue: OpenQueue) -> None:
    with open_queue() as queue:
        storage = queue.instance.event_log_storage
        local, modal = os.cpu_count(), MODAL_SLOTS
        assert ensure_pool_slots(queue.instance) == {COMPUTE_POOL: local}
        assert ensure_pool_slots(queue.instance) == {}
        assert ensure_pool_slots(queue.instance, "modal") == {COMPUTE_POOL: modal}, "nobody chose the number of cores"
        storage.set_concurrency_slots(COMPUTE_POOL, 7)
        assert ensure_pool_slots(queue.instance) == {}
        assert ensure_pool_slots(queue.instance, overrides={COMPUTE_POOL: 3}) == {COMPUTE_POOL: 3}
        assert {pool.name: pool.limit for pool in storage.get_pool_limits()}[COMPUTE_POOL] == 3


@pytest.mark.parametrize("deployment", ["embedded", "production"])
def test_the_deployed_files_are_valid_and_name_our_coordinator(
    deployment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", "x")
    monkeypatch.setenv("DAGSTER_POSTGRES_PORT", "5432")
    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", "logs")
    monkeypatch.setenv("DAGSTER_LOGS_ENDPOINT_URL", "http://127.0.0.1:9")
    file = EMBEDDED_YAML.parents[1] / deployment / "dagster.yaml"
    (tmp_path / "dagster.yaml").write_text(file.read_text())
    assert "run_queue" not in yaml.safe_load(file.read_text())
    ref = InstanceRef.from_dir(str(tmp_path))
    assert isinstance(ref.run_coordinator, PriorityAwareRunCoordinator)
    limits = ref.run_coordinator.get_run_queue_config()
    assert {str(limit.get("value")): limit["limit"] for limit in limits.tag_concurrency_limits} == {
        "video_initial_processing": 5,
        "crop_and_infer": 2,
        "caption_ocr": 10,
        "{'applyLimitPerUniqueValue': True}": 3,
    }
    settings: dict[str, Any] = dict(ref.settings)
    assert settings["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    assert settings["run_monitoring"]["max_runtime_seconds"] == 4 * 3600
