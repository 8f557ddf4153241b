-- What each table is for, where a person looks: Supabase's studio, psql's \d+, docs/reference/schemas.md.

comment on table captionacc.tenants is
    'Who owns videos. Limits that are null here are those of the access tier.';
comment on column captionacc.tenants.auto_approve_layout is
    'Whether a layout at least as sure as auto_approve_min_confidence is approved without a person.';
comment on column captionacc.tenants.max_concurrent_runs is
    'Runs of this tenant at a time; null: the limit of dagster.yaml or of the settings.';
comment on column captionacc.tenants.processing_minutes_limit is 'Minutes of computing in a calendar month.';
comment on column captionacc.tenants.frame_limit is 'Full frames of one video.';

comment on table captionacc.user_profiles is
    'Which tenant a user of Supabase Auth works for; only approved users see anything.';

comment on table captionacc.videos is
    'One row an uploaded file; its id is the partition of every Dagster asset.';
comment on column captionacc.videos.storage_key is 'The uploaded object; always below the tenant''s and the video''s own prefix.';
comment on column captionacc.videos.content_hash is 'SHA-256 of the file; a tenant has each content once.';
comment on column captionacc.videos.status is 'Initial processing: waiting, processing, active, error.';
comment on column captionacc.videos.layout_status is 'Where captions stand: wait, annotate (a person should look), done, review, error.';
comment on column captionacc.videos.boundaries_status is 'When captions begin and end: wait, annotate, done, review, error.';
comment on column captionacc.videos.text_status is 'What captions say: wait, annotate, done, review, error.';
comment on column captionacc.videos.error_details is 'message, error type, run id and time of what failed.';
comment on column captionacc.videos.crop_left is 'The crop region in fractions of the picture, from the top left; null before there is a layout.';
comment on column captionacc.videos.cropped_frames_version is 'The active row of cropped_frames_versions; null before the first.';
comment on column captionacc.videos.deleted_at is 'Deleted by a person; objects and row go after seven days.';

comment on table captionacc.video_database_state is
    'Who holds the lock of a video''s layout or captions database. An expired lock can be taken.';
comment on table captionacc.cropped_frames_versions is
    'Each attempt to cut a video''s frames; one is active, the files of failed and archived ones are removed.';
comment on table captionacc.compute_calls is
    'The ledger of remote calls: written before waiting, so that a run that is started again finds its call and pays once.';
comment on column captionacc.compute_calls.call_key is 'Hash of app, environment, function, code version and input.';
comment on table captionacc.webhook_deliveries is 'Deliveries seen, so that a replayed one starts nothing.';
comment on table captionacc.security_audit_log is 'Refusals that matter: bad secrets, replays, foreign tenants, rate limits. Never a secret.';
