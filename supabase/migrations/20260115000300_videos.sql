-- Functions over tenants and videos. Each is one atomic step and safe to call again when its answer
-- was lost. SQLSTATE PT404 and PT409 become NotFound and Conflict (and HTTP 404 and 409 in PostgREST).

create function captionacc.tenant_tier(p_tenant_id uuid) returns text
language sql stable set search_path = '' as $$
    select case coalesce(
        (select p.access_tier_id from captionacc.user_profiles p
          where p.tenant_id = p_tenant_id and p.access_tier_id is not null and p.approval_status = 'approved'
          order by p.role = 'owner' desc, p.created_at, p.id limit 1),
        (select t.access_tier_id from captionacc.tenants t where t.id = p_tenant_id)
    )
        when 'active' then 'premium'
        when 'enterprise' then 'enterprise'
        else 'free'
    end
$$;

create function captionacc.get_tenant(p_tenant_id uuid) returns setof captionacc.tenants
language sql stable set search_path = '' as $$
    select * from captionacc.tenants where id = p_tenant_id
$$;

create function captionacc.ensure_tenant(p_tenant_id uuid, p_name text, p_access_tier_id text,
    p_auto_approve_layout boolean default false)
returns setof captionacc.tenants language plpgsql set search_path = '' as $$
begin
    insert into captionacc.tenants (id, name, access_tier_id, auto_approve_layout)
    values (p_tenant_id, p_name, p_access_tier_id, p_auto_approve_layout) on conflict (id) do nothing;
    return query select * from captionacc.tenants where id = p_tenant_id;
end $$;

create function captionacc.get_user_profile(p_user_id uuid) returns setof captionacc.user_profiles
language sql stable set search_path = '' as $$
    select * from captionacc.user_profiles where id = p_user_id
$$;

create function captionacc.set_user_profile(p_user_id uuid, p_tenant_id uuid, p_role text, p_approval_status text,
    p_access_tier_id text default null, p_display_name text default null)
returns setof captionacc.user_profiles language sql set search_path = '' as $$
    insert into captionacc.user_profiles (id, tenant_id, role, approval_status, access_tier_id, display_name)
    values (p_user_id, p_tenant_id, p_role, p_approval_status, p_access_tier_id, p_display_name)
    on conflict (id) do update set tenant_id = excluded.tenant_id, role = excluded.role,
        approval_status = excluded.approval_status, access_tier_id = excluded.access_tier_id,
        display_name = coalesce(excluded.display_name, user_profiles.display_name)
    returning *
$$;

-- Limits and what of them the calendar month (UTC) has used: measured minutes where a call has ended,
-- estimated ones while it has not.
create function captionacc.tenant_quota(p_tenant_id uuid)
returns table (processing_minutes_limit integer, frame_limit integer, max_concurrent_runs integer,
               processing_minutes_used double precision, period_start timestamptz)
language sql stable set search_path = '' as $$
    select coalesce(t.processing_minutes_limit, a.processing_minutes_limit),
           coalesce(t.frame_limit, a.frame_limit), t.max_concurrent_runs, u.minutes, m.start
    from captionacc.tenants t
    left join captionacc.access_tiers a on a.id = coalesce(
        (select p.access_tier_id from captionacc.user_profiles p
          where p.tenant_id = t.id and p.access_tier_id is not null and p.approval_status = 'approved'
          order by p.role = 'owner' desc, p.created_at, p.id limit 1),
        t.access_tier_id, 'demo')
    cross join lateral (select date_trunc('month', now() at time zone 'utc') at time zone 'utc' as start) m
    cross join lateral (
        select coalesce(sum(case when c.state in ('intent', 'spawned', 'running') then c.estimated_minutes
                                 else coalesce(c.running_seconds, 0) / 60 end), 0) as minutes
        from captionacc.compute_calls c where c.tenant_id = t.id and c.created_at >= m.start
    ) u
    where t.id = p_tenant_id
$$;

-- One content is one video of a tenant. With a claimer, the video's request is taken in the same
-- transaction, so that no daemon starts what the caller is about to do itself.
create function captionacc.create_video(p_video_id uuid, p_tenant_id uuid, p_filename text, p_storage_key text,
    p_content_hash text default null, p_file_size_bytes bigint default null, p_source text default 'upload',
    p_uploaded_by uuid default null, p_lang text default null, p_claimer text default null,
    p_lease_seconds double precision default 300)
returns jsonb language plpgsql set search_path = '' as $$
declare
    v captionacc.videos;
    r captionacc.processing_requests;
    made boolean;
    rule text;
begin
    if not exists (select 1 from captionacc.tenants where id = p_tenant_id) then
        raise exception 'no tenant %', p_tenant_id using errcode = 'PT404';
    end if;
    insert into captionacc.videos (id, tenant_id, filename, storage_key, content_hash, file_size_bytes, source,
                                   uploaded_by, lang)
    values (p_video_id, p_tenant_id, p_filename, p_storage_key, p_content_hash, p_file_size_bytes, p_source,
            p_uploaded_by, p_lang)
    on conflict do nothing returning * into v;
    made := found;
    if not made then
        select * into v from captionacc.videos
        where tenant_id = p_tenant_id and deleted_at is null
          and (id = p_video_id or content_hash = p_content_hash)
        order by (id = p_video_id) desc limit 1;
        if not found then
            raise exception 'the id or storage key of video % is taken', p_video_id using errcode = 'PT409';
        end if;
    end if;
    if p_claimer is not null then
        update captionacc.processing_requests set claimed_by = p_claimer,
            claim_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        where video_id = v.id and flow = 'video_initial_processing' and state = 'pending'
          and (claimed_by is null or claimed_by = p_claimer or claim_expires_at <= clock_timestamp());
    end if;
    select * into r from captionacc.processing_requests
    where video_id = v.id and flow = 'video_initial_processing' order by requested_at desc, id desc limit 1;
    return jsonb_build_object('created', made, 'video', to_jsonb(v),
                              'request', case when r.id is not null then to_jsonb(r)
                                  || jsonb_build_object('tenant_tier', captionacc.tenant_tier(r.tenant_id)) end);
exception when check_violation then
    get stacked diagnostics rule = constraint_name;
    raise exception 'a value of the video breaks the rule %', rule using errcode = '22023';
end $$;

create function captionacc.get_videos(p_video_ids uuid[]) returns setof captionacc.videos
language sql stable set search_path = '' as $$
    select * from captionacc.videos where id = any (p_video_ids) and deleted_at is null order by created_at, id
$$;

create function captionacc.find_video(p_tenant_id uuid, p_content_hash text) returns setof captionacc.videos
language sql stable set search_path = '' as $$
    select * from captionacc.videos
    where tenant_id = p_tenant_id and content_hash = p_content_hash and deleted_at is null
$$;

-- Newest first, after the row (p_before_created_at, p_before_id) when given.
create function captionacc.list_videos(p_tenant_id uuid default null, p_statuses text[] default null,
    p_filename text default null, p_before_created_at timestamptz default null, p_before_id uuid default null,
    p_limit integer default 100)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos
    where deleted_at is null
      and (p_tenant_id is null or tenant_id = p_tenant_id)
      and (p_statuses is null or status = any (p_statuses))
      and (p_filename is null or filename = p_filename)
      and (p_before_created_at is null or (created_at, id) < (p_before_created_at, p_before_id))
    order by created_at desc, id desc limit least(p_limit, 1000)
$$;

-- Changes exactly the columns named in p_changes.
create function captionacc.update_video(p_video_id uuid, p_changes jsonb) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    allowed constant text[] := array[
        'filename', 'lang', 'content_hash', 'file_size_bytes', 'duration_seconds', 'frame_rate', 'width', 'height',
        'rotation', 'video_codec', 'bitrate', 'frame_count', 'ocr_box_count', 'failed_ocr_count',
        'cropped_frame_count', 'caption_count', 'processing_duration_seconds', 'status', 'error_details',
        'layout_status', 'layout_error_details', 'boundaries_status', 'boundaries_error_details', 'text_status',
        'text_error_details', 'crop_left', 'crop_top', 'crop_right', 'crop_bottom', 'layout_confidence'
    ];
    given text[] := array(select jsonb_object_keys(p_changes));
    stray text[] := array(select unnest(given) except select unnest(allowed));
    assignments text;
    rule text;
begin
    if cardinality(stray) > 0 then
        raise exception 'not a column of a video that can be updated: %', array_to_string(stray, ', ')
            using errcode = '22023';
    end if;
    if cardinality(given) = 0 then
        return query select * from captionacc.videos where id = p_video_id and deleted_at is null;
    else
        select string_agg(format('%1$I = n.%1$I', name), ', ') into assignments from unnest(given) as name;
        return query execute format(
            'update captionacc.videos v set %s from jsonb_populate_record(null::captionacc.videos, $2) n '
            'where v.id = $1 and v.deleted_at is null returning v.*', assignments) using p_video_id, p_changes;
    end if;
    if not found then
        raise exception 'no video %', p_video_id using errcode = 'PT404';
    end if;
exception when check_violation then
    get stacked diagnostics rule = constraint_name;
    raise exception 'a value of the video breaks the rule %', rule using errcode = '22023';
end $$;

-- Hides the video at once (a trigger drops what has not started); its objects go with whoever purges it.
create function captionacc.delete_video(p_video_id uuid) returns boolean
language plpgsql set search_path = '' as $$
begin
    update captionacc.videos set deleted_at = clock_timestamp() where id = p_video_id and deleted_at is null;
    return found;
end $$;

create function captionacc.purge_video(p_video_id uuid) returns boolean
language plpgsql set search_path = '' as $$
begin
    delete from captionacc.videos where id = p_video_id and deleted_at is not null;
    return found;
end $$;

create function captionacc.list_deleted_videos(p_deleted_before timestamptz, p_limit integer default 100)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos where deleted_at < p_deleted_before order by deleted_at, id
    limit least(p_limit, 1000)
$$;
