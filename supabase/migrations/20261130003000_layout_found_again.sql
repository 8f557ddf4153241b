-- A layout that is found again takes back the automatic approval of the one before it.

-- A person's approval stays, and so does one whose captions are wanted already.
create function captionacc.withdraw_layout_approval(p_video_id uuid) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
begin
    if v.layout_approval = 'automatic' and not captionacc.has_open_request(p_video_id, array['crop_and_infer']) then
        update captionacc.videos
        set layout_approved_at = null, layout_approved_by = null, layout_approval = null
        where id = p_video_id;
    end if;
    return query select * from captionacc.videos where id = p_video_id;
end $$;
comment on function captionacc.withdraw_layout_approval is
    'Withdraws an automatic approval, because another layout was found.';

-- As before, with one exception: a video that is active has its layout, so the request for it, which stays open until its
-- run has ended, is not in the way.
create or replace function captionacc.approve_layout(p_video_id uuid, p_request_key text, p_crop_left double precision,
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
        elsif captionacc.has_open_request(p_video_id, array['crop_and_infer']) then
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

revoke all on function captionacc.withdraw_layout_approval(uuid) from public, anon, authenticated;
grant execute on function captionacc.withdraw_layout_approval(uuid) to service_role;

notify pgrst, 'reload schema';
