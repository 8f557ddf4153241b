-- A waiter that was seen in the future was seen before the clock was set back: then its run tells whether it still waits.
create or replace function captionacc.list_compute_calls(p_states text[] default null, p_video_id uuid default null,
    p_waiter_unseen_since timestamptz default null, p_after_created_at timestamptz default null,
    p_after_id uuid default null, p_limit integer default 100)
returns setof captionacc.compute_calls language sql stable set search_path = '' as $$
    select * from captionacc.compute_calls
    where (p_states is null or state = any (p_states))
      and (p_video_id is null or video_id = p_video_id)
      and (p_waiter_unseen_since is null
           or ((waiter_seen_at < p_waiter_unseen_since or waiter_seen_at > clock_timestamp() + interval '1 minute'
                or cancel_requested_at is not null)
               and state in ('intent', 'spawned', 'running')))
      and (p_after_created_at is null or (created_at, id) > (p_after_created_at, p_after_id))
    order by created_at, id limit least(p_limit, 1000)
$$;

notify pgrst, 'reload schema';
