"""Invitation codes over HTTP and on the pages: owners make them, people without a tenant redeem them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient

from captionacc_dagster_tests.api.conftest import MakeClient
from captionacc_dagster_tests.api.page_browser import csrf_of, post_form, sign_in
from captionacc_dagster_tests.api.world import Person, World, claims_of, sign

pytestmark = [pytest.mark.integration, pytest.mark.security]


def newcomer(world: World) -> str:
    """The token of somebody who has signed up and belongs to no tenant."""
    user_id = uuid4()
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s)", (user_id,))
    return sign(claims_of(user_id))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make(client: TestClient, person: Person, **body: Any) -> Any:
    return client.post("/invitations", json=body, headers=person.headers)


def test_from_an_owners_code_to_a_member(client: TestClient, world: World, person: Person) -> None:
    video = world.video(person.tenant_id)
    made = make(client, person, max_uses=2, valid_days=7, note="for Ann")
    assert made.status_code == 201
    token = newcomer(world)
    assert client.get("/videos", headers=bearer(token)).status_code == 403
    for _ in range(2):  # again, because the answer was lost
        joined = client.post("/invitations/redeem", json={"code": made.json()["code"]}, headers=bearer(token))
        assert joined.status_code == 200
        assert joined.json() == {"tenant_id": str(person.tenant_id), "tenant_name": "a tenant", "role": "member"}
    assert [row["id"] for row in client.get("/videos", headers=bearer(token)).json()["videos"]] == [str(video.id)]
    # A member invites nobody.
    assert client.post("/invitations", json={}, headers=bearer(token)).status_code == 403
    (listed,) = client.get("/invitations", headers=person.headers).json()["invitations"]
    assert (listed["uses"], listed["max_uses"], listed["note"], listed["role"]) == (1, 2, "for Ann", "member")
    assert "code" not in listed
    assert client.delete(f"/invitations/{listed['id']}", headers=person.headers).status_code == 204
    late = client.post("/invitations/redeem", json={"code": made.json()["code"]}, headers=bearer(newcomer(world)))
    assert (late.status_code, late.json()) == (409, {"detail": "this invitation was revoked"})


def test_an_invitation_belongs_to_its_tenant(client: TestClient, world: World, person: Person) -> None:
    made = make(client, person).json()
    stranger = world.person(world.tenant())
    assert client.get("/invitations", headers=stranger.headers).json() == {"invitations": []}
    foreign = client.delete(f"/invitations/{made['id']}", headers=stranger.headers)
    missing = client.delete(f"/invitations/{uuid4()}", headers=stranger.headers)
    assert (foreign.status_code, foreign.json()) == (missing.status_code, missing.json())
    assert foreign.status_code == 404
    # An account has one tenant; the code is still good for somebody else.
    refused = client.post("/invitations/redeem", json={"code": made["code"]}, headers=stranger.headers)
    assert (refused.status_code, "another tenant" in refused.json()["detail"]) == (409, True)
    assert client.post("/invitations/redeem", json={"code": made["code"]}, headers=bearer(newcomer(world))).is_success


@pytest.mark.parametrize("body", [{"max_uses": 0}, {"valid_days": 400}, {"role": "admin"}, {"note": "a\x1b"}, {"x": 1}])
def test_what_may_be_asked_for(client: TestClient, person: Person, body: dict[str, Any]) -> None:
    assert make(client, person, **body).status_code == 422


def test_guessing_codes_is_slowed_down_and_written_down(make_client: MakeClient, world: World) -> None:
    client = make_client(rate_limit_failures="3/minute")
    token = newcomer(world)
    codes = [
        client.post("/invitations/redeem", json={"code": f"AAAAA-{number}"}, headers=bearer(token)).status_code
        for number in range(5)
    ]
    assert codes == [404, 404, 404, 429, 429]
    assert "invitation_unknown" in world.events()


def test_a_newcomer_joins_on_the_page(client: TestClient, world: World, person: Person) -> None:
    code = make(client, person).json()["code"]
    sign_in(client, newcomer(world))
    sent = client.get("/review", follow_redirects=False)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/review/invitation")
    page = client.get("/review/invitation")
    assert "Join with an invitation code" in page.text
    csrf = csrf_of(page.text)
    assert post_form(client, "/review/invitation", code=code).status_code == 403
    wrong = post_form(client, "/review/invitation", csrf=csrf, code="<b>AAAAA")
    assert (wrong.status_code, "there is no such invitation code" in wrong.text) == (404, True)
    assert "<b>" not in wrong.text
    joined = post_form(client, "/review/invitation", csrf=csrf, code=f" {code.lower()} ")
    assert (joined.status_code, joined.headers["Location"]) == (303, "/review")
    assert client.get("/review", follow_redirects=False).status_code == 200
    # Who has joined is not asked again.
    assert client.get("/review/invitation", follow_redirects=False).headers["Location"] == "/review"


def test_the_page_asks_nobody_who_is_not_signed_in(client: TestClient) -> None:
    sent = client.get("/review/invitation", follow_redirects=False)
    assert sent.status_code == 303
    assert sent.headers["Location"].startswith("/review/sign-in")
    csrf = csrf_of(client.get("/review/sign-in").text)
    refused = post_form(client, "/review/invitation", csrf=csrf, code="AAAAA")
    assert (refused.status_code, refused.headers["Location"].startswith("/review/sign-in")) == (303, True)
