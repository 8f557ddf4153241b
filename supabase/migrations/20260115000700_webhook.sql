-- An optional webhook: tells the HTTP API of a new video at once, where pg_net is enabled and the vault
-- names an address. Without either nothing happens; the outbox row is there in any case.
--   select vault.create_secret('https://host/webhooks/supabase/videos', 'captionacc_webhook_url');
--   select vault.create_secret('the bearer secret', 'captionacc_webhook_secret');
--   select vault.create_secret('the signing secret', 'captionacc_webhook_signing_secret');  -- optional

-- RFC 2104 with SHA-256, from what Postgres has without an extension.
create function captionacc.hmac_sha256(p_message bytea, p_key bytea) returns bytea
language plpgsql immutable set search_path = '' as $$
declare
    padded bytea := case when length(p_key) > 64 then sha256(p_key) else p_key end;
    inner_key bytea;
    outer_key bytea;
begin
    padded := padded || decode(repeat('00', 64 - length(padded)), 'hex');
    inner_key := padded;
    outer_key := padded;
    for place in 0..63 loop
        inner_key := set_byte(inner_key, place, get_byte(padded, place) # 54);
        outer_key := set_byte(outer_key, place, get_byte(padded, place) # 92);
    end loop;
    return sha256(outer_key || sha256(inner_key || p_message));
end $$;

-- The bearer secret, and a signature as https://www.standardwebhooks.com has it: HMAC-SHA256 of
-- "id.timestamp.body" in base64; a signing secret with whsec_ before it is base64 itself.
create function captionacc.webhook_headers(p_body text, p_secret text, p_signing_secret text, p_id text,
    p_timestamp text)
returns jsonb language sql immutable set search_path = '' as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'Content-Type', 'application/json',
        'Authorization', 'Bearer ' || p_secret,
        'webhook-id', p_id,
        'webhook-timestamp', p_timestamp,
        'webhook-signature', 'v1,' || encode(captionacc.hmac_sha256(
            convert_to(p_id || '.' || p_timestamp || '.' || p_body, 'UTF8'),
            case when starts_with(p_signing_secret, 'whsec_') then decode(substr(p_signing_secret, 7), 'base64')
                 else convert_to(p_signing_secret, 'UTF8') end), 'base64')
    ))
$$;

-- Definer: the uploading user may not read the vault. An upload never fails because of its webhook.
create function captionacc.send_video_webhook() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    address text;
    secret text;
    signing_secret text;
    body jsonb;
begin
    if not exists (select 1 from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'net' and p.proname = 'http_post')
       or to_regclass('vault.decrypted_secrets') is null then
        return new;
    end if;
    execute 'select max(decrypted_secret) filter (where name = ''captionacc_webhook_url''),'
            ' max(decrypted_secret) filter (where name = ''captionacc_webhook_secret''),'
            ' max(decrypted_secret) filter (where name = ''captionacc_webhook_signing_secret'')'
            ' from vault.decrypted_secrets' into address, secret, signing_secret;
    if address is null or secret is null then
        return new;
    end if;
    body := jsonb_build_object('type', 'INSERT', 'table', 'videos', 'schema', 'captionacc',
                               'record', to_jsonb(new), 'old_record', null);
    execute 'select net.http_post(url := $1, body := $2, headers := $3)'
        using address, body, captionacc.webhook_headers(
            body::text, secret, signing_secret, gen_random_uuid()::text,
            extract(epoch from clock_timestamp())::bigint::text);
    return new;
exception when others then
    raise warning 'the webhook of video % was not sent: %', new.id, sqlerrm;
    return new;
end $$;

create trigger send_video_webhook after insert on captionacc.videos
for each row when (new.status = 'waiting') execute function captionacc.send_video_webhook();
