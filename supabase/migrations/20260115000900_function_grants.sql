-- Every function so far is the service's alone, but for the two helpers that policies call.
do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_catalog.pg_proc p
        where p.pronamespace = 'captionacc'::regnamespace
          and p.proname not in ('current_tenant_id', 'is_tenant_owner')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', name);
        execute format('grant execute on function %s to service_role', name);
    end loop;
end $$;

notify pgrst, 'reload schema';
