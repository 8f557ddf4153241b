-- Deleting is a function, not a column: an owner deletes and restores, the objects stay for seven days, and no
-- time of a user's choice gets into the row.
revoke update (deleted_at) on captionacc.videos from authenticated;
-- A row that is gone at once would leave its objects behind: nobody would know that they are to be removed.
revoke delete on captionacc.videos from authenticated;
drop policy owner_delete on captionacc.videos;

-- What a member wrote there before: the seven days begin now.
update captionacc.videos set deleted_at = clock_timestamp()
where not isfinite(deleted_at) or deleted_at < created_at or deleted_at > clock_timestamp();
-- Outside these years, clients cannot read the row, and whoever lists deleted videos fails for all tenants.
alter table captionacc.videos add constraint videos_deleted_at_is_readable
    check (deleted_at between '2000-01-01 00:00:00+00' and '9999-01-01 00:00:00+00');
-- Names that every list of videos carries.
alter table captionacc.videos add constraint videos_filename_length check (char_length(filename) <= 1024) not valid;
alter table captionacc.videos add constraint videos_lang_length check (char_length(lang) <= 100) not valid;

-- Undoes a deletion, and what it cancelled waits again.
create function captionacc.restore_video(p_video_id uuid) returns boolean
language plpgsql set search_path = '' as $$
declare
    deleted timestamptz;
begin
    select deleted_at into deleted from captionacc.videos
    where id = p_video_id and deleted_at is not null for no key update;
    if not found then
        return false;
    end if;
    update captionacc.videos set deleted_at = null where id = p_video_id;
    update captionacc.processing_requests
    set state = 'pending', finished_at = null, run_id = null, launched_at = null, not_before = clock_timestamp()
    where video_id = p_video_id and state = 'cancelled' and finished_at >= deleted;
    return true;
exception when unique_violation then
    raise exception 'video % was uploaded again after it was deleted', p_video_id using errcode = 'PT409';
end $$;

-- The video, if the caller is an owner of its tenant. One that is not the caller's is as if it did not exist.
create function captionacc.own_video_to_delete(p_video_id uuid) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
    found_id uuid;
begin
    select id into found_id from captionacc.videos
    where id = p_video_id and tenant_id = captionacc.current_tenant_id();
    if found_id is not null and not captionacc.is_tenant_owner() then
        raise exception 'only an owner of the tenant may do this' using errcode = '42501';
    end if;
    return found_id;
end $$;

-- For users: false for a video that is not there, or not theirs.
create function captionacc.delete_own_video(p_video_id uuid) returns boolean
language sql security definer set search_path = '' as $$
    select captionacc.delete_video(captionacc.own_video_to_delete(p_video_id))
$$;

create function captionacc.restore_own_video(p_video_id uuid) returns boolean
language sql security definer set search_path = '' as $$
    select captionacc.restore_video(captionacc.own_video_to_delete(p_video_id))
$$;

revoke all on function captionacc.restore_video(uuid), captionacc.own_video_to_delete(uuid),
    captionacc.delete_own_video(uuid), captionacc.restore_own_video(uuid) from public, anon, authenticated;
grant execute on function captionacc.restore_video(uuid) to service_role;
grant execute on function captionacc.delete_own_video(uuid), captionacc.restore_own_video(uuid) to authenticated;

notify pgrst, 'reload schema';
