"""The only place that builds, reads and judges object keys.

Every key begins with its tenant's id. A key is one spelling of one object on every store: lower-case ASCII, canonical
UUIDs, nothing that a file system or a URL could read differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

SubtitleFormat = Literal["srt", "vtt", "ass", "json"]
SUBTITLE_FORMATS: tuple[SubtitleFormat, ...] = ("srt", "vtt", "ass", "json")
MODULO_LEVELS = (16, 4, 1)

# 1,024 bytes is S3's own limit for a key, 255 that of a file name.
MAX_KEY_LENGTH = 1024
_SEGMENT = re.compile(r"[a-z0-9_][a-z0-9._-]{0,254}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_ANY_SPELLING = re.compile(r"\{?(?:urn:uuid:)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", re.IGNORECASE)


class InvalidKey(ValueError):
    """An id, a key or a prefix that no object may have; never worth a retry."""


class ForeignKey(InvalidKey):
    """A key that belongs to another tenant than the one that asks."""


def canonical_uuid(value: str | UUID, what: str = "id") -> str:
    """Give the id as 36 lower-case characters.

    Upper case, braces and missing hyphens are refused instead of being rewritten: Postgres always answers in lower
    case, and an id with two spellings would be one tenant there and two prefixes here.

    Raises:
        InvalidKey: the value is not a UUID in its canonical form.
    """
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise InvalidKey(f"{what} must be a UUID in lower case with hyphens, got {value!r:.80}")
    return value


def check_key(key: str) -> str:
    """Give the key back when it is well formed.

    Segments of ``a-z 0-9 . _ -`` joined by single slashes, none beginning with ``.`` or ``-``; at most 1,024
    characters.

    Raises:
        InvalidKey: it is not, with the reason.
    """
    if not isinstance(key, str) or not key:
        raise InvalidKey(f"an object key must be a non-empty string, got {key!r:.80}")
    if len(key) > MAX_KEY_LENGTH:
        raise InvalidKey(f"object key of {len(key)} characters is longer than {MAX_KEY_LENGTH}: {key!r:.80}")
    segments = key.split("/")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise InvalidKey(
                f"object key {key!r:.200} has the part {segment!r:.80}: "
                "only a-z, 0-9, '.', '_' and '-' between single slashes, not beginning with '.' or '-'"
            )
    if _UUID_ANY_SPELLING.fullmatch(segments[0]) and not _UUID.fullmatch(segments[0]):
        raise InvalidKey(f"object key {key!r:.200} does not spell its tenant id in the canonical form")
    return key


def check_prefix(prefix: str) -> str:
    """Give the prefix back when it names one folder: a well-formed key and a final slash.

    A prefix without its slash would take ``cropped_frames_v10/`` along with ``cropped_frames_v1``.

    Raises:
        InvalidKey: it does not.
    """
    if not isinstance(prefix, str) or not prefix.endswith("/"):
        raise InvalidKey(f"a prefix must end with '/', got {prefix!r:.200}")
    check_key(prefix[:-1])
    return prefix


def tenant_of(key: str) -> str:
    """Give the tenant id that a key or prefix begins with.

    Raises:
        InvalidKey: it is malformed or begins with no tenant id.
    """
    check_key(key.removesuffix("/") if isinstance(key, str) else key)
    tenant, slash, _ = key.partition("/")
    if not slash or not _UUID.fullmatch(tenant):
        raise InvalidKey(f"object key {key!r:.200} does not begin with a tenant id")
    return tenant


def check_owned(key: str, tenant_id: str | UUID) -> str:
    """Give the key or prefix back when it belongs to this tenant.

    Raises:
        InvalidKey: the key or the tenant id is malformed.
        ForeignKey: the key belongs to another tenant.
    """
    tenant = canonical_uuid(tenant_id, "tenant id")
    if tenant_of(key) != tenant:
        raise ForeignKey(f"object key {key!r:.200} does not belong to tenant {tenant}")
    return key


def check_client_visible(key: str, tenant_id: str | UUID) -> str:
    """Give the key back when this tenant's users may read it: their own, and under ``client/``.

    Raises:
        InvalidKey: malformed, or under ``server/``.
        ForeignKey: another tenant's.
    """
    check_owned(key, tenant_id)
    if key.split("/")[1] != "client":
        raise InvalidKey(f"object key {key!r:.200} is not under client/ and may not be shown")
    return key


def tenant_prefix(tenant_id: str | UUID) -> str:
    """Everything of one tenant."""
    return f"{canonical_uuid(tenant_id, 'tenant id')}/"


def temporary_prefix(tenant_id: str | UUID) -> str:
    """Where objects of one tenant wait until they are complete; swept when they grow old."""
    return f"{tenant_prefix(tenant_id)}server/tmp/"


def temporary_key(tenant_id: str | UUID, token: str | UUID) -> str:
    """One object on its way; ``token`` is a UUID made for it."""
    return f"{temporary_prefix(tenant_id)}{canonical_uuid(token, 'token')}"


@dataclass(frozen=True, slots=True)
class VideoKeys:
    """All keys of one video.

    Raises:
        InvalidKey: an id is no canonical UUID; from the methods, a number out of range.
    """

    tenant_id: str
    video_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "tenant_id", canonical_uuid(self.tenant_id, "tenant id"))
        object.__setattr__(self, "video_id", canonical_uuid(self.video_id, "video id"))

    @classmethod
    def parse_video(cls, key: str) -> VideoKeys:
        """Read the ids back from the key of an uploaded video.

        Raises:
            InvalidKey: anything but ``{tenant}/client/videos/{video}/video.mp4``.
        """
        parts = check_key(key).split("/")
        if len(parts) == 5:
            try:
                keys = cls(parts[0], parts[3])
            except InvalidKey as error:
                raise InvalidKey(f"object key {key!r:.200} is not that of an uploaded video: {error}") from None
            if keys.video == key:
                return keys
        raise InvalidKey(f"object key {key!r:.200} is not that of an uploaded video")

    @classmethod
    def parse(cls, key: str) -> VideoKeys:
        """Read the ids back from any key or prefix of a video.

        Raises:
            InvalidKey: the key lies under no video.
        """
        tenant = tenant_of(key)
        parts = key.split("/")
        if len(parts) < 5 or parts[1] not in ("client", "server") or parts[2] != "videos":
            raise InvalidKey(f"object key {key!r:.200} lies under no video")
        return cls(tenant, parts[3])

    @property
    def client_prefix(self) -> str:
        """What the tenant's users may see of the video."""
        return f"{self.tenant_id}/client/videos/{self.video_id}/"

    @property
    def server_prefix(self) -> str:
        """What only the service sees of the video."""
        return f"{self.tenant_id}/server/videos/{self.video_id}/"

    @property
    def video(self) -> str:
        """The uploaded file; always ``video.mp4``, whatever container it holds."""
        return f"{self.client_prefix}video.mp4"

    @property
    def full_frames_prefix(self) -> str:
        """The whole pictures sampled at a low rate."""
        return f"{self.client_prefix}full_frames/"

    def full_frame(self, index: int) -> str:
        """One whole picture, by its index in the sample (0..999,999)."""
        return f"{self.full_frames_prefix}frame_{_number(index, 'full frame index', 0, 999_999):06d}.jpg"

    @property
    def ocr_db(self) -> str:
        """What OCR read in the full frames."""
        return f"{self.server_prefix}raw-ocr.db.gz"

    @property
    def layout_db(self) -> str:
        """Where captions stand in the picture."""
        return f"{self.server_prefix}layout.db.gz"

    def cropped_frames_prefix(self, version: int) -> str:
        """All chunks of one version of the cropped frames."""
        return f"{self.client_prefix}cropped_frames_v{_version(version)}/"

    def chunk(self, version: int, modulo: int, first_frame: int) -> str:
        """One WebM chunk: its version, its level (16, 4 or 1) and its first cropped frame's index."""
        if modulo not in MODULO_LEVELS or isinstance(modulo, bool):
            raise InvalidKey(f"modulo must be 16, 4 or 1, got {modulo!r}")
        first = _number(first_frame, "first frame", 0, 9_999_999_999)
        return f"{self.cropped_frames_prefix(version)}modulo_{int(modulo)}/chunk_{first:010d}.webm"

    def extents_db(self, version: int) -> str:
        """When captions begin and end, for one version of the cropped frames."""
        return f"{self.server_prefix}caption_frame_extents_v{_version(version)}.db"

    @property
    def compute_prefix(self) -> str:
        """What remote compute calls leave for each other: long inputs, and records of what is complete."""
        return f"{self.server_prefix}compute/"

    def compute_record(self, name: str) -> str:
        """One of these, by its name (``a-z 0-9 . _ -``)."""
        return check_key(f"{self.compute_prefix}{name}.json")

    @property
    def captions_db(self) -> str:
        """The captions, as machine and people left them."""
        return f"{self.client_prefix}captions.db.gz"

    @property
    def subtitles_prefix(self) -> str:
        """The subtitle files in every format."""
        return f"{self.client_prefix}subtitles/"

    def subtitles(self, subtitle_format: str) -> str:
        """One subtitle file: ``srt``, ``vtt``, ``ass`` or ``json``."""
        if subtitle_format not in SUBTITLE_FORMATS:
            raise InvalidKey(f"subtitle format must be one of {', '.join(SUBTITLE_FORMATS)}, got {subtitle_format!r}")
        return f"{self.subtitles_prefix}captions.{subtitle_format}"


def _number(value: int, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidKey(f"{what} must be a whole number in {low}..{high}, got {value!r:.80}")
    return value


def _version(version: int) -> int:
    return _number(version, "version", 1, 999_999_999)
