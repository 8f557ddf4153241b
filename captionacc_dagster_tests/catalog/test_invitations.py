"""Invitation codes: bounded in uses and time, hashed, of one tenant, and written down."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, InvalidValue, NotFound, QuotaReached
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.catalog.tenants import House, add_user, furnish
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = [pytest.mark.integration, pytest.mark.security]

CODE = re.compile(r"[A-HJ-NP-Z2-9]{5}(-[A-HJ-NP-Z2-9]{5}){3}")


def new_account(url: str) -> UUID:
    user_id = uuid4()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s)", (user_id,))
    return user_id


def execute(url: str, statement: str, *values: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement, values)  # pyright: ignore[reportArgumentType]


def test_a_code_lets_as_many_people_join_as_it_says(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    made = postgres_catalog.create_invitation(tenant.id, max_uses=3)
    assert CODE.fullmatch(made.code)
    people = [new_account(catalog_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(lambda person: postgres_catalog.redeem_invitation(person, made.code), people))
    assert Counter(redemption.outcome for redemption in ended) == {"joined": 3, "used_up": 5}
    for person, redemption in zip(people, ended, strict=True):
        profile = postgres_catalog.find_user_profile(person)
        if redemption.outcome == "joined":
            assert (redemption.tenant_id, redemption.tenant_name, redemption.role) == (tenant.id, "A studio", "member")
            assert profile is not None
            assert (profile.tenant_id, profile.role, profile.approval_status) == (tenant.id, "member", "approved")
        else:
            assert (redemption.tenant_id, redemption.tenant_name, profile) == (None, None, None)
    (listed,) = postgres_catalog.list_invitations(tenant.id)
    assert (listed.id, listed.uses, listed.max_uses) == (made.id, 3, 3)


def test_redeeming_over_each_transport(catalog: Catalog, request: pytest.FixtureRequest) -> None:
    kind = "supabase" if isinstance(catalog, SupabaseCatalog) else "postgres"
    url = (
        request.getfixturevalue("supabase_lite").database_url
        if kind == "supabase"
        else request.getfixturevalue("catalog_url")
    )
    tenant = catalog.ensure_tenant(uuid4(), "A studio", "active")
    made = catalog.create_invitation(tenant.id, role="owner", note="for Ann", valid_days=1)
    person = new_account(url)
    # As people type it, and again after the answer was lost: one use.
    assert catalog.redeem_invitation(person, f" {made.code.lower().replace('-', ' ')} ").outcome == "joined"
    again = catalog.redeem_invitation(person, made.code)
    assert (again.outcome, again.role, again.tenant_id) == ("already", "owner", tenant.id)
    assert [(row.uses, row.note) for row in catalog.list_invitations(tenant.id)] == [(1, "for Ann")]
    assert catalog.redeem_invitation(person, "AAAAA-AAAAA-AAAAA-AAAAA").outcome == "unknown"
    assert catalog.redeem_invitation(person, "").outcome == "unknown"
    assert catalog.revoke_invitation(made.id, uuid4()) is False
    assert catalog.revoke_invitation(made.id, tenant.id) is True


def test_each_refusal_says_why_and_changes_nothing(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    other = postgres_catalog.ensure_tenant(uuid4(), "Another", "active")

    def ended(person: UUID, *, change: str = "select 1", revoke: bool = False) -> str:
        made = postgres_catalog.create_invitation(tenant.id)
        execute(catalog_url, change)
        if revoke:
            postgres_catalog.revoke_invitation(made.id, tenant.id)
        before = postgres_catalog.find_user_profile(person)
        outcome = postgres_catalog.redeem_invitation(person, made.code).outcome
        assert postgres_catalog.find_user_profile(person) == before
        assert next(row for row in postgres_catalog.list_invitations(tenant.id) if row.id == made.id).uses == 0
        return outcome

    stranger = new_account(catalog_url)
    rejected = add_user(postgres_catalog, catalog_url, tenant.id, "member", approved=False)
    postgres_catalog.set_user_profile(rejected, tenant.id, approval_status="rejected")
    assert ended(add_user(postgres_catalog, catalog_url, other.id, "member")) == "other_tenant"
    assert ended(rejected) == "rejected"
    assert ended(stranger, revoke=True) == "revoked"
    assert ended(stranger, change="update captionacc.invitations set expires_at = now()") == "expired"
    events = postgres_catalog.list_security_events(tenant_id=tenant.id, event="invitation_refused").items
    assert [event.details["outcome"] for event in events] == ["expired", "revoked", "rejected", "other_tenant"]


def test_who_waits_is_approved_and_a_member_becomes_an_owner(
    postgres_catalog: PostgresCatalog, catalog_url: str
) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    waiting = add_user(postgres_catalog, catalog_url, tenant.id, "member", approved=False)
    member = add_user(postgres_catalog, catalog_url, tenant.id, "member")
    owner = add_user(postgres_catalog, catalog_url, tenant.id, "owner")
    for_member = postgres_catalog.create_invitation(tenant.id, max_uses=9)
    for_owner = postgres_catalog.create_invitation(tenant.id, max_uses=9, role="owner")
    assert postgres_catalog.redeem_invitation(waiting, for_member.code).outcome == "joined"
    assert postgres_catalog.redeem_invitation(member, for_member.code).outcome == "already"
    assert postgres_catalog.redeem_invitation(member, for_owner.code).role == "owner"
    # A code takes no right away.
    assert postgres_catalog.redeem_invitation(owner, for_member.code).role == "owner"


def test_the_code_is_nowhere_in_the_database(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    made = postgres_catalog.create_invitation(tenant.id, note="for Ann")
    postgres_catalog.redeem_invitation(new_account(catalog_url), made.code)
    with psycopg.connect(catalog_url) as connection:
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'captionacc'"
            " and table_type = 'BASE TABLE'"
        ).fetchall()
        selects = [
            sql.SQL("select to_jsonb(t)::text from captionacc.{} t").format(sql.Identifier(*row)) for row in tables
        ]
        text = "".join(str(connection.execute(select).fetchall()) for select in selects)
    assert "for Ann" in text
    assert made.code not in text
    assert made.code.replace("-", "") not in text


def test_the_bounds_of_an_invitation(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    wrongs: list[dict[str, Any]] = [
        {"max_uses": 0}, {"max_uses": 1001}, {"valid_days": 0}, {"valid_days": 366}, {"note": "a\x1b[0m"},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(InvalidValue):
            postgres_catalog.create_invitation(tenant.id, **wrong)
    with pytest.raises(NotFound):
        postgres_catalog.create_invitation(uuid4())
    made = [postgres_catalog.create_invitation(tenant.id) for _ in range(100)]
    with pytest.raises(QuotaReached, match="100 open invitations"):
        postgres_catalog.create_invitation(tenant.id)
    postgres_catalog.revoke_invitation(made[0].id, tenant.id)
    assert postgres_catalog.create_invitation(tenant.id).id not in {invitation.id for invitation in made}
    # The same call again gets another code for the same row; nobody knows the first.
    number = uuid4()
    call = {"p_invitation_id": number, "p_tenant_id": postgres_catalog.ensure_tenant(uuid4(), "B", "trial").id}
    first, second = (postgres_catalog._call("create_invitation", **call)[0]["code"] for _ in range(2))  # pyright: ignore[reportPrivateUsage]
    person = new_account(catalog_url)
    assert postgres_catalog.redeem_invitation(person, first).outcome == "unknown"
    assert postgres_catalog.redeem_invitation(person, second).outcome == "joined"


def test_accounts_that_supabase_does_not_know_cannot_join(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    tenant = postgres_catalog.ensure_tenant(uuid4(), "A studio", "active")
    made = postgres_catalog.create_invitation(tenant.id, max_uses=2)
    # An identity provider of one's own: its people are accounts once they come with a token.
    assert postgres_catalog.redeem_invitation(uuid4(), made.code).outcome == "joined"
    execute(catalog_url, "alter table auth.users add column instance_id uuid")
    with pytest.raises(CatalogError):
        postgres_catalog.redeem_invitation(uuid4(), made.code)
    assert postgres_catalog.list_invitations(tenant.id)[0].uses == 1


@pytest.fixture
def houses(supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog) -> tuple[House, House]:
    url = supabase_lite.database_url
    return furnish(supabase_catalog, url), furnish(supabase_catalog, url)


def test_owners_invite_over_rest_and_whoever_signs_up_joins(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House]
) -> None:
    house, other = houses
    new = new_account(supabase_lite.database_url)
    with supabase_lite.rest(house.owner) as owner, supabase_lite.rest(new) as joining:
        (made,) = owner.post("/rpc/create_own_invitation", json={"p_max_uses": 2, "p_note": "for Ann"}).json()
        assert joining.get("/videos").json() == []
        (joined,) = joining.post("/rpc/redeem_invitation", json={"p_code": made["code"]}).json()
        assert joined == {
            "outcome": "joined", "tenant_id": str(house.tenant_id), "tenant_name": "a tenant", "role": "member",
        }  # fmt: skip
        assert [row["id"] for row in joining.get("/videos").json()] == [str(house.video_id)]
        shown = owner.get("/invitations", params={"select": "id,uses,max_uses,note", "note": "eq.for Ann"}).json()
        assert shown == [{"id": made["id"], "uses": 1, "max_uses": 2, "note": "for Ann"}]
        # Nobody reads the hash, not even an owner; nobody else's invitation is there.
        assert owner.get("/invitations", params={"select": "code_hash"}).status_code in (401, 403)
        assert owner.patch("/invitations", params={"id": f"eq.{made['id']}"}, json={"uses": 0}).status_code in (
            401,
            403,
        )
        assert owner.post("/rpc/revoke_own_invitation", json={"p_invitation_id": made["id"]}).json() is True
    for who, status in ((house.member, 403), (house.pending, 403), (None, 401)):
        with supabase_lite.rest(who) as client:
            for function, body in (
                ("create_own_invitation", {}),
                ("revoke_own_invitation", {"p_invitation_id": made["id"]}),
            ):
                assert client.post(f"/rpc/{function}", json=body).status_code in (status, 404), (who, function)
            answer = client.get("/invitations", params={"select": "id"})
            assert answer.status_code in (401, 403) or answer.json() == [], who
    with supabase_lite.rest(other.owner) as stranger:
        assert stranger.get("/invitations", params={"select": "id", "note": "eq.for Ann"}).json() == []
        assert stranger.post("/rpc/revoke_own_invitation", json={"p_invitation_id": made["id"]}).json() is False
        for function, body in (
            ("create_invitation", {"p_invitation_id": str(uuid4()), "p_tenant_id": str(house.tenant_id)}),
            ("revoke_invitation", {"p_invitation_id": made["id"], "p_tenant_id": str(house.tenant_id)}),
            ("redeem_invitation_for", {"p_user_id": str(uuid4()), "p_code": made["code"]}),
            ("list_invitations", {"p_tenant_id": str(house.tenant_id)}),
            ("invitation_hash", {"p_code": made["code"]}),
        ):
            assert stranger.post(f"/rpc/{function}", json=body).status_code in (401, 403, 404), function
    events = [event.event for event in supabase_catalog.list_security_events(tenant_id=house.tenant_id).items]
    assert events[:3] == ["invitation_revoked", "invitation_redeemed", "invitation_created"]
