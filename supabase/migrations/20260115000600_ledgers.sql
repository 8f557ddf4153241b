-- Ledgers: remote compute calls, webhook deliveries, the security log; and what is told of them all.

-- The call of this key, made when it is not there yet. Over the tenant's limit it is made as refused;
-- the tenant's row is locked so that two calls cannot both take the last minutes.
create function captionacc.record_compute_call(p_call_key text, p_video_id uuid, p_app_name text,
    p_environment text, p_function_name text, p_code_version text, p_input jsonb, p_request_id uuid default null,
    p_run_id text default null, p_estimated_minutes double precision default 0)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
declare
    tenant uuid;
    quota record;
    refusal jsonb;
begin
    select v.tenant_id into tenant from captionacc.videos v where v.id = p_video_id;
    if not found then
        raise exception 'no video %', p_video_id using errcode = 'PT404';
    end if;
    perform 1 from captionacc.tenants where id = tenant for no key update;
    update captionacc.compute_calls
    set waiter_seen_at = clock_timestamp(), run_id = coalesce(p_run_id, run_id)
    where call_key = p_call_key and state <> 'refused';
    if not found then
        select * into quota from captionacc.tenant_quota(tenant);
        if quota.processing_minutes_used + p_estimated_minutes > quota.processing_minutes_limit then
            refusal := jsonb_build_object(
                'message', format('%s of %s minutes of this month are used; this needs about %s more',
                    round(quota.processing_minutes_used::numeric, 1), quota.processing_minutes_limit,
                    round(p_estimated_minutes::numeric, 1)),
                'error_type', 'QuotaExceeded', 'run_id', p_run_id, 'time', clock_timestamp());
        end if;
        insert into captionacc.compute_calls (call_key, tenant_id, video_id, request_id, run_id, app_name,
            environment, function_name, code_version, input, estimated_minutes, state, error_details, ended_at)
        values (p_call_key, tenant, p_video_id, p_request_id, p_run_id, p_app_name, p_environment, p_function_name,
            p_code_version, p_input, p_estimated_minutes, case when refusal is null then 'intent' else 'refused' end,
            refusal, case when refusal is not null then clock_timestamp() end)
        on conflict (call_key) do update set state = excluded.state, error_details = excluded.error_details,
            ended_at = excluded.ended_at, run_id = excluded.run_id, estimated_minutes = excluded.estimated_minutes,
            waiter_seen_at = clock_timestamp();
    end if;
    return query select * from captionacc.compute_calls where call_key = p_call_key;
end $$;

create function captionacc.find_compute_call(p_call_key text) returns setof captionacc.compute_calls
language sql stable set search_path = '' as $$
    select * from captionacc.compute_calls where call_key = p_call_key
$$;

create function captionacc.spawn_compute_call(p_call_id uuid, p_external_call_id text,
    p_dashboard_url text default null)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls
    set state = 'spawned', external_call_id = p_external_call_id, dashboard_url = p_dashboard_url,
        spawned_at = clock_timestamp(), waiter_seen_at = clock_timestamp()
    where id = p_call_id and state = 'intent';
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

-- Somebody still waits for the call; p_running says that the remote side has begun.
create function captionacc.touch_compute_call(p_call_id uuid, p_running boolean default false)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls
    set waiter_seen_at = clock_timestamp(),
        state = case when p_running then 'running' else state end,
        started_at = case when p_running then coalesce(started_at, clock_timestamp()) else started_at end
    where id = p_call_id and state in ('intent', 'spawned', 'running');
    return found;
end $$;

-- The call is to be made anew (its result expired or its id is unknown); only from the attempt named, so
-- that a repeated request does not count twice.
create function captionacc.respawn_compute_call(p_call_id uuid, p_attempt integer, p_reason text)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls
    set state = 'intent', attempts = attempts + 1, last_reason = p_reason, external_call_id = null,
        dashboard_url = null, spawned_at = null, started_at = null, ended_at = null, queued_seconds = null,
        running_seconds = null, result = null, error_details = null, waiter_seen_at = clock_timestamp()
    where id = p_call_id and attempts = p_attempt and state <> 'refused';
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

create function captionacc.end_compute_call(p_call_id uuid, p_state text, p_result jsonb default null,
    p_error_details jsonb default null, p_queued_seconds double precision default null,
    p_running_seconds double precision default null, p_estimated_cost_usd double precision default null)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
begin
    if p_state not in ('succeeded', 'failed', 'cancelled') then
        raise exception 'a compute call ends succeeded, failed or cancelled, not %', p_state using errcode = '22023';
    end if;
    update captionacc.compute_calls
    set state = p_state, result = p_result, error_details = p_error_details, ended_at = clock_timestamp(),
        queued_seconds = p_queued_seconds, estimated_cost_usd = p_estimated_cost_usd,
        running_seconds = coalesce(p_running_seconds, extract(epoch from clock_timestamp() - started_at))
    where id = p_call_id and state in ('intent', 'spawned', 'running');
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

-- Oldest first; with p_waiter_unseen_since the open calls nobody has waited for since then.
create function captionacc.list_compute_calls(p_states text[] default null, p_video_id uuid default null,
    p_waiter_unseen_since timestamptz default null, p_after_created_at timestamptz default null,
    p_after_id uuid default null, p_limit integer default 100)
returns setof captionacc.compute_calls language sql stable set search_path = '' as $$
    select * from captionacc.compute_calls
    where (p_states is null or state = any (p_states))
      and (p_video_id is null or video_id = p_video_id)
      and (p_waiter_unseen_since is null
           or (waiter_seen_at < p_waiter_unseen_since and state in ('intent', 'spawned', 'running')))
      and (p_after_created_at is null or (created_at, id) > (p_after_created_at, p_after_id))
    order by created_at, id limit least(p_limit, 1000)
$$;

-- True for the first delivery of this id; the receipt lets its sender of a lost answer ask again.
create function captionacc.accept_webhook_delivery(p_delivery_id text, p_receipt uuid, p_source text,
    p_video_id uuid default null, p_tenant_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
begin
    insert into captionacc.webhook_deliveries (delivery_id, receipt, source, video_id, tenant_id)
    values (p_delivery_id, p_receipt, p_source, p_video_id, p_tenant_id)
    on conflict (delivery_id) do nothing;
    return exists (select 1 from captionacc.webhook_deliveries
                   where delivery_id = p_delivery_id and receipt = p_receipt);
end $$;

create function captionacc.close_webhook_delivery(p_delivery_id text, p_outcome text, p_request_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.webhook_deliveries set outcome = p_outcome, request_id = p_request_id
    where delivery_id = p_delivery_id;
    return found;
end $$;

create function captionacc.purge_webhook_deliveries(p_received_before timestamptz) returns bigint
language sql set search_path = '' as $$
    with gone as (
        delete from captionacc.webhook_deliveries where received_at < p_received_before returning 1
    )
    select count(*) from gone
$$;

create function captionacc.record_security_event(p_event_id uuid, p_event text, p_severity text default 'warning',
    p_tenant_id uuid default null, p_user_id uuid default null, p_video_id uuid default null,
    p_client_ip text default null, p_request_id text default null, p_method text default null,
    p_path text default null, p_details jsonb default '{}')
returns boolean language sql set search_path = '' as $$
    insert into captionacc.security_audit_log (id, event, severity, tenant_id, user_id, video_id, client_ip,
                                               request_id, method, path, details)
    values (p_event_id, p_event, p_severity, p_tenant_id, p_user_id, p_video_id, p_client_ip, p_request_id,
            p_method, p_path, p_details)
    on conflict (id) do nothing;
    select true
$$;

create function captionacc.list_security_events(p_tenant_id uuid default null, p_event text default null,
    p_before_created_at timestamptz default null, p_before_id uuid default null, p_limit integer default 100)
returns setof captionacc.security_audit_log language sql stable set search_path = '' as $$
    select * from captionacc.security_audit_log
    where (p_tenant_id is null or tenant_id = p_tenant_id)
      and (p_event is null or event = p_event)
      and (p_before_created_at is null or (created_at, id) < (p_before_created_at, p_before_id))
    order by created_at desc, id desc limit least(p_limit, 1000)
$$;

-- What happened to a video, in order of time.
create function captionacc.video_story(p_video_id uuid)
returns table (at timestamptz, event text, details jsonb) language sql stable set search_path = '' as $$
    select s.at, s.event, jsonb_strip_nulls(s.details) from (
        select v.created_at as at, 'uploaded' as event,
               jsonb_build_object('filename', v.filename, 'source', v.source, 'by', v.uploaded_by) as details
        from captionacc.videos v where v.id = p_video_id
        union all
        select v.layout_approved_at, 'layout approved', jsonb_build_object('approval', v.layout_approval,
               'by', v.layout_approved_by, 'crop_region', jsonb_build_array(v.crop_left, v.crop_top, v.crop_right, v.crop_bottom))
        from captionacc.videos v where v.id = p_video_id
        union all
        select v.deleted_at, 'deleted', '{}'::jsonb from captionacc.videos v where v.id = p_video_id
        union all
        select r.requested_at, 'requested', jsonb_build_object('flow', r.flow, 'request_id', r.id, 'by', r.requested_by)
        from captionacc.processing_requests r where r.video_id = p_video_id
        union all
        select r.launched_at, 'queued', jsonb_build_object('flow', r.flow, 'request_id', r.id, 'run_id', r.run_id,
               'priority', r.priority, 'attempt', r.attempts)
        from captionacc.processing_requests r where r.video_id = p_video_id
        union all
        select r.finished_at, r.state, jsonb_build_object('flow', r.flow, 'request_id', r.id, 'run_id', r.run_id,
               'error', r.error_details)
        from captionacc.processing_requests r where r.video_id = p_video_id
        union all
        select l.locked_at, 'locked', jsonb_build_object('database', l.database_name, 'holder', l.lock_holder,
               'expires_at', l.expires_at)
        from captionacc.video_database_state l where l.video_id = p_video_id
        union all
        select c.created_at, 'cropped frames version begun', jsonb_build_object('version', c.version, 'run_id', c.run_id)
        from captionacc.cropped_frames_versions c where c.video_id = p_video_id
        union all
        select c.activated_at, 'cropped frames version active',
               jsonb_build_object('version', c.version, 'frame_count', c.frame_count)
        from captionacc.cropped_frames_versions c where c.video_id = p_video_id
        union all
        select c.ended_at, 'cropped frames version ' || c.state,
               jsonb_build_object('version', c.version, 'error', c.error_details)
        from captionacc.cropped_frames_versions c where c.video_id = p_video_id
        union all
        select k.spawned_at, 'compute call spawned', jsonb_build_object('function', k.function_name,
               'call', k.external_call_id, 'url', k.dashboard_url, 'attempt', k.attempts)
        from captionacc.compute_calls k where k.video_id = p_video_id
        union all
        select k.ended_at, 'compute call ' || k.state, jsonb_build_object('function', k.function_name,
               'call', k.external_call_id, 'running_seconds', k.running_seconds, 'error', k.error_details)
        from captionacc.compute_calls k where k.video_id = p_video_id
    ) s where s.at is not null order by s.at, s.event <> 'uploaded', s.event <> 'requested', s.event
$$;

-- Counts for the metrics page; one statement, so that they belong together.
create function captionacc.catalog_metrics() returns jsonb
language sql stable set search_path = '' as $$
    select jsonb_build_object(
        'videos', (select coalesce(jsonb_object_agg(status, n), '{}') from (
            select status, count(*) as n from captionacc.videos where deleted_at is null group by status) s),
        'requests', (select coalesce(jsonb_agg(jsonb_build_object('state', state, 'flow', flow, 'tier', tier,
                'count', n, 'oldest_requested_at', oldest)), '[]') from (
            select r.state, r.flow, t.tier, count(*) as n, min(r.requested_at) as oldest
            from captionacc.processing_requests r
            join (select id, captionacc.tenant_tier(id) as tier from captionacc.tenants) t on t.id = r.tenant_id
            group by r.state, r.flow, t.tier order by 1, 2, 3) s),
        'locks', (select jsonb_build_object(
            'held', count(*) filter (where expires_at > now()), 'expired', count(*) filter (where expires_at <= now()))
            from captionacc.video_database_state where lock_holder is not null),
        'compute_calls', (select coalesce(jsonb_object_agg(state, n), '{}') from (
            select state, count(*) as n from captionacc.compute_calls group by state) s),
        'webhooks', (select coalesce(jsonb_object_agg(outcome, n), '{}') from (
            select outcome, count(*) as n from captionacc.webhook_deliveries group by outcome) s),
        'failed_ocr_frames', (select coalesce(sum(failed_ocr_count), 0) from captionacc.videos
                              where deleted_at is null)
    )
$$;

-- A sign of life; the number grows when callers must be told that the functions changed.
create function captionacc.schema_version() returns integer language sql immutable set search_path = '' as 'select 1';
