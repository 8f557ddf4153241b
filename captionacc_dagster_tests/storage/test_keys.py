"""Object keys: exactly the contract's, and nothing gets out of its tenant however it is spelt."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.storage.keys import (
    MODULO_LEVELS,
    SUBTITLE_FORMATS,
    ForeignKey,
    InvalidKey,
    VideoKeys,
    canonical_uuid,
    check_key,
    check_owned,
    check_prefix,
    temporary_key,
    temporary_prefix,
    tenant_of,
    tenant_prefix,
)

pytestmark = [pytest.mark.unit, pytest.mark.security]

TENANT = "3f2a9c1e-7b64-4d0a-9a55-c0ffee000001"
OTHER = "3f2a9c1e-7b64-4d0a-9a55-c0ffee000002"
VIDEO = "8c7d6e5f-1a2b-4c3d-8e9f-000000000abc"
KEYS = VideoKeys(TENANT, VIDEO)

HOSTILE = [
    "..",
    "/",
    "//",
    "\\",
    "\0",
    "\n",
    "\r",
    " ",
    "%2e",
    "%2f",
    "~",
    "$",
    "*",
    ":",
    "?",
    "A",
    "é",
    "․",
    "／",
    ".",
    "-",
]

uuids = st.uuids().map(str)


@st.composite
def any_key_of(draw: st.DrawFn, keys: VideoKeys) -> str:
    """Any of the keys that a video can have."""
    version = draw(st.integers(1, 999_999_999))
    return draw(
        st.sampled_from(
            [
                keys.video,
                keys.full_frame(draw(st.integers(0, 999_999))),
                keys.ocr_db,
                keys.layout_db,
                keys.chunk(version, draw(st.sampled_from(MODULO_LEVELS)), draw(st.integers(0, 9_999_999_999))),
                keys.extents_db(version),
                keys.captions_db,
                keys.film,
                keys.film_progress,
                keys.subtitles(draw(st.sampled_from(SUBTITLE_FORMATS))),
            ]
        )
    )


def test_the_keys_are_those_of_the_contract() -> None:
    client, server = f"{TENANT}/client/videos/{VIDEO}/", f"{TENANT}/server/videos/{VIDEO}/"
    assert KEYS.video == client + "video.mp4"
    assert KEYS.full_frame(7) == client + "full_frames/frame_000007.jpg"
    assert KEYS.full_frames_prefix == client + "full_frames/"
    assert KEYS.ocr_db == server + "raw-ocr.db.gz"
    assert KEYS.layout_db == server + "layout.db.gz"
    assert KEYS.cropped_frames_prefix(2) == client + "cropped_frames_v2/"
    assert KEYS.chunk(2, 16, 512) == client + "cropped_frames_v2/modulo_16/chunk_0000000512.webm"
    assert KEYS.extents_db(2) == server + "caption_frame_extents_v2.db"
    assert KEYS.captions_db == client + "captions.db.gz"
    assert [KEYS.subtitles(name) for name in SUBTITLE_FORMATS] == [
        client + f"subtitles/captions.{name}" for name in ("srt", "vtt", "ass", "json")
    ]
    assert (KEYS.client_prefix, KEYS.server_prefix) == (client, server)
    assert tenant_prefix(TENANT) == f"{TENANT}/"
    assert temporary_key(TENANT, UUID(VIDEO)) == f"{temporary_prefix(TENANT)}{VIDEO}" == f"{TENANT}/server/tmp/{VIDEO}"


@pytest.mark.parametrize(
    "spelling",
    [
        TENANT.upper(),
        TENANT.replace("a", "A", 1),
        TENANT.replace("-", ""),
        f"{{{TENANT}}}",
        f"urn:uuid:{TENANT}",
        f" {TENANT}",
        f"{TENANT}\n",
        f"{TENANT}/",
        f"{TENANT}\0",
        TENANT.replace("0", "０"),
        TENANT[:-1],
        "",
        "..",
        "test-tenant",
        None,
        7,
        TENANT.encode(),
    ],
)
def test_an_id_that_is_no_canonical_uuid_is_refused(spelling: object) -> None:
    for build in (
        lambda: VideoKeys(spelling, VIDEO),  # type: ignore[arg-type]
        lambda: VideoKeys(TENANT, spelling),  # type: ignore[arg-type]
        lambda: tenant_prefix(spelling),  # type: ignore[arg-type]
        lambda: temporary_key(TENANT, spelling),  # type: ignore[arg-type]
        lambda: check_owned(KEYS.video, spelling),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidKey):
            build()


@given(st.text(max_size=60) | st.sampled_from(HOSTILE).flatmap(lambda bad: st.just(f"{TENANT}{bad}")))
def test_only_what_uuid_itself_would_print_is_an_id(text: str) -> None:
    try:
        accepted = canonical_uuid(text)
    except InvalidKey:
        return
    assert str(UUID(accepted)) == text == accepted


def test_a_uuid_object_is_an_id() -> None:
    assert VideoKeys(UUID(TENANT), UUID(VIDEO)) == KEYS  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 1.0, "1", True, None, 10**12])
def test_a_number_out_of_range_is_refused(number: object) -> None:
    for build in (
        lambda: KEYS.full_frame(number),  # type: ignore[arg-type]
        lambda: KEYS.chunk(1, 16, number),  # type: ignore[arg-type]
        lambda: KEYS.cropped_frames_prefix(number),  # type: ignore[arg-type]
        lambda: KEYS.extents_db(number),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidKey):
            build()


def test_versions_begin_at_one_and_levels_are_three() -> None:
    with pytest.raises(InvalidKey):
        KEYS.extents_db(0)
    for modulo in (0, 2, 8, 32, True, "16", "../16"):
        with pytest.raises(InvalidKey):
            KEYS.chunk(1, modulo, 0)  # type: ignore[arg-type]
    for subtitle_format in ("txt", "SRT", "", "../srt", "srt/"):
        with pytest.raises(InvalidKey):
            KEYS.subtitles(subtitle_format)


@given(uuids, uuids, uuids, st.data())
def test_every_key_begins_with_its_tenant_and_is_nobody_elses(
    tenant: str, other: str, video: str, data: st.DataObject
) -> None:
    keys = VideoKeys(tenant, video)
    key = data.draw(any_key_of(keys))
    assert check_key(key) == key
    assert key.startswith(f"{tenant}/")
    assert tenant_of(key) == tenant
    assert check_owned(key, tenant) == key
    assert VideoKeys.parse(key) == keys
    if other != tenant:
        with pytest.raises(ForeignKey):
            check_owned(key, other)
    assert key.startswith((keys.client_prefix, keys.server_prefix))


@pytest.mark.parametrize(
    "key", [f"{TENANT}/x", temporary_prefix(TENANT), f"{TENANT}/other/videos/{VIDEO}/x", "a/b/c/d/e"]
)
def test_a_key_under_no_video_has_no_video(key: str) -> None:
    with pytest.raises(InvalidKey):
        VideoKeys.parse(key)


@given(
    st.text(max_size=80) | st.lists(st.sampled_from([*HOSTILE, TENANT, "client", "a", "b.c"]), max_size=8).map("".join)
)
def test_an_accepted_key_stays_below_its_folder_everywhere(text: str) -> None:
    try:
        key = check_key(text)
    except InvalidKey:
        return
    root = Path("/objects")
    for path_type in (PurePosixPath, PureWindowsPath):
        path = path_type(key)
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
        assert "/".join(path.parts) == key
    assert root in (root / key).resolve().parents
    # One spelling only: no file system, URL or Unicode form folds another key onto this one.
    assert key == key.casefold() == unicodedata.normalize("NFKC", key)
    assert key.isascii()
    assert key.isprintable()


@given(uuids, uuids, st.data())
def test_tampering_with_a_key_never_reaches_another_tenant(tenant: str, other: str, data: st.DataObject) -> None:
    key = data.draw(any_key_of(VideoKeys(tenant, VIDEO)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(key)))
        cut = data.draw(st.integers(0, 3))
        piece = data.draw(st.sampled_from([*HOSTILE, f"../{other}/", f"/{other}/", f"{other}/", other]))
        key = key[:place] + piece + key[place + cut :]
    try:
        check_owned(key, tenant)
    except InvalidKey:
        return
    assert (Path("/objects") / key).resolve().is_relative_to(f"/objects/{tenant}")


def test_compute_records_are_the_services_own() -> None:
    assert KEYS.compute_record("caption_ocr_0a") == f"{KEYS.server_prefix}compute/caption_ocr_0a.json"
    for name in ("../x", "a/../../b", "", "A", "a b", "/a"):
        with pytest.raises(InvalidKey):
            KEYS.compute_record(name)


def test_an_owner_is_a_whole_segment() -> None:
    for key in (f"{TENANT}-evil/x", f"{TENANT}x/x", TENANT, f"x/{TENANT}/y", f"{TENANT.upper()}/x"):
        with pytest.raises(InvalidKey):
            check_owned(key, TENANT)
    assert check_owned(f"{TENANT}/", TENANT) == f"{TENANT}/"


@pytest.mark.parametrize("prefix", ["", "/", "a", "a//", "../", "a/../", "/a/", "A/", "a/./", None])
def test_a_prefix_is_one_folder(prefix: object) -> None:
    with pytest.raises(InvalidKey):
        check_prefix(prefix)  # type: ignore[arg-type]


def test_a_prefix_ends_with_its_slash() -> None:
    assert check_prefix(KEYS.cropped_frames_prefix(1)) == KEYS.cropped_frames_prefix(1)
    assert not KEYS.chunk(10, 16, 0).startswith(KEYS.cropped_frames_prefix(1))


def test_a_key_has_s3s_length_at_most() -> None:
    segment = "a" * 255
    assert check_key("/".join([segment] * 4))
    with pytest.raises(InvalidKey, match="longer than 1024"):
        check_key("/".join([segment] * 4) + "/b")
    with pytest.raises(InvalidKey):
        check_key("a" * 256)
