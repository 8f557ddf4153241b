"""Edits of captions by people, under the same lock as processing, so that neither overwrites the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from fastapi import Path as PathParameter

from captionacc_dagster.api.actions import IdempotencyKey, launched_job
from captionacc_dagster.api.auth import Caller, CallerDependency, VideoDependency
from captionacc_dagster.api.conditional import has_tag
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.launcher import CLAIM_SECONDS, new_claimer
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.videos import caption_list, captions_database, captions_tag, no_captions, stored_captions
from captionacc_dagster.api.views import (
    AddCaption,
    CaptionList,
    CaptionView,
    ChosenCaptions,
    CorrectCaption,
    Edited,
    Job,
    MergeCaptions,
    ReplaceText,
    SplitCaption,
)
from captionacc_dagster.backends import subtitle_options
from captionacc_dagster.captioning.files.caption_edits import (
    UNCHANGED,
    CaptionEditor,
    CaptionNotFound,
    edit_captions,
    replacements,
)
from captionacc_dagster.captioning.files.captions_database import StoredCaption, read_captions
from captionacc_dagster.captioning.files.edit_journal import Direction, read_steps
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.orchestration.locks import server_lock
from captionacc_dagster.orchestration.subtitle_files import (
    publish_captions,
    publish_subtitles,
    record_captions,
    restore_captions,
)

router = APIRouter(prefix="/videos/{video_id}", tags=["captions"])

WAIT_FOR_EDITOR_SECONDS = 3.0

_EDIT = responses(400, 401, 403, 404, 409, 412, 413, 422, 423, 429, 503)
CaptionNumber = Annotated[int, PathParameter(ge=1, le=(1 << 63) - 1)]


@dataclass(frozen=True)
class Editing:
    """A person's change of a video's captions; the answer names their new state."""

    services: Services
    caller: Caller
    video: Video
    answer: Response
    if_match: str | None

    @contextmanager
    def begin(self) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yield ``captions.db``, downloaded under its lock, and a function that verifies that the lock is still held.

        Raises:
            ApiError: 404 without captions, 412 if they have changed.
            LockHeld: they are locked elsewhere.
        """
        catalog, holder = self.services.catalog, f"api:{current_facts().request_id}:{new_claimer()}"
        with server_lock(
            catalog,
            self.video.id,
            "captions",
            holder,
            lock_type="client",
            user_id=self.caller.user_id,
            wait_s=WAIT_FOR_EDITOR_SECONDS,
        ) as lock:
            if self.if_match is not None and not has_tag(self.if_match, captions_tag(self.services, self.video)):
                raise ApiError(412, "the captions have changed; read them again")
            with captions_database(self.services, self.video) as path:
                yield path, lock.check
            self.answer.headers["ETag"] = captions_tag(self.services, self.video)

    def edit(self, change: Callable[[CaptionEditor], Sequence[StoredCaption]]) -> Edited:
        """Change captions and publish them, then request only the readings that the change requires."""
        services, video, user_id = self.services, self.video, str(self.caller.user_id)
        with self.begin() as (path, check_lock):
            duration, version = video.duration_seconds, video.cropped_frames_version
            if version is None:
                raise no_captions(video)
            grid = services.frames.known_grid(video)
            with edit_captions(
                path,
                services.catalog.get_cropped_frame_rate(video.id, version),
                None if duration is None else round(duration * 1000),
                user_id=user_id,
                native_frame=grid.frame_from if grid is not None else None,
            ) as editor:
                changed = list(change(editor))
                to_read, text_pending = editor.to_read, editor.text_pending
            rows, steps = read_captions(path), read_steps(path, user_id)
            check_lock()
            publish_captions(services.store, video, path)
            publish_subtitles(services.store, video, path, subtitle_options(services.settings))
            record_captions(services.catalog, video, rows, is_text_open=text_pending or bool(to_read))
        job = _request_reading(services, self.caller, video, to_read) if to_read else None
        shown = [CaptionView.of(row) for row in changed]
        return Edited(captions=shown, ocr_job=job, undo_label=steps.undo, redo_label=steps.redo)

    def step(self, direction: Direction) -> Edited:
        """Undo the caller's last edit, or redo the one that was undone last."""
        label, numbers = "", list[int]()

        def go(editor: CaptionEditor) -> list[StoredCaption]:
            nonlocal label, numbers
            label, numbers = editor.undo(direction)
            return [row for row in editor.rows() if row.id in numbers]

        done = self.edit(go)
        there = {caption.id for caption in done.captions}
        removed = [number for number in numbers if number not in there]
        return done.model_copy(update={"label": label, "removed_ids": removed})


def get_editing(
    services: ServicesDependency,
    caller: CallerDependency,
    video: VideoDependency,
    answer: Response,
    if_match: Annotated[
        str | None,
        Header(max_length=500, description="`ETag` of the captions; the edit is refused if they have changed."),
    ] = None,
) -> Editing:
    """Return the change that a request asks for."""
    return Editing(services, caller, video, answer, if_match)


EditingDependency = Annotated[Editing, Depends(get_editing)]


@router.post("/captions", status_code=201, summary="Add a caption", responses=_EDIT)
def add_caption(editing: EditingDependency, body: AddCaption) -> Edited:
    """Add a caption that was not found."""
    return editing.edit(lambda e: [e.add(body.start_ms, body.end_ms, body.text)])


@router.patch("/captions/{caption_id}", summary="Correct a caption", responses=_EDIT)
def correct_caption(editing: EditingDependency, caption_id: CaptionNumber, body: CorrectCaption) -> Edited:
    """Change times, text, notes, kind, track, or position; afterward the caption counts as confirmed."""
    given = body.model_dump(exclude_unset=True)
    texts = {name: given.get(name, UNCHANGED) for name in ("text", "text_status", "text_notes")}
    times = {name: given.get(name) for name in ("start_ms", "end_ms", "state", "kind", "track", "position")}
    return editing.edit(lambda e: [e.correct(caption_id, **times, **texts)])


@router.post("/captions/confirm", summary="Confirm captions", responses=_EDIT)
def confirm_captions(editing: EditingDependency, body: ChosenCaptions | None = None) -> Edited:
    """Mark captions as right, without a body every one; processing never changes them again."""
    return editing.edit(lambda e: e.confirm(body.caption_ids if body else None))


@router.post("/captions/merge", summary="Merge captions", responses=_EDIT)
def merge_captions(editing: EditingDependency, body: MergeCaptions) -> Edited:
    """Merge several captions; the earliest keeps its number."""
    return editing.edit(lambda e: [e.merge(body.caption_ids, body.text)])


@router.post("/captions/{caption_id}/split", summary="Split a caption", responses=_EDIT)
def split_caption(editing: EditingDependency, caption_id: CaptionNumber, body: SplitCaption) -> Edited:
    """Split a caption in two; the first keeps its number."""
    return editing.edit(lambda e: e.split(caption_id, body.at_ms, body.texts))


@router.delete("/captions/{caption_id}", summary="Delete a caption", responses=_EDIT)
def delete_caption(editing: EditingDependency, caption_id: CaptionNumber) -> Edited:
    """Delete a caption; it is no longer shown and is not found again."""
    return editing.edit(lambda e: [e.delete(caption_id)])


@router.post("/captions:delete", summary="Delete captions", responses=_EDIT)
def delete_captions(editing: EditingDependency, body: ChosenCaptions) -> Edited:
    """Delete several captions as one edit."""
    return editing.edit(lambda e: e.delete_all(body.caption_ids))


@router.post("/captions:undo", summary="Undo an edit", responses=_EDIT)
def undo_edit(editing: EditingDependency) -> Edited:
    """Undo the caller's last edit; 409 if there is none, or if somebody changed its captions since."""
    return editing.step("undo")


@router.post("/captions:redo", summary="Redo an edit", responses=_EDIT)
def redo_edit(editing: EditingDependency) -> Edited:
    """Redo the edit that the caller undid last; 409 if there is none, or if somebody changed its captions since."""
    return editing.step("redo")


@router.post("/captions:restore", summary="Bring back captions", responses=_EDIT)
def bring_back_captions(editing: EditingDependency) -> CaptionList:
    """Bring back the captions from before the last processing that removed some; 409 if there are none.

    The current ones are kept in their place: the same call again brings them back, with everybody's edits.
    """
    services = editing.services
    with editing.begin() as (path, check_lock):
        options = subtitle_options(services.settings)
        rows = restore_captions(services.catalog, services.store, editing.video, path, options, check_lock)
        services.audit.record("captions_restored", severity="info")
        shown = [row for row in rows if row.caption_frame_extents_state != "gap"]
        return caption_list(path, shown, editing.caller)


@router.post("/captions:replace", summary="Search and replace", responses=_EDIT)
def replace_text(editing: EditingDependency, body: ReplaceText) -> Edited:
    """Replace text in all captions, or in some, as one edit; with `preview`, nothing is changed."""
    texts = partial(replacements, **body.model_dump(exclude={"preview"}))
    if body.preview:
        rows = stored_captions(editing.services, editing.video)
        found = texts(rows)
        changed = [replace(row, text=found[row.id]) for row in rows if row.id in found]
        return Edited(captions=[CaptionView.of(row) for row in changed], ocr_job=None)
    return editing.edit(lambda e: e.replace(texts(e.rows())))


@router.post("/captions/{caption_id}/request-ocr", summary="Read a caption again", responses=_EDIT)
def request_ocr(
    services: ServicesDependency,
    caller: CallerDependency,
    video: VideoDependency,
    caption_id: CaptionNumber,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Read a caption again by OCR; text that a person typed stays."""
    if all(row.id != caption_id for row in stored_captions(services, video)):
        raise CaptionNotFound(f"no caption {caption_id}")
    key = f"ocr:{video.id}:{caption_id}:{idempotency_key}" if idempotency_key else None
    return _request_reading(services, caller, video, [caption_id], key)


def _request_reading(
    services: Services, caller: Caller, video: Video, caption_ids: Sequence[int], key: str | None = None
) -> Job:
    request = services.catalog.request_caption_ocr(video.id, caption_ids, user_id=caller.user_id, request_key=key)
    claimer = new_claimer()
    claimed = services.catalog.claim_processing_request(request.id, claimer, lease_s=CLAIM_SECONDS)
    return launched_job(services, video, claimed or services.catalog.get_processing_request(request.id), claimer)
