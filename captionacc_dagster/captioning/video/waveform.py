"""The waveform of a video's sound: its loudest sample in each fiftieth of a second."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from captionacc_dagster.captioning.video.containers import open_video
from captionacc_dagster.captioning.video.reader import VideoFacts

PEAKS_PER_SECOND = 50
_SAMPLES_PER_SECOND = 8000


def read_waveform(facts: VideoFacts, file: BinaryIO | None = None) -> bytes:
    """Return one byte (0..255, of full scale) for each fiftieth of a second on the player's clock; empty without sound.

    Args:
        facts: the video.
        file: its content; None: ``facts.path`` is the file.

    Raises:
        VideoError: the file can no longer be opened.
    """
    from av.audio.resampler import AudioResampler
    from av.error import FFmpegError

    peaks = np.zeros(int(facts.duration_s * PEAKS_PER_SECOND) + 1, np.float32)
    zero_s = float(facts.zero_pts * facts.time_base)
    with open_video(facts.path, file=file) as container:
        if not container.streams.audio:
            return b""
        stream = container.streams.audio[0]
        resampler = AudioResampler(format="flt", layout="mono", rate=_SAMPLES_PER_SECOND)
        for packet in container.demux(stream):
            try:
                frames: list[Any] = [part for frame in packet.decode() for part in resampler.resample(frame)]
            except FFmpegError:
                continue
            for frame in frames:
                if frame.time is None:
                    continue
                samples = np.abs(frame.to_ndarray().ravel())
                places = ((frame.time - zero_s) + np.arange(samples.size) / _SAMPLES_PER_SECOND) * PEAKS_PER_SECOND
                inside = (places >= 0) & (places < peaks.size)
                np.maximum.at(peaks, places[inside].astype(np.intp), samples[inside])
    return (np.clip(peaks, 0, 1) * 255).astype(np.uint8).tobytes()
