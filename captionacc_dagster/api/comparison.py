"""Compare a video's captions with a subtitle file, as `captionacc evaluate` does."""

from __future__ import annotations

from fastapi import APIRouter

from captionacc_dagster.api.auth import VideoDependency
from captionacc_dagster.api.errors import ApiError, responses
from captionacc_dagster.api.services import ServicesDependency
from captionacc_dagster.api.videos import NOT_DELETED, stored_captions
from captionacc_dagster.api.views import CompareCaptions, Comparison, Difference
from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, TrueCaption, score
from captionacc_dagster.captioning.files.subtitles import SubtitleError, parse_subtitles

router = APIRouter(prefix="/videos/{video_id}", tags=["captions"])


@router.post(
    "/captions:compare",
    summary="Compare with a file",
    responses=responses(400, 401, 403, 404, 413, 422, 429, 503),
)
def compare_captions(services: ServicesDependency, video: VideoDependency, body: CompareCaptions) -> Comparison:
    """Return where the captions differ from a subtitle file: in text, by more than a frame, missing, or extra."""
    try:
        cues = parse_subtitles(body.content, body.format)
    except SubtitleError as error:
        raise ApiError(422, str(error)) from error
    rate = video.usual_frame_rate
    rows = [row for row in stored_captions(services, video, NOT_DELETED) if row.kind == "caption"]

    def facts(start_ms: float, end_ms: float, text: str) -> dict[str, float | int | str]:
        times = {"start_s": start_ms / 1000, "end_s": end_ms / 1000}
        frames = {"start_frame": round(start_ms / 1000 * rate), "end_frame": round(end_ms / 1000 * rate)}
        return {**times, **frames, "text": text}

    own = [PredictedCaption(**facts(row.start_ms, row.end_ms, row.shown_text)) for row in rows]  # pyright: ignore
    given = [TrueCaption(**facts(1000 * cue.start_s, 1000 * cue.end_s, cue.text)) for cue in cues]  # pyright: ignore
    row_of = {id(caption): row for caption, row in zip(own, rows, strict=True)}
    report = score(own, given)
    differences = [_difference("missing", None, cue) for cue in report.missed]
    differences += [_difference("extra", row_of[id(caption)].id, caption) for caption in report.phantoms]
    for match in report.matches:
        is_right = {"text": match.predicted.text == match.truth.text, "times": match.timed}
        wrong = [name for name, right in is_right.items() if not right]
        if wrong:
            differences.append(_difference(" and ".join(wrong), row_of[id(match.predicted)].id, match.truth))
    matched = len(report.matches) - sum(difference.what not in ("missing", "extra") for difference in differences)
    return Comparison(same=matched, differences=sorted(differences, key=lambda one: (one.start_ms, one.end_ms)))


def _difference(what: str, caption_id: int | None, caption: TrueCaption | PredictedCaption) -> Difference:
    start_ms, end_ms = round(caption.start_s * 1000), round(caption.end_s * 1000)
    return Difference.model_validate(
        {"what": what, "caption_id": caption_id, "start_ms": start_ms, "end_ms": end_ms, "text": caption.text}
    )
