-- What the metrics page shows: how runs ended, and totals that outlive the rows they were counted from.

-- One row a Dagster run that has ended; old ones are purged, the totals stay.
create table captionacc.flow_runs (
    run_id text primary key,
    flow text not null check (flow in ('video_initial_processing', 'crop_and_infer', 'caption_ocr')),
    outcome text not null check (outcome in ('succeeded', 'failed', 'cancelled', 'restarted')),
    tier text not null check (tier in ('free', 'premium', 'enterprise')),
    tenant_id uuid references captionacc.tenants (id) on delete cascade,
    video_id uuid references captionacc.videos (id) on delete set null,
    queued_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz not null,
    stage_seconds jsonb not null default '{}',
    ocr_failures integer not null default 0 check (ocr_failures >= 0),
    retries integer not null default 0 check (retries >= 0),
    error_type text,
    recorded_at timestamptz not null default now()
);
create index flow_runs_ended_idx on captionacc.flow_runs (ended_at);
create index flow_runs_tenant_idx on captionacc.flow_runs (tenant_id, ended_at desc);
create index flow_runs_video_idx on captionacc.flow_runs (video_id) where video_id is not null;

-- A total is the sum over its slots: whoever counts takes a slot that nobody else is counting in.
create table captionacc.metric_totals (
    metric text not null,
    labels jsonb not null default '{}',
    slot smallint not null,
    value double precision not null check (value >= 0),
    primary key (metric, labels, slot)
);

do $$
declare
    name text;
begin
    foreach name in array array['flow_runs', 'metric_totals'] loop
        execute format('alter table captionacc.%I enable row level security', name);
        execute format('revoke all on captionacc.%I from public, anon, authenticated, service_role', name);
        execute format('grant select, insert, update, delete on captionacc.%I to service_role', name);
        execute format(
            'create policy service_role_all on captionacc.%I to service_role using (true) with check (true)', name
        );
    end loop;
end $$;

-- Counting waits for nobody, not even for a transaction that hangs (unless sixteen of them do).
create function captionacc.add_to_total(p_metric text, p_labels jsonb, p_amount double precision) returns void
language plpgsql set search_path = '' as $$
declare
    free integer := 0;
begin
    for place in 0..15 loop
        if pg_try_advisory_xact_lock(hashtextextended('captionacc.metric_totals:' || place, 0)) then
            free := place;
            exit;
        end if;
    end loop;
    insert into captionacc.metric_totals (metric, labels, slot, value) values (p_metric, p_labels, free, p_amount)
    on conflict (metric, labels, slot) do update set value = metric_totals.value + excluded.value;
end $$;

-- How a run ended, once; p_totals is what it adds: [{"metric", "labels", "value"}, ...]. False when it was known.
create function captionacc.record_flow_run(p_run_id text, p_flow text, p_outcome text, p_tier text, p_video_id uuid,
    p_queued_at timestamptz, p_started_at timestamptz, p_ended_at timestamptz, p_stage_seconds jsonb,
    p_ocr_failures integer, p_retries integer, p_error_type text, p_totals jsonb)
returns boolean language plpgsql set search_path = '' as $$
begin
    insert into captionacc.flow_runs (run_id, flow, outcome, tier, tenant_id, video_id, queued_at, started_at,
                                      ended_at, stage_seconds, ocr_failures, retries, error_type)
    select p_run_id, p_flow, p_outcome, p_tier, v.tenant_id, v.id, p_queued_at, p_started_at, p_ended_at,
           p_stage_seconds, p_ocr_failures, p_retries, p_error_type
    from (select 1) one left join captionacc.videos v on v.id = p_video_id
    on conflict (run_id) do nothing;
    if not found then
        return false;
    end if;
    perform captionacc.add_to_total(t.metric, t.labels, t.value)
    from jsonb_to_recordset(p_totals) as t(metric text, labels jsonb, value double precision);
    return true;
end $$;

create function captionacc.purge_flow_runs(p_ended_before timestamptz) returns bigint
language sql set search_path = '' as $$
    with gone as (
        delete from captionacc.flow_runs where ended_at < p_ended_before returning 1
    )
    select count(*) from gone
$$;

-- Each launch of a request, by whom: a sensor, the HTTP API, or the run itself (a command, the UI).
create function captionacc.count_launch() returns trigger
language plpgsql set search_path = '' as $$
begin
    perform captionacc.add_to_total('launches', jsonb_build_object('flow', new.flow, 'launcher', case
        when starts_with(old.claimed_by, 'sensor:') then 'sensor'
        when starts_with(old.claimed_by, 'api:') then 'api'
        else 'run' end), 1);
    return new;
end $$;

create trigger count_launch after update of state on captionacc.processing_requests
for each row when (old.state = 'pending' and new.state = 'launched') execute function captionacc.count_launch();

-- Each end of a remote call, what it took, and calls that had to be made anew.
create function captionacc.count_compute_call() returns trigger
language plpgsql set search_path = '' as $$
declare
    labels constant jsonb := jsonb_build_object('function', new.function_name);
begin
    if tg_op = 'UPDATE' and new.attempts > old.attempts then
        perform captionacc.add_to_total('compute_call_restarts', labels, 1);
    end if;
    if new.state not in ('succeeded', 'failed', 'cancelled', 'refused')
       or (tg_op = 'UPDATE' and old.state = new.state) then
        return new;
    end if;
    perform captionacc.add_to_total('compute_calls', labels || jsonb_build_object('outcome', new.state), 1);
    if new.running_seconds > 0 then
        perform captionacc.add_to_total('compute_call_seconds', labels, new.running_seconds);
    end if;
    if new.estimated_cost_usd > 0 then
        perform captionacc.add_to_total('compute_cost_dollars', labels, new.estimated_cost_usd);
    end if;
    if new.error_details ->> 'error_type' like '%Timeout%' then
        perform captionacc.add_to_total('compute_timeouts', labels, 1);
    end if;
    return new;
end $$;

create trigger count_compute_call after insert or update of state, attempts on captionacc.compute_calls
for each row execute function captionacc.count_compute_call();

-- Every attempt at a lock is counted; what it does is as before.
alter function captionacc.acquire_server_lock(uuid, text, text, double precision, uuid, text, uuid)
    rename to try_server_lock;
create function captionacc.acquire_server_lock(p_video_id uuid, p_database text, p_holder text,
    p_ttl_seconds double precision, p_token uuid, p_lock_type text default 'server', p_user_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
declare
    taken constant boolean := captionacc.try_server_lock(p_video_id, p_database, p_holder, p_ttl_seconds, p_token,
                                                         p_lock_type, p_user_id);
begin
    perform captionacc.add_to_total('lock_attempts', jsonb_build_object('database', p_database,
        'outcome', case when taken then 'acquired' else 'held' end), 1);
    return taken;
end $$;

-- What is there at this moment, and the totals; one statement, so that they belong together. Ended requests and
-- calls are in the totals alone: this must not take longer the more there ever was.
create or replace function captionacc.catalog_metrics() returns jsonb
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
        'compute_calls', (select coalesce(jsonb_object_agg(state, n), '{}') from (
            select state, count(*) as n from captionacc.compute_calls
            where state in ('intent', 'spawned', 'running') group by state) s),
        'totals', (select coalesce(jsonb_agg(jsonb_build_object('metric', metric, 'labels', labels, 'value', total)
                order by metric, labels), '[]') from (
            select metric, labels, sum(value) as total from captionacc.metric_totals group by metric, labels
            order by metric, labels limit 10000) s)
    )
$$;

do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_catalog.pg_proc p
        where p.pronamespace = 'captionacc'::regnamespace
          and p.proname in ('add_to_total', 'record_flow_run', 'purge_flow_runs', 'count_launch',
                            'count_compute_call', 'acquire_server_lock', 'try_server_lock', 'catalog_metrics')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', name);
        execute format('grant execute on function %s to service_role', name);
    end loop;
end $$;

notify pgrst, 'reload schema';
