"""The SQLite files have the columns of the contract and come back as written."""

import gzip
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.captioning.captions import Caption, CaptionWarning, PairResult, Timeline, Word
from captionacc_dagster.captioning.files import captions_database, databases
from captionacc_dagster.captioning.files.caption_edits import edit_captions
from captionacc_dagster.captioning.files.captions_database import OcrUpdate
from captionacc_dagster.captioning.files.databases import DatabaseError, RunFacts
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.model import Detection, FrameOcr, Layout, LeftOut, Track

pytestmark = pytest.mark.unit

# One compressed file of each kind, as the program wrote them at these schema versions. Never rewrite these files.
SCHEMA_1, SCHEMA_2 = (Path(__file__).with_name(f"schema_{version}") for version in (1, 2))

BOX = BBox(0.25, 0.8, 0.75, 0.9)


WARNINGS = (
    CaptionWarning("text_left_out", "2 places with text were taken for logos; see the layout."),
    CaptionWarning("frames_missing", "3 frames are missing.", 1.5, 2.0),
)
WORDS = (
    Word(text="two", start_s=1.2, end_s=2.0, bbox=BOX, highlight_start_s=1.24, highlight_end_s=1.6),
    Word(text="lines", start_s=1.36, end_s=2.0, bbox=BOX),
)


def columns(path: Path, table: str) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def rows(path: Path, query: str) -> list[tuple]:
    with sqlite3.connect(path) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def frames() -> list[FrameOcr]:
    seen = Detection(0, 0, 5.0, "Hello", 0.97, BOX)
    logo = Detection(0, 1, 5.0, "TV", 0.9, BBox(0.9, 0.02, 0.98, 0.08))
    return [FrameOcr(0, 5.0, (seen, logo), None), FrameOcr(1, 15.0, (), "engine failed")]


@pytest.fixture
def layout() -> Layout:
    track = Track(
        "bottom", BOX, 0.06, False, "center", 0.9, lines=((0.8, 0.85), (0.85, 0.9)), avoid=((0.9, 0.0, 1.0, 0.1),)
    )
    return Layout(
        frame_width=1280,
        frame_height=720,
        tracks=(track,),
        crop_region=CropRegion(0.1, 0.75, 0.9, 0.95),
        anchor_type="center",
        anchor_position=0.5,
        vertical_center=0.85,
        confidence=0.88,
        labels={(0, 0): ("in", 0.95), (0, 1): ("out", 0.8)},
        evidence=(Detection(-1, 0, 7.5, "again", 0.8, BOX),),
    )


def caption(start_s: float, end_s: float, text: str, track: str = "bottom") -> Caption:
    return Caption(
        start_s=start_s,
        end_s=end_s,
        start_frame=round(start_s * 25),
        end_frame=round(end_s * 25),
        text=text,
        confidence=0.9,
        bbox=BOX,
        track=track,
        extent_confidence=0.8,
    )


class TestOcrDatabase:
    def test_comes_back_as_written(self, tmp_path, frames):
        databases.write_ocr_database(tmp_path / "raw-ocr.db", frames)
        assert databases.read_ocr_database(tmp_path / "raw-ocr.db") == frames

    def test_has_the_columns_of_the_contract(self, tmp_path, frames):
        path = tmp_path / "raw-ocr.db"
        databases.write_ocr_database(path, frames)
        assert columns(path, "ocr_detections") == [
            "id", "frame_index", "box_index", "timestamp_seconds", "text", "confidence",
            "bbox_left", "bbox_top", "bbox_right", "bbox_bottom",
        ]  # fmt: skip
        assert rows(path, "SELECT frame_index, ocr_status, error FROM frames") == [
            (0, "completed", None),
            (1, "error", "engine failed"),
        ]
        assert rows(path, "SELECT schema_version, generator FROM database_metadata") == [(2, "captionacc_dagster")]

    def test_a_box_cannot_be_stored_twice(self, tmp_path, frames):
        doubled = [FrameOcr(0, 5.0, (frames[0].detections[0],) * 2, None)]
        with pytest.raises(sqlite3.IntegrityError):
            databases.write_ocr_database(tmp_path / "raw-ocr.db", doubled)
        assert list(tmp_path.iterdir()) == []


class TestLayoutDatabase:
    def test_the_places_of_captions_come_back(self, tmp_path, frames, layout):
        databases.write_layout_database(tmp_path / "layout.db", layout, frames)
        found = databases.read_layout_database(tmp_path / "layout.db")
        assert found.tracks == layout.tracks
        assert found.crop_region == layout.crop_region
        assert (found.anchor_type, found.confidence, found.evidence) == ("center", 0.88, layout.evidence)

    def test_kinds_scripts_places_left_out_and_warnings_come_back(self, tmp_path, layout):
        full = replace(
            layout,
            tracks=(replace(layout.tracks[0], kind="lower_third", lang="ru", script="Cyrl"),),
            left_out=(LeftOut(BOX, "fixture", "TV", 0.0, 9.5), LeftOut(BOX, "scene")),
            warnings=WARNINGS,
        )
        databases.write_layout_database(tmp_path / "layout.db", full, [])
        assert databases.read_layout_database(tmp_path / "layout.db") == replace(full, labels={})
        assert databases.read_warnings(tmp_path / "layout.db") == WARNINGS

    def test_counts_as_the_ocr_does(self, tmp_path, frames, layout):
        databases.write_layout_database(tmp_path / "layout.db", layout, frames)
        assert rows(tmp_path / "layout.db", "SELECT COUNT(*) FROM ocr_detections") == [(2,)]

    def test_a_persons_label_counts_before_the_machines(self, tmp_path, frames, layout):
        path = tmp_path / "layout.db"
        databases.write_layout_database(path, layout, frames)
        assert [is_caption for _, is_caption in databases.read_boxes(path)[0]] == [True, False]
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE boxes SET label = 'out' WHERE box_index = 0")
        assert [is_caption for _, is_caption in databases.read_boxes(path)[0]] == [False, False]

    def test_a_video_without_captions(self, tmp_path, layout):
        empty = replace(layout, tracks=(), crop_region=None, labels={}, evidence=())
        databases.write_layout_database(tmp_path / "layout.db", empty, [])
        found = databases.read_layout_database(tmp_path / "layout.db")
        assert found.crop_region is None
        assert found.tracks == ()


class TestExtentsDatabase:
    def test_comes_back_with_labels_counted(self, tmp_path):
        timeline = Timeline(
            captions=(
                caption(0.4, 1.2, "one"),
                replace(
                    caption(1.2, 2.0, "two\nlines"), kind="title", lang="en", script="Latn", unread=True, words=WORDS
                ),
            ),
            pairs=(PairResult(0, 1, "different", 0.1, 0.6, 0.1, 0.1, 0.1),),
            cropped_frame_count=20,
            native_frame_count=50,
            ocr_recognitions=2,
            seconds={},
            warnings=WARNINGS,
        )
        path = tmp_path / "extents.db"
        databases.write_extents_database(path, timeline, RunFacts("run", 3, "2026-01-01T00:00:00Z", 1.5), 10.0)
        assert databases.read_extents_database(path) == list(timeline.captions)
        assert databases.read_pairs(path) == list(timeline.pairs)
        assert databases.read_warnings(path) == WARNINGS
        assert databases.label_counts(timeline.pairs)["different"] == 1
        assert rows(path, "SELECT start_frame_index, end_frame_index, start_ms, end_ms FROM extents") == [
            (4, 12, 400, 1200),
            (12, 20, 1200, 2000),
        ]
        assert rows(path, "SELECT run_id, cropped_frames_version, total_pairs FROM run_metadata") == [("run", 3, 1)]

    @pytest.mark.parametrize(
        ("start_s", "end_s", "frames"),
        [(0.0, 0.1, (0, 1)), (0.41, 1.2, (5, 12)), (0.41, 0.45, (5, 6)), (0.3, 0.6000000001, (3, 6))],
    )
    def test_cropped_frames_of_a_caption(self, start_s, end_s, frames):
        assert databases.cropped_frames_of(caption(start_s, end_s, "x"), 10.0) == frames


class TestCaptionsDatabase:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        path = tmp_path / "captions.db"
        captions_database.merge_captions(path, [caption(0, 1, "a"), caption(2, 3, "b"), caption(4, 5, "c")], 10.0)
        return path

    def test_machine_rows_wait_to_be_read(self, path):
        stored = captions_database.read_captions(path)
        assert [(row.start_ms, row.caption_frame_extents_state, row.caption_ocr_status) for row in stored] == [
            (0, "predicted", "queued"),
            (2000, "predicted", "queued"),
            (4000, "predicted", "queued"),
        ]

    def test_readings_are_recorded_and_a_failure_stays_alone(self, path):
        first, second, third = captions_database.read_captions(path)
        captions_database.write_ocr_updates(
            path,
            [
                OcrUpdate(first.id, "Hello", 0.9),
                OcrUpdate(second.id, "", 0.0, "no text"),
                OcrUpdate(third.id, "End", 0.8),
            ],
        )
        stored = captions_database.read_captions(path)
        assert [(row.caption_ocr, row.caption_ocr_status) for row in stored] == [
            ("Hello", "completed"), ("", "error"), ("End", "completed"),
        ]  # fmt: skip
        assert [c.text for c in captions_database.to_captions(stored, 25.0)] == ["Hello", "End"]

    def test_what_a_person_did_survives_new_extents(self, path, tmp_path):
        first, second, _ = captions_database.read_captions(path)
        with sqlite3.connect(path) as connection:
            connection.execute(
                "UPDATE captions SET caption_frame_extents_state = 'confirmed' WHERE id = ?", (first.id,)
            )
            connection.execute("UPDATE captions SET text = 'typed' WHERE id = ?", (second.id,))
        again = tmp_path / "again.db"
        found = [caption(0.04, 1.04, "A"), caption(2, 3, "B"), caption(6, 7, "new")]
        captions_database.merge_captions(again, found, 10.0, previous=path)
        stored = captions_database.read_captions(again)
        assert [(row.id, row.start_ms, row.text) for row in stored[:2]] == [
            (first.id, 0, None),
            (second.id, 2000, "typed"),
        ]
        assert [(row.start_ms, row.caption_ocr_status) for row in stored[2:]] == [(6000, "queued")]

    def test_kind_language_script_and_words_pass_through(self, tmp_path):
        path = tmp_path / "captions.db"
        found = replace(caption(1.2, 2, "two lines"), kind="title", lang="en", script="Latn", words=WORDS)
        captions_database.merge_captions(path, [found], 10.0, warnings=WARNINGS)
        captions_database.write_ocr_updates(path, [OcrUpdate(1, "two lines", 0.9)])
        assert captions_database.to_captions(captions_database.read_captions(path), 25.0) == [found]
        assert databases.read_warnings(path) == WARNINGS

    @pytest.mark.parametrize(
        ("typed", "words"),
        [("Two lines!", ["Two", "lines!"]), ("two more lines", []), ("two\nlines", ["two", "lines"])],
    )
    def test_a_typed_text_keeps_the_words_times_if_it_has_as_many(self, tmp_path, typed, words):
        path = tmp_path / "captions.db"
        captions_database.merge_captions(path, [replace(caption(1.2, 2, "two lines"), words=WORDS)], 10.0)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE captions SET text = ?", (typed,))
        (found,) = captions_database.to_captions(captions_database.read_captions(path), 25.0)
        assert [word.text for word in found.words] == words
        assert [word.start_s for word in found.words] == [1.2, 1.36][: len(words)]

    def test_an_unread_caption_is_kept_until_it_is_read(self, tmp_path):
        path = tmp_path / "captions.db"
        captions_database.merge_captions(path, [replace(caption(0, 1, ""), unread=True, script="Hang")], 10.0)

        def shown():
            rows = captions_database.read_captions(path)
            return [(c.text, c.unread, c.lang) for c in captions_database.to_captions(rows, 25.0)]

        captions_database.write_ocr_updates(path, [OcrUpdate(1, "", 0.0)])
        assert shown() == [("", True, None)]
        captions_database.write_ocr_updates(path, [OcrUpdate(1, "안녕", 0.9, unread=False, lang="ko")])
        assert shown() == [("안녕", False, "ko")]

    def test_new_extents_replace_what_no_person_touched_in_a_database_of_version_1(self, tmp_path):
        old = databases.decompress(SCHEMA_1 / "captions.db.gz", tmp_path / "old.db")
        found = [replace(caption(0.4, 1.2, "one"), kind="title"), caption(1.2, 2.0, "x")]
        captions_database.merge_captions(tmp_path / "new.db", found, 10.0, old, WARNINGS)
        stored = captions_database.read_captions(tmp_path / "new.db")
        assert [(row.kind, row.text) for row in stored] == [("title", None), ("caption", "Two\nlines")]
        assert databases.read_warnings(tmp_path / "new.db") == WARNINGS

    def test_a_gap_is_shown_to_nobody(self, path):
        first = captions_database.read_captions(path)[0]
        captions_database.write_ocr_updates(path, [OcrUpdate(first.id, "x", 1.0)])
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE captions SET caption_frame_extents_state = 'gap'")
        assert captions_database.to_captions(captions_database.read_captions(path), 25.0) == []

    def test_another_track_is_not_in_the_way(self, path, tmp_path):
        first = captions_database.read_captions(path)[0]
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE captions SET text = 'typed' WHERE id = ?", (first.id,))
        captions_database.merge_captions(tmp_path / "b.db", [caption(0, 1, "top", track="top")], 10.0, previous=path)
        stored = captions_database.read_captions(tmp_path / "b.db")
        assert sorted(row.track for row in stored) == ["bottom", "top"]


class TestFiles:
    def test_gzip_is_the_same_for_the_same_content(self, tmp_path):
        (tmp_path / "a").write_bytes(b"content" * 100)
        one = databases.compress(tmp_path / "a", tmp_path / "one.gz").read_bytes()
        two = databases.compress(tmp_path / "a", tmp_path / "two.gz").read_bytes()
        assert one == two
        assert gzip.decompress(one) == b"content" * 100

    def test_a_cut_off_gzip_is_refused_and_leaves_nothing(self, tmp_path):
        (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
        whole = databases.compress(tmp_path / "a", tmp_path / "a.gz").read_bytes()
        (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DatabaseError, match=r"cut\.gz: not a complete gzip file"):
            databases.decompress(tmp_path / "cut.gz", tmp_path / "cut")
        assert not (tmp_path / "cut").exists()

    @pytest.mark.parametrize("content", [b"no database at all", b""])
    def test_what_is_no_database_is_refused_by_name(self, tmp_path, content):
        (tmp_path / "x.db").write_bytes(content)
        with pytest.raises(DatabaseError, match=r"x\.db: not a captionacc database"):
            databases.read_extents_database(tmp_path / "x.db")

    def test_a_newer_schema_is_refused(self, tmp_path, frames):
        databases.write_ocr_database(tmp_path / "x.db", frames)
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("UPDATE database_metadata SET schema_version = 99")
        with pytest.raises(DatabaseError, match="schema version 99"):
            databases.read_ocr_database(tmp_path / "x.db")


class TestSchemaVersion1:
    """Databases of schema version 1 open in every later version."""

    @pytest.fixture
    def old(self, tmp_path):
        for packed in SCHEMA_1.glob("*.db.gz"):
            databases.decompress(packed, tmp_path / packed.stem)
        return tmp_path

    def test_detections(self, old):
        first, second = databases.read_ocr_database(old / "raw-ocr.db")
        assert [detection.text for detection in first.detections] == ["Hello", "TV"]
        assert (second.detections, second.error) == ((), "engine failed")

    def test_layout(self, old):
        layout = databases.read_layout_database(old / "layout.db")
        (track,) = layout.tracks
        assert (track.name, track.region, track.lines) == ("bottom", BOX, ((0.8, 0.85), (0.85, 0.9)))
        assert (track.kind, track.lang, track.script) == ("caption", None, None)
        assert (layout.left_out, layout.warnings) == ((), ())
        assert layout.crop_region == CropRegion(0.1, 0.75, 0.9, 0.95)
        assert [is_caption for _, is_caption in databases.read_boxes(old / "layout.db")[0]] == [True, False]

    def test_extents(self, old):
        path = old / "caption_frame_extents_v1.db"
        found = databases.read_extents_database(path)
        assert [(c.start_ms, c.end_ms, c.text) for c in found] == [
            (400, 1200, "one"),
            (1200, 2000, "two\nlines"),
            (3000, 4000, "three"),
        ]
        assert {(c.kind, c.lang, c.script, c.unread, c.words) for c in found} == {("caption", None, None, False, ())}
        assert [pair.label for pair in databases.read_pairs(path)] == ["different"]

    def test_captions(self, old):
        stored = captions_database.read_captions(old / "captions.db")
        assert [(row.shown_text, row.caption_frame_extents_state) for row in stored] == [
            ("one", "predicted"),
            ("Two\nlines", "confirmed"),
            ("", "predicted"),
        ]
        captions = captions_database.to_captions(stored, 25.0)
        assert [(c.text, c.kind, c.words) for c in captions] == [("one", "caption", ()), ("Two\nlines", "caption", ())]

    def test_reading_does_not_change_a_file(self, old):
        path = old / "captions.db"
        before = path.read_bytes()
        captions_database.read_captions(path)
        assert path.read_bytes() == before
        captions_database.write_ocr_updates(path, [OcrUpdate(3, "three", 0.9, unread=False)])
        assert rows(path, "SELECT schema_version FROM database_metadata") == [(2,)]
        assert captions_database.read_captions(path)[2].shown_text == "three"

    @pytest.mark.parametrize(("name", "schema"), [*databases.SCHEMAS.items(), *captions_database.SCHEMAS.items()])
    def test_an_upgraded_file_has_the_columns_of_a_new_one(self, old, tmp_path, name, schema):
        with databases.new_database(tmp_path / "new.db", schema):
            pass
        path = old / name.replace("{N}", "1")
        with databases.change_database(path):
            pass
        # Created by the first edit, and by the first processing that removes captions.
        later = "('edits', 'captions_before', 'sqlite_sequence')"
        query = f"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN {later} ORDER BY name"
        assert rows(path, query) == rows(tmp_path / "new.db", query)
        for (table,) in rows(path, query):
            assert set(columns(path, table)) == set(columns(tmp_path / "new.db", table))


class TestSchemaVersion2:
    """The same for version 2: kinds, languages, words, places left out, warnings, and the journal of edits."""

    @pytest.fixture
    def old(self, tmp_path):
        for packed in SCHEMA_2.glob("*.db.gz"):
            databases.decompress(packed, tmp_path / packed.stem)
        return tmp_path

    def test_the_present_version_has_a_file_of_each_kind(self):
        kept = Path(__file__).with_name(f"schema_{databases.SCHEMA_VERSION}")
        names = [*databases.SCHEMAS, *captions_database.SCHEMAS]
        assert {path.name for path in kept.iterdir()} == {f"{name.replace('{N}', '1')}.gz" for name in names}
        for packed in kept.iterdir():
            with sqlite3.connect(":memory:") as connection:
                connection.deserialize(gzip.decompress(packed.read_bytes()))
                stored = connection.execute("SELECT schema_version FROM database_metadata").fetchall()
            assert stored == [(databases.SCHEMA_VERSION,)], packed.name

    def test_detections(self, old, frames):
        assert databases.read_ocr_database(old / "raw-ocr.db") == frames

    def test_layout(self, old, layout):
        found = databases.read_layout_database(old / "layout.db")
        [track] = found.tracks
        assert (track.kind, track.lang, track.script) == ("lower_third", "ru", "Cyrl")
        assert found.left_out == (LeftOut(BOX, "fixture", "TV", 0.0, 9.5), LeftOut(BOX, "scene"))
        assert (found.crop_region, found.evidence) == (layout.crop_region, layout.evidence)
        assert databases.read_warnings(old / "layout.db") == found.warnings == WARNINGS

    def test_extents(self, old):
        path = old / "caption_frame_extents_v1.db"
        found = databases.read_extents_database(path)
        assert [(c.text, c.kind, c.lang, c.script, c.unread, c.words) for c in found] == [
            ("one", "caption", None, None, False, ()),
            ("two\nlines", "title", "en", "Latn", False, WORDS),
            ("", "caption", None, "Hang", True, ()),
        ]
        assert databases.read_warnings(path) == WARNINGS

    def test_captions_and_their_edits(self, old):
        path = old / "captions.db"
        before = path.read_bytes()
        stored = captions_database.read_captions(path)
        assert [(row.shown_text, row.kind, row.caption_frame_extents_state, row.unread) for row in stored] == [
            ("one", "caption", "predicted", False),
            ("Two\nlines", "title", "confirmed", False),
            ("", "caption", "predicted", True),
        ]
        assert [len(row.words) for row in stored] == [0, 2, 0]
        assert path.read_bytes() == before
        with edit_captions(path, 10.0) as editor:
            editor.undo()
        assert captions_database.read_captions(path)[1].shown_text == "two\nlines"
