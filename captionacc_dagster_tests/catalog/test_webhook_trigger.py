"""The optional webhook of the database: silent unless configured, and then signed so that the API can check it."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from captionacc_dagster.api.auth import BadSignature, check_signature
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.catalog.postgres import PostgresCatalog

pytestmark = [pytest.mark.integration, pytest.mark.security]

# pg_net and the vault as far as the trigger sees them; what would be sent is kept in a table.
HOSTED_PARTS = """
create schema net;
create table net.sent (url text, body jsonb, headers jsonb);
create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}',
    headers jsonb default '{}', timeout_milliseconds integer default 5000)
returns bigint language sql as 'insert into net.sent values (url, body, headers); select 1::bigint';
create schema vault;
create table vault.decrypted_secrets (name text, decrypted_secret text);
"""
URL = "https://captions.example/webhooks/supabase/videos"


def configure(database_url: str, **values: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(HOSTED_PARTS)
        for name, value in values.items():
            connection.execute(
                "insert into vault.decrypted_secrets values (%s, %s)", (f"captionacc_webhook_{name}", value)
            )


def sent(url: str) -> list[tuple[str, str, dict[str, Any]]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select url, body::text, headers from net.sent").fetchall()


@pytest.mark.parametrize("signing_secret", ["k" * 100, "whsec_c2lnbmluZyBzZWNyZXQ="])
def test_a_new_video_is_told_with_secret_and_signature(
    catalog_url: str, postgres_catalog: PostgresCatalog, signing_secret: str
) -> None:
    configure(catalog_url, url=URL, secret="bearer-secret", signing_secret=signing_secret)
    video = postgres_catalog.create_video(LOCAL_TENANT_ID, "Grüße.mp4").video
    ((address, body, headers),) = sent(catalog_url)
    assert address == URL
    message = json.loads(body)
    assert (message["type"], message["table"], message["schema"]) == ("INSERT", "videos", "captionacc")
    assert message["record"]["id"] == str(video.id)
    assert message["record"]["storage_key"] == video.storage_key
    assert headers["Authorization"] == "Bearer bearer-secret"
    # The API takes it, and nothing that was changed on the way.
    secrets_known = [SecretStr(signing_secret)]
    check_signature(Headers(headers), body.encode(), secrets_known)
    with pytest.raises(BadSignature):
        check_signature(Headers(headers), body.encode() + b" ", secrets_known)


def test_without_a_signing_key_it_is_not_signed(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    configure(catalog_url, url=URL, secret="bearer-secret")
    postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4")
    ((_, _, headers),) = sent(catalog_url)
    assert "webhook-signature" not in headers
    assert headers["Authorization"] == "Bearer bearer-secret"


def test_unconfigured_it_is_silent(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    assert postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").created
    configure(catalog_url, secret="bearer-secret")
    assert postgres_catalog.create_video(LOCAL_TENANT_ID, "b.mp4").created
    assert sent(catalog_url) == []


def test_a_webhook_that_fails_fails_no_upload(catalog_url: str, postgres_catalog: PostgresCatalog) -> None:
    configure(catalog_url, url=URL, secret="bearer-secret")
    with psycopg.connect(catalog_url, autocommit=True) as connection:
        connection.execute("drop table net.sent")
    made = postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4")
    assert made.created
    assert made.request is not None


@pytest.mark.parametrize("key_length", [1, 63, 64, 65, 200])
def test_the_signature_is_hmac_sha256(catalog_url: str, key_length: int) -> None:
    key, message = secrets.token_bytes(key_length), secrets.token_bytes(1000)
    with psycopg.connect(catalog_url) as connection:
        row = connection.execute("select captionacc.hmac_sha256(%s, %s)", (message, key)).fetchone()
    assert row is not None
    assert bytes(row[0]) == hmac.new(key, message, hashlib.sha256).digest()
