"""Draw the demo clip: captions over a moving background, with exact truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.captioning.captions import Caption
from captionacc_dagster.captioning.geometry import BBox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH, HEIGHT, FRAME_RATE, SECONDS = 960, 540, 25, 25
FONT_SIZE = 34

# (first frame, frame after the last, text). The third and fourth touch; the sixth has two lines.
SCRIPT = (
    (20, 65, "Welcome to the harbour."),
    (85, 140, "Every morning at six,"),
    (160, 205, "the boats come back in."),
    (205, 250, "The boats go out again."),
    (275, 330, "How many fish, do you think?"),
    (345, 410, "Nobody knows for sure,\nbut everybody counts them."),
    (430, 455, "Forty-two!"),
    (470, 520, "That was yesterday."),
    (540, 600, "See you tomorrow."),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on disk and the captions drawn into it."""

    path: Path
    captions: tuple[Caption, ...]


def make_demo_clip(path: Path) -> Clip:
    """Draw and encode the clip as H.264 in MP4, with the same bytes every time on the same machine."""
    import av
    import numpy as np

    drawn = [(start, end, *_draw_caption(text)) for start, end, text in SCRIPT]
    logo = _draw_logo()
    scenery = _scenery(np.random.default_rng(7))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w", format="mp4") as container:
        # Other bytes are another video. With several threads, or with macroblock trees (even with one thread), x264
        # writes other bytes now and then.
        options = {"crf": "25", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAME_RATE * SECONDS):
            image = _background(scenery, number)
            _blend(image, logo, WIDTH - logo.shape[1] - 24, 20)
            for start, end, overlay, x, y in drawn:
                if start <= number < end:
                    _blend(image, overlay, x, y)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    part.replace(path)
    captions = tuple(
        Caption(
            start_s=start / FRAME_RATE,
            end_s=end / FRAME_RATE,
            start_frame=start,
            end_frame=end,
            text=text,
            confidence=1.0,
            bbox=BBox(x / WIDTH, y / HEIGHT, (x + overlay.shape[1]) / WIDTH, (y + overlay.shape[0]) / HEIGHT),
        )
        for (start, end, text), (_, _, overlay, x, y) in zip(SCRIPT, drawn, strict=True)
    )
    return Clip(path, captions)


def _scenery(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a wide view of hills behind the sea to pan over, ``(h, w, 3)`` RGB uint8."""
    import cv2
    import numpy as np

    width, height = WIDTH * 2, HEIGHT + 80
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.linspace((96, 140, 200), (238, 196, 150), height)[:, None]
    across = np.arange(width)
    rows = np.arange(height)[:, None]
    for base, swing, color in ((0.46, 46, (112, 120, 150)), (0.52, 34, (78, 96, 104)), (0.56, 22, (52, 76, 62))):
        waves = sum(
            swing / (k + 1) * np.sin(across * (k + 1) / 170 + phase) for k, phase in enumerate(rng.uniform(0, 6.28, 5))
        )
        image[rows > base * height + waves] = color
    sea = rows[:, 0] > 0.6 * height
    image[sea] = np.linspace((40, 92, 120), (18, 44, 72), int(sea.sum()))[:, None]
    for cells, weight in ((30, 14.0), (90, 20.0), (300, 26.0)):
        # Ripples are wide and flat; nearer ones are stronger.
        coarse = rng.standard_normal((cells * 2, cells)).astype(np.float32)
        ripples = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image[sea] += (ripples * weight * np.clip((rows / height - 0.55) * 2.2, 0.1, 1.0))[sea][..., None]
    image += rng.standard_normal((height, width, 1)).astype(np.float32) * 3
    return np.clip(image, 0, 255).astype(np.uint8)


def _background(scenery: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return frame ``number`` of a slow pan with a bob, as from a boat, ``(h, w, 3)`` RGB uint8."""
    import numpy as np

    x = int(number * 1.4) % (scenery.shape[1] - WIDTH)
    y = int(40 + 36 * np.sin(number / 23))
    return scenery[y : y + HEIGHT, x : x + WIDTH].copy()


def _draw_caption(text: str) -> tuple[NDArray[np.uint8], int, int]:
    """Draw white outlined lines; return the RGBA picture and the position of its top left corner."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=FONT_SIZE)
    probe = ImageDraw.Draw(Image.new("RGBA", (1, 1)))
    box = probe.multiline_textbbox((0, 0), text, font=font, stroke_width=2, align="center", spacing=8)
    width, height = int(box[2] - box[0]) + 4, int(box[3] - box[1]) + 4
    image = Image.new("RGBA", (width, height))
    ImageDraw.Draw(image).multiline_text(
        (2 - box[0], 2 - box[1]), text, font=font, fill="white", stroke_width=2, stroke_fill="black",
        align="center", spacing=8,
    )  # fmt: skip
    return np.asarray(image), (WIDTH - width) // 2, HEIGHT - 32 - height


def _draw_logo() -> NDArray[np.uint8]:
    """Draw a station logo: text that never changes and is not a caption."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGBA", (128, 40))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, 127, 39), 10, fill=(20, 60, 140, 200))
    draw.text((64, 20), "Harbour TV", font=ImageFont.load_default(size=20), fill="white", anchor="mm")
    return np.asarray(image)


def _blend(image: NDArray[np.uint8], overlay: NDArray[np.uint8], x: int, y: int) -> None:
    """Blend an RGBA picture over an RGB one, in place."""
    import numpy as np

    height, width = overlay.shape[:2]
    alpha = overlay[..., 3:].astype(np.float32) / 255
    patch = image[y : y + height, x : x + width]
    patch[:] = (overlay[..., :3] * alpha + patch * (1 - alpha) + 0.5).astype(np.uint8)
