"""Tenants, people, videos and captions for tests of the API, in a real catalog and a real store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import cv2
import jwt
import numpy as np
import psycopg

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.captions_database import OcrUpdate
from captionacc_dagster.captioning.files.chunks import ChunkWriter
from captionacc_dagster.captioning.files.databases import Detection, FrameOcr
from captionacc_dagster.captioning.files.previous_captions import keep_before
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.model import Layout, LeftOut
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import ApprovalStatus, Role, Video
from captionacc_dagster.orchestration.subtitle_files import download_captions, publish_captions
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster.storage.local import LocalObjectStore

WEBHOOK_SECRET = "webhook-secret-for-tests"
JWT_SECRET = "jwt-secret-for-tests-that-is-long-enough"
ISSUER = "https://project.supabase.test/auth/v1"
AUDIENCE = "authenticated"
TEXTS = ("Hello there.", "How are you?", "Fine, thanks.", "Good bye!")


@dataclass(frozen=True)
class Person:
    """A user and the token that their browser would send."""

    user_id: UUID
    tenant_id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def claims_of(user_id: UUID, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "sub": str(user_id),
        "aud": AUDIENCE,
        "iss": ISSUER,
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def sign(claims: Mapping[str, Any], secret: str = JWT_SECRET) -> str:
    return jwt.encode(dict(claims), secret, algorithm="HS256")


def webhook_body(tenant_id: UUID, video_id: UUID | None = None, /, **record: Any) -> dict[str, Any]:
    video_id = video_id or uuid4()
    return {
        "type": "INSERT",
        "table": "videos",
        "schema": "captionacc",
        "record": {
            "id": str(video_id),
            "tenant_id": str(tenant_id),
            "storage_key": VideoKeys(str(tenant_id), str(video_id)).video,
            "filename": "episode.mp4",
            "created_at": "2026-01-01T00:00:00+00:00",
            **record,
        },
        "old_record": None,
    }


WEBHOOK_HEADERS = {"Authorization": f"Bearer {WEBHOOK_SECRET}"}


class World:
    """Makes what a test needs."""

    def __init__(self, settings: Settings, catalog: Catalog, database_url: str) -> None:
        self.settings = settings
        self.catalog = catalog
        self.database_url = database_url
        self.store = LocalObjectStore(settings.objects_dir)

    def tenant(self, access_tier: str | None = "active") -> UUID:
        return self.catalog.ensure_tenant(uuid4(), "a tenant", access_tier).id

    def person(self, tenant_id: UUID, *, role: Role = "owner", approval_status: ApprovalStatus = "approved") -> Person:
        user_id = uuid4()
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("insert into auth.users (id) values (%s)", (user_id,))
        self.catalog.set_user_profile(user_id, tenant_id, role=role, approval_status=approval_status)
        return Person(user_id, tenant_id, sign(claims_of(user_id)))

    def video(self, tenant_id: UUID, filename: str = "episode.mp4", **changes: Any) -> Video:
        video = self.catalog.create_video(tenant_id, filename).video
        return self.catalog.update_video_metadata(video.id, changes) if changes else video

    def processed_video(
        self,
        tenant_id: UUID,
        texts: Sequence[str] = TEXTS,
        confidences: Sequence[float] = (),
        frames: Sequence[tuple[int, int]] = (),
        **changes: Any,
    ) -> Video:
        """A video of 25 frames a second whose captions were found and read.

        They are at these native frames, by default one a second from second 1 on, 800 ms each.
        """
        video = self.catalog.create_video(tenant_id, "episode.mp4").video
        for request in self.catalog.list_processing_requests(video_id=video.id).items:
            self.catalog.finish_processing_request(request.id, "succeeded")
        version = self.catalog.next_cropped_frames_version(video.id, f"run-{uuid4()}")
        self.catalog.activate_cropped_frames_version(video.id, version, frame_count=60)
        places = frames or [(25 * number, 25 * number + 20) for number in range(1, len(texts) + 1)]
        captions = [
            Caption(
                start_s=start / 25,
                end_s=end / 25,
                start_frame=start,
                end_frame=end,
                text=text,
                confidence=0.9,
                bbox=BBox(0.3, 0.8, 0.7, 0.9),
            )
            for text, (start, end) in zip(texts, places, strict=True)
        ]
        with TemporaryDirectory() as name:
            path = Path(name) / "captions.db"
            captions_database.merge_captions(path, captions, 10.0)
            rows = captions_database.read_captions(path)
            captions_database.write_ocr_updates(
                path,
                [
                    OcrUpdate(row.id, caption.text, confidence)
                    for row, caption, confidence in zip(rows, captions, confidences or [0.9] * len(texts), strict=True)
                ],
            )
            packed = databases.compress(path, Path(name) / "captions.db.gz")
            self.store.publish(VideoKeys(str(tenant_id), str(video.id)).captions_db, packed)
        return self.catalog.update_video_metadata(
            video.id,
            {
                "status": "active",
                "layout_status": "done",
                "boundaries_status": "annotate",
                "text_status": "annotate",
                "caption_count": len(texts),
                "duration_seconds": 60.0,
                "frame_rate": 25.0,
                "width": 1280,
                "height": 720,
                "crop_left": 0.1,
                "crop_top": 0.7,
                "crop_right": 0.9,
                "crop_bottom": 0.95,
                **changes,
            },
        )

    def process_again(self, video: Video, texts: Sequence[str]) -> None:
        """Replace the captions of a processed video and keep those from before, as processing it again does."""
        other = self.processed_video(video.tenant_id, texts)
        with TemporaryDirectory() as name:
            folder = Path(name)
            previous = download_captions(self.store, video, folder).rename(folder / "previous.db")
            path = download_captions(self.store, other, folder)
            keep_before(path, previous)
            publish_captions(self.store, video, path)
        self.catalog.delete_video(other.id)

    def publish_film(self, video: Video, clip: Path) -> None:
        """Store a clip as the video's file."""
        self.store.upload_from_path(VideoKeys(str(video.tenant_id), str(video.id)).video, clip)

    def captions(self, video: Video) -> list[captions_database.StoredCaption]:
        with TemporaryDirectory() as name:
            key = VideoKeys(str(video.tenant_id), str(video.id)).captions_db
            packed = self.store.download_file(key, Path(name) / "captions.db.gz")
            return captions_database.read_captions(databases.decompress(packed, Path(name) / "captions.db"))

    def events(self, name: str | None = None) -> list[str]:
        """The names of the security events so far, oldest first."""
        return [entry.event for entry in reversed(self.catalog.list_security_events(event=name, limit=500).items)]


def publish_layout(world: World, video: Video, text: str = "a caption", left_out: Sequence[LeftOut] = ()) -> None:
    """Store a layout with one caption and one sign, and the frame they are in."""
    boxes = (
        Detection(0, 0, 0.0, text, 0.9, BBox(0.3, 0.8, 0.7, 0.9)),
        Detection(0, 1, 0.0, "a sign", 0.9, BBox(0.1, 0.1, 0.2, 0.2)),
    )
    layout = Layout(
        frame_width=1280,
        frame_height=720,
        tracks=(),
        crop_region=CropRegion(0.1, 0.7, 0.9, 0.95),
        anchor_type="center",
        anchor_position=0.5,
        vertical_center=0.85,
        confidence=0.9,
        labels={(0, 0): ("in", 0.9), (0, 1): ("out", 0.9)},
        evidence=(),
        left_out=tuple(left_out),
    )
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    with TemporaryDirectory() as name:
        path = Path(name) / "layout.db"
        databases.write_layout_database(path, layout, [FrameOcr(0, 0.0, boxes, None)])
        world.store.publish(keys.layout_db, databases.compress(path, Path(name) / "layout.db.gz"))
    picture = np.full((72, 128, 3), 200, np.uint8)
    world.store.publish(keys.full_frame(0), cv2.imencode(".jpg", picture)[1].tobytes())


def publish_chunks(world: World, video: Video, frames: int) -> None:
    """Store cropped frames whose gray tells their index: 40 + 3 * index, modulo 256."""
    keys = VideoKeys(str(video.tenant_id), str(video.id))
    chroma = np.full((8, 32), 128, np.uint8)
    with TemporaryDirectory() as name:
        with ChunkWriter(Path(name), 10.0) as writer:
            for index in range(frames):
                writer.write(index, (np.full((16, 64), (40 + 3 * index) % 256, np.uint8), chroma, chroma))
        for path in Path(name).rglob("*.webm"):
            level, first = path.parent.name.removeprefix("modulo_"), path.stem.removeprefix("chunk_")
            assert video.cropped_frames_version is not None
            world.store.publish(keys.chunk(video.cropped_frames_version, int(level), int(first)), path.read_bytes())
