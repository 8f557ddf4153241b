-- Names that users write are shown in pages, logs, and terminals, which obey control characters (C0, DEL, C1).
create policy printable on captionacc.videos as restrictive to authenticated using (true)
    with check (filename !~ '[\u0001-\u001f\u007f-\u009f]' and coalesce(lang, '') !~ '[\u0001-\u001f\u007f-\u009f]');
create policy printable on captionacc.tenants as restrictive to authenticated using (true)
    with check (name !~ '[\u0001-\u001f\u007f-\u009f]');
create policy printable on captionacc.user_profiles as restrictive to authenticated using (true)
    with check (coalesce(display_name, '') !~ '[\u0001-\u001f\u007f-\u009f]');

notify pgrst, 'reload schema';
