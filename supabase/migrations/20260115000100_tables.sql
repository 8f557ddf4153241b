-- The catalog's tables: who owns videos, what is known of each, and what is still to be done.
-- Plain SQL for Postgres 15 to 18: no extension, no superuser; hosted Supabase takes it unchanged.

create schema if not exists captionacc;
revoke all on schema captionacc from public;

create table captionacc.access_tiers (
    id text primary key,
    name text not null,
    -- null: no limit; minutes of computing in a calendar month, full frames of one video
    processing_minutes_limit integer check (processing_minutes_limit >= 0),
    frame_limit integer check (frame_limit >= 0),
    created_at timestamptz not null default now()
);
comment on table captionacc.access_tiers is 'Tiers a tenant or a user may have; priority follows from the id.';

insert into captionacc.access_tiers (id, name, processing_minutes_limit, frame_limit) values
    ('demo', 'Demo', 30, 720),
    ('trial', 'Trial', 120, 2160),
    ('active', 'Active', 3000, 8640),
    ('enterprise', 'Enterprise', null, null);

create table captionacc.tenants (
    id uuid primary key default gen_random_uuid(),
    name text not null check (name <> ''),
    access_tier_id text references captionacc.access_tiers (id),
    auto_approve_layout boolean not null default false,
    auto_approve_min_confidence double precision not null default 0.9
        check (auto_approve_min_confidence between 0 and 1),
    -- null: the access tier's limit
    processing_minutes_limit integer check (processing_minutes_limit >= 0),
    frame_limit integer check (frame_limit >= 0),
    max_concurrent_runs integer check (max_concurrent_runs > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table captionacc.user_profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    display_name text,
    role text not null default 'member' check (role in ('owner', 'member')),
    approval_status text not null default 'pending'
        check (approval_status in ('pending', 'approved', 'rejected')),
    access_tier_id text references captionacc.access_tiers (id),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index user_profiles_tenant_idx on captionacc.user_profiles (tenant_id);

create table captionacc.videos (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    uploaded_by uuid references auth.users (id) on delete set null,
    filename text not null check (filename <> ''),
    storage_key text not null unique,
    content_hash text check (content_hash ~ '^[0-9a-f]{64}$'),
    file_size_bytes bigint check (file_size_bytes >= 0),
    source text not null default 'upload' check (source in ('upload', 'cli', 'inbox', 'api', 'demo')),
    lang text,
    is_demo boolean not null default false,

    duration_seconds double precision check (duration_seconds >= 0),
    frame_rate double precision check (frame_rate > 0),
    width integer check (width > 0),
    height integer check (height > 0),
    rotation integer check (rotation in (0, 90, 180, 270)),
    video_codec text,
    bitrate bigint check (bitrate >= 0),

    frame_count integer check (frame_count >= 0),
    ocr_box_count integer check (ocr_box_count >= 0),
    failed_ocr_count integer check (failed_ocr_count >= 0),
    cropped_frame_count integer check (cropped_frame_count >= 0),
    caption_count integer check (caption_count >= 0),
    processing_duration_seconds double precision check (processing_duration_seconds >= 0),

    status text not null default 'waiting' check (status in ('waiting', 'processing', 'active', 'error')),
    error_details jsonb,
    layout_status text not null default 'wait'
        check (layout_status in ('wait', 'annotate', 'done', 'review', 'error')),
    layout_error_details jsonb,
    boundaries_status text not null default 'wait'
        check (boundaries_status in ('wait', 'annotate', 'done', 'review', 'error')),
    boundaries_error_details jsonb,
    text_status text not null default 'wait'
        check (text_status in ('wait', 'annotate', 'done', 'review', 'error')),
    text_error_details jsonb,

    crop_left double precision,
    crop_top double precision,
    crop_right double precision,
    crop_bottom double precision,
    layout_confidence double precision check (layout_confidence between 0 and 1),
    layout_approved_at timestamptz,
    layout_approved_by uuid references auth.users (id) on delete set null,
    layout_approval text check (layout_approval in ('person', 'automatic')),
    -- the active row of cropped_frames_versions; null before the first
    cropped_frames_version integer,

    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,

    constraint videos_storage_key_is_own
        check (starts_with(storage_key, tenant_id::text || '/client/videos/' || id::text || '/')),
    constraint videos_crop_region check (
        (crop_left is null and crop_top is null and crop_right is null and crop_bottom is null)
        or coalesce(
            0 <= crop_left and crop_left < crop_right and crop_right <= 1
            and 0 <= crop_top and crop_top < crop_bottom and crop_bottom <= 1,
            false
        )
    )
);
create unique index videos_content_idx on captionacc.videos (tenant_id, content_hash)
    where deleted_at is null;
create index videos_listing_idx on captionacc.videos (tenant_id, created_at desc, id desc)
    where deleted_at is null;
create index videos_newest_idx on captionacc.videos (created_at desc, id desc) where deleted_at is null;
create index videos_deleted_idx on captionacc.videos (deleted_at, id) where deleted_at is not null;
create index videos_uploaded_by_idx on captionacc.videos (uploaded_by) where uploaded_by is not null;
create index videos_approved_by_idx on captionacc.videos (layout_approved_by)
    where layout_approved_by is not null;

create table captionacc.video_database_state (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    database_name text not null check (database_name in ('layout', 'captions')),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    lock_holder text,
    lock_token uuid,
    lock_type text check (lock_type in ('server', 'client')),
    lock_holder_user_id uuid,
    locked_at timestamptz,
    expires_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (video_id, database_name),
    constraint video_database_state_whole_lock check (
        (lock_holder is null) = (lock_type is null)
        and (lock_holder is null) = (locked_at is null)
        and (lock_holder is null) = (expires_at is null)
        and (lock_holder is null) = (lock_token is null)
    )
);
create index video_database_state_expiry_idx on captionacc.video_database_state (expires_at)
    where lock_holder is not null;
create index video_database_state_tenant_idx on captionacc.video_database_state (tenant_id);

create table captionacc.cropped_frames_versions (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    version integer not null check (version > 0),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    state text not null default 'processing' check (state in ('processing', 'active', 'archived', 'failed')),
    run_id text not null,
    storage_prefix text,
    frame_count integer check (frame_count >= 0),
    error_details jsonb,
    cleaned_at timestamptz,
    created_at timestamptz not null default now(),
    activated_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (video_id, version)
);
create unique index cropped_frames_versions_active_idx on captionacc.cropped_frames_versions (video_id)
    where state = 'active';
create index cropped_frames_versions_open_idx on captionacc.cropped_frames_versions (created_at)
    where state = 'processing' or (state in ('failed', 'archived') and cleaned_at is null);
create index cropped_frames_versions_tenant_idx on captionacc.cropped_frames_versions (tenant_id);

create table captionacc.processing_requests (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    flow text not null check (flow in ('video_initial_processing', 'crop_and_infer', 'caption_ocr')),
    state text not null default 'pending'
        check (state in ('pending', 'launched', 'succeeded', 'failed', 'cancelled')),
    idempotency_key text not null unique,
    payload jsonb not null default '{}',
    base_priority integer,
    priority integer,
    requested_by uuid,
    requested_at timestamptz not null default now(),
    attempts integer not null default 0,
    not_before timestamptz not null default now(),
    claimed_by text,
    claim_expires_at timestamptz,
    run_id text,
    launched_at timestamptz,
    finished_at timestamptz,
    error_details jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table captionacc.processing_requests is
    'The outbox: written in the transaction of what causes it, open until its run has ended.';
create index processing_requests_pending_idx on captionacc.processing_requests (requested_at, id)
    where state = 'pending';
create index processing_requests_launched_idx on captionacc.processing_requests (launched_at, id)
    where state = 'launched';
create index processing_requests_video_idx on captionacc.processing_requests (video_id, requested_at);
create index processing_requests_tenant_idx on captionacc.processing_requests (tenant_id, requested_at desc, id desc);
create index processing_requests_run_idx on captionacc.processing_requests (run_id) where run_id is not null;
-- A video's initial processing and its cropping each run once at a time.
create unique index processing_requests_open_idx on captionacc.processing_requests (video_id, flow)
    where state in ('pending', 'launched') and flow <> 'caption_ocr';

create table captionacc.compute_calls (
    id uuid primary key default gen_random_uuid(),
    call_key text not null unique,
    tenant_id uuid not null references captionacc.tenants (id) on delete cascade,
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    request_id uuid references captionacc.processing_requests (id) on delete set null,
    run_id text,
    app_name text not null,
    environment text not null default '',
    function_name text not null,
    code_version text not null,
    input jsonb not null default '{}',
    state text not null default 'intent'
        check (state in ('intent', 'spawned', 'running', 'succeeded', 'failed', 'cancelled', 'refused')),
    external_call_id text,
    dashboard_url text,
    attempts integer not null default 1,
    last_reason text,
    estimated_minutes double precision not null default 0 check (estimated_minutes >= 0),
    queued_seconds double precision check (queued_seconds >= 0),
    running_seconds double precision check (running_seconds >= 0),
    estimated_cost_usd double precision check (estimated_cost_usd >= 0),
    result jsonb,
    error_details jsonb,
    waiter_seen_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    spawned_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz not null default now()
);
create index compute_calls_open_idx on captionacc.compute_calls (waiter_seen_at)
    where state in ('intent', 'spawned', 'running');
create index compute_calls_tenant_idx on captionacc.compute_calls (tenant_id, created_at);
create index compute_calls_video_idx on captionacc.compute_calls (video_id, created_at);
create index compute_calls_request_idx on captionacc.compute_calls (request_id) where request_id is not null;

create table captionacc.webhook_deliveries (
    delivery_id text primary key,
    receipt uuid not null,
    source text not null,
    video_id uuid,
    tenant_id uuid,
    outcome text not null default 'accepted',
    request_id uuid,
    received_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index webhook_deliveries_received_idx on captionacc.webhook_deliveries (received_at);

create table captionacc.security_audit_log (
    id uuid primary key default gen_random_uuid(),
    event text not null,
    severity text not null default 'warning' check (severity in ('info', 'warning', 'critical')),
    tenant_id uuid,
    user_id uuid,
    video_id uuid,
    client_ip text,
    request_id text,
    method text,
    path text,
    details jsonb not null default '{}',
    created_at timestamptz not null default now()
);
create index security_audit_log_tenant_idx on captionacc.security_audit_log (tenant_id, created_at desc, id desc);
create index security_audit_log_newest_idx on captionacc.security_audit_log (created_at desc, id desc);

create function captionacc.set_updated_at() returns trigger
language plpgsql set search_path = '' as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end $$;

do $$
declare
    name text;
begin
    foreach name in array array[
        'tenants', 'user_profiles', 'videos', 'video_database_state', 'cropped_frames_versions',
        'processing_requests', 'compute_calls', 'webhook_deliveries'
    ] loop
        execute format(
            'create trigger set_updated_at before update on captionacc.%I '
            'for each row execute function captionacc.set_updated_at()', name
        );
    end loop;
end $$;

-- The outbox's first cause: a new video asks for its initial processing in its own transaction.
-- Definer: an uploading user may write the video but not the outbox.
create function captionacc.request_initial_processing() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    insert into captionacc.processing_requests (tenant_id, video_id, flow, idempotency_key, requested_by)
    values (new.tenant_id, new.id, 'video_initial_processing',
            'video_initial_processing:' || new.id::text, new.uploaded_by);
    return new;
end $$;

create trigger request_initial_processing after insert on captionacc.videos
for each row when (new.status = 'waiting') execute function captionacc.request_initial_processing();

-- A deleted video needs nothing that has not begun.
create function captionacc.cancel_pending_requests() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    update captionacc.processing_requests
    set state = 'cancelled', finished_at = clock_timestamp(), claimed_by = null, claim_expires_at = null
    where video_id = new.id and state = 'pending';
    return new;
end $$;

create trigger cancel_pending_requests after update of deleted_at on captionacc.videos
for each row when (old.deleted_at is null and new.deleted_at is not null)
execute function captionacc.cancel_pending_requests();
