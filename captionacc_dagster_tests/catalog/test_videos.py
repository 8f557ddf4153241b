from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
def test_a(postgres_catalog):
    assert postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").created
def test_b(postgres_catalog):
    assert postgres_catalog.create_video(LOCAL_TENANT_ID, "a.mp4").created
