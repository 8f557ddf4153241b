"""Small typed arguments and results of the compute functions; data is passed by object keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from captionacc_dagster.captioning.captions import CaptionWarning
from captionacc_dagster.captioning.geometry import CropRegion

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CropBox(_Value):
    """A crop region in messages: fractions of the frame, origin top left."""

    crop_left: Fraction
    crop_top: Fraction
    crop_right: Fraction
    crop_bottom: Fraction

    @model_validator(mode="after")
    def _has_area(self) -> CropBox:
        if self.crop_left >= self.crop_right or self.crop_top >= self.crop_bottom:
            raise ValueError("a crop region needs crop_left < crop_right and crop_top < crop_bottom")
        return self

    def to_region(self) -> CropRegion:
        """Return the region as captioning's type."""
        return CropRegion(self.crop_left, self.crop_top, self.crop_right, self.crop_bottom)

    @classmethod
    def from_region(cls, region: CropRegion) -> CropBox:
        """Create it from captioning's type."""
        return cls(crop_left=region.left, crop_top=region.top, crop_right=region.right, crop_bottom=region.bottom)


class ExtractResult(_Value):
    """Result of ``extract_frames_and_ocr``."""

    frame_count: int = Field(ge=1, description="full frames written")
    duration: float = Field(gt=0, description="seconds")
    frame_width: int = Field(gt=0)
    frame_height: int = Field(gt=0)
    frame_rate: float = Field(gt=0, description="native frames per second, average")
    video_codec: str
    bitrate: int = Field(ge=0, description="bits per second")
    ocr_box_count: int = Field(ge=0)
    failed_ocr_count: int = Field(ge=0)
    processing_duration_seconds: float = Field(ge=0)
    full_frames_key: str
    ocr_db_key: str
    layout_db_key: str
    crop_region: CropBox | None = Field(default=None, description="where captions appear; None: nowhere")
    layout_confidence: Fraction = 0.0
    warnings: tuple[CaptionWarning, ...] = Field(default=(), description="what the user should know of the video")


class CropInferResult(_Value):
    """Result of ``crop_and_infer_caption_frame_extents``."""

    version: int = Field(ge=1)
    frame_count: int = Field(ge=0, description="cropped frames")
    label_counts: dict[str, int]
    caption_frame_extents_count: int = Field(ge=0)
    processing_duration_seconds: float = Field(ge=0)
    caption_frame_extents_db_key: str
    cropped_frames_prefix: str
    native_frame_count: int = Field(ge=0)
    ocr_recognitions: int = Field(ge=0)
    stage_seconds: dict[str, float] = Field(default_factory=dict, description="CPU seconds of each stage")
    warnings: tuple[CaptionWarning, ...] = Field(default=(), description="what the user should know of the video")


class SegmentResult(_Value):
    """Result of one time segment of a long video, stored until all segments are joined."""

    index: int = Field(ge=0)
    count: int = Field(ge=2)
    version: int = Field(ge=1)
    part_key: str
    frame_count: int = Field(ge=0, description="cropped frames of its own")
    caption_count: int = Field(ge=0, description="captions seen, including those that extend beyond the segment")
    processing_duration_seconds: float = Field(ge=0)
    warnings: tuple[CaptionWarning, ...] = Field(default=(), description="what the user should know of the video")


class CaptionSpan(_Value):
    """A caption to read: its row id and its half-open time, milliseconds on the video's clock."""

    caption_id: int
    start_ms: int = Field(ge=0)
    end_ms: int = Field(gt=0)

    @model_validator(mode="after")
    def _has_length(self) -> CaptionSpan:
        if self.start_ms >= self.end_ms:
            raise ValueError(f"caption {self.caption_id}: start_ms must be before end_ms")
        return self


class CaptionOcrResult(_Value):
    """The text of one caption."""

    caption_id: int
    ocr_text: str
    confidence: Fraction
    frame_count: int = Field(ge=0, description="number of frames used for the reading")
    error: str | None = Field(default=None, description="why it could not be read")
    lang: str | None = Field(default=None, description="of the text, BCP 47; None: not known")
    script: str | None = Field(default=None, description="of the text, ISO 15924; None: not known")
    unread: bool = Field(default=False, description="no available engine reads the script of at least one line")
