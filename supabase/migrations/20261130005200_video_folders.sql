-- Folders of videos: a path of names, such as "series 1/raw", for people to order their videos by. '' is no folder.
-- It is not part of any key: moving a video moves no object.
alter table captionacc.videos add column folder text not null default ''
    constraint videos_folder_is_a_path check (
        char_length(folder) <= 500
        and folder !~ '[\u0001-\u001f\u007f-\u009f\\]'
        and (folder = '' or folder ~ '^[^/]+(/[^/]+)*$')
        and folder !~ '(^|/)\.{1,2}(/|$)'
    );
comment on column captionacc.videos.folder is 'Where people keep the video: names with slashes between; empty: nowhere.';
create index videos_folder_idx on captionacc.videos (tenant_id, folder) where deleted_at is null and folder <> '';
grant insert (folder), update (folder) on captionacc.videos to authenticated;

create or replace function captionacc.update_video(p_video_id uuid, p_changes jsonb) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    allowed constant text[] := array[
        'filename', 'folder', 'lang', 'content_hash', 'file_size_bytes', 'duration_seconds', 'frame_rate', 'width',
        'height', 'rotation', 'video_codec', 'bitrate', 'frame_count', 'ocr_box_count', 'failed_ocr_count',
        'cropped_frame_count', 'caption_count', 'confirmed_count', 'processing_duration_seconds', 'status',
        'error_details', 'layout_status', 'layout_error_details', 'boundaries_status', 'boundaries_error_details',
        'text_status', 'text_error_details', 'crop_left', 'crop_top', 'crop_right', 'crop_bottom',
        'layout_confidence', 'warnings'
    ];
    given text[] := array(select jsonb_object_keys(p_changes));
    stray text[] := array(select unnest(given) except select unnest(allowed));
    assignments text;
    rule text;
begin
    if cardinality(stray) > 0 then
        raise exception 'not a column of a video that can be updated: %', array_to_string(stray, ', ')
            using errcode = '22023';
    end if;
    if cardinality(given) = 0 then
        return query select * from captionacc.videos where id = p_video_id and deleted_at is null;
    else
        select string_agg(format('%1$I = n.%1$I', name), ', ') into assignments from unnest(given) as name;
        return query execute format(
            'update captionacc.videos v set %s from jsonb_populate_record(null::captionacc.videos, $2) n '
            'where v.id = $1 and v.deleted_at is null returning v.*', assignments) using p_video_id, p_changes;
    end if;
    if not found then
        raise exception 'no video %', p_video_id using errcode = 'PT404';
    end if;
exception when check_violation then
    get stacked diagnostics rule = constraint_name;
    raise exception 'a value of the video breaks the rule %', rule using errcode = '22023';
end $$;

-- p_folder: the videos in this folder and in those below it.
drop function captionacc.search_videos(uuid, text, text, timestamptz, uuid, integer);
create function captionacc.search_videos(p_tenant_id uuid, p_text text default null, p_stage text default null,
    p_before_created_at timestamptz default null, p_before_id uuid default null, p_limit integer default 100,
    p_folder text default null)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos v
    where v.deleted_at is null and v.tenant_id = p_tenant_id
      and (p_text is null or position(lower(p_text) in lower(v.folder || '/' || v.filename)) > 0)
      and (p_stage is null or captionacc.video_stage(v) = p_stage)
      and (p_folder is null or v.folder = p_folder or starts_with(v.folder, p_folder || '/'))
      and (p_before_created_at is null or (v.created_at, v.id) < (p_before_created_at, p_before_id))
    order by v.created_at desc, v.id desc limit least(p_limit, 1000)
$$;

drop function captionacc.list_videos(uuid, text[], text, timestamptz, uuid, integer);
create function captionacc.list_videos(p_tenant_id uuid default null, p_statuses text[] default null,
    p_filename text default null, p_before_created_at timestamptz default null, p_before_id uuid default null,
    p_limit integer default 100, p_folder text default null)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    select * from captionacc.videos
    where deleted_at is null
      and (p_tenant_id is null or tenant_id = p_tenant_id)
      and (p_statuses is null or status = any (p_statuses))
      and (p_filename is null or filename = p_filename)
      and (p_folder is null or folder = p_folder or starts_with(folder, p_folder || '/'))
      and (p_before_created_at is null or (created_at, id) < (p_before_created_at, p_before_id))
    order by created_at desc, id desc limit least(p_limit, 1000)
$$;

revoke all on function captionacc.search_videos(uuid, text, text, timestamptz, uuid, integer, text),
    captionacc.list_videos(uuid, text[], text, timestamptz, uuid, integer, text) from public, anon, authenticated;
grant execute on function captionacc.search_videos(uuid, text, text, timestamptz, uuid, integer, text),
    captionacc.list_videos(uuid, text[], text, timestamptz, uuid, integer, text) to service_role;

notify pgrst, 'reload schema';
