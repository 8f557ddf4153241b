-- Restores a deleted video of this tenant; false if the tenant has none with this id.
create function captionacc.restore_tenant_video(p_video_id uuid, p_tenant_id uuid) returns boolean
language sql set search_path = '' as $$
    select coalesce((
        select captionacc.restore_video(id) from captionacc.videos
        where id = p_video_id and tenant_id = p_tenant_id and deleted_at is not null), false)
$$;

revoke all on function captionacc.restore_tenant_video(uuid, uuid) from public, anon, authenticated;
grant execute on function captionacc.restore_tenant_video(uuid, uuid) to service_role;

notify pgrst, 'reload schema';
