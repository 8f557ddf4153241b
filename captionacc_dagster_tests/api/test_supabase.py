"""The API over supabase-py, as a hosted installation runs it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from captionacc_dagster.api.app import create_app
from captionacc_dagster.catalog.supabase import SupabaseCatalog
from captionacc_dagster_tests.api.conftest import api_settings
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import WEBHOOK_HEADERS, World, webhook_body
from captionacc_dagster_tests.supabase_lite import SupabaseLite

pytestmark = pytest.mark.integration


def test_the_same_over_supabase(
    supabase_lite: SupabaseLite, supabase_catalog: SupabaseCatalog, dagster: StandIn, tmp_path: Path
) -> None:
    settings = api_settings(
        tmp_path,
        supabase_lite.database_url,
        supabase_url=supabase_lite.url,
        supabase_service_role_key=SecretStr(supabase_lite.service_key),
        dagster_url=dagster.url,
    )
    world = World(settings, supabase_catalog, supabase_lite.database_url)
    owner, stranger = world.person(world.tenant("enterprise")), world.person(world.tenant())
    video = world.processed_video(owner.tenant_id)
    body = webhook_body(owner.tenant_id)

    with TestClient(create_app(settings)) as client:
        accepted = client.post("/webhooks/supabase/videos", headers=WEBHOOK_HEADERS, json=body)
        again = client.post("/webhooks/supabase/videos", headers=WEBHOOK_HEADERS, json=body)
        unknown = client.post("/webhooks/supabase/videos", headers=WEBHOOK_HEADERS, json=webhook_body(uuid4()))
        edited = client.patch(f"/videos/{video.id}/captions/1", headers=owner.headers, json={"end_ms": 1700})
        foreign = client.get(f"/videos/{video.id}", headers=stranger.headers)
        subtitles = client.get(f"/videos/{video.id}/subtitles.srt", headers=owner.headers)
        ready = client.get("/ready")

    assert (accepted.status_code, accepted.json()["priority"]) == (202, 90)
    assert (again.status_code, unknown.status_code, foreign.status_code) == (409, 400, 404)
    assert (edited.status_code, edited.json()["ocr_job"]["status"]) == (200, "launched")
    assert "How are you?" in subtitles.text
    assert ready.json()["catalog"] is True
    assert len(dagster.runs) == 2
    assert set(world.events()) == {"webhook_replayed", "no_such_video"}
