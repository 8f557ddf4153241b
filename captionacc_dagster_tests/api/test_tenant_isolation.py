"""Nothing of one tenant is ever visible to another, whatever is asked for and however."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.api.app import create_app
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.page_browser import PageBrowser
from captionacc_dagster_tests.api.world import (
    JWT_SECRET,
    WEBHOOK_SECRET,
    Person,
    World,
    claims_of,
    publish_layout,
    sign,
)
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.security

REGION = {"crop_left": 0.1, "crop_top": 0.7, "crop_right": 0.9, "crop_bottom": 0.9}
BODIES: dict[str, Any] = {
    "approve_layout": {"type": "crop-and-infer-caption-frame-extents", "crop_region": REGION},
    "add_caption": {"start_ms": 100, "end_ms": 200},
    "correct_caption": {"text": "mine now"},
    "confirm_captions": {"caption_ids": [1]},
    "merge_captions": {"caption_ids": [1, 2]},
    "split_caption": {"at_ms": 1300},
    "compare_captions": {"format": "srt", "content": "1\n00:00:01,000 --> 00:00:02,000\nHello.\n"},
    "rename_video": {"filename": "mine.mp4"},
    "delete_captions": {"caption_ids": [1]},
    "replace_text": {"search": "Hello", "replacement": "mine"},
}
# Not for people: each has its own way to say who asks (test_webhook_security.py, ../observability/test_metrics.py).
PUBLIC = {"health", "ready", "receive", "metrics"}


def _operations() -> list[tuple[str, str, str]]:
    """Every operation that the API describes: method, path and name; a new one is tested the day it is added."""
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]  # pyright: ignore[reportCallIssue]
    return [
        (method.upper(), path, description["operationId"])
        for path, methods in paths.items()
        for method, description in methods.items()
    ]


OPERATIONS = [operation for operation in _operations() if operation[2] not in PUBLIC]
ON_VIDEOS = [operation for operation in OPERATIONS if "{video_id}" in operation[1]]


def _url(path: str, video: Video, job: object = None) -> str:
    return (
        path.replace("{video_id}", str(video.id))
        .replace("{caption_id}", "1")
        .replace("{kind}", "srt")
        .replace("{number}", "0")
        .replace("{job_id}", str(job or uuid4()))
    )


def _call(client: TestClient, method: str, url: str, name: str, headers: dict[str, str]) -> Any:
    return client.request(method, url, json=BODIES.get(name), headers=headers)


def test_every_operation_is_known_here() -> None:
    assert len(ON_VIDEOS) >= 15
    assert {name for _, _, name in OPERATIONS} >= set(BODIES)


@pytest.mark.parametrize("token", [None, "not.a.token", WEBHOOK_SECRET])
def test_without_a_token_there_is_nothing(client: TestClient, world: World, token: str | None) -> None:
    video = world.processed_video(world.tenant())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    for method, path, name in OPERATIONS:
        answer = _call(client, method, _url(path, video), name, headers)
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_another_tenants_video_does_not_exist(stand_in_client: TestClient, world: World, dagster: StandIn) -> None:
    video = world.processed_video(world.tenant())
    stranger = world.person(world.tenant())
    before = (world.catalog.get_video_metadata(video.id), world.captions(video))

    for method, path, name in ON_VIDEOS:
        url = _url(path, video)
        answer = _call(stand_in_client, method, url, name, stranger.headers)
        missing = _call(stand_in_client, method, url.replace(str(video.id), str(uuid4())), name, stranger.headers)

        assert answer.status_code == 404, (name, answer.text)
        # As if it did not exist: not a word of difference.
        assert answer.json() == missing.json() == {"detail": "no such video"}
    assert (world.catalog.get_video_metadata(video.id), world.captions(video)) == before
    assert dagster.questions == []
    # Nor does the stranger's own log tell which of the ids exist.
    events = _log_of(stand_in_client, stranger)
    assert len(events) == 2 * len(ON_VIDEOS)
    assert len({_without_ids(event) for event in events}) == len(ON_VIDEOS)
    assert sum(event["video_id"] == str(video.id) for event in events) == len(ON_VIDEOS)


READS_OF_DEMOS = {
    "read_video", "list_captions", "list_left_out", "read_subtitles", "read_frame_grid", "read_frame", "read_shots",
    "read_waveform", "read_media", "read_film",
}  # fmt: skip


def test_a_demo_video_is_read_by_everybody_and_changed_by_its_own_tenant_alone(
    stand_in_client: TestClient, world: World, dagster: StandIn, tmp_path: Path
) -> None:
    client = stand_in_client
    owner, stranger = world.person(world.tenant()), world.person(world.tenant())
    video = world.processed_video(owner.tenant_id)
    world.publish_film(video, make_clip(tmp_path / "a.mp4", frames=30))
    publish_layout(world, video)
    world.catalog.set_demo_video(video.id, True)
    before = (world.catalog.get_video_metadata(video.id), world.captions(video))
    for method, path, name in ON_VIDEOS:
        answer = _call(client, method, _url(path, video), name, stranger.headers)
        if name in READS_OF_DEMOS:
            assert answer.status_code == 200 or answer.json()["detail"] == "the video has no film yet", name
        else:
            assert (answer.status_code, answer.json()) == (404, {"detail": "no such video"}), name
    assert (world.catalog.get_video_metadata(video.id), world.captions(video)) == before
    assert dagster.questions == []
    listed = client.get("/demo-videos", headers=stranger.headers).json()["videos"]
    assert [(row["id"], row["is_demo"]) for row in listed] == [(str(video.id), True)]
    assert client.get("/videos", headers=stranger.headers).json()["videos"] == []

    page = PageBrowser(client, stranger)
    assert f"/review/examples/{video.id}" in page.get("/review").text
    example = page.get(f"/review/examples/{video.id}")
    assert example.status_code == 200
    assert "Hello there." in example.text
    assert page.get(f"/review/videos/{video.id}/full-frames/0.jpg").status_code == 200
    assert page.get(f"/review/videos/{video.id}").status_code == 404

    assert client.delete(f"/videos/{video.id}", headers=owner.headers).status_code == 204
    assert client.get(f"/videos/{video.id}", headers=stranger.headers).status_code == 404
    assert client.get("/demo-videos", headers=stranger.headers).json()["videos"] == []
    assert client.post(f"/videos/{video.id}/restore", headers=owner.headers).status_code == 200
    world.catalog.set_demo_video(video.id, False)
    assert client.get(f"/videos/{video.id}", headers=stranger.headers).status_code == 404
    assert page.get(f"/review/examples/{video.id}").status_code == 404
    assert {"video_shared", "video_unshared"} <= set(world.events())


def _log_of(client: TestClient, person: Person) -> list[dict[str, Any]]:
    return client.get("/security-events", params={"limit": 100}, headers=person.headers).json()["events"]


def _without_ids(event: dict[str, Any]) -> tuple[object, ...]:
    path = event["path"].replace(event["video_id"] or event["path"].rpartition("/")[2], "ID")
    return (event["event"], event["severity"], event["method"], path, event["video_id"] is None)


def test_another_tenants_job_does_not_exist(stand_in_client: TestClient, world: World) -> None:
    owner, stranger = world.person(world.tenant()), world.person(world.tenant())
    video = world.video(owner.tenant_id)
    (request,) = world.catalog.list_processing_requests(video_id=video.id).items

    assert stand_in_client.get(f"/jobs/{request.id}", headers=owner.headers).status_code == 200
    foreign = stand_in_client.get(f"/jobs/{request.id}", headers=stranger.headers)
    missing = stand_in_client.get(f"/jobs/{uuid4()}", headers=stranger.headers)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json() == missing.json()
    assert len({_without_ids(event) for event in _log_of(stand_in_client, stranger)}) == 1


def test_a_foreign_id_takes_the_same_steps_as_an_unknown_one(stand_in_client: TestClient, world: World) -> None:
    video = world.processed_video(world.tenant())
    stranger = world.person(world.tenant())
    (request,) = world.catalog.list_processing_requests(video_id=video.id).items

    def statements(path: str) -> list[str]:
        asked: list[str] = []
        catalog = cast(Any, stand_in_client.app).state.services.catalog
        send = catalog._send

        def noted(function: str, arguments: dict[str, Any]) -> Any:
            asked.append(function)
            return send(function, arguments)

        catalog._send = noted
        try:
            assert stand_in_client.get(path, headers=stranger.headers).status_code == 404
        finally:
            catalog._send = send
        return asked

    # Each question to the catalog is a round trip that a clock outside can see.
    assert statements(f"/videos/{video.id}") == statements(f"/videos/{uuid4()}")
    assert statements(f"/jobs/{request.id}") == statements(f"/jobs/{uuid4()}")


def test_lists_hold_only_ones_own(client: TestClient, world: World) -> None:
    first, second = world.person(world.tenant()), world.person(world.tenant())
    own = {str(world.video(first.tenant_id).id) for _ in range(3)}
    world.video(second.tenant_id)

    listed = client.get("/videos", headers=first.headers).json()["videos"]

    assert {video["id"] for video in listed} == own


@pytest.mark.parametrize("query", [{"tenant_id": "{other}"}, {"filename": "secret.mp4"}])
def test_no_filter_reaches_another_tenant(client: TestClient, world: World, query: dict[str, str]) -> None:
    person, other = world.person(world.tenant()), world.tenant()
    world.video(other, "secret.mp4")

    asked = {name: value.format(other=other) for name, value in query.items()}
    answer = client.get("/videos", params=asked, headers={**person.headers, "X-Tenant-Id": str(other)})

    assert answer.json()["videos"] == []


def test_a_page_of_another_tenant_gives_nothing(client: TestClient, world: World) -> None:
    person, other = world.person(world.tenant()), world.person(world.tenant())
    for _ in range(3):
        world.video(other.tenant_id)
    cursor = client.get("/videos", params={"limit": 1}, headers=other.headers).json()["next_cursor"]

    assert client.get("/videos", params={"cursor": cursor}, headers=person.headers).json()["videos"] == []


def test_claims_cannot_choose_a_tenant(client: TestClient, world: World) -> None:
    person, other = world.person(world.tenant()), world.tenant()
    video = world.video(other)
    more = {"tenant_id": str(other), "app_metadata": {"tenant_id": str(other)}, "user_metadata": {"tenant": str(other)}}
    headers = {"Authorization": f"Bearer {sign(claims_of(person.user_id, **more))}"}

    assert client.get(f"/videos/{video.id}", headers=headers).status_code == 404


def test_the_profile_decides_at_once(client: TestClient, world: World) -> None:
    person, other = world.person(world.tenant()), world.tenant()
    video = world.video(person.tenant_id)
    assert client.get(f"/videos/{video.id}", headers=person.headers).status_code == 200

    world.catalog.set_user_profile(person.user_id, other, role="owner", approval_status="approved")

    assert client.get(f"/videos/{video.id}", headers=person.headers).status_code == 404


@pytest.mark.parametrize("approval_status", ["pending", "rejected"])
def test_who_is_not_approved_sees_nothing(client: TestClient, world: World, approval_status: Any) -> None:
    person = world.person(world.tenant(), approval_status=approval_status)
    video = world.processed_video(person.tenant_id)

    for method, path, name in OPERATIONS:
        if name == "redeem_invitation":  # for those who have no tenant yet
            continue
        answer = _call(client, method, _url(path, video), name, person.headers)
        assert answer.status_code == 403, (name, answer.text)
        assert approval_status in answer.json()["detail"]


def test_a_user_without_a_profile_sees_nothing(client: TestClient, world: World) -> None:
    headers = {"Authorization": f"Bearer {sign(claims_of(uuid4()))}"}

    assert client.get("/videos", headers=headers).status_code == 403
    assert world.events() == ["no_profile"]


def test_only_an_owner_deletes_and_reads_the_security_log(client: TestClient, world: World) -> None:
    tenant = world.tenant()
    owner, member = world.person(tenant), world.person(tenant, role="member")
    video = world.processed_video(tenant)

    assert client.delete(f"/videos/{video.id}", headers=member.headers).status_code == 403
    assert client.get("/security-events", headers=member.headers).status_code == 403
    assert client.get(f"/videos/{video.id}/captions", headers=member.headers).status_code == 200
    assert client.delete(f"/videos/{video.id}", headers=owner.headers).status_code == 204
    assert client.get(f"/videos/{video.id}", headers=owner.headers).status_code == 404
    events = client.get("/security-events", headers=owner.headers).json()["events"]
    assert [event["event"] for event in events] == ["no_such_video", "video_deleted", "owner_needed", "owner_needed"]


def test_the_security_log_holds_only_ones_own(client: TestClient, world: World) -> None:
    first, second = world.person(world.tenant()), world.person(world.tenant())
    client.get(f"/videos/{world.video(second.tenant_id).id}", headers=first.headers)

    assert len(client.get("/security-events", headers=first.headers).json()["events"]) == 1
    assert client.get("/security-events", headers=second.headers).json()["events"] == []


INJECTIONS = [
    "' or '1'='1",
    "'; drop table captionacc.videos; --",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "{{7*7}}",
    "00000000-0000-0000-0000-000000000000' union select 1",
    "x" * 3000,
    "\u202e",
]


def test_ids_and_filters_are_only_ever_values(client: TestClient, world: World) -> None:
    person = world.person(world.tenant())
    video = world.processed_video(person.tenant_id)
    for text in INJECTIONS:
        _try(client, person, video, text)
    assert world.catalog.get_video_metadata(video.id).id == video.id


def _try(client: TestClient, person: Person, video: Video, text: str) -> None:
    for url in (f"/videos/{text}", f"/videos/{text}/captions", f"/jobs/{text}", f"/videos/{video.id}/subtitles.{text}"):
        assert client.get(url, headers=person.headers).status_code in (400, 404, 422), url
    for name in ("filename", "cursor", "status", "limit", "event"):
        for path in ("/videos", "/security-events"):
            answer = client.get(path, params={name: text}, headers=person.headers)
            assert answer.status_code in (200, 400, 422), answer.text
            assert answer.json().get("videos", []) == [] or name == "event"
    url = f"/videos/{video.id}/captions/{text}"
    assert client.request("DELETE", url, headers=person.headers).status_code in (404, 405, 422)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"type": ' + b'"x' * 10,
        b"\xff\xfe\x00",
        b'{"type": "crop-and-infer-caption-frame-extents", "crop_region": {"crop_left": NaN}}',
        b'{"type": "crop-and-infer-caption-frame-extents", "crop_region": {"crop_left": 1e999}}',
        b'{"type": "\\ud800"}',
        b'{"type": 1' + b"0" * 100_000 + b"}",
    ],
)
def test_monstrous_bodies_are_refused(client: TestClient, world: World, raw: bytes) -> None:
    person = world.person(world.tenant())
    video = world.processed_video(person.tenant_id)

    answer = client.post(
        f"/videos/{video.id}/actions/approve-layout",
        headers={**person.headers, "Content-Type": "application/json"},
        content=raw,
    )

    assert answer.status_code in (400, 422), answer.text


def test_a_body_above_the_limit_is_refused_before_anything_else(make_client: MakeClient, world: World) -> None:
    client = make_client(max_body_bytes=2048)

    announced = client.post("/webhooks/supabase/videos", content=b"x" * 5000)
    in_pieces = client.post(
        "/webhooks/supabase/videos",
        headers={"Authorization": f"Bearer {WEBHOOK_SECRET}"},
        content=(b"x" * 500 for _ in range(10)),
    )

    assert (announced.status_code, in_pieces.status_code) == (413, 413)


def test_every_key_begins_with_its_tenant(world: World) -> None:
    video = world.processed_video(world.tenant())
    keys = VideoKeys(str(video.tenant_id), str(video.id))

    assert all(key.startswith(f"{video.tenant_id}/") for key in world.store.list_files(keys.client_prefix))
    assert video.storage_key.startswith(f"{video.tenant_id}/")


def test_neither_log_nor_audit_holds_a_secret(
    stand_in_client: TestClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person: Person = world.person(world.tenant())
    forged = sign(claims_of(person.user_id), "a-forger's-secret-of-some-length-here")
    secrets = [person.token, forged, WEBHOOK_SECRET, JWT_SECRET, "wrong-guess-of-a-secret", person.token.split(".")[2]]

    for token in (person.token, forged, WEBHOOK_SECRET, "wrong-guess-of-a-secret"):
        headers = {"Authorization": f"Bearer {token}"}
        stand_in_client.get("/videos", params={"token": token}, headers=headers)
        stand_in_client.post("/webhooks/supabase/videos", json={"secret": token}, headers=headers)

    audit = [entry.model_dump_json() for entry in world.catalog.list_security_events(limit=500).items]
    # The test's own client names every URL that it calls.
    records = [record for record in caplog.records if record.name != "httpx"]
    text = json.dumps(audit) + repr([(record.getMessage(), vars(record)) for record in records])
    assert any(record.name.startswith("captionacc_dagster.api") for record in records)
    assert len(audit) >= 5
    assert [secret for secret in secrets if secret in text] == []
