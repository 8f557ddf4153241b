"""Commands as people type them: folders, parts, names of videos, decisions, and messages that say what to change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog
from captionacc_dagster.catalog.models import Video
from captionacc_dagster_tests.cli.conftest import Run
from captionacc_dagster_tests.small_clips import CAPTIONS, make_clip

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "typed.mp4", seed=301)


@pytest.fixture
def video(run: Run, clip: Path, home: Path, tmp_path: Path) -> Video:
    """The clip's row, after it is processed."""
    assert run("process", clip, "-o", tmp_path / "first").returncode == 0
    with open_catalog(EmbeddedPostgres(home)) as catalog:
        [video] = catalog.list_videos(filename=clip.name).items
    return video


class TestBatches:
    def test_a_folder_is_mirrored_and_what_lies_there_is_kept(
        self, run: Run, video: Video, clip: Path, tmp_path: Path
    ) -> None:
        for name in ("one/talk.mp4", "two/deep/talk.mp4"):
            (tmp_path / "videos" / name).parent.mkdir(parents=True)
            shutil.copy(clip, tmp_path / "videos" / name)
        (tmp_path / "videos" / "one" / "talk.srt").write_text("by hand")
        out = tmp_path / "out"
        result = run("process", tmp_path / "videos", "--recursive", "-o", out)
        # Both have one content, which is one video: the copy counts once.
        assert (result.returncode, result.stderr.replace("Starting ...\n", "")) == (0, "")
        assert sorted(str(path.relative_to(out)) for path in out.rglob("*.srt")) == [
            "one/talk.srt",
            "two/deep/talk.srt",
        ]
        for _ in range(2):
            result = run("process", tmp_path / "videos" / "one" / "talk.mp4", tmp_path / "videos" / "one" / "talk.srt")
            assert result.returncode == 0
            assert "talk.srt: skipped" in result.stderr
            assert "--overwrite replaces" in result.stderr
            assert (tmp_path / "videos" / "one" / "talk.srt").read_text() == "by hand"
            assert CAPTIONS[0][2] in (tmp_path / "videos" / "one" / "talk-2.srt").read_text()

    def test_a_dry_run_says_what_would_be_done_and_does_nothing(
        self, run: Run, video: Video, clip: Path, tmp_path: Path
    ) -> None:
        other = make_clip(tmp_path / "other.mp4", frames=30, seed=302)
        result = run("process", "--dry-run", clip, other, "https://example.com/a.mp4", "-o", tmp_path / "out")
        assert result.returncode == 1
        assert "example.com/a.mp4: is a URL" in result.stderr
        done, new = result.stdout.splitlines()
        assert f"{clip}: is processed already" in done
        assert f"{other}: would find its captions and write {tmp_path / 'out' / 'other.srt'}" in new
        assert not (tmp_path / "out").exists()
        assert run("status", "other.mp4").returncode == 1

    def test_json_is_one_object_a_line(self, run: Run, video: Video, clip: Path, tmp_path: Path) -> None:
        result = run("process", clip, tmp_path / "missing.mp4", "-o", tmp_path / "out", "--json")
        assert result.returncode == 1
        one, other = map(json.loads, result.stdout.splitlines())
        assert set(one) == {"video", "captions", "warnings", "paths"}
        assert one["video"]["id"] == str(video.id)
        assert one["paths"] == [str(tmp_path / "out" / "typed.srt")]
        assert [caption["text"] for caption in one["captions"]] == [text for _, _, text in CAPTIONS]
        assert other["video"] == {"path": str(tmp_path / "missing.mp4")}
        assert "no such file" in other["error"]

    def test_a_part_has_the_times_of_the_whole(self, run: Run, tmp_path: Path) -> None:
        make_clip(tmp_path / "long.mp4", seed=303)
        result = run("process", tmp_path / "long.mp4", "--from", "0:02", "--to", "3.2", "--json", "-f", "json")
        assert result.returncode == 0, result.stderr
        [caption] = json.loads(result.stdout)["captions"]
        assert (caption["start_frame"], caption["end_frame"], caption["text"]) == (50, 80, CAPTIONS[1][2])
        assert (caption["start_s"], caption["end_s"]) == (2.0, 3.2)
        assert (tmp_path / "long 2-3.2 s.json").exists()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("--from", "soon"), "--from: 'soon' is not a time"),
            (("--from", "0:10", "--to", "5"), "--to: 5 is not after 0:10"),
        ],
    )
    def test_a_wrong_time_is_wrong_usage(self, run: Run, clip: Path, options: tuple[str, ...], said: str) -> None:
        result = run("process", clip, *options)
        assert (result.returncode, said in result.stderr) == (2, True)

    def test_a_part_behind_the_end_is_refused(self, run: Run, clip: Path) -> None:
        result = run("process", clip, "--from", "1:00")
        assert result.returncode == 1
        assert "typed.mp4: has only 4.0 s" in result.stderr


class TestNamesOfVideos:
    def test_by_file_name_id_and_beginning_of_the_id(self, run: Run, video: Video, tmp_path: Path) -> None:
        for name in ("typed.mp4", "some/where/typed.mp4", str(video.id), str(video.id)[:8], str(video.id).upper()):
            assert str(video.id) in run("status", name).stdout, name
            assert run("export", name, "-o", tmp_path / "out").returncode == 0, name
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["typed.srt"]

    @pytest.mark.parametrize("command", ["status", "export", "retry", "approve"])
    def test_an_unknown_name_is_one_line(self, run: Run, command: str) -> None:
        result = run(command, "nobody.mp4")
        assert result.returncode == 1
        assert result.stderr == "captionacc: no video is named 'nobody.mp4'; `captionacc status` lists all of them\n"

    def test_several_of_one_name_are_listed(self, run: Run, home: Path) -> None:
        from captionacc_dagster.catalog.models import LOCAL_TENANT_ID

        with open_catalog(EmbeddedPostgres(home)) as catalog:
            both = [catalog.create_video(LOCAL_TENANT_ID, "twin.mp4").video for _ in range(2)]
            result = run("retry", "twin.mp4")
            for video in both:
                catalog.delete_video(video.id)
        assert result.returncode == 1
        first, *choices = result.stderr.splitlines()
        assert first == "captionacc: 'twin.mp4' names 2 videos; give the id of one of them:"
        assert {choice.split()[0] for choice in choices} == {str(video.id) for video in both}


class TestDecisions:
    def test_nothing_failed_is_said(self, run: Run, video: Video) -> None:
        result = run("retry", "typed.mp4")
        assert result.returncode == 1
        assert "typed.mp4: nothing of it has failed" in result.stderr

    def test_captions_that_another_region_removed_are_brought_back(self, run: Run, tmp_path: Path) -> None:
        clip = make_clip(tmp_path / "back.mp4", frames=50, seed=304, captions=[(5, 45, "Hello.")])
        assert run("process", clip).returncode == 0
        nothing = run("restore", "back.mp4")
        reason = "there are no earlier captions to bring back: processing the video again has removed none"
        assert (nothing.returncode, nothing.stderr) == (1, f"captionacc: back.mp4: {reason}\n")
        assert run("process", clip, "--crop-region", "0,0,1,0.2").returncode == 0
        for count in (1, 0, 1):
            back = run("restore", "back.mp4")
            captions = "1 caption" if count == 1 else "0 captions"
            assert (back.returncode, f"now has the {captions} from before" in back.stdout) == (0, True)
            folder = tmp_path / str(count)
            assert run("export", "back.mp4", "-o", folder).returncode == 0
            written = [path.read_text() for path in folder.glob("*.srt")]
            assert ["Hello." in text for text in written if text] == [True] * count

    def test_what_a_person_called_done_is_processed_again_only_when_asked(
        self, run: Run, video: Video, clip: Path, home: Path, tmp_path: Path
    ) -> None:
        def now() -> tuple[Video, int]:
            with open_catalog(EmbeddedPostgres(home)) as catalog:
                return (
                    catalog.get_video_metadata(video.id),
                    len(catalog.list_processing_requests(video_id=video.id).items),
                )

        with open_catalog(EmbeddedPostgres(home)) as catalog:
            catalog.complete_boundaries(video.id)
            catalog.complete_text(video.id)
        done = now()
        assert done[0].stage == "done"
        assert run("process", clip, "-o", tmp_path / "second").returncode == 0
        assert run("upload", clip).returncode == 0
        assert run("retry", clip.name).returncode == 1
        assert run("approve", clip.name).returncode == 1
        assert now() == done

    def test_approving_what_is_processed_asks_first(self, run: Run, video: Video, home: Path, clip: Path) -> None:
        result = run("approve", "typed.mp4")
        assert result.returncode == 1
        assert "2 captions of typed.mp4 are found already" in result.stderr
        assert "--yes" in result.stderr
        with open_catalog(EmbeddedPostgres(home)) as catalog:
            assert catalog.get_video_metadata(video.id).layout_approved_at == video.layout_approved_at
        assert run("approve", "typed.mp4", "--yes").returncode == 0
        waiting = run("approve", "typed.mp4", "--yes")
        assert "has not started" in waiting.stderr
        assert run("process", clip).returncode == 0


class TestMessages:
    def test_a_catalog_that_is_away_is_named_with_its_variable(self, run: Run) -> None:
        result = run("status", DATABASE_URL="postgresql://me:secret@127.0.0.1:1/nowhere")
        assert result.stderr.startswith("captionacc: the catalog at 127.0.0.1:1 (DATABASE_URL): ")
        assert "secret" not in result.stderr
        result = run("doctor", DATABASE_URL="postgresql://me:secret@127.0.0.1:1/nowhere")
        assert "the catalog at 127.0.0.1:1 (DATABASE_URL): " in result.stdout

    def test_a_catalog_of_an_env_file_is_named_with_the_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("DATABASE_URL=postgresql://127.0.0.1:1/nowhere\n")
        result = run("status")
        assert f"the catalog at 127.0.0.1:1 (DATABASE_URL in {tmp_path / '.env'}): " in result.stderr

    @pytest.mark.parametrize(
        ("variable", "value", "said"),
        [
            ("CAPTIONACC_COMPUTE", "gpu", "CAPTIONACC_COMPUTE: Input should be 'local' or 'modal'"),
            ("CAPTIONACC_POOL_SLOTS", "many", "CAPTIONACC_POOL_SLOTS: not valid JSON"),
            ("CAPTIONACC_TENANT_ID", "me", "CAPTIONACC_TENANT_ID: Input should be a valid UUID"),
            ("WASABI_BUCKET", "b", "WASABI_BUCKET is set but WASABI_ACCESS_KEY or WASABI_SECRET_KEY is not"),
        ],
    )
    def test_a_wrong_setting_names_its_variable(self, run: Run, variable: str, value: str, said: str) -> None:
        result = run("status", **{variable: value})
        assert result.returncode == 1
        assert result.stderr.startswith(f"captionacc: {said}")
        assert len(result.stderr.splitlines()) == 1
