"""Request and response bodies of the API; every size is bounded."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from captionacc_dagster.captioning.captions import Kind
from captionacc_dagster.captioning.files.caption_edits import LONGEST_TEXT
from captionacc_dagster.captioning.files.captions_database import ExtentsState, OcrStatus
from captionacc_dagster.captioning.files.positions import Position, position_of
from captionacc_dagster.captioning.ocr.languages import language_codes
from captionacc_dagster.catalog.models import (
    FlowName,
    Json,
    RequestState,
    Role,
    Severity,
    VideoStatus,
    WorkflowStatus,
)

# Ten days: no video is longer.
_LONGEST_MS = 86_400_000 * 10
_MOST_CAPTIONS = 1000

Milliseconds = Annotated[StrictInt, Field(ge=0, le=_LONGEST_MS)]
CaptionId = Annotated[StrictInt, Field(ge=1, le=(1 << 63) - 1)]
CaptionIds = Annotated[list[CaptionId], Field(min_length=1, max_length=_MOST_CAPTIONS)]


def _printable(text: str) -> str:
    # C0, DEL, and C1: a terminal that shows the text would obey them (U+009B is an escape sequence).
    if any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in text):
        raise ValueError("control characters are not allowed")
    return text


def _name(name: str) -> str:
    if not name.strip() or any(not character.isprintable() for character in name):
        raise ValueError("a name needs visible characters, and has no others")
    return name.strip()


def _folder(path: str) -> str:
    names = [name.strip() for name in path.replace("\\", "/").split("/")]
    names = [name for name in names if name]
    if any(name in (".", "..") or not name.isprintable() for name in names):
        raise ValueError("a folder is one name, or several with a slash between, such as series 1/raw")
    return "/".join(names)


FolderPath = Annotated[StrictStr, Field(max_length=500), AfterValidator(_folder)]
CaptionText = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_TEXT), AfterValidator(_printable)]
Note = Annotated[StrictStr, Field(max_length=2000), AfterValidator(_printable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, row: object) -> Self:
        """Return the view of a row."""
        return cls.model_validate(row)


class CropRegionBody(
    _Body,
    json_schema_extra={"examples": [{"crop_left": 0.1, "crop_top": 0.78, "crop_right": 0.9, "crop_bottom": 0.95}]},
):
    """Where captions appear, in fractions of the picture from the top left."""

    crop_left: float = Field(ge=0, le=1, allow_inf_nan=False)
    crop_top: float = Field(ge=0, le=1, allow_inf_nan=False)
    crop_right: float = Field(ge=0, le=1, allow_inf_nan=False)
    crop_bottom: float = Field(ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        if self.crop_left >= self.crop_right or self.crop_top >= self.crop_bottom:
            raise ValueError("the region is empty; crop_left < crop_right and crop_top < crop_bottom are required")
        return self

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom."""
        return self.crop_left, self.crop_top, self.crop_right, self.crop_bottom


Languages = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(language_codes)]


class ApproveLayout(_Body):
    """Approval of a layout."""

    type: Literal["crop-and-infer-caption-frame-extents"]
    lang: Languages | None = Field(
        default=None,
        description="Languages of the captions, BCP 47, several with commas; by default, those stored with the video.",
        examples=["hi,en"],
    )
    crop_region: CropRegionBody | None = Field(default=None, description="By default, the region that was found.")


class Job(BaseModel):
    """A requested piece of work; `GET /jobs/{jobId}` returns its state."""

    jobId: str = Field(description="Id of the run, or of the request while it has no run.")  # noqa: N815 - the wire's name
    status: RequestState = Field(description="`pending` until it has a run, then the state of the run.")


class JobDetails(Job):
    """A piece of work and its state."""

    flow: FlowName
    video_id: UUID
    run_id: str | None
    requested_at: datetime
    launched_at: datetime | None
    finished_at: datetime | None
    error: str | None


class CropRegionView(BaseModel):
    """Where captions appear."""

    crop_left: float
    crop_top: float
    crop_right: float
    crop_bottom: float


def _error_of(failure: tuple[str, Json] | None) -> str | None:
    return None if failure is None else error_message(failure[1]) or "processing failed"


def _sides(region: tuple[float, ...] | None) -> dict[str, float] | None:
    return None if region is None else dict(zip(CropRegionView.model_fields, region, strict=True))


class WarningView(_View):
    """Something about a video that its user should know."""

    code: str = Field(description="Stable, for programs.", examples=["text_left_out"])
    message: str = Field(description="One plain sentence.")
    start_s: float | None = Field(description="Start of the part it concerns, seconds; null: the whole video.")
    end_s: float | None = Field(description="End of the part it concerns, seconds; null: the whole video.")


class VideoView(_View):
    """A video and the state of its processing."""

    id: UUID
    filename: str
    folder: str
    lang: str | None
    is_demo: bool = Field(description="Every tenant may read it.")
    status: VideoStatus
    layout_status: WorkflowStatus
    boundaries_status: WorkflowStatus
    text_status: WorkflowStatus
    error: Annotated[str | None, BeforeValidator(_error_of)] = Field(
        validation_alias="failure", description="The first error, in one line."
    )
    warnings: list[WarningView] = Field(description="What you should know about the result.")
    crop_region: Annotated[CropRegionView | None, BeforeValidator(_sides)]
    layout_confidence: float | None
    layout_approved_at: datetime | None
    duration_seconds: float | None
    frame_rate: float | None
    width: int | None
    height: int | None
    video_codec: str | None
    caption_count: int | None
    confirmed_count: int | None
    cropped_frames_version: int | None
    file_size_bytes: int | None
    created_at: datetime
    updated_at: datetime


def error_message(details: Json | None) -> str | None:
    """Return the public message in an error's details."""
    message = (details or {}).get("message")
    return message if isinstance(message, str) else None


class VideoPage(BaseModel):
    """One page of videos, newest first."""

    videos: list[VideoView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last page.")


class FilmView(BaseModel):
    """The small film of a video that a browser cannot play."""

    state: Literal["ready", "preparing", "failed"] = Field(description="`ready`: `GET` of the same path plays it.")
    share: float | None = Field(default=None, description="Share that is made, 0 to 1; null: it waits.")
    left_s: float | None = Field(default=None, description="Seconds until it is ready, as far as known.")
    reason: str | None = Field(default=None, description="Why it cannot be made.")


class FrameGridView(BaseModel):
    """When the native frames of a video begin. Frame `i` begins at `floor(first_ms + i * step_ms)` milliseconds."""

    count: int
    first_ms: float = Field(description="Time of frame 0.")
    step_ms: float | None = Field(description="Time from frame to frame; null where it varies.")
    steps_ms: list[int] | None = Field(description="Where it varies: whole milliseconds from each frame to the next.")


class ShotsView(BaseModel):
    """The shots of a video."""

    cuts_ms: list[int] | None = Field(
        description="Beginning of each shot but the first, whole milliseconds; null: captions were not searched yet."
    )


class WordView(_View):
    """A word of a caption whose words appear or are highlighted one after another."""

    text: str
    start_s: float = Field(description="Start of the time in which it is visible, seconds.")
    end_s: float
    highlight_start_s: float | None = Field(description="Start of its highlight, seconds; null: it has none.")
    highlight_end_s: float | None


class CaptionView(_View):
    """A caption: half-open times on the video's clock, and its text."""

    id: int
    start_ms: int
    end_ms: int
    start_frame_index: int = Field(description="Index of cropped frames, 10 per second by default.")
    end_frame_index: int
    text: str = Field(validation_alias="shown_text", description="The text that a person typed, or else the OCR text.")
    typed_text: str | None = Field(validation_alias="text")
    ocr_text: str | None = Field(validation_alias="caption_ocr")
    ocr_confidence: float | None = Field(validation_alias="caption_ocr_confidence")
    ocr_status: OcrStatus = Field(validation_alias="caption_ocr_status")
    ocr_error: str | None = Field(validation_alias="caption_ocr_error")
    extents_confidence: float | None = Field(
        validation_alias="caption_frame_extents_confidence", description="Of start and end; 1 after a person's change."
    )
    state: ExtentsState = Field(validation_alias="caption_frame_extents_state")
    text_pending: bool = Field(description="Whether its times changed after its text was typed.")
    text_status: str | None
    text_notes: str | None
    track: str
    position: Annotated[Position, BeforeValidator(position_of)] = Field(
        validation_alias="bbox", description="Where in the picture."
    )
    kind: Kind = Field(description="What the text is.")
    lang: str | None = Field(description="Language of the text, BCP 47; null if unknown.")
    script: str | None = Field(description="Script of the text, ISO 15924; null if unknown.")
    unread: bool = Field(
        validation_alias="is_unread", description="Whether no available engine reads the script of at least one line."
    )
    words: list[WordView] = Field(
        validation_alias="shown_words", description="Words with their own times; empty if they appear together."
    )
    updated_at: str


class NewVideo(_Body, json_schema_extra={"examples": [{"filename": "episode-1.mp4", "size_bytes": 73400320}]}):
    """A video to upload."""

    filename: Annotated[StrictStr, Field(min_length=1, max_length=255), AfterValidator(_name)]
    size_bytes: Annotated[StrictInt, Field(ge=1, le=1 << 50)]
    folder: FolderPath = Field(default="", description="Where to keep it, such as `series 1/raw`; empty: nowhere.")


class UploadTarget(BaseModel):
    """Where the bytes of a video go."""

    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expires_at: datetime
    part_bytes: int | None = Field(
        description="Send parts of at most this size, each with `?offset=`; null: the whole file in one request."
    )


class Upload(BaseModel):
    """A video that was announced."""

    id: UUID
    upload: UploadTarget


class UploadProgress(BaseModel):
    """How much of an upload has arrived."""

    received_bytes: int
    size_bytes: int


class RenameVideo(_Body, json_schema_extra={"examples": [{"filename": "episode-2.mp4"}]}):
    """A video's new name, or folder, or both."""

    filename: Annotated[StrictStr, Field(min_length=1, max_length=255), AfterValidator(_name)] | None = None
    folder: FolderPath | None = Field(default=None, description="Such as `series 1/raw`; empty: none.")

    @model_validator(mode="after")
    def _check_something(self) -> Self:
        if self.filename is None and self.folder is None:
            raise ValueError("give a filename, a folder, or both")
        return self


class LeftOutPlace(BaseModel):
    """A place with text that is not followed as captions."""

    kind: Kind = Field(description="What it was taken for.")
    text: str
    start_ms: int | None = Field(description="Null: unknown.")
    end_ms: int | None


class LeftOutPlaces(BaseModel):
    """Places with text that became no captions."""

    places: list[LeftOutPlace]


class CaptionList(BaseModel):
    """A video's captions in order of time."""

    captions: list[CaptionView]
    undo_label: str | None = Field(default=None, description="What the caller can undo next, in words.")
    redo_label: str | None = Field(default=None, description="What the caller can redo next, in words.")
    can_restore: bool = Field(description="Whether captions from before the last processing can be brought back.")


class Edited(BaseModel):
    """The captions that an edit changed, and the OCR job that it started."""

    captions: list[CaptionView]
    removed_ids: list[int] = Field(default=[], description="Captions that undoing or redoing removed.")
    ocr_job: Job | None = Field(description="The job that reads these captions again; null if none is necessary.")
    label: str | None = Field(default=None, description="What was undone or redone, in words.")
    undo_label: str | None = Field(default=None, description="What the caller can undo next.")
    redo_label: str | None = Field(default=None, description="What the caller can redo next.")


class CorrectCaption(_Body, json_schema_extra={"examples": [{"text": "What are you doing here?"}]}):
    """The changes; omitted fields stay. `text: null` removes a typed text."""

    start_ms: Milliseconds | None = None
    end_ms: Milliseconds | None = None
    text: CaptionText | None = None
    state: ExtentsState | None = None
    kind: Kind | None = None
    track: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9 _.-]{1,60}$")] | None = None
    position: Position | None = None
    text_status: Annotated[StrictStr, Field(max_length=40), AfterValidator(_printable)] | None = None
    text_notes: Note | None = None


class AddCaption(_Body, json_schema_extra={"examples": [{"start_ms": 1000, "end_ms": 2500}]}):
    """A caption that was not found; without a text, it is read by OCR."""

    start_ms: Milliseconds
    end_ms: Milliseconds
    text: CaptionText | None = None


class SplitCaption(_Body, json_schema_extra={"examples": [{"at_ms": 1700}]}):
    """Where to split a caption in two; without texts, both are read again."""

    at_ms: Milliseconds
    texts: tuple[CaptionText, CaptionText] | None = None


class MergeCaptions(_Body, json_schema_extra={"examples": [{"caption_ids": [3, 4]}]}):
    """Captions to merge; without a text, the result is read again."""

    caption_ids: Annotated[list[CaptionId], Field(min_length=2, max_length=_MOST_CAPTIONS)]
    text: CaptionText | None = None


class ChosenCaptions(_Body, json_schema_extra={"examples": [{"caption_ids": [1, 2, 3]}]}):
    """The captions that an edit concerns."""

    caption_ids: CaptionIds


class ReplaceText(_Body, json_schema_extra={"examples": [{"search": "Jon", "replacement": "John"}]}):
    """Text to replace, taken literally; each caption keeps some text."""

    search: CaptionText
    replacement: Annotated[StrictStr, Field(max_length=500), AfterValidator(_printable)]
    match_case: StrictBool = False
    whole_word: StrictBool = False
    caption_ids: CaptionIds | None = Field(default=None, description="By default all captions.")
    preview: StrictBool = Field(default=False, description="Return the captions as they would be; change nothing.")


class CreateInvitation(_Body, json_schema_extra={"examples": [{"max_uses": 5, "valid_days": 7}]}):
    """An invitation to make."""

    role: Role = Field(default="member", description="What those who join may do.")
    max_uses: StrictInt = Field(default=1, ge=1, le=1000, description="How many people may join with it.")
    valid_days: StrictInt = Field(default=14, ge=1, le=365)
    note: Annotated[StrictStr, Field(max_length=200), AfterValidator(_name)] | None = Field(
        default=None, description="Who it is for."
    )


class InvitationCode(_View):
    """A new invitation; the code is shown only now."""

    id: UUID
    code: str = Field(examples=["7KQ2M-XH4RP-BD9TW-3FNEC"])
    role: Role
    max_uses: int
    expires_at: datetime


class InvitationView(_View):
    """An invitation, without its code."""

    id: UUID
    role: Role
    note: str | None
    max_uses: int
    uses: int
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class InvitationList(BaseModel):
    """Invitations, newest first."""

    invitations: list[InvitationView]


class RedeemInvitation(_Body, json_schema_extra={"examples": [{"code": "7KQ2M-XH4RP-BD9TW-3FNEC"}]}):
    """An invitation code."""

    code: Annotated[StrictStr, Field(min_length=1, max_length=100), AfterValidator(_printable)]


class Membership(_View):
    """The tenant that a user belongs to."""

    tenant_id: UUID
    tenant_name: str
    role: Role


class CompareCaptions(
    _Body,
    json_schema_extra={"examples": [{"format": "srt", "content": "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n"}]},
):
    """A subtitle file to compare the captions with."""

    format: Literal["srt", "vtt", "ass", "json"]
    content: Annotated[StrictStr, Field(min_length=1, max_length=900_000)]


class Difference(BaseModel):
    """A caption of the file that differs from the video's, or that one of them lacks."""

    what: Literal["missing", "extra", "text", "times", "text and times"] = Field(
        description="`missing`: only the file has it; `extra`: only the video has it."
    )
    caption_id: int | None = Field(description="The video's caption; null if it is missing.")
    start_ms: int = Field(description="By the file; of an extra caption, its own.")
    end_ms: int
    text: str


class Comparison(BaseModel):
    """How a subtitle file and the captions differ."""

    same: int
    differences: list[Difference]


class SecurityEventView(_View):
    """An event in the tenant's security log."""

    id: UUID
    event: str
    severity: Severity
    user_id: UUID | None
    video_id: UUID | None
    client_ip: str | None
    request_id: str | None
    method: str | None
    path: str | None
    created_at: datetime


class SecurityEventPage(BaseModel):
    """One page of events, newest first."""

    events: list[SecurityEventView]
    next_cursor: str | None
