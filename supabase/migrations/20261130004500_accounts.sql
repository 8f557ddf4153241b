-- What a first administrator needs, so that nobody types SQL to begin: tenants by name, accounts by e-mail address.

create function captionacc.list_tenants() returns setof captionacc.tenants
language sql stable set search_path = '' as $$
    select * from captionacc.tenants order by lower(name), id limit 1000
$$;

-- Definer: the service role reads auth.users nowhere else.
create function captionacc.find_account(p_email text) returns table (id uuid, email text)
language sql stable security definer set search_path = '' as $$
    select u.id, u.email::text from auth.users u where lower(u.email) = lower(p_email) order by u.created_at, u.id limit 1
$$;

-- Returns the account of an address, made if there is none; only where Supabase Auth does not keep the accounts.
create function captionacc.add_account(p_email text) returns table (id uuid, email text)
language plpgsql security definer set search_path = '' as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('captionacc account ' || lower(p_email), 0));
    if not exists (select 1 from captionacc.find_account(p_email)) then
        if exists (
            select 1 from pg_catalog.pg_attribute
            where attrelid = 'auth.users'::regclass and attname = 'instance_id' and not attisdropped
        ) then
            raise exception 'the accounts of this database belong to Supabase Auth' using errcode = '22023',
                hint = 'set SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY, so that Supabase sends the invitation';
        end if;
        insert into auth.users (email) values (lower(p_email));
    end if;
    return query select * from captionacc.find_account(p_email);
end $$;

revoke all on function captionacc.list_tenants(), captionacc.find_account(text), captionacc.add_account(text)
    from public, anon, authenticated;
grant execute on function captionacc.list_tenants(), captionacc.find_account(text), captionacc.add_account(text)
    to service_role;

notify pgrst, 'reload schema';
