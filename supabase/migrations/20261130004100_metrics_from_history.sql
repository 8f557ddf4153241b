-- Runs are counted from Dagster's history and remote calls from their ledger, by the process that shows the metrics;
-- Prometheus knows what a restarted counter means. So no totals are kept here any more.

drop trigger count_launch on captionacc.processing_requests;
drop trigger count_compute_call on captionacc.compute_calls;
drop function captionacc.count_launch, captionacc.count_compute_call, captionacc.record_flow_run,
    captionacc.purge_flow_runs, captionacc.catalog_metrics, captionacc.acquire_server_lock, captionacc.add_to_total;
drop table captionacc.flow_runs, captionacc.metric_totals;

-- Locks are tried by every process and leave no row behind, so only the database can count the attempts. A sequence
-- counts without a row, a lock, or a wait. (After a crash of the server it may be up to 32 too high.)
do $$
declare
    place text;
begin
    foreach place in array array['layout_lock_acquired', 'layout_lock_held',
                                 'captions_lock_acquired', 'captions_lock_held'] loop
        execute format('create sequence captionacc.%I owned by captionacc.video_database_state.database_name', place);
        execute format('revoke all on sequence captionacc.%I from public, anon, authenticated', place);
        execute format('grant select, usage on sequence captionacc.%I to service_role', place);
    end loop;
end $$;

create function captionacc.acquire_server_lock(p_video_id uuid, p_database text, p_holder text,
    p_ttl_seconds double precision, p_token uuid, p_lock_type text default 'server', p_user_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
declare
    taken constant boolean := captionacc.try_server_lock(p_video_id, p_database, p_holder, p_ttl_seconds, p_token,
                                                         p_lock_type, p_user_id);
begin
    perform nextval(format('captionacc.%I', p_database || case when taken then '_lock_acquired' else '_lock_held' end));
    return taken;
end $$;

-- Remote calls that have ended are found by the time of their end.
create index compute_calls_ended_idx on captionacc.compute_calls (ended_at) where ended_at is not null;

-- What is there at this moment, and the remote calls that ended after a time, earliest first; one statement, so that
-- they belong together. Ended requests are not read: this must not take longer the more there ever was.
create function captionacc.catalog_metrics(p_calls_ended_after timestamptz) returns jsonb
language sql stable set search_path = '' as $$
    with open_requests as (
        select tenant_id, flow, state, requested_at from captionacc.processing_requests where state = 'pending'
        union all
        select tenant_id, flow, state, requested_at from captionacc.processing_requests where state = 'launched'
    ), tiers as (
        select t.tenant_id, captionacc.tenant_tier(t.tenant_id) as tier
        from (select distinct tenant_id from open_requests) t
    )
    select jsonb_build_object(
        'videos', (select coalesce(jsonb_object_agg(status, n), '{}') from (
            select status, count(*) as n from captionacc.videos where deleted_at is null group by status) s),
        'requests', (select coalesce(jsonb_agg(jsonb_build_object('state', state, 'flow', flow, 'tier', tier,
                'count', n, 'oldest_requested_at', oldest)), '[]') from (
            select r.state, r.flow, t.tier, count(*) as n, min(r.requested_at) as oldest
            from open_requests r join tiers t using (tenant_id) group by r.state, r.flow, t.tier order by 1, 2, 3) s),
        'locks', (select jsonb_build_object(
            'held', count(*) filter (where expires_at > now()), 'expired', count(*) filter (where expires_at <= now()))
            from captionacc.video_database_state where lock_holder is not null),
        'lock_attempts', (select jsonb_agg(jsonb_build_object('database', d, 'outcome', o, 'count', n)) from (
            select 'layout' as d, 'acquired' as o, case when is_called then last_value else 0 end as n
            from captionacc.layout_lock_acquired
            union all
            select 'layout', 'held', case when is_called then last_value else 0 end from captionacc.layout_lock_held
            union all
            select 'captions', 'acquired', case when is_called then last_value else 0 end
            from captionacc.captions_lock_acquired
            union all
            select 'captions', 'held', case when is_called then last_value else 0 end
            from captionacc.captions_lock_held) s),
        'compute_calls', (select coalesce(jsonb_object_agg(state, n), '{}') from (
            select state, count(*) as n from captionacc.compute_calls
            where state in ('intent', 'spawned', 'running') group by state) s),
        'ended_calls', (select coalesce(jsonb_agg(to_jsonb(s) order by s.ended_at), '[]') from (
            select id, function_name, state, attempts, running_seconds, estimated_cost_usd, ended_at,
                   error_details ->> 'error_type' as error_type
            from captionacc.compute_calls where ended_at > p_calls_ended_after order by ended_at limit 1000) s)
    )
$$;

do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_catalog.pg_proc p
        where p.pronamespace = 'captionacc'::regnamespace and p.proname in ('acquire_server_lock', 'catalog_metrics')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', name);
        execute format('grant execute on function %s to service_role', name);
    end loop;
end $$;

notify pgrst, 'reload schema';
