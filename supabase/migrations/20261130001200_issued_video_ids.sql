-- A user's insert answers alike for an id that another tenant has and for one that nobody has: only ids that were
-- issued to the user's own tenant are accepted, and the policy decides before any index is asked.
create table captionacc.issued_video_ids (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    issued_at timestamptz not null default now()
);
comment on table captionacc.issued_video_ids is 'Ids for videos that users add themselves; each is valid for a day.';
create index issued_video_ids_tenant_idx on captionacc.issued_video_ids (tenant_id, issued_at);
alter table captionacc.issued_video_ids enable row level security;
revoke all on captionacc.issued_video_ids from public, anon, authenticated, service_role;
grant select, insert, update, delete on captionacc.issued_video_ids to service_role;
create policy service_role_all on captionacc.issued_video_ids to service_role using (true) with check (true);

-- An id for a video that the caller uploads and then adds. A tenant has at most 1000 that are not a day old.
create function captionacc.new_video_id() returns uuid
language plpgsql security definer set search_path = '' as $$
declare
    tenant constant uuid := captionacc.current_tenant_id();
    made uuid;
begin
    if tenant is null then
        raise exception 'only an approved user of a tenant may do this' using errcode = '42501';
    end if;
    perform 1 from captionacc.tenants where id = tenant for no key update;
    delete from captionacc.issued_video_ids where tenant_id = tenant and issued_at < clock_timestamp() - interval '1 day';
    if (select count(*) from captionacc.issued_video_ids where tenant_id = tenant) >= 1000 then
        raise exception 'this tenant was given 1000 video ids within a day' using errcode = 'PT429';
    end if;
    insert into captionacc.issued_video_ids (tenant_id) values (tenant) returning id into made;
    return made;
end $$;

create function captionacc.is_own_issued_id(p_video_id uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select 1 from captionacc.issued_video_ids
                   where id = p_video_id and tenant_id = captionacc.current_tenant_id()
                     and issued_at >= clock_timestamp() - interval '1 day')
$$;

drop policy member_insert on captionacc.videos;
create policy member_insert on captionacc.videos for insert to authenticated
    with check (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by is null or uploaded_by = (select auth.uid()))
        and captionacc.is_own_issued_id(id)
    );

-- With a tenant, a video of another one is not found: there is no second question whose time would tell.
drop function captionacc.get_videos(uuid[]);
create function captionacc.get_videos(p_video_ids uuid[], p_tenant_id uuid default null)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos
    where id = any (p_video_ids) and deleted_at is null and (p_tenant_id is null or tenant_id = p_tenant_id)
    order by created_at, id
$$;

-- The newest request that has one of these names, of a run, of a key, or its own; with a tenant, only of that one.
drop function captionacc.find_processing_request(text, text);
create function captionacc.find_processing_request(p_run_id text default null, p_idempotency_key text default null,
    p_request_id uuid default null, p_tenant_id uuid default null)
returns setof captionacc.processing_request_details language sql stable set search_path = '' as $$
    select * from captionacc.processing_request_details
    where (run_id = p_run_id or idempotency_key = p_idempotency_key or id = p_request_id)
      and (p_tenant_id is null or tenant_id = p_tenant_id)
    order by requested_at desc, id desc limit 1
$$;

revoke all on function captionacc.new_video_id(), captionacc.is_own_issued_id(uuid),
    captionacc.get_videos(uuid[], uuid), captionacc.find_processing_request(text, text, uuid, uuid)
    from public, anon, authenticated;
grant execute on function captionacc.new_video_id(), captionacc.is_own_issued_id(uuid) to authenticated, service_role;
grant execute on function captionacc.get_videos(uuid[], uuid),
    captionacc.find_processing_request(text, text, uuid, uuid) to service_role;

notify pgrst, 'reload schema';
