-- Demo videos: an operator marks them, and every signed-in user of every tenant reads them as examples. Only their own
-- tenant changes them.

-- A deleted one is its own tenant's alone, as every deleted video.
drop policy read_own_or_demo on captionacc.videos;
create policy read_own_or_demo on captionacc.videos for select to authenticated
    using ((is_demo and deleted_at is null) or tenant_id = (select captionacc.current_tenant_id()));

create index videos_demo_idx on captionacc.videos (created_at desc, id desc) where is_demo and deleted_at is null;

-- With a tenant, a video of another one is not found, unless demo videos count and it is one.
drop function captionacc.get_videos(uuid[], uuid);
create function captionacc.get_videos(p_video_ids uuid[], p_tenant_id uuid default null,
    p_with_demos boolean default false)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos
    where id = any (p_video_ids) and deleted_at is null
      and (p_tenant_id is null or tenant_id = p_tenant_id or (p_with_demos and is_demo))
    order by created_at, id
$$;

create function captionacc.list_demo_videos() returns setof captionacc.videos
language sql stable set search_path = '' as $$
    select * from captionacc.videos where is_demo and deleted_at is null
    order by created_at desc, id desc limit 100
$$;

create function captionacc.set_demo_video(p_video_id uuid, p_is_demo boolean) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    owner_id uuid;
begin
    update captionacc.videos set is_demo = p_is_demo
    where id = p_video_id and deleted_at is null and is_demo <> p_is_demo
    returning tenant_id into owner_id;
    if found then
        insert into captionacc.security_audit_log (event, severity, tenant_id, video_id)
        values (case when p_is_demo then 'video_shared' else 'video_unshared' end, 'info', owner_id, p_video_id);
    end if;
    return query select * from captionacc.videos where id = p_video_id and deleted_at is null;
end $$;

revoke all on function captionacc.get_videos(uuid[], uuid, boolean), captionacc.list_demo_videos(),
    captionacc.set_demo_video(uuid, boolean) from public, anon, authenticated;
grant execute on function captionacc.get_videos(uuid[], uuid, boolean), captionacc.list_demo_videos(),
    captionacc.set_demo_video(uuid, boolean) to service_role;

notify pgrst, 'reload schema';
