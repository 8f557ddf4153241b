#!/bin/sh
# Before the services start: the buckets are made where they are missing, then both schemas are brought to this version.
# Everything here may be run again.
set -eu
python - <<'PYTHON'
import os

from captionacc_dagster.settings import get_settings
from captionacc_dagster.storage.s3_client import create_s3_client

settings = get_settings()
if settings.storage_kind == "s3":
    client = create_s3_client(
        endpoint_url=settings.endpoint_url,
        region=settings.wasabi_region,
        access_key=settings.wasabi_access_key.get_secret_value(),
        secret_key=settings.wasabi_secret_key.get_secret_value(),
    )
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in (settings.wasabi_bucket, os.environ["DAGSTER_LOGS_BUCKET"]):
        if bucket not in there:
            client.create_bucket(Bucket=bucket)
            print(f"made bucket {bucket}")
PYTHON
captionacc db migrate
dagster instance migrate
