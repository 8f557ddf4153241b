"""Write the figures of docs/test-plan.md and docs/review.md from the benchmarks' results files (``make docs``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "test-plan.md", ROOT / "docs" / "review.md")
API = ROOT / "benchmarks" / "api" / "results.json"
REVIEW_PAGE = ROOT / "benchmarks" / "page" / "results.json"
CAPTIONS = ROOT / "benchmarks" / "captions" / "results.json"
CAPTIONS_PAGE = ROOT / "benchmarks" / "captions" / "RESULTS.md"

_GOAL_P95_MS = 1000.0  # the plan's, for a webhook
_PLAN_VIDEO_S = 60.0  # the plan's times are for a video of this length


def with_figures(page: str) -> str:
    """Return the page with new text between ``<!-- figure: NAME -->`` and ``<!-- /figure -->``.

    Raises:
        KeyError: the page asks for a figure that does not exist.
    """
    known = figures()
    pattern = re.compile(r"(<!-- figure: (\w+) -->).*?(<!-- /figure -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{known[found[2]]}{found[3]}", page)


def figures() -> dict[str, str]:
    """Return every figure's text by its name."""
    api = json.loads(API.read_text(encoding="utf-8"))
    waves = {wave["name"]: wave for wave in api["waves"]}
    captions = json.loads(CAPTIONS.read_text(encoding="utf-8"))["engine"]
    counted = re.search(r"(\d+) captions, (\d+) s of video", CAPTIONS_PAGE.read_text(encoding="utf-8"))
    assert counted is not None, f"{CAPTIONS_PAGE} does not say how many captions and seconds it measured"
    number, video_s = int(counted[1]), float(counted[2])
    stages: dict[str, float] = {}
    for clip in captions["clips"]:
        for stage, seconds in clip["stages"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    initial = (stages["full_frames"] + stages["layout"]) / video_s
    cropping = (sum(stages.values()) - stages["full_frames"] - stages["layout"]) / video_s
    return {
        "webhooks": f"{', '.join(f'{name} {_seconds(wave)}{_above(wave)}' for name, wave in waves.items())}, "
        f"at a load average of {min(wave['load_average'] for wave in waves.values()):.0f} on {api['machine']}",
        "initial": _cost(initial),
        "cropping": _cost(cropping),
        "reading": f"about {1000 * stages['ocr'] / number:.0f} ms a caption on one core, of {number} captions",
        "api": _table(api),
        "page": _page(json.loads(REVIEW_PAGE.read_text(encoding="utf-8"))),
    }


def _seconds(wave: Mapping[str, Any]) -> str:
    return f"{wave['p95_ms'] / 1000:.1f} s"


def _above(wave: Mapping[str, Any]) -> str:
    return " (above the goal)" if wave["p95_ms"] > _GOAL_P95_MS else ""


def _cost(per_second: float) -> str:
    return f"about {_PLAN_VIDEO_S * per_second:.1f} s of CPU ({1000 * per_second:.0f} ms for each second of video)"


def _table(api: Mapping[str, Any]) -> str:
    lines = [
        "",
        f"On {api['machine']}, {api['measured_at']}:",
        "",
        "| wave | load average before | total | p50 | p95 | p99 | memory | catalog connections |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for wave in api["waves"]:
        times = " | ".join(f"{wave[name]:.0f} ms" for name in ("p50_ms", "p95_ms", "p99_ms"))
        lines.append(
            f"| {wave['name']} | {wave['load_average']:.1f} | {wave['total_s']:.1f} s | {times} "
            f"| +{wave['memory_mb']:.1f} MB | {wave['connections']} |"
        )
    return "\n".join(lines) + "\n"


def _page(results: Mapping[str, Any]) -> str:
    lines = [
        "",
        f"On {results['machine']} at a load average of {results['load_average']:.0f}, {results['measured_at']}:",
        "",
        "| what | median | at most | goal |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row['what']} | {row['median_ms']} ms | {row['most_ms']} ms | {row['goal_ms']} ms |"
            for row in results["rows"]
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(with_figures(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
