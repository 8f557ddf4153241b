-- The launch of a request and the delivery of the webhook that asked for it are one call, so that no second delivery can
-- come between them.

drop function captionacc.close_webhook_delivery(text, text, uuid);
drop function captionacc.launch_processing_request(uuid, text, text, integer);

create function captionacc.launch_processing_request(p_request_id uuid, p_claimer text, p_run_id text,
    p_priority integer default null, p_delivery_id text default null)
returns setof captionacc.processing_request_details language plpgsql set search_path = '' as $$
declare
    r captionacc.processing_requests;
begin
    update captionacc.processing_requests
    set state = 'launched', run_id = p_run_id, priority = p_priority, launched_at = clock_timestamp(),
        attempts = attempts + 1, claimed_by = null, claim_expires_at = null, error_details = null
    where id = p_request_id and state = 'pending' and claimed_by = p_claimer;
    if not found then
        r := captionacc.request_by_id(p_request_id);
        if r.state = 'pending' or r.run_id is distinct from p_run_id then
            raise exception 'request % is % and not claimed by %', p_request_id, r.state, p_claimer
                using errcode = 'PT409';
        end if;
    end if;
    if p_delivery_id is not null then
        insert into captionacc.webhook_deliveries (delivery_id, receipt, source, video_id, tenant_id, request_id, outcome)
        select p_delivery_id, gen_random_uuid(), 'supabase', d.video_id, d.tenant_id, d.id, 'launched'
        from captionacc.processing_requests d where d.id = p_request_id
        on conflict (delivery_id) do nothing;
    end if;
    return query select * from captionacc.processing_request_details where id = p_request_id;
end $$;

revoke all on function captionacc.launch_processing_request(uuid, text, text, integer, text)
    from public, anon, authenticated;
grant execute on function captionacc.launch_processing_request(uuid, text, text, integer, text) to service_role;

notify pgrst, 'reload schema';
