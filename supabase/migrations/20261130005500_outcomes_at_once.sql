-- What an outcome means is written in one transaction: all of it, or nothing.

-- The statuses of a video, and the end of the requests of the run that reached them. A request that belongs to another
-- run meanwhile leaves the statuses as they are, too: they are the other run's.
create function captionacc.record_outcome(p_video_id uuid, p_changes jsonb, p_request_ids uuid[] default '{}',
    p_state text default null, p_run_id text default null, p_error_details jsonb default null)
returns void language plpgsql set search_path = '' as $$
declare
    request_id uuid;
begin
    if p_changes <> '{}' then
        perform captionacc.update_video(p_video_id, p_changes);
    end if;
    foreach request_id in array p_request_ids loop
        perform captionacc.finish_processing_request(request_id, p_state, p_run_id, p_error_details);
    end loop;
end $$;
comment on function captionacc.record_outcome is
    'Writes the statuses of a video and ends the requests of its run, or changes nothing.';

-- What is written depends on whether a person has approved a layout by now: then that one stays. An automatic approval
-- was of another layout than this one.
create function captionacc.record_layout(p_video_id uuid, p_facts jsonb, p_found jsonb, p_found_again jsonb)
returns setof captionacc.videos language plpgsql set search_path = '' as $$
declare
    v captionacc.videos := captionacc.video_for_change(p_video_id);
begin
    if v.layout_approval = 'person' then
        return query select * from captionacc.update_video(p_video_id, p_facts || p_found_again);
    else
        perform captionacc.withdraw_layout_approval(p_video_id);
        return query select * from captionacc.update_video(p_video_id, p_facts || p_found);
    end if;
end $$;
comment on function captionacc.record_layout is
    'Writes the layout that was found, unless a person has approved one; returns the video.';

revoke all on function captionacc.record_outcome(uuid, jsonb, uuid[], text, text, jsonb)
    from public, anon, authenticated;
revoke all on function captionacc.record_layout(uuid, jsonb, jsonb, jsonb) from public, anon, authenticated;
grant execute on function captionacc.record_outcome(uuid, jsonb, uuid[], text, text, jsonb) to service_role;
grant execute on function captionacc.record_layout(uuid, jsonb, jsonb, jsonb) to service_role;

notify pgrst, 'reload schema';
