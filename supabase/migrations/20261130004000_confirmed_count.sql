-- How many captions of a video a person has confirmed: the list of videos shows it without opening their files.
alter table captionacc.videos add column confirmed_count integer check (confirmed_count >= 0);
comment on column captionacc.videos.confirmed_count is
    'Captions that a person has confirmed; null: not counted since this column exists.';

create or replace function captionacc.update_video(p_video_id uuid, p_changes jsonb) returns setof captionacc.videos
language plpgsql set search_path = '' as $$
declare
    allowed constant text[] := array[
        'filename', 'lang', 'content_hash', 'file_size_bytes', 'duration_seconds', 'frame_rate', 'width', 'height',
        'rotation', 'video_codec', 'bitrate', 'frame_count', 'ocr_box_count', 'failed_ocr_count',
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

notify pgrst, 'reload schema';
