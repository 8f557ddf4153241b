-- Leases after the machine's clock was set back. A row that was written in the future was written before that, so its
-- lease and its waiting time would last until the clock has caught up. Whoever next writes to the row, or needs what
-- it keeps, moves them back by as much: a holder that lives keeps its lease, and that of a dead one lasts as long as
-- it always does.

create function captionacc.follow_clock() returns trigger
language plpgsql set search_path = '' as $$
declare
    back constant interval := old.updated_at - clock_timestamp();
begin
    if back <= interval '0' then
        return new;
    end if;
    -- What this very write sets is right already.
    if tg_table_name = 'processing_requests' then
        if new.claim_expires_at is not distinct from old.claim_expires_at then
            new.claim_expires_at := old.claim_expires_at - back;
        end if;
        if new.not_before is not distinct from old.not_before then
            new.not_before := old.not_before - back;
        end if;
        -- Whoever claims it compares both.
        new.requested_at := old.requested_at - back;
    elsif tg_table_name = 'video_database_state' then
        if new.expires_at is not distinct from old.expires_at then
            new.expires_at := old.expires_at - back;
        end if;
        if new.locked_at is not distinct from old.locked_at then
            new.locked_at := old.locked_at - back;
        end if;
    elsif new.spawn_expires_at is not distinct from old.spawn_expires_at then
        new.spawn_expires_at := old.spawn_expires_at - back;
    end if;
    return new;
end $$;

create trigger follow_clock before update on captionacc.processing_requests
for each row when (old.state = 'pending') execute function captionacc.follow_clock();
create trigger follow_clock before update on captionacc.video_database_state
for each row when (old.lock_holder is not null) execute function captionacc.follow_clock();
create trigger follow_clock before update on captionacc.compute_calls
for each row when (old.spawner is not null) execute function captionacc.follow_clock();

-- Pending requests, of one video or all, that were written before the clock was set back. One that somebody else
-- writes to at this moment follows by that.
create function captionacc.requests_follow_clock(p_video_id uuid default null) returns void
language sql set search_path = '' as $$
    update captionacc.processing_requests r set updated_at = r.updated_at
    from (select id from captionacc.processing_requests
          where state = 'pending' and updated_at > clock_timestamp() and (p_video_id is null or video_id = p_video_id)
          order by id for update skip locked) ahead
    where r.id = ahead.id
$$;

create function captionacc.locks_follow_clock(p_video_id uuid default null, p_database text default null)
returns void language sql set search_path = '' as $$
    update captionacc.video_database_state s set updated_at = s.updated_at
    from (select video_id, database_name from captionacc.video_database_state
          where lock_holder is not null and updated_at > clock_timestamp()
            and (p_video_id is null or (video_id = p_video_id and database_name = p_database))
          order by video_id, database_name for update skip locked) ahead
    where s.video_id = ahead.video_id and s.database_name = ahead.database_name
$$;

-- The functions that need this follow the clock first; what they do is as before.
alter function captionacc.claim_processing_requests(text, integer, double precision, text[], uuid)
    rename to claim_due_requests;
create function captionacc.claim_processing_requests(p_claimer text, p_limit integer,
    p_lease_seconds double precision, p_flows text[] default null, p_request_id uuid default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
begin
    perform captionacc.requests_follow_clock();
    return query select * from captionacc.claim_due_requests(p_claimer, p_limit, p_lease_seconds, p_flows,
                                                             p_request_id);
end $$;

alter function captionacc.create_video(uuid, uuid, text, text, text, bigint, text, uuid, text, text, double precision)
    rename to insert_video;
create function captionacc.create_video(p_video_id uuid, p_tenant_id uuid, p_filename text, p_storage_key text,
    p_content_hash text default null, p_file_size_bytes bigint default null, p_source text default 'upload',
    p_uploaded_by uuid default null, p_lang text default null, p_claimer text default null,
    p_lease_seconds double precision default 300)
returns jsonb language plpgsql set search_path = '' as $$
begin
    if p_claimer is not null then
        perform captionacc.requests_follow_clock(v.id) from captionacc.videos v
        where v.tenant_id = p_tenant_id and v.deleted_at is null
          and (v.id = p_video_id or v.content_hash = p_content_hash);
    end if;
    return captionacc.insert_video(p_video_id, p_tenant_id, p_filename, p_storage_key, p_content_hash,
                                   p_file_size_bytes, p_source, p_uploaded_by, p_lang, p_claimer, p_lease_seconds);
end $$;

create or replace function captionacc.acquire_server_lock(p_video_id uuid, p_database text, p_holder text,
    p_ttl_seconds double precision, p_token uuid, p_lock_type text default 'server', p_user_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
declare
    taken boolean;
begin
    perform captionacc.locks_follow_clock(p_video_id, p_database);
    taken := captionacc.try_server_lock(p_video_id, p_database, p_holder, p_ttl_seconds, p_token, p_lock_type,
                                        p_user_id);
    perform nextval(format('captionacc.%I', p_database || case when taken then '_lock_acquired' else '_lock_held' end));
    return taken;
end $$;

alter function captionacc.reap_expired_locks(integer) rename to remove_expired_locks;
create function captionacc.reap_expired_locks(p_limit integer default 100)
returns setof captionacc.video_database_state language plpgsql set search_path = '' as $$
begin
    perform captionacc.locks_follow_clock();
    return query select * from captionacc.remove_expired_locks(p_limit);
end $$;

create or replace function captionacc.claim_compute_spawn(p_call_id uuid, p_spawner text,
    p_lease_seconds double precision)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.compute_calls set updated_at = updated_at
    where id = p_call_id and state = 'intent' and updated_at > clock_timestamp();
    update captionacc.compute_calls
    set spawner = p_spawner, spawn_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
        waiter_seen_at = clock_timestamp()
    where id = p_call_id and state = 'intent'
      and (spawner is null or spawner = p_spawner or spawn_expires_at <= clock_timestamp());
    return found;
end $$;

-- A call that began before the clock was set back has a length, too: none of it is negative.
create or replace function captionacc.end_compute_call(p_call_id uuid, p_state text, p_result jsonb default null,
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
        running_seconds = coalesce(p_running_seconds,
                                   greatest(extract(epoch from clock_timestamp() - started_at), 0))
    where id = p_call_id and state in ('intent', 'spawned', 'running');
    return query select * from captionacc.compute_calls where id = p_call_id;
    if not found then
        raise exception 'no compute call %', p_call_id using errcode = 'PT404';
    end if;
end $$;

do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_catalog.pg_proc p
        where p.pronamespace = 'captionacc'::regnamespace
          and p.proname in ('follow_clock', 'requests_follow_clock', 'locks_follow_clock', 'claim_processing_requests',
                            'create_video', 'reap_expired_locks')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', name);
        execute format('grant execute on function %s to service_role', name);
    end loop;
end $$;

notify pgrst, 'reload schema';
