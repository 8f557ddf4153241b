"""The SQLite files of a video: detections, layout, and caption extents.

Plain ``sqlite3`` opens all of them. Confidences and coordinates are 0..1, origin top left. A file is written under a
temporary name and renamed when complete, so that no reader sees a partial file.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from captionacc_dagster import __version__
from captionacc_dagster.captioning.captions import LABELS, Caption, CaptionWarning, PairResult, Timeline
from captionacc_dagster.captioning.files.word_json import dump_words, load_words
from captionacc_dagster.captioning.geometry import BBox, CropRegion
from captionacc_dagster.captioning.layout.model import Detection, FrameOcr, Layout, LeftOut, Track

SCHEMA_VERSION = 2
GENERATOR = "captionacc_dagster"


class DatabaseError(Exception):
    """A file is not the expected database; the message names the file and the reason."""


@contextmanager
def new_database(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Create a database at ``path``; the file appears only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(part)) as connection:
            connection.executescript(schema)
            connection.execute(
                "CREATE TABLE database_metadata(schema_version INTEGER NOT NULL, created_at TEXT NOT NULL,"
                " generator TEXT NOT NULL)"
            )
            connection.execute(
                "INSERT INTO database_metadata VALUES (?, ?, ?)", (SCHEMA_VERSION, now_text(), GENERATOR)
            )
            yield connection
            connection.commit()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, with rows by column name.

    A database of an older schema version is read as if it were upgraded; the file does not change.

    Raises:
        DatabaseError: not a database, or one of an unknown schema version.
    """
    with closing(_connect(path, "ro")) as connection:
        version = _schema_version(connection, path)
        if version == SCHEMA_VERSION:
            yield connection
            return
        with closing(sqlite3.connect(":memory:")) as copy:
            connection.backup(copy)
            copy.row_factory = sqlite3.Row
            _upgrade(copy, version)
            yield copy


@contextmanager
def change_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for changes, with rows by column name, and upgrade it to the current schema version.

    The upgrade and the changes are one transaction: an error inside the block leaves the file unchanged.

    Raises:
        DatabaseError: not a database, or one of an unknown schema version.
    """
    with closing(_connect(path, "rw")) as connection:
        version = _schema_version(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            _upgrade(connection, version)
            yield connection
            connection.commit()
        finally:
            connection.rollback()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    if not path.is_file():
        raise DatabaseError(f"{path.name}: no such file")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        row = connection.execute("SELECT schema_version FROM database_metadata").fetchone()
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{path.name}: not a captionacc database ({error})") from None
    version = row and row[0]
    if version not in range(1, SCHEMA_VERSION + 1):
        raise DatabaseError(
            f"{path.name}: schema version {version}, but this program knows versions 1 to {SCHEMA_VERSION}; "
            "install a newer version of captionacc"
        )
    return version


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database to the current schema version, inside the caller's transaction."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for step in range(version, SCHEMA_VERSION):
        for table, statements in _UPGRADES[step].items():
            if table in tables:
                for statement in statements:
                    connection.execute(statement)
    connection.execute("UPDATE database_metadata SET schema_version = ?", (SCHEMA_VERSION,))


# What a caption says besides its text and times; the same in every table of captions. `words` is a JSON list.
TEXT_FACTS_SCHEMA = """kind TEXT NOT NULL DEFAULT 'caption', lang TEXT, script TEXT,
    unread INTEGER NOT NULL DEFAULT 0, words TEXT NOT NULL DEFAULT '[]'"""

WARNINGS_SCHEMA = """CREATE TABLE warnings(
    id INTEGER PRIMARY KEY, code TEXT NOT NULL, message TEXT NOT NULL, start_seconds REAL, end_seconds REAL);
"""

_LEFT_OUT_SCHEMA = """CREATE TABLE left_out(
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL, start_seconds REAL, end_seconds REAL,
    bbox_left REAL NOT NULL, bbox_top REAL NOT NULL, bbox_right REAL NOT NULL, bbox_bottom REAL NOT NULL);
"""

# By schema version and by a table that the database contains, the statements that lead to the next version.
_UPGRADES: Final[dict[int, dict[str, tuple[str, ...]]]] = {
    1: {
        **{
            table: (
                f"ALTER TABLE {table} ADD COLUMN kind TEXT NOT NULL DEFAULT 'caption'",
                f"ALTER TABLE {table} ADD COLUMN lang TEXT",
                f"ALTER TABLE {table} ADD COLUMN script TEXT",
                f"ALTER TABLE {table} ADD COLUMN unread INTEGER NOT NULL DEFAULT 0",
                f"ALTER TABLE {table} ADD COLUMN words TEXT NOT NULL DEFAULT '[]'",
                WARNINGS_SCHEMA,
            )
            for table in ("extents", "captions")
        },
        "tracks": (
            "ALTER TABLE tracks ADD COLUMN kind TEXT NOT NULL DEFAULT 'caption'",
            "ALTER TABLE tracks ADD COLUMN lang TEXT",
            "ALTER TABLE tracks ADD COLUMN script TEXT",
            WARNINGS_SCHEMA,
            _LEFT_OUT_SCHEMA,
        ),
    }
}


def compress(path: Path, target: Path) -> Path:
    """Gzip ``path`` into ``target`` and return ``target``; equal content gives equal bytes."""
    with path.open("rb") as source, target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    return target


def decompress(path: Path, target: Path) -> Path:
    """Decompress what :func:`compress` wrote, and return ``target``.

    Raises:
        DatabaseError: the file is not gzip, or is truncated.
    """
    try:
        with gzip.open(path, "rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (OSError, EOFError) as error:
        target.unlink(missing_ok=True)
        raise DatabaseError(f"{path.name}: not a complete gzip file ({error})") from None
    return target


def now_text() -> str:
    """Return the current time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- raw-ocr.db -------------------------------------------------------------------------------------------------

_OCR_SCHEMA = """
CREATE TABLE ocr_detections(
    id INTEGER PRIMARY KEY, frame_index INTEGER NOT NULL, box_index INTEGER NOT NULL,
    timestamp_seconds REAL NOT NULL, text TEXT NOT NULL, confidence REAL NOT NULL,
    bbox_left REAL NOT NULL, bbox_top REAL NOT NULL, bbox_right REAL NOT NULL, bbox_bottom REAL NOT NULL,
    UNIQUE(frame_index, box_index));
CREATE TABLE frames(
    frame_index INTEGER PRIMARY KEY, timestamp_seconds REAL NOT NULL,
    ocr_status TEXT NOT NULL CHECK (ocr_status IN ('completed', 'error')), error TEXT);
"""


def write_ocr_database(path: Path, frames: Sequence[FrameOcr]) -> None:
    """Write ``raw-ocr.db``: the detections of every full frame, and the frames whose OCR failed."""
    with new_database(path, _OCR_SCHEMA) as connection:
        connection.executemany(
            "INSERT INTO frames VALUES (?, ?, ?, ?)",
            [(f.frame_index, f.timestamp_s, "completed" if f.error is None else "error", f.error) for f in frames],
        )
        connection.executemany(
            "INSERT INTO ocr_detections(frame_index, box_index, timestamp_seconds, text, confidence,"
            " bbox_left, bbox_top, bbox_right, bbox_bottom) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (d.frame_index, d.box_index, d.timestamp_s, d.text, d.confidence, *d.bbox.as_tuple())
                for frame in frames
                for d in frame.detections
            ],
        )


def read_ocr_database(path: Path) -> list[FrameOcr]:
    """Return the frames of ``raw-ocr.db`` in order."""
    with open_database(path) as connection:
        boxes: dict[int, list[Detection]] = {}
        for row in connection.execute("SELECT * FROM ocr_detections ORDER BY frame_index, box_index"):
            boxes.setdefault(row["frame_index"], []).append(
                Detection(
                    row["frame_index"],
                    row["box_index"],
                    row["timestamp_seconds"],
                    row["text"],
                    row["confidence"],
                    _bbox(row),
                )
            )
        return [
            FrameOcr(
                row["frame_index"], row["timestamp_seconds"], tuple(boxes.get(row["frame_index"], ())), row["error"]
            )
            for row in connection.execute("SELECT * FROM frames ORDER BY frame_index")
        ]


def _bbox(row: sqlite3.Row) -> BBox:
    return BBox(row["bbox_left"], row["bbox_top"], row["bbox_right"], row["bbox_bottom"])


# --- layout.db --------------------------------------------------------------------------------------------------

_LAYOUT_TABLES = """
CREATE TABLE boxes(
    id INTEGER PRIMARY KEY, frame_index INTEGER NOT NULL, box_index INTEGER NOT NULL,
    timestamp_seconds REAL NOT NULL, bbox_left REAL NOT NULL, bbox_top REAL NOT NULL, bbox_right REAL NOT NULL,
    bbox_bottom REAL NOT NULL, text TEXT NOT NULL, confidence REAL NOT NULL,
    label TEXT CHECK (label IN ('in', 'out')), label_updated_at TEXT,
    predicted_label TEXT CHECK (predicted_label IN ('in', 'out')), predicted_confidence REAL,
    UNIQUE(frame_index, box_index));
-- Detections in the samples that the layout search takes between the full frames.
CREATE TABLE evidence(
    id INTEGER PRIMARY KEY, timestamp_seconds REAL NOT NULL, bbox_left REAL NOT NULL, bbox_top REAL NOT NULL,
    bbox_right REAL NOT NULL, bbox_bottom REAL NOT NULL, text TEXT NOT NULL, confidence REAL NOT NULL);
CREATE TABLE tracks(
    name TEXT PRIMARY KEY, bbox_left REAL NOT NULL, bbox_top REAL NOT NULL, bbox_right REAL NOT NULL,
    bbox_bottom REAL NOT NULL, details TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'caption', lang TEXT, script TEXT);
CREATE TABLE layout_config(
    id INTEGER PRIMARY KEY CHECK (id = 1), frame_width INTEGER NOT NULL, frame_height INTEGER NOT NULL,
    crop_left REAL, crop_top REAL, crop_right REAL, crop_bottom REAL,
    anchor_type TEXT CHECK (anchor_type IN ('left', 'center', 'right')), anchor_position REAL,
    vertical_center REAL, confidence REAL NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE preferences(id INTEGER PRIMARY KEY CHECK (id = 1), layout_approved INTEGER NOT NULL DEFAULT 0);
CREATE VIEW ocr_detections AS
    SELECT id, frame_index, box_index, timestamp_seconds, text, confidence,
           bbox_left, bbox_top, bbox_right, bbox_bottom FROM boxes;
-- Places with text that are not followed as captions.
"""
_LAYOUT_SCHEMA = _LAYOUT_TABLES + _LEFT_OUT_SCHEMA + WARNINGS_SCHEMA


def write_layout_database(path: Path, layout: Layout, frames: Sequence[FrameOcr]) -> None:
    """Write ``layout.db``: every box of the full frames with its label, and where captions appear."""
    region = layout.crop_region.as_tuple() if layout.crop_region else (None,) * 4
    with new_database(path, _LAYOUT_SCHEMA) as connection:
        connection.executemany(
            "INSERT INTO boxes(frame_index, box_index, timestamp_seconds, bbox_left, bbox_top, bbox_right, bbox_bottom,"
            " text, confidence, predicted_label, predicted_confidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (d.frame_index, d.box_index, d.timestamp_s, *d.bbox.as_tuple(), d.text, d.confidence, *layout.label(d))
                for frame in frames
                for d in frame.detections
            ],
        )
        connection.executemany(
            "INSERT INTO evidence(timestamp_seconds, bbox_left, bbox_top, bbox_right, bbox_bottom, text, confidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(d.timestamp_s, *d.bbox.as_tuple(), d.text, d.confidence) for d in layout.evidence],
        )
        connection.executemany(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (track.name, *track.region.as_tuple(), _track_details(track), track.kind, track.lang, track.script)
                for track in layout.tracks
            ],
        )
        connection.executemany(
            "INSERT INTO left_out(kind, text, start_seconds, end_seconds, bbox_left, bbox_top, bbox_right, bbox_bottom)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(item.kind, item.text, item.start_s, item.end_s, *item.bbox.as_tuple()) for item in layout.left_out],
        )
        insert_warnings(connection, layout.warnings)
        connection.execute(
            "INSERT INTO layout_config VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layout.frame_width,
                layout.frame_height,
                *region,
                layout.anchor_type,
                layout.anchor_position,
                layout.vertical_center,
                layout.confidence,
                now_text(),
            ),
        )
        connection.execute("INSERT INTO preferences VALUES (1, 0)")


def _track_details(track: Track) -> str:
    """Return the fields of a track that have no column of their own, as JSON."""
    return json.dumps({k: v for k, v in asdict(track).items() if k not in _TRACK_COLUMNS}, sort_keys=True)


_TRACK_COLUMNS = ("name", "region", "kind", "lang", "script")


def _as_tuples(value: Any) -> Any:
    """Return a JSON value with lists as tuples."""
    if isinstance(value, dict):
        return {name: _as_tuples(item) for name, item in value.items()}
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def read_layout_database(path: Path) -> Layout:
    """Return the layout without the labels of single boxes; see `read_boxes`.

    Raises:
        DatabaseError: not a layout database.
    """
    with open_database(path) as connection:
        config = connection.execute("SELECT * FROM layout_config").fetchone()
        if config is None:
            raise DatabaseError(f"{path.name}: layout_config has no row")
        tracks = tuple(
            Track(
                name=row["name"],
                region=_bbox(row),
                kind=row["kind"],
                lang=row["lang"],
                script=row["script"],
                **_as_tuples({k: v for k, v in json.loads(row["details"]).items() if k not in _TRACK_COLUMNS}),
            )
            for row in connection.execute("SELECT * FROM tracks ORDER BY rowid")
        )
        evidence = tuple(
            Detection(-1, number, row["timestamp_seconds"], row["text"], row["confidence"], _bbox(row))
            for number, row in enumerate(connection.execute("SELECT * FROM evidence ORDER BY id"))
        )
        left_out = tuple(
            LeftOut(_bbox(row), row["kind"], row["text"], row["start_seconds"], row["end_seconds"])
            for row in connection.execute("SELECT * FROM left_out ORDER BY id")
        )
        warnings = _warnings(connection)
    region = tuple(config[f"crop_{side}"] for side in ("left", "top", "right", "bottom"))
    return Layout(
        frame_width=config["frame_width"],
        frame_height=config["frame_height"],
        tracks=tracks,
        crop_region=None if region[0] is None else CropRegion(*region),
        anchor_type=config["anchor_type"],
        anchor_position=config["anchor_position"],
        vertical_center=config["vertical_center"],
        confidence=config["confidence"],
        labels={},
        evidence=evidence,
        left_out=left_out,
        warnings=warnings,
    )


def insert_warnings(connection: sqlite3.Connection, warnings: Iterable[CaptionWarning]) -> None:
    """Add warnings to the table ``warnings``."""
    connection.executemany(
        "INSERT INTO warnings(code, message, start_seconds, end_seconds) VALUES (?, ?, ?, ?)",
        [(warning.code, warning.message, warning.start_s, warning.end_s) for warning in warnings],
    )


def read_warnings(path: Path) -> tuple[CaptionWarning, ...]:
    """Return the warnings of ``layout.db``, ``caption_frame_extents_v{N}.db``, or ``captions.db``.

    Raises:
        DatabaseError: not a database.
    """
    with open_database(path) as connection:
        return _warnings(connection)


def _warnings(connection: sqlite3.Connection) -> tuple[CaptionWarning, ...]:
    return tuple(
        CaptionWarning(row["code"], row["message"], row["start_seconds"], row["end_seconds"])
        for row in connection.execute("SELECT * FROM warnings ORDER BY id")
    )


def read_boxes(path: Path) -> dict[int, list[tuple[BBox, bool]]]:
    """Return the boxes of each full frame by its index, and whether each is a caption; a person's label wins."""
    boxes: dict[int, list[tuple[BBox, bool]]] = {}
    with open_database(path) as connection:
        for row in connection.execute(
            "SELECT *, coalesce(label, predicted_label) AS label_now FROM boxes ORDER BY frame_index, box_index"
        ):
            boxes.setdefault(row["frame_index"], []).append((_bbox(row), row["label_now"] == "in"))
    return boxes


# --- caption_frame_extents_v{N}.db ------------------------------------------------------------------------------

_EXTENTS_SCHEMA = f"""
CREATE TABLE run_metadata(
    run_id TEXT NOT NULL, cropped_frames_version INTEGER NOT NULL, model_version TEXT NOT NULL,
    started_at TEXT NOT NULL, completed_at TEXT NOT NULL, total_pairs INTEGER NOT NULL,
    processing_time_seconds REAL NOT NULL);
CREATE TABLE pair_results(
    id INTEGER PRIMARY KEY, frame1_index INTEGER NOT NULL, frame2_index INTEGER NOT NULL,
    predicted_label TEXT NOT NULL, confidence REAL NOT NULL, prob_same REAL NOT NULL, prob_different REAL NOT NULL,
    prob_empty_empty REAL NOT NULL, prob_empty_valid REAL NOT NULL, prob_valid_empty REAL NOT NULL,
    UNIQUE(frame1_index, frame2_index));
-- Frame indices count cropped frames; native_* count the frames of the video.
CREATE TABLE extents(
    id INTEGER PRIMARY KEY, start_frame_index INTEGER NOT NULL, end_frame_index INTEGER NOT NULL,
    start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, confidence REAL NOT NULL,
    native_start_frame INTEGER NOT NULL, native_end_frame INTEGER NOT NULL, track TEXT NOT NULL,
    bbox_left REAL NOT NULL, bbox_top REAL NOT NULL, bbox_right REAL NOT NULL, bbox_bottom REAL NOT NULL,
    text TEXT NOT NULL, text_confidence REAL NOT NULL, {TEXT_FACTS_SCHEMA});
{WARNINGS_SCHEMA}"""


# The SQL of each file, by file name.
SCHEMAS: Final = {
    "raw-ocr.db": _OCR_SCHEMA,
    "layout.db": _LAYOUT_SCHEMA,
    "caption_frame_extents_v{N}.db": _EXTENTS_SCHEMA,
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts about the run that writes an extents database."""

    run_id: str
    version: int
    started_at: str
    processing_seconds: float


def write_extents_database(path: Path, timeline: Timeline, run: RunFacts, frame_rate: float) -> None:
    """Write ``caption_frame_extents_v{N}.db``: the label of every pair of cropped frames, and every caption."""
    with new_database(path, _EXTENTS_SCHEMA) as connection:
        connection.execute(
            "INSERT INTO run_metadata VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                run.run_id,
                run.version,
                f"{GENERATOR} {__version__}",
                run.started_at,
                now_text(),
                len(timeline.pairs),
                run.processing_seconds,
            ),
        )
        connection.executemany(
            "INSERT INTO pair_results(frame1_index, frame2_index, predicted_label, confidence, prob_same,"
            " prob_different, prob_empty_empty, prob_empty_valid, prob_valid_empty) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    pair.frame1_index,
                    pair.frame2_index,
                    pair.label,
                    pair.confidence,
                    *(getattr(pair, f"prob_{label}") for label in LABELS),
                )
                for pair in timeline.pairs
            ],
        )
        connection.executemany(
            "INSERT INTO extents(start_frame_index, end_frame_index, start_ms, end_ms, confidence,"
            " native_start_frame, native_end_frame, track, bbox_left, bbox_top, bbox_right, bbox_bottom, text,"
            " text_confidence, kind, lang, script, unread, words)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *cropped_frames_of(caption, frame_rate),
                    caption.start_ms,
                    caption.end_ms,
                    caption.extent_confidence,
                    caption.start_frame,
                    caption.end_frame,
                    caption.track,
                    *caption.bbox.as_tuple(),
                    caption.text,
                    caption.confidence,
                    *text_facts(caption),
                )
                for caption in timeline.captions
            ],
        )
        insert_warnings(connection, timeline.warnings)


def text_facts(caption: Caption) -> tuple[str, str | None, str | None, int, str]:
    """Return the values of a caption's columns ``kind, lang, script, unread, words``."""
    return caption.kind, caption.lang, caption.script, int(caption.unread), dump_words(caption.words)


def cropped_frames_of(caption: Caption, frame_rate: float) -> tuple[int, int]:
    """Return the half-open range of cropped frames that shows a caption; at least one frame.

    Cropped frame ``i`` shows the picture at ``i / frame_rate`` seconds.
    """
    start = math.ceil(caption.start_s * frame_rate - 1e-6)
    return start, max(start + 1, math.ceil(caption.end_s * frame_rate - 1e-6))


def read_extents_database(path: Path) -> list[Caption]:
    """Return the captions of ``caption_frame_extents_v{N}.db`` in order of time."""
    with open_database(path) as connection:
        return [
            Caption(
                start_s=row["start_ms"] / 1000,
                end_s=row["end_ms"] / 1000,
                start_frame=row["native_start_frame"],
                end_frame=row["native_end_frame"],
                text=row["text"],
                confidence=row["text_confidence"],
                bbox=_bbox(row),
                track=row["track"],
                extent_confidence=row["confidence"],
                kind=row["kind"],
                lang=row["lang"],
                script=row["script"],
                unread=bool(row["unread"]),
                words=load_words(row["words"]),
            )
            for row in connection.execute("SELECT * FROM extents ORDER BY start_ms, end_ms, bbox_top")
        ]


def read_pairs(path: Path) -> list[PairResult]:
    """Return the labels of the pairs of cropped frames, in order."""
    with open_database(path) as connection:
        return [
            PairResult(
                row["frame1_index"],
                row["frame2_index"],
                row["predicted_label"],
                *(row[f"prob_{label}"] for label in LABELS),
            )
            for row in connection.execute("SELECT * FROM pair_results ORDER BY frame1_index")
        ]


def label_counts(pairs: Iterable[PairResult]) -> dict[str, int]:
    """Return the number of pairs of each label."""
    counts: dict[str, int] = dict.fromkeys(LABELS, 0)
    for pair in pairs:
        counts[pair.label] += 1
    return counts
