"""The API beside real Dagster: from the webhook to the subtitles, and what happens when both sensors and API launch."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from captionacc_dagster.api.app import create_app
from captionacc_dagster.api.local_access import local_secret, local_token
from captionacc_dagster.captioning.files.subtitles import parse_subtitles
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.api.dagster_stack import DagsterStack, wait_until
from captionacc_dagster_tests.api.world import ISSUER, JWT_SECRET, WEBHOOK_HEADERS, WEBHOOK_SECRET, Person, webhook_body
from captionacc_dagster_tests.servers import free_port
from captionacc_dagster_tests.small_clips import CAPTIONS, HEIGHT, RATE, WIDTH, make_clip

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATH = "/webhooks/supabase/videos"
# Generous, for a machine on which everything else runs too.
SOON = 180.0


@pytest.fixture(scope="module")
def api(stack: DagsterStack, stack_api: httpx.Client) -> Iterator[httpx.Client]:
    """The API under uvicorn, with Dagster's daemon running."""
    stack.forget_runs()
    with stack.daemon():
        yield stack_api


class Story:
    """One video on its way."""

    def __init__(self, api: httpx.Client, stack: DagsterStack, folder: Path) -> None:
        self.api, self.stack = api, stack
        self.person: Person = stack.world.person(stack.world.tenant())
        self.video_id = uuid4()
        keys = VideoKeys(str(self.person.tenant_id), str(self.video_id))
        stack.world.store.upload_from_path(keys.video, make_clip(folder / "news.mp4"))

    def send(self) -> httpx.Response:
        body = webhook_body(self.person.tenant_id, self.video_id, filename="news.mp4")
        return self.api.post(PATH, headers=WEBHOOK_HEADERS, json=body)

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        return self.api.request(method, f"/videos/{self.video_id}{path}", json=body, headers=self.person.headers)

    def video(self) -> dict[str, Any]:
        return self.call("GET", "").json()

    def finished_job(self, job_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            job = self.api.get(f"/jobs/{job_id}", headers=self.person.headers).json()
            return job if job["status"] in ("succeeded", "failed", "cancelled") else None

        return wait_until(ended, SOON, f"job {job_id}", every_s=0.3)


@pytest.fixture(scope="module")
def story(api: httpx.Client, stack: DagsterStack, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A video that was uploaded, announced and processed, with its layout approved by a person."""
    story = Story(api, stack, tmp_path_factory.mktemp("clip"))
    accepted = story.send()
    assert accepted.status_code == 202, accepted.text
    first = story.finished_job(accepted.json()["flow_run_id"])
    assert first["status"] == "succeeded", first
    assert (story.video()["status"], story.video()["layout_status"]) == ("active", "annotate")
    # The region that was found is right.
    body = {"type": "crop-and-infer-caption-frame-extents"}
    approved = story.call("POST", "/actions/approve-layout", body)
    assert approved.status_code == 200, approved.text
    second = story.finished_job(approved.json()["jobId"])
    assert second["status"] == "succeeded", second
    return story


def test_a_webhook_becomes_subtitles(story: Story, stack: DagsterStack) -> None:
    cues = parse_subtitles(story.call("GET", "/subtitles.json").text, "json")

    for cue, (start, end, text) in zip(cues, CAPTIONS, strict=True):
        assert (cue.start_frame, cue.end_frame) == (pytest.approx(start, abs=1), pytest.approx(end, abs=1))
        # How well it reads is another test's matter.
        assert SequenceMatcher(None, cue.text, text).ratio() > 0.8
    for kind in ("srt", "vtt", "ass"):
        assert cues[1].text in story.call("GET", f"/subtitles.{kind}").text
    video = story.video()
    assert (video["width"], video["height"], video["frame_rate"]) == (WIDTH, HEIGHT, RATE)
    assert (video["boundaries_status"], video["text_status"], video["caption_count"]) == ("annotate", "annotate", 2)
    # A request ends within its run's last step, a moment before the run itself.
    wait_until(lambda: {run.status for run in stack.runs(video=str(story.video_id))} == {"SUCCESS"}, SOON, "the runs")
    runs = stack.runs(video=str(story.video_id))
    assert sorted(run.job_name for run in runs) == ["crop_and_infer", "video_initial_processing"]
    # Sent again, it starts nothing.
    assert story.send().status_code == 409


def test_an_edit_is_read_anew_by_the_machine(story: Story) -> None:
    first, second = story.call("GET", "/captions").json()["captions"]
    story.call("PATCH", f"/captions/{second['id']}", {"text": "typed by a person"})

    answer = story.call("PATCH", f"/captions/{first['id']}", {"end_ms": first["end_ms"] - 40})

    job = story.finished_job(answer.json()["ocr_job"]["jobId"])
    assert (job["status"], job["flow"]) == ("succeeded", "caption_ocr"), job
    read, typed = story.call("GET", "/captions").json()["captions"]
    assert (read["ocr_status"], read["end_ms"]) == ("completed", first["end_ms"] - 40)
    assert SequenceMatcher(None, read["text"], first["text"]).ratio() > 0.8
    assert read["updated_at"] > first["updated_at"]
    assert (typed["text"], typed["typed_text"]) == ("typed by a person",) * 2
    assert "typed by a person" in story.call("GET", "/subtitles.vtt").text
    assert story.call("POST", "/actions/complete-boundaries").json()["boundaries_status"] == "done"
    assert story.call("POST", "/actions/complete-text").json()["text_status"] == "done"


def test_everything_is_ready(api: httpx.Client) -> None:
    answer = api.get("/ready")

    assert answer.status_code == 200
    assert answer.json() | {"reasons": {}} == {
        "status": "ready", "catalog": True, "storage": True, "dagster": True, "reasons": {},
    }  # fmt: skip


def test_what_dagster_could_not_be_told_runs_later_and_once(stack: DagsterStack, api: httpx.Client) -> None:
    """The webserver is away, the daemon is not: 503, and the sensor starts the request from the outbox."""
    away = stack.settings.model_copy(
        update={
            "dagster_url": f"http://127.0.0.1:{free_port()}",
            "webhook_secret": [SecretStr(WEBHOOK_SECRET)],
            "supabase_jwt_secret": SecretStr(JWT_SECRET),
            "jwt_issuer": ISSUER,
        }
    )
    body = webhook_body(stack.world.tenant())
    with TestClient(create_app(away)) as client:
        refused = client.post(PATH, headers=WEBHOOK_HEADERS, json=body)
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)

    # Both hurry now: the sender again, and the sensor.
    accepted = api.post(PATH, headers=WEBHOOK_HEADERS, json=body)

    (request,) = stack.world.catalog.list_processing_requests(video_id=body["record"]["id"]).items
    run_id = wait_until(
        lambda: stack.world.catalog.get_processing_request(request.id).run_id, SOON, "the request's run"
    )
    runs = stack.runs(request=str(request.id))
    assert [run.run_id for run in runs] == [run_id]
    assert accepted.status_code in (202, 503)
    if accepted.status_code == 202:
        assert accepted.json()["flow_run_id"] == run_id
    # Its object was never uploaded: the run fails, and the row says so.
    ended = wait_until(
        lambda: (row := stack.world.catalog.get_processing_request(request.id)).state == "failed" and row,
        SOON,
        "the failed run's request",
    )
    assert ended.error_details["message"]
    assert stack.world.catalog.get_video_metadata(request.video_id).status == "error"


def test_sensors_and_webhooks_make_one_run_each(stack: DagsterStack, api: httpx.Client) -> None:
    tenant = stack.world.tenant("enterprise")
    videos = [stack.world.video(tenant) for _ in range(3)]

    answers = [api.post(PATH, headers=WEBHOOK_HEADERS, json=webhook_body(tenant, video.id)) for video in videos]

    assert [answer.status_code for answer in answers] == [202] * 3
    for answer, video in zip(answers, videos, strict=True):
        runs = stack.runs(video=str(video.id))
        assert [run.run_id for run in runs] == [answer.json()["flow_run_id"]]
        assert int(runs[0].tags["dagster/priority"]) == answer.json()["priority"] == 90


@pytest.mark.security
def test_the_local_user_gets_in_with_a_local_token(stack: DagsterStack) -> None:
    """With nothing configured: a secret of this home, a token for its one user, and their videos."""
    token = local_token(stack.settings)
    video = stack.world.video(LOCAL_TENANT_ID)
    secret_file = stack.settings.home / "api" / "jwt-secret"

    with TestClient(create_app(stack.settings)) as client:
        answer = client.get(f"/videos/{video.id}", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200
    assert secret_file.stat().st_mode & 0o077 == 0
    assert local_secret(stack.settings) == secret_file.read_text()
    hosted = stack.settings.model_copy(update={"supabase_jwt_secret": SecretStr(JWT_SECRET)})
    with pytest.raises(ValueError, match="Supabase"):
        local_token(hosted)
