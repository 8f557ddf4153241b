"""``captionacc process``: files in, captions out, and a clear word on what cannot be processed."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from captionacc_dagster.captioning.evaluation.evaluate import evaluate_files
from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import LOCAL_TENANT_ID, Video
from captionacc_dagster.cli import process as process_module
from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.process import check_readable
from captionacc_dagster.orchestration.subtitle_files import download_captions, publish_captions, video_keys
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.machine import real_clips
from captionacc_dagster_tests.small_clips import CAPTIONS, RATE, make_clip

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "news.mp4")


def found(path: Path) -> list[tuple[int, int, str]]:
    captions = json.loads(path.read_text(encoding="utf-8"))["captions"]
    return [(caption["start_frame"], caption["end_frame"], caption["text"]) for caption in captions]


def ids(listing: str) -> list[str]:
    return re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", listing)


class TestOneFile:
    def test_captions_come_out_exact_in_every_format(self, run_process: Run, clip: Path, tmp_path: Path) -> None:
        result = run_process("process", clip, "-o", tmp_path / "out", "-f", "srt,vtt,ass,json")
        assert result.returncode == 0, result.stderr
        assert found(tmp_path / "out" / "news.json") == list(CAPTIONS)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "news.ass",
            "news.json",
            "news.srt",
            "news.vtt",
        ]
        for kind in ("srt", "vtt", "ass"):
            report = evaluate_files(tmp_path / "out" / f"news.{kind}", tmp_path / "out" / "news.json", RATE)
            assert len(report.matches) == len(CAPTIONS)
            assert not report.phantoms
            assert all(match.timed and match.cer == 0 for match in report.matches)
        assert "Good evening." in result.stdout
        assert str(tmp_path / "out" / "news.srt") in result.stdout

    def test_again_gives_the_same_without_a_second_row(self, run: Run, clip: Path, tmp_path: Path) -> None:
        for folder in ("one", "two"):
            assert run("process", clip, "-o", tmp_path / folder).returncode == 0
        assert run("process", clip, "-o", tmp_path / "three", "--again").returncode == 0
        one = (tmp_path / "one" / "news.srt").read_bytes()
        assert one == (tmp_path / "two" / "news.srt").read_bytes() == (tmp_path / "three" / "news.srt").read_bytes()
        assert Counter(run("status").stdout.split())["news.mp4"] == 1

    def test_again_says_what_of_a_persons_stays(self, run: Run, clip: Path, home: Path, tmp_path: Path) -> None:
        mine = make_clip(tmp_path / "mine.mp4", frames=50, seed=33, captions=[(5, 45, "Hello.")])
        assert run("process", mine).returncode == 0
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            [video] = catalog.list_videos(filename="mine.mp4").items
        store = LocalObjectStore(home / "objects")
        database = download_captions(store, video, tmp_path)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE captions SET text = 'Hello, you.'")
        publish_captions(store, video, database)
        result = run("process", mine, "--again")
        assert result.returncode == 0, result.stderr
        assert "mine.mp4: captions that a person confirmed or typed stay: 1; others, found again: 0" in result.stderr
        assert "Hello, you." in (tmp_path / "mine.srt").read_text(encoding="utf-8")

    def test_the_list_fits_80_columns_and_breaks_no_word(self, run: Run, home: Path, tmp_path: Path) -> None:
        reason = "the reason why nothing could be made of this file, in many words that take more than one line"
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            name = f"{uuid4()} with a name of many words.mp4"
            made = catalog.create_video(LOCAL_TENANT_ID, name, source="cli").video
            catalog.update_video_status(made.id, "error", error_details={"message": reason})
        shown = run("status", COLUMNS="80").stdout
        assert f"{made.id}  {name}" in shown.splitlines()
        told = shown.split(name, 1)[1].splitlines()[1:3]
        assert " ".join(" ".join(told).split()).startswith(f"error {reason[:90]}")
        assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith(str(made.id)))

    def test_another_language_is_stored_and_read_anew(self, run: Run, home: Path, tmp_path: Path) -> None:
        make_clip(tmp_path / "lang.mp4", frames=50, seed=21, captions=[(5, 45, "Hello there.")])
        assert run("process", tmp_path / "lang.mp4", "--lang", "tr").returncode == 0
        assert run("process", tmp_path / "lang.mp4", "--lang", "EN-us").returncode == 0
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            [video] = catalog.list_videos(filename="lang.mp4").items
        assert (video.lang, video.cropped_frames_version) == ("en", 2)

    def test_changed_content_is_a_new_video(self, run: Run, tmp_path: Path) -> None:
        before = set(ids(run("status").stdout))
        for seed in (11, 12):
            make_clip(tmp_path / "same-name.mp4", frames=50, seed=seed, captions=[(5, 45, "Hello there.")])
            assert run("process", tmp_path / "same-name.mp4").returncode == 0
            assert "Hello there." in (tmp_path / "same-name.srt").read_text(encoding="utf-8")
        assert len(set(ids(run("status").stdout)) - before) == 2

    def test_a_crop_region_overrides_the_layout(self, run: Run, tmp_path: Path) -> None:
        make_clip(tmp_path / "region.mp4", seed=5)
        nowhere = run("process", tmp_path / "region.mp4", "-f", "json", "--crop-region", "0.1,0.05,0.9,0.3")
        assert nowhere.returncode == 0, nowhere.stderr
        assert found(tmp_path / "region.json") == []
        there = run("process", tmp_path / "region.mp4", "-f", "json", "--crop-region", "0.05,0.78,0.95,0.97")
        assert there.returncode == 0, there.stderr
        assert [text for _, _, text in found(tmp_path / "region.json")] == [text for _, _, text in CAPTIONS]

    def test_a_video_without_text_has_no_captions_and_no_error(self, run: Run, tmp_path: Path) -> None:
        make_clip(tmp_path / "silent.mp4", captions=(), frames=75)
        result = run("process", tmp_path / "silent.mp4", "-f", "srt,json")
        assert result.returncode == 0, result.stderr
        assert found(tmp_path / "silent.json") == []
        assert not (tmp_path / "silent.srt").exists()
        assert "silent.mp4: No captions found." in result.stdout

    def test_the_story_is_told_in_order(self, run: Run, tmp_path: Path) -> None:
        make_clip(tmp_path / "story.mp4", frames=60, seed=31)
        run("process", tmp_path / "story.mp4")
        video = next(line for line in run("status").stdout.splitlines() if "story.mp4" in line).split()[0]
        story = run("status", video).stdout
        order = ["uploaded", "requested", "succeeded", "layout approved", "cropped frames version active"]
        places = [story.index(word) for word in order]
        assert places == sorted(places)

    def test_export_writes_what_process_wrote(self, run: Run, clip: Path, tmp_path: Path) -> None:
        run("process", clip, "-o", tmp_path / "out")
        video = next(line for line in run("status").stdout.splitlines() if "news.mp4" in line).split()[0]
        assert run("export", video, "-o", tmp_path / "again").returncode == 0
        assert (tmp_path / "again" / "news.srt").read_bytes() == (tmp_path / "out" / "news.srt").read_bytes()

    def test_warnings_are_printed_and_kinds_and_unread_captions_are_told_apart(
        self, run: Run, home: Path, tmp_path: Path
    ) -> None:
        make_clip(tmp_path / "kinds.mp4", seed=41)
        assert run("process", tmp_path / "kinds.mp4").returncode == 0
        text = (tmp_path / "kinds.srt").read_text(encoding="utf-8")
        first = CAPTIONS[0][2]
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            [video] = catalog.list_videos(filename="kinds.mp4").items
            message = "3 places with text were taken for logos or signs; see the layout."
            warning = {"code": "text_left_out", "message": message, "start_s": None, "end_s": None}
            catalog.update_video_metadata(video.id, {"warnings": [warning]})
        again = run("process", tmp_path / "kinds.mp4", "-o", tmp_path / "again")
        assert (again.returncode, message in again.stderr) == (0, True), "text was left out, but captions were found"
        assert message in run("status", str(video.id)).stdout

        change_captions(home, video, "UPDATE captions SET kind = 'lower_third' WHERE id = 1")
        result = run("export", str(video.id), "-o", tmp_path / "default")
        assert (result.returncode, "1 of kind lower-third; add --include lower-third." in result.stderr) == (0, True)
        assert first not in (tmp_path / "default" / "kinds.srt").read_text(encoding="utf-8")
        result = run("export", str(video.id), "-o", tmp_path / "all", "--include", "lower-third")
        assert (result.returncode, "Left out" in result.stderr) == (0, False)
        assert (tmp_path / "all" / "kinds.srt").read_text(encoding="utf-8") == text

        change_captions(home, video, "UPDATE captions SET unread = 1, caption_ocr = '' WHERE id = 2")
        result = run("process", tmp_path / "kinds.mp4", "-o", tmp_path / "unread")
        assert (result.returncode, "could not be read" in result.stderr) == (3, True)

    def test_captions_that_could_not_be_read_are_read_again_alone(self, run: Run, home: Path, tmp_path: Path) -> None:
        make_clip(tmp_path / "later.mp4", seed=47)
        refused = run("process", tmp_path / "later.mp4", "--only", "text")
        planned = run("process", tmp_path / "later.mp4", "--only", "text", "--dry-run")
        for answer in (refused, planned):
            assert (answer.returncode, "it has no captions to read again" in answer.stderr) == (1, True)
        assert run("process", tmp_path / "later.mp4").returncode == 0
        text = (tmp_path / "later.srt").read_text(encoding="utf-8")
        nothing = run("process", tmp_path / "later.mp4", "--only", "text")
        assert (nothing.returncode, "every caption has been read" in nothing.stderr) == (0, True)
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            [video] = catalog.list_videos(filename="later.mp4").items
            others = {"code": "text_left_out", "message": "1 place with text was taken for a sign."}
            unread = {"code": "script_unread", "message": "1 caption in Korean could not be read."}
            catalog.update_video_metadata(video.id, {"warnings": [others, unread]})
        change_captions(home, video, "UPDATE captions SET unread = 1, caption_ocr = '' WHERE id = 2")
        change_captions(home, video, "UPDATE captions SET text = 'Typed.' WHERE id = 1")
        extents = home / "objects" / video_keys(video).extents_db(video.cropped_frames_version or 0)
        with closing(sqlite3.connect(extents)) as connection, connection:
            connection.execute("UPDATE extents SET unread = 1, text = '' WHERE text = ?", (CAPTIONS[1][2],))
        assert run("process", tmp_path / "later.mp4").returncode == 3

        done = run("process", tmp_path / "later.mp4", "--again", "--only", "text", "--overwrite")

        assert (done.returncode, "could not be read" in done.stderr) == (0, False), done.stderr
        assert (tmp_path / "later.srt").read_text(encoding="utf-8") == text.replace(CAPTIONS[0][2], "Typed.")
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            row = catalog.get_video_metadata(video.id)
        assert [warning.code for warning in row.warnings] == ["text_left_out"]
        assert run("process", tmp_path / "later.mp4", "--only", "times").returncode == 2
        found_anew = run("process", tmp_path / "later.mp4", "--only", "text", "--crop-region", "0,0.5,1,1")
        assert (found_anew.returncode, "leave out --crop-region" in found_anew.stderr) == (2, True)

    def test_no_captions_is_all_right_only_where_no_text_was_left_out(
        self, run: Run, home: Path, tmp_path: Path
    ) -> None:
        make_clip(tmp_path / "sign.mp4", captions=(), frames=60, seed=43)
        assert run("process", tmp_path / "sign.mp4").returncode == 0
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            [video] = catalog.list_videos(filename="sign.mp4").items
            warning = {"code": "text_left_out", "message": "1 place with text was taken for a sign; see the layout."}
            catalog.update_video_metadata(video.id, {"warnings": [warning]})
        result = run("process", tmp_path / "sign.mp4")
        assert (result.returncode, "taken for a sign" in result.stderr) == (3, True)

    def test_an_unexpected_error_names_the_file_and_the_batch_goes_on(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_clip(tmp_path / "odd.mp4", frames=60, seed=45)
        make_clip(tmp_path / "even.mp4", frames=60, seed=46)
        whole = process_module.content_hash

        def broken(file: Path, *arguments: Any) -> str:
            if file.name == "odd.mp4":
                raise ValueError("not enough values to unpack (expected 2, got 1)")
            return whole(file, *arguments)

        monkeypatch.setattr(process_module, "content_hash", broken)
        result = run("process", tmp_path / "odd.mp4", tmp_path / "even.mp4")
        assert result.returncode == 1
        [line] = [line for line in result.stderr.splitlines() if line.startswith("captionacc:")]
        assert "odd.mp4: unexpected error: ValueError: not enough values" in line
        assert (tmp_path / "even.srt").exists()

    @pytest.mark.parametrize("option", [("-f", "doc"), ("--include", "logos"), ("--crop-region", "1,2")])
    def test_wrong_usage_is_exit_code_2(self, run: Run, tmp_path: Path, option: tuple[str, str]) -> None:
        result = run("process", tmp_path / "any.mp4", *option)
        assert result.returncode == 2
        assert option[1].split(",")[0] in result.stderr

    def test_real_clips_come_out_as_their_captions_say(self, run: Run, tmp_path: Path) -> None:
        for video, captions in real_clips():
            result = run("process", video, "-o", tmp_path, "-f", "json")
            assert result.returncode == 0, result.stderr
            report = evaluate_files(tmp_path / f"{video.stem}.json", video.with_suffix(".json"))
            assert (len(report.matches), report.phantoms, report.missed) == (len(captions), [], []), video
            assert all(match.predicted.text == match.truth.text for match in report.matches), video
            assert all(abs(m.start_error) <= 1 and abs(m.end_error) <= 1 for m in report.matches), video


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> dict[str, Path]:
    """One file of each kind that is no whole video, by a name that says what it is."""
    folder = tmp_path_factory.mktemp("bad")
    whole = clip.read_bytes()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "directory.mp4").mkdir()
    (folder / "no-index.mp4").write_bytes(whole[: len(whole) // 2])
    make_clip(folder / "audio.m4a", audio_only=True).rename(folder / "audio.mp4")
    return {
        "missing.mp4": folder / "missing.mp4",
        **{path.name: path for path in folder.iterdir()},
    }


def change_captions(home: Path, video: Video, statement: str) -> None:
    """Change the captions database of a video in the home's object store."""
    store = LocalObjectStore(home / "objects")
    with TemporaryDirectory() as folder:
        path = download_captions(store, video, Path(folder))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)
        publish_captions(store, video, path)


class TestBadInput:
    def test_each_is_refused_by_name_and_the_others_go_through(
        self, run_process: Run, clip: Path, bad_files: dict[str, Path], tmp_path: Path, home: Path
    ) -> None:
        good = shutil.copy(clip, tmp_path / "good.mp4")
        result = run_process("process", *bad_files.values(), good, "-o", tmp_path / "out", "-f", "json")
        assert result.returncode == 1
        assert found(tmp_path / "out" / "good.json") == list(CAPTIONS)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]
        assert "Traceback" not in result.stdout + result.stderr
        refusals = [line for line in result.stderr.splitlines() if line.startswith("captionacc:")]
        assert len(refusals) == len(bad_files)
        for name, reason in {
            "missing.mp4": "no such file",
            "empty.mp4": "empty",
            "directory.mp4": "folder",
            "text.mp4": "",
            "no-index.mp4": "",
            "audio.mp4": "no video",
        }.items():
            line = next(line for line in refusals if name in line)
            assert len(line.split(name, 1)[1]) > len(": ")
            assert reason in line

    def test_what_failed_is_in_the_catalog_with_its_reason_and_nothing_is_stored(
        self, run: Run, bad_files: dict[str, Path], home: Path
    ) -> None:
        result = run("process", bad_files["text.mp4"], bad_files["no-index.mp4"])
        assert result.returncode == 1
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            failed = {video.filename: video for video in catalog.list_videos(statuses=["error"], limit=500).items}
            for name in ("text.mp4", "no-index.mp4"):
                video = failed[name]
                assert video.error_details is not None
                assert name in str(video.error_details["message"])
                assert not list((home / "objects").rglob(f"*{video.id}*/*"))
                requests = catalog.list_processing_requests(video_id=video.id)
                assert {request.state for request in requests.items} == {"failed"}

    def test_a_video_cut_in_the_middle_gives_what_is_left_of_it(self, run: Run, tmp_path: Path) -> None:
        whole = make_clip(tmp_path / "whole.mkv", seed=3)
        data = whole.read_bytes()
        (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
        result = run("process", tmp_path / "cut.mkv", "-f", "json")
        assert result.returncode == 0, result.stderr
        captions = found(tmp_path / "cut.json")
        assert captions[0] == CAPTIONS[0]

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["--crop-region", "0.5,0.5,0.4,0.9"], "crop"),
            (["--crop-region", "1,2,3"], "crop"),
            (["--crop-region", "0,0,nan,1"], "crop"),
            (["--format", "doc"], "doc"),
            (["--format", ","], "format"),
        ],
    )
    def test_a_wrong_option_is_one_line(self, run: Run, clip: Path, arguments: list[str], word: str) -> None:
        result = run("process", clip, *arguments)
        assert result.returncode == 2
        assert word in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1

    def test_a_folder_that_cannot_be_written_is_named(self, run: Run, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("a file")
        result = run("process", clip, "-o", tmp_path / "taken")
        assert result.returncode == 2
        assert result.stderr == f"captionacc: --output-dir: {tmp_path / 'taken'} is a file, not a folder\n"

    @pytest.mark.unit
    def test_an_unreadable_file_is_refused(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.mp4"
        secret.write_bytes(b"x")
        secret.chmod(0)
        user = os.geteuid()
        if user == 0:  # root reads everything; somebody else does not
            tmp_path.chmod(0o711)
            os.seteuid(65534)
        try:
            with pytest.raises(ProcessError, match="cannot be read"):
                check_readable(secret)
        finally:
            os.seteuid(user)

    def test_an_unknown_video_is_one_line(self, run_process: Run) -> None:
        result = run_process("export", "00000000-0000-4000-8000-00000000dead")
        assert result.returncode == 1
        assert "no video" in result.stderr
        assert "Traceback" not in result.stderr


class TestOtherCommands:
    def test_upload_leaves_a_request_and_prints_the_id(self, run: Run, tmp_path: Path, home: Path) -> None:
        make_clip(tmp_path / "later.mp4", frames=30, seed=21)
        result = run("upload", tmp_path / "later.mp4")
        assert result.returncode == 0, result.stderr
        (video,) = ids(result.stdout)
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            (request,) = catalog.list_processing_requests(video_id=video).items
            assert (request.state, request.flow) == ("pending", "video_initial_processing")
            assert catalog.get_video_metadata(video).status == "waiting"
        assert run("process", tmp_path / "later.mp4").returncode == 0
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            states = {request.state for request in catalog.list_processing_requests(video_id=video).items}
            assert states == {"succeeded"}

    def test_doctor_is_content_with_the_embedded_system(self, run_process: Run) -> None:
        result = run_process("doctor")
        assert result.returncode == 0, result.stdout
        assert "problem" not in result.stdout

    def test_doctor_names_what_is_wrong(self, run: Run) -> None:
        result = run("doctor", DATABASE_URL="postgresql://127.0.0.1:1/nowhere", WEBHOOK_SECRET="short")
        assert result.returncode == 1
        problems = [line for line in result.stdout.splitlines() if line.startswith("problem")]
        assert [line.split()[1] for line in problems] == ["catalog", "webhooks"]

    @pytest.mark.parametrize("command", [["status"], ["retry", str(UUID(int=1))], ["export", str(UUID(int=1))]])
    def test_a_catalog_that_is_away_is_told_in_one_line(self, run: Run, command: list[str]) -> None:
        result = run(*command, DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert "no connection to the catalog" in result.stderr

    def test_a_wrong_setting_is_named(self, run_process: Run) -> None:
        result = run_process("status", SUPABASE_URL="http://127.0.0.1:1")
        assert result.returncode == 1
        assert "SUPABASE_SERVICE_ROLE_KEY" in result.stderr
        assert "Traceback" not in result.stderr

    def test_migrating_twice_changes_nothing(self, run: Run) -> None:
        run("db", "migrate")
        result = run("db", "migrate")
        assert result.returncode == 0
        assert "up to date" in result.stdout


def test_the_demo_gets_every_caption_right(run: Run, tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "9 of 9 captions exactly right" in " ".join(result.stdout.split())


def test_progress_bars_show_rate_and_time_left() -> None:
    from captionacc_dagster.cli.progress import ProgressBars

    console = Console(record=True, force_terminal=True, width=120)
    with ProgressBars(console) as bars:
        bars.report("captions", 30, 100)
        bars.report("captions", 60, 100)
    text = console.export_text()
    assert "captions" in text
    assert "60/100" in text


def test_without_a_terminal_progress_is_a_line_at_intervals() -> None:
    from captionacc_dagster.cli.progress import ProgressLines, show_progress

    written = StringIO()
    console = Console(file=written, width=40)
    assert isinstance(show_progress(console, "talk.mp4"), ProgressLines)
    with ProgressLines(console, "a [v2] talk of a long name.mp4", every_s=0.2) as lines:
        time.sleep(0.3)
        lines.report("captions", 300, 2000)
        time.sleep(0.2)
    first, second, *_ = written.getvalue().splitlines()
    assert first.startswith("a [v2] talk of a long name.mp4: starting, ")
    assert second.startswith("a [v2] talk of a long name.mp4: captions, 300 of 2000 frames (15 %), ")
