-- For `supabase start` and `supabase db reset`: a tenant to try things with. Tiers come with the migrations.
insert into captionacc.tenants (id, name, access_tier_id, auto_approve_layout)
values ('00000000-0000-4000-8000-0000000000d0', 'Demo', 'demo', true)
on conflict (id) do nothing;
