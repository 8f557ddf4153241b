"""The actions of people on a video's workflow."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.catalog.models import Video
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import Person, World

pytestmark = pytest.mark.integration

REGION = {"crop_left": 0.1, "crop_top": 0.75, "crop_right": 0.9, "crop_bottom": 0.95}
APPROVAL = {"type": "crop-and-infer-caption-frame-extents", "crop_region": REGION}


@pytest.fixture
def person(world: World) -> Person:
    return world.person(world.tenant(), role="member")


@pytest.fixture
def video(world: World, person: Person) -> Video:
    return world.processed_video(person.tenant_id, layout_status="annotate", boundaries_status="wait")


def act(client: TestClient, person: Person, video: Video, action: str, body: Any = None, **headers: str) -> Any:
    return client.post(f"/videos/{video.id}/actions/{action}", json=body, headers={**person.headers, **headers})


def test_an_approved_layout_starts_the_search(
    stand_in_client: TestClient, world: World, person: Person, video: Video, dagster: StandIn
) -> None:
    answer = act(stand_in_client, person, video, "approve-layout", APPROVAL)

    (run,) = dagster.runs
    row = world.catalog.get_video_metadata(video.id)
    assert answer.status_code == 200
    assert answer.json() == {"jobId": run["runId"], "status": "launched"}
    assert run["job"] == "crop_and_infer"
    assert run["tags"]["dagster/partition"] == str(video.id)
    assert row.crop_region == tuple(REGION.values())
    assert (row.layout_status, row.layout_approval, row.layout_approved_by) == ("done", "person", person.user_id)


def test_the_found_region_is_the_default(
    stand_in_client: TestClient, world: World, person: Person, video: Video
) -> None:
    body = {"type": "crop-and-infer-caption-frame-extents"}

    assert act(stand_in_client, person, video, "approve-layout", body).status_code == 200
    assert world.catalog.get_video_metadata(video.id).crop_region == video.crop_region


def test_the_languages_of_the_captions_are_stored(
    stand_in_client: TestClient, world: World, person: Person, video: Video
) -> None:
    answer = act(stand_in_client, person, video, "approve-layout", {**APPROVAL, "lang": "HI, en-US"})

    assert answer.status_code == 200
    assert world.catalog.get_video_metadata(video.id).lang == "hi,en"


def test_an_unknown_language_is_refused_with_those_that_exist(
    stand_in_client: TestClient, world: World, person: Person, video: Video, dagster: StandIn
) -> None:
    answer = act(stand_in_client, person, video, "approve-layout", {**APPROVAL, "lang": "klingon"})

    assert answer.status_code == 422
    assert "lang" in answer.text
    assert "no language 'klingon'; there are af, ar" in answer.text
    assert world.catalog.get_video_metadata(video.id).layout_status == "annotate"
    assert dagster.questions == []


@pytest.mark.parametrize(
    "change",
    [
        {"crop_left": -0.01},
        {"crop_right": 1.01},
        {"crop_top": 2},
        {"crop_left": 0.9},
        {"crop_left": 0.95},
        {"crop_bottom": 0.75},
        {"crop_left": "left"},
        {"crop_left": None},
        {"color": 1},
    ],
)
def test_an_impossible_region_is_refused(
    stand_in_client: TestClient, world: World, person: Person, video: Video, dagster: StandIn, change: dict[str, Any]
) -> None:
    answer = act(stand_in_client, person, video, "approve-layout", {**APPROVAL, "crop_region": {**REGION, **change}})

    assert answer.status_code == 422
    assert "crop_region" in answer.text
    assert world.catalog.get_video_metadata(video.id).layout_status == "annotate"
    assert dagster.questions == []


def test_another_type_is_refused(stand_in_client: TestClient, person: Person, video: Video) -> None:
    answer = act(stand_in_client, person, video, "approve-layout", {**APPROVAL, "type": "delete-everything"})

    assert answer.status_code == 422


def test_what_is_being_processed_is_not_approved_again(
    stand_in_client: TestClient, person: Person, video: Video, dagster: StandIn
) -> None:
    act(stand_in_client, person, video, "approve-layout", APPROVAL)

    assert act(stand_in_client, person, video, "approve-layout", APPROVAL).status_code == 409
    assert len(dagster.runs) == 1


def test_what_is_not_active_is_not_approved(stand_in_client: TestClient, world: World, person: Person) -> None:
    answer = act(stand_in_client, person, world.video(person.tenant_id), "approve-layout", APPROVAL)

    assert answer.status_code == 409
    assert "waiting" in answer.json()["detail"]


def test_the_same_key_is_the_same_approval(
    stand_in_client: TestClient, person: Person, video: Video, dagster: StandIn
) -> None:
    answers = [
        act(stand_in_client, person, video, "approve-layout", APPROVAL, **{"Idempotency-Key": "click-1"})
        for _ in range(3)
    ]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert len(dagster.runs) == 1


def test_without_dagster_the_approval_counts_and_waits(
    client: TestClient, world: World, person: Person, video: Video
) -> None:
    answer = act(client, person, video, "approve-layout", APPROVAL)

    job = client.get(f"/jobs/{answer.json()['jobId']}", headers=person.headers).json()
    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    assert (job["status"], job["flow"], job["run_id"]) == ("pending", "crop_and_infer", None)
    assert [row.flow for row in world.catalog.claim_processing_requests("sensor")] == ["crop_and_infer"]


def test_boundaries_then_text_are_completed(stand_in_client: TestClient, world: World, person: Person) -> None:
    video = world.processed_video(person.tenant_id)

    assert act(stand_in_client, person, video, "complete-text").status_code == 409
    boundaries = act(stand_in_client, person, video, "complete-boundaries")
    text = act(stand_in_client, person, video, "complete-text")

    assert (boundaries.status_code, boundaries.json()["boundaries_status"]) == (200, "done")
    assert (text.status_code, text.json()["text_status"]) == (200, "done")


def test_boundaries_that_are_not_there_are_not_completed(
    stand_in_client: TestClient, person: Person, video: Video
) -> None:
    assert act(stand_in_client, person, video, "complete-boundaries").status_code == 409


def test_what_failed_is_tried_again(
    stand_in_client: TestClient, world: World, person: Person, dagster: StandIn
) -> None:
    details = {"message": "no frames could be read", "error_type": "BadInput"}
    video = world.processed_video(
        person.tenant_id, status="error", error_details=details, layout_status="error", layout_error_details=details
    )
    shown = stand_in_client.get(f"/videos/{video.id}", headers=person.headers).json()

    answer = act(stand_in_client, person, video, "retry")

    assert (shown["status"], shown["error"]) == ("error", "no frames could be read")
    assert answer.status_code == 200
    assert [run["job"] for run in dagster.runs] == ["video_initial_processing"]
    assert act(stand_in_client, person, video, "retry").status_code == 409


def test_what_did_not_fail_is_not_tried_again(stand_in_client: TestClient, person: Person, video: Video) -> None:
    answer = act(stand_in_client, person, video, "retry")

    assert answer.status_code == 409
    assert "nothing" in answer.json()["detail"]


def test_videos_are_listed_page_by_page(client: TestClient, world: World, person: Person) -> None:
    ids = [str(world.video(person.tenant_id, f"{number}.mp4").id) for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = client.get("/videos", params=params, headers=person.headers).json()
        seen += [video["id"] for video in page["videos"]]
        cursor = page["next_cursor"]

    assert seen == ids[::-1]
    assert cursor is None
    named = client.get("/videos", params={"filename": "3.mp4"}, headers=person.headers).json()["videos"]
    assert [video["id"] for video in named] == [ids[3]]
    active = client.get("/videos", params={"status": ["active", "error"]}, headers=person.headers).json()["videos"]
    assert active == []
