-- Server locks of a video's databases, and versions of its cropped frames.

-- True for exactly one of any number of callers, and never waits: whoever would have to wait is told
-- false at once. The token makes a repeated call whose answer was lost find its own lock.
create function captionacc.acquire_server_lock(p_video_id uuid, p_database text, p_holder text,
    p_ttl_seconds double precision, p_token uuid, p_lock_type text default 'server', p_user_id uuid default null)
returns boolean language plpgsql set search_path = '' as $$
declare
    state captionacc.video_database_state;
begin
    if p_database not in ('layout', 'captions') then
        raise exception 'a video has no database %', p_database using errcode = '22023';
    end if;
    if not pg_try_advisory_xact_lock(hashtextextended('captionacc.lock:' || p_video_id || ':' || p_database, 0)) then
        return false;
    end if;
    insert into captionacc.video_database_state (video_id, database_name, tenant_id)
    select v.id, p_database, v.tenant_id from captionacc.videos v where v.id = p_video_id and v.deleted_at is null
    on conflict do nothing;
    select * into state from captionacc.video_database_state s
    where s.video_id = p_video_id and s.database_name = p_database for update skip locked;
    if not found then
        return false;
    end if;
    if state.lock_holder is not null and state.expires_at > clock_timestamp() then
        return state.lock_token = p_token;
    end if;
    update captionacc.video_database_state s
    set lock_holder = p_holder, lock_token = p_token, lock_type = p_lock_type, lock_holder_user_id = p_user_id,
        locked_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => p_ttl_seconds)
    where s.video_id = p_video_id and s.database_name = p_database;
    return true;
end $$;

create function captionacc.renew_server_lock(p_video_id uuid, p_database text, p_holder text,
    p_ttl_seconds double precision)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.video_database_state
    set expires_at = clock_timestamp() + make_interval(secs => p_ttl_seconds)
    where video_id = p_video_id and database_name = p_database and lock_holder = p_holder;
    return found;
end $$;

create function captionacc.release_server_lock(p_video_id uuid, p_database text, p_holder text)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.video_database_state
    set lock_holder = null, lock_token = null, lock_type = null, lock_holder_user_id = null, locked_at = null,
        expires_at = null
    where video_id = p_video_id and database_name = p_database and lock_holder = p_holder;
    return found;
end $$;

-- Frees expired locks and gives back what they were.
create function captionacc.reap_expired_locks(p_limit integer default 100)
returns setof captionacc.video_database_state language sql set search_path = '' as $$
    with expired as (
        select * from captionacc.video_database_state
        where lock_holder is not null and expires_at <= clock_timestamp()
        order by expires_at limit least(p_limit, 1000) for update skip locked
    ), freed as (
        update captionacc.video_database_state s
        set lock_holder = null, lock_token = null, lock_type = null, lock_holder_user_id = null, locked_at = null,
            expires_at = null
        from expired e where s.video_id = e.video_id and s.database_name = e.database_name
    )
    select * from expired
$$;

create function captionacc.list_locks(p_video_id uuid default null) returns setof captionacc.video_database_state
language sql stable set search_path = '' as $$
    select * from captionacc.video_database_state
    where lock_holder is not null and (p_video_id is null or video_id = p_video_id)
    order by locked_at, video_id, database_name limit 1000
$$;

-- A run that asks again gets the version it already has.
create function captionacc.next_cropped_frames_version(p_video_id uuid, p_run_id text)
returns integer language plpgsql set search_path = '' as $$
declare
    tenant uuid;
    number integer;
begin
    select v.tenant_id into tenant from captionacc.videos v
    where v.id = p_video_id and v.deleted_at is null for no key update;
    if not found then
        raise exception 'no video %', p_video_id using errcode = 'PT404';
    end if;
    select c.version into number from captionacc.cropped_frames_versions c
    where c.video_id = p_video_id and c.run_id = p_run_id and c.state = 'processing';
    if found then
        return number;
    end if;
    select coalesce(max(c.version), 0) + 1 into number from captionacc.cropped_frames_versions c
    where c.video_id = p_video_id;
    insert into captionacc.cropped_frames_versions (video_id, version, tenant_id, run_id)
    values (p_video_id, number, tenant, p_run_id);
    return number;
end $$;

create function captionacc.activate_cropped_frames_version(p_video_id uuid, p_version integer,
    p_storage_prefix text default null, p_frame_count integer default null)
returns setof captionacc.cropped_frames_versions language plpgsql set search_path = '' as $$
declare
    current_state text;
begin
    perform 1 from captionacc.videos where id = p_video_id for no key update;
    select state into current_state from captionacc.cropped_frames_versions
    where video_id = p_video_id and version = p_version;
    if not found then
        raise exception 'video % has no cropped frames version %', p_video_id, p_version using errcode = 'PT404';
    elsif current_state in ('archived', 'failed') then
        raise exception 'cropped frames version % of video % is %', p_version, p_video_id, current_state
            using errcode = 'PT409';
    elsif current_state = 'processing' then
        update captionacc.cropped_frames_versions set state = 'archived', ended_at = clock_timestamp()
        where video_id = p_video_id and state = 'active';
        update captionacc.cropped_frames_versions
        set state = 'active', activated_at = clock_timestamp(), storage_prefix = p_storage_prefix,
            frame_count = p_frame_count
        where video_id = p_video_id and version = p_version;
        update captionacc.videos
        set cropped_frames_version = p_version, cropped_frame_count = coalesce(p_frame_count, cropped_frame_count)
        where id = p_video_id;
    end if;
    return query select * from captionacc.cropped_frames_versions
    where video_id = p_video_id and version = p_version;
end $$;

create function captionacc.fail_cropped_frames_version(p_video_id uuid, p_version integer,
    p_error_details jsonb default null)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.cropped_frames_versions
    set state = 'failed', ended_at = clock_timestamp(), error_details = p_error_details
    where video_id = p_video_id and version = p_version and state = 'processing';
    return found;
end $$;

create function captionacc.list_cropped_frames_versions(p_video_id uuid)
returns setof captionacc.cropped_frames_versions language sql stable set search_path = '' as $$
    select * from captionacc.cropped_frames_versions where video_id = p_video_id order by version
$$;

-- Versions whose objects may go: failed ones, archived ones, and ones whose run has ended without a word.
create function captionacc.list_stale_cropped_frames_versions(p_ended_before timestamptz,
    p_started_before timestamptz, p_limit integer default 100)
returns setof captionacc.cropped_frames_versions language sql stable set search_path = '' as $$
    select * from captionacc.cropped_frames_versions
    where (state in ('failed', 'archived') and cleaned_at is null and ended_at < p_ended_before)
       or (state = 'processing' and created_at < p_started_before)
    order by created_at, video_id, version limit least(p_limit, 1000)
$$;

create function captionacc.mark_cropped_frames_version_cleaned(p_video_id uuid, p_version integer)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.cropped_frames_versions set cleaned_at = clock_timestamp()
    where video_id = p_video_id and version = p_version and state in ('failed', 'archived');
    return found;
end $$;
