"""Videos uploaded over HTTP: announced, sent in parts, completed; by their tenant only."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.api.services import Services
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.keys import VideoKeys, temporary_key
from captionacc_dagster_tests.api.page_browser import PageBrowser
from captionacc_dagster_tests.api.world import Person, World
from captionacc_dagster_tests.servers import rclone_server

pytestmark = [pytest.mark.integration, pytest.mark.security]

CONTENT = bytes(range(256)) * 40


def announce(client: TestClient, person: Person, name: str = "Evening news.mp4", size: int = len(CONTENT)) -> Any:
    return client.post("/videos", json={"filename": name, "size_bytes": size}, headers=person.headers)


def send(client: TestClient, person: Person, url: str, offset: int, data: bytes) -> Any:
    return client.put(url, params={"offset": offset}, content=data, headers=person.headers)


def test_a_video_is_uploaded_in_parts(stand_in_client: TestClient, world: World, person: Person) -> None:
    answer = announce(stand_in_client, person)
    made = answer.json()
    url = made["upload"]["url"]
    assert answer.status_code == 201
    assert made["upload"]["part_bytes"] == 4 << 20
    # No row, and so no processing, before the bytes are there.
    assert world.catalog.get_videos([made["id"]]) == {}

    assert send(stand_in_client, person, url, 0, CONTENT[:6000]).json()["received_bytes"] == 6000
    early = stand_in_client.post(f"/videos/{made['id']}/uploaded", headers=person.headers)
    assert (early.status_code, early.json()["detail"]) == (409, "6000 of 10240 bytes have arrived")
    # The answer to a part was lost, and it comes again.
    assert send(stand_in_client, person, url, 0, CONTENT[:6000]).status_code == 409
    progress = stand_in_client.get(f"/videos/{made['id']}/upload", headers=person.headers).json()
    assert progress == {"received_bytes": 6000, "size_bytes": len(CONTENT)}
    assert send(stand_in_client, person, url, 6000, CONTENT[6000:] + b"more").status_code == 413
    send(stand_in_client, person, url, 6000, CONTENT[6000:])
    done = stand_in_client.post(f"/videos/{made['id']}/uploaded", headers=person.headers)

    assert (done.status_code, done.json()["filename"]) == (202, "Evening news.mp4")
    video = world.catalog.get_video_metadata(made["id"])
    assert (video.tenant_id, video.uploaded_by) == (person.tenant_id, person.user_id)
    assert video.file_size_bytes == len(CONTENT)
    assert world.store.download_to_bytes(VideoKeys(str(person.tenant_id), made["id"]).video) == CONTENT
    assert not world.store.file_exists(temporary_key(person.tenant_id, made["id"]))
    (request,) = world.catalog.list_processing_requests(video_id=video.id).items
    assert request.state == "launched"
    again = stand_in_client.post(f"/videos/{made['id']}/uploaded", headers=person.headers)
    assert again.status_code == 202


@pytest.mark.parametrize(
    ("name", "size", "status"),
    [
        ("notes.txt", 10, 422),
        ("video", 10, 422),
        ("a\x00b.mp4", 10, 422),
        ("video.mp4", 0, 422),
        ("video.mp4", 1 << 40, 413),
        ("../../etc/video.mp4", 10, 201),
    ],
)
def test_what_may_be_uploaded(client: TestClient, person: Person, name: str, size: int, status: int) -> None:
    assert announce(client, person, name, size).status_code == status


def test_an_upload_belongs_to_its_tenant(client: TestClient, world: World, person: Person) -> None:
    made = announce(client, person).json()
    stranger = world.person(world.tenant())

    for answer in (
        send(client, stranger, made["upload"]["url"], 0, CONTENT),
        client.get(f"/videos/{made['id']}/upload", headers=stranger.headers),
        client.post(f"/videos/{made['id']}/uploaded", headers=stranger.headers),
        client.post(f"/videos/{uuid4()}/uploaded", headers=person.headers),
    ):
        assert (answer.status_code, answer.json()) == (404, {"detail": "no such upload"})
    foreign = world.processed_video(stranger.tenant_id)
    assert client.post(f"/videos/{foreign.id}/uploaded", headers=person.headers).status_code == 404
    assert list(world.store.iterate(f"{stranger.tenant_id}/client/videos/{made['id']}/")) == []


def test_a_part_is_bounded(client: TestClient, person: Person) -> None:
    made = announce(client, person, size=1 << 30).json()
    assert send(client, person, made["upload"]["url"], 0, bytes(2 << 20)).status_code == 200
    assert send(client, person, made["upload"]["url"], 2 << 20, bytes((4 << 20) + 1)).status_code == 413


def test_with_s3_the_bytes_go_to_the_bucket(
    client: TestClient, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rclone_server(tmp_path) as server:
        bucket = server.store(retry_for=timedelta(seconds=5))
        monkeypatch.setattr(Services, "store", bucket)
        _upload_to_bucket(client, person, bucket)


def _upload_to_bucket(client: TestClient, person: Person, s3_bucket: ObjectStore) -> None:
    made = announce(client, person).json()
    url = made["upload"]["url"]
    assert made["upload"]["part_bytes"] is None
    assert f"{person.tenant_id}/client/videos/{made['id']}/video.mp4" in url

    assert httpx.put(url, content=CONTENT + b"more").status_code in (400, 403)
    assert httpx.put(url, content=CONTENT).status_code == 200
    done = client.post(f"/videos/{made['id']}/uploaded", headers=person.headers)

    assert done.status_code == 202
    assert s3_bucket.download_to_bytes(VideoKeys(str(person.tenant_id), made["id"]).video) == CONTENT


def test_videos_are_kept_in_folders(stand_in_client: TestClient, world: World, person: Person) -> None:
    client = stand_in_client

    def put(folder: str, *, answer_lost: bool = False) -> str:
        body = {"filename": "a.mp4", "size_bytes": len(CONTENT), "folder": folder}
        made = client.post("/videos", json=body, headers=person.headers).json()
        send(client, person, made["upload"]["url"], 0, CONTENT)
        if answer_lost:  # and the API killed between the row and its folder
            world.catalog.create_video(person.tenant_id, "a.mp4", video_id=made["id"])
        done = client.post(f"/videos/{made['id']}/uploaded", headers=person.headers)
        assert (done.status_code, done.json()["folder"]) == (202, folder.strip("/ ").replace("\\", "/"))
        return made["id"]

    def listed(folder: str) -> set[str]:
        answer = client.get("/videos", params={"folder": folder}, headers=person.headers)
        return {row["id"] for row in answer.json()["videos"]}

    raw, one, other = put("/series 1/raw/"), put("series 1", answer_lost=True), put("series 10\\raw")
    assert listed("series 1") == {raw, one}
    assert listed("series 1/raw/") == {raw}
    moved = client.patch(f"/videos/{other}", json={"folder": "series 1/raw"}, headers=person.headers)
    assert (moved.status_code, moved.json()["folder"], moved.json()["filename"]) == (200, "series 1/raw", "a.mp4")
    assert listed("series 1/raw") == {raw, other}
    assert client.patch(f"/videos/{raw}", json={"folder": ""}, headers=person.headers).json()["folder"] == ""
    for wrong in ({"folder": "../up"}, {"folder": "a/./b"}, {"folder": "a\x1b"}, {"folder": "x" * 501}, {}):
        assert client.patch(f"/videos/{one}", json=wrong, headers=person.headers).status_code == 422, wrong

    page = PageBrowser(client, person)
    assert 'href="/review?folder=series%201"' in page.get("/review").text
    shown = page.get("/review?folder=series%201/raw").text
    assert (other in shown, raw in shown, one in shown) == (True, False, False)
    assert "Show all folders" in shown
    assert one in page.get("/review?text=SERIES").text


def test_a_video_is_renamed_deleted_and_brought_back(client: TestClient, world: World, person: Person) -> None:
    video = world.processed_video(person.tenant_id)
    url = f"/videos/{video.id}"

    renamed = client.patch(url, json={"filename": "Morning news.mp4"}, headers=person.headers)
    assert renamed.json()["filename"] == "Morning news.mp4"
    assert client.patch(url, json={"filename": " "}, headers=person.headers).status_code == 422
    assert client.post(f"{url}/restore", headers=person.headers).status_code == 404

    member = world.person(person.tenant_id, role="member")
    assert client.delete(url, headers=person.headers).status_code == 204
    assert client.get(url, headers=person.headers).status_code == 404
    assert client.post(f"{url}/restore", headers=member.headers).status_code == 403
    stranger = world.person(world.tenant())
    assert client.post(f"{url}/restore", headers=stranger.headers).status_code == 404
    assert client.post(f"{url}/restore", headers=person.headers).json()["filename"] == "Morning news.mp4"
    assert client.get(url, headers=person.headers).status_code == 200
