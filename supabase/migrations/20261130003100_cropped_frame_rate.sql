-- The rate of cropped frames belongs to the version that was cropped at it: a changed setting must not move the frames
-- of videos that were processed before.
alter table captionacc.cropped_frames_versions
    add column cropped_frame_rate double precision not null default 10 check (cropped_frame_rate > 0);
comment on column captionacc.cropped_frames_versions.cropped_frame_rate is 'Cropped frames per second of video.';

drop function captionacc.next_cropped_frames_version(uuid, text);

-- A run that asks again gets the version it already has, with its rate.
create function captionacc.next_cropped_frames_version(p_video_id uuid, p_run_id text,
    p_frame_rate double precision default null)
returns integer language plpgsql set search_path = '' as $$
declare
    tenant uuid;
    number integer;
begin
    if p_frame_rate <= 0 then
        raise exception 'the rate of cropped frames must be positive, not %', p_frame_rate using errcode = '22023';
    end if;
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
    insert into captionacc.cropped_frames_versions (video_id, version, tenant_id, run_id, cropped_frame_rate)
    values (p_video_id, number, tenant, p_run_id, coalesce(p_frame_rate, 10));
    return number;
end $$;
comment on function captionacc.next_cropped_frames_version is
    'Gives a run its version of a video''s cropped frames; the same one when it asks again.';

revoke all on function captionacc.next_cropped_frames_version(uuid, text, double precision)
    from public, anon, authenticated;
grant execute on function captionacc.next_cropped_frames_version(uuid, text, double precision) to service_role;

notify pgrst, 'reload schema';
