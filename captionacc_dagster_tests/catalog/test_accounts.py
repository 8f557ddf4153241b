"""Tenants by name and accounts by e-mail address: what a first administrator works with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable, InvalidValue, PermissionDenied
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.fault_proxy import Fault, FaultProxy
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = pytest.mark.integration


def count_accounts(url: str, email: str) -> int:
    with psycopg.connect(url) as connection:
        [row] = connection.execute("select count(*) from auth.users where lower(email) = lower(%s)", (email,))
    return row[0]


def test_tenants_are_listed_by_name(catalog: Catalog) -> None:
    ids = [catalog.ensure_tenant(uuid4(), name, "trial").id for name in ("Zoo", "aquarium")]
    listed = [tenant.id for tenant in catalog.list_tenants()]
    assert listed.index(ids[1]) < listed.index(ids[0])
    assert len(listed) == len(set(listed)) >= 3


def test_an_unknown_address_has_no_account(catalog: Catalog) -> None:
    assert catalog.find_account("nobody@example.com") is None


def test_an_account_is_made_once_whatever_its_letters(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(postgres_catalog.invite_account, ["Me@Example.com", "me@example.com"] * 4))
    assert len({account.id for account, _ in made}) == count_accounts(catalog_url, "me@example.com") == 1
    assert str(made[0][0].id) in made[0][1]
    assert postgres_catalog.find_account("ME@example.COM") == made[0][0]


def test_accounts_of_supabase_are_not_made_by_sql(postgres_catalog: PostgresCatalog, catalog_url: str) -> None:
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute("alter table auth.users add column instance_id uuid")
        connection.execute("insert into auth.users (email) values ('here@example.com')")
    with pytest.raises(InvalidValue, match=r"belong to Supabase Auth.*set SUPABASE_URL"):
        postgres_catalog.invite_account("me@example.com")
    assert count_accounts(catalog_url, "me@example.com") == 0
    assert postgres_catalog.invite_account("here@example.com")[0].email == "here@example.com"


@pytest.fixture
def invited(supabase_lite: SupabaseLite) -> Iterator[tuple[SupabaseCatalog, FaultProxy]]:
    """The catalog through a proxy that can answer for Supabase Auth: Supabase Lite sends no invitations."""
    with (
        FaultProxy(urlsplit(supabase_lite.url).port or 0) as proxy,
        SupabaseCatalog(proxy.url, supabase_lite.service_key) as catalog,
    ):
        yield catalog, proxy


def test_supabase_auth_sends_the_invitation(
    invited: tuple[SupabaseCatalog, FaultProxy], supabase_lite: SupabaseLite
) -> None:
    catalog, proxy = invited
    made = uuid4()
    with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s)", (made,))
    user = {
        "id": str(made), "aud": "authenticated", "role": "authenticated", "email": "me@example.com",
        "app_metadata": {}, "user_metadata": {}, "created_at": "2026-01-15T10:00:00Z",
    }  # fmt: skip
    proxy.inject(Fault(status=200, body=json.dumps(user).encode()), method="POST", containing="/auth/v1/invite")
    account, how = catalog.invite_account("me@example.com")
    assert (account.id, account.email, how) == (made, "me@example.com", "Supabase has sent the invitation")
    [request] = [request for request in proxy.requests if "/invite" in request.target]
    assert request.headers["apikey"] == supabase_lite.service_key
    tenant = catalog.ensure_tenant(uuid4(), "A studio", "active")
    assert catalog.set_user_profile(account.id, tenant.id, approval_status="approved").id == made


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "no_authorization", PermissionDenied),
        (429, "over_email_send_rate_limit", CatalogError),
        (500, "unexpected_failure", CatalogError),
        (503, "unexpected_failure", CatalogUnavailable),
    ],
)
def test_what_supabase_auth_refuses_is_told(
    invited: tuple[SupabaseCatalog, FaultProxy], status: int, code: str, kind: type[CatalogError]
) -> None:
    catalog, proxy = invited
    body = json.dumps({"code": status, "error_code": code, "msg": "not now"}).encode()
    proxy.inject(Fault(status=status, body=body), method="POST", containing="/auth/v1/invite")
    with pytest.raises(kind, match="Supabase Auth"):
        catalog.invite_account("me@example.com")


def test_an_invitation_whose_answer_was_lost_is_found(
    invited: tuple[SupabaseCatalog, FaultProxy], supabase_lite: SupabaseLite
) -> None:
    catalog, proxy = invited
    made: UUID = uuid4()
    with psycopg.connect(supabase_lite.database_url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id, email) values (%s, 'me@example.com')", (made,))
    body = json.dumps({"code": 422, "error_code": "email_exists", "msg": "registered already"}).encode()
    proxy.inject(Fault(status=422, body=body), method="POST", containing="/auth/v1/invite")
    assert catalog.invite_account("me@example.com")[0].id == made
