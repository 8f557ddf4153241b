"""Who may send webhooks: secrets, signatures, replays, floods."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.datastructures import Headers

from captionacc_dagster.api.auth import BadSignature, check_signature, is_one_of
from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, WEBHOOK_SECRET, World, webhook_body

pytestmark = pytest.mark.security

PATH = "/webhooks/supabase/videos"
SIGNING = "whsec_" + base64.b64encode(b"signing-secret-for-tests-of-24-bytes").decode()


@pytest.mark.parametrize(
    ("authorization", "event"),
    [
        (None, "webhook_no_secret"),
        ("", "webhook_no_secret"),
        ("Bearer", "webhook_no_secret"),
        ("Bearer ", "webhook_no_secret"),
        (WEBHOOK_SECRET, "webhook_no_secret"),
        (f"Basic {WEBHOOK_SECRET}", "webhook_no_secret"),
        ("Bearer wrong-secret", "webhook_bad_secret"),
        (f"Bearer {WEBHOOK_SECRET[:-1]}", "webhook_bad_secret"),
        (f"Bearer {WEBHOOK_SECRET}x", "webhook_bad_secret"),
        (f"Bearer {WEBHOOK_SECRET.upper()}", "webhook_bad_secret"),
        ("Bearer \xff\xfe", "webhook_bad_secret"),
    ],
)
def test_without_the_secret_nothing_is_started(
    stand_in_client: TestClient, world: World, dagster: StandIn, authorization: str | None, event: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}

    answer = stand_in_client.post(PATH, headers=headers, json=webhook_body(world.tenant()))  # pyright: ignore

    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("Unauthorized")
    assert world.catalog.list_videos().items == ()
    assert dagster.questions == []
    assert world.events() == [event]


def test_without_a_configured_secret_nobody_comes_in(make_client: MakeClient, world: World) -> None:
    client = make_client(webhook_secret=[])

    for token in ("", "None", "null", WEBHOOK_SECRET):
        answer = client.post(PATH, headers={"Authorization": f"Bearer {token}"}, json=webhook_body(world.tenant()))
        assert answer.status_code == 401


def test_several_secrets_are_valid_during_a_rotation(make_client: MakeClient, world: World, dagster: StandIn) -> None:
    rotating = make_client(dagster_url=dagster.url, webhook_secret=[SecretStr("old"), SecretStr("new")])
    rotated = make_client(dagster_url=dagster.url, webhook_secret=[SecretStr("new")])

    def status(client: TestClient, secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return client.post(PATH, headers=headers, json=webhook_body(world.tenant())).status_code

    assert [status(rotating, secret) for secret in ("old", "new", "other")] == [202, 202, 401]
    assert [status(rotated, secret) for secret in ("old", "new")] == [401, 202]


@pytest.mark.unit
def test_every_secret_is_compared_in_full() -> None:
    secrets = [SecretStr("one"), SecretStr("two"), SecretStr("drei-ü")]

    assert [is_one_of(given, secrets) for given in ("one", "two", "drei-ü", "on", "", "\ud800")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_delivery_is_accepted_once(stand_in_client: TestClient, world: World, dagster: StandIn) -> None:
    body = webhook_body(world.tenant())

    answers = [stand_in_client.post(PATH, headers=WEBHOOK_HEADERS, json=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 409, 409]
    assert len(dagster.runs) == 1
    assert world.events() == ["webhook_replayed"] * 2


def _signed(body: bytes, secret: str = SIGNING, delivery: str | None = None, at: float | None = None) -> dict[str, str]:
    delivery, timestamp = delivery or f"msg_{uuid4()}", str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@pytest.fixture
def signing_client(make_client: MakeClient, dagster: StandIn) -> TestClient:
    return make_client(dagster_url=dagster.url, webhook_signing_secret=[SecretStr(SIGNING)])


def _send(client: TestClient, body: bytes, headers: dict[str, str]) -> Any:
    return client.post(PATH, headers={**WEBHOOK_HEADERS, "Content-Type": "application/json", **headers}, content=body)


def test_a_signed_webhook_is_accepted_once(signing_client: TestClient, world: World, dagster: StandIn) -> None:
    body = json.dumps(webhook_body(world.tenant())).encode()
    headers = _signed(body)

    assert _send(signing_client, body, headers).status_code == 202
    assert _send(signing_client, body, headers).status_code == 409
    # The same insertion under a new nonce is still the same insertion.
    assert _send(signing_client, body, _signed(body)).status_code == 409
    assert len(dagster.runs) == 1


@pytest.mark.parametrize("seconds", [-301, 301, -86_400])
def test_a_signature_is_good_for_five_minutes(
    signing_client: TestClient, world: World, dagster: StandIn, seconds: int
) -> None:
    body = json.dumps(webhook_body(world.tenant())).encode()

    answer = _send(signing_client, body, _signed(body, at=time.time() + seconds))

    assert answer.status_code == 401
    assert dagster.questions == []
    assert world.events() == ["webhook_bad_signature"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {},
        lambda headers: headers | {"webhook-id": "msg_other"},
        lambda headers: headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
        lambda headers: headers | {"webhook-timestamp": "now"},
        lambda headers: headers | {"webhook-timestamp": "9" * 400},
        lambda headers: headers | {"webhook-signature": "v1,"},
        lambda headers: headers | {"webhook-signature": headers["webhook-signature"].removeprefix("v1,")},
        lambda headers: headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
        lambda headers: headers | {"webhook-signature": "v1,not base64!"},
        lambda headers: headers | {"webhook-signature": f"v1 {headers['webhook-signature']}"},
        lambda headers: headers | {"webhook-timestamp": "nan"},
        lambda headers: headers | {"webhook-id": ""},
    ],
)
def test_a_spoiled_signature_is_refused(signing_client: TestClient, world: World, dagster: StandIn, spoil: Any) -> None:
    body = json.dumps(webhook_body(world.tenant())).encode()

    assert _send(signing_client, body, spoil(_signed(body))).status_code == 401
    assert dagster.questions == []


def test_a_signed_body_cannot_be_changed(signing_client: TestClient, world: World, dagster: StandIn) -> None:
    body = json.dumps(webhook_body(world.tenant())).encode()
    other = json.dumps(webhook_body(world.tenant())).encode()

    assert _send(signing_client, other, _signed(body)).status_code == 401
    assert dagster.questions == []


@pytest.mark.unit
def test_signatures_may_be_several_and_secrets_too() -> None:
    other = "whsec_" + base64.b64encode(b"another-secret").decode()
    headers = _signed(b"{}", delivery="msg_1")
    headers["webhook-signature"] = f"v1,AAAA v1a,BBBB {headers['webhook-signature']}"

    secrets = [SecretStr(other), SecretStr(f"v1,{SIGNING}")]

    check_signature(Headers(headers), b"{}", secrets)
    with pytest.raises(BadSignature):
        check_signature(Headers(headers), b"{}", [SecretStr(other)])


def test_another_tenants_key_is_refused(stand_in_client: TestClient, world: World, dagster: StandIn) -> None:
    own, other = world.tenant(), world.tenant()
    body = webhook_body(own)
    body["record"]["storage_key"] = body["record"]["storage_key"].replace(str(own), str(other))

    answer = stand_in_client.post(PATH, headers=WEBHOOK_HEADERS, json=body)

    assert answer.status_code == 400
    assert "storage_key" in answer.json()["detail"]
    assert world.events() == ["webhook_foreign_key"]
    assert world.catalog.list_videos().items == ()
    assert dagster.questions == []


@pytest.mark.parametrize(
    "change",
    [
        lambda key: f"{key}/../../../x",
        lambda key: key.upper(),
        lambda key: key.replace("client", "server"),
        lambda key: key.replace("video.mp4", "other.mp4"),
        lambda key: f"/{key}",
        lambda key: key.replace("/videos/", "//videos/"),
        lambda key: f"{key}\n",
        lambda key: "video.mp4",
    ],
)
def test_a_key_of_another_shape_is_refused(stand_in_client: TestClient, world: World, change: Any) -> None:
    body = webhook_body(world.tenant())
    body["record"]["storage_key"] = change(body["record"]["storage_key"])

    assert stand_in_client.post(PATH, headers=WEBHOOK_HEADERS, json=body).status_code == 400
    assert world.catalog.list_videos().items == ()


def test_a_video_cannot_be_claimed_for_another_tenant(
    stand_in_client: TestClient, world: World, dagster: StandIn
) -> None:
    video = world.video(world.tenant())

    answer = stand_in_client.post(PATH, headers=WEBHOOK_HEADERS, json=webhook_body(world.tenant(), video.id))

    assert answer.status_code == 400
    assert world.catalog.get_video_metadata(video.id).tenant_id == video.tenant_id
    assert world.events() == ["webhook_foreign_video"]
    assert dagster.runs == []


def test_an_unknown_tenant_is_refused(stand_in_client: TestClient, dagster: StandIn) -> None:
    answer = stand_in_client.post(PATH, headers=WEBHOOK_HEADERS, json=webhook_body(uuid4()))

    assert answer.status_code == 400
    assert "tenant" in answer.json()["detail"]
    assert dagster.runs == []


def test_a_hundred_webhooks_at_once_are_too_many(make_client: MakeClient, world: World, dagster: StandIn) -> None:
    # The limits that everybody gets who sets none.
    default = type(world.settings).model_fields["rate_limit_webhooks"].default
    client = make_client("198.51.100.1", dagster_url=dagster.url, rate_limit_webhooks=default)
    body = {"type": "UPDATE", "table": "videos", "record": {}}

    answers = [client.post(PATH, headers=WEBHOOK_HEADERS, json=body) for _ in range(100)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 80 + [429] * 20
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 10
    assert set(world.events()) == {"rate_limited"}
    # Others are not held up by it.
    neighbor = make_client("198.51.100.2", dagster_url=dagster.url, rate_limit_webhooks=default)
    assert neighbor.post(PATH, headers=WEBHOOK_HEADERS, json=webhook_body(world.tenant())).status_code == 202


def test_who_tries_secrets_is_stopped_and_the_right_one_still_works(
    make_client: MakeClient, world: World, dagster: StandIn
) -> None:
    client = make_client(dagster_url=dagster.url, rate_limit_failures="5/minute")

    wrong = [client.post(PATH, headers={"Authorization": f"Bearer {n}"}, json={}).status_code for n in range(8)]
    right = client.post(PATH, headers=WEBHOOK_HEADERS, json=webhook_body(world.tenant()))

    assert wrong == [401] * 5 + [429] * 3
    assert right.status_code == 202
    # A flood does not fill the log.
    assert world.events() == ["webhook_bad_secret"] * 5
