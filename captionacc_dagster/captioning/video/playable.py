"""Make a small film of a video that every browser plays: H.264 and AAC in MP4, with the video's own frame times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from captionacc_dagster.captioning.video.containers import open_video
from captionacc_dagster.captioning.video.reader import VideoFacts, VideoReader, scaled_size

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from captionacc_dagster.captioning.captions import Progress

SHORTER_SIDE = 480
_TICKS_PER_SECOND = 90_000
# What players decode everywhere; without B-frames, frames are stored in the order in which they are shown.
_H264 = {"profile": "baseline", "preset": "veryfast", "crf": "27"}
_SAMPLES_PER_SECOND = 48_000
_SAMPLES_PER_FRAME = 1024  # of AAC
_SOUND_BITS_PER_SECOND = 96_000


def write_playable_film(
    facts: VideoFacts, open_file: Callable[[], BinaryIO], path: Path, progress: Progress | None = None
) -> None:
    """Write the film of a video: its shorter side at most 480 pixels, with its sound.

    Args:
        facts: the video.
        open_file: opens its content; called once for the pictures and once for the sound.
        path: of the film, ending with ``.mp4``.
        progress: called at each frame with ``"film"``, the milliseconds that are written, and those of the video. What
            it raises ends the work.

    Raises:
        VideoError: the file can no longer be opened.
    """
    import av

    with (
        closing(open_file()) as pictures,
        closing(open_file()) as sound,
        VideoReader(facts, file=pictures) as reader,
        # The index comes first, so that playing begins before the whole film has arrived.
        av.open(str(path), "w", options={"movflags": "faststart"}) as film,
    ):
        video = film.add_stream("libx264", rate=max(1, round(facts.frame_rate)), options=_H264)
        video.width, video.height = playable_size(facts)
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, _TICKS_PER_SECOND)
        # Seeking decodes from the last keyframe: a second of such frames takes no time.
        video.codec_context.gop_size = max(1, round(facts.frame_rate))
        video.codec_context.thread_count = 1
        with open_video(facts.path, file=sound) as source:
            packets: Iterator[tuple[float, av.Packet]] = iter(())
            if source.streams.audio:
                audio = film.add_stream("aac", rate=_SAMPLES_PER_SECOND, layout="stereo")
                audio.bit_rate = _SOUND_BITS_PER_SECOND
                packets = _sound_packets(facts, source, audio)
            heard = next(packets, None)
            tick = -1
            for frame in reader.frames():
                if progress is not None:
                    progress("film", round(1000 * frame.time_s), max(1, round(1000 * facts.duration_s)))
                picture = av.VideoFrame.from_ndarray(frame.scaled_rgb(video.width, video.height), format="rgb24")
                tick = max(round(frame.time_s * _TICKS_PER_SECOND), tick + 1)
                picture.pts, picture.time_base = tick, video.time_base
                # In order of time, so that nothing has to be kept in memory until it can be written.
                while heard is not None and heard[0] <= frame.time_s:
                    film.mux(heard[1])
                    heard = next(packets, None)
                film.mux(video.encode(picture))
            film.mux(video.encode())
            while heard is not None:
                film.mux(heard[1])
                heard = next(packets, None)


def playable_size(facts: VideoFacts) -> tuple[int, int]:
    """Return the film's size: its shorter side at most 480 pixels, both even, as H.264 demands."""
    shorter, longer = sorted((facts.width, facts.height))
    width, height = scaled_size(facts, round(longer * SHORTER_SIDE / shorter) if shorter > SHORTER_SIDE else None)
    return max(2, width // 2 * 2), max(2, height // 2 * 2)


def _sound_packets(facts: VideoFacts, source: InputContainer, audio: AudioStream) -> Iterator[tuple[float, av.Packet]]:
    """Yield the encoded sound and its time in seconds on the player's clock; damaged parts are skipped."""
    from av.audio.resampler import AudioResampler
    from av.error import FFmpegError

    resampler = AudioResampler("fltp", "stereo", _SAMPLES_PER_SECOND, frame_size=_SAMPLES_PER_FRAME)
    zero_s = float(facts.zero_pts * facts.time_base)
    end = 0  # samples from zero to the end of what was encoded

    def encoded(frames: list[av.AudioFrame]) -> Iterator[tuple[float, av.Packet]]:
        nonlocal end
        for frame in frames:
            begin = end if frame.time is None else round((frame.time - zero_s) * _SAMPLES_PER_SECOND)
            if begin < 0:
                continue
            # Times that overlap by rounding, or after damage, would be refused.
            frame.pts, frame.time_base = max(begin, end), Fraction(1, _SAMPLES_PER_SECOND)
            end = frame.pts + frame.samples
            for packet in audio.encode(frame):
                yield frame.pts / _SAMPLES_PER_SECOND, packet

    for packet in source.demux(source.streams.audio[0]):
        try:
            frames = [part for frame in packet.decode() for part in resampler.resample(frame)]
        except FFmpegError:
            continue
        yield from encoded(frames)
    yield from encoded(resampler.resample(None))
    for packet in audio.encode():
        yield end / _SAMPLES_PER_SECOND, packet
