-- The outbox: claims with a lease, launches, endings, and the actions of people that write to it.

create view captionacc.processing_request_details with (security_invoker = true) as
select r.id, r.tenant_id, r.video_id, r.flow, r.state, r.idempotency_key, r.payload, r.base_priority, r.priority,
       r.requested_by, r.requested_at, r.attempts, r.not_before, r.claimed_by, r.claim_expires_at, r.run_id,
       r.launched_at, r.finished_at, r.error_details, r.created_at, r.updated_at,
       captionacc.tenant_tier(r.tenant_id) as tenant_tier
from captionacc.processing_requests r;
revoke all on captionacc.processing_request_details from public, anon, authenticated, service_role;
grant select on captionacc.processing_request_details to service_role;

-- Takes up to p_limit pending requests for p_lease_seconds, oldest first; each goes to one claimer. A
-- claimer that dies gives them back by the lease's end, one that asks by id gets its own claim again.
create function captionacc.claim_processing_requests(p_claimer text, p_limit integer,
    p_lease_seconds double precision, p_flows text[] default null, p_request_id uuid default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    taken uuid[];
begin
    with free as (
        select id from captionacc.processing_requests
        where state = 'pending'
          and (claimed_by is null or claim_expires_at <= clock_timestamp()
               or (p_request_id is not null and claimed_by = p_claimer))
          and (p_request_id is not null or not_before <= clock_timestamp())
          and (p_flows is null or flow = any (p_flows))
          and (p_request_id is null or id = p_request_id)
        order by requested_at, id limit least(p_limit, 1000) for update skip locked
    ), claimed as (
        update captionacc.processing_requests r
        set claimed_by = p_claimer, claim_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        from free where r.id = free.id returning r.id
    )
    select array_agg(id) into taken from claimed;
    return query select * from captionacc.processing_request_details where id = any (taken)
                 order by requested_at, id;
end $$;

create function captionacc.renew_request_claim(p_request_id uuid, p_claimer text, p_lease_seconds double precision)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.processing_requests
    set claim_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_request_id and state = 'pending' and claimed_by = p_claimer;
    return found;
end $$;

create function captionacc.request_by_id(p_request_id uuid) returns captionacc.processing_requests
language plpgsql stable set search_path = '' as $$
declare
    r captionacc.processing_requests;
begin
    select * into r from captionacc.processing_requests where id = p_request_id;
    if not found then
        raise exception 'no processing request %', p_request_id using errcode = 'PT404';
    end if;
    return r;
end $$;

create function captionacc.launch_processing_request(p_request_id uuid, p_claimer text, p_run_id text,
    p_priority integer default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    r captionacc.processing_requests;
begin
    update captionacc.processing_requests
    set state = 'launched', run_id = p_run_id, priority = p_priority, launched_at = clock_timestamp(),
        attempts = attempts + 1, claimed_by = null, claim_expires_at = null, error_details = null
    where id = p_request_id and state = 'pending' and claimed_by = p_claimer;
    if not found then
        r := captionacc.request_by_id(p_request_id);
        if r.state = 'pending' or r.run_id is distinct from p_run_id then
            raise exception 'request % is % and not claimed by %', p_request_id, r.state, p_claimer
                using errcode = 'PT409';
        end if;
    end if;
    return query select * from captionacc.processing_request_details where id = p_request_id;
end $$;

-- A claim given back, because its launch failed; it is due again after p_delay_seconds.
create function captionacc.release_processing_request(p_request_id uuid, p_claimer text,
    p_delay_seconds double precision default 0, p_error_details jsonb default null)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.processing_requests
    set claimed_by = null, claim_expires_at = null, error_details = p_error_details,
        not_before = clock_timestamp() + make_interval(secs => p_delay_seconds)
    where id = p_request_id and state = 'pending' and claimed_by = p_claimer;
    return found;
end $$;

-- A launched request whose run is gone waits for the next claim.
create function captionacc.requeue_processing_request(p_request_id uuid, p_run_id text,
    p_error_details jsonb default null)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.processing_requests
    set state = 'pending', run_id = null, priority = null, launched_at = null, error_details = p_error_details,
        not_before = clock_timestamp()
    where id = p_request_id and state = 'launched' and run_id = p_run_id;
    return found;
end $$;

-- A retried run takes the place of the run that it retries.
create function captionacc.replace_request_run(p_request_id uuid, p_run_id text, p_new_run_id text)
returns boolean language plpgsql set search_path = '' as $$
begin
    update captionacc.processing_requests
    set state = 'launched', run_id = p_new_run_id, finished_at = null,
        attempts = attempts + (run_id is distinct from p_new_run_id)::integer
    where id = p_request_id and run_id in (p_run_id, p_new_run_id) and state in ('launched', 'failed');
    return found;
end $$;

-- Only the run that holds the request (or, while none does, its claimer) can end it.
create function captionacc.finish_processing_request(p_request_id uuid, p_state text, p_run_id text default null,
    p_error_details jsonb default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    r captionacc.processing_requests;
begin
    if p_state not in ('succeeded', 'failed', 'cancelled') then
        raise exception 'a request ends succeeded, failed or cancelled, not %', p_state using errcode = '22023';
    end if;
    update captionacc.processing_requests
    set state = p_state, finished_at = clock_timestamp(), error_details = p_error_details,
        claimed_by = null, claim_expires_at = null
    where id = p_request_id and state in ('pending', 'launched')
      and (p_run_id is null or run_id is null or run_id = p_run_id);
    if not found then
        r := captionacc.request_by_id(p_request_id);
        if r.state <> p_state or (p_run_id is not null and r.run_id is distinct from p_run_id) then
            raise exception 'request % is % by run %', p_request_id, r.state, r.run_id using errcode = 'PT409';
        end if;
    end if;
    return query select * from captionacc.processing_request_details where id = p_request_id;
end $$;

create function captionacc.get_processing_request(p_request_id uuid)
returns setof captionacc.processing_request_details language sql stable set search_path = '' as $$
    select * from captionacc.processing_request_details where id = p_request_id
$$;

create function captionacc.find_processing_request(p_run_id text default null, p_idempotency_key text default null)
returns setof captionacc.processing_request_details language sql stable set search_path = '' as $$
    select * from captionacc.processing_request_details
    where run_id = p_run_id or idempotency_key = p_idempotency_key
    order by requested_at desc, id desc limit 1
$$;

-- Oldest first, after the row (p_after_requested_at, p_after_id) when given.
create function captionacc.list_processing_requests(p_states text[] default null, p_video_id uuid default null,
    p_tenant_id uuid default null, p_flows text[] default null, p_launched_before timestamptz default null,
    p_after_requested_at timestamptz default null, p_after_id uuid default null, p_limit integer default 100)
returns setof captionacc.processing_request_details language sql stable set search_path = '' as $$
    select * from captionacc.processing_request_details
    where (p_states is null or state = any (p_states))
      and (p_video_id is null or video_id = p_video_id)
      and (p_tenant_id is null or tenant_id = p_tenant_id)
      and (p_flows is null or flow = any (p_flows))
      and (p_launched_before is null or launched_at < p_launched_before)
      and (p_after_requested_at is null or (requested_at, id) > (p_after_requested_at, p_after_id))
    order by requested_at, id limit least(p_limit, 1000)
$$;

-- The row of a video that is there, locked against other changes of its workflow.
create function captionacc.video_for_change(p_video_id uuid) returns captionacc.videos
language plpgsql set search_path = '' as $$
declare
    v captionacc.videos;
begin
    select * into v from captionacc.videos where id = p_video_id and deleted_at is null for no key update;
    if not found then
        raise exception 'no video %', p_video_id using errcode = 'PT404';
    end if;
    return v;
end $$;

create function captionacc.has_open_request(p_video_id uuid, p_flows text[]) returns boolean
language sql stable set search_path = '' as $$
    select exists (select 1 from captionacc.processing_requests
                   where video_id = p_video_id and flow = any (p_flows) and state in ('pending', 'launched'))
$$;

create function captionacc.add_request(p_video captionacc.videos, p_flow text, p_idempotency_key text,
    p_payload jsonb, p_requested_by uuid, p_base_priority integer default null, p_claimer text default null,
    p_lease_seconds double precision default 300)
returns uuid language sql set search_path = '' as $$
    insert into captionacc.processing_requests (tenant_id, video_id, flow, idempotency_key, payload, requested_by,
                                                base_priority, claimed_by, claim_expires_at)
    values (p_video.tenant_id, p_video.id, p_flow, p_idempotency_key, p_payload, p_requested_by, p_base_priority,
            p_claimer,
            case when p_claimer is not null then clock_timestamp() + make_interval(secs => p_lease_seconds) end)
    returning id
$$;

-- Stores the crop region and asks for crop_and_infer in one transaction; p_request_key makes a repeated
-- call find its own request.
create function captionacc.approve_layout(p_video_id uuid, p_request_key text, p_crop_left double precision,
    p_crop_top double precision, p_crop_right double precision, p_crop_bottom double precision,
    p_approval text default 'person', p_user_id uuid default null, p_base_priority integer default null,
    p_claimer text default null, p_lease_seconds double precision default 300)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
    made uuid;
    rule text;
begin
    select id into made from captionacc.processing_requests where idempotency_key = p_request_key;
    if not found then
        if v.status <> 'active' then
            raise exception 'video % is %: its layout cannot be approved yet', p_video_id, v.status
                using errcode = 'PT409';
        elsif captionacc.has_open_request(p_video_id, array['video_initial_processing', 'crop_and_infer']) then
            raise exception 'video % is being processed', p_video_id using errcode = 'PT409';
        end if;
        update captionacc.videos
        set crop_left = p_crop_left, crop_top = p_crop_top, crop_right = p_crop_right, crop_bottom = p_crop_bottom,
            layout_status = 'done', layout_error_details = null, layout_approved_at = clock_timestamp(),
            layout_approved_by = p_user_id, layout_approval = p_approval, boundaries_status = 'wait',
            boundaries_error_details = null, text_status = 'wait', text_error_details = null
        where id = p_video_id;
        made := captionacc.add_request(v, 'crop_and_infer', p_request_key, jsonb_build_object('crop_region',
            jsonb_build_object('crop_left', p_crop_left, 'crop_top', p_crop_top, 'crop_right', p_crop_right,
                               'crop_bottom', p_crop_bottom)), p_user_id, p_base_priority, p_claimer, p_lease_seconds);
    end if;
    return query select * from captionacc.processing_request_details where id = made;
exception when check_violation then
    get stacked diagnostics rule = constraint_name;
    raise exception 'a value of the video breaks the rule %', rule using errcode = '22023';
end $$;

-- The same captions asked for twice while the first request is open are one request.
create function captionacc.request_caption_ocr(p_video_id uuid, p_request_key text, p_caption_ids bigint[],
    p_user_id uuid default null, p_base_priority integer default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
    body jsonb;
    made uuid;
begin
    select jsonb_build_object('caption_ids', jsonb_agg(distinct id)) into body from unnest(p_caption_ids) as id;
    select id into made from captionacc.processing_requests
    where idempotency_key = p_request_key
       or (video_id = p_video_id and flow = 'caption_ocr' and state in ('pending', 'launched') and payload = body)
    order by idempotency_key = p_request_key desc limit 1;
    if not found then
        if coalesce(cardinality(p_caption_ids), 0) = 0 then
            raise exception 'no captions given' using errcode = '22023';
        elsif v.cropped_frames_version is null then
            raise exception 'video % has no captions yet', p_video_id using errcode = 'PT409';
        end if;
        made := captionacc.add_request(v, 'caption_ocr', p_request_key, body, p_user_id, p_base_priority);
    end if;
    return query select * from captionacc.processing_request_details where id = made;
end $$;

create function captionacc.complete_boundaries(p_video_id uuid) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
begin
    if v.boundaries_status in ('annotate', 'review') then
        update captionacc.videos
        set boundaries_status = 'done', text_status = case when text_status = 'wait' then 'annotate' else text_status end
        where id = p_video_id;
    elsif v.boundaries_status <> 'done' then
        raise exception 'boundaries of video % are in state %', p_video_id, v.boundaries_status using errcode = 'PT409';
    end if;
    return query select * from captionacc.videos where id = p_video_id;
end $$;

create function captionacc.complete_text(p_video_id uuid) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
begin
    if v.text_status in ('annotate', 'review') and v.boundaries_status = 'done' then
        update captionacc.videos set text_status = 'done' where id = p_video_id;
    elsif v.text_status <> 'done' then
        raise exception 'text of video % is in state % and its boundaries %', p_video_id, v.text_status,
            v.boundaries_status using errcode = 'PT409';
    end if;
    return query select * from captionacc.videos where id = p_video_id;
end $$;

-- Starts the first stage that failed once more.
create function captionacc.retry_video(p_video_id uuid, p_request_key text, p_user_id uuid default null,
    p_claimer text default null, p_lease_seconds double precision default 300)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
    made uuid;
begin
    select id into made from captionacc.processing_requests where idempotency_key = p_request_key;
    if not found then
        if captionacc.has_open_request(p_video_id, array['video_initial_processing', 'crop_and_infer']) then
            raise exception 'video % is being processed', p_video_id using errcode = 'PT409';
        elsif 'error' in (v.status, v.layout_status) then
            update captionacc.videos
            set status = 'waiting', error_details = null, layout_status = 'wait', layout_error_details = null
            where id = p_video_id;
            made := captionacc.add_request(v, 'video_initial_processing', p_request_key, '{}', p_user_id, null,
                                           p_claimer, p_lease_seconds);
        elsif 'error' in (v.boundaries_status, v.text_status) then
            update captionacc.videos
            set boundaries_status = 'wait', boundaries_error_details = null, text_status = 'wait',
                text_error_details = null
            where id = p_video_id;
            made := captionacc.add_request(v, 'crop_and_infer', p_request_key, jsonb_build_object('crop_region',
                jsonb_build_object('crop_left', v.crop_left, 'crop_top', v.crop_top, 'crop_right', v.crop_right,
                                   'crop_bottom', v.crop_bottom)), p_user_id, null, p_claimer, p_lease_seconds);
        else
            raise exception 'nothing of video % has failed', p_video_id using errcode = 'PT409';
        end if;
    end if;
    return query select * from captionacc.processing_request_details where id = made;
end $$;
