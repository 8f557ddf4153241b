"""Files that are no proper video: processed rightly, or refused in one line that names the file and the reason."""

from __future__ import annotations

import itertools
import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.layout.find import find_layout, read_full_frames
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.video.reader import VideoError, native_frames, probe, sample_frames
from captionacc_dagster_tests.captioning.drawn_clips import flat, moving, tight_height, write_clip, write_text

pytestmark = pytest.mark.integration


def refusal(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        probe(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message == f"{path.name}: {caught.value.reason}"
    assert caught.value.path == path
    return caught.value.reason


def clip_bytes(folder: Path, *, index_first: bool = True, frames: int = 100) -> bytes:
    picture = moving(160, 120)
    path = write_clip(
        folder / "whole.mp4",
        (picture(n) for n in range(frames)),
        25,
        gop=20,
        container={"movflags": "+faststart"} if index_first else None,
    )
    return path.read_bytes()


def test_missing(tmp_path: Path):
    assert refusal(tmp_path / "absent.mp4") == "no such file"


def test_directory(tmp_path: Path):
    (tmp_path / "folder.mp4").mkdir()
    assert refusal(tmp_path / "folder.mp4") == "is a directory, not a video file"


def test_zero_bytes(tmp_path: Path):
    (tmp_path / "empty.mp4").touch()
    assert refusal(tmp_path / "empty.mp4") == "the file is empty"


def test_unreadable(tmp_path: Path):
    if os.geteuid():
        path = tmp_path / "secret.mp4"
        path.write_bytes(b"x")
        path.chmod(0)
    else:  # nothing is forbidden to root; this file can be opened but not read
        path = Path("/proc/self/mem")
    assert refusal(path).startswith("cannot be read (")


def test_device_is_no_video():
    assert refusal(Path("/dev/null")) == "is not a regular file"


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.mkv", "text.ans"])
def test_text(tmp_path: Path, name: str):
    (tmp_path / name).write_text("this is not a video\n" * 200)
    assert refusal(tmp_path / name) == "not a video file, or damaged beyond reading"


def test_noise(tmp_path: Path):
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(200_000))
    assert refusal(tmp_path / "noise.mp4")


def test_picture(tmp_path: Path):
    Image.fromarray(flat(100)).save(tmp_path / "picture.png")
    assert refusal(tmp_path / "picture.png") == "not a video file, or damaged beyond reading"


def test_playlist_does_not_open_other_files(tmp_path: Path):
    clip = write_clip(tmp_path / "secret.ts", [flat(100)] * 5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n")
    assert refusal(playlist) == "not a video file, or damaged beyond reading"
    playlist.write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    assert refusal(playlist) == "not a video file, or damaged beyond reading"


def test_mp4_cut_off_before_its_index(tmp_path: Path):
    whole = clip_bytes(tmp_path, index_first=False)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    assert refusal(tmp_path / "cut.mp4") == "damaged or cut off: its index (the moov box) is missing"


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_mp4_cut_in_the_middle_gives_what_is_there(tmp_path: Path, share: float):
    whole = clip_bytes(tmp_path)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * share)])
    facts = probe(cut)
    frames = list(native_frames(facts))
    assert 10 < len(frames) < 90
    assert facts.frame_count == pytest.approx(len(frames), abs=4)
    assert facts.duration_s == pytest.approx(len(frames) / 25, abs=0.2)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(list(sample_frames(facts, 2.0))) == int(facts.duration_s * 2)


def test_damage_in_the_middle_costs_only_the_damaged_frames(tmp_path: Path):
    whole = bytearray(clip_bytes(tmp_path))
    middle = len(whole) // 2
    whole[middle : middle + 400] = bytes(400)
    (tmp_path / "scratched.mp4").write_bytes(whole)
    times = [frame.time_s for frame in native_frames(probe(tmp_path / "scratched.mp4"))]
    assert len(times) >= 75
    assert times[-1] == pytest.approx(99 / 25, abs=0.05)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_audio_only(tmp_path: Path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert refusal(path) == "contains audio only, no video"


def test_a_song_with_a_cover_is_no_video(tmp_path: Path):
    import av
    from av.stream import Disposition

    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=16000)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(sound.encode(frame))
        output.mux(sound.encode())
        output.mux(cover.encode(av.VideoFrame.from_ndarray(flat(99, 32, 32), format="rgb24")))
        output.mux(cover.encode())
    assert refusal(path) == "contains audio only, no video"


@pytest.mark.parametrize(("width", "height"), [(16000, 1), (2, 4000), (7, 7)])
def test_a_picture_without_room_for_text(tmp_path: Path, width: int, height: int):
    path = write_clip(
        tmp_path / "line.mkv", [flat(99, width, height)] * 3, codec="ffv1", pixel_format="gray", options={}
    )
    assert refusal(path) == f"its picture of {width} x {height} pixels is too small for captions"


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.mp4", "picture.webp", "picture.bmp"])
def test_a_picture_file_is_no_video(tmp_path: Path, name: str):
    kind = "png" if name.endswith("mp4") else name.split(".")[1].replace("jpg", "jpeg")
    Image.fromarray(flat(100)).save(tmp_path / name, kind)
    assert refusal(tmp_path / name) == "not a video file, or damaged beyond reading"


def write_two(path: Path, sizes: list[tuple[int, int]], default: int | None = None) -> Path:
    """Write a file of several video streams, each of its own size and gray level."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as output:
        streams = []
        for number, (width, height) in enumerate(sizes):
            stream = cast("Any", output.add_stream("libx264", rate=10, options={"qp": "0"}))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if default is not None:
                stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        packets = []
        for number, stream in enumerate(streams):
            for at in range(12):
                picture = flat(60 + 80 * number, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, 10)
                packets += stream.encode(frame)
            packets += stream.encode()
        for packet in sorted(packets, key=lambda one: float(one.dts * one.time_base)):
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("sizes", "default", "wanted"),
    [
        ([(32, 32), (96, 64)], None, 1),  # a preview before the video
        ([(96, 64), (32, 32)], None, 0),
        ([(96, 64), (32, 32)], 1, 1),  # the one that the file marks as its main one
    ],
)
def test_the_main_one_of_two_video_streams_is_taken(
    tmp_path: Path, suffix: str, sizes: list[tuple[int, int]], default: int | None, wanted: int
):
    if suffix == "ts" and default is not None:
        default, wanted = None, 0  # a TS has no such mark: size decides
    if suffix == "mp4" and default is None:
        default = wanted  # FFmpeg marks the first stream of an mp4 where no other is
    facts = probe(write_two(tmp_path / f"two.{suffix}", sizes, default))
    assert (facts.width, facts.height) == sizes[wanted]
    frames = list(native_frames(facts))
    assert len(frames) == facts.frame_count == 12
    level = 16 + (60 + 80 * wanted) * 219 / 255
    assert all(frame.luma(BBox(0, 0, 1, 1)).mean() == pytest.approx(level, abs=1.5) for frame in frames)


def test_frames_that_a_cut_off_file_lacks_are_said(tmp_path: Path):
    whole = clip_bytes(tmp_path)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 7 // 10])
    facts = probe(tmp_path / "cut.mp4")
    [warning] = facts.warnings
    assert warning.code == "frames_missing"
    assert f"{100 - facts.frame_count} of 100 frames are missing" in warning.message


def test_a_header_that_claims_an_hour_is_not_believed(tmp_path: Path):
    clip = write_clip(tmp_path / "true.mkv", [flat(99)] * 50, 25)
    assert probe(clip).warnings == ()
    content = bytearray(clip.read_bytes())
    at = content.index(b"\x44\x89\x88")  # Matroska's Duration, eight bytes of milliseconds
    content[at + 3 : at + 11] = struct.pack(">d", 3_600_000.0)
    (tmp_path / "claims.mkv").write_bytes(content)
    facts = probe(tmp_path / "claims.mkv")
    assert facts.duration_s == pytest.approx(2.0, abs=0.01)
    assert len(list(sample_frames(facts, 0.1))) == 1
    [warning] = facts.warnings
    assert warning.code == "duration_mismatch"
    assert "says 3600 s, but its frames end after 2 s" in warning.message


def test_one_frame(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "one.mp4", [flat(120)], 25))
    assert facts.frame_count == 1
    assert facts.duration_s == pytest.approx(0.04, abs=0.005)
    assert [frame.time_s for frame in native_frames(facts)] == [0.0]
    assert len(list(sample_frames(facts, 0.1))) == 1
    engine = create_engine()
    frames = [read for _, read in read_full_frames(facts, engine)]
    assert len(frames) == 1
    assert find_layout(facts, engine, frames).tracks == ()


def test_a_video_without_any_text_has_no_tracks(tmp_path: Path):
    picture = moving(320, 180)
    facts = probe(write_clip(tmp_path / "plain.mp4", (picture(n) for n in range(60))))
    engine = create_engine()
    frames = [read for _, read in read_full_frames(facts, engine)]
    assert [frame.detections for frame in frames] == [()]
    assert [frame.error for frame in frames] == [None]
    layout = find_layout(facts, engine, frames)
    assert layout.tracks == ()
    assert layout.crop_region is None


def test_tiny_pictures(tmp_path: Path):
    facts = probe(write_clip(tmp_path / "tiny.mkv", [flat(120, 16, 8)] * 30, codec="ffv1", options={}))
    engine = create_engine()
    frames = [read for _, read in read_full_frames(facts, engine)]
    assert find_layout(facts, engine, frames).tracks == ()


def captioned(number: int, width: int = 360, height: int = 640):
    """Draw a portrait picture with a caption that changes three times."""
    picture = moving(width, height)(number)
    words = ("The first words", "Others after them", "And the last ones")
    write_text(picture, words[number // 24], (0.5, 0.9), 28)
    return picture


@pytest.mark.parametrize("kind", ["rotated", "ten bits", "late", "variable"])
def test_captions_are_found_in_unusual_files(tmp_path: Path, kind: str):
    pictures = [captioned(number) for number in range(72)]
    match kind:
        case "rotated":
            coded = [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]
            path = write_clip(tmp_path / "turned.mp4", coded, rotation=90)
        case "ten bits":
            path = write_clip(tmp_path / "deep.mkv", pictures, codec="ffv1", pixel_format="yuv420p10le", options={})
        case "late":
            pts = [7000 + 83 * number for number in range(72)]
            path = write_clip(tmp_path / "late.mp4", pictures, pts=pts)
        case _:
            steps = np.cumsum([83 if number % 10 < 5 else 40 for number in range(72)])
            path = write_clip(tmp_path / "vfr.mp4", pictures, pts=[int(step) for step in steps])
    facts = probe(path)
    assert (facts.width, facts.height) == (360, 640)
    engine = create_engine()
    layout = find_layout(facts, engine, [read for _, read in read_full_frames(facts, engine)])
    assert [track.name for track in layout.tracks] == ["bottom"]
    box = write_text(flat(0, 360, 640), "Others after them", (0.5, 0.9), 28)
    region = layout.tracks[0].region
    assert region.left <= box[0]
    assert region.right >= box[2]
    assert region.top <= box[1]
    assert region.bottom >= box[3]
    assert tight_height(layout.tracks[0]) < 2.5 * (box[3] - box[1])


def test_edit_lists_and_reordered_frames_start_at_zero(tmp_path: Path):
    pts = [100 * number for number in range(30)]
    options = {"bf": "3", "preset": "medium", "qp": "0"}
    path = write_clip(tmp_path / "edit.mp4", [flat(40 + 5 * n) for n in range(30)], 10, options=options, pts=pts)
    facts = probe(path)
    frames = list(native_frames(facts))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 10 for n in range(30)], abs=1e-3)
    luma = [float(frame.luma(BBox(0, 0, 1, 1)).mean()) for frame in frames]
    assert luma == sorted(luma)
