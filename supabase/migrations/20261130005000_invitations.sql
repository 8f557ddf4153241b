-- Invitation codes: an owner makes one, bounded in uses and time; whoever signs in and redeems it joins the tenant.
-- The code itself is shown once and kept nowhere: the table has its hash. A code has 100 random bits, so a hash
-- without salt cannot be reversed, and guessing is hopeless.
create table captionacc.invitations (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    code_hash text not null unique check (code_hash ~ '^[0-9a-f]{64}$'),
    role text not null default 'member' check (role in ('owner', 'member')),
    note text check (char_length(note) <= 200),
    max_uses integer not null default 1 check (max_uses between 1 and 1000),
    uses integer not null default 0 check (uses between 0 and max_uses),
    created_by uuid references auth.users (id) on delete set null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz
);
comment on table captionacc.invitations is 'Codes that let people join a tenant: hashed, bounded in uses and time.';
create index invitations_tenant_idx on captionacc.invitations (tenant_id, created_at desc, id desc);
create index invitations_created_by_idx on captionacc.invitations (created_by) where created_by is not null;

alter table captionacc.invitations enable row level security;
revoke all on captionacc.invitations from public, anon, authenticated, service_role;
grant select, insert, update, delete on captionacc.invitations to service_role;
create policy service_role_all on captionacc.invitations to service_role using (true) with check (true);
-- Owners read everything of their own tenant's but the hash.
grant select (id, tenant_id, role, note, max_uses, uses, created_by, created_at, expires_at, revoked_at)
    on captionacc.invitations to authenticated;
create policy owner_read on captionacc.invitations for select to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()));

-- Whatever stands between the letters, and their case, does not matter.
create function captionacc.invitation_hash(p_code text) returns text
language sql immutable set search_path = '' as $$
    select encode(sha256(convert_to(upper(regexp_replace(coalesce(p_code, ''), '[^0-9A-Za-z]', '', 'g')), 'UTF8')), 'hex')
$$;

-- 20 letters and digits that nobody mistakes for another one, 5 bits each, from two random UUIDs.
create function captionacc.new_invitation_code() returns text
language sql volatile set search_path = '' as $$
    select string_agg(substr('ABCDEFGHJKLMNPQRSTUVWXYZ23456789', 1 + (get_byte(r.bytes, n) & 31), 1)
                      || case when n % 5 = 4 and n < 19 then '-' else '' end, '' order by n)
    from (select sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')) as bytes) r,
         generate_series(0, 19) n
$$;

create type captionacc.new_invitation as (id uuid, code text, role text, max_uses integer, expires_at timestamptz);

-- The same id again, because the answer was lost, gets a new code: nobody has seen the first one.
create function captionacc.create_invitation(p_invitation_id uuid, p_tenant_id uuid, p_created_by uuid default null,
    p_role text default 'member', p_max_uses integer default 1, p_valid_days integer default 14,
    p_note text default null)
returns setof captionacc.new_invitation language plpgsql security definer set search_path = '' as $$
declare
    made constant text := captionacc.new_invitation_code();
    open_codes bigint;
begin
    if p_role not in ('owner', 'member') then
        raise exception 'a role is owner or member, not %', p_role using errcode = '22023';
    elsif p_max_uses is null or p_max_uses not between 1 and 1000 then
        raise exception 'an invitation is for 1 to 1000 people' using errcode = '22023';
    elsif p_valid_days is null or p_valid_days not between 1 and 365 then
        raise exception 'an invitation is valid for 1 to 365 days' using errcode = '22023';
    elsif char_length(p_note) > 200 or p_note ~ '[[:cntrl:]]' then
        raise exception 'a note has at most 200 characters and no control characters' using errcode = '22023';
    end if;
    perform 1 from captionacc.tenants where id = p_tenant_id for no key update;
    if not found then
        raise exception 'no tenant %', p_tenant_id using errcode = 'PT404';
    end if;
    select count(*) into open_codes from captionacc.invitations
    where tenant_id = p_tenant_id and id <> p_invitation_id
      and revoked_at is null and expires_at > clock_timestamp() and uses < max_uses;
    if open_codes >= 100 then
        raise exception 'this tenant has 100 open invitations; revoke some' using errcode = 'PT429';
    end if;
    return query
        insert into captionacc.invitations as i
            (id, tenant_id, code_hash, role, note, max_uses, created_by, expires_at)
        values (p_invitation_id, p_tenant_id, captionacc.invitation_hash(made), p_role, p_note, p_max_uses,
                p_created_by, clock_timestamp() + make_interval(days => p_valid_days))
        on conflict (id) do update set code_hash = excluded.code_hash
            where i.tenant_id = excluded.tenant_id and i.uses = 0 and i.revoked_at is null
        returning i.id, made, i.role, i.max_uses, i.expires_at;
    if not found then
        raise exception 'there is another invitation with this id' using errcode = 'PT409';
    end if;
    insert into captionacc.security_audit_log (event, severity, tenant_id, user_id, details)
    values ('invitation_created', 'info', p_tenant_id, p_created_by, jsonb_build_object(
        'invitation', p_invitation_id, 'role', p_role, 'max_uses', p_max_uses, 'valid_days', p_valid_days));
end $$;

create function captionacc.list_invitations(p_tenant_id uuid)
returns table (id uuid, role text, note text, max_uses integer, uses integer, created_by uuid,
               created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
language sql stable set search_path = '' as $$
    select i.id, i.role, i.note, i.max_uses, i.uses, i.created_by, i.created_at, i.expires_at, i.revoked_at
    from captionacc.invitations i where i.tenant_id = p_tenant_id
    order by i.created_at desc, i.id desc limit 500
$$;

-- False for an invitation that is not there, or is another tenant's.
create function captionacc.revoke_invitation(p_invitation_id uuid, p_tenant_id uuid, p_user_id uuid default null)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
    perform 1 from captionacc.invitations where id = p_invitation_id and tenant_id = p_tenant_id;
    if not found then
        return false;
    end if;
    update captionacc.invitations set revoked_at = clock_timestamp()
    where id = p_invitation_id and tenant_id = p_tenant_id and revoked_at is null;
    if found then
        insert into captionacc.security_audit_log (event, severity, tenant_id, user_id, details)
        values ('invitation_revoked', 'info', p_tenant_id, p_user_id,
                jsonb_build_object('invitation', p_invitation_id));
    end if;
    return true;
end $$;

-- Says how it ended: joined, already (a member; nothing was used), unknown, revoked, expired, used_up, other_tenant (a
-- person has one), or rejected (an owner has decided). Refusals of an existing code are in the tenant's log; of an
-- unknown one they are not, because anybody who can sign in could fill the table with them.
create function captionacc.redeem_invitation_for(p_user_id uuid, p_code text)
returns table (outcome text, tenant_id uuid, tenant_name text, role text)
language plpgsql security definer set search_path = '' as $$
declare
    found_code captionacc.invitations;
    profile captionacc.user_profiles;
    ended text;
begin
    if p_user_id is null then
        raise exception 'sign in first' using errcode = '42501';
    end if;
    -- Locked, so that no two people are the last one.
    select i.* into found_code from captionacc.invitations i
    where i.code_hash = captionacc.invitation_hash(p_code) for update;
    if not found then
        return query select 'unknown', null::uuid, null::text, null::text;
        return;
    end if;
    select p.* into profile from captionacc.user_profiles p where p.id = p_user_id for update;
    ended := case
        when profile.tenant_id <> found_code.tenant_id then 'other_tenant'
        when profile.approval_status = 'approved' and (profile.role = 'owner' or found_code.role = 'member')
            then 'already'
        when profile.approval_status = 'rejected' then 'rejected'
        when found_code.revoked_at is not null then 'revoked'
        when found_code.expires_at <= clock_timestamp() then 'expired'
        when found_code.uses >= found_code.max_uses then 'used_up'
        else 'joined'
    end;
    if ended = 'joined' then
        -- Where Supabase Auth does not keep the accounts, whoever has a valid token is one.
        if not exists (
            select 1 from pg_catalog.pg_attribute
            where attrelid = 'auth.users'::regclass and attname = 'instance_id' and not attisdropped
        ) then
            insert into auth.users (id) values (p_user_id) on conflict do nothing;
        end if;
        insert into captionacc.user_profiles as p (id, tenant_id, role, approval_status)
        values (p_user_id, found_code.tenant_id, found_code.role, 'approved')
        on conflict (id) do update set approval_status = 'approved',
            role = case when p.role = 'owner' then p.role else excluded.role end
            where p.tenant_id = excluded.tenant_id;
        if found then
            update captionacc.invitations i set uses = i.uses + 1 where i.id = found_code.id;
        else  -- another code was faster
            ended := 'other_tenant';
        end if;
    end if;
    if ended <> 'already' then
        insert into captionacc.security_audit_log (event, severity, tenant_id, user_id, details)
        values (case ended when 'joined' then 'invitation_redeemed' else 'invitation_refused' end,
                case ended when 'joined' then 'info' else 'warning' end, found_code.tenant_id, p_user_id,
                jsonb_build_object('invitation', found_code.id, 'outcome', ended));
    end if;
    -- Whom a code was made for is told who has invited them only once they belong to it.
    return query
        select ended, t.id, t.name, (select p.role from captionacc.user_profiles p where p.id = p_user_id)
        from (select 1) one left join captionacc.tenants t
            on t.id = found_code.tenant_id and ended in ('joined', 'already');
end $$;

-- For users, over REST.
create function captionacc.create_own_invitation(p_role text default 'member', p_max_uses integer default 1,
    p_valid_days integer default 14, p_note text default null)
returns setof captionacc.new_invitation language plpgsql security definer set search_path = '' as $$
begin
    if not captionacc.is_tenant_owner() then
        raise exception 'only an owner of the tenant may do this' using errcode = '42501';
    end if;
    return query select * from captionacc.create_invitation(
        gen_random_uuid(), captionacc.current_tenant_id(), auth.uid(), p_role, p_max_uses, p_valid_days, p_note);
end $$;

create function captionacc.revoke_own_invitation(p_invitation_id uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
    if not captionacc.is_tenant_owner() then
        raise exception 'only an owner of the tenant may do this' using errcode = '42501';
    end if;
    return captionacc.revoke_invitation(p_invitation_id, captionacc.current_tenant_id(), auth.uid());
end $$;

create function captionacc.redeem_invitation(p_code text)
returns table (outcome text, tenant_id uuid, tenant_name text, role text)
language sql security definer set search_path = '' as $$
    select * from captionacc.redeem_invitation_for(auth.uid(), p_code)
$$;

revoke all on function captionacc.invitation_hash(text), captionacc.new_invitation_code(),
    captionacc.create_invitation(uuid, uuid, uuid, text, integer, integer, text),
    captionacc.list_invitations(uuid), captionacc.revoke_invitation(uuid, uuid, uuid),
    captionacc.redeem_invitation_for(uuid, text),
    captionacc.create_own_invitation(text, integer, integer, text), captionacc.revoke_own_invitation(uuid),
    captionacc.redeem_invitation(text) from public, anon, authenticated;
grant execute on function captionacc.create_invitation(uuid, uuid, uuid, text, integer, integer, text),
    captionacc.list_invitations(uuid), captionacc.revoke_invitation(uuid, uuid, uuid),
    captionacc.redeem_invitation_for(uuid, text) to service_role;
grant execute on function captionacc.create_own_invitation(text, integer, integer, text),
    captionacc.revoke_own_invitation(uuid), captionacc.redeem_invitation(text) to authenticated;

notify pgrst, 'reload schema';
