"""The fonts of the clips, from Debian packages, user folders, or wheels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

APT_PACKAGES = (
    "fonts-dejavu-core",
    "fonts-dejavu-extra",
    "fonts-liberation",
    "fonts-open-sans",
    "fonts-noto-cjk",
    "fonts-wqy-zenhei",
    "fonts-wqy-microhei",
)

_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("~/.local/share/fonts"), Path("~/.fonts"))


class FontMissingError(Exception):
    """A font of the benchmark is not installed; the message says which packages to install."""


@dataclass(frozen=True, slots=True)
class _Source:
    file: str
    index: int = 0


# Pillow's own font (Aileron) has no file of its own.
_SOURCES: dict[str, _Source | None] = {
    "aileron": None,
    "dejavu": _Source("DejaVuSans.ttf"),
    "dejavu-bold": _Source("DejaVuSans-Bold.ttf"),
    "dejavu-light": _Source("DejaVuSans-ExtraLight.ttf"),
    "dejavu-serif": _Source("DejaVuSerif.ttf"),
    "liberation": _Source("LiberationSans-Regular.ttf"),
    "liberation-bold": _Source("LiberationSans-Bold.ttf"),
    "liberation-narrow": _Source("LiberationSansNarrow-Bold.ttf"),
    "liberation-italic": _Source("LiberationSans-BoldItalic.ttf"),
    "open-sans": _Source("OpenSans-Semibold.ttf"),
    "open-sans-light": _Source("OpenSans-Light.ttf"),
    "noto-sc": _Source("NotoSansCJK-Regular.ttc", 2),
    "noto-sc-bold": _Source("NotoSansCJK-Bold.ttc", 2),
    "noto-serif-sc": _Source("NotoSerifCJK-Bold.ttc", 2),
    "zenhei": _Source("wqy-zenhei.ttc"),
    "microhei": _Source("wqy-microhei.ttc"),
}


@cache
def installed_fonts() -> dict[str, Path]:
    """Return the installed font files by name; a file in the user's folder comes before one of the system."""
    found: dict[str, Path] = {}
    for folder in reversed(_FOLDERS):
        for path in sorted(folder.expanduser().rglob("*.[to]t[fc]")):
            found[path.name] = path
    return found


def missing_fonts(names: set[str]) -> list[str]:
    """Return the names of those fonts that are not installed."""
    sources = ((name, _SOURCES[name]) for name in sorted(names))
    return [name for name, source in sources if source is not None and source.file not in installed_fonts()]


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font at a size in pixels.

    Raises:
        FontMissingError: the font is not installed.
    """
    from PIL import ImageFont

    source = _SOURCES[name]
    if source is None:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise FontMissingError("Pillow was built without FreeType: its own font cannot be scaled")
        return font
    path = installed_fonts().get(source.file)
    if path is None:
        raise FontMissingError(f"font {source.file} is missing: apt-get install {' '.join(APT_PACKAGES)}")
    return ImageFont.truetype(str(path), size, index=source.index)
