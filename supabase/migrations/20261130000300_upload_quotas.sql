-- What a tenant may store and upload, beside the minutes and frames it may compute: per access tier, checked when a
-- video's row is created, whoever creates it.
alter table captionacc.access_tiers
    -- null: no limit; bytes and videos that exist now, videos created in a day (UTC), the deleted ones included
    add column storage_bytes_limit bigint check (storage_bytes_limit >= 0),
    add column video_limit integer check (video_limit >= 0),
    add column daily_upload_limit integer check (daily_upload_limit >= 0);
comment on column captionacc.access_tiers.storage_bytes_limit is 'Bytes of the videos that a tenant has now.';
comment on column captionacc.access_tiers.video_limit is 'Videos that a tenant has now.';
comment on column captionacc.access_tiers.daily_upload_limit is 'Videos that a tenant may add in a day (UTC).';

update captionacc.access_tiers set (storage_bytes_limit, video_limit, daily_upload_limit) = row (
    case id when 'demo' then 10737418240 when 'trial' then 53687091200 when 'active' then 1099511627776 end,
    case id when 'demo' then 100 when 'trial' then 500 when 'active' then 20000 end,
    case id when 'demo' then 100 when 'trial' then 200 when 'active' then 5000 end);

-- Runs as its owner, since a member may not read everything that counts; and after the insertion, so that a row that a
-- policy or a conflict keeps out tells nothing of a tenant.
create function captionacc.check_upload_quota() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    tier captionacc.access_tiers;
    live record;
    today bigint;
    bytes bigint := coalesce(new.file_size_bytes, 0);
begin
    select a.* into tier from captionacc.access_tiers a
    where a.id = coalesce(
        (select p.access_tier_id from captionacc.user_profiles p
          where p.tenant_id = new.tenant_id and p.access_tier_id is not null and p.approval_status = 'approved'
          order by p.role = 'owner' desc, p.created_at, p.id limit 1),
        (select t.access_tier_id from captionacc.tenants t where t.id = new.tenant_id), 'demo');
    if coalesce(tier.storage_bytes_limit, tier.video_limit, tier.daily_upload_limit) is null then
        return null;
    end if;
    -- Two uploads at once must not both take the last place.
    perform 1 from captionacc.tenants where id = new.tenant_id for no key update;
    select count(*) as videos, coalesce(sum(v.file_size_bytes), 0) as bytes into live
    from captionacc.videos v where v.tenant_id = new.tenant_id and v.deleted_at is null;
    if live.videos > tier.video_limit then
        raise exception 'the limit of % videos is reached', tier.video_limit
            using errcode = 'PT429', hint = 'delete videos, or ask for a higher access tier';
    end if;
    if live.bytes > tier.storage_bytes_limit then
        raise exception '% of % are used, and this video has %', pg_catalog.pg_size_pretty(live.bytes - bytes),
            pg_catalog.pg_size_pretty(tier.storage_bytes_limit), pg_catalog.pg_size_pretty(bytes)
            using errcode = 'PT429', hint = 'delete videos, or ask for a higher access tier';
    end if;
    select count(*) into today from captionacc.videos v
    where v.tenant_id = new.tenant_id and v.created_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc';
    if today > tier.daily_upload_limit then
        raise exception 'the limit of % uploads a day is reached', tier.daily_upload_limit
            using errcode = 'PT429', hint = 'go on tomorrow (UTC), or ask for a higher access tier';
    end if;
    return null;
end $$;
revoke all on function captionacc.check_upload_quota() from public, anon, authenticated;

create trigger check_upload_quota after insert on captionacc.videos
for each row execute function captionacc.check_upload_quota();

notify pgrst, 'reload schema';
