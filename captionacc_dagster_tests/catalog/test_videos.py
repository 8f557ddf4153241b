from captionacc_dagster.catalog.models import LOCAL_TENANT_ID


def test_a(catalog):
    v = catalog.create_video(LOCAL_TENANT_ID, "a.mp4", claimer="x")
    assert v.created
    assert catalog.get_video_metadata(v.video.id) == v.video
    assert catalog.get_metrics()
    assert catalog.acquire_server_lock(v.video.id, "layout", "x")
    assert not catalog.acquire_server_lock(v.video.id, "layout", "x")
    assert catalog.next_cropped_frames_version(v.video.id, "r") == 1


def test_b(catalog):
    assert catalog.list_videos().items == ()
