-- The languages of a tenant's captions, for its videos without their own.
alter table captionacc.tenants add column lang text;
comment on column captionacc.tenants.lang is
    'Languages of the captions (BCP 47, several with commas) of videos without their own; null: found out by script.';
grant update (lang) on captionacc.tenants to authenticated;

notify pgrst, 'reload schema';
