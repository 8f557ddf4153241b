"""Options and settings that decide what subtitle files contain."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from captionacc_dagster.captioning.captions import KINDS, Caption, CaptionWarning, Kind
from captionacc_dagster.captioning.files.captions_database import (
    OcrUpdate,
    merge_captions,
    read_captions,
    write_ocr_updates,
)
from captionacc_dagster.captioning.files.databases import compress
from captionacc_dagster.captioning.files.subtitles import SubtitleOptions, read_subtitles
from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.orchestration.subtitle_files import publish_subtitles, video_keys
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.cli.conftest import Run

pytestmark = pytest.mark.e2e


def _caption(text: str, start_s: float, end_s: float, kind: Kind = "caption") -> Caption:
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 25),
        end_frame=round(end_s * 25),
        text=text,
        confidence=0.9,
        bbox=BBox(0.4, 0.8, 0.6, 0.9),
        track="name" if kind == "lower_third" else "bottom",
        kind=kind,
    )


FOUND = [
    *[_caption(text, 0.4 * at, 0.4 * at + 0.4) for at, text in enumerate(["one", "two", "three"])],
    _caption("it goes off and on", 5.0, 5.5),
    _caption("it goes off and on", 5.6, 6.0),
    _caption("Ann Lee, reporter", 0.0, 4.0, "lower_third"),
]


@pytest.fixture
def video(home: Path, tmp_path: Path) -> str:
    """The ID of a video with the captions above, whose subtitle files are published with the default settings."""
    path = tmp_path / "captions.db"
    merge_captions(path, FOUND, 10.0, warnings=[CaptionWarning("low_confidence", "Check the captions.")])
    texts = {(caption.start_ms, caption.track): caption.text for caption in FOUND}
    write_ocr_updates(path, [OcrUpdate(row.id, texts[row.start_ms, row.track], 0.9) for row in read_captions(path)])
    with open_catalog(EmbeddedPostgres(home)) as catalog:
        row = catalog.create_video(LOCAL_TENANT_ID, "clip.mp4").video
    store = LocalObjectStore(home / "objects")
    publish_subtitles(store, row, path, SubtitleOptions())
    store.publish(video_keys(row).captions_db, compress(path, tmp_path / "captions.db.gz"))
    return str(row.id)


@pytest.mark.parametrize(
    ("options", "environment", "texts"),
    [
        ([], {}, ["one two three", "it goes off and on", "it goes off and on"]),
        (["--words"], {}, ["one", "two", "three", "it goes off and on", "it goes off and on"]),
        (["--phrases", "--join-gaps", "100"], {}, ["one two three", "it goes off and on"]),
        (
            ["--join-gaps", "99"],
            {"CAPTIONACC_SUBTITLE_FORM": "words"},
            ["one", "two", "three", "it goes off and on", "it goes off and on"],
        ),
        (["--phrases"], {"CAPTIONACC_SUBTITLE_JOIN_GAPS_MS": "100"}, ["one two three", "it goes off and on"]),
        (
            ["--include", "lower-thirds"],
            {},
            ["one two three", "Ann Lee, reporter", "it goes off and on", "it goes off and on"],
        ),
        (["--words"], {"CAPTIONACC_SUBTITLE_INCLUDE": "lower_third, title"}, ["Ann Lee, reporter"]),
    ],
)
def test_export_writes_what_is_asked_for(
    run: Run, tmp_path: Path, video: str, options: list[str], environment: dict[str, str], texts: list[str]
) -> None:
    result = run("export", video, "-o", tmp_path / "out", *options, **environment)
    assert result.returncode == 0, result.stderr
    assert [cue.text for cue in read_subtitles(tmp_path / "out" / "clip.srt")] == texts


def test_json_has_all_kinds_and_the_warnings(run: Run, tmp_path: Path, video: str) -> None:
    assert run("export", video, "-f", "json", "-o", tmp_path).returncode == 0
    assert len(read_subtitles(tmp_path / "clip.json")) == len(FOUND)
    assert '"low_confidence"' in (tmp_path / "clip.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("option", "setting"), [([], {"CAPTIONACC_SRT_BOM": "1"}), (["--srt-bom"], {})])
def test_srt_can_have_a_byte_order_mark(
    run: Run, tmp_path: Path, video: str, option: list[str], setting: dict[str, str]
) -> None:
    assert run("export", video, "--words", "-o", tmp_path, *option, **setting).returncode == 0
    assert (tmp_path / "clip.srt").read_bytes().startswith(b"\xef\xbb\xbf1\r\n")


@pytest.mark.parametrize("command", ["export", "process"])
def test_an_unknown_kind_is_refused_in_one_line(run: Run, command: str) -> None:
    result = run(command, "00000000-0000-4000-8000-000000000001", "--include", "logos")
    assert result.returncode == 2
    assert result.stderr.strip().endswith(f"--include: 'logos' is unknown; choose from {', '.join(KINDS)}")


def test_the_setting_knows_every_kind() -> None:
    assert set(Settings(subtitle_include=list(KINDS)).subtitle_include) == set(get_args(Kind))
