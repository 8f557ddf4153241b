-- The list of videos as people look for them: by a part of the name, and by what is to be done.

-- What is to be done with a video: 'working' (the machine), 'attention' (a person), 'done', 'failed'.
create function captionacc.video_stage(v captionacc.videos) returns text
language sql immutable set search_path = '' as $$
    select case
        when 'error' in (v.status, v.layout_status, v.boundaries_status, v.text_status) then 'failed'
        when v.status <> 'active' or v.layout_status = 'wait' then 'working'
        when v.layout_status <> 'done' then 'attention'
        when v.boundaries_status = 'wait' then 'working'
        when v.boundaries_status = 'done' and v.text_status = 'done' then 'done'
        else 'attention'
    end
$$;

create function captionacc.search_videos(p_tenant_id uuid, p_text text default null, p_stage text default null,
    p_before_created_at timestamptz default null, p_before_id uuid default null, p_limit integer default 100)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos v
    where v.deleted_at is null and v.tenant_id = p_tenant_id
      and (p_text is null or position(lower(p_text) in lower(v.filename)) > 0)
      and (p_stage is null or captionacc.video_stage(v) = p_stage)
      and (p_before_created_at is null or (v.created_at, v.id) < (p_before_created_at, p_before_id))
    order by v.created_at desc, v.id desc limit least(p_limit, 1000)
$$;

do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_catalog.pg_proc p
        where p.pronamespace = 'captionacc'::regnamespace and p.proname in ('search_videos', 'video_stage')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', name);
        execute format('grant execute on function %s to service_role', name);
    end loop;
end $$;

notify pgrst, 'reload schema';
