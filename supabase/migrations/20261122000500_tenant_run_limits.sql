-- Tenants whose limit of concurrent runs is not the deployment's: {"<tenant id>": runs}. The queue asks once a minute.
create function captionacc.tenant_run_limits() returns jsonb
language sql stable set search_path = '' as $$
    select coalesce(jsonb_object_agg(id, max_concurrent_runs), '{}')
    from captionacc.tenants where max_concurrent_runs is not null
$$;

revoke all on function captionacc.tenant_run_limits() from public, anon, authenticated;
grant execute on function captionacc.tenant_run_limits() to service_role;

notify pgrst, 'reload schema';
