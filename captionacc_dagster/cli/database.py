"""Migrate the catalog's schema from the command line."""

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
