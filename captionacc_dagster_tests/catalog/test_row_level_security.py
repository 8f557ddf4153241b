"""Who sees and changes what, as users meet it: over HTTP with their tokens, and over SQL with their claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.errors import PermissionDenied
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.catalog.tenants import TABLES, House, furnish
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = [pytest.mark.integration, pytest.mark.security]

# What a tenant's own people see of each table; the service's tables are nobody's.
OWNER_SEES = {
    "access_tiers": 4, "tenants": 1, "user_profiles": 3, "videos": 1, "video_database_state": 1,
    "cropped_frames_versions": 1, "processing_requests": 1, "security_audit_log": 2,
}  # fmt: skip
MEMBER_SEES = {**OWNER_SEES, "security_audit_log": 0}
PENDING_SEES = {**dict.fromkeys(OWNER_SEES, 0), "access_tiers": 4, "user_profiles": 1}
STRANGER_SEES = {**dict.fromkeys(OWNER_SEES, 0), "access_tiers": 4}
HIDDEN = ("compute_calls", "webhook_deliveries", "issued_video_ids")


@pytest.fixture
def houses(supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog) -> tuple[House, House]:
    url = supabase_lite.database_url
    return furnish(supabase_catalog, url), furnish(supabase_catalog, url)


class Visitor:
    """Reads and writes over HTTP; ``denied`` holds when nothing was read or changed."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def rows(self, table: str, **filters: str) -> list[dict[str, Any]]:
        answer = self.client.get(f"/{table}", params=filters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, method: str, table: str, body: Any = None, **filters: str) -> httpx.Response:
        return self.client.request(method, f"/{table}", params=filters, json=body)

    def denied(self, method: str, table: str, body: Any = None, **filters: str) -> bool:
        answer = self.change(method, table, body, **filters)
        if answer.status_code in (401, 403):
            assert answer.json()["code"] == "42501", answer.text
            return True
        # A row that a policy hides is as if it were not there.
        return answer.status_code in (200, 204) and not (answer.content and answer.json())


@contextmanager
def visit(server: SupabaseLite, user_id: UUID | None, **claims: Any) -> Iterator[Visitor]:
    with server.rest(user_id, **claims) as client:
        yield Visitor(client)


@pytest.mark.parametrize(
    ("who", "sees"),
    [("owner", OWNER_SEES), ("member", MEMBER_SEES), ("pending", PENDING_SEES), ("stranger", STRANGER_SEES)],
)
def test_users_read_their_own_tenant_alone(
    supabase_lite: SupabaseLite, houses: tuple[House, House], who: str, sees: dict[str, int]
) -> None:
    house = houses[0]
    user_id = uuid4() if who == "stranger" else getattr(house, who)
    with visit(supabase_lite, user_id) as visitor:
        for table, count in sees.items():
            rows = visitor.rows(table)
            assert len(rows) == count, table
            column = "id" if table == "tenants" else "tenant_id"
            assert {row.get(column) for row in rows} <= {str(house.tenant_id), None}, table
        for table in HIDDEN:
            assert visitor.denied("GET", table), table


def test_an_anonymous_visitor_gets_nothing(supabase_lite: SupabaseLite, houses: tuple[House, House]) -> None:
    with visit(supabase_lite, None) as visitor:
        for table in TABLES:
            for method, body in (("GET", None), ("POST", {}), ("PATCH", {"updated_at": "now"}), ("DELETE", None)):
                answer = visitor.change(method, table, body)
                assert answer.status_code in (400, 401), (method, table, answer.text)
                assert not isinstance(answer.json(), list), (method, table)
        answer = visitor.change("POST", "rpc/tenant_tier", {"p_tenant_id": str(houses[0].tenant_id)})
        assert answer.status_code in (401, 403, 404), answer.text


@pytest.mark.parametrize("who", ["owner", "member", "pending", "stranger"])
def test_no_user_changes_another_tenants_rows(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House], who: str
) -> None:
    house, other = houses
    user_id = uuid4() if who == "stranger" else getattr(house, who)
    video = supabase_catalog.get_video_metadata(other.video_id)
    with visit(supabase_lite, user_id) as visitor:
        assert visitor.rows("videos", id=f"eq.{other.video_id}") == []
        assert visitor.denied("PATCH", "videos", {"filename": "mine.mp4"}, id=f"eq.{other.video_id}")
        assert visitor.denied("PATCH", "videos", {"deleted_at": "2026-01-01"}, id=f"eq.{other.video_id}")
        assert visitor.denied("DELETE", "videos", id=f"eq.{other.video_id}")
        assert visitor.denied("PATCH", "tenants", {"name": "mine"}, id=f"eq.{other.tenant_id}")
        assert visitor.denied("PATCH", "user_profiles", {"role": "member"}, id=f"eq.{other.owner}")
        assert visitor.denied("DELETE", "user_profiles", id=f"eq.{other.member}")
        new = uuid4()
        body = {
            "id": str(new), "tenant_id": str(other.tenant_id), "filename": "b.mp4",
            "storage_key": f"{other.tenant_id}/client/videos/{new}/video.mp4",
        }  # fmt: skip
        assert visitor.denied("POST", "videos", body)
    assert supabase_catalog.get_video_metadata(other.video_id) == video
    assert supabase_catalog.get_tenant(other.tenant_id).name == "a tenant"
    assert supabase_catalog.find_user_profile(other.member) is not None


def test_no_user_writes_what_the_service_keeps(supabase_lite: SupabaseLite, houses: tuple[House, House]) -> None:
    house = houses[0]
    own = {"tenant_id": str(house.tenant_id), "video_id": str(house.video_id)}
    inserts: dict[str, dict[str, Any]] = {
        "access_tiers": {"id": "gold", "name": "Gold"},
        "tenants": {"name": "another"},
        "user_profiles": {"id": str(uuid4()), "tenant_id": str(house.tenant_id), "role": "owner"},
        "video_database_state": {**own, "database_name": "captions"},
        "cropped_frames_versions": {**own, "version": 9, "run_id": "mine"},
        "processing_requests": {**own, "flow": "caption_ocr", "idempotency_key": "mine"},
        "compute_calls": {**own, "call_key": "mine", "app_name": "a", "function_name": "f", "code_version": "1"},
        "webhook_deliveries": {"delivery_id": "mine", "receipt": str(uuid4()), "source": "me"},
        "security_audit_log": {"event": "nothing to see"},
    }
    updates: dict[str, dict[str, Any]] = {
        "access_tiers": {"processing_minutes_limit": None},
        "tenants": {"access_tier_id": "enterprise"},
        "user_profiles": {"access_tier_id": "enterprise"},
        "videos": {"status": "active"},
        "video_database_state": {"lock_holder": None},
        "cropped_frames_versions": {"state": "active"},
        "processing_requests": {"state": "cancelled"},
        "compute_calls": {"state": "succeeded"},
        "webhook_deliveries": {"outcome": "none"},
        "security_audit_log": {"event": "nothing to see"},
    }
    with visit(supabase_lite, house.owner) as visitor:
        for table, body in inserts.items():
            assert visitor.denied("POST", table, body), f"insert into {table}"
        for table, body in updates.items():
            assert visitor.denied("PATCH", table, body), f"update of {table}"
        for table in TABLES:
            if table != "user_profiles":
                assert visitor.denied("DELETE", table), f"delete from {table}"
        for column in ("tenant_id", "storage_key", "crop_left", "is_demo", "source", "content_hash", "deleted_at"):
            assert visitor.denied("PATCH", "videos", {column: None}), column
        for function, body in (
            ("update_video", {"p_video_id": str(house.video_id), "p_changes": {"status": "active"}}),
            ("claim_processing_requests", {"p_claimer": "me", "p_limit": 9, "p_lease_seconds": 9}),
            ("purge_video", {"p_video_id": str(house.video_id)}),
            ("delete_video", {"p_video_id": str(house.video_id)}),
            ("restore_video", {"p_video_id": str(house.video_id)}),
            ("own_video_to_delete", {"p_video_id": str(house.video_id)}),
            ("schema_version", {}),
        ):
            assert visitor.denied("POST", f"rpc/{function}", body), function


def test_what_owners_and_members_may_change(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House]
) -> None:
    house = houses[0]
    with visit(supabase_lite, house.member) as member:
        new = UUID(member.change("POST", "rpc/new_video_id").json())
        body = new_row(house, new)
        assert member.denied("POST", "videos", {**body, "uploaded_by": str(house.owner)})
        assert member.change("POST", "videos", body).status_code == 201
        assert member.change("PATCH", "videos", {"filename": "c.mp4"}, id=f"eq.{new}").json()[0]["filename"] == "c.mp4"
        assert member.change("PATCH", "videos", {"folder": "a/b"}, id=f"eq.{new}").json()[0]["folder"] == "a/b"
        for wrong in ("../x", "a//b", "/a", "a/", "a/..", "a\\b", "a\x1b", "x" * 501):
            assert member.change("PATCH", "videos", {"folder": wrong}, id=f"eq.{new}").is_error, wrong
        assert member.rows("videos", id=f"eq.{new}")[0]["folder"] == "a/b"
        assert member.denied("DELETE", "videos", id=f"eq.{new}")
        assert member.denied("PATCH", "tenants", {"name": "ours"})
        assert member.denied("PATCH", "user_profiles", {"role": "owner"}, id=f"eq.{house.member}")
        assert member.denied("DELETE", "user_profiles", id=f"eq.{house.pending}")
    # The upload asked for its processing in the same transaction.
    (request,) = supabase_catalog.list_processing_requests(video_id=new).items
    assert (request.flow, request.requested_by) == ("video_initial_processing", house.member)
    with visit(supabase_lite, house.owner) as owner:
        renamed = owner.change("PATCH", "tenants", {"name": "ours", "auto_approve_layout": True}).json()
        assert [row["name"] for row in renamed] == ["ours"]
        approved = owner.change("PATCH", "user_profiles", {"approval_status": "approved"}, id=f"eq.{house.pending}")
        assert approved.json()[0]["approval_status"] == "approved"
        assert owner.denied("DELETE", "user_profiles", id=f"eq.{house.owner}")
        assert len(owner.change("DELETE", "user_profiles", id=f"eq.{house.pending}").json()) == 1
        assert owner.change("POST", "rpc/delete_own_video", {"p_video_id": str(new)}).json() is True
    assert supabase_catalog.get_videos([new]) == {}


def new_row(house: House, video_id: UUID) -> dict[str, Any]:
    """A video as a member of this house adds it."""
    return {
        "id": str(video_id), "tenant_id": str(house.tenant_id), "filename": "b.mp4", "uploaded_by": str(house.member),
        "storage_key": f"{house.tenant_id}/client/videos/{video_id}/video.mp4",
    }  # fmt: skip


@pytest.mark.parametrize("moment", ["-infinity", "infinity", "0044-03-15 BC", "2020-01-01", "now", None])
def test_no_user_writes_when_a_video_was_deleted(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House], moment: str | None
) -> None:
    house = houses[0]
    supabase_catalog.delete_video(house.video_id)
    for user_id in (house.member, house.owner):
        with visit(supabase_lite, user_id) as visitor:
            assert visitor.denied("PATCH", "videos", {"deleted_at": moment}, id=f"eq.{house.video_id}")
            assert visitor.denied("DELETE", "videos", id=f"eq.{house.video_id}")
    # The video is still deleted, nothing is removed before its time, and cleaning works for everybody.
    assert supabase_catalog.get_videos([house.video_id]) == {}
    assert supabase_catalog.list_deleted_videos(datetime.now(UTC) - timedelta(days=7)) == []
    (deleted,) = supabase_catalog.list_deleted_videos(datetime.now(UTC) + timedelta(minutes=1))
    assert deleted.id == house.video_id


@pytest.mark.parametrize("moment", ["-infinity", "infinity", "0044-03-15 BC"])
def test_no_unreadable_time_of_deletion_gets_into_a_row(
    catalog_url: str, postgres_catalog: PostgresCatalog, moment: str
) -> None:
    house = furnish(postgres_catalog, catalog_url)
    with psycopg.connect(catalog_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("update captionacc.videos set deleted_at = %s where id = %s", (moment, house.video_id))


def test_owners_delete_and_restore_and_members_do_not(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House]
) -> None:
    house, other = houses
    asked = {"p_video_id": str(house.video_id)}
    with visit(supabase_lite, house.member) as member:
        assert member.denied("POST", "rpc/delete_own_video", asked)
    with visit(supabase_lite, other.owner) as stranger:
        foreign = stranger.change("POST", "rpc/delete_own_video", asked)
        missing = stranger.change("POST", "rpc/delete_own_video", {"p_video_id": str(uuid4())})
        assert (foreign.status_code, foreign.json()) == (missing.status_code, missing.json()) == (200, False)
    with visit(supabase_lite, None) as anonymous:
        assert anonymous.denied("POST", "rpc/delete_own_video", asked)
    assert house.video_id in supabase_catalog.get_videos([house.video_id])

    with visit(supabase_lite, house.owner) as owner:
        assert owner.change("POST", "rpc/delete_own_video", asked).json() is True
        (request,) = supabase_catalog.list_processing_requests(video_id=house.video_id).items
        assert request.state == "cancelled"
        with visit(supabase_lite, house.member) as member:
            assert member.denied("POST", "rpc/restore_own_video", asked)
        assert supabase_catalog.get_videos([house.video_id]) == {}
        assert owner.change("POST", "rpc/restore_own_video", asked).json() is True
    assert house.video_id in supabase_catalog.get_videos([house.video_id])
    (request,) = supabase_catalog.list_processing_requests(video_id=house.video_id).items
    assert request.state == "pending"


def test_an_insert_does_not_tell_whether_an_id_exists(supabase_lite: SupabaseLite, houses: tuple[House, House]) -> None:
    house, other = houses
    with visit(supabase_lite, house.member) as member:
        foreign = member.change("POST", "videos", new_row(house, other.video_id))
        nobodys = member.change("POST", "videos", new_row(house, uuid4()))
        issued = UUID(member.change("POST", "rpc/new_video_id").json())
        with visit(supabase_lite, other.member) as stranger:
            stolen = stranger.change("POST", "videos", new_row(other, issued))
        added = member.change("POST", "videos", new_row(house, issued))
    assert foreign.status_code == nobodys.status_code == stolen.status_code == 403
    assert foreign.json() == nobodys.json() == stolen.json()
    assert foreign.json()["code"] == "42501"
    assert added.status_code == 201


@pytest.mark.parametrize("character", ["\x1b", "\n", "\x7f", "\x9b"])
def test_names_hold_no_control_characters(
    supabase_lite: SupabaseLite, houses: tuple[House, House], character: str
) -> None:
    house = houses[0]
    name = f"red{character}31m"
    with visit(supabase_lite, house.owner) as owner:
        assert owner.denied("PATCH", "videos", {"filename": name}, id=f"eq.{house.video_id}")
        assert owner.denied("PATCH", "videos", {"lang": name}, id=f"eq.{house.video_id}")
        assert owner.denied("PATCH", "tenants", {"name": name}, id=f"eq.{house.tenant_id}")
        assert owner.denied("PATCH", "user_profiles", {"display_name": name}, id=f"eq.{house.member}")
        kept = owner.change("PATCH", "videos", {"filename": "ünïcode – 字幕.mp4"}, id=f"eq.{house.video_id}")
        assert kept.json()[0]["filename"] == "ünïcode – 字幕.mp4"


def test_ids_are_issued_to_approved_users_and_not_without_end(
    supabase_lite: SupabaseLite, houses: tuple[House, House]
) -> None:
    house = houses[0]
    with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
        insert = (
            "insert into captionacc.issued_video_ids (tenant_id, issued_at) select %s, %s from generate_series(1, %s)"
        )
        connection.execute(insert, (house.tenant_id, datetime.now(UTC), 998))
    for user_id in (house.pending, uuid4()):
        with visit(supabase_lite, user_id) as visitor:
            assert visitor.denied("POST", "rpc/new_video_id")
    with visit(supabase_lite, house.member) as member:
        assert member.change("POST", "rpc/new_video_id").status_code == 200
        assert member.change("POST", "rpc/new_video_id").status_code == 429
        with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
            connection.execute("update captionacc.issued_video_ids set issued_at = issued_at - interval '25 hours'")
        old = member.change("POST", "rpc/new_video_id").json()
        assert member.denied("POST", "videos", new_row(house, uuid4()))
        assert member.change("POST", "videos", new_row(house, UUID(old))).status_code == 201


def test_demo_videos_are_everybodys_to_see_and_nobodys_to_change(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, houses: tuple[House, House]
) -> None:
    house, other = houses
    assert supabase_catalog.set_demo_video(other.video_id, True).is_demo
    assert [video.id for video in supabase_catalog.list_demo_videos()] == [other.video_id]
    with visit(supabase_lite, house.member) as member:
        assert {row["id"] for row in member.rows("videos")} == {str(house.video_id), str(other.video_id)}
        assert member.denied("PATCH", "videos", {"filename": "mine.mp4"}, id=f"eq.{other.video_id}")
        assert member.denied("DELETE", "videos", id=f"eq.{other.video_id}")
        assert member.denied("POST", "rpc/set_demo_video", {"p_video_id": str(house.video_id), "p_is_demo": True})
    with visit(supabase_lite, None) as anonymous:
        assert anonymous.denied("GET", "videos")
    supabase_catalog.delete_video(other.video_id)
    with visit(supabase_lite, house.member) as member:
        assert {row["id"] for row in member.rows("videos")} == {str(house.video_id)}


def test_a_member_over_a_limit_is_refused_in_words_and_a_stranger_learns_nothing(
    supabase_lite: SupabaseLite, houses: tuple[House, House]
) -> None:
    house, other = houses

    def row(of: House, new: str) -> dict[str, str]:
        key = f"{of.tenant_id}/client/videos/{new}/video.mp4"
        return {"id": new, "tenant_id": str(of.tenant_id), "filename": "one more.mp4", "storage_key": key}

    with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
        before = connection.execute("select video_limit, id from captionacc.access_tiers").fetchall()
        connection.execute("update captionacc.access_tiers set video_limit = 1")
        try:
            with visit(supabase_lite, house.member) as member:
                new = member.change("POST", "rpc/new_video_id").json()
                refused = member.change("POST", "videos", row(house, new))
                assert refused.status_code == 429
                assert refused.json()["message"] == "the limit of 1 videos is reached"
                assert member.denied("POST", "videos", row(other, new))
        finally:
            with connection.cursor() as cursor:
                cursor.executemany("update captionacc.access_tiers set video_limit = %s where id = %s", before)


@pytest.mark.parametrize("claims", [{"role": "service_role"}, {"role": "postgres"}], ids=["service role", "superuser"])
def test_a_forged_token_opens_nothing(
    supabase_lite: SupabaseLite, houses: tuple[House, House], claims: dict[str, str]
) -> None:
    with visit(
        supabase_lite, houses[0].owner, secret="another secret, as long as the real one is", **claims
    ) as visitor:
        answer = visitor.client.get("/videos")
        assert answer.status_code == 401 or answer.json() == []


def test_a_wrong_service_key_is_a_permission_denied(supabase_lite: SupabaseLite) -> None:
    with SupabaseCatalog(supabase_lite.url, "sb_secret_wrong") as catalog, pytest.raises(PermissionDenied) as error:
        catalog.get_metrics()
    assert "sb_secret_wrong" not in f"{error.value} {catalog!r}"


def test_the_public_key_does_not_make_a_catalog(supabase_lite: SupabaseLite) -> None:
    with SupabaseCatalog(supabase_lite.url, supabase_lite.publishable_key) as catalog, pytest.raises(PermissionDenied):
        catalog.get_metrics()


@contextmanager
def acting_as(url: str, role: str, user_id: UUID | None = None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A transaction under a role with a user's claims, as PostgREST opens it."""
    with psycopg.connect(url) as connection:
        claims = json.dumps({"role": role, **({"sub": str(user_id)} if user_id else {})})
        connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield connection
        connection.rollback()


def count(connection: psycopg.Connection[tuple[Any, ...]], table: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from captionacc.{}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return row[0]


def test_sql_with_claims_obeys_the_same_rules(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    house, other = furnish(postgres_catalog, catalog_url), furnish(postgres_catalog, catalog_url)
    for user_id, sees in (
        (house.owner, OWNER_SEES), (house.member, MEMBER_SEES), (house.pending, PENDING_SEES), (uuid4(), STRANGER_SEES),
    ):  # fmt: skip
        with acting_as(catalog_url, "authenticated", user_id) as connection:
            assert {table: count(connection, table) for table in sees} == sees
            statement = "update captionacc.videos set filename = 'mine' where id = %s"
            assert connection.execute(statement, (other.video_id,)).rowcount == 0
        for table in (*HIDDEN, "schema_migrations", "processing_request_details"):
            with (
                acting_as(catalog_url, "authenticated", user_id) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                count(connection, table)


def test_sql_as_the_service_role_sees_all_and_as_anon_none(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    furnish(postgres_catalog, catalog_url)
    furnish(postgres_catalog, catalog_url)
    with acting_as(catalog_url, "service_role") as connection:
        for table in TABLES:
            assert count(connection, table) >= 2, table
        assert connection.execute("delete from captionacc.tenants").rowcount == 3
    for table in TABLES:
        with acting_as(catalog_url, "anon") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            count(connection, table)


def test_every_table_and_function_is_closed_unless_opened(catalog_url: str) -> None:
    with psycopg.connect(catalog_url) as connection:
        unprotected = connection.execute(
            "select relname from pg_class where relnamespace = 'captionacc'::regnamespace and relkind = 'r'"
            " and not relrowsecurity"
        ).fetchall()
        assert unprotected == []
        tables = connection.execute(
            "select relname from pg_class where relnamespace = 'captionacc'::regnamespace and relkind = 'r'"
        ).fetchall()
        assert {row[0] for row in tables} == {*TABLES, "schema_migrations"}
        counted_by_users = connection.execute(
            "select relname from pg_class where relnamespace = 'captionacc'::regnamespace and relkind = 'S'"
            " and (has_sequence_privilege('authenticated', oid, 'usage, select, update')"
            "      or has_sequence_privilege('anon', oid, 'usage, select, update'))"
        ).fetchall()
        assert counted_by_users == []
        callable_by_users = connection.execute(
            "select p.proname from pg_proc p where p.pronamespace = 'captionacc'::regnamespace"
            " and (has_function_privilege('authenticated', p.oid, 'execute')"
            "      or has_function_privilege('anon', p.oid, 'execute'))"
        ).fetchall()
        assert {row[0] for row in callable_by_users} == {
            "current_tenant_id", "is_tenant_owner", "is_own_issued_id", "new_video_id", "delete_own_video",
            "restore_own_video", "create_own_invitation", "revoke_own_invitation", "redeem_invitation",
        }  # fmt: skip
        unpinned = connection.execute(
            "select proname from pg_proc where pronamespace = 'captionacc'::regnamespace"
            " and not coalesce(proconfig, '{}') @> array['search_path=\"\"']"
        ).fetchall()
        assert unpinned == []
