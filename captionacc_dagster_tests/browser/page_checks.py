"""What every page must do for people who see little, use keys, or have a phone; checked in a real browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

_NAMED_ROLES = {
    "button", "link", "textbox", "searchbox", "checkbox", "slider", "spinbutton", "combobox", "dialog", "image", "img",
}  # fmt: skip

# Text that is shown, its color over what lies behind it (WCAG 2.2, 1.4.3).
_CONTRAST = """() => {
  const parse = (text) => {
    const parts = (text.match(/[\\d.]+/g) || []).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const mix = (top, alpha, below) => top.map((value, i) => value * alpha + below[i] * (1 - alpha));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
      if (alpha > 0) layers.push([rgb, alpha]);
      if (alpha === 1) break;
    }
    return layers.reverse().reduce((below, [rgb, alpha]) => mix(rgb, alpha, below), [255, 255, 255]);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const silent = '[hidden], .hidden, script, template, noscript, :disabled, .said:not(.shown)';
    if (!text || element.closest(silent)) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const { rgb, alpha } = parse(style.color);
    const [a, b] = [luminance(mix(rgb, alpha * opacity, ground)), luminance(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def controls_without_name(page: Page) -> list[str]:
    """Return the controls and pictures that a screen reader could only call by their kind."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in _NAMED_ROLES
        and not node.get("name", {}).get("value", "").strip()
    ]


def texts_of_poor_contrast(page: Page) -> list[str]:
    """Return the texts whose contrast is below 4.5, or 3 for large ones."""
    return page.evaluate(_CONTRAST)


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def small_targets(page: Page, least: int = 24) -> list[str]:
    """Return the controls that are too small for a finger (WCAG 2.2, 2.5.8), links within text left out."""
    return page.evaluate(
        """(least) => [...document.querySelectorAll('button, input, summary, a.button, .tabs a')]
        .filter((element) => element.checkVisibility() && !element.matches('[type=hidden]'))
        .filter((element) => {
          const area = (element.closest('label') ?? element).getBoundingClientRect();
          return area.width < least || area.height < least;
        })
        .map((element) => element.outerHTML.slice(0, 80))""",
        least,
    )


def outline(page: Page) -> dict[str, Any]:
    """Return what the page is made of: its language, title, headings of the first level, and landmarks."""
    return page.evaluate(
        """() => ({
          lang: document.documentElement.lang,
          title: document.title,
          h1: document.querySelectorAll('h1').length,
          main: document.querySelectorAll('main').length,
          header: document.querySelectorAll('body > header').length,
          status: document.querySelectorAll('[role=status][aria-live=polite]').length,
        })"""
    )
