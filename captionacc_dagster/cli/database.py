"""The catalog's schema, from the command line."""

from __future__ import annotations

from captionacc_dagster.catalog.errors import InvalidValue
from captionacc_dagster.settings import Settings


def migrate_catalog(settings: Settings) -> list[str]:
    """Apply what is missing and give the names of what was applied.

    Raises:
        CatalogError: the database cannot be reached, or its schema is newer than this program.
    """
    from captionacc_dagster.catalog.embedded import EmbeddedPostgres
    from captionacc_dagster.catalog.migrate import migrate

    if settings.database_url:
        return migrate(settings.database_url.get_secret_value())
    if settings.supabase_url:
        raise InvalidValue(
            "SUPABASE_URL reaches the project over HTTP; set DATABASE_URL to its Postgres to migrate it, "
            "or use `supabase db push`"
        )
    with EmbeddedPostgres(settings.home) as server:
        return migrate(server.url())
