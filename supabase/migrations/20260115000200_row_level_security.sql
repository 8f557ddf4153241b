-- Who may see and change what. The service role works on everything, approved users on their own
-- tenant's rows and the columns that are theirs to change, anonymous visitors on nothing.

-- Definer: a policy on user_profiles that read user_profiles as the user would recurse.
create function captionacc.current_tenant_id() returns uuid
language sql stable security definer set search_path = '' as $$
    select p.tenant_id from captionacc.user_profiles p
    where p.id = auth.uid() and p.approval_status = 'approved'
$$;

create function captionacc.is_tenant_owner() returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (
        select 1 from captionacc.user_profiles p
        where p.id = auth.uid() and p.approval_status = 'approved' and p.role = 'owner'
    )
$$;

do $$
declare
    name text;
begin
    foreach name in array array[
        'access_tiers', 'tenants', 'user_profiles', 'videos', 'video_database_state',
        'cropped_frames_versions', 'processing_requests', 'compute_calls', 'webhook_deliveries',
        'security_audit_log'
    ] loop
        execute format('alter table captionacc.%I enable row level security', name);
        execute format('revoke all on captionacc.%I from public, anon, authenticated, service_role', name);
        execute format('grant select, insert, update, delete on captionacc.%I to service_role', name);
        execute format(
            'create policy service_role_all on captionacc.%I to service_role using (true) with check (true)', name
        );
    end loop;
end $$;

grant usage on schema captionacc to authenticated, service_role;

grant select on captionacc.access_tiers, captionacc.tenants, captionacc.user_profiles, captionacc.videos,
    captionacc.video_database_state, captionacc.cropped_frames_versions, captionacc.processing_requests,
    captionacc.security_audit_log to authenticated;
grant update (name, auto_approve_layout, auto_approve_min_confidence) on captionacc.tenants to authenticated;
grant update (display_name, role, approval_status) on captionacc.user_profiles to authenticated;
grant insert (id, tenant_id, uploaded_by, filename, storage_key, content_hash, file_size_bytes, lang)
    on captionacc.videos to authenticated;
grant update (filename, lang, deleted_at) on captionacc.videos to authenticated;
grant delete on captionacc.user_profiles, captionacc.videos to authenticated;

create policy read_all on captionacc.access_tiers for select to authenticated using (true);

create policy read_own on captionacc.tenants for select to authenticated
    using (id = (select captionacc.current_tenant_id()));
create policy owner_update on captionacc.tenants for update to authenticated
    using (id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    with check (id = (select captionacc.current_tenant_id()));

-- A user who waits for approval sees their own profile, so that they can be told so.
create policy read_own on captionacc.user_profiles for select to authenticated
    using (id = (select auth.uid()) or tenant_id = (select captionacc.current_tenant_id()));
create policy owner_update on captionacc.user_profiles for update to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    with check (tenant_id = (select captionacc.current_tenant_id()));
create policy owner_delete on captionacc.user_profiles for delete to authenticated
    using (
        tenant_id = (select captionacc.current_tenant_id())
        and (select captionacc.is_tenant_owner())
        and id <> (select auth.uid())
    );

create policy read_own_or_demo on captionacc.videos for select to authenticated
    using (is_demo or tenant_id = (select captionacc.current_tenant_id()));
create policy member_insert on captionacc.videos for insert to authenticated
    with check (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by is null or uploaded_by = (select auth.uid()))
    );
create policy member_update on captionacc.videos for update to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()))
    with check (tenant_id = (select captionacc.current_tenant_id()));
create policy owner_delete on captionacc.videos for delete to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()));

create policy read_own on captionacc.video_database_state for select to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()));
create policy read_own on captionacc.cropped_frames_versions for select to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()));
create policy read_own on captionacc.processing_requests for select to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()));
create policy owner_read on captionacc.security_audit_log for select to authenticated
    using (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()));

revoke all on function captionacc.current_tenant_id(), captionacc.is_tenant_owner(),
    captionacc.set_updated_at(), captionacc.request_initial_processing(), captionacc.cancel_pending_requests()
    from public, anon, authenticated;
grant execute on function captionacc.current_tenant_id(), captionacc.is_tenant_owner()
    to authenticated, service_role;
