"""Fonts and looks of the wide clips: some fifty font families from Debian packages, each in several styles."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.captions.fonts import FontMissingError, installed_fonts

if TYPE_CHECKING:
    from PIL import ImageFont

Color = tuple[int, int, int]

# Pillow's own font, which needs no package.
BUILT_IN = "aileron"

# Package → font files. The files of a package that are not listed (thin, hairline, symbols) are unreadable as captions.
SANS: dict[str, tuple[str, ...]] = {
    "fonts-dejavu-core": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "fonts-liberation": ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSansNarrow-Bold.ttf"),
    "fonts-open-sans": ("OpenSans-Semibold.ttf", "OpenSans-Regular.ttf", "OpenSans-ExtraBold.ttf"),
    "fonts-roboto-unhinted": ("Roboto-Medium.ttf", "Roboto-Bold.ttf", "Roboto-Black.ttf", "RobotoCondensed-Bold.ttf"),
    "fonts-lato": ("Lato-Regular.ttf", "Lato-Bold.ttf", "Lato-Black.ttf", "Lato-BoldItalic.ttf"),
    "fonts-noto-core": ("NotoSans-Regular.ttf", "NotoSans-Bold.ttf", "NotoSansDisplay-Bold.ttf"),
    "fonts-cantarell": ("Cantarell-Regular.otf", "Cantarell-Bold.otf"),
    "fonts-comfortaa": ("Comfortaa-Bold.ttf",),
    "fonts-inter": ("Inter-Medium.otf", "Inter-Bold.otf", "Inter-Black.otf"),
    "fonts-quicksand": ("Quicksand-Medium.ttf", "Quicksand-Bold.ttf"),
    "fonts-dosis": ("Dosis-SemiBold.otf", "Dosis-ExtraBold.otf"),
    "fonts-cabin": ("Cabin-Regular.otf", "Cabin-Bold.otf"),
    "fonts-league-spartan": ("LeagueSpartan-Bold.otf",),
    "fonts-karla": ("Karla-Regular.otf", "Karla-ExtraBold.otf"),
    "fonts-manrope": ("Manrope-Medium.ttf", "Manrope-ExtraBold.ttf"),
    "fonts-sora": ("Sora-Regular.otf", "Sora-Bold.otf"),
    "fonts-play": ("Play-Regular.ttf", "Play-Bold.ttf"),
    "fonts-jura": ("Jura-SemiBold.otf", "Jura-Bold.otf"),
    "fonts-urw-base35": ("NimbusSans-Regular.otf", "NimbusSans-Bold.otf", "NimbusSansNarrow-Bold.otf"),
    "fonts-crosextra-carlito": ("Carlito-Regular.ttf", "Carlito-Bold.ttf"),
    "fonts-croscore": ("Arimo-Regular.ttf", "Arimo-Bold.ttf", "Arimo-BoldItalic.ttf"),
    "fonts-yanone-kaffeesatz": ("YanoneKaffeesatz-Bold.otf", "YanoneKaffeesatz-Regular.otf"),
    "fonts-b612": ("B612-Regular.otf", "B612-Bold.otf"),
    "fonts-sil-andika": ("Andika-Regular.ttf", "Andika-Bold.ttf"),
    "fonts-mplus": ("Mplus1-Medium.otf", "Mplus1-ExtraBold.otf", "Mplus2-Bold.otf"),
    "fonts-dustin": ("Dustismo.ttf", "dustismo_bold.ttf"),
}
SERIF: dict[str, tuple[str, ...]] = {
    "fonts-dejavu-core": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "fonts-liberation": ("LiberationSerif-Bold.ttf",),
    "fonts-noto-core": ("NotoSerif-Regular.ttf", "NotoSerif-Bold.ttf"),
    "fonts-roboto-slab": ("RobotoSlab-Bold.otf", "RobotoSlab-Regular.otf"),
    "fonts-ebgaramond": ("EBGaramond12-Bold.otf", "EBGaramond12-Regular.otf"),
    "fonts-linuxlibertine": ("LinLibertine_R.otf", "LinLibertine_RB.otf", "LinBiolinum_RB.otf"),
    "fonts-crosextra-caladea": ("Caladea-Regular.ttf", "Caladea-Bold.ttf"),
    "fonts-urw-base35": ("NimbusRoman-Bold.otf", "C059-Bold.otf", "P052-Bold.otf", "URWBookman-Demi.otf"),
}
MONO: dict[str, tuple[str, ...]] = {
    "fonts-dejavu-core": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "fonts-firacode": ("FiraCode-Regular.ttf", "FiraCode-Medium.ttf"),
    "fonts-jetbrains-mono": ("JetBrainsMono-Regular.ttf", "JetBrainsMono-Bold.ttf"),
    "fonts-hack": ("Hack-Regular.ttf", "Hack-Bold.ttf"),
    "fonts-anonymous-pro": ("Anonymous Pro.ttf", "Anonymous Pro B.ttf"),
    "fonts-liberation": ("LiberationMono-Regular.ttf",),
}
DISPLAY: dict[str, tuple[str, ...]] = {
    "fonts-bebas-neue": ("BebasNeue-Regular.otf", "BebasNeue-Bold.otf"),
    "fonts-comic-neue": ("ComicNeue-Bold.otf", "ComicNeue-Regular.otf"),
    "fonts-lobster": ("lobster.otf",),
    "fonts-tomsontalks": ("TomsonTalks.ttf",),
}
CHINESE: dict[str, tuple[str, ...]] = {
    "fonts-noto-cjk": ("NotoSansCJK-Regular.ttc#2", "NotoSansCJK-Bold.ttc#2", "NotoSerifCJK-Bold.ttc#2"),
    "fonts-wqy-zenhei": ("wqy-zenhei.ttc",),
    "fonts-wqy-microhei": ("wqy-microhei.ttc",),
}
_GROUPS = (SANS, SERIF, MONO, DISPLAY, CHINESE)


def files_of(group: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the font files of a group, in order."""
    return [file for files in group.values() for file in files]


def packages_of(files: set[str]) -> list[str]:
    """Return the Debian packages that contain some font files, sorted."""
    return sorted({package for group in _GROUPS for package, listed in group.items() if files & set(listed)})


def missing_files(files: set[str]) -> list[str]:
    """Return those font files that are not installed."""
    return [file for file in sorted(files - {BUILT_IN}) if file.partition("#")[0] not in installed_fonts()]


@cache
def font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font file at a size in pixels; ``NAME.ttc#2`` is the third font of a collection.

    Raises:
        FontMissingError: the font is not installed.
    """
    from PIL import ImageFont

    if file == BUILT_IN:
        built_in = ImageFont.load_default(size)
        if not isinstance(built_in, ImageFont.FreeTypeFont):
            raise FontMissingError("Pillow was built without FreeType: its own font cannot be scaled")
        return built_in
    name, _, index = file.partition("#")
    path = installed_fonts().get(name)
    if path is None:
        raise FontMissingError(f"font {name} is missing: apt-get install {' '.join(packages_of({file}))}")
    return ImageFont.truetype(str(path), size, index=int(index or 0))


@dataclass(frozen=True, slots=True)
class Look:
    """How text is lettered.

    Attributes:
        font: font file.
        size: font size as a fraction of the picture's smaller side.
        fill, accent: colors of the letters, and of the highlighted word.
        outline: width as a fraction of the font size; 0 for none.
        outline_color: color.
        shadow: offset as a fraction of the font size; 0 for none.
        box: ``none``, ``block`` (one rectangle), ``line`` (one a line), ``round`` (one a line, rounded).
        box_color, box_opacity: of the box.
        opacity: of the letters.
        upper: letters are set in capitals.
        leading: distance from line to line as a multiple of the font size.
    """

    font: str
    size: float
    fill: Color = (255, 255, 255)
    accent: Color = (255, 226, 48)
    outline: float = 0.0
    outline_color: Color = (0, 0, 0)
    shadow: float = 0.0
    box: str = "none"
    box_color: Color = (0, 0, 0)
    box_opacity: float = 0.6
    opacity: float = 1.0
    upper: bool = False
    leading: float = 1.2


_BRIGHT: tuple[Color, ...] = (
    (255, 255, 255), (255, 255, 255), (255, 255, 255), (240, 240, 240), (255, 226, 48), (255, 240, 150),
    (120, 230, 255), (140, 255, 150), (255, 190, 220),
)  # fmt: skip
_DARK: tuple[Color, ...] = ((0, 0, 0), (20, 20, 24), (16, 30, 70), (60, 10, 20))
_ACCENTS: tuple[Color, ...] = ((255, 226, 48), (80, 220, 255), (90, 255, 120), (255, 90, 90), (255, 150, 40))


def draw_look(rng: random.Random, fonts: list[str], *, sizes: tuple[float, float] = (0.038, 0.085)) -> Look:
    """Draw a look for captions: outlined, plain with a shadow, boxed, dark on light, thin, or glowing."""
    size = rng.uniform(*sizes)
    face, accent, upper = rng.choice(fonts), rng.choice(_ACCENTS), rng.random() < 0.2
    fill = rng.choice(_BRIGHT)
    leading = rng.uniform(1.12, 1.4)
    match rng.choice(("outlined", "outlined", "outlined", "plain", "box", "box", "light-box", "thin", "heavy")):
        case "outlined":
            return Look(
                face, size, fill, accent, outline=rng.uniform(0.05, 0.1), upper=upper, leading=leading,
                shadow=rng.choice((0.0, 0.0, 0.06)), outline_color=rng.choice(_DARK),
            )  # fmt: skip
        case "heavy":
            return Look(face, size * 1.15, fill, accent, outline=rng.uniform(0.1, 0.16), upper=upper, leading=leading)
        case "box":
            return Look(
                face, size, fill, accent, box=rng.choice(("block", "line", "round")), upper=upper, leading=leading,
                box_color=rng.choice(_DARK), box_opacity=rng.choice((0.45, 0.6, 0.8, 1.0)),
            )  # fmt: skip
        case "light-box":
            return Look(
                face, size, rng.choice(_DARK), (200, 30, 40), box=rng.choice(("block", "line", "round")),
                box_color=rng.choice(_BRIGHT), box_opacity=rng.choice((0.8, 0.95, 1.0)), upper=upper, leading=leading,
            )  # fmt: skip
        case "thin":
            return Look(face, size, (236, 236, 236), accent, shadow=0.04, opacity=rng.uniform(0.8, 1), leading=leading)
    return Look(face, size, fill, accent, shadow=rng.uniform(0.05, 0.09), upper=upper, leading=leading)
