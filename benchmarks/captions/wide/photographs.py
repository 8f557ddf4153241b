"""Photographs and drawings under the wide clips, from scikit-image's wheel and Debian's desktop pictures."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.captions.backgrounds import photograph
from benchmarks.captions.font_packages import unpack_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

Image = NDArray[np.uint8]

BUILT_IN = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg",
)  # fmt: skip
TEXTURES = ("grass.png", "gravel.png", "brick.png", "ihc.png", "moon.png", "coins.png")
PACKAGES = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
)
_LOMIRI = (
    "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Kleiber_by_Lukas_Baubkus", "Picture_0B_by_freespace",
    "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi", "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi",
)  # fmt: skip
_MATE = (
    "Aqua", "Blinds", "Dune", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings", "Wood",
    "YellowFlower",
)  # fmt: skip
_PLASMA = (
    "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Kite",
    "OneStandsOut", "Path", "summer_1am",
)  # fmt: skip
_DRAWN = ("Autumn/contents/images/2560x1600.jpg", "Elarun/contents/images/2560x1600.png")
# Files of the packages, below `/usr/share`. None of them contains text.
PHOTOGRAPHS = (
    *(f"backgrounds/{name}.jpg" for name in _LOMIRI),
    *(f"backgrounds/mate/nature/{name}.jpg" for name in _MATE),
    *(f"wallpapers/{name}/contents/images/2560x1600.jpg" for name in _PLASMA),
    *(f"wallpapers/{name}" for name in _DRAWN),
)
_LONGEST_SIDE = 2600  # pixels: enough for a frame of 1920x1080 and room to pan


def _folder() -> Path:
    """Return the folder that the packages are unpacked to."""
    from benchmarks.captions.folders import bench_folder

    return bench_folder() / "photographs"


def require_photographs(names: Sequence[str], *, install: bool) -> None:
    """Check that photographs are there; with ``install`` fetch the packages with apt-get and unpack them, without root.

    Raises:
        RuntimeError: photographs are missing; the message names the command that fetches them.
    """
    wanted = [name for name in names if "/" in name]
    if install and not all(_path(name).exists() for name in wanted):
        try:
            unpack_packages(_folder(), PACKAGES)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"the packages of photographs cannot be fetched: {error}") from error
    if missing := [name for name in wanted if not _path(name).exists()]:
        raise RuntimeError(
            f"{len(missing)} photographs are missing ({Path(missing[0]).name}, ...); on Debian run "
            "python -m benchmarks.captions with --install-fonts, which fetches " + ", ".join(PACKAGES)
        )


def _path(name: str) -> Path:
    return _folder() / "usr" / "share" / name


@lru_cache(maxsize=4)
def picture(name: str) -> Image:
    """Return a picture as RGB ``(h, w, 3)`` uint8, at most 2600 pixels wide or high.

    ``name`` is one of `PHOTOGRAPHS`, or a file in scikit-image's wheel.
    """
    from PIL import Image as Pillow

    if "/" not in name:
        return photograph(name)
    with Pillow.open(_path(name)) as opened:
        opened.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
        turned = opened.convert("RGB")
    turned.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(turned)
