"""The sensor ``reconcile`` ends the remote calls that nobody waits for any more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import ComputeUnavailable
from captionacc_dagster.orchestration.reconciliation import _forgotten_calls, reconcile_all
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.compute.conftest import AddVideo, MakeBackend, StoredVideo, limits, rows_of
from captionacc_dagster_tests.compute.modal_server import ModalServer, Outcome
from captionacc_dagster_tests.orchestration.instances import postgres_instance

pytestmark = [pytest.mark.recovery, pytest.mark.integration]


def test_calls_whose_run_died_are_cancelled_and_others_go_on(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    add_video: AddVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    postgres_server: EmbeddedPostgres,
    tmp_path: Path,
) -> None:
    modal_server.always(Outcome("queued"))
    abandoned, waited_for = add_video(), add_video()
    for video in (abandoned, waited_for):
        # The run gives up waiting and leaves its call to the next one, as a killed run does.
        with pytest.raises(ComputeUnavailable):
            make_backend(limits=limits(queue_s=0.2)).extract_frames_and_ocr(*video.where)
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute(
            "update captionacc.compute_calls set waiter_seen_at = waiter_seen_at - interval '3 hours'"
            " where video_id = %s",
            (abandoned.keys.video_id,),
        )

    def lines() -> list[str]:
        store = LocalObjectStore(tmp_path / "objects")
        return [
            line
            for line in reconcile_all(instance, ledger, store, datetime.now(UTC), "never").lines
            if "remote" in line
        ]

    call_id = _call_id(ledger, abandoned)
    with postgres_instance(postgres_server) as instance:
        assert lines() == [f"remote call {call_id}: cancelled, because no run waits for it"]
        assert lines() == []
    assert modal_server.calls[call_id].cancelled
    assert not modal_server.calls[_call_id(ledger, waited_for)].cancelled
    [row] = rows_of(ledger, abandoned)
    assert row.state == "cancelled"
    assert (row.error_details or {})["error_type"] == "Abandoned"
    assert rows_of(ledger, waited_for)[0].state == "spawned"


@pytest.mark.parametrize("hours", [1, 24, -1, -24])
def test_a_jump_of_the_clock_ends_no_call_that_a_run_waits_for(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    postgres_server: EmbeddedPostgres,
    tmp_path: Path,
    hours: int,
) -> None:
    modal_server.always(Outcome("queued"))
    with postgres_instance(postgres_server) as instance:
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
        with pytest.raises(ComputeUnavailable):
            make_backend(limits=limits(queue_s=0.2), run_id=run.run_id).extract_frames_and_ocr(*video.where)
        with psycopg.connect(ledger_url, autocommit=True) as connection:
            connection.execute(
                "update captionacc.compute_calls set waiter_seen_at = waiter_seen_at - make_interval(hours => %s)"
                " where video_id = %s",
                (hours + 2 if hours > 0 else hours, video.keys.video_id),
            )
        cancelled = list(_forgotten_calls(instance, ledger, LocalObjectStore(tmp_path / "objects")))
        call_id = _call_id(ledger, video)
        assert not [line for line in cancelled if call_id in line]
        assert not modal_server.calls[call_id].cancelled
        instance.report_run_canceled(run)
        cancelled = list(_forgotten_calls(instance, ledger, LocalObjectStore(tmp_path / "objects")))
        assert [line for line in cancelled if call_id in line]


def _call_id(ledger: PostgresCatalog, video: StoredVideo) -> str:
    [row] = rows_of(ledger, video)
    assert row.external_call_id
    return row.external_call_id
