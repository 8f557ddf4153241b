"""Supabase Lite on loopback: PostgREST's API and JWT roles in front of the embedded Postgres."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jwt
import psycopg
from psycopg.conninfo import conninfo_to_dict

from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.machine import answers, missing
from captionacc_dagster_tests.servers import free_port, server_process

SOURCES = Path(__file__).parent / "catalog" / "supabase_lite"
JWT_SECRET = "only-for-tests-on-loopback-0123456789abcdef"
PUBLISHABLE_KEY = "sb_publishable_only_for_tests"
SECRET_KEY = "sb_secret_only_for_tests"

_SAVE_GRANTS = """
create table public.saved_relation_grants as
    select oid, relacl from pg_class where relnamespace = 'captionacc'::regnamespace;
create table public.saved_function_grants as
    select oid, proacl from pg_proc where pronamespace = 'captionacc'::regnamespace;
create table public.saved_schema_grants as
    select oid, nspacl from pg_namespace where oid = 'captionacc'::regnamespace;
"""
# Supabase Lite grants everything in an exposed schema to everybody when it starts; what hosted Supabase
# would have is what the migrations granted.
_RESTORE_GRANTS = """
update pg_class c set relacl = s.relacl from public.saved_relation_grants s where s.oid = c.oid;
update pg_proc p set proacl = s.proacl from public.saved_function_grants s where s.oid = p.oid;
update pg_namespace n set nspacl = s.nspacl from public.saved_schema_grants s where s.oid = n.oid;
delete from pg_default_acl where defaclnamespace = 'captionacc'::regnamespace;
drop table public.saved_relation_grants, public.saved_function_grants, public.saved_schema_grants;
"""


@dataclass(frozen=True, slots=True)
class SupabaseLite:
    """A running server; ``database_url`` is the database behind it."""

    url: str
    database_url: str
    service_key: str = field(default=SECRET_KEY, repr=False)
    publishable_key: str = PUBLISHABLE_KEY

    def rest(self, user_id: UUID | None = None, **claims: Any) -> httpx.Client:
        """A client of the REST API as a signed-in user, or (without one) as an anonymous visitor."""
        headers = {
            "apikey": self.publishable_key,
            "Accept-Profile": "captionacc",
            "Content-Profile": "captionacc",
            "Prefer": "return=representation",
        }
        if user_id is not None:
            headers["Authorization"] = f"Bearer {make_user_token(user_id, **claims)}"
        return httpx.Client(base_url=f"{self.url}/rest/v1", headers=headers, timeout=30)

    def catalog(self, **options: Any) -> SupabaseCatalog:
        """The catalog through supabase-py with the service key."""
        return SupabaseCatalog(self.url, self.service_key, **options)


def make_user_token(user_id: UUID | str, *, secret: str = JWT_SECRET, **claims: Any) -> str:
    """A user's access token as Supabase Auth signs it (HS256), good for an hour; ``claims`` replace its own."""
    now = int(time.time())
    body = {
        "sub": str(user_id),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": "http://127.0.0.1/auth/v1",
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    return jwt.encode(body, secret, algorithm="HS256")


def needs_node() -> None:
    """Skip the test where Supabase Lite cannot run."""
    recent = "process.exit(process.versions.node.split('.')[0] >= 20 ? 0 : 1)"
    if not (answers("node", "-e", recent) and answers("npm", "--version")):
        missing("Node.js 20 or newer with npm")


def _installed() -> Path:
    """Install the package once, in the user's cache, for its exact versions; give the program that serves it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "captionacc-tests"
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".json", ".mjs"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = cache / f"supabase-lite-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "install.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            folder.mkdir(exist_ok=True)
            for path in sources:
                shutil.copy(path, folder)
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=240,
            )
            (folder / "installed").touch()
    return folder / "serve.mjs"


@contextmanager
def supabase_lite_server(database_url: str, folder: Path) -> Iterator[SupabaseLite]:
    """Serve a migrated database of the embedded Postgres with the grants of our migrations alone."""
    port = free_port()
    address = conninfo_to_dict(database_url)
    environment = {
        "LITE_TELEMETRY": "0", "DO_NOT_TRACK": "1", "PORT": str(port),
        "PGHOST": str(address["host"]), "PGUSER": "postgres", "DATABASE": str(address["dbname"]),
        "JWT_SECRET": JWT_SECRET, "PUBLISHABLE_KEY": PUBLISHABLE_KEY, "SECRET_KEY": SECRET_KEY,
    }  # fmt: skip
    server = SupabaseLite(f"http://127.0.0.1:{port}", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_SAVE_GRANTS)
        with server_process(["node", str(_installed())], port, folder / "lite.log", env=environment):
            # It sets itself up, grants included, at its first request.
            with server.catalog() as catalog:
                catalog.ping()
            connection.execute(_RESTORE_GRANTS)
            yield server
