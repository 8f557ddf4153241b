"""Layouts that need no person: whether one may be approved by itself, and its approval."""

from __future__ import annotations

from typing import Literal

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.catalog.models import ProcessingRequest, Tenant, Video

Mode = Literal["always", "confident", "never"]


def may_be_approved(video: Video, tenant: Tenant, mode: Mode) -> bool:
    """Say whether a layout found by the machine needs nobody to look at it.

    ``confident`` approves where the tenant wants that and the layout is at least as certain as the tenant asks.
    """
    if mode != "confident":
        return mode == "always"
    certain = (video.layout_confidence or 0.0) >= tenant.auto_approve_min_confidence
    return tenant.auto_approve_layout and certain


def approve_by_itself(catalog: Catalog, video: Video, mode: Mode, *, occasion: str) -> ProcessingRequest | None:
    """Approve the layout of a video that was just processed, if nobody needs to look at it, and ask for its captions.

    Args:
        catalog: where the video is.
        video: its row.
        mode: what the settings allow.
        occasion: what led here, the run's id: once for each.

    Returns:
        The request for the next flow; None when a person decides, has decided, or something else works on the video.
    """
    if video.status != "active" or video.layout_approved_at is not None:
        return None
    if not may_be_approved(video, catalog.get_tenant(video.tenant_id), mode):
        return None
    try:
        return catalog.approve_layout(
            video.id, video.crop_region, approval="automatic", request_key=f"crop_and_infer:auto:{occasion}"
        )
    except Conflict:
        return None
