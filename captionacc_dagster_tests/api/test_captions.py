"""OcrUpdate and editing captions over HTTP, beside the machine and beside others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fastapi.testclient import TestClient

from captionacc_dagster.captioning.files import databases
from captionacc_dagster.captioning.files.captions_database import OcrUpdate, StoredCaption, write_ocr_updates
from captionacc_dagster.captioning.files.subtitles import FORMATS, parse_subtitles
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.subtitle_files import video_keys
from captionacc_dagster.storage.keys import VideoKeys
from captionacc_dagster_tests.api.dagster_stand_in import StandIn
from captionacc_dagster_tests.api.world import TEXTS, Person, World

pytestmark = pytest.mark.integration


class Desk:
    """A person at work on a video."""

    def __init__(self, client: TestClient, world: World, **changes: Any) -> None:
        self.client = client
        self.world = world
        self.person: Person = world.person(world.tenant(), role="member")
        self.video: Video = world.processed_video(self.person.tenant_id, **changes)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        url = f"/videos/{self.video.id}{path}"
        return self.client.request(method, url, json=body, headers={**self.person.headers, **headers})

    def rows(self) -> dict[int, StoredCaption]:
        return {row.id: row for row in self.world.captions(self.video)}

    def current(self) -> Video:
        return self.world.catalog.get_video_metadata(self.video.id)


@pytest.fixture
def desk(stand_in_client: TestClient, world: World) -> Desk:
    return Desk(stand_in_client, world)


def test_captions_are_read_in_order(desk: Desk) -> None:
    answer = desk.call("GET", "/captions")

    captions = answer.json()["captions"]
    assert answer.status_code == 200
    assert [caption["text"] for caption in captions] == list(TEXTS)
    assert captions[0] | {"updated_at": ""} == {
        "id": 1,
        "start_ms": 1000,
        "end_ms": 1800,
        "start_frame_index": 10,
        "end_frame_index": 18,
        "text": "Hello there.",
        "typed_text": None,
        "ocr_text": "Hello there.",
        "ocr_confidence": 0.9,
        "ocr_status": "completed",
        "ocr_error": None,
        "extents_confidence": 1.0,
        "state": "predicted",
        "text_pending": False,
        "text_status": None,
        "text_notes": None,
        "track": "bottom",
        "kind": "caption",
        "position": "bottom",
        "lang": None,
        "script": None,
        "unread": False,
        "words": [],
        "updated_at": "",
    }


def test_an_unread_caption_says_its_script_until_a_person_types_it(desk: Desk, world: World) -> None:
    key = VideoKeys(str(desk.video.tenant_id), str(desk.video.id)).captions_db
    with TemporaryDirectory() as folder:
        packed = world.store.download_file(key, Path(folder) / "captions.db.gz")
        path = databases.decompress(packed, Path(folder) / "captions.db")
        write_ocr_updates(path, [OcrUpdate(1, "", 0.0, unread=True, lang="ko", script="Hang")])
        world.store.publish(key, databases.compress(path, Path(folder) / "changed.db.gz"))

    def first() -> dict[str, Any]:
        return desk.call("GET", "/captions").json()["captions"][0]

    assert [first()[name] for name in ("text", "lang", "script", "unread")] == ["", "ko", "Hang", True]
    desk.call("PATCH", "/captions/1", {"text": "안녕하세요"})
    assert (first()["text"], first()["unread"]) == ("안녕하세요", False)


@pytest.mark.parametrize("kind", FORMATS)
def test_subtitles_are_read_in_every_format(desk: Desk, kind: Any) -> None:
    answer = desk.call("GET", f"/subtitles.{kind}")

    cues = parse_subtitles(answer.text, kind)
    assert [cue.text for cue in cues] == list(TEXTS)
    assert [cue.start_s for cue in cues] == [1.0, 2.0, 3.0, 4.0]
    assert f'filename="captions.{kind}"' in answer.headers["Content-Disposition"]
    assert (
        answer.headers["Content-Type"].partition(";")[0]
        == {
            "srt": "application/x-subrip",
            "vtt": "text/vtt",
            "ass": "text/x-ssa",
            "json": "application/json",
        }[kind]
    )


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85", "\x9b"])
def test_control_characters_are_refused(desk: Desk, character: str) -> None:
    for field in ("text", "text_notes"):
        assert desk.call("PATCH", "/captions/1", {field: f"red {character}31m"}).status_code == 422
    assert desk.call("PATCH", "/captions/1", {"text": "two\nlines\tand a tab"}).status_code == 200


def test_an_unknown_format_is_refused(desk: Desk) -> None:
    assert desk.call("GET", "/subtitles.exe").status_code == 422


@pytest.mark.parametrize("path", ["/captions", "/subtitles.vtt"])
def test_what_is_known_is_not_sent_again(desk: Desk, path: str) -> None:
    first = desk.call("GET", path)

    again = desk.call("GET", path, **{"If-None-Match": first.headers["ETag"]})
    desk.call("PATCH", "/captions/1", {"text": "changed"})
    changed = desk.call("GET", path, **{"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200
    assert "changed" in changed.text
    assert changed.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-5", slice(0, 6)),
        ("bytes=7-", slice(7, None)),
        ("bytes=-9", slice(-9, None)),
        ("bytes=3-99999", slice(3, None)),
        ("bytes=-99999", slice(0, None)),
    ],
)
def test_a_part_of_a_file(desk: Desk, asked: str, part: slice) -> None:
    whole = desk.call("GET", "/subtitles.srt").content

    answer = desk.call("GET", "/subtitles.srt", Range=asked)

    first, last, size = part.indices(len(whole))[0], part.indices(len(whole))[1] - 1, len(whole)
    assert (answer.status_code, answer.content) == (206, whole[part])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=99999-"}, 416),
        ({"Range": "bytes=9-3"}, 416),
        ({"Range": "bytes=-0"}, 416),
        ({"Range": "bytes=0-1,3-4"}, 200),
        ({"Range": "lines=0-1"}, 200),
        ({"Range": "bytes=-"}, 200),
        ({"Range": "bytes=0-5", "If-Range": '"old"'}, 200),
    ],
)
def test_other_ranges(desk: Desk, headers: dict[str, str], status: int) -> None:
    assert desk.call("GET", "/subtitles.srt", **headers).status_code == status


def test_a_video_without_captions_says_so(stand_in_client: TestClient, world: World) -> None:
    person = world.person(world.tenant())
    video = world.video(person.tenant_id)

    for method, path, body in [
        ("GET", "/captions", None),
        ("GET", "/subtitles.srt", None),
        ("PATCH", "/captions/1", {"text": "a"}),
        ("POST", "/captions/1/request-ocr", None),
    ]:
        answer = stand_in_client.request(method, f"/videos/{video.id}{path}", json=body, headers=person.headers)
        assert (answer.status_code, answer.json()["detail"][:30]) == (404, "this video has no captions yet")
    assert world.catalog.list_locks() == []


def test_a_corrected_text_is_in_every_file(desk: Desk, dagster: StandIn) -> None:
    answer = desk.call("PATCH", "/captions/2", {"text": "How are you?\nReally?"})

    assert answer.status_code == 200
    assert answer.json()["ocr_job"] is None
    (caption,) = answer.json()["captions"]
    assert (caption["text"], caption["state"]) == ("How are you?\nReally?", "confirmed")
    keys = VideoKeys(str(desk.video.tenant_id), str(desk.video.id))
    for kind in FORMATS:
        stored = desk.world.store.download_to_bytes(keys.subtitles(kind))
        assert stored == desk.call("GET", f"/subtitles.{kind}").content
        assert "Really?" in stored.decode()
    assert dagster.questions == []


def test_corrected_times_release_exactly_that_reading(desk: Desk, dagster: StandIn) -> None:
    answer = desk.call("PATCH", "/captions/3", {"start_ms": 2950, "end_ms": 3850})

    job = answer.json()["ocr_job"]
    (run,) = dagster.runs
    assert job == {"jobId": run["runId"], "status": "launched"}
    assert run["job"] == "caption_ocr"
    assert run["config"] == {"ops": {"captions_db": {"config": {"caption_ids": [3]}}}}
    # Nobody holds the lock any more: the run needs it.
    assert desk.world.catalog.list_locks() == []


def test_split_merge_add_confirm_delete(desk: Desk, dagster: StandIn) -> None:
    split = desk.call("POST", "/captions/1/split", {"at_ms": 1400, "texts": ["Hello", "there."]})
    merged = desk.call("POST", "/captions/merge", {"caption_ids": [2, 3], "text": "How are you? Fine."})
    added = desk.call("POST", "/captions", {"start_ms": 9000, "end_ms": 9500, "text": "(music)"})
    confirmed = desk.call("POST", "/captions/confirm", {"caption_ids": [4]})
    deleted = desk.call("DELETE", "/captions/4")

    assert [answer.status_code for answer in (split, merged, added, confirmed, deleted)] == [200, 200, 201, 200, 200]
    assert [caption["text"] for caption in split.json()["captions"]] == ["Hello", "there."]
    texts = [caption["text"] for caption in desk.call("GET", "/captions").json()["captions"]]
    assert texts == ["Hello", "there.", "How are you? Fine.", "(music)"]
    assert desk.current().caption_count == 4
    gaps = desk.call("GET", "/captions?state=gap").json()["captions"]
    assert [caption["id"] for caption in gaps] == [4]
    assert dagster.questions == []


def test_texts_that_were_done_are_checked_again(stand_in_client: TestClient, world: World) -> None:
    desk = Desk(stand_in_client, world, boundaries_status="done", text_status="done")

    desk.call("PATCH", "/captions/1", {"text": "typed"})
    assert desk.current().text_status == "done"
    desk.call("PATCH", "/captions/1", {"end_ms": 1850})
    assert desk.current().text_status == "review"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/captions/1", {"start_ms": -1}),
        ("PATCH", "/captions/1", {"start_ms": 1.5}),
        ("PATCH", "/captions/1", {"start_ms": "1"}),
        ("PATCH", "/captions/1", {"start_ms": True}),
        ("PATCH", "/captions/1", {"start_ms": 5000, "end_ms": 4000}),
        ("PATCH", "/captions/1", {"text": ""}),
        ("PATCH", "/captions/1", {"text": "  "}),
        ("PATCH", "/captions/1", {"text": "a\u0000b"}),
        ("PATCH", "/captions/1", {"text": "x" * 5001}),
        ("PATCH", "/captions/1", {"state": "deleted"}),
        ("PATCH", "/captions/1", {"caption_ocr": "forged"}),
        ("PATCH", "/captions/0", {"text": "a"}),
        ("PATCH", f"/captions/{1 << 80}", {"text": "a"}),
        ("POST", "/captions/1/split", {"at_ms": 5}),
        ("POST", "/captions/1/split", {"at_ms": 1400, "texts": ["one"]}),
        ("POST", "/captions/merge", {"caption_ids": [1]}),
        ("POST", "/captions/merge", {"caption_ids": [1, 1]}),
        ("POST", "/captions/merge", {"caption_ids": list(range(1, 2000))}),
        ("POST", "/captions/confirm", {"caption_ids": []}),
        ("POST", "/captions", {"start_ms": 5}),
        ("POST", "/captions", {"start_ms": 90_000, "end_ms": 91_000}),
    ],
)
def test_impossible_edits_change_nothing(desk: Desk, method: str, path: str, body: dict[str, Any]) -> None:
    before = desk.rows()

    answer = desk.call(method, path, body)

    assert answer.status_code == 422, answer.text
    assert desk.rows() == before
    assert desk.world.catalog.list_locks() == []


def test_an_unknown_caption_is_404(desk: Desk) -> None:
    for method, path, body in [
        ("PATCH", "/captions/99", {"text": "a"}),
        ("DELETE", "/captions/99", None),
        ("POST", "/captions/99/split", {"at_ms": 5}),
        ("POST", "/captions/merge", {"caption_ids": [1, 99]}),
        ("POST", "/captions/99/request-ocr", None),
    ]:
        answer = desk.call(method, path, body)
        assert (answer.status_code, answer.json()) == (404, {"detail": "no caption 99"})


def test_a_run_that_holds_the_lock_is_not_disturbed(desk: Desk) -> None:
    desk.world.catalog.acquire_server_lock(desk.video.id, "captions", "a-run", 120.0)
    before = desk.rows()

    answer = desk.call("PATCH", "/captions/1", {"text": "mine"})

    assert answer.status_code == 423
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert desk.rows() == before
    assert desk.call("GET", "/captions").status_code == 200
    (lock,) = desk.world.catalog.list_locks(desk.video.id)
    assert lock.lock_holder == "a-run"


def test_a_lock_of_a_dead_editor_ends(desk: Desk) -> None:
    desk.world.catalog.acquire_server_lock(desk.video.id, "captions", "dead", 0.5, lock_type="client")

    assert desk.call("PATCH", "/captions/1", {"text": "mine"}).status_code == 200


def test_edits_at_once_are_all_kept(desk: Desk) -> None:
    def edit(number: int) -> int:
        return desk.call(
            "POST", "/captions", {"start_ms": 10_000 + number, "end_ms": 20_000, "text": f"{number}"}
        ).status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(edit, range(6)))

    kept = {row.text for row in desk.rows().values() if row.start_ms >= 10_000}
    assert len(kept) == statuses.count(201) >= 1
    assert set(statuses) <= {201, 423}


def test_a_stale_edit_is_refused(desk: Desk) -> None:
    tag = desk.call("GET", "/captions").headers["ETag"]
    first = desk.call("PATCH", "/captions/1", {"text": "first"}, **{"If-Match": tag})

    second = desk.call("PATCH", "/captions/1", {"text": "second"}, **{"If-Match": tag})
    third = desk.call("PATCH", "/captions/1", {"text": "third"}, **{"If-Match": first.headers["ETag"]})

    assert (first.status_code, second.status_code, third.status_code) == (200, 412, 200)
    assert desk.rows()[1].text == "third"


def test_a_lost_lock_publishes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = desk.client.app.state.services.catalog  # pyright: ignore
    before = desk.rows()
    # The edit took so long that its lock expired and another took it.
    acquire = catalog.acquire_server_lock

    def acquire_and_lose(video_id: object, database: Any, holder: str, *args: Any, **options: Any) -> bool:
        taken = acquire(video_id, database, holder, *args, **options)
        catalog.release_server_lock(video_id, database, holder)
        return taken

    monkeypatch.setattr(catalog, "acquire_server_lock", acquire_and_lose)

    assert desk.call("PATCH", "/captions/1", {"text": "late"}).status_code == 423
    assert desk.rows() == before


def test_a_caption_is_read_anew_once(desk: Desk, dagster: StandIn) -> None:
    first = desk.call("POST", "/captions/2/request-ocr")
    second = desk.call("POST", "/captions/2/request-ocr")

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    (run,) = dagster.runs
    assert run["config"]["ops"]["captions_db"]["config"] == {"caption_ids": [2]}
    job = desk.client.get(f"/jobs/{first.json()['jobId']}", headers=desk.person.headers).json()
    assert (job["flow"], job["status"], job["run_id"]) == ("caption_ocr", "launched", run["runId"])


def test_damaged_captions_are_our_fault(desk: Desk) -> None:
    key = VideoKeys(str(desk.video.tenant_id), str(desk.video.id)).captions_db
    desk.world.store.upload_file(key, b"not gzip")

    answer = desk.call("GET", "/captions")

    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.json()["detail"]


def test_edits_are_undone_and_redone_on_the_server(desk: Desk) -> None:
    assert desk.call("POST", "/captions:undo").status_code == 409
    desk.call("PATCH", "/captions/1", {"text": "typed"})
    desk.call("POST", "/captions/merge", {"caption_ids": [2, 3]})
    listed = desk.call("GET", "/captions").json()
    assert (listed["undo_label"], listed["redo_label"]) == ("the merge", None)

    undone = desk.call("POST", "/captions:undo").json()

    assert (undone["label"], undone["undo_label"], undone["redo_label"]) == ("the merge", "the text", "the merge")
    assert [caption["id"] for caption in undone["captions"]] == [2, 3]
    assert [row.shown_text for row in desk.rows().values()] == ["typed", *TEXTS[1:]]
    redone = desk.call("POST", "/captions:redo").json()
    assert redone["removed_ids"] == [3]
    assert sorted(desk.rows()) == [1, 2, 4]
    other = desk.world.person(desk.person.tenant_id)
    answer = desk.client.post(f"/videos/{desk.video.id}/captions:undo", headers=other.headers)
    assert (answer.status_code, answer.json()["detail"]) == (409, "there is nothing to undo")


def test_captions_from_before_are_brought_back_and_so_are_those_after(desk: Desk) -> None:
    none = desk.call("POST", "/captions:restore")
    assert (none.status_code, none.json()["detail"]) == (
        409,
        "there are no earlier captions to bring back: processing the video again has removed none",
    )
    assert desk.call("GET", "/captions").json()["can_restore"] is False
    desk.call("PATCH", "/captions/1", {"text": "typed before"})
    desk.world.process_again(desk.video, ["Found later."])
    desk.call("PATCH", "/captions/1", {"text": "typed later"})
    later = desk.call("GET", "/captions")
    assert later.json()["can_restore"] is True
    assert desk.call("POST", "/captions:restore", **{"If-Match": '"old"'}).status_code == 412

    for _ in range(2):
        tag = desk.call("GET", "/captions").headers["ETag"]
        back = desk.call("POST", "/captions:restore", **{"If-Match": tag})
        assert back.status_code == 200
        assert [caption["text"] for caption in back.json()["captions"]] == ["typed before", *TEXTS[1:]]
        read = desk.call("GET", "/captions")
        assert (read.headers["ETag"], read.json()) == (back.headers["ETag"], back.json())
        assert desk.current().caption_count == 4
        assert b"typed before" in desk.world.store.download_to_bytes(video_keys(desk.video).subtitles("srt"))
        again = desk.call("POST", "/captions:restore")
        assert [caption["text"] for caption in again.json()["captions"]] == ["typed later"]
        assert again.json()["undo_label"] == later.json()["undo_label"] == "the text"
        assert desk.current().caption_count == 1
    assert desk.world.events("captions_restored") == ["captions_restored"] * 4


def test_captions_brought_back_unconfirmed_are_to_be_checked(stand_in_client: TestClient, world: World) -> None:
    desk = Desk(stand_in_client, world, boundaries_status="done", text_status="done")
    desk.world.process_again(desk.video, ["Found later."])
    assert desk.call("POST", "/captions:restore").status_code == 200
    assert desk.current().text_status == "review"


def test_nothing_is_brought_back_while_processing_changes_the_captions(desk: Desk) -> None:
    desk.world.process_again(desk.video, ["Found later."])
    assert desk.world.catalog.acquire_server_lock(desk.video.id, "captions", "a run", 60.0)
    assert desk.call("POST", "/captions:restore").status_code == 423
    assert [row.shown_text for row in desk.rows().values()] == ["Found later."]


def test_text_is_replaced_after_a_preview(desk: Desk) -> None:
    body = {"search": "you", "replacement": "they", "whole_word": True}

    preview = desk.call("POST", "/captions:replace", {**body, "preview": True}).json()
    assert [caption["text"] for caption in preview["captions"]] == ["How are they?"]
    assert [row.shown_text for row in desk.rows().values()] == list(TEXTS)

    done = desk.call("POST", "/captions:replace", body).json()
    assert [caption["text"] for caption in done["captions"]] == ["How are they?"]
    assert desk.rows()[2].text == "How are they?"
    assert desk.call("POST", "/captions:replace", {"search": "How are they?", "replacement": ""}).status_code == 422
    long = {"search": "e", "replacement": "e" * 500}
    assert desk.call("PATCH", "/captions/1", {"text": "e" * 20}).status_code == 200
    assert desk.call("POST", "/captions:replace", long).status_code == 422


def test_all_captions_are_confirmed_at_once(desk: Desk) -> None:
    desk.call("DELETE", "/captions/4")

    answer = desk.call("POST", "/captions/confirm")

    assert answer.status_code == 200
    states = [row.caption_frame_extents_state for row in desk.rows().values()]
    assert states == ["confirmed", "confirmed", "confirmed", "gap"]
    desk.call("POST", "/captions:undo")
    states = [row.caption_frame_extents_state for row in desk.rows().values()]
    assert states == ["predicted", "predicted", "predicted", "gap"]


def test_kind_and_track_are_changed(desk: Desk) -> None:
    assert desk.call("PATCH", "/captions/1", {"kind": "title", "track": "top"}).status_code == 200
    assert (desk.rows()[1].kind, desk.rows()[1].track) == ("title", "top")
    assert desk.call("PATCH", "/captions/1", {"kind": "poem"}).status_code == 422
    assert desk.call("PATCH", "/captions/1", {"position": "somewhere"}).status_code == 422


def test_subtitles_are_exported_with_options(desk: Desk) -> None:
    desk.call("PATCH", "/captions/2", {"kind": "title"})

    usual = desk.call("GET", "/subtitles.srt")
    both = desk.call("GET", "/subtitles.srt?include=caption&include=title&bom=true&download=true")
    joined = desk.call("GET", "/subtitles.vtt?join_gaps_ms=60000&form=phrases")

    assert len(parse_subtitles(usual.text, "srt")) == 3
    assert len(parse_subtitles(both.text, "srt")) == 4
    assert both.content.startswith(b"\xef\xbb\xbf")
    assert both.headers["Content-Disposition"].startswith("attachment")
    assert joined.status_code == 200
    assert desk.call("GET", "/subtitles.srt?include=poem").status_code == 422


def test_captions_are_compared_with_a_file(desk: Desk) -> None:
    srt = desk.call("GET", "/subtitles.srt").text
    other = srt.replace("How are", "Where are").replace("00:00:03,000", "00:00:03,400").split("\n\n")
    other[3] = "4\n00:00:09,000 --> 00:00:09,500\nNew."

    same = desk.call("POST", "/captions:compare", {"format": "srt", "content": srt}).json()
    found = desk.call("POST", "/captions:compare", {"format": "srt", "content": "\n\n".join(other) + "\n"}).json()

    assert same == {"same": 4, "differences": []}
    for kind in ("vtt", "ass", "json"):
        content = desk.call("GET", f"/subtitles.{kind}").text
        assert desk.call("POST", "/captions:compare", {"format": kind, "content": content}).json() == same
    assert found["same"] == 1
    assert [(one["what"], one["caption_id"], one["start_ms"], one["text"]) for one in found["differences"]] == [
        ("text", 2, 2000, "Where are you?"),
        ("times", 3, 3400, "Fine, thanks."),
        ("extra", 4, 4000, "Good bye!"),
        ("missing", None, 9000, "New."),
    ]
    assert desk.call("POST", "/captions:compare", {"format": "srt", "content": "no subtitles"}).status_code == 422
