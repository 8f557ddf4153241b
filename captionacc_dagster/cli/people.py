"""``captionacc tenant``, ``user``, and ``invitation``: who owns videos, and who may see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID, uuid4

import typer

from captionacc_dagster.catalog.errors import Conflict
from captionacc_dagster.cli.console import as_markup, err, errors_in_one_line, refuse_option, settings, tell
from captionacc_dagster.cli.errors import AmbiguousName, ProcessError

if TYPE_CHECKING:
    from captionacc_dagster.catalog.base import Catalog
    from captionacc_dagster.catalog.models import Account, Invitation, Role, Tenant

AccessTier = Literal["demo", "trial", "active", "enterprise"]

tenant_app = typer.Typer(help="Owners of videos.", no_args_is_help=True)
user_app = typer.Typer(help="People who sign in, and the tenant whose videos they see.", no_args_is_help=True)
invitation_app = typer.Typer(help="Codes with which people join a tenant themselves.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The e-mail address of the account.", show_default=False)]
TenantName = Annotated[
    str | None,
    typer.Option("--tenant", metavar="TENANT", help="A tenant's name or id; not needed if there is only one."),
]
AsOwner = Annotated[
    bool, typer.Option("--owner", help="An owner also deletes, restores, approves others, and reads the security log.")
]


@tenant_app.command("add")
def tenant_add(
    name: Annotated[str, typer.Argument(help="Its name, such as 'My studio'.", show_default=False)],
    tier: Annotated[AccessTier, typer.Option("--tier", help="Access tier: its limits and its priority.")] = "active",
) -> None:
    """Add a tenant and print its id."""
    from captionacc_dagster.backends import open_catalog_briefly

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        tell(str(add_tenant(catalog, name, tier).id))


@user_app.command("invite")
def user_invite(email: Email, tenant: TenantName = None, owner: AsOwner = False) -> None:
    """Let a person see a tenant's videos; an account is made, and an e-mail sent, if there is none yet."""
    from captionacc_dagster.backends import open_catalog_briefly

    address = _address(email)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        tell(invite_user(catalog, address, tenant, owner=owner))


@user_app.command("approve")
def user_approve(email: Email, tenant: TenantName = None, owner: AsOwner = False) -> None:
    """Approve a person who has an account already."""
    from captionacc_dagster.backends import open_catalog_briefly

    address = _address(email)
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        tell(approve_user(catalog, address, tenant, owner=owner))


@invitation_app.command("add")
def invitation_add(
    tenant: TenantName = None,
    owner: AsOwner = False,
    uses: Annotated[int, typer.Option("--uses", min=1, max=1000, help="How many people may join with it.")] = 1,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long it is valid.")] = 14,
    note: Annotated[str | None, typer.Option("--note", help="Who it is for.")] = None,
) -> None:
    """Print a new code, once; whoever signs in and enters it joins the tenant."""
    from captionacc_dagster.backends import open_catalog_briefly

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        owned = find_tenant(catalog, tenant)
        made = catalog.create_invitation(
            owned.id, role="owner" if owner else "member", max_uses=uses, valid_days=days, note=note
        )
        tell(made.code)
        role = "an owner" if made.role == "owner" else "a member"
        people = "one person" if made.max_uses == 1 else f"{made.max_uses} people"
        until = f"{made.expires_at:%Y-%m-%d %H:%M} UTC"
        said = f"lets {people} join {owned.name} as {role}, until {until}; it is not shown again"
        err.print(as_markup(said), highlight=False, soft_wrap=True)


@invitation_app.command("list")
def invitation_list(tenant: TenantName = None) -> None:
    """Show a tenant's invitations, newest first, without their codes."""
    from captionacc_dagster.backends import open_catalog_briefly

    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        for invitation in catalog.list_invitations(find_tenant(catalog, tenant).id):
            tell(describe_invitation(invitation, datetime.now(UTC)))


@invitation_app.command("revoke")
def invitation_revoke(
    invitation: Annotated[str, typer.Argument(help="Its id, as `list` shows it.", show_default=False)],
    tenant: TenantName = None,
) -> None:
    """End an invitation; those who have joined stay."""
    from captionacc_dagster.backends import open_catalog_briefly

    try:
        number = UUID(invitation)
    except ValueError:
        refuse_option("INVITATION", f"{invitation!r} is not an id; `captionacc invitation list` shows them")
    with errors_in_one_line(), open_catalog_briefly(settings()) as catalog:
        owned = find_tenant(catalog, tenant)
        if not catalog.revoke_invitation(number, owned.id):
            raise ProcessError(f"{owned.name} has no invitation {number}")
        tell("revoked")


def describe_invitation(invitation: Invitation, now: datetime) -> str:
    """Return one line about an invitation: its id, what it is good for, and until when."""
    if invitation.revoked_at is not None:
        state = "revoked"
    elif invitation.uses >= invitation.max_uses:
        state = "used up"
    elif invitation.expires_at <= now:
        state = "expired"
    else:
        state = f"until {invitation.expires_at:%Y-%m-%d %H:%M} UTC"
    used = f"{invitation.uses} of {invitation.max_uses} used"
    note = f"  {invitation.note}" if invitation.note else ""
    return f"{invitation.id}  {invitation.role}  {used}  {state}{note}"


def _address(email: str) -> str:
    """Return an e-mail address without spaces around it, or exit as for wrong usage."""
    address = email.strip()
    name, _, host = address.rpartition("@")
    if not name or not host or not address.isprintable() or " " in address:
        refuse_option("EMAIL", f"{address!r} is no e-mail address")
    return address


def add_tenant(catalog: Catalog, name: str, access_tier: str) -> Tenant:
    """Add a tenant.

    Raises:
        ProcessError: the name is empty or unprintable, or another tenant has it.
    """
    name = " ".join(name.split())
    if not name or not name.isprintable():
        raise ProcessError("a tenant needs a name without control characters")
    for tenant in catalog.list_tenants():
        if tenant.name.casefold() == name.casefold():
            raise ProcessError(f"there is a tenant {tenant.name} already: {tenant.id}")
    return catalog.ensure_tenant(uuid4(), name, access_tier)


def find_tenant(catalog: Catalog, name: str | None) -> Tenant:
    """Return the tenant of a name or id; without one, the only tenant.

    Raises:
        ProcessError: there is none.
        AmbiguousName: several are meant.
    """
    tenants = catalog.list_tenants()
    found = [tenant for tenant in tenants if name is None or _is_named(tenant, name)]
    if len(found) == 1:
        return found[0]
    choices = [f"{tenant.id}  {tenant.name}" for tenant in found or tenants]
    if name is None and found:
        raise AmbiguousName("which tenant? give --tenant with one of", choices)
    if found:
        raise AmbiguousName(f"several tenants are called {name}; give --tenant with one of these ids", choices)
    if tenants:
        raise AmbiguousName(f"no tenant {name}; there are", choices)
    raise ProcessError("there is no tenant yet: `captionacc tenant add NAME`")


def _is_named(tenant: Tenant, name: str) -> bool:
    try:
        return tenant.id == UUID(name)
    except ValueError:
        return tenant.name.casefold() == name.casefold()


def invite_user(catalog: Catalog, email: str, tenant_name: str | None, *, owner: bool) -> str:
    """Approve a person for a tenant, with a new account if necessary, and return a sentence that says so.

    Raises:
        ProcessError: there is no such tenant, or the person belongs to another one.
    """
    tenant = find_tenant(catalog, tenant_name)
    account, how = catalog.find_account(email), ""
    if account is None:
        account, how = catalog.invite_account(email)
    return f"{_approved(catalog, account, tenant, owner=owner)}{how and '; '}{how}"


def approve_user(catalog: Catalog, email: str, tenant_name: str | None, *, owner: bool) -> str:
    """Approve a person who has an account, for the tenant of their profile, and return a sentence that says so.

    Raises:
        ProcessError: there is no such account or tenant, or the person belongs to another one.
    """
    account = catalog.find_account(email)
    if account is None:
        raise ProcessError(f"nobody has signed up as {email}: `captionacc user invite {email}`")
    profile = catalog.find_user_profile(account.id)
    if profile is not None and tenant_name is None:
        return _approved(catalog, account, catalog.get_tenant(profile.tenant_id), owner=owner)
    return _approved(catalog, account, find_tenant(catalog, tenant_name), owner=owner)


def _approved(catalog: Catalog, account: Account, tenant: Tenant, *, owner: bool) -> str:
    profile = catalog.find_user_profile(account.id)
    if profile is not None and profile.tenant_id != tenant.id:
        other = catalog.get_tenant(profile.tenant_id)
        raise ProcessError(f"{account.email} belongs to {other.name}; a person has one tenant")
    role: Role = "owner" if owner or (profile is not None and profile.role == "owner") else "member"
    try:
        catalog.set_user_profile(
            account.id,
            tenant.id,
            role=role,
            approval_status="approved",
            access_tier_id=profile.access_tier_id if profile is not None else None,
        )
    except Conflict as error:
        raise ProcessError(f"{account.email}: the account or the tenant is gone; try again") from error
    return f"{account.email} is {'an owner' if role == 'owner' else 'a member'} of {tenant.name}"
