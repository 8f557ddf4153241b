-- Claims go by tier, then in turns: each tenant's first request, then each tenant's second. Thousands of requests of
-- one tenant hold up nobody else. Within a tenant the oldest goes first, and among equal turns the oldest.
create or replace function captionacc.claim_processing_requests(p_claimer text, p_limit integer,
    p_lease_seconds double precision, p_flows text[] default null, p_request_id uuid default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    taken uuid[];
begin
    with due as (
        select r.id, r.tenant_id, r.requested_at, r.base_priority from captionacc.processing_requests r
        where r.state = 'pending'
          and (r.claimed_by is null or r.claim_expires_at <= clock_timestamp()
               or (p_request_id is not null and r.claimed_by = p_claimer))
          and (p_request_id is not null or r.not_before <= clock_timestamp())
          and (p_flows is null or r.flow = any (p_flows))
          and (p_request_id is null or r.id = p_request_id)
    ), tiers as (
        select t.tenant_id, case captionacc.tenant_tier(t.tenant_id)
            when 'enterprise' then 90 when 'premium' then 70 else 50 end as base
        from (select distinct tenant_id from due) t
    ), turns as (
        select d.id, d.requested_at, coalesce(d.base_priority, t.base) as priority,
               row_number() over (partition by d.tenant_id order by coalesce(d.base_priority, t.base) desc,
                                  d.requested_at, d.id) as turn
        from due d join tiers t using (tenant_id)
    ), free as (
        -- Checked again under the lock: another claimer may have been faster.
        select r.id from captionacc.processing_requests r join turns using (id)
        where r.state = 'pending'
          and (r.claimed_by is null or r.claim_expires_at <= clock_timestamp()
               or (p_request_id is not null and r.claimed_by = p_claimer))
        order by turns.priority desc, turns.turn, turns.requested_at, r.id
        limit least(p_limit, 1000) for update of r skip locked
    ), claimed as (
        update captionacc.processing_requests r
        set claimed_by = p_claimer, claim_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        from free where r.id = free.id returning r.id
    )
    select array_agg(id) into taken from claimed;
    return query select * from captionacc.processing_request_details where id = any (taken)
                 order by requested_at, id;
end $$;

notify pgrst, 'reload schema';
