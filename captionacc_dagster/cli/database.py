"""Migrate the catalog's schema, and upgrade the embedded Postgres, from the command line."""

from __future__ import annotations

from captionacc_dagster.catalog.errors import InvalidValue
from captionacc_dagster.settings import Settings


def migrate_catalog(settings: Settings) -> list[str]:
    """Apply the missing migrations and return their names.

    Raises:
        CatalogError: the database cannot be reached, or its schema is newer than this program.
    """
    from captionacc_dagster.catalog.embedded import EmbeddedPostgres
    from captionacc_dagster.catalog.migrate import migrate

    if settings.database_url:
        return migrate(settings.database_url.get_secret_value())
    if settings.supabase_url:
        raise InvalidValue(
            "SUPABASE_URL only gives access over HTTP; to migrate the project, set DATABASE_URL to its Postgres "
            "or use `supabase db push`"
        )
    with EmbeddedPostgres(settings.home) as server:
        return migrate(server.url())


def upgrade_embedded(settings: Settings) -> str:
    """Move the embedded Postgres to the newest version that is embedded, and return a sentence on what was done.

    Raises:
        CatalogError: the catalog is not embedded, is in use, or a step failed.
    """
    from captionacc_dagster.catalog.embedded import DEFAULT_VERSION
    from captionacc_dagster.catalog.embedded_upgrade import upgrade
    from captionacc_dagster.cli.errors import catalog_place

    if settings.catalog_kind != "embedded":
        raise InvalidValue(f"{catalog_place(settings)} is not embedded; upgrade it with the means of its server")
    kept = upgrade(settings.home)
    if kept is None:
        return f"the embedded Postgres is of version {DEFAULT_VERSION}, the newest"
    return f"the embedded Postgres is now of version {DEFAULT_VERSION}; the old data is in {kept}, which you may remove"
