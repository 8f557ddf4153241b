"""The video itself over HTTP: its bytes by range, and its native frames by number."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.api import events
from captionacc_dagster.api.services import Services
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.reader import native_frames, probe
from captionacc_dagster.captioning.video.waveform import read_waveform
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.api.dagster_stack import wait_until
from captionacc_dagster_tests.api.world import Person, World
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One hundred frames at 25 per second."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_frames_are_served_by_number(client: TestClient, world: World, person: Person, clip: Path) -> None:
    video = world.processed_video(person.tenant_id, crop_top=0.75, crop_bottom=1.0, crop_left=0.0, crop_right=1.0)
    world.publish_film(video, clip)
    base = f"/videos/{video.id}/frames"

    grid = client.get(base, headers=person.headers)

    assert grid.json() == {"count": 100, "first_ms": 0.0, "step_ms": 40.0, "steps_ms": None}
    assert world.store.file_exists(VideoKeys(str(video.tenant_id), str(video.id)).frame_grid)
    frames = {frame.index: frame.luma(BBox(0, 0, 1, 1)) for frame in native_frames(probe(clip))}
    for number in (0, 9, 10, 39, 40, 99):
        answer = client.get(f"{base}/{number}", headers=person.headers)
        assert answer.headers["Content-Type"] == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        distances = [float(np.abs((frames[n] - 16.0) * 255 / 219 - picture).mean()) for n in range(100)]
        assert int(np.argmin(distances)) == number
    part = client.get(f"{base}/10?part=captions", headers=person.headers)
    region = cv2.imdecode(np.frombuffer(part.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert region is not None
    assert region.shape == (68, 480)
    assert client.get(f"{base}/100", headers=person.headers).status_code == 404
    assert client.get(f"{base}/-1", headers=person.headers).status_code == 422


def test_a_missing_or_broken_film_is_said(client: TestClient, world: World, person: Person, tmp_path: Path) -> None:
    video = world.processed_video(person.tenant_id)
    paths = ("frames", "frames/0", "media")

    for path in paths:
        assert client.get(f"/videos/{video.id}/{path}", headers=person.headers).status_code == 404
    (tmp_path / "no.mp4").write_bytes(b"no video at all")
    world.publish_film(video, tmp_path / "no.mp4")

    for path in paths[:2]:
        answer = client.get(f"/videos/{video.id}/{path}", headers=person.headers)
        assert answer.status_code == 404
        assert "cannot be read" in answer.json()["detail"]


def test_the_film_is_sent_in_parts(client: TestClient, world: World, person: Person, clip: Path) -> None:
    video = world.processed_video(person.tenant_id)
    world.publish_film(video, clip)
    whole, url = clip.read_bytes(), f"/videos/{video.id}/media"

    full = client.get(url, headers=person.headers)
    part = client.get(url, headers={**person.headers, "Range": "bytes=100-299"})
    rest = client.get(url, headers={**person.headers, "Range": "bytes=100-"})

    assert (full.status_code, full.content, full.headers["Content-Type"]) == (200, whole, "video/mp4")
    assert (part.status_code, part.content) == (206, whole[100:300])
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(whole)}"
    assert rest.content == whole[100:]
    assert client.get(url, headers={**person.headers, "Range": f"bytes={len(whole)}-"}).status_code == 416
    assert client.get(url, headers={**person.headers, "If-None-Match": full.headers["ETag"]}).status_code == 304


def test_the_shots_are_those_that_were_seen(client: TestClient, world: World, person: Person) -> None:
    video = world.processed_video(person.tenant_id)
    address = f"/videos/{video.id}/shots"

    assert client.get(address, headers=person.headers).json() == {"cuts_ms": None}
    world.store.publish(VideoKeys(str(video.tenant_id), str(video.id)).shots, b"[1200, 3640]")
    assert client.get(address, headers=person.headers).json() == {"cuts_ms": [1200, 3640]}


def test_the_waveform_follows_the_sound(client: TestClient, world: World, person: Person, tmp_path: Path) -> None:
    video, silent = (world.processed_video(person.tenant_id) for _ in range(2))
    world.publish_film(video, make_clip(tmp_path / "sound.mp4", sound=True))
    world.publish_film(silent, make_clip(tmp_path / "silent.mp4", frames=10))

    peaks = client.get(f"/videos/{video.id}/waveform", headers=person.headers).content

    # Four seconds; a tone in the second and the fourth.
    loud = [max(peaks[50 * second + 5 : 50 * second + 45]) for second in range(4)]
    assert max(loud[0], loud[2]) < 20
    assert min(loud[1], loud[3]) > 100
    assert world.store.file_exists(VideoKeys(str(video.tenant_id), str(video.id)).waveform)
    assert client.get(f"/videos/{silent.id}/waveform", headers=person.headers).content == b""


def prepared(client: TestClient, url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask for a film, as the page does, until it is ready or cannot be made."""
    while (state := client.post(url, headers=headers).json())["state"] == "preparing":
        time.sleep(0.05)
    return state


def test_a_film_for_every_browser_is_made_once(
    client: TestClient, world: World, person: Person, tmp_path: Path
) -> None:
    video = world.processed_video(person.tenant_id)
    clip = make_clip(tmp_path / "clip.mkv", sound=True, codec="mpeg2video")
    world.publish_film(video, clip)
    keys, url = VideoKeys(str(video.tenant_id), str(video.id)), f"/videos/{video.id}/film"
    assert client.get(url, headers=person.headers).status_code == 404

    assert prepared(client, url, person.headers)["state"] == "ready"

    info = world.store.stat(keys.film)
    assert client.post(url, headers=person.headers).json()["state"] == "ready"
    assert world.store.stat(keys.film) == info
    # The thread that made it removes this after the film is there.
    wait_until(lambda: not world.store.file_exists(keys.film_progress), 30, "the progress is gone")
    part = client.get(url, headers={**person.headers, "Range": "bytes=0-99"})
    assert (part.status_code, part.headers["Content-Type"], len(part.content)) == (206, "video/mp4", 100)
    # Everything of a deleted video goes with its two prefixes.
    assert keys.film.startswith(keys.server_prefix)
    path = world.store.download_file(keys.film, tmp_path / "film.mp4")
    film, original = probe(path), probe(clip)
    assert (film.codec, film.width, film.height) == ("h264", 480, 270)
    times = [[frame.time_s for frame in native_frames(facts)] for facts in (film, original)]
    assert times[0] == pytest.approx(times[1], abs=0.001)
    pictures = [[frame.luma(BBox(0, 0, 1, 1)) for frame in native_frames(facts)] for facts in (film, original)]
    assert max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(*pictures, strict=True)) < 6
    peaks = np.frombuffer(read_waveform(film), np.uint8), np.frombuffer(read_waveform(original), np.uint8)
    assert float(np.abs(peaks[0].astype(int) - peaks[1]).mean()) < 5


def test_a_film_that_cannot_be_made_says_why(client: TestClient, world: World, person: Person, tmp_path: Path) -> None:
    video, missing = (world.processed_video(person.tenant_id) for _ in range(2))
    (tmp_path / "no.mp4").write_bytes(b"no video at all")
    world.publish_film(video, tmp_path / "no.mp4")
    state = prepared(client, f"/videos/{video.id}/film", person.headers)
    assert (state["state"], state["reason"]) == ("failed", "not a video file, or damaged beyond reading")
    assert client.post(f"/videos/{missing.id}/film", headers=person.headers).status_code == 404


def test_no_tenant_fills_the_queue_of_films(world: World, settings: Settings, person: Person, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=10)
    videos = [world.processed_video(person.tenant_id) for _ in range(4)]
    other = world.processed_video(world.tenant())
    for video in (*videos, other):
        world.publish_film(video, clip)
    services = Services(settings)
    gate = threading.Event()
    services.films._write = lambda video: gate.wait() and None  # pyright: ignore
    try:
        assert {services.films.prepare(video).state for video in (*videos, other)} == {"preparing"}
        assert set(services.films._waiting) == {videos[0].id, videos[1].id, other.id}
    finally:
        gate.set()
        services.close()


def test_a_server_that_stops_leaves_no_half_film(
    world: World, settings: Settings, person: Person, tmp_path: Path
) -> None:
    video = world.processed_video(person.tenant_id)
    world.publish_film(video, make_clip(tmp_path / "clip.mp4", frames=400))
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    services = Services(settings)
    services.films.prepare(video)
    while not world.store.file_exists(keys.film_progress):
        time.sleep(0.005)
    services.close()
    assert not world.store.file_exists(keys.film)
    assert not world.store.file_exists(keys.film_progress)


def test_events_tell_of_changes(client: TestClient, world: World, person: Person, monkeypatch: Any) -> None:
    monkeypatch.setattr(events, "_LONGEST_S", 0.5)
    monkeypatch.setattr(events, "_LOOK_S", 0.05)
    video = world.processed_video(person.tenant_id)
    tag = client.get(f"/videos/{video.id}/captions", headers=person.headers).headers["ETag"]

    answer = client.get(f"/videos/{video.id}/events", headers=person.headers)

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert [line for line in answer.text.splitlines() if line.startswith("data: ")] == [
        f"data: {json.dumps({'tag': tag})}"
    ]
