"""Migrations apply once, in order, whole or not at all, to bare Postgres and to what hosted Supabase has."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.catalog.embedded import EmbeddedPostgres
from captionacc_dagster.catalog.errors import CatalogUnavailable
from captionacc_dagster.catalog.migrate import (
    LOCAL_AUTH_SQL,
    MigrationError,
    load_migrations,
    migrate,
    migrations_folder,
    pending_migrations,
)
from captionacc_dagster.catalog.postgres import PostgresCatalog, literal

pytestmark = pytest.mark.integration

NAMES = [migration.name for migration in load_migrations()]


@pytest.fixture(params=[18, 16])
def bare_url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    server: EmbeddedPostgres = request.getfixturevalue(
        "postgres_server" if request.param == 18 else "postgres_16_server"
    )
    name = f"bare_{request.node.name.encode().hex()[:50]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    server.ensure_database(name)
    return server.url(name)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the migrations that may be changed."""
    return Path(shutil.copytree(migrations_folder(), tmp_path / "migrations"))


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select name from captionacc.schema_migrations order by name").fetchall()
    return [row[0] for row in rows]


def test_a_bare_database_is_migrated_once(bare_url: str) -> None:
    assert pending_migrations(bare_url) == NAMES
    assert migrate(bare_url) == NAMES
    assert applied(bare_url) == NAMES
    assert migrate(bare_url) == []
    assert pending_migrations(bare_url) == []
    with PostgresCatalog(bare_url) as catalog:
        catalog.ping()


def test_files_are_named_for_the_supabase_cli() -> None:
    for migration in load_migrations():
        assert migration.version.isdigit()
        assert len(migration.version) == 14
    assert load_migrations()[-1].sql.rstrip().endswith("notify pgrst, 'reload schema';")


def test_no_migration_needs_a_superuser_or_an_extension(bare_url: str) -> None:
    """Hosted Supabase as its role postgres meets it: no superuser, auth owned by another role."""
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute(literal(LOCAL_AUTH_SQL.read_text()))
        connection.execute(
            "do $$ begin if to_regrole('hosted') is null then create role hosted login; end if; end $$;"
            "grant usage on schema auth to hosted; grant select, references on auth.users to hosted;"
            "grant execute on all functions in schema auth to hosted;"
        )
        connection.execute(
            sql.SQL("grant create on database {} to hosted").format(sql.Identifier(connection.info.dbname))
        )
    assert migrate(bare_url.replace("postgres@", "hosted@")) == NAMES
    with psycopg.connect(bare_url) as connection:
        owners = connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'captionacc'::regnamespace"
        ).fetchall()
        assert owners == [("hosted",)]


def test_many_may_migrate_at_once(bare_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: migrate(bare_url), range(6)))
    assert sorted(name for names in done for name in names) == NAMES
    assert applied(bare_url) == NAMES


def test_an_applied_migration_must_not_change(bare_url: str, copied: Path) -> None:
    migrate(bare_url, copied)
    victim = copied / f"{NAMES[0]}.sql"
    victim.write_text(victim.read_text() + "\n-- one more line\n")
    for action in (migrate, pending_migrations):
        with pytest.raises(MigrationError, match=f"{NAMES[0]} was applied with different contents"):
            action(bare_url, copied)


def test_line_endings_are_no_change(bare_url: str, copied: Path) -> None:
    migrate(bare_url)
    for path in copied.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(bare_url, copied) == []


def test_a_newer_schema_is_left_alone(bare_url: str, copied: Path) -> None:
    (copied / "20990101000000_future.sql").write_text("create table captionacc.future (id integer);")
    migrate(bare_url, copied)
    with pytest.raises(MigrationError, match="20990101000000_future, which this version does not know") as error:
        migrate(bare_url)
    assert error.value.hint == "upgrade captionacc-dagster"


def test_a_migration_that_comes_too_late_is_refused(bare_url: str, copied: Path) -> None:
    migrate(bare_url, copied)
    (copied / "20200101000000_past.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match="20200101000000_past is older than"):
        migrate(bare_url, copied)


def test_a_migration_that_fails_leaves_nothing_behind(bare_url: str, copied: Path) -> None:
    broken = copied / "20990101000000_broken.sql"
    broken.write_text("create table captionacc.half (id integer); insert into captionacc.half values ('one');")
    with pytest.raises(MigrationError, match="20990101000000_broken failed: invalid input syntax") as error:
        migrate(bare_url, copied)
    assert error.value.code == "22P02"
    assert applied(bare_url) == NAMES
    with psycopg.connect(bare_url) as connection:
        assert connection.execute("select to_regclass('captionacc.half')").fetchone() == (None,)
    broken.write_text("create table captionacc.half (id integer);")
    assert migrate(bare_url, copied) == ["20990101000000_broken"]


def test_what_the_supabase_cli_applied_is_taken_over(bare_url: str) -> None:
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute(literal(LOCAL_AUTH_SQL.read_text()))
        connection.execute("create schema supabase_migrations")
        connection.execute("create table supabase_migrations.schema_migrations (version text primary key)")
        for migration in load_migrations()[:-1]:
            connection.execute(literal(migration.sql))
            connection.execute("insert into supabase_migrations.schema_migrations values (%s)", (migration.version,))
    assert migrate(bare_url) == NAMES[-1:]
    assert applied(bare_url) == NAMES


def test_an_auth_schema_that_is_there_is_not_touched(bare_url: str) -> None:
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute(literal(LOCAL_AUTH_SQL.read_text()))
        connection.execute("create or replace function auth.uid() returns uuid language sql as 'select null::uuid'")
        connection.execute("comment on function auth.uid() is 'the hosted one'")
    migrate(bare_url)
    with psycopg.connect(bare_url) as connection:
        kept = connection.execute("select obj_description('auth.uid()'::regprocedure)").fetchone()
    assert kept == ("the hosted one",)


def test_the_seed_applies_twice(bare_url: str) -> None:
    migrate(bare_url)
    seed = literal((migrations_folder().parent / "seed.sql").read_text())
    for _ in range(2):
        with psycopg.connect(bare_url, autocommit=True) as connection:
            connection.execute(seed)
    with psycopg.connect(bare_url) as connection:
        assert connection.execute("select count(*) from captionacc.tenants").fetchone() == (1,)


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    for action in (migrate, pending_migrations):
        with pytest.raises(CatalogUnavailable):
            action(f"postgresql://postgres@/captionacc?host={tmp_path}")


def test_an_installed_package_brings_them_along(tmp_path: Path) -> None:
    """The wheel holds them where the code looks first; here that folder is laid out as the wheel lays it."""
    root = migrations_folder().parents[1]
    included = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    target = included["force-include"]["supabase/migrations"]
    shutil.copytree(root / "captionacc_dagster" / "catalog", tmp_path / "captionacc_dagster" / "catalog")
    shutil.copy(root / "captionacc_dagster" / "__init__.py", tmp_path / "captionacc_dagster")
    shutil.copytree(migrations_folder(), tmp_path / target)
    program = (
        "from captionacc_dagster.catalog.migrate import load_migrations, migrations_folder as folder;"
        "print(folder(), *(migration.name for migration in load_migrations()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / target), *NAMES]
