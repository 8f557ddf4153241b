"""The video itself over HTTP: its bytes by range, and its native frames by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.api import events
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.video.reader import native_frames, probe
from captionacc_dagster.storage.keys import VideoKeys
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
