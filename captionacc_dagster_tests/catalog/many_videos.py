"""A tenant with as many videos as no test uploads."""

from __future__ import annotations

from uuid import UUID

import psycopg

_INSERT = """
    insert into captionacc.videos (id, tenant_id, filename, storage_key, created_at)
    select id, %(tenant)s, format('Episode %%s.mp4', number), format('%%s/client/videos/%%s/video.mp4', %(tenant)s, id),
        now() - number * interval '1 minute'
    from (select gen_random_uuid() as id, number from generate_series(1, %(count)s) number) made
"""


def add_many_videos(url: str, tenant_id: UUID, count: int) -> None:
    """Add ``Episode 1.mp4`` and so on, each a minute older than the one before."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_INSERT, {"tenant": tenant_id, "count": count})
        connection.execute("analyze captionacc.videos")
