"""A naive system: OCR of the lower third five times a second, with neighbors of similar text merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captionacc_dagster.captioning.evaluation.scoring import PredictedCaption, similarity

_SAMPLES_PER_SECOND = 5.0
_SAME_TEXT = 0.8
_LONG_SIDE = 960


class NaiveBaseline:
    """RapidOCR with its defaults, except that pictures are searched at `_LONG_SIDE` pixels at most.

    Its default enlarges the short side of a wide picture to 736 pixels, which costs 200 times as much as decoding.
    """

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        limits = {"Det.limit_type": "max", "Det.limit_side_len": _LONG_SIDE}
        self._ocr: Any = RapidOCR(params={"Global.log_level": "critical"} | limits)

    def find(self, video: Path) -> tuple[list[PredictedCaption], int]:
        """Return the captions of a video and the number of lines recognized."""
        import av

        samples: list[tuple[int, float, str]] = []
        lines = frames = 0
        time_s = 0.0
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                time_s = float(frame.time or 0.0)
                frames = index + 1
                if time_s + 1e-6 < len(samples) / _SAMPLES_PER_SECOND:
                    continue
                picture = frame.to_ndarray(format="bgr24")
                texts = self._read(picture[picture.shape[0] * 2 // 3 :])
                lines += len(texts)
                samples.append((index, time_s, "\n".join(texts)))
        return _merge([*samples, (frames, time_s, "")]), lines

    def _read(self, picture: Any) -> list[str]:
        result = self._ocr(picture)
        if result.txts is None:
            return []
        tops = [float(box[:, 1].min()) for box in result.boxes]
        return [text for _, text in sorted(zip(tops, result.txts, strict=True))]


def _merge(samples: list[tuple[int, float, str]]) -> list[PredictedCaption]:
    """Join samples of similar text; a caption ends at the first sample that no longer shows it."""
    captions: list[PredictedCaption] = []
    start: tuple[int, float, str] | None = None
    texts: list[str] = []
    for sample in samples:
        if start is not None and not (sample[2] and similarity(sample[2], start[2]) >= _SAME_TEXT):
            text = max(texts, key=texts.count)
            captions.append(
                PredictedCaption(
                    start_s=start[1], end_s=sample[1], start_frame=start[0], end_frame=sample[0], text=text
                )
            )
            start, texts = None, []
        if sample[2]:
            start = start or sample
            texts.append(sample[2])
    return captions
