-- Of several callers of the same work, one makes the call; a cancellation that Modal did not confirm stays open.
alter table captionacc.compute_calls
    add column spawner text,
    add column spawn_expires_at timestamptz,
    add column cancel_requested_at timestamptz;
comment on column captionacc.compute_calls.spawner is 'Who makes the call now; nobody else may before spawn_expires_at.';
comment on column captionacc.compute_calls.cancel_requested_at is
    'The call is to end, but Modal did not confirm it yet; reconciliation asks again.';

-- True for the one caller that may make an intended call. With 0 seconds, the caller gives this up.
create function captionacc.claim_compute_spawn(p_call_id uuid, p_spawner text, p_lease_seconds double precision)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls
    set spawner = p_spawner, spawn_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
        waiter_seen_at = clock_timestamp()
    where id = p_call_id and state = 'intent'
      and (spawner is null or spawner = p_spawner or spawn_expires_at <= clock_timestamp());
    return found;
end $$;

-- The call is to end and may still run: it stays open until its end is certain.
create function captionacc.request_compute_cancel(p_call_id uuid, p_error_details jsonb)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls set cancel_requested_at = clock_timestamp(), error_details = p_error_details
    where id = p_call_id and state in ('intent', 'spawned', 'running');
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

-- As before; a run that asks for the call again takes back the request to cancel it.
create or replace function captionacc.record_compute_call(p_call_key text, p_video_id uuid, p_app_name text,
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
    set waiter_seen_at = clock_timestamp(), run_id = coalesce(p_run_id, run_id), cancel_requested_at = null
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

-- As before, and nobody makes the call yet.
create or replace function captionacc.respawn_compute_call(p_call_id uuid, p_attempt integer, p_reason text)
returns setof captionacc.compute_calls language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls
    set state = 'intent', attempts = attempts + 1, last_reason = p_reason, external_call_id = null,
        dashboard_url = null, spawned_at = null, started_at = null, ended_at = null, queued_seconds = null,
        running_seconds = null, result = null, error_details = null, waiter_seen_at = clock_timestamp(),
        spawner = null, spawn_expires_at = null, cancel_requested_at = null
    where id = p_call_id and attempts = p_attempt and state <> 'refused';
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

-- Oldest first; with p_waiter_unseen_since the open calls nobody has waited for since then, or that are to end.
create or replace function captionacc.list_compute_calls(p_states text[] default null, p_video_id uuid default null,
    p_waiter_unseen_since timestamptz default null, p_after_created_at timestamptz default null,
    p_after_id uuid default null, p_limit integer default 100)
returns setof captionacc.compute_calls language sql stable set search_path = '' as $$
    select * from captionacc.compute_calls
    where (p_states is null or state = any (p_states))
      and (p_video_id is null or video_id = p_video_id)
      and (p_waiter_unseen_since is null
           or ((waiter_seen_at < p_waiter_unseen_since or cancel_requested_at is not null)
               and state in ('intent', 'spawned', 'running')))
      and (p_after_created_at is null or (created_at, id) > (p_after_created_at, p_after_id))
    order by created_at, id limit least(p_limit, 1000)
$$;

revoke all on function captionacc.claim_compute_spawn(uuid, text, double precision),
    captionacc.request_compute_cancel(uuid, jsonb) from public, anon, authenticated;
grant execute on function captionacc.claim_compute_spawn(uuid, text, double precision),
    captionacc.request_compute_cancel(uuid, jsonb) to service_role;

notify pgrst, 'reload schema';
