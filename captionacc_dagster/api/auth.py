"""Authenticate webhooks by secret and signature, and people by their Supabase token and profile."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, NoReturn
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.datastructures import Headers

from captionacc_dagster.api.browser_session import session_token
from captionacc_dagster.api.errors import ApiError, unavailable
from captionacc_dagster.api.request_log import current_facts
from captionacc_dagster.api.services import Services, ServicesDependency
from captionacc_dagster.api.tokens import InvalidToken, KeysUnavailable
from captionacc_dagster.catalog.models import Role, Video


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated person, with tenant and role from their profile."""

    user_id: UUID
    tenant_id: UUID
    role: Role


_CHALLENGE = 'Bearer error="invalid_token"'
_user_token = HTTPBearer(scheme_name="userToken", description="A Supabase user token.", auto_error=False)
_webhook_secret = HTTPBearer(scheme_name="webhookSecret", description="A webhook secret.", auto_error=False)
UserToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_user_token)]
WebhookSecret = Annotated[HTTPAuthorizationCredentials | None, Depends(_webhook_secret)]


def is_one_of(given: str, secrets: Iterable[SecretStr]) -> bool:
    """Return whether a value equals one of the secrets, comparing in constant time."""
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(given.encode("utf-8", "replace"), secret.get_secret_value().encode())
    return found


class BadSignature(Exception):
    """A webhook's signature is missing or invalid."""


def check_signature(headers: Headers, body: bytes, secrets: Iterable[SecretStr]) -> None:
    """Check a signature as in https://www.standardwebhooks.com, which is good for five minutes.

    Raises:
        BadSignature: headers are missing, the time is off, or no signature is valid with any of the secrets.
    """
    for secret in secrets:
        # Malformed headers and a body that is no text also end in a ValueError.
        with suppress(WebhookVerificationError, ValueError):
            return Webhook(_signing_key(secret)).verify(body, dict(headers), json_parse=False)
    raise BadSignature("the signature is missing, too old, or not valid")


def _signing_key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value().removeprefix("v1,")
    if not text.startswith("whsec_"):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return text.encode()


def refuse(services: Services, event: str, detail: str, challenge: str = "Bearer") -> NoReturn:
    """Record refused credentials, count them against the client, and say so.

    Raises:
        ApiError: 401, or 429 if this client was refused too often.
    """
    services.refused(event)
    raise ApiError(401, detail, {"WWW-Authenticate": challenge})


def check_webhook_secret(services: Services, given: HTTPAuthorizationCredentials | None) -> None:
    """Check the bearer secret of a webhook.

    Raises:
        ApiError: 401 without the right secret.
    """
    if given is None or not given.credentials:
        refuse(services, "webhook_no_secret", "Unauthorized: a bearer secret is required")
    if not is_one_of(given.credentials, services.settings.webhook_secret):
        refuse(services, "webhook_bad_secret", "Unauthorized: the secret is not valid")


class NoTenant(ApiError):
    """The account belongs to no tenant yet; an invitation code can change that."""

    def __init__(self) -> None:
        super().__init__(403, "this account belongs to no tenant")


def get_user(services: ServicesDependency, request: Request, given: UserToken) -> UUID:
    """Return the id of the person with this token, who may have no tenant yet.

    The token comes from the header, or from the browser's session; changes in a session also need the page's token.
    """
    return identify(services, given.credentials if given is not None else session_token(request))


UserDependency = Annotated[UUID, Depends(get_user)]


def identify(services: Services, token: str | None) -> UUID:
    """Return the id of the person with a token.

    Raises:
        ApiError: 401 for no token or a bad one, 503 if it cannot be verified now.
    """
    if not token:
        refuse(services, "no_token", "a user token is required", _CHALLENGE)
    try:
        user_id = services.tokens.verify(token)
    except InvalidToken as error:
        refuse(services, "bad_token", str(error), _CHALLENGE)
    except KeysUnavailable as error:
        raise unavailable(str(error)) from error
    current_facts().user_id = user_id
    return user_id


def get_caller(services: ServicesDependency, user_id: UserDependency) -> Caller:
    """Return the person with this token; the tenant comes from their profile, never from the request."""
    facts = current_facts()
    profile = services.catalog.find_user_profile(user_id)
    if profile is None:
        services.audit.record("no_profile")
        raise NoTenant
    facts.tenant_id = profile.tenant_id
    if profile.approval_status != "approved":
        services.audit.record("account_not_approved", details={"approval_status": profile.approval_status})
        raise ApiError(403, f"this account is not approved ({profile.approval_status})")
    try:
        services.limits.admit_tenant(profile.tenant_id)
    except ApiError:
        services.audit.record("rate_limited", details={"limit": "tenant"})
        raise
    return Caller(profile.id, profile.tenant_id, profile.role)


CallerDependency = Annotated[Caller, Depends(get_caller)]


def get_owner(services: ServicesDependency, caller: CallerDependency) -> Caller:
    """Return the caller if they are an owner of their tenant.

    Raises:
        ApiError: 403 for a member.
    """
    if caller.role != "owner":
        services.audit.record("owner_needed")
        raise ApiError(403, "only an owner of the tenant may do this")
    return caller


OwnerDependency = Annotated[Caller, Depends(get_owner)]


def get_own_video(video_id: UUID, services: ServicesDependency, caller: CallerDependency) -> Video:
    """Return the video if it belongs to the caller's tenant.

    Raises:
        ApiError: 404 for a missing video and for one of another tenant.
    """
    return _find_video(services, caller, video_id, with_demos=False)


def get_readable_video(video_id: UUID, services: ServicesDependency, caller: CallerDependency) -> Video:
    """Return the video if it belongs to the caller's tenant, or is a demo video.

    Raises:
        ApiError: 404 for a missing video and for one of another tenant.
    """
    return _find_video(services, caller, video_id, with_demos=True)


def _find_video(services: Services, caller: Caller, video_id: UUID, *, with_demos: bool) -> Video:
    facts = current_facts()
    facts.video_id = video_id
    found = services.catalog.get_videos([video_id], tenant_id=caller.tenant_id, with_demos=with_demos)
    video = found.get(video_id)
    if video is None:
        # The same query, record, and time for both: the tenant's own log must not tell what another tenant has.
        services.audit.record("no_such_video", video_id=video_id)
        raise ApiError(404, "no such video")
    return video


VideoDependency = Annotated[Video, Depends(get_own_video)]
# For what changes nothing.
ReadableVideoDependency = Annotated[Video, Depends(get_readable_video)]
