-- Find a video as a person names it: by its id, the beginning of its id, or its file name.
-- An id that matches exactly wins; otherwise all matches are returned, newest first, for the person to choose from.
create function captionacc.match_videos(p_text text, p_limit integer default 10)
returns setof captionacc.videos language sql stable set search_path = '' as $$
    with matched as (
        select v.id, v.created_at, v.id::text = lower(p_text) as exact
        from captionacc.videos v
        where v.deleted_at is null
          and (v.filename = p_text
               or (p_text ~ '^[0-9a-fA-F][0-9a-fA-F-]{3,35}$' and starts_with(v.id::text, lower(p_text))))
    )
    select v.* from captionacc.videos v join matched m on m.id = v.id
    where m.exact or not exists (select 1 from matched where exact)
    order by v.created_at desc, v.id desc limit least(p_limit, 100)
$$;

revoke all on function captionacc.match_videos(text, integer) from public, anon, authenticated;
grant execute on function captionacc.match_videos(text, integer) to service_role;

notify pgrst, 'reload schema';
