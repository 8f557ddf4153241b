"""A first administrator: tenants, invitations, and approvals by command, without any SQL."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = pytest.mark.integration


def test_from_an_empty_catalog_to_an_owner_and_a_member(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    added = run("tenant", "add", "My  studio", "--tier", "trial", **environment)
    assert (added.returncode, added.stderr) == (0, "")
    tenant_id = added.stdout.strip()
    owner = run("user", "invite", "me@example.com", "--tenant", "my studio", "--owner", **environment)
    assert owner.stdout.startswith("me@example.com is an owner of My studio; its tokens name "), owner.stderr
    member = run("user", "invite", "you@example.com", "--tenant", tenant_id, **environment)
    assert member.stdout.startswith("you@example.com is a member of My studio; "), member.stderr
    with psycopg.connect(catalog_url) as connection:
        rows = connection.execute(
            "select u.email, p.role, p.approval_status, t.access_tier_id from captionacc.user_profiles p"
            " join auth.users u using (id) join captionacc.tenants t on t.id = p.tenant_id where t.id = %s order by 1",
            (tenant_id,),
        ).fetchall()
    assert rows == [
        ("me@example.com", "owner", "approved", "trial"),
        ("you@example.com", "member", "approved", "trial"),
    ]


def test_a_second_time_changes_nothing_and_takes_no_right_away(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    run("tenant", "add", "One", **environment)
    for options in (["--owner"], []):
        again = run("user", "invite", "ME@example.com", "--tenant", "One", *options, **environment)
        assert "is an owner of One" in again.stdout, again.stderr
    again = run("tenant", "add", "one", **environment)
    assert (again.returncode, "there is a tenant One already" in again.stderr) == (1, True)


def test_a_person_has_one_tenant(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    for name in ("One", "Two"):
        run("tenant", "add", name, **environment)
    assert run("user", "invite", "me@example.com", "--tenant", "One", **environment).returncode == 0
    for command in ("invite", "approve"):
        moved = run("user", command, "me@example.com", "--tenant", "Two", **environment)
        assert (moved.returncode, moved.stdout) == (1, "")
        assert "me@example.com belongs to One; a person has one tenant" in moved.stderr


def test_what_is_missing_is_said_with_the_choices(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    run("tenant", "add", "One", **environment)
    which = run("user", "invite", "me@example.com", **environment)
    assert which.returncode == 1
    assert "which tenant? give --tenant with one of" in which.stderr
    assert "  One" in which.stderr
    unknown = run("user", "invite", "me@example.com", "--tenant", "Three", **environment)
    assert "no tenant Three; there are" in unknown.stderr
    nobody = run("user", "approve", "me@example.com", "--tenant", "One", **environment)
    assert "nobody has signed up as me@example.com: `captionacc user invite me@example.com`" in nobody.stderr
    for wrong in ("me", "@example.com", "a b@example.com", "me\x1b@example.com"):
        assert run("user", "invite", wrong, "--tenant", "One", **environment).returncode == 2
    assert run("tenant", "add", "One\x1b", **environment).returncode == 1
    assert run("tenant", "add", "Four", "--tier", "gold", **environment).returncode == 2
    assert run("user", "invite", "me@example.com", "--tenant", "One", **environment).returncode == 0


def test_a_video_is_shared_with_every_tenant_and_no_longer(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    with PostgresCatalog(catalog_url) as catalog:
        video = catalog.create_video(LOCAL_TENANT_ID, "news.mp4").video
        assert run("share", "news.mp4", **environment).stdout == "news.mp4: every tenant may read it\n"
        assert [row.id for row in catalog.list_demo_videos()] == [video.id]
        assert run("share", str(video.id), "--off", **environment).stdout == "news.mp4: for its own tenant alone\n"
        assert catalog.list_demo_videos() == []
    unknown = run("share", "other.mp4", **environment)
    assert (unknown.returncode, "no video is named 'other.mp4'" in unknown.stderr) == (1, True)


def test_who_signed_up_at_supabase_sees_the_tenant_once_approved(run: Run, supabase_lite: SupabaseLite) -> None:
    environment = {"SUPABASE_URL": supabase_lite.url, "SUPABASE_SERVICE_ROLE_KEY": supabase_lite.service_key}
    email, user_id = "first@example.com", uuid4()
    # What a sign-up leaves: Supabase Lite has no Auth beside our own table of accounts.
    with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id, email) values (%s, %s)", (user_id, email))

    def tenants() -> list[str]:
        with supabase_lite.rest(user_id) as client:
            answer = client.get("/tenants")
        assert answer.status_code == 200, answer.text
        return [row["name"] for row in answer.json()]

    assert tenants() == []
    added = run("tenant", "add", "My studio", **environment)
    assert added.returncode == 0, added.stderr
    approved = run("user", "approve", email, "--tenant", "My studio", "--owner", **environment)
    assert approved.stdout == f"{email} is an owner of My studio\n", approved.stderr
    assert tenants() == ["My studio"]


def test_a_code_is_printed_once_listed_and_revoked(run: Run, catalog_url: str) -> None:
    environment = {"DATABASE_URL": catalog_url}
    for name in ("One", "Two"):
        run("tenant", "add", name, **environment)
    which = run("invitation", "add", **environment)
    assert (which.returncode, "which tenant? give --tenant" in which.stderr) == (1, True)
    made = run(
        "invitation", "add", "--tenant", "one", "--uses", "3", "--days", "2", "--owner", "--note", "Ann", **environment
    )
    assert (made.returncode, len(made.stdout.strip())) == (0, 23)
    assert made.stderr.startswith("lets 3 people join One as an owner, until 20")
    listed = run("invitation", "list", "--tenant", "One", **environment).stdout
    number = listed.split()[0]
    assert listed.startswith(f"{number}  owner  0 of 3 used  until 20")
    assert listed.endswith(" UTC  Ann\n")
    assert made.stdout.strip() not in listed
    foreign = run("invitation", "revoke", number, "--tenant", "Two", **environment)
    assert (foreign.returncode, f"Two has no invitation {number}" in foreign.stderr) == (1, True)
    assert run("invitation", "revoke", "Ann", "--tenant", "One", **environment).returncode == 2
    assert run("invitation", "revoke", number, "--tenant", "One", **environment).stdout == "revoked\n"
    assert "  revoked  Ann" in run("invitation", "list", "--tenant", "One", **environment).stdout
    assert run("invitation", "add", "--tenant", "One", "--uses", "0", **environment).returncode == 2
