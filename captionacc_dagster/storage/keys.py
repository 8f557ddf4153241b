"""Build, parse, and validate object keys; no other module does.

Every key begins with its tenant's id. A key is the only spelling of its object on every store: lowercase ASCII and
canonical UUIDs, nothing that a file system or a URL could interpret differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

SubtitleFormat = Literal["srt", "vtt", "ass", "json"]
SUBTITLE_FORMATS: tuple[SubtitleFormat, ...] = ("srt", "vtt", "ass", "json")
MODULO_LEVELS = (16, 4, 1)

# 1,024 bytes is S3's limit for a key; 255 is the file system's limit for a name.
MAX_KEY_LENGTH = 1024
_SEGMENT = re.compile(r"[a-z0-9_][a-z0-9._-]{0,254}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_ANY_SPELLING = re.compile(r"\{?(?:urn:uuid:)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", re.IGNORECASE)


class InvalidKey(ValueError):
    """An id, key, or prefix is not allowed; a retry cannot succeed."""


class ForeignKey(InvalidKey):
    """A key belongs to another tenant."""


def canonical_uuid(value: str | UUID, what: str = "id") -> str:
    """Return the id as 36 lowercase characters.

    Uppercase, braces, and missing hyphens are refused instead of normalized: Postgres always answers in lowercase, and
    an id with two spellings would be one tenant there and two prefixes here.

    Raises:
        InvalidKey: the value is not a UUID in its canonical form.
    """
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise InvalidKey(f"{what} must be a lowercase UUID with hyphens, got {value!r:.80}")
    return value


def check_key(key: str) -> str:
    """Return the key if it is well-formed.

    A key consists of segments of ``a-z 0-9 . _ -`` joined by single slashes, none beginning with ``.`` or ``-``, with
    at most 1,024 characters in all.

    Raises:
        InvalidKey: the key is malformed; states the reason.
    """
    if not isinstance(key, str) or not key:
        raise InvalidKey(f"an object key must be a non-empty string, got {key!r:.80}")
    if len(key) > MAX_KEY_LENGTH:
        raise InvalidKey(f"object key of {len(key)} characters is longer than {MAX_KEY_LENGTH}: {key!r:.80}")
    segments = key.split("/")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise InvalidKey(
                f"object key {key!r:.200} contains the segment {segment!r:.80}: "
                "use only a-z, 0-9, '.', '_', and '-' between single slashes, not beginning with '.' or '-'"
            )
    if _UUID_ANY_SPELLING.fullmatch(segments[0]) and not _UUID.fullmatch(segments[0]):
        raise InvalidKey(f"object key {key!r:.200} does not begin with a tenant id in canonical form")
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix if it names one folder: a well-formed key and a final slash.

    Without the slash, ``cropped_frames_v1`` would include ``cropped_frames_v10/``.

    Raises:
        InvalidKey: the prefix is malformed.
    """
    if not isinstance(prefix, str) or not prefix.endswith("/"):
        raise InvalidKey(f"a prefix must end with '/', got {prefix!r:.200}")
    check_key(prefix[:-1])
    return prefix


def tenant_of(key: str) -> str:
    """Return the tenant id that a key or prefix begins with.

    Raises:
        InvalidKey: it is malformed or does not begin with a tenant id.
    """
    check_key(key.removesuffix("/") if isinstance(key, str) else key)
    tenant, slash, _ = key.partition("/")
    if not slash or not _UUID.fullmatch(tenant):
        raise InvalidKey(f"object key {key!r:.200} does not begin with a tenant id")
    return tenant


def check_owned(key: str, tenant_id: str | UUID) -> str:
    """Return the key or prefix if it belongs to this tenant.

    Raises:
        InvalidKey: the key or the tenant id is malformed.
        ForeignKey: the key belongs to another tenant.
    """
    tenant = canonical_uuid(tenant_id, "tenant id")
    if tenant_of(key) != tenant:
        raise ForeignKey(f"object key {key!r:.200} does not belong to tenant {tenant}")
    return key


def tenant_prefix(tenant_id: str | UUID) -> str:
    """Return the prefix of all objects of a tenant."""
    return f"{canonical_uuid(tenant_id, 'tenant id')}/"


def temporary_prefix(tenant_id: str | UUID) -> str:
    """Return the prefix of a tenant's incomplete objects, which are removed when they are old."""
    return f"{tenant_prefix(tenant_id)}server/tmp/"


def temporary_key(tenant_id: str | UUID, token: str | UUID) -> str:
    """Return the key of an incomplete object; ``token`` is a UUID created for it."""
    return f"{temporary_prefix(tenant_id)}{canonical_uuid(token, 'token')}"


@dataclass(frozen=True, slots=True)
class VideoKeys:
    """The keys of one video.

    Raises:
        InvalidKey: an id is not a canonical UUID; from the methods: a number is out of range.
    """

    tenant_id: str
    video_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "tenant_id", canonical_uuid(self.tenant_id, "tenant id"))
        object.__setattr__(self, "video_id", canonical_uuid(self.video_id, "video id"))

    @classmethod
    def parse(cls, key: str) -> VideoKeys:
        """Return the keys of the video that a key or prefix belongs to.

        Raises:
            InvalidKey: the key belongs to no video.
        """
        tenant = tenant_of(key)
        parts = key.split("/")
        if len(parts) < 5 or parts[1] not in ("client", "server") or parts[2] != "videos":
            raise InvalidKey(f"object key {key!r:.200} belongs to no video")
        return cls(tenant, parts[3])

    @property
    def client_prefix(self) -> str:
        """Prefix of the objects that the tenant's users may read."""
        return f"{self.tenant_id}/client/videos/{self.video_id}/"

    @property
    def server_prefix(self) -> str:
        """Prefix of the objects that only the service may read."""
        return f"{self.tenant_id}/server/videos/{self.video_id}/"

    @property
    def video(self) -> str:
        """Key of the uploaded file; always ``video.mp4``, whatever its container."""
        return f"{self.client_prefix}video.mp4"

    @property
    def full_frames_prefix(self) -> str:
        """Prefix of the full frames."""
        return f"{self.client_prefix}full_frames/"

    def full_frame(self, index: int) -> str:
        """Return the key of a full frame, by its index in the sample (0..999,999)."""
        return f"{self.full_frames_prefix}frame_{_number(index, 'full frame index', 0, 999_999):06d}.jpg"

    @property
    def ocr_db(self) -> str:
        """Key of the database of the full frames' OCR."""
        return f"{self.server_prefix}raw-ocr.db.gz"

    @property
    def layout_db(self) -> str:
        """Key of the database of the layout."""
        return f"{self.server_prefix}layout.db.gz"

    @property
    def frame_grid(self) -> str:
        """Key of the times of the video's native frames."""
        return f"{self.server_prefix}frame-grid.json.gz"

    @property
    def progress(self) -> str:
        """Key of how far the current stage has come."""
        return f"{self.server_prefix}progress.json"

    @property
    def waveform(self) -> str:
        """Key of the waveform of the video's sound."""
        return f"{self.server_prefix}waveform.bin"

    @property
    def shots(self) -> str:
        """Key of the times at which the camera cuts."""
        return f"{self.server_prefix}shots.json"

    @property
    def film(self) -> str:
        """Key of the small film that every browser plays; only of videos that some browser does not play."""
        return f"{self.server_prefix}film.mp4"

    @property
    def film_progress(self) -> str:
        """Key of how far the film has come."""
        return f"{self.server_prefix}film-progress.json"

    def cropped_frames_prefix(self, version: int) -> str:
        """Return the prefix of the chunks of one version of the cropped frames."""
        return f"{self.client_prefix}cropped_frames_v{_version(version)}/"

    def chunk(self, version: int, modulo: int, first_frame: int) -> str:
        """Return the key of a WebM chunk, by version, level (16, 4, or 1), and index of its first cropped frame."""
        if modulo not in MODULO_LEVELS or isinstance(modulo, bool):
            raise InvalidKey(f"modulo must be 16, 4, or 1, got {modulo!r}")
        first = _number(first_frame, "first frame", 0, 9_999_999_999)
        return f"{self.cropped_frames_prefix(version)}modulo_{int(modulo)}/chunk_{first:010d}.webm"

    def extents_db(self, version: int) -> str:
        """Return the key of the database of extents for one version of the cropped frames."""
        return f"{self.server_prefix}caption_frame_extents_v{_version(version)}.db"

    @property
    def compute_prefix(self) -> str:
        """Prefix of long inputs and completion records of remote compute calls."""
        return f"{self.server_prefix}compute/"

    def compute_record(self, name: str) -> str:
        """Return the key of an input or record of a compute call, by its name (``a-z 0-9 . _ -``)."""
        return check_key(f"{self.compute_prefix}{name}.json")

    def lease_prefix(self, call_key: str) -> str:
        """Return the prefix of the leases of a compute call, by the call's key (64 hex digits)."""
        return f"{self.compute_prefix}leases/{call_key}/"

    def lease(self, call_key: str, token: str, part: str) -> str:
        """Return the key of a part (``claim``, ``beat``) of one worker's lease."""
        return check_key(f"{self.lease_prefix(call_key)}{token}.{part}.json")

    @property
    def captions_db(self) -> str:
        """Key of the database of captions."""
        return f"{self.client_prefix}captions.db.gz"

    @property
    def subtitles_prefix(self) -> str:
        """Prefix of the subtitle files."""
        return f"{self.client_prefix}subtitles/"

    def subtitles(self, subtitle_format: str) -> str:
        """Return the key of a subtitle file: ``srt``, ``vtt``, ``ass``, or ``json``."""
        if subtitle_format not in SUBTITLE_FORMATS:
            raise InvalidKey(f"subtitle format must be one of {', '.join(SUBTITLE_FORMATS)}, got {subtitle_format!r}")
        return f"{self.subtitles_prefix}captions.{subtitle_format}"


def _number(value: int, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidKey(f"{what} must be an integer in {low}..{high}, got {value!r:.80}")
    return value


def _version(version: int) -> int:
    return _number(version, "version", 1, 999_999_999)
