"""Automatic approval of layouts."""

from __future__ import annotations

from typing import Literal

from captionacc_dagster.catalog.base import Catalog
from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.catalog.models import ProcessingRequest, Tenant, Video

Mode = Literal["always", "confident", "never"]


def may_be_approved(video: Video, tenant: Tenant, mode: Mode) -> bool:
    """Return whether a layout may be approved without a person.

    ``confident`` approves if the tenant allows it and the confidence reaches the tenant's minimum.
    """
    if mode != "confident":
        return mode == "always"
    certain = (video.layout_confidence or 0.0) >= tenant.auto_approve_min_confidence
    return tenant.auto_approve_layout and certain


def approve_automatically(catalog: Catalog, video: Video, mode: Mode, *, occasion: str) -> ProcessingRequest | None:
    """Approve the layout of a video that was just processed, if no person is needed, and request its captions.

    ``occasion`` is the id of the run that led here: it leads to one approval.

    Returns:
        The request for the next flow; None if a person must decide, has decided, or the video is being processed.
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
