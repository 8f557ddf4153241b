"""Print the list of videos, or the history of one video."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rich.console import Console
from rich.padding import Padding

from captionacc_dagster.captioning.captions import clock
from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.models import Video
from captionacc_dagster.cli.console import as_markup

if TYPE_CHECKING:
    from dagster import DagsterInstance


def show_videos(catalog: Catalog, console: Console, limit: int) -> None:
    """Print the newest videos."""
    page = catalog.list_videos(limit=limit)
    if not page.items:
        console.print("no videos yet: `captionacc process VIDEO` or `captionacc upload VIDEO`", highlight=False)
        return
    for video in page.items:
        # An id and a name are never broken, however narrow the terminal is, so that both can be copied.
        console.print(f"{video.id}  {as_markup(video.filename)}", highlight=False, soft_wrap=True)
        facts = [clock(video.duration_seconds)] if video.duration_seconds else []
        if video.caption_count is not None:
            facts.append("1 caption" if video.caption_count == 1 else f"{video.caption_count} captions")
        console.print(Padding("  ".join([*facts, _state(video)]), (0, 0, 0, 2), expand=False), highlight=False)
    if page.next_cursor is not None:
        console.print(f"… and more: --limit {limit * 2}", highlight=False)


def _state(video: Video) -> str:
    """Return how far a video is, and the reason if it failed."""
    if why := reason(video):
        return f"[red]error[/red] {as_markup(why)}"
    if video.status != "active":
        return f"[yellow]{video.status}[/yellow]"
    for name, value in (
        ("layout", video.layout_status),
        ("boundaries", video.boundaries_status),
        ("text", video.text_status),
    ):
        if value != "done":
            meaning = {"wait": "waits", "annotate": "ready for review", "review": "in review"}.get(value, value)
            return f"[cyan]{name}[/cyan] {meaning}"
    return "[green]done[/green]"


def reason(video: Video) -> str:
    """Return the error message of a video; empty if nothing failed."""
    for details in (
        video.error_details,
        video.layout_error_details,
        video.boundaries_error_details,
        video.text_error_details,
    ):
        if details is not None:
            return str(details.get("message", ""))
    return ""


def show_history(catalog: Catalog, instance: DagsterInstance, console: Console, video_id: UUID) -> None:
    """Print the events of a video in order of time."""
    from captionacc_dagster.orchestration.history import video_history

    video = catalog.get_video_metadata(video_id)
    console.print(f"[bold]{as_markup(video.filename)}[/bold]  {video.id}", highlight=False)
    for event in video_history(catalog, instance, video_id):
        details = "  ".join(f"{name}={value}" for name, value in event.details.items() if value is not None)
        console.print(
            f"{event.at:%Y-%m-%d %H:%M:%S}  [bold]{as_markup(event.event)}[/bold]  {as_markup(details)}",
            highlight=False,
        )
    for warning in video.warnings:
        console.print(f"[yellow]{as_markup(warning.message)}[/yellow]", highlight=False)
    if why := reason(video):
        console.print(f"[red]{as_markup(why)}[/red]", highlight=False)
